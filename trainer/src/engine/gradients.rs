//! Gradients of the LoRA matrices, accumulated over segments and micro-batches.

use burn::tensor::Tensor;

use crate::lora::Pair;

/// A gradient for each target, float32; a target that the loss does not depend on has none.
#[derive(Debug, Clone, Default)]
pub struct LoraGradients(Vec<Option<Pair>>);

impl LoraGradients {
    /// No gradients yet, for `targets` targets.
    pub fn new(targets: usize) -> Self {
        Self(vec![None; targets])
    }

    /// Adds to the gradient of a target.
    pub fn add(&mut self, target: usize, gradient: Pair) {
        let sum = &mut self.0[target];
        *sum = Some(match sum.take() {
            None => gradient,
            Some(sum) => Pair {
                a: sum.a + gradient.a,
                b: sum.b + gradient.b,
            },
        });
    }

    /// Adds all of another micro-batch's gradients.
    pub fn add_all(&mut self, other: Self) {
        for (target, gradient) in other.0.into_iter().enumerate() {
            if let Some(gradient) = gradient {
                self.add(target, gradient);
            }
        }
    }

    /// The gradient of a target.
    pub fn get(&self, target: usize) -> Option<&Pair> {
        self.0[target].as_ref()
    }

    /// Multiplies everything.
    #[must_use]
    pub fn scale(self, factor: Tensor<1>) -> Self {
        let scale = |tensor: Tensor<2>| tensor * factor.clone().unsqueeze();
        Self(
            self.0
                .into_iter()
                .map(|pair| {
                    pair.map(|pair| Pair {
                        a: scale(pair.a),
                        b: scale(pair.b),
                    })
                })
                .collect(),
        )
    }

    /// The L2 norm over all elements of all matrices, `[1]`; burn's clipping is per tensor.
    ///
    /// `None` when there is no gradient at all.
    pub fn norm(&self) -> Option<Tensor<1>> {
        let squares: Vec<Tensor<1>> = self
            .0
            .iter()
            .flatten()
            .flat_map(|pair| [&pair.a, &pair.b])
            .map(|tensor| tensor.clone().square().sum())
            .collect();
        (!squares.is_empty()).then(|| Tensor::cat(squares, 0).sum().sqrt())
    }
}
