//! The two kinds of transformer block.
//!
//! Shapes: `b` batch, `t` text tokens, `i` image tokens (control included), `n` = t + i, `h` heads,
//! `d` head dim, `c` = h·d hidden channels.

use burn::tensor::Tensor;

use crate::{
    Result,
    lora::{Adapter, LoraLinear, Target},
    ops,
    weights::Loader,
};

use super::{Conditioning, Config, Hidden, Segment, position::Rope};

/// What adaptive layer norm takes from the conditioning; each `[b, 1, c]`.
struct Modulation {
    shift: Tensor<3>,
    scale: Tensor<3>,
    gate: Tensor<3>,
}

/// `N` modulations from a linear layer on the conditioning vector.
fn modulations<const N: usize>(
    linear: &LoraLinear,
    conditioning: &Conditioning,
    adapter: &Adapter,
) -> [Modulation; N] {
    let all = linear.forward(conditioning.modulation.clone(), adapter); // [b, 1, 3·N·c]
    let mut chunks = all.chunk(3 * N, 2).into_iter();
    let mut next = || chunks.next().expect("three parts for each modulation");
    std::array::from_fn(|_| Modulation {
        shift: next(),
        scale: next(),
        gate: next(),
    })
}

/// `[b, n, h·d]` to `[b, h, n, d]`.
fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, n, c] = x.dims();
    x.reshape([b, n, heads, c / heads]).swap_dims(1, 2)
}

/// `[b, h, n, d]` to `[b, n, h·d]`.
fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [b, h, n, d] = x.dims();
    x.swap_dims(1, 2).reshape([b, n, h * d])
}

/// Queries, keys and values of one stream, with the norms of queries and keys.
#[derive(Debug)]
struct Projections {
    to_q: LoraLinear,
    to_k: LoraLinear,
    to_v: LoraLinear,
    norm_q: Tensor<1>,
    norm_k: Tensor<1>,
    heads: usize,
}

impl Projections {
    /// `linears` and `norms` are the keys of q, k, v and of the norms of q and k.
    fn load(
        weights: &Loader,
        linears: [&str; 3],
        norms: [&str; 2],
        config: &Config,
        targets: &mut Vec<Target>,
    ) -> Result<Self> {
        let c = config.hidden();
        let mut linear = |key| LoraLinear::load(weights, key, [c, c], targets);
        let norm = |key| {
            weights
                .at(key)
                .tensor("weight", [config.attention_head_dim])
        };
        Ok(Self {
            to_q: linear(linears[0])?,
            to_k: linear(linears[1])?,
            to_v: linear(linears[2])?,
            norm_q: norm(norms[0])?,
            norm_k: norm(norms[1])?,
            heads: config.num_attention_heads,
        })
    }

    /// q, k, v, each `[b, h, n, d]`.
    fn forward(&self, x: &Tensor<3>, rope: &Rope, adapter: &Adapter) -> [Tensor<4>; 3] {
        let rotated = |linear: &LoraLinear, norm: &Tensor<1>| {
            ops::qk_norm_rope(
                linear.forward(x.clone(), adapter),
                norm.clone(),
                rope.cos.clone(),
                rope.sin.clone(),
            )
        };
        [
            rotated(&self.to_q, &self.norm_q),
            rotated(&self.to_k, &self.norm_k),
            split_heads(self.to_v.forward(x.clone(), adapter), self.heads),
        ]
    }
}

/// One stream (image or text) of a double block.
#[derive(Debug)]
struct Stream {
    norm: LoraLinear,
    qkv: Projections,
    to_out: LoraLinear,
    ff_in: LoraLinear,
    ff_out: LoraLinear,
}

/// The keys of a stream.
struct StreamKeys {
    norm: &'static str,
    qkv: [&'static str; 3],
    norms: [&'static str; 2],
    to_out: &'static str,
    ff: [&'static str; 2],
}

const IMAGE: StreamKeys = StreamKeys {
    norm: "norm1.linear",
    qkv: ["attn.to_q", "attn.to_k", "attn.to_v"],
    norms: ["attn.norm_q", "attn.norm_k"],
    to_out: "attn.to_out.0",
    ff: ["ff.net.0.proj", "ff.net.2"],
};

const TEXT: StreamKeys = StreamKeys {
    norm: "norm1_context.linear",
    qkv: ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    norms: ["attn.norm_added_q", "attn.norm_added_k"],
    to_out: "attn.to_add_out",
    ff: ["ff_context.net.0.proj", "ff_context.net.2"],
};

impl Stream {
    fn load(
        weights: &Loader,
        keys: &StreamKeys,
        config: &Config,
        targets: &mut Vec<Target>,
    ) -> Result<Self> {
        let c = config.hidden();
        let norm = LoraLinear::load(weights, keys.norm, [c, 6 * c], targets)?;
        let qkv = Projections::load(weights, keys.qkv, keys.norms, config, targets)?;
        let mut linear = |key, shape| LoraLinear::load(weights, key, shape, targets);
        Ok(Self {
            norm,
            qkv,
            to_out: linear(keys.to_out, [c, c])?,
            ff_in: linear(keys.ff[0], [c, 4 * c])?,
            ff_out: linear(keys.ff[1], [4 * c, c])?,
        })
    }

    /// The stream after attention (`[b, tokens, c]`) and the feed-forward layer.
    fn after_attention(
        &self,
        x: Tensor<3>,
        attention: Tensor<3>,
        [attn, mlp]: [Modulation; 2],
        adapter: &Adapter,
    ) -> Tensor<3> {
        let x = ops::gated_add(x, self.to_out.forward(attention, adapter), attn.gate);
        let y = ops::modulate(x.clone(), mlp.shift, mlp.scale);
        let y = ops::gelu(self.ff_in.forward(y, adapter));
        ops::gated_add(x, self.ff_out.forward(y, adapter), mlp.gate)
    }
}

/// `FluxTransformerBlock`: image and text have weights of their own and attend to each other.
#[derive(Debug)]
pub(super) struct DoubleBlock {
    img: Stream,
    txt: Stream,
}

impl DoubleBlock {
    pub(super) fn load(
        weights: &Loader,
        config: &Config,
        targets: &mut Vec<Target>,
    ) -> Result<Self> {
        Ok(Self {
            img: Stream::load(weights, &IMAGE, config, targets)?,
            txt: Stream::load(weights, &TEXT, config, targets)?,
        })
    }
}

impl Segment for DoubleBlock {
    fn forward(&self, hidden: Hidden, cond: &Conditioning, adapter: &Adapter) -> Hidden {
        let (txt, img) = hidden.streams(cond.text_tokens);
        let (t, n) = (cond.text_tokens, cond.text_tokens + img.dims()[1]);
        let img_mod: [Modulation; 2] = modulations(&self.img.norm, cond, adapter);
        let txt_mod: [Modulation; 2] = modulations(&self.txt.norm, cond, adapter);

        let enter = |stream: &Stream, x: &Tensor<3>, m: &Modulation, rope: &Rope| {
            let x = ops::modulate(x.clone(), m.shift.clone(), m.scale.clone());
            stream.qkv.forward(&x, rope, adapter)
        };
        let txt_qkv = enter(&self.txt, &txt, &txt_mod[0], &cond.rope.slice(0, t));
        let img_qkv = enter(&self.img, &img, &img_mod[0], &cond.rope.slice(t, n));
        let mut joined = txt_qkv
            .into_iter()
            .zip(img_qkv)
            .map(|(txt, img)| Tensor::cat(vec![txt, img], 2)); // [b, h, n, d]
        let mut next = || joined.next().expect("q, k and v");
        let attention = merge_heads(ops::attention(next(), next(), next())); // [b, n, c]

        let img_attention = attention.clone().narrow(1, t, n - t);
        let txt_attention = attention.narrow(1, 0, t);
        Hidden::Streams {
            txt: self.txt.after_attention(txt, txt_attention, txt_mod, adapter),
            img: self.img.after_attention(img, img_attention, img_mod, adapter),
        }
    }
}

/// `FluxSingleTransformerBlock`: one stream, attention and feed-forward side by side.
#[derive(Debug)]
pub(super) struct SingleBlock {
    norm: LoraLinear,
    qkv: Projections,
    proj_mlp: LoraLinear,
    proj_out: LoraLinear,
}

impl SingleBlock {
    pub(super) fn load(
        weights: &Loader,
        config: &Config,
        targets: &mut Vec<Target>,
    ) -> Result<Self> {
        let c = config.hidden();
        let norm = LoraLinear::load(weights, "norm.linear", [c, 3 * c], targets)?;
        let qkv = Projections::load(weights, IMAGE.qkv, IMAGE.norms, config, targets)?;
        Ok(Self {
            norm,
            qkv,
            proj_mlp: LoraLinear::load(weights, "proj_mlp", [c, 4 * c], targets)?,
            proj_out: LoraLinear::load(weights, "proj_out", [5 * c, c], targets)?,
        })
    }
}

impl Segment for SingleBlock {
    fn forward(&self, hidden: Hidden, cond: &Conditioning, adapter: &Adapter) -> Hidden {
        let x = hidden.joined();
        let [modulation]: [Modulation; 1] = modulations(&self.norm, cond, adapter);
        let y = ops::modulate(x.clone(), modulation.shift, modulation.scale);
        let [q, k, v] = self.qkv.forward(&y, &cond.rope, adapter);
        let attention = merge_heads(ops::attention(q, k, v));
        let mlp = ops::gelu(self.proj_mlp.forward(y, adapter));
        let both = Tensor::cat(vec![attention, mlp], 2); // [b, n, 5c]
        let y = self.proj_out.forward(both, adapter);
        Hidden::Joined(ops::gated_add(x, y, modulation.gate))
    }
}
