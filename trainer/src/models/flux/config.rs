//! The transformer's `config.json`.

use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result, weights::read_json};

/// The shape of a FLUX transformer, as Diffusers writes it. FLUX.1 has 19 double and 38 single
/// blocks of 24 heads with 128 channels each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Config {
    /// Channels of a packed latent token: 64 = 16 latent channels × 2 × 2.
    pub in_channels: usize,
    /// Double blocks.
    pub num_layers: usize,
    /// Single blocks.
    pub num_single_layers: usize,
    /// Channels of a head.
    pub attention_head_dim: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Channels of a T5 state.
    pub joint_attention_dim: usize,
    /// Channels of CLIP's pooled output.
    pub pooled_projection_dim: usize,
    /// Whether the model takes a guidance scale (dev) or not (schnell).
    pub guidance_embeds: bool,
    /// Channels of a head that each position axis rotates.
    #[serde(default = "axes_dims_rope")]
    pub axes_dims_rope: [usize; 3],
}

fn axes_dims_rope() -> [usize; 3] {
    [16, 56, 56]
}

/// No layer of a FLUX model is near this; a file that says more is broken or hostile.
const LIMIT: usize = 1 << 16;

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// When the file is missing or malformed, or the sizes do not fit together.
    pub fn read(path: &Path) -> Result<Self> {
        let config: Self = read_json(path)?;
        config.check().map_err(|problem| {
            Error::file(
                path,
                problem,
                "use the transformer folder of a FLUX model in Diffusers format",
            )
        })?;
        Ok(config)
    }

    /// Channels of the hidden state.
    pub fn hidden(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("in_channels", self.in_channels),
            ("attention_head_dim", self.attention_head_dim),
            ("num_attention_heads", self.num_attention_heads),
            ("joint_attention_dim", self.joint_attention_dim),
            ("pooled_projection_dim", self.pooled_projection_dim),
        ] {
            if value == 0 || value > LIMIT {
                return Err(format!("`{name}` is {value}"));
            }
        }
        for (name, value) in [
            ("num_layers", self.num_layers),
            ("num_single_layers", self.num_single_layers),
        ] {
            if value > 1024 {
                return Err(format!("`{name}` is {value}"));
            }
        }
        if self.num_layers + self.num_single_layers == 0 {
            return Err("the transformer has no blocks".to_owned());
        }
        if self.axes_dims_rope.iter().any(|dim| dim % 2 == 1)
            || self.axes_dims_rope.iter().map(|&dim| dim as u64).sum::<u64>()
                != self.attention_head_dim as u64
        {
            return Err(format!(
                "`axes_dims_rope` {:?} must be even numbers that add up to `attention_head_dim`, {}",
                self.axes_dims_rope, self.attention_head_dim
            ));
        }
        if self.in_channels != 64 {
            return Err(format!(
                "`in_channels` is {}: only FLUX.1 with 64 (16 latent channels, 2×2 patches) is \
                 supported",
                self.in_channels
            ));
        }
        Ok(())
    }
}
