//! Scaled dot-product attention that never holds tokens × tokens.
//!
//! As FlashAttention-2 (arXiv 2307.08691): the forward pass keeps the log-sum-exp of each row of
//! scores, the backward pass computes the scores again from it, both in chunks of queries.

use burn::backend::{Backend, tensor::FloatTensor};

use super::prim::Prim;

/// Rows of queries at a time: a chunk of scores is `[batch, heads, 256, tokens]`.
const QUERY_CHUNK: usize = 256;

/// Queries, keys, values, output (all `[batch, heads, tokens, head_dim]`) and log-sum-exp
/// (`[batch, heads, tokens, 1]`, float32).
pub(super) type State<B> = [FloatTensor<B>; 5];

fn chunks(tokens: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..tokens)
        .step_by(QUERY_CHUNK)
        .map(move |start| (start, (start + QUERY_CHUNK).min(tokens)))
}

fn scale(head_dim: usize) -> f32 {
    1.0 / (head_dim as f32).sqrt()
}

/// Output and log-sum-exp. Scores and softmax are float32: in bfloat16 a score of 20 is off by up
/// to 0.06, a weight by 6 %.
pub(super) fn forward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [q, k, v] = [q, k, v].map(Prim::<B>::new);
    let dtype = q.dtype();
    let [_, _, tokens, head_dim] = q.dims();
    let (k_t, v) = (k.f32().t(), v.f32());
    let (mut outputs, mut log_sums) = (Vec::new(), Vec::new());
    for (start, end) in chunks(tokens) {
        let scores = (q.narrow(2, start, end).f32() * scale(head_dim)).matmul(k_t.clone());
        let max = scores.clone().max_dim(3);
        let weights = (scores - max.clone()).exp();
        let sum = weights.clone().sum_dim(3);
        outputs.push((weights.matmul(v.clone()) / sum.clone()).cast(dtype));
        log_sums.push(sum.log() + max);
    }
    (
        Prim::cat(outputs, 2).into_inner(),
        Prim::cat(log_sums, 2).into_inner(),
    )
}

/// The gradients of `q`, `k` and `v`.
pub(super) fn backward<B: Backend>(
    state: State<B>,
    gradient: FloatTensor<B>,
) -> [FloatTensor<B>; 3] {
    let [q, k, v, output, log_sum] = state.map(Prim::<B>::new);
    let gradient = Prim::<B>::new(gradient);
    let dtype = q.dtype();
    let [_, _, tokens, head_dim] = q.dims();
    let k = k.f32();
    let (k_t, v_t) = (k.clone().t(), v.f32().t());

    let mut dq = Vec::new();
    let (mut dk, mut dv): (Option<Prim<B>>, Option<Prim<B>>) = (None, None);
    let add = |sum: Option<Prim<B>>, term: Prim<B>| match sum {
        Some(sum) => Some(sum + term),
        None => Some(term),
    };
    for (start, end) in chunks(tokens) {
        let q = q.narrow(2, start, end).f32() * scale(head_dim);
        let g = gradient.narrow(2, start, end).f32();
        let weights = (q.clone().matmul(k_t.clone()) - log_sum.narrow(2, start, end)).exp();
        // The row sum of weights ⊙ d(weights), without either.
        let row_dot = (g.clone() * output.narrow(2, start, end).f32()).sum_dim(3);
        let d_scores = (g.clone().matmul(v_t.clone()) - row_dot) * weights.clone();
        dv = add(dv, weights.t().matmul(g));
        dk = add(dk, d_scores.clone().t().matmul(q));
        dq.push((d_scores.matmul(k.clone()) * scale(head_dim)).cast(dtype));
    }
    let [dk, dv] = [dk, dv].map(|sum| sum.expect("attention over no tokens").cast(dtype));
    [Prim::cat(dq, 2), dk, dv].map(Prim::into_inner)
}
