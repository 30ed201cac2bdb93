//! A frozen linear layer that an adapter can change.

use burn::tensor::Tensor;

use super::{Dropout, Lora, Target};
use crate::{Result, engine::Tape, ops, weights::Loader};

/// y = x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ, where W and b belong to the base model and are never trained; A and B
/// belong to the [`Lora`] of the forward pass, if there is one.
#[derive(Debug, Clone)]
pub struct LoraLinear {
    /// W, `[out, in]`, as in the checkpoint.
    weight: Tensor<2>,
    /// b, `[out]`.
    bias: Tensor<1>,
    /// The index of this layer among the targets.
    target: usize,
}

impl LoraLinear {
    /// Reads `weight` and `bias`, and adds this layer to `targets`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(
        weights: &Loader,
        key: &str,
        [inputs, outputs]: [usize; 2],
        targets: &mut Vec<Target>,
    ) -> Result<Self> {
        let at = weights.at(key);
        let target = targets.len();
        targets.push(Target {
            key: at.prefix().to_owned(),
            inputs,
            outputs,
        });
        Ok(Self {
            weight: at.tensor("weight", [outputs, inputs])?,
            bias: at.tensor("bias", [outputs])?,
            target,
        })
    }

    /// # Shapes
    /// `x`: `[batch, tokens, in]`; the result: `[batch, tokens, out]`.
    pub fn forward(&self, x: Tensor<3>, adapter: &Adapter) -> Tensor<3> {
        let [batch, tokens, inputs] = x.dims();
        let [outputs, _] = self.weight.dims();
        let rows = x.reshape([batch * tokens, inputs]);
        self.forward_rows(rows, tokens, adapter)
            .reshape([batch, tokens, outputs])
    }

    fn forward_rows(&self, x: Tensor<2>, tokens: usize, adapter: &Adapter) -> Tensor<2> {
        let frozen = |x: Tensor<2>| {
            x.matmul(self.weight.clone().transpose()) + self.bias.clone().unsqueeze()
        };
        let Some(lora) = adapter.lora else {
            return frozen(x);
        };
        let dtype = x.dtype();
        let pair = &lora.pairs[self.target];
        // The matrices are float32; the product runs in the model's dtype.
        let (a, b) = adapter.tape.leaves(self.target, pair);
        let (a, b) = (a.cast(dtype), b.cast(dtype));
        match adapter.dropout {
            None => ops::lora_linear(
                x,
                self.weight.clone(),
                self.bias.clone(),
                a,
                b,
                lora.scale(),
            ),
            Some(dropout) => {
                let [rows, inputs] = x.dims();
                let mask = dropout
                    .mask(self.target, [rows / tokens, tokens, inputs], &x.device())
                    .cast(dtype);
                let dropped = x.clone() * mask;
                let update = dropped.matmul(a.transpose()) * lora.scale();
                frozen(x) + update.matmul(b.transpose())
            }
        }
    }
}

/// What a forward pass adds to the frozen model.
#[derive(Debug, Clone, Copy)]
pub struct Adapter<'a> {
    /// The adapter; without one the base model runs.
    pub lora: Option<&'a Lora>,
    /// Whether its matrices are tracked.
    pub tape: &'a Tape,
    /// Dropout before A, during training.
    pub dropout: Option<&'a Dropout>,
}
