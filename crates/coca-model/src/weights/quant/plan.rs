//! Which tensors are quantised.

use super::super::Dtype;

/// Below this many elements a tensor is not worth it: norms, biases, class tokens.
const SMALLEST: usize = 4096;
/// Rows shorter than a block would pay more for scales than they save.
const SHORTEST_ROW: usize = 32;

/// How a tensor is stored in a file whose weights are to be `target`. Unquantised types take every tensor; Q8 and
/// Q4 take the matrices, and the rest is F16.
///
/// With Q4 the tensors at the model's ends keep 8 bits, since their errors reach everything and they are few: the
/// patch embedding, positions, the pooler, and the projections to the embeddings. So do the attention and the first
/// layers of the unimodal text decoder: it is narrow, and its residual stream is still small there, so that the same
/// relative error weighs more than anywhere else.
pub(crate) fn stored_as(name: &str, shape: &[usize], target: Dtype) -> Dtype {
    if !target.is_quantised() {
        return target;
    }
    let elements = shape
        .iter()
        .fold(1usize, |product, &extent| product.saturating_mul(extent));
    let columns = elements / shape.first().copied().unwrap_or(1).max(1);
    if shape.len() < 2 || elements < SMALLEST || columns < SHORTEST_ROW {
        return Dtype::F16;
    }
    if target == Dtype::Q4 && (is_end(name) || is_sensitive(name)) {
        return Dtype::Q8;
    }
    target
}

fn is_end(name: &str) -> bool {
    name.starts_with("visual.attn_pool")
        || name.ends_with("positional_embedding")
        || matches!(
            name,
            "visual.conv1.weight" | "visual.proj" | "text.text_projection"
        )
}

/// Layers of the unimodal text decoder that keep 8 bits whole.
const FIRST_LAYERS: usize = 3;

fn is_sensitive(name: &str) -> bool {
    let layer = name.strip_prefix("text.transformer.resblocks.");
    let Some((number, matrix)) = layer.and_then(|layer| layer.split_once('.')) else {
        return false;
    };
    matrix.starts_with("attn.")
        || number
            .parse()
            .is_ok_and(|number: usize| number < FIRST_LAYERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_quantised_and_the_rest_is_half_precision() {
        for (name, shape, q8, q4) in [
            (
                "visual.transformer.resblocks.0.mlp.c_fc.weight",
                &[3072, 768][..],
                Dtype::Q8,
                Dtype::Q4,
            ),
            (
                "text.token_embedding.weight",
                &[49408, 512],
                Dtype::Q8,
                Dtype::Q4,
            ),
            (
                "text_decoder.text_projection",
                &[512, 49408],
                Dtype::Q8,
                Dtype::Q4,
            ),
            (
                "visual.conv1.weight",
                &[768, 3, 32, 32],
                Dtype::Q8,
                Dtype::Q8,
            ),
            ("text.text_projection", &[512, 512], Dtype::Q8, Dtype::Q8),
            (
                "visual.attn_pool.attn.k_proj_weight",
                &[512, 768],
                Dtype::Q8,
                Dtype::Q8,
            ),
            (
                "text.transformer.resblocks.11.attn.in_proj_weight",
                &[1536, 512],
                Dtype::Q8,
                Dtype::Q8,
            ),
            (
                "text.transformer.resblocks.2.mlp.c_fc.weight",
                &[2048, 512],
                Dtype::Q8,
                Dtype::Q8,
            ),
            (
                "text.transformer.resblocks.3.mlp.c_fc.weight",
                &[2048, 512],
                Dtype::Q8,
                Dtype::Q4,
            ),
            ("visual.ln_pre.weight", &[768], Dtype::F16, Dtype::F16),
            ("logit_scale", &[], Dtype::F16, Dtype::F16),
            ("text.x", &[1000, 8], Dtype::F16, Dtype::F16),
        ] {
            assert_eq!(stored_as(name, shape, Dtype::Q8), q8, "{name}");
            assert_eq!(stored_as(name, shape, Dtype::Q4), q4, "{name}");
            assert_eq!(stored_as(name, shape, Dtype::BF16), Dtype::BF16, "{name}");
        }
    }
}
