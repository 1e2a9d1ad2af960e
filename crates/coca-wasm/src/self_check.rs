//! Does the GPU compute what the CPU computes? The only defence against kernels that a browser skips in silence.

use burn::tensor::{Device, Int, Tensor, TensorData};
use coca_model::weights::{LoadOptions, load, save};
use coca_model::{Coca, Error, ModelConfig, Result};

/// One block of everything: small enough to take no time, with every kind of kernel that a real model runs. Images of
/// 32 x 32 pixels, texts of 12 tokens below 96.
const TINY: &str = include_str!("tiny.json");

/// Runs the same tiny random model on `device` and on the CPU: both encoders, the beginning of a caption and one more
/// token. Returns the largest difference, relative to the largest result of its kind.
///
/// # Errors
/// What the device fails with.
pub async fn largest_difference(device: &Device) -> Result<f32> {
    let config: ModelConfig = serde_json::from_str(TINY).map_err(|source| Error::Json {
        what: "the self-check's configuration".into(),
        source,
    })?;
    let cpu = Device::flex();
    let reference = Coca::new(&config, &cpu)?;
    let weights = save(&reference).await?;
    let model = load(
        Coca::new(&config, device)?,
        &weights,
        &LoadOptions::default(),
    )?;

    let expected = results(&reference, &cpu).await?;
    let found = results(&model, device).await?;
    let mut largest = 0f32;
    for (expected, found) in expected.iter().zip(&found) {
        let scale = expected
            .iter()
            .fold(1e-6f32, |scale, value| scale.max(value.abs()));
        for (a, b) in expected.iter().zip(found) {
            let difference = (a - b).abs() / scale;
            // `max` would pass over a NaN.
            if difference > largest || difference.is_nan() {
                largest = difference;
            }
        }
        if largest.is_nan() || expected.len() != found.len() {
            return Ok(f32::INFINITY);
        }
    }
    Ok(largest)
}

/// Image embedding, image tokens, text embedding, logits after a prefix, logits after one more token.
async fn results(model: &Coca, device: &Device) -> Result<Vec<Vec<f32>>> {
    let pixels: Vec<f32> = (0..2 * 3 * 32 * 32)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0)
        .collect();
    let image = model.encode_image(Tensor::<4>::from_data(
        TensorData::new(pixels, [2, 3, 32, 32]),
        device,
    ))?;
    let ids: Vec<i32> = vec![
        94, 5, 9, 95, 0, 0, 0, 0, 0, 0, 0, 0, 94, 7, 7, 8, 3, 95, 0, 0, 0, 0, 0, 0,
    ];
    let text = model.encode_text(Tensor::<2, Int>::from_data(
        TensorData::new(ids, [2, 12]),
        device,
    ))?;
    let mut state = model.start_decoding(image.tokens.clone(), 8)?;
    let prefix = model.decode(&[vec![94, 5, 9], vec![94, 6, 2]], &mut state)?;
    state.select(&[1, 0])?;
    let next = model.decode(&[vec![11], vec![12]], &mut state)?;
    Ok(vec![
        read(image.embedding).await?,
        read(image.tokens).await?,
        read(text.embedding).await?,
        read(prefix).await?,
        read(next).await?,
    ])
}

async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor
        .into_data_async()
        .await
        .map_err(|error| Error::Device(error.to_string()))?;
    data.try_into_vec_as::<f32>()
        .map_err(|error| Error::Device(error.to_string()))
}
