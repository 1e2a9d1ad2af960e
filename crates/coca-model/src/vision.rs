//! The image encoder (ViT) with its attentional pooler.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use coca_kernels::Weight;

use crate::{
    config::{AttentionalPool, ModelConfig},
    nn::{
        BlockConfig, BlockInit, LayerNorm, Mask, Transformer, activation_of, normal, project,
        uniform,
    },
    pieces::{Held, Pieces, Whole, run},
    pooler::AttentionalPooler,
};

/// The patch embedding: a convolution whose stride is its size.
#[derive(Module, Debug)]
struct PatchEmbedding {
    weight: Param<Tensor<4>>,
}

impl PatchEmbedding {
    /// `[B, 3, height, width]` to `[B, patches, V]`, row by row. Pixels beyond the last whole patch are not seen.
    fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [width, channels, ph, pw] = self.weight.val().dims();
        let [batch, _, h, w] = pixels.dims();
        let (gh, gw) = (h / ph, w / pw);
        // As a product of matrices: the patches do not overlap, and every backend is fastest at that.
        let patches = pixels
            .slice([0..batch, 0..channels, 0..gh * ph, 0..gw * pw])
            .reshape([batch, channels, gh, ph, gw, pw])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch, gh * gw, channels * ph * pw]);
        let weight = self.weight.val().reshape([width, channels * ph * pw]);
        project(patches, Weight::OutputFirst(weight), None)
    }
}

/// What the image encoder gives.
pub(crate) struct ImageFeatures {
    /// `[B, E]`, projected, not normalised.
    pub(crate) pooled: Tensor<2>,
    /// `[B, N, D]`: what the multimodal text decoder sees.
    pub(crate) tokens: Held,
}

/// ViT, then the attentional pooler, then the projection into the joint space.
#[derive(Module, Debug)]
pub(crate) struct VisionTransformer {
    conv1: PatchEmbedding,
    class_embedding: Param<Tensor<1>>,
    positional_embedding: Param<Tensor<2>>,
    ln_pre: LayerNorm,
    transformer: Transformer,
    attn_pool: Option<AttentionalPooler>,
    attn_pool_contrastive: Option<AttentionalPooler>,
    ln_post: LayerNorm,
    proj: Param<Tensor<2>>,
    #[module(skip)]
    pool: AttentionalPool,
}

impl VisionTransformer {
    pub(crate) fn new(config: &ModelConfig, device: &Device) -> Self {
        let (v, embed) = (&config.vision_cfg, config.embed_dim);
        let ([ph, pw], [gh, gw]) = (v.patch_size.dims(), v.grid());
        let scale = (v.width as f64).powf(-0.5);
        let pooler = |key_width, queries| {
            AttentionalPooler::new(embed, key_width, v.attn_pooler_heads, queries, device)
        };
        let block = BlockConfig {
            width: v.width,
            heads: v.heads(),
            hidden: v.mlp_hidden(),
            layer_scale: v.ls_init_value,
            activation: activation_of(config),
            init: BlockInit::Torch,
        };
        let pooled_width = if v.attentional_pool == AttentionalPool::None {
            v.width
        } else {
            embed
        };
        Self {
            conv1: PatchEmbedding {
                weight: uniform(
                    [v.width, 3, ph, pw],
                    (3.0 * (ph * pw) as f64).powf(-0.5),
                    device,
                ),
            },
            class_embedding: normal([v.width], scale, device),
            positional_embedding: normal([gh * gw + 1, v.width], scale, device),
            ln_pre: LayerNorm::new(v.width, device),
            transformer: Transformer::new(block, v.layers, device),
            attn_pool: (v.attentional_pool != AttentionalPool::None)
                .then(|| pooler(v.width, v.attn_pooler_queries)),
            attn_pool_contrastive: matches!(
                v.attentional_pool,
                AttentionalPool::Parallel | AttentionalPool::Cascade
            )
            .then(|| pooler(embed, 1)),
            ln_post: LayerNorm::new(pooled_width, device),
            proj: normal([pooled_width, embed], scale, device),
            pool: v.attentional_pool,
        }
    }

    /// `pixels` is `[B, 3, height, width]`, normalised. With patch dropout only the `kept` patches of each image,
    /// `[B, n]`, go through the transformer.
    pub(crate) fn forward(
        &self,
        pixels: Tensor<4>,
        kept: Option<&[Vec<usize>]>,
        pieces: &mut dyn Pieces,
    ) -> ImageFeatures {
        let x = self.encode(pixels, kept, pieces);
        self.features(x, pieces)
    }

    /// As [`Self::forward`]; also how much each image token reads each token of the transformer, the class token first:
    /// `[B, N, 1 + patches]`, averaged over the heads. Nothing where there is no pooler: the image tokens are the patches.
    pub(crate) fn forward_with_attention(
        &self,
        pixels: Tensor<4>,
    ) -> (ImageFeatures, Option<Tensor<3>>) {
        let x = self.encode(pixels, None, &mut Whole);
        let attention = match (&self.attn_pool, &self.attn_pool_contrastive) {
            (None, _) => None,
            (Some(pooler), None) => {
                let of_queries = pooler.attention(x.tensor.clone());
                // The first query makes the image embedding, as in `pool`.
                let tokens = of_queries.dims()[1] - 1;
                Some(of_queries.narrow(1, 1, tokens))
            }
            (Some(captioning), Some(_)) => {
                Some(captioning.attention(self.ln_post.forward(x.tensor.clone())))
            }
        };
        (self.features(x, &mut Whole), attention)
    }

    /// The transformer's output, `[B, 1 + patches or n, V]`.
    fn encode(
        &self,
        pixels: Tensor<4>,
        kept: Option<&[Vec<usize>]>,
        pieces: &mut dyn Pieces,
    ) -> Held {
        let mut x = self.embed(pixels);
        if let Some(kept) = kept {
            x = keep_patches(x, kept);
        }
        let x = Held::from(self.ln_pre.forward(x));
        self.transformer.forward(x, Mask::None, pieces)
    }

    fn features(&self, x: Held, pieces: &mut dyn Pieces) -> ImageFeatures {
        let mut pooled = run(pieces, self, &[x], |this: &Self, inputs: &[Tensor<3>]| {
            let (pooled, tokens) = this.pool(inputs[0].clone());
            vec![pooled.unsqueeze_dim(1), tokens]
        });
        let (tokens, pooled) = (pooled.swap_remove(1), pooled.swap_remove(0));
        let pooled = pooled.tensor.squeeze_dim::<2>(1);
        ImageFeatures {
            pooled: project(pooled, Weight::InputFirst(self.proj.val()), None),
            tokens,
        }
    }

    /// Patch tokens behind the class token, with positions: `[B, 1 + patches, V]`.
    fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let patches = self.conv1.forward(pixels);
        let [batch, count, width] = patches.dims();
        let positions = self.positional_embedding.val();
        let class = (self.class_embedding.val().unsqueeze() + positions.clone().narrow(0, 0, 1))
            .unsqueeze::<3>()
            .expand([batch, 1, width]);
        let patches = patches + positions.narrow(0, 1, count).unsqueeze();
        Tensor::cat(vec![class, patches], 1)
    }

    /// The pooled vector `[B, E or V]` and the image tokens `[B, N, D]`.
    fn pool(&self, x: Tensor<3>) -> (Tensor<2>, Tensor<3>) {
        let first = |x: &Tensor<3>| x.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
        let rest = |x: Tensor<3>| {
            let others = x.dims()[1] - 1;
            x.narrow(1, 1, others)
        };
        match (&self.attn_pool, &self.attn_pool_contrastive) {
            (None, _) => {
                let x = self.ln_post.forward(x);
                (first(&x), rest(x))
            }
            (Some(pooler), None) => {
                let x = self.ln_post.forward(pooler.forward(x));
                (first(&x), rest(x))
            }
            (Some(captioning), Some(contrastive)) => {
                let x = self.ln_post.forward(x);
                let tokens = captioning.forward(x.clone());
                let source = if self.pool == AttentionalPool::Cascade {
                    tokens.clone()
                } else {
                    x
                };
                (first(&contrastive.forward(source)), tokens)
            }
        }
    }
}

/// The class token and the patches `kept` of each image: `[B, 1 + patches, V]` to `[B, 1 + n, V]` (patch dropout, Li
/// et al. 2022, arXiv 2212.00794).
fn keep_patches(x: Tensor<3>, kept: &[Vec<usize>]) -> Tensor<3> {
    let [batch, length, width] = x.dims();
    let rows: Vec<i32> = kept
        .iter()
        .enumerate()
        .flat_map(|(image, patches)| {
            let tokens = std::iter::once(0).chain(patches.iter().map(|patch| 1 + patch));
            tokens.map(move |token| (image * length + token) as i32)
        })
        .collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::from(rows.as_slice()), &x.device());
    let tokens = rows.dims()[0] / batch.max(1);
    x.reshape([batch * length, width])
        .select(0, rows)
        .reshape([batch, tokens, width])
}
