//! The multimodal text decoder: causal self-attention and cross-attention over the image tokens, in turn.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use coca_kernels::Weight;

use crate::{
    config::ModelConfig,
    nn::{
        BlockConfig, BlockInit, CrossBlock, KeyValues, LayerNorm, Mask, Place, Projected,
        ResidualBlock, activation_of, normal, product,
    },
    pieces::{Held, Pieces, run_one},
};

/// Blocks, final norm and the projection to the vocabulary (not tied to the token embedding).
#[derive(Module, Debug)]
pub(crate) struct MultimodalTransformer {
    resblocks: Vec<ResidualBlock>,
    cross_attn: Vec<CrossBlock>,
    ln_final: LayerNorm,
    text_projection: Param<Tensor<2>>,
}

impl MultimodalTransformer {
    pub(crate) fn new(config: &ModelConfig, device: &Device) -> Self {
        let m = &config.multimodal_cfg;
        let block = BlockConfig {
            width: m.width,
            heads: m.heads,
            hidden: 4 * m.width,
            layer_scale: m.ls_init_value,
            activation: activation_of(config),
            // open_clip never calls the decoder's initialisation (issue 554) and leaves text_projection
            // uninitialised; this is what its dead code intends.
            init: BlockInit::Clip { layers: m.layers },
        };
        let vocabulary = config.text_cfg.vocab_size;
        Self {
            resblocks: (0..m.layers)
                .map(|_| ResidualBlock::new(block, device))
                .collect(),
            cross_attn: (0..m.layers)
                .map(|_| CrossBlock::new(block, device))
                .collect(),
            ln_final: LayerNorm::new(m.width, device),
            text_projection: normal([m.width, vocabulary], (m.width as f64).powf(-0.5), device),
        }
    }

    /// Keys and values of the image tokens `[B, N, D]`, one pair a layer.
    pub(crate) fn image_keys_values(&self, image_tokens: Tensor<3>) -> Vec<Projected> {
        self.cross_attn
            .iter()
            .map(|block| block.image_keys_values(image_tokens.clone()))
            .collect()
    }

    /// The image's keys and values as [`Self::decode`] takes them.
    pub(crate) fn split(&self, image: Vec<Projected>) -> Vec<KeyValues> {
        let layers = self.cross_attn.iter().zip(image);
        layers.map(|(block, image)| block.split(image)).collect()
    }

    /// Unimodal outputs `[T, L, D]` to the decoder's outputs `[T, L, D]`, before the projection.
    pub(crate) fn forward(&self, text_tokens: Tensor<3>, image: &[Projected]) -> Tensor<3> {
        let layers = self.resblocks.iter().zip(&self.cross_attn).zip(image);
        layers.fold(text_tokens, |x, ((block, cross), image)| {
            cross.forward(block.forward(x, Mask::Causal), image)
        })
    }

    /// As [`Self::forward`]; also how much each text position reads each image token, averaged over heads and layers,
    /// `[T, L, N]`.
    pub(crate) fn forward_with_attention(
        &self,
        text_tokens: Tensor<3>,
        image: &[Projected],
    ) -> (Tensor<3>, Tensor<3>) {
        let (mut x, mut of_layers) = (text_tokens, Vec::with_capacity(image.len()));
        for ((block, cross), image) in self.resblocks.iter().zip(&self.cross_attn).zip(image) {
            x = block.forward(x, Mask::Causal);
            of_layers.push(cross.attention(x.clone(), image));
            x = cross.forward(x, image);
        }
        let attention = Tensor::stack::<4>(of_layers, 0).mean_dim(0).squeeze_dim(0);
        (x, attention)
    }

    /// The outputs `[T, columns, D]` of texts that read the images `image_of_row`, each layer a piece: `text`
    /// `[T, L + 1, D]` is what the unimodal text decoder gives, `image` `[B, N, D]` are the image tokens.
    pub(crate) fn train(
        &self,
        text: &Held,
        columns: usize,
        image: &Held,
        image_of_row: &[usize],
        pieces: &mut dyn Pieces,
    ) -> Tensor<3> {
        let layers = self.resblocks.iter().zip(&self.cross_attn);
        let outputs = layers.fold(text.clone(), |x, (block, cross)| {
            let rows = image_of_row.to_vec();
            let layer = move |layer: &(ResidualBlock, CrossBlock), inputs: &[Tensor<3>]| {
                let (block, cross) = layer;
                // The first layer cuts the text to the columns that are used.
                let x = inputs[0].clone().narrow(1, 0, columns);
                let image = cross.image_keys_values(inputs[1].clone()).pick(&rows);
                cross.forward(block.forward(x, Mask::Causal), &image)
            };
            let layer_weights = (block.clone(), cross.clone());
            run_one(pieces, &layer_weights, &[x, image.clone()], layer)
        });
        outputs.tensor.narrow(1, 0, columns)
    }

    /// Cached decoding: `x` `[T, n, D]` stands at positions `start..` of the caches.
    pub(crate) fn decode(
        &self,
        x: Tensor<3>,
        caches: &mut [KeyValues],
        image: &[KeyValues],
        place: &Place,
    ) -> Tensor<3> {
        let layers = self
            .resblocks
            .iter()
            .zip(&self.cross_attn)
            .zip(caches)
            .zip(image);
        layers.fold(x, |x, (((block, cross), cache), image)| {
            cross.decode(block.decode(x, cache, place.clone()), image)
        })
    }

    /// Empty self-attention caches, one a layer.
    pub(crate) fn empty_caches(
        &self,
        rows: usize,
        capacity: usize,
        device: &Device,
    ) -> Vec<KeyValues> {
        self.resblocks
            .iter()
            .map(|block| block.empty_cache(rows, capacity, device))
            .collect()
    }

    /// Logits over the vocabulary: `[.., D]` to `[.., vocabulary]`.
    pub(crate) fn logits<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let weight = Weight::InputFirst(self.text_projection.val());
        product(self.ln_final.before(x), weight, None)
    }
}
