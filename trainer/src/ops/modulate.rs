//! LayerNorm without parameters, then scale and shift: adaptive layer norm (`DiT`, arXiv 2212.09748).
//!
//! y = norm(x)·(1 + scale) + shift

use burn::backend::{Backend, tensor::FloatTensor};

use super::prim::Prim;

/// FLUX's epsilon; burn's default is 1e-5.
const EPSILON: f32 = 1e-6;

/// (x - mean) / std over the channels, and 1 / std; float32.
fn normalize<B: Backend>(x: Prim<B>) -> (Prim<B>, Prim<B>) {
    let x = x.f32();
    let mean = x.clone().mean_dim(2);
    let centered = x - mean;
    let inv_std = (centered.clone().square().mean_dim(2) + EPSILON)
        .sqrt()
        .recip();
    (centered * inv_std.clone(), inv_std)
}

/// `x` is `[batch, tokens, channels]`; `shift` and `scale` are `[batch, 1, channels]`.
pub(super) fn forward<B: Backend>(
    x: FloatTensor<B>,
    shift: FloatTensor<B>,
    scale: FloatTensor<B>,
) -> FloatTensor<B> {
    let [x, shift, scale] = [x, shift, scale].map(Prim::<B>::new);
    let dtype = x.dtype();
    let (normalized, _) = normalize(x);
    (normalized * (scale.f32() + 1.0) + shift.f32())
        .cast(dtype)
        .into_inner()
}

/// The gradients of x, shift and scale.
pub(super) fn backward<B: Backend>(
    (x, scale): (FloatTensor<B>, FloatTensor<B>),
    gradient: FloatTensor<B>,
    [need_x, need_shift, need_scale]: [bool; 3],
) -> [Option<FloatTensor<B>>; 3] {
    let [x, scale, gradient] = [x, scale, gradient].map(Prim::<B>::new);
    let dtype = x.dtype();
    let g = gradient.f32();
    let (normalized, inv_std) = normalize(x);
    let dx = need_x.then(|| {
        let g = g.clone() * (scale.f32() + 1.0);
        let mean = g.clone().mean_dim(2);
        let projection = (g.clone() * normalized.clone()).mean_dim(2);
        (g - mean - normalized.clone() * projection) * inv_std
    });
    let dshift = need_shift.then(|| g.clone().sum_dim(1));
    let dscale = need_scale.then(|| (g * normalized).sum_dim(1));
    [dx, dshift, dscale].map(|gradient| gradient.map(|g| g.cast(dtype).into_inner()))
}
