//! Where the model looks, against the attention weights that open_clip's modules return.

use burn::tensor::{Device, Tensor};
use coca_model::tasks::heat_maps;
use serde_json::Value;

use crate::{Golden, Outcome, compare, golden::id_tensor};

/// Relative tolerance of attention weights in f32.
const TOLERANCE: f32 = 1e-4;

/// Cross-attention, the pooler's attention and the heat maps made of them. `expected` is the model's part of
/// `data/attention.json`, which `make_attention.py` wrote.
pub async fn attention(golden: &Golden, expected: &Value, device: &Device) -> Outcome<f32> {
    let text = |error: coca_model::Error| error.to_string();
    let model = golden.model(device)?;
    let image = golden.tensor::<4>("in.image", device)?.narrow(0, 0, 1);
    let ids = vec![golden.ids("in.text")?[0][..6].to_vec()];
    let (image, pooler) = model.encode_image_with_attention(image).map_err(text)?;
    let words = model.encode_text(id_tensor(&ids, device)).map_err(text)?;
    let plain = model.caption_logits(words.tokens.clone(), image.tokens.clone());
    let tokens = image.tokens.dims()[1];
    let (logits, cross) = model.caption_logits_with_attention(words.tokens, image.tokens);

    let (plain, logits) = (read(plain).await?, read(logits).await?);
    let mut worst = compare::values("logits", &logits, &plain, TOLERANCE)?;
    let cross = read(cross).await?;
    worst = worst.max(compare::values(
        "cross",
        &cross,
        &matrix(&expected["cross"]),
        TOLERANCE,
    )?);
    let pooler = match pooler {
        Some(pooler) => Some(read(pooler).await?),
        None => None,
    };
    let found = pooler.clone().unwrap_or_default();
    worst = worst.max(compare::values(
        "pooler",
        &found,
        &matrix(&expected["pooler"]),
        TOLERANCE,
    )?);
    let heat = heat_maps(&cross, pooler.as_deref(), tokens).map_err(text)?;
    for map in &heat {
        let total: f32 = map.iter().sum();
        compare::values("sum of a map", &[total], &[1.0], 1e-6)?;
    }
    let heat = compare::values(
        "heat",
        &heat.concat(),
        &matrix(&expected["heat"]),
        TOLERANCE,
    )?;
    Ok(worst.max(heat))
}

async fn read<const D: usize>(tensor: Tensor<D>) -> Outcome<Vec<f32>> {
    let data = tensor
        .into_data_async()
        .await
        .map_err(|error| error.to_string())?;
    data.try_into_vec_as().map_err(|error| format!("{error:?}"))
}

/// The rows of a matrix, one after the other; none of null.
fn matrix(rows: &Value) -> Vec<f32> {
    let rows = rows.as_array().into_iter().flatten();
    rows.flat_map(|row| row.as_array().into_iter().flatten())
        .filter_map(|value| value.as_f64().map(|value| value as f32))
        .collect()
}
