//! What queries and keys go through before attention: split into heads, RMS norm, rotary position
//! embedding (`RoFormer`, arXiv 2104.09864) over pairs of neighbouring channels.

use burn::backend::{Backend, tensor::FloatTensor};

use super::prim::Prim;

/// FLUX's epsilon.
const EPSILON: f32 = 1e-6;

/// Everything but the gradient: x `[batch, tokens, heads·head_dim]`, the norm's weight
/// `[head_dim]`, cosines and sines `[tokens, head_dim / 2]` in float32.
pub(super) type State<B> = [FloatTensor<B>; 4];

struct Parts<B: Backend> {
    /// `[batch, tokens, heads, head_dim]`, float32
    x: Prim<B>,
    /// 1 / RMS, `[batch, tokens, heads, 1]`
    inv_rms: Prim<B>,
    /// `[1, 1, 1, head_dim]`
    weight: Prim<B>,
    /// `[1, tokens, 1, head_dim / 2, 1]`
    cos: Prim<B>,
    /// likewise
    sin: Prim<B>,
    /// batch, tokens, heads, `head_dim`
    dims: [usize; 4],
}

fn parts<B: Backend>([x, weight, cos, sin]: State<B>) -> Parts<B> {
    let [x, weight, cos, sin] = [x, weight, cos, sin].map(Prim::<B>::new);
    let [batch, tokens, channels] = x.dims();
    let [head_dim] = weight.dims();
    let dims = [batch, tokens, channels / head_dim, head_dim];
    let x = x.f32().reshape(dims);
    let inv_rms = (x.clone().square().mean_dim(3) + EPSILON).sqrt().recip();
    Parts {
        x,
        inv_rms,
        weight: weight.f32().reshape([1, 1, 1, head_dim]),
        cos: cos.reshape([1, tokens, 1, head_dim / 2, 1]),
        sin: sin.reshape([1, tokens, 1, head_dim / 2, 1]),
        dims,
    }
}

/// Rotates each pair of channels by its angle; with `-sin`, back.
fn rotate<B: Backend>(
    x: Prim<B>,
    cos: Prim<B>,
    sin: Prim<B>,
    dims @ [b, n, h, d]: [usize; 4],
) -> Prim<B> {
    let pairs = x.reshape([b, n, h, d / 2, 2]);
    let (x0, x1) = (pairs.narrow(4, 0, 1), pairs.narrow(4, 1, 2));
    let y0 = x0.clone() * cos.clone() - x1.clone() * sin.clone();
    let y1 = x0 * sin + x1 * cos;
    Prim::cat(vec![y0, y1], 4).reshape(dims)
}

/// `[batch, heads, tokens, head_dim]`
pub(super) fn forward<B: Backend>(state: State<B>) -> FloatTensor<B> {
    let dtype = Prim::<B>::new(state[0].clone()).dtype();
    let Parts {
        x,
        inv_rms,
        weight,
        cos,
        sin,
        dims,
    } = parts::<B>(state);
    rotate(x * inv_rms * weight, cos, sin, dims)
        .swap_dims(1, 2)
        .cast(dtype)
        .into_inner()
}

/// The gradient of x.
pub(super) fn backward<B: Backend>(state: State<B>, gradient: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = Prim::<B>::new(state[0].clone()).dtype();
    let Parts {
        x,
        inv_rms,
        weight,
        cos,
        sin,
        dims: dims @ [b, n, h, d],
    } = parts::<B>(state);
    let g = Prim::<B>::new(gradient).f32().swap_dims(1, 2);
    let g = rotate(g, cos, -sin, dims) * weight;
    let projection = (g.clone() * x.clone()).mean_dim(3) * inv_rms.clone().square();
    ((g - x * projection) * inv_rms)
        .reshape([b, n, h * d])
        .cast(dtype)
        .into_inner()
}
