//! Each operation against its plain composition under burn's autodiff, and against central
//! differences.

use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::rng::{Purpose, Rng};

fn random<const D: usize>(shape: [usize; D], id: u64) -> Tensor<D> {
    let values = Rng::new(11, Purpose::Noise, 0, id).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| x * x).sum::<f32>().sqrt();
    let error = norm(&mut got.iter().zip(want).map(|(g, w)| g - w));
    let size = norm(&mut want.iter().copied());
    assert!(
        error <= tolerance * size,
        "{what}: relative error {} exceeds {tolerance}",
        error / size
    );
}

/// An operation on tensors that were flattened to one vector each, as a function to a vector.
type Op<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<1>;

fn gradients(op: Op, inputs: &[Tensor<1>], weights: &Tensor<1>) -> (Vec<f32>, Vec<Vec<f32>>) {
    let leaves: Vec<_> = inputs
        .iter()
        .map(|x| x.clone().autodiff().require_grad())
        .collect();
    let output = op(&leaves);
    let mut all = (output.clone() * weights.clone()).sum().backward();
    let gradients = leaves
        .iter()
        .map(|leaf| values(leaf.grad_remove(&mut all).expect("a gradient")))
        .collect();
    (values(output.inner()), gradients)
}

fn check(name: &str, inputs: &[Tensor<1>], custom: Op, plain: Op) {
    let output = custom(inputs);
    let weights = random(output.dims(), 99);
    let (got, got_gradients) = gradients(custom, inputs, &weights);
    let (want, want_gradients) = gradients(plain, inputs, &weights);
    assert_close(&format!("{name}: output"), &got, &want, 1e-6);
    assert_close(&format!("{name}: without tape"), &values(output), &got, 0.0);
    for (i, (got, want)) in got_gradients.iter().zip(&want_gradients).enumerate() {
        assert_close(&format!("{name}: gradient {i}"), got, want, 1e-5);
    }

    // Directional derivatives in a random direction per input.
    for (i, gradient) in got_gradients.iter().enumerate() {
        let direction = random([gradient.len()], 1000 + i as u64);
        let step = 1e-2;
        let at = |sign: f32| {
            let mut moved = inputs.to_vec();
            moved[i] = moved[i].clone() + direction.clone() * (sign * step);
            values((custom(&moved) * weights.clone()).sum())[0]
        };
        let difference = (at(1.0) - at(-1.0)) / (2.0 * step);
        let slope: f32 = gradient
            .iter()
            .zip(values(direction))
            .map(|(g, d)| g * d)
            .sum();
        // float32 sums and a finite step: a wrong formula is off by far more.
        let limit = 2e-2 * slope.abs().max(1.0);
        assert!(
            (difference - slope).abs() < limit,
            "{name}: input {i}: central difference {difference}, gradient {slope}"
        );
    }
}

#[test]
fn attention_equals_its_plain_composition() {
    // 300 tokens: more than one chunk of queries, the last one ragged.
    let shape = [1, 2, 300, 8];
    let flat: Vec<_> = (0..3)
        .map(|i| random([shape.iter().product()], i))
        .collect();
    check(
        "attention",
        &flat,
        &|x| {
            let [q, k, v] = [0, 1, 2].map(|i| x[i].clone().reshape(shape));
            super::attention(q, k, v).reshape([-1])
        },
        &|x| {
            let [q, k, v] = [0, 1, 2].map(|i: usize| x[i].clone().reshape(shape));
            let scores = q.matmul(k.swap_dims(2, 3)) * (1.0 / 8f32.sqrt());
            activation::softmax(scores, 3).matmul(v).reshape([-1])
        },
    );
}

#[test]
fn lora_linear_equals_its_plain_composition() {
    let (rows, inputs, outputs, rank) = (7, 5, 6, 2);
    let weight = random([outputs, inputs], 5);
    let bias = random([outputs], 6);
    let flat = [
        random([rows * inputs], 0),
        random([rank * inputs], 1),
        random([outputs * rank], 2),
    ];
    let shaped = |x: &[Tensor<1>]| {
        (
            x[0].clone().reshape([rows, inputs]),
            x[1].clone().reshape([rank, inputs]),
            x[2].clone().reshape([outputs, rank]),
        )
    };
    check(
        "lora_linear",
        &flat,
        &|x| {
            let (x, a, b) = shaped(x);
            super::lora_linear(x, weight.clone(), bias.clone(), a, b, 0.5).reshape([-1])
        },
        &|x| {
            let (x, a, b) = shaped(x);
            let update = x.clone().matmul(a.transpose()).matmul(b.transpose()) * 0.5;
            let y: Tensor<2> =
                x.matmul(weight.clone().transpose()) + bias.clone().unsqueeze() + update;
            y.reshape([-1])
        },
    );
}

#[test]
fn modulate_equals_its_plain_composition() {
    let (batch, tokens, channels) = (2, 5, 8);
    let flat = [
        random([batch * tokens * channels], 0),
        random([batch * channels], 1),
        random([batch * channels], 2),
    ];
    let shaped = |x: &[Tensor<1>]| {
        (
            x[0].clone().reshape([batch, tokens, channels]),
            x[1].clone().reshape([batch, 1, channels]),
            x[2].clone().reshape([batch, 1, channels]),
        )
    };
    check(
        "modulate",
        &flat,
        &|x| {
            let (x, shift, scale) = shaped(x);
            super::modulate(x, shift, scale).reshape([-1])
        },
        &|x| {
            let (x, shift, scale): (Tensor<3>, _, _) = shaped(x);
            let centered = x.clone() - x.mean_dim(2);
            let variance = (centered.clone() * centered.clone()).mean_dim(2);
            let normalized = centered / (variance + 1e-6).sqrt();
            (normalized * (scale + 1.0) + shift).reshape([-1])
        },
    );
}

#[test]
fn gated_add_equals_its_plain_composition() {
    let (batch, tokens, channels) = (2, 5, 8);
    let flat = [
        random([batch * tokens * channels], 0),
        random([batch * tokens * channels], 1),
        random([batch * channels], 2),
    ];
    let shaped = |x: &[Tensor<1>]| -> (Tensor<3>, Tensor<3>, Tensor<3>) {
        (
            x[0].clone().reshape([batch, tokens, channels]),
            x[1].clone().reshape([batch, tokens, channels]),
            x[2].clone().reshape([batch, 1, channels]),
        )
    };
    check(
        "gated_add",
        &flat,
        &|x| {
            let (x, y, gate) = shaped(x);
            super::gated_add(x, y, gate).reshape([-1])
        },
        &|x| {
            let (x, y, gate) = shaped(x);
            (x + y * gate).reshape([-1])
        },
    );
}

#[test]
fn gelu_equals_its_plain_composition() {
    check(
        "gelu",
        &[random([64], 0) * 3.0],
        &|x| super::gelu(x[0].clone()),
        &|x| {
            let x = x[0].clone();
            let cubed = x.clone() * x.clone() * x.clone();
            let u = (x.clone() + cubed * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
            x * 0.5 * (u.tanh() + 1.0)
        },
    );
}

#[test]
fn gelu_of_large_numbers_is_finite() {
    let x = Tensor::<1>::from_data([-1e4f32, -50.0, 50.0, 1e4], &Device::flex());
    assert_eq!(values(super::gelu(x.clone())), [0.0, 0.0, 50.0, 1e4]);
    let (_, gradients) = gradients(&|x| super::gelu(x[0].clone()), &[x.clone()], &x.ones_like());
    assert_eq!(gradients[0], [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn qk_norm_rope_equals_its_plain_composition() {
    let (b, n, h, d) = (2, 5, 3, 8);
    let weight = random([d], 5);
    let angles = random([n, d / 2], 6);
    let (cos, sin) = (angles.clone().cos(), angles.sin());
    check(
        "qk_norm_rope",
        &[random([b * n * h * d], 0)],
        &|x| {
            let x = x[0].clone().reshape([b, n, h * d]);
            super::qk_norm_rope(x, weight.clone(), cos.clone(), sin.clone()).reshape([-1])
        },
        &|x| {
            let x: Tensor<4> = x[0].clone().reshape([b, n, h, d]);
            let rms = ((x.clone() * x.clone()).mean_dim(3) + 1e-6).sqrt();
            let x = x / rms * weight.clone().reshape([1, 1, 1, d]);
            let pairs: Tensor<5> = x.reshape([b, n, h, d / 2, 2]);
            let [re, im] = [0, 1].map(|i| pairs.clone().narrow(4, i, 1));
            let cos = cos.clone().reshape([1, n, 1, d / 2, 1]);
            let sin = sin.clone().reshape([1, n, 1, d / 2, 1]);
            let rotated = Tensor::cat(
                vec![
                    re.clone() * cos.clone() - im.clone() * sin.clone(),
                    re * sin + im * cos,
                ],
                4,
            );
            let rotated: Tensor<4> = rotated.reshape([b, n, h, d]);
            rotated.swap_dims(1, 2).reshape([-1])
        },
    );
}
