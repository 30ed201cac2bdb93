//! `AdamW` (arXiv 1711.05101), as `torch.optim.AdamW` computes it.

use burn::tensor::Tensor;

use crate::{engine::LoraGradients, lora::{Lora, Pair}};

/// The hyperparameters. burn's defaults for the last two differ from PyTorch's, so all are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the mean and of the mean square.
    pub betas: [f64; 2],
    /// Decoupled: each step shrinks a weight by `learning_rate·weight_decay` of itself.
    pub weight_decay: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
}

/// The optimizer with its state, float32 like the matrices.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    /// Steps done.
    step: u32,
    /// By target.
    moments: Vec<Option<Moments>>,
}

/// Of one pair of matrices.
#[derive(Debug, Clone)]
struct Moments {
    a: Moment,
    b: Moment,
}

/// Running averages of a matrix's gradient.
#[derive(Debug, Clone)]
struct Moment {
    mean: Tensor<2>,
    square: Tensor<2>,
}

/// What a step does to every matrix.
struct Update {
    config: AdamWConfig,
    /// 1 - learning_rate·weight_decay
    shrink: f64,
    /// learning_rate / (1 - β₁ⁿ)
    rate: f64,
    /// √(1 - β₂ⁿ)
    correction: f64,
}

impl AdamW {
    /// An optimizer that has not stepped.
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            step: 0,
            moments: Vec::new(),
        }
    }

    /// One step down the gradients. A target without a gradient is left alone, as PyTorch does.
    pub fn step(&mut self, lora: &mut Lora, gradients: &LoraGradients, learning_rate: f64) {
        self.step += 1;
        self.moments.resize(lora.pairs.len(), None);
        let [beta1, beta2] = self.config.betas;
        let n = i32::try_from(self.step).expect("fewer than 2³¹ steps");
        let update = Update {
            config: self.config,
            shrink: 1.0 - learning_rate * self.config.weight_decay,
            rate: learning_rate / (1.0 - beta1.powi(n)),
            correction: (1.0 - beta2.powi(n)).sqrt(),
        };
        for (target, (pair, moments)) in lora.pairs.iter_mut().zip(&mut self.moments).enumerate() {
            let Some(gradient) = gradients.get(target) else {
                continue;
            };
            let moments = moments.get_or_insert_with(|| Moments::zero(pair));
            update.apply(&mut pair.a, &mut moments.a, &gradient.a);
            update.apply(&mut pair.b, &mut moments.b, &gradient.b);
        }
    }
}

impl Moments {
    fn zero(pair: &Pair) -> Self {
        let zero = |weight: &Tensor<2>| Moment {
            mean: weight.zeros_like(),
            square: weight.zeros_like(),
        };
        Self {
            a: zero(&pair.a),
            b: zero(&pair.b),
        }
    }
}

impl Update {
    fn apply(&self, weight: &mut Tensor<2>, moment: &mut Moment, gradient: &Tensor<2>) {
        let [beta1, beta2] = self.config.betas;
        let gradient = gradient.clone();
        moment.mean = moment.mean.clone() * beta1 + gradient.clone() * (1.0 - beta1);
        moment.square = moment.square.clone() * beta2 + gradient.square() * (1.0 - beta2);
        let root = moment.square.clone().sqrt() / self.correction + self.config.eps;
        *weight = weight.clone() * self.shrink - moment.mean.clone() / root * self.rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::Target;
    use burn::tensor::Device;

    /// The numbers come from PyTorch 2.15:
    ///
    /// ```python
    /// w = torch.tensor([[1.0, -2.0]], requires_grad=True)
    /// o = torch.optim.AdamW([w], lr=0.1, betas=(0.9, 0.99), weight_decay=0.1, eps=1e-3)
    /// for g in ([0.5, -0.001], [-1.0, 0.002]):
    ///     w.grad = torch.tensor([g]); o.step(); print(w.tolist())
    /// ```
    #[test]
    fn two_steps_equal_pytorch() {
        let device = Device::flex();
        let tensor = |values: [f32; 2]| Tensor::<2>::from_data([values], &device);
        let target = Target {
            key: "x".to_owned(),
            inputs: 2,
            outputs: 1,
        };
        let mut lora = Lora::init(vec![target], 1, 1.0, 0, &device);
        lora.pairs[0].a = tensor([1.0, -2.0]);
        let mut optimizer = AdamW::new(AdamWConfig {
            betas: [0.9, 0.99],
            weight_decay: 0.1,
            eps: 1e-3,
        });
        let want = WANT;
        for (gradient, want) in [[0.5, -0.001], [-1.0, 0.002]].into_iter().zip(want) {
            let mut gradients = LoraGradients::new(1);
            let b = lora.pairs[0].b.zeros_like();
            gradients.add(
                0,
                Pair {
                    a: tensor(gradient),
                    b,
                },
            );
            optimizer.step(&mut lora, &gradients, 0.1);
            let got: Vec<f32> = lora.pairs[0].a.to_data().to_vec().unwrap();
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-6, "got {got}, want {want}");
            }
        }
    }
}
