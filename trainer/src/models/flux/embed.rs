//! From timestep, guidance and pooled text to the vector that modulates every block.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::{Result, models::layers::{Linear, silu}, weights::Loader};

use super::Config;

/// Channels of the sinusoidal embedding.
const SINUSOID_CHANNELS: usize = 256;

/// Diffusers' `CombinedTimestepGuidanceTextProjEmbeddings`, or without guidance for schnell.
#[derive(Debug)]
pub(super) struct TimeTextEmbed {
    timestep_embedder: Mlp,
    guidance_embedder: Option<Mlp>,
    text_embedder: Mlp,
}

impl TimeTextEmbed {
    pub(super) fn load(weights: &Loader, config: &Config) -> Result<Self> {
        let hidden = config.hidden();
        let mlp = |key, inputs| Mlp::load(&weights.at(key), inputs, hidden);
        Ok(Self {
            timestep_embedder: mlp("timestep_embedder", SINUSOID_CHANNELS)?,
            guidance_embedder: config
                .guidance_embeds
                .then(|| mlp("guidance_embedder", SINUSOID_CHANNELS))
                .transpose()?,
            text_embedder: mlp("text_embedder", config.pooled_projection_dim)?,
        })
    }

    /// `timesteps` and `guidance` as the model's user gives them (0..1 and around 1..4), `pooled`
    /// `[batch, pooled_projection_dim]`; the result: `[batch, hidden]`.
    pub(super) fn forward(
        &self,
        timesteps: &[f32],
        guidance: f32,
        pooled: Tensor<2>,
    ) -> Tensor<2> {
        let (device, dtype) = (pooled.device(), pooled.dtype());
        let sinusoid = |values: &[f32]| sinusoid(values, &device).cast(dtype);
        let mut sum = self.timestep_embedder.forward(sinusoid(timesteps));
        if let Some(embedder) = &self.guidance_embedder {
            sum = sum + embedder.forward(sinusoid(&vec![guidance; timesteps.len()]));
        }
        sum + self.text_embedder.forward(pooled)
    }
}

/// Two linear layers with a SiLU between them.
#[derive(Debug)]
struct Mlp {
    linear_1: Linear,
    linear_2: Linear,
}

impl Mlp {
    fn load(weights: &Loader, inputs: usize, hidden: usize) -> Result<Self> {
        Ok(Self {
            linear_1: Linear::load(&weights.at("linear_1"), inputs, hidden)?,
            linear_2: Linear::load(&weights.at("linear_2"), hidden, hidden)?,
        })
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(silu(self.linear_1.forward(x)))
    }
}

/// Cosines, then sines, of 1000·t at 128 frequencies: `[batch, 256]`, float32, computed on the host.
/// (Diffusers rounds t to the model's dtype first; bfloat16 would merge timesteps up to 0.004 apart.)
fn sinusoid(values: &[f32], device: &Device) -> Tensor<2> {
    let half = SINUSOID_CHANNELS / 2;
    let angle = |value: f32, i: usize| {
        let frequency = (-(10_000f32.ln()) * i as f32 / half as f32).exp();
        value * 1000.0 * frequency
    };
    let table: Vec<f32> = values
        .iter()
        .flat_map(|&value| {
            let cos = (0..half).map(move |i| angle(value, i).cos());
            cos.chain((0..half).map(move |i| angle(value, i).sin()))
        })
        .collect();
    let data = TensorData::new(table, [values.len(), SINUSOID_CHANNELS]);
    Tensor::from_data(data, (device, DType::F32))
}
