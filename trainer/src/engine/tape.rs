//! Which LoRA matrices a forward pass tracks.

use std::cell::RefCell;

use burn::tensor::{Gradients, Tensor};

use super::LoraGradients;
use crate::lora::Pair;

/// Passed to every layer, so that one `forward` serves both a pass without gradients and one whose
/// LoRA matrices are lifted into autodiff.
#[derive(Debug)]
pub enum Tape {
    /// Nothing is tracked.
    Off,
    /// The lifted matrices, with the index of their target.
    On(RefCell<Vec<(usize, Pair)>>),
}

impl Tape {
    /// A tape that tracks.
    pub fn on() -> Self {
        Self::On(RefCell::default())
    }

    /// A and B, lifted if this tape tracks.
    pub fn leaves(&self, target: usize, pair: &Pair) -> (Tensor<2>, Tensor<2>) {
        match self {
            Self::Off => (pair.a.clone(), pair.b.clone()),
            Self::On(leaves) => {
                let lift = |tensor: &Tensor<2>| tensor.clone().autodiff().require_grad();
                let lifted = Pair {
                    a: lift(&pair.a),
                    b: lift(&pair.b),
                };
                leaves.borrow_mut().push((target, lifted.clone()));
                (lifted.a, lifted.b)
            }
        }
    }

    /// Moves the gradients of this tape's leaves from `from` to `into`. A leaf that the loss does
    /// not depend on has no gradient.
    pub(super) fn collect(self, from: &mut Gradients, into: &mut LoraGradients) {
        if let Self::On(leaves) = self {
            for (target, pair) in leaves.into_inner() {
                if let (Some(a), Some(b)) = (pair.a.grad_remove(from), pair.b.grad_remove(from)) {
                    into.add(target, Pair { a, b });
                }
            }
        }
    }
}
