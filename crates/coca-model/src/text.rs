//! The unimodal text decoder: causal, with a CLS token appended to the text.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Int, Tensor};
use coca_kernels::{Weight, embedding};

use crate::{
    config::ModelConfig,
    nn::{
        BlockConfig, BlockInit, KeyValues, LayerNorm, Mask, Place, Transformer, activation_of,
        normal, product, project,
    },
    pieces::{Held, Pieces},
};

/// The table of token embeddings.
#[derive(Module, Debug)]
struct TokenEmbedding {
    weight: Param<Tensor<2>>,
}

/// What the unimodal text decoder gives.
pub(crate) struct TextFeatures {
    /// `[T, E]`: the CLS output, projected, not normalised.
    pub(crate) pooled: Tensor<2>,
    /// `[T, L + 1, D]`: the outputs before the final norm, CLS last. The text's are what the multimodal text decoder
    /// reads.
    pub(crate) outputs: Held,
}

impl TextFeatures {
    /// The outputs without CLS, `[T, L, D]`.
    pub(crate) fn tokens(&self) -> Tensor<3> {
        let x = self.outputs.tensor.clone();
        let length = x.dims()[1] - 1;
        x.narrow(1, 0, length)
    }
}

/// Token and position embeddings, causal blocks, CLS.
#[derive(Module, Debug)]
pub(crate) struct TextTransformer {
    cls_emb: Param<Tensor<1>>,
    positional_embedding: Param<Tensor<2>>,
    token_embedding: TokenEmbedding,
    transformer: Transformer,
    ln_final: LayerNorm,
    text_projection: Param<Tensor<2>>,
    pad_id: u32,
    correct_cls_mask: bool,
}

impl TextTransformer {
    pub(crate) fn new(config: &ModelConfig, device: &Device) -> Self {
        let t = &config.text_cfg;
        let block = BlockConfig {
            width: t.width,
            heads: t.heads,
            hidden: 4 * t.width,
            layer_scale: t.ls_init_value,
            activation: activation_of(config),
            init: BlockInit::Clip { layers: t.layers },
        };
        Self {
            cls_emb: normal([t.width], 0.01, device),
            positional_embedding: normal([t.context_length + 1, t.width], 0.01, device),
            token_embedding: TokenEmbedding {
                weight: normal([t.vocab_size, t.width], 0.02, device),
            },
            transformer: Transformer::new(block, t.layers, device),
            ln_final: LayerNorm::new(t.width, device),
            text_projection: normal(
                [t.width, config.embed_dim],
                (t.width as f64).powf(-0.5),
                device,
            ),
            pad_id: t.pad_id,
            correct_cls_mask: t.correct_cls_mask,
        }
    }

    /// `ids` is `[T, L]`, right padded, L at most the context length.
    pub(crate) fn forward(&self, ids: Tensor<2, Int>, pieces: &mut dyn Pieces) -> TextFeatures {
        let length = ids.dims()[1];
        self.forward_padded(ids, length, pieces)
    }

    /// As [`Self::forward`] for `ids` that lack columns of padding at the end: CLS stands at the position `length`, as if
    /// they were there. Exact for `pooled` if no column of text is missing, and with the shifted mask, under which CLS
    /// sees one pad, no first column of padding.
    pub(crate) fn forward_padded(
        &self,
        ids: Tensor<2, Int>,
        length: usize,
        pieces: &mut dyn Pieces,
    ) -> TextFeatures {
        let [rows, given] = ids.dims();
        let mask = self.mask(ids.clone());
        let text = embedding(self.token_embedding.weight.val(), ids);
        let [_, _, width] = text.dims();
        let cls = self.cls_emb.val().unsqueeze::<3>().expand([rows, 1, width]);
        let positions = self.positional_embedding.val();
        let of_text = positions.clone().narrow(0, 0, given);
        let of_cls = positions.narrow(0, length, 1);
        let positions = Tensor::cat(vec![of_text, of_cls], 0);
        let x = Tensor::cat(vec![text, cls], 1) + positions.unsqueeze();
        let outputs = self
            .transformer
            .forward(x.into(), Mask::Hidden(mask.inner()), pieces);
        let cls = outputs.tensor.clone().narrow(1, given, 1).squeeze_dim(1);
        let cls: Tensor<2> = self.ln_final.forward(cls);
        TextFeatures {
            pooled: project(cls, Weight::InputFirst(self.text_projection.val()), None),
            outputs,
        }
    }

    /// Logits of the next text token from the unimodal outputs `[.., D]`, tied to the token embedding: the
    /// language-modelling loss adds no weights.
    pub(crate) fn language_model_logits<const R: usize>(&self, tokens: Tensor<R>) -> Tensor<R> {
        let table = Weight::OutputFirst(self.token_embedding.weight.val());
        product(self.ln_final.forward(tokens), table, None)
    }

    /// Cached decoding: embeds `ids` `[T, n]` at their place and runs the blocks over their caches.
    pub(crate) fn decode(
        &self,
        ids: Tensor<2, Int>,
        caches: &mut [KeyValues],
        place: &Place,
    ) -> Tensor<3> {
        let new = ids.dims()[1];
        let positions = self.positional_embedding.val();
        let positions = match place {
            Place::Known(start, _) => positions.narrow(0, *start, new).unsqueeze(),
            // One token: recorded steps have no more.
            Place::OnDevice(place) => embedding(positions, place.clone().unsqueeze()),
        };
        let x = embedding(self.token_embedding.weight.val(), ids) + positions;
        let blocks = self.transformer.resblocks.iter().zip(caches);
        blocks.fold(x, |x, (block, cache)| block.decode(x, cache, place.clone()))
    }

    /// Empty caches, one a block.
    pub(crate) fn empty_caches(
        &self,
        rows: usize,
        capacity: usize,
        device: &Device,
    ) -> Vec<KeyValues> {
        self.transformer
            .resblocks
            .iter()
            .map(|block| block.empty_cache(rows, capacity, device))
            .collect()
    }

    /// Whether key k + 1 (k with the corrected mask) is hidden because text token k is padding.
    ///
    /// open_clip prepends a visible column where it means to append one, so its padding mask is shifted by one:
    /// CLS sees all text and one pad but not itself (open_clip issue 549). Published weights depend on it.
    pub(crate) fn pad_shift(&self) -> usize {
        usize::from(!self.correct_cls_mask)
    }

    /// True where a key is hidden: the future, and padding. `[T, 1, L + 1, L + 1]`.
    fn mask(&self, ids: Tensor<2, Int>) -> Tensor<4, Bool> {
        let [rows, length] = ids.dims();
        let device = ids.device();
        let pads = ids.equal_elem(self.pad_id);
        let visible = Tensor::<2, Int>::zeros([rows, 1], &device).equal_elem(1);
        let columns = if self.correct_cls_mask {
            vec![pads, visible]
        } else {
            vec![visible, pads]
        };
        let total = length + 1;
        let hidden = Tensor::cat(columns, 1)
            .reshape([rows, 1, 1, total])
            .expand([rows, 1, total, total]);
        let future = Tensor::<2, Bool>::tril_mask([total, total], 0, &device);
        hidden.bool_or(
            future
                .reshape([1, 1, total, total])
                .expand([rows, 1, total, total]),
        )
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Int, Tensor, TensorData};

    use crate::{Coca, ModelConfig};

    fn values(x: Tensor<2>) -> Vec<f32> {
        x.into_data().try_into_vec_as().unwrap()
    }

    #[test]
    fn embeddings_do_not_need_the_padding() {
        let device = Device::flex();
        for correct_cls_mask in [false, true] {
            let mut config = ModelConfig::preset("coca_tiny").unwrap();
            config.text_cfg.correct_cls_mask = correct_cls_mask;
            let model = Coca::new(&config, &device).unwrap();
            let length = config.text_cfg.context_length;
            for words in [&[2][..], &[7, 3], &[8, 1], &[15, 16], &[23, 2], &[length]] {
                // A padding id in the middle is hidden as well.
                let text = |&words: &usize| -> Vec<u32> {
                    (0..length as u32)
                        .map(|at| match at as usize {
                            1 if words > 2 => 0,
                            at if at < words => 5 + at as u32,
                            _ => 0,
                        })
                        .collect()
                };
                let texts: Vec<Vec<u32>> = words.iter().map(text).collect();
                let ids: Vec<i32> = texts.iter().flatten().map(|&id| id as i32).collect();
                let ids = TensorData::new(ids, [texts.len(), length]);
                let ids = Tensor::<2, Int>::from_data(ids, &device);
                let expected = values(model.encode_text(ids).unwrap().embedding);
                let actual = values(model.embed_text(&texts).unwrap());
                for (actual, expected) in actual.iter().zip(expected) {
                    assert!(
                        (actual - expected).abs() < 1e-5,
                        "{words:?}: {actual}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn texts_of_no_or_different_length_are_refused() {
        let model = Coca::new(&ModelConfig::preset("coca_tiny").unwrap(), &Device::flex()).unwrap();
        for texts in [
            vec![],
            vec![vec![]],
            vec![vec![1], vec![1, 2]],
            vec![vec![1; 25]],
        ] {
            assert!(model.embed_text(&texts).is_err(), "{texts:?}");
        }
    }
}
