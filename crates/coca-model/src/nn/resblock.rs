//! Pre-norm residual blocks and a stack of them.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use coca_kernels::{Activation, Mask, Place};

use crate::pieces::{Held, Pieces, run_one};

use super::{
    attention::{KeyValues, MultiheadAttention, Projected},
    init::{BlockInit, constant},
    layer_norm::LayerNorm,
    mlp::Mlp,
};

/// LayerScale: a learned factor for each channel of a residual branch.
#[derive(Module, Debug)]
struct LayerScale {
    gamma: Param<Tensor<1>>,
}

impl LayerScale {
    fn new(width: usize, value: Option<f64>, device: &Device) -> Option<Self> {
        value.map(|value| Self {
            gamma: constant([width], value, device),
        })
    }
}

/// x + scale · branch. Without a scale the branch adds itself to x, which saves a pass over memory.
fn joined(
    x: Tensor<3>,
    scale: &Option<LayerScale>,
    branch: impl FnOnce(Option<Tensor<3>>) -> Tensor<3>,
) -> Tensor<3> {
    match scale {
        Some(scale) => x + branch(None) * scale.gamma.val().unsqueeze(),
        None => branch(Some(x)),
    }
}

/// What the blocks of one transformer have in common.
#[derive(Clone, Copy)]
pub(crate) struct BlockConfig {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) hidden: usize,
    pub(crate) layer_scale: Option<f64>,
    pub(crate) activation: Activation,
    pub(crate) init: BlockInit,
}

/// x + attention(ln_1(x)), then x + mlp(ln_2(x)).
#[derive(Module, Debug)]
pub(crate) struct ResidualBlock {
    ln_1: LayerNorm,
    attn: MultiheadAttention,
    ls_1: Option<LayerScale>,
    ln_2: LayerNorm,
    mlp: Mlp,
    ls_2: Option<LayerScale>,
}

impl ResidualBlock {
    pub(crate) fn new(config: BlockConfig, device: &Device) -> Self {
        let BlockConfig {
            width,
            heads,
            hidden,
            layer_scale,
            activation,
            init,
        } = config;
        Self {
            ln_1: LayerNorm::new(width, device),
            attn: MultiheadAttention::new(width, heads, init, device),
            ls_1: LayerScale::new(width, layer_scale, device),
            ln_2: LayerNorm::new(width, device),
            mlp: Mlp::new(width, hidden, activation, init, device),
            ls_2: LayerScale::new(width, layer_scale, device),
        }
    }

    /// `[B, L, width]` to the same shape.
    pub(crate) fn forward(&self, x: Tensor<3>, mask: Mask) -> Tensor<3> {
        let normal = self.ln_1.before(x.clone());
        let x = joined(x, &self.ls_1, |x| self.attn.self_attention(normal, mask, x));
        feed_forward(x, &self.ln_2, &self.mlp, &self.ls_2)
    }

    /// One step of cached decoding: `x` is `[B, n, width]` at a place of the cache.
    pub(crate) fn decode(&self, x: Tensor<3>, cache: &mut KeyValues, place: Place) -> Tensor<3> {
        let normal = self.ln_1.before(x.clone());
        let x = joined(x, &self.ls_1, |x| {
            self.attn.cached_self_attention(normal, cache, place, x)
        });
        feed_forward(x, &self.ln_2, &self.mlp, &self.ls_2)
    }

    /// A cache of zeros for `rows` sequences of up to `capacity` tokens.
    pub(crate) fn empty_cache(&self, rows: usize, capacity: usize, device: &Device) -> KeyValues {
        let shape = self.attn.cache_shape(rows, capacity);
        KeyValues {
            keys: Tensor::zeros(shape, device),
            values: Tensor::zeros(shape, device),
        }
    }
}

fn feed_forward(
    x: Tensor<3>,
    norm: &LayerNorm,
    mlp: &Mlp,
    scale: &Option<LayerScale>,
) -> Tensor<3> {
    let normal = norm.before(x.clone());
    joined(x, scale, |x| mlp.forward(normal, x))
}

/// x + attention(ln_1(x), ln_1_kv(image tokens)), then x + mlp(ln_2(x)).
#[derive(Module, Debug)]
pub(crate) struct CrossBlock {
    ln_1: LayerNorm,
    ln_1_kv: LayerNorm,
    attn: MultiheadAttention,
    ls_1: Option<LayerScale>,
    ln_2: LayerNorm,
    mlp: Mlp,
    ls_2: Option<LayerScale>,
}

impl CrossBlock {
    pub(crate) fn new(config: BlockConfig, device: &Device) -> Self {
        let ResidualBlock {
            ln_1,
            attn,
            ls_1,
            ln_2,
            mlp,
            ls_2,
        } = ResidualBlock::new(config, device);
        Self {
            ln_1,
            ln_1_kv: LayerNorm::new(config.width, device),
            attn,
            ls_1,
            ln_2,
            mlp,
            ls_2,
        }
    }

    /// Keys and values of the image tokens `[B, N, width]`.
    pub(crate) fn image_keys_values(&self, image_tokens: Tensor<3>) -> Projected {
        self.attn
            .project_keys_values(self.ln_1_kv.forward(image_tokens))
    }

    /// How much each text position of `x` `[B, L, width]` reads each image token, averaged over the heads: `[B, L, N]`.
    pub(crate) fn attention(&self, x: Tensor<3>, image: &Projected) -> Tensor<3> {
        let queries = self.attn.project_queries(self.ln_1.before(x));
        self.attn.weights(queries, image)
    }

    /// Keys and values with their heads split, for [`Self::decode`].
    pub(crate) fn split(&self, image: Projected) -> KeyValues {
        self.attn.split(image)
    }

    /// `x` is `[B, L, width]`; every text position sees every image token.
    pub(crate) fn forward(&self, x: Tensor<3>, image: &Projected) -> Tensor<3> {
        let queries = self.attn.project_queries(self.ln_1.before(x.clone()));
        let x = joined(x, &self.ls_1, |x| {
            self.attn.cross_attention(queries, image, x)
        });
        feed_forward(x, &self.ln_2, &self.mlp, &self.ls_2)
    }

    /// The same, with the image's keys and values as decoding keeps them.
    pub(crate) fn decode(&self, x: Tensor<3>, image: &KeyValues) -> Tensor<3> {
        let queries = self.attn.project_queries(self.ln_1.before(x.clone()));
        let queries = self.attn.split_queries(queries);
        let x = joined(x, &self.ls_1, |x| {
            self.attn.attend(queries, image, Mask::None, x)
        });
        feed_forward(x, &self.ln_2, &self.mlp, &self.ls_2)
    }
}

/// A stack of self-attention blocks.
#[derive(Module, Debug)]
pub(crate) struct Transformer {
    pub(crate) resblocks: Vec<ResidualBlock>,
}

impl Transformer {
    pub(crate) fn new(config: BlockConfig, layers: usize, device: &Device) -> Self {
        Self {
            resblocks: (0..layers)
                .map(|_| ResidualBlock::new(config, device))
                .collect(),
        }
    }

    /// `[B, L, width]` to the same shape, each block a piece.
    pub(crate) fn forward(&self, x: Held, mask: Mask, pieces: &mut dyn Pieces) -> Held {
        self.resblocks.iter().fold(x, |x, block| {
            let mask = mask.clone();
            run_one(
                pieces,
                block,
                &[x],
                move |block: &ResidualBlock, inputs: &[Tensor<3>]| {
                    block.forward(inputs[0].clone(), mask.clone())
                },
            )
        })
    }
}
