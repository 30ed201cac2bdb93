//! GELU in its tanh form (arXiv 1606.08415), as `gelu_pytorch_tanh`.
//!
//! ½x(1 + tanh u) = x·σ(2u) with u = √(2/π)(x + 0.044715x³): one exponential instead of a power
//! and a hyperbolic tangent.

use burn::backend::{Backend, tensor::FloatTensor};

use super::prim::Prim;

/// 2√(2/π)
const LINEAR: f32 = 1.595_769_1;
/// 2√(2/π)·0.044715
const CUBIC: f32 = LINEAR * 0.044_715;

/// σ(2u); float32.
fn gate<B: Backend>(x: Prim<B>) -> Prim<B> {
    let twice_u = (x.clone().square() * CUBIC + LINEAR) * x;
    ((-twice_u).exp() + 1.0).recip()
}

/// Any shape.
pub(super) fn forward<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let x = Prim::<B>::new(x);
    let dtype = x.dtype();
    let x = x.f32();
    (x.clone() * gate(x)).cast(dtype).into_inner()
}

/// The gradient of x.
pub(super) fn backward<B: Backend>(x: FloatTensor<B>, gradient: FloatTensor<B>) -> FloatTensor<B> {
    let [x, g] = [x, gradient].map(Prim::<B>::new);
    let dtype = x.dtype();
    let x = x.f32();
    let gate = gate(x.clone());
    let slope = x.clone().square() * (3.0 * CUBIC) + LINEAR;
    let derivative = (x * slope * (-gate.clone() + 1.0) + 1.0) * gate;
    (g.f32() * derivative).cast(dtype).into_inner()
}
