//! Low-rank adapters (LoRA, arXiv 2106.09685): which layers get one, the matrices, the layer.

mod dropout;
mod linear;

pub use dropout::Dropout;
pub use linear::{Adapter, LoraLinear};

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::rng::{Purpose, Rng};

/// A linear layer that an adapter changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its Diffusers name, without the component: `transformer_blocks.0.attn.to_q`.
    pub key: String,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

/// The low-rank matrices of one layer, in float32 whatever the base model's dtype: the update of a
/// step is too small for bfloat16 to add.
#[derive(Debug, Clone)]
pub struct Pair {
    /// A, `[rank, in]`.
    pub a: Tensor<2>,
    /// B, `[out, rank]`.
    pub b: Tensor<2>,
}

/// One adapter: a [`Pair`] for each target, in the targets' order.
#[derive(Debug, Clone)]
pub struct Lora {
    /// The layers.
    pub targets: Vec<Target>,
    /// Their matrices.
    pub pairs: Vec<Pair>,
    /// The rank of every pair.
    pub rank: usize,
    /// The update is scaled by alpha / rank.
    pub alpha: f64,
}

impl Lora {
    /// The start of a training: A from the Kaiming-uniform distribution that PEFT uses (a = √5,
    /// which is uniform in ±1/√in), B zero, so that the adapter changes nothing yet.
    pub fn init(targets: Vec<Target>, rank: usize, alpha: f64, seed: u64, device: &Device) -> Self {
        let options = (device, DType::F32);
        let pairs = targets
            .iter()
            .enumerate()
            .map(|(index, target)| {
                let bound = 1.0 / (target.inputs as f32).sqrt();
                let mut rng = Rng::new(seed, Purpose::LoraInit, 0, index as u64);
                let a: Vec<f32> = (0..rank * target.inputs)
                    .map(|_| (2.0 * rng.uniform() - 1.0) * bound)
                    .collect();
                Pair {
                    a: Tensor::from_data(TensorData::new(a, [rank, target.inputs]), options),
                    b: Tensor::zeros([target.outputs, rank], options),
                }
            })
            .collect();
        Self {
            targets,
            pairs,
            rank,
            alpha,
        }
    }

    /// alpha / rank.
    pub fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }

    /// How many numbers are trained.
    pub fn parameters(&self) -> u64 {
        self.targets
            .iter()
            .map(|target| (self.rank * (target.inputs + target.outputs)) as u64)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Vec<Target> {
        [("x", 16, 8), ("y", 16, 4)]
            .map(|(key, inputs, outputs)| Target {
                key: key.to_owned(),
                inputs,
                outputs,
            })
            .to_vec()
    }

    #[test]
    fn init_is_seeded_and_bounded_and_starts_at_nothing() {
        let device = Device::flex();
        let lora = Lora::init(targets(), 4, 4.0, 3, &device);
        let values = |t: &Tensor<2>| t.to_data().to_vec::<f32>().unwrap();
        let a = values(&lora.pairs[0].a);
        assert!(a.iter().all(|x| x.abs() <= 0.25), "{a:?}");
        assert!(a.iter().any(|x| x.abs() > 0.15), "{a:?}");
        assert_ne!(a, values(&lora.pairs[1].a), "layers start apart");
        assert!(values(&lora.pairs[0].b).iter().all(|&x| x == 0.0));
        let again = Lora::init(targets(), 4, 4.0, 3, &device);
        assert_eq!(a, values(&again.pairs[0].a));
        assert_eq!(lora.parameters(), 4 * (16 + 8 + 16 + 4));
    }
}
