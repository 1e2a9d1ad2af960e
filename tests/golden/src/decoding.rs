//! The key–value cache.

use burn::tensor::Device;
use coca_model::generate::Decoder;
use coca_model::tasks::CocaDecoder;

use crate::{Golden, Outcome, compare, golden::id_tensor};

/// Feeds each text token by token, and in two uneven pieces, and compares the logits of every step with the uncached
/// forward pass over the text so far.
///
/// Then by the decoder of the tasks, which records a step where that pays, and has to with `must_record`.
pub async fn cached_equals_uncached(
    golden: &Golden,
    device: &Device,
    must_record: bool,
) -> Outcome<f32> {
    let text = |error: coca_model::Error| error.to_string();
    let model = golden.model(device)?;
    let rows = golden.ids("in.text")?;
    let tokens = model
        .encode_image(golden.tensor("in.image", device)?)
        .map_err(text)?
        .tokens;
    let (length, mut worst) = (rows[0].len(), 0.0_f32);
    let mut expected = Vec::new();
    for end in 1..=length {
        let so_far: Vec<Vec<u32>> = rows.iter().map(|row| row[..end].to_vec()).collect();
        let words = model
            .encode_text(id_tensor(&so_far, device))
            .map_err(text)?;
        let logits = model
            .caption_logits(words.tokens, tokens.clone())
            .narrow(1, end - 1, 1);
        let data = logits
            .into_data_async()
            .await
            .map_err(|error| error.to_string())?;
        expected.push(
            data.try_into_vec_as::<f32>()
                .map_err(|error| format!("{error:?}"))?,
        );
    }
    for pieces in [
        vec![1; length],
        vec![length / 2 + 1, length - length / 2 - 1],
    ] {
        let mut state = model.start_decoding(tokens.clone(), length).map_err(text)?;
        let mut start = 0;
        for piece in pieces {
            let new: Vec<Vec<u32>> = rows
                .iter()
                .map(|row| row[start..start + piece].to_vec())
                .collect();
            start += piece;
            let logits = model.decode(&new, &mut state).map_err(text)?;
            let data = logits
                .into_data_async()
                .await
                .map_err(|error| error.to_string())?;
            let actual: Vec<f32> = data
                .try_into_vec_as()
                .map_err(|error| format!("{error:?}"))?;
            let name = format!("logits after {start} tokens");
            worst = worst.max(compare::values(&name, &actual, &expected[start - 1], 1e-4)?);
        }
    }
    let mut decoder = CocaDecoder::new(&model, tokens, length).map_err(text)?;
    let mut recorded = 0;
    for (at, expected) in expected.iter().enumerate() {
        let new: Vec<Vec<u32>> = rows.iter().map(|row| vec![row[at]]).collect();
        decoder.feed(&new).map_err(text)?;
        recorded += usize::from(decoder.is_recorded());
        let actual = decoder.logits().await.map_err(text)?;
        let name = format!("logits of the decoder after {} tokens", at + 1);
        worst = worst.max(compare::values(&name, &actual, expected, 1e-4)?);
    }
    println!("{recorded} of {length} steps were recorded");
    if must_record && recorded == 0 {
        return Err("no step was recorded".into());
    }
    Ok(worst)
}
