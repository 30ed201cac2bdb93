//! The custom operations: where the time of a step goes.
//!
//! Each is one node of the autodiff graph with a hand-written backward pass, saves only what that
//! needs, and computes in float32 where the reference does. The model calls the functions of this
//! module and knows no backend; `dispatch` is where backends plug in.
//!
//! All operands of one call must have one dtype (burn does not check: it would read garbage), so
//! each function asserts it.

mod attention;
mod dispatch;
mod gated_add;
mod gelu;
mod lora_linear;
mod modulate;
mod node;
mod prim;
mod qk_norm_rope;

#[cfg(test)]
mod tests;

use burn::{backend::Dispatch, tensor::Tensor};

use dispatch::FluxOps;

fn assert_same_dtype<const N: usize>(op: &str, dtypes: [burn::tensor::DType; N]) {
    assert!(
        dtypes.iter().all(|dtype| *dtype == dtypes[0]),
        "{op}: operands of dtypes {dtypes:?}"
    );
}

/// softmax(q·kᵀ/√d)·v over all tokens, without a mask.
///
/// # Shapes
/// `q`, `k`, `v` and the result: `[batch, heads, tokens, head_dim]`.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    assert_same_dtype("attention", [q.dtype(), k.dtype(), v.dtype()]);
    Tensor::from_dispatch(Dispatch::attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
    ))
}

/// x·Wᵀ + bias + scale·(x·Aᵀ)·Bᵀ. No gradient flows to `weight` and `bias`.
///
/// # Shapes
/// `x`: `[rows, in]`, `weight`: `[out, in]`, `bias`: `[out]`, `a`: `[rank, in]`, `b`: `[out, rank]`;
/// the result: `[rows, out]`.
pub fn lora_linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    a: Tensor<2>,
    b: Tensor<2>,
    scale: f32,
) -> Tensor<2> {
    assert_same_dtype(
        "lora_linear",
        [
            x.dtype(),
            weight.dtype(),
            bias.dtype(),
            a.dtype(),
            b.dtype(),
        ],
    );
    Tensor::from_dispatch(Dispatch::lora_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        a.into_dispatch(),
        b.into_dispatch(),
        scale,
    ))
}

/// norm(x)·(1 + scale) + shift, where norm is LayerNorm over the channels without parameters.
///
/// # Shapes
/// `x` and the result: `[batch, tokens, channels]`; `shift` and `scale`: `[batch, 1, channels]`.
pub fn modulate(x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
    assert_same_dtype("modulate", [x.dtype(), shift.dtype(), scale.dtype()]);
    Tensor::from_dispatch(Dispatch::modulate(
        x.into_dispatch(),
        shift.into_dispatch(),
        scale.into_dispatch(),
    ))
}

/// x + gate·y.
///
/// # Shapes
/// `x`, `y` and the result: `[batch, tokens, channels]`; `gate`: `[batch, 1, channels]`.
pub fn gated_add(x: Tensor<3>, y: Tensor<3>, gate: Tensor<3>) -> Tensor<3> {
    assert_same_dtype("gated_add", [x.dtype(), y.dtype(), gate.dtype()]);
    Tensor::from_dispatch(Dispatch::gated_add(
        x.into_dispatch(),
        y.into_dispatch(),
        gate.into_dispatch(),
    ))
}

/// GELU in its tanh form; any shape.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::gelu_tanh(x.into_dispatch()))
}

/// Splits heads, then applies the RMS norm with `weight` and the rotary embedding with `cos` and
/// `sin`. No gradient flows to these three.
///
/// # Shapes
/// `x`: `[batch, tokens, heads·head_dim]`, `weight`: `[head_dim]`, `cos` and `sin`:
/// `[tokens, head_dim / 2]` in float32; the result: `[batch, heads, tokens, head_dim]`.
pub fn qk_norm_rope(x: Tensor<3>, weight: Tensor<1>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    assert_same_dtype("qk_norm_rope", [x.dtype(), weight.dtype()]);
    assert_same_dtype(
        "qk_norm_rope",
        [burn::tensor::DType::F32, cos.dtype(), sin.dtype()],
    );
    Tensor::from_dispatch(Dispatch::qk_norm_rope(
        x.into_dispatch(),
        weight.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
    ))
}
