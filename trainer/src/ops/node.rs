//! One autodiff node for all custom operations: a forward value, saved state, a backward function.

use std::{array, fmt};

use burn::backend::{
    Autodiff, Backend,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::FloatTensor,
};

/// From the saved state, the output's gradient, and which of the `N` inputs need a gradient, to
/// the inputs' gradients. An input that needs one must get one.
pub(super) type BackwardFn<B, S, const N: usize> =
    fn(S, FloatTensor<B>, [bool; N]) -> [Option<FloatTensor<B>>; N];

struct Node<B: Backend, S, const N: usize>(BackwardFn<B, S, N>);

impl<B: Backend, S, const N: usize> fmt::Debug for Node<B, S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node")
    }
}

impl<B: Backend, S, const N: usize> Backward<B, N> for Node<B, S, N>
where
    S: Clone + Send + fmt::Debug + 'static,
{
    type State = S;

    fn backward(self, ops: Ops<S, N>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let output = gradients.consume::<B>(&ops.node);
        let needed = array::from_fn(|i| ops.parents[i].is_some());
        let inputs = (self.0)(ops.state, output, needed);
        for (parent, gradient) in ops.parents.into_iter().zip(inputs) {
            if let Some(parent) = parent {
                let gradient = gradient.expect("a backward function skipped a tracked input");
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// Makes `output` the result of an operation on `inputs` whose gradient is `backward`.
pub(super) fn record<B, C, S, const N: usize>(
    inputs: [&FloatTensor<Autodiff<B, C>>; N],
    output: FloatTensor<B>,
    state: S,
    backward: BackwardFn<B, S, N>,
) -> FloatTensor<Autodiff<B, C>>
where
    B: Backend,
    C: CheckpointStrategy,
    S: Clone + Send + fmt::Debug + 'static,
{
    // `compute_bound`: never recomputed by burn; the engine recomputes whole segments instead.
    match Node(backward)
        .prepare::<C>(inputs.map(|input| input.node()))
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => prepared.finish(state, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}
