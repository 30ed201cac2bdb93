//! Optimizers and gradient clipping.

mod adamw;

pub use adamw::{AdamW, AdamWConfig};

use burn::tensor::Tensor;

use crate::engine::LoraGradients;

/// Scales all gradients together so that their global L2 norm is at most `limit`, as
/// `torch.nn.utils.clip_grad_norm_` does. Returns the gradients and the norm before; the norm stays
/// on the device. A limit of 0 does not clip.
pub fn clip(gradients: LoraGradients, limit: f64) -> (LoraGradients, Option<Tensor<1>>) {
    let Some(norm) = gradients.norm() else {
        return (gradients, None);
    };
    if limit <= 0.0 {
        return (gradients, Some(norm));
    }
    let factor = (norm.clone() + 1e-6).recip() * limit;
    (gradients.scale(factor.clamp_max(1.0)), Some(norm))
}
