//! The residual connection of an adaptive block: x + gate·y.

use burn::backend::{Backend, tensor::FloatTensor};

use super::prim::Prim;

/// `x` and `y` are `[batch, tokens, channels]`; `gate` is `[batch, 1, channels]`.
pub(super) fn forward<B: Backend>(
    x: FloatTensor<B>,
    y: FloatTensor<B>,
    gate: FloatTensor<B>,
) -> FloatTensor<B> {
    let [x, y, gate] = [x, y, gate].map(Prim::<B>::new);
    (x + y * gate).into_inner()
}

/// The gradients of x, y and gate.
pub(super) fn backward<B: Backend>(
    (y, gate): (FloatTensor<B>, FloatTensor<B>),
    gradient: FloatTensor<B>,
    [need_x, need_y, need_gate]: [bool; 3],
) -> [Option<FloatTensor<B>>; 3] {
    let [y, gate, g] = [y, gate, gradient].map(Prim::<B>::new);
    let dtype = y.dtype();
    let dx = need_x.then(|| g.clone());
    let dy = need_y.then(|| g.clone() * gate);
    // Summed over thousands of tokens: float32.
    let dgate = need_gate.then(|| (g.f32() * y.f32()).sum_dim(1).cast(dtype));
    [dx, dy, dgate].map(|gradient| gradient.map(Prim::into_inner))
}
