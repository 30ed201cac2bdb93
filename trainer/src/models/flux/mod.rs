//! The FLUX.1 transformer (`FluxTransformer2DModel` of Diffusers; Black Forest Labs' `flux`,
//! <https://github.com/black-forest-labs/flux>), as a list of segments.

mod blocks;
mod config;
mod embed;
mod hidden;
mod position;

pub use config::Config;
pub use hidden::Hidden;
pub use position::Rope;

use std::fmt::Debug;

use burn::tensor::Tensor;

use crate::{
    Result,
    lora::{Adapter, Target},
    models::layers::{Linear, silu},
    ops,
    weights::Loader,
};

use blocks::{DoubleBlock, SingleBlock};
use embed::TimeTextEmbed;

/// A part of the model between two hidden states: the unit of checkpointing.
pub trait Segment: Debug {
    /// The next hidden state.
    fn forward(&self, hidden: Hidden, cond: &Conditioning, adapter: &Adapter) -> Hidden;
}

/// What every block is told beside the hidden state. Nothing in it is trained.
#[derive(Debug)]
pub struct Conditioning {
    /// SiLU of timestep, guidance and pooled text together, `[batch, 1, channels]`.
    pub modulation: Tensor<3>,
    /// Positions of all tokens, text first.
    pub rope: Rope,
    /// How many tokens are text.
    pub text_tokens: usize,
    /// How many tokens after the text are the image that is predicted.
    pub target_tokens: usize,
}

/// One micro-batch for the model. Tensors are float32; the model casts.
#[derive(Debug, Clone)]
pub struct Input {
    /// The noised image, packed: `[batch, rows·columns, 64]`.
    pub image: Tensor<3>,
    /// Rows and columns of tokens.
    pub grid: [usize; 2],
    /// A control image (Kontext), packed likewise, of the same size.
    pub control: Option<Tensor<3>>,
    /// T5's states, `[batch, tokens, joint_attention_dim]`.
    pub t5: Tensor<3>,
    /// CLIP's pooled output, `[batch, pooled_projection_dim]`.
    pub clip: Tensor<2>,
    /// In 0..1, one for each sample.
    pub timesteps: Vec<f32>,
    /// The guidance scale; a model without guidance embedding (schnell) has no use for it.
    pub guidance: f32,
}

/// The transformer, frozen.
#[derive(Debug)]
pub struct Flux {
    config: Config,
    targets: Vec<Target>,
    x_embedder: Linear,
    context_embedder: Linear,
    time_text_embed: TimeTextEmbed,
    transformer_blocks: Vec<DoubleBlock>,
    single_transformer_blocks: Vec<SingleBlock>,
    /// `norm_out.linear`
    norm_out: Linear,
    proj_out: Linear,
}

impl Flux {
    /// Reads all weights; they stay in the loader's dtype.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(weights: &Loader, config: Config) -> Result<Self> {
        let c = config.hidden();
        let linear = |key: &str, inputs, outputs| Linear::load(&weights.at(key), inputs, outputs);
        let mut targets = Vec::new();
        let x_embedder = linear("x_embedder", config.in_channels, c)?;
        let context_embedder = linear("context_embedder", config.joint_attention_dim, c)?;
        let time_text_embed = TimeTextEmbed::load(&weights.at("time_text_embed"), &config)?;
        let transformer_blocks = (0..config.num_layers)
            .map(|i| {
                let at = weights.at(&format!("transformer_blocks.{i}"));
                DoubleBlock::load(&at, &config, &mut targets)
            })
            .collect::<Result<_>>()?;
        let single_transformer_blocks = (0..config.num_single_layers)
            .map(|i| {
                let at = weights.at(&format!("single_transformer_blocks.{i}"));
                SingleBlock::load(&at, &config, &mut targets)
            })
            .collect::<Result<_>>()?;
        let norm_out = linear("norm_out.linear", c, 2 * c)?;
        let proj_out = linear("proj_out", c, config.in_channels)?;
        Ok(Self {
            config,
            targets,
            x_embedder,
            context_embedder,
            time_text_embed,
            transformer_blocks,
            single_transformer_blocks,
            norm_out,
            proj_out,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every linear layer of every block, as the reference adapts them.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The blocks in order.
    pub fn segments(&self) -> impl Iterator<Item = &dyn Segment> {
        let double = self.transformer_blocks.iter().map(|b| b as &dyn Segment);
        let single = &self.single_transformer_blocks;
        double.chain(single.iter().map(|b| b as &dyn Segment))
    }

    /// The first hidden state, and what the blocks are told.
    pub fn embed(&self, input: &Input) -> (Hidden, Conditioning) {
        let [batch, target_tokens, _] = input.image.dims();
        assert_eq!(
            target_tokens,
            input.grid.iter().product::<usize>(),
            "tokens of the image and its grid {:?}",
            input.grid
        );
        let text_tokens = input.t5.dims()[1];
        let dtype = self.x_embedder.dtype();

        let mut image = input.image.clone();
        if let Some(control) = &input.control {
            image = Tensor::cat(vec![image, control.clone()], 1);
        }
        let images = 1 + usize::from(input.control.is_some());
        let rope = Rope::new(
            self.config.axes_dims_rope,
            text_tokens,
            images,
            input.grid,
            &image.device(),
        );
        let temb = self.time_text_embed.forward(
            &input.timesteps,
            input.guidance,
            input.clip.clone().cast(dtype),
        );
        let hidden = Hidden::Streams {
            txt: self.context_embedder.forward(input.t5.clone().cast(dtype)),
            img: self.x_embedder.forward(image.cast(dtype)),
        };
        let conditioning = Conditioning {
            modulation: silu(temb).reshape([batch, 1, self.config.hidden()]),
            rope,
            text_tokens,
            target_tokens,
        };
        (hidden, conditioning)
    }

    /// The prediction for the target's tokens: `[batch, tokens, 64]`, float32.
    pub fn head(&self, hidden: Hidden, cond: &Conditioning) -> Tensor<3> {
        let (_, img) = hidden.streams(cond.text_tokens);
        let x = img.narrow(1, 0, cond.target_tokens);
        // Scale before shift here, unlike in the blocks.
        let mut parts = self
            .norm_out
            .forward(cond.modulation.clone())
            .chunk(2, 2)
            .into_iter();
        let mut next = || parts.next().expect("scale and shift");
        let (scale, shift) = (next(), next());
        self.proj_out
            .forward(ops::modulate(x, shift, scale))
            .cast(burn::tensor::DType::F32)
    }
}
