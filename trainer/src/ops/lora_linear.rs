//! A frozen linear layer with a low-rank update (LoRA, arXiv 2106.09685).
//!
//! y = x·Wᵀ + bias + s·(x·Aᵀ)·Bᵀ, with W in the checkpoint's `[out, in]` layout. No gradient of W
//! is ever computed.

use burn::backend::{Backend, tensor::FloatTensor};

use super::prim::Prim;

/// What the backward pass needs.
#[derive(Clone, Debug)]
pub(super) struct State<B: Backend> {
    /// `[rows, in]`
    pub(super) x: FloatTensor<B>,
    /// W, `[out, in]`
    pub(super) weight: FloatTensor<B>,
    /// A, `[rank, in]`
    pub(super) a: FloatTensor<B>,
    /// B, `[out, rank]`
    pub(super) b: FloatTensor<B>,
    /// x·Aᵀ, `[rows, rank]`
    pub(super) xa: FloatTensor<B>,
    /// s
    pub(super) scale: f32,
}

/// y `[rows, out]` and x·Aᵀ `[rows, rank]`.
pub(super) fn forward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    a: FloatTensor<B>,
    b: FloatTensor<B>,
    scale: f32,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [x, weight, bias, a, b] = [x, weight, bias, a, b].map(Prim::<B>::new);
    let [out] = bias.dims();
    let xa = x.clone().matmul(a.t());
    // The scale goes on the small matrix.
    let update = (xa.clone() * scale).matmul(b.t());
    let y = x.matmul(weight.t()) + bias.reshape([1, out]) + update;
    (y.into_inner(), xa.into_inner())
}

/// The gradients of x, A and B, each if needed.
pub(super) fn backward<B: Backend>(
    state: State<B>,
    gradient: FloatTensor<B>,
    [need_x, need_a, need_b]: [bool; 3],
) -> [Option<FloatTensor<B>>; 3] {
    let State {
        x,
        weight,
        a,
        b,
        xa,
        scale,
    } = state;
    let [x, weight, a, b, xa, g] = [x, weight, a, b, xa, gradient].map(Prim::<B>::new);
    let d_xa = g.clone().matmul(b) * scale; // [rows, rank]
    let da = need_a.then(|| d_xa.clone().t().matmul(x));
    let db = need_b.then(|| g.clone().t().matmul(xa) * scale);
    let dx = need_x.then(|| g.matmul(weight) + d_xa.matmul(a));
    [dx, da, db].map(|gradient| gradient.map(Prim::into_inner))
}
