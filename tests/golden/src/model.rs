//! Forward pass, losses and gradients.

use burn::tensor::{Device, Tensor};
use coca_kernels::{keeps_four_bits, keeps_halves};
use coca_model::{
    Coca, LossWeights, Losses, TextBatch,
    weights::{Dtype, dtype_in_memory},
};

use crate::{Golden, Outcome, compare, golden::id_tensor};

/// Relative tolerance of outputs in f32.
const OUTPUTS: f32 = 1e-4;
/// Relative tolerance of losses.
const LOSSES: f32 = 1e-5;

fn text<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

/// Embeddings, image tokens, text tokens and logits.
pub async fn outputs(golden: &Golden, device: &Device) -> Outcome<f32> {
    let model = golden.model(device)?;
    let image = model
        .encode_image(golden.tensor("in.image", device)?)
        .map_err(text)?;
    let rows = golden.ids("in.text")?;
    let words = model.encode_text(id_tensor(&rows, device)).map_err(text)?;
    let length = rows[0].len();
    let full = model.caption_logits(words.tokens.clone(), image.tokens.clone());
    let labelled = model.caption_logits(
        words.tokens.clone().narrow(1, 0, length - 1),
        image.tokens.clone(),
    );
    let prefix: Vec<Vec<u32>> = rows.iter().map(|row| row[..6].to_vec()).collect();
    let prefix = model
        .encode_text(id_tensor(&prefix, device))
        .map_err(text)?;
    let prefix = model.caption_logits(prefix.tokens, image.tokens.clone());

    let mut worst = 0.0_f32;
    worst =
        worst.max(compare::tensor(golden, "out.image_features", image.embedding, OUTPUTS).await?);
    worst =
        worst.max(compare::tensor(golden, "out.text_features", words.embedding, OUTPUTS).await?);
    worst = worst.max(compare::tensor(golden, "out.image_embs", image.tokens, OUTPUTS).await?);
    worst = worst.max(compare::tensor(golden, "out.text_token_embs", words.tokens, OUTPUTS).await?);
    worst = worst.max(compare::tensor(golden, "out.logits_full", full, OUTPUTS).await?);
    worst = worst.max(compare::tensor(golden, "out.logits", labelled, OUTPUTS).await?);
    worst = worst.max(compare::tensor(golden, "out.logits_prefix6", prefix, OUTPUTS).await?);
    Ok(worst)
}

/// Embeddings and logits of the model whose weights are in 16, 8 and 4 bits, and stay in few: those of the widened
/// weights, on the same device.
pub async fn outputs_in_fewer_bits(golden: &Golden, device: &Device) -> Outcome<f32> {
    let mut worst = 0.0_f32;
    for dtype in [Dtype::F16, Dtype::Q8, Dtype::Q4] {
        if dtype == Dtype::F16 && !keeps_halves(device) {
            continue;
        }
        let wide = golden.model_as(Some(dtype), false, device)?;
        let kept = golden.model_as(Some(dtype), true, device)?;
        let in_memory = (dtype_in_memory(&wide), dtype_in_memory(&kept));
        let expected = match dtype {
            Dtype::Q4 if !keeps_four_bits(device) => Dtype::Q8,
            dtype => dtype,
        };
        if in_memory != (Dtype::F32, expected) {
            return Err(format!("{dtype}: widened and kept are {in_memory:?}"));
        }
        let (expected, found) = (
            results(golden, &wide, device).await?,
            results(golden, &kept, device).await?,
        );
        for (what, (expected, found)) in ["image", "text", "logits"]
            .iter()
            .zip(expected.iter().zip(&found))
        {
            let what = format!("{dtype}, {what}");
            worst = worst.max(compare::values(&what, found, expected, OUTPUTS)?);
        }
    }
    Ok(worst)
}

/// Image embedding, text embedding and logits of the captions.
async fn results(golden: &Golden, model: &Coca, device: &Device) -> Outcome<[Vec<f32>; 3]> {
    let image = model
        .encode_image(golden.tensor("in.image", device)?)
        .map_err(text)?;
    let words = model
        .encode_text(id_tensor(&golden.ids("in.text")?, device))
        .map_err(text)?;
    let logits = model.caption_logits(words.tokens, image.tokens);
    let read = async |data: Tensor<1>| -> Outcome<Vec<f32>> {
        let data = data.into_data_async().await.map_err(text)?;
        data.try_into_vec_as().map_err(text)
    };
    Ok([
        read(image.embedding.flatten(0, 1)).await?,
        read(words.embedding.flatten(0, 1)).await?,
        read(logits.flatten(0, 2)).await?,
    ])
}

fn forward(golden: &Golden, model: &coca_model::Coca, device: &Device) -> Outcome<Losses> {
    let rows = golden.ids("in.text")?;
    let length = rows[0].len();
    let texts = TextBatch::captions(rows.concat(), length);
    let weights = LossWeights {
        contrastive: 1.0,
        caption: 2.0,
        language_model: 0.0,
    };
    model
        .losses(golden.tensor("in.image", device)?, &texts, weights)
        .map_err(text)
}

/// The contrastive and captioning losses and their weighted sum.
pub async fn losses(golden: &Golden, device: &Device) -> Outcome<f32> {
    let losses = forward(golden, &golden.model(device)?, device)?;
    let mut worst = 0.0_f32;
    let computed = [
        ("contrastive_loss", losses.contrastive),
        ("caption_loss", losses.caption),
        ("total", Some(losses.total)),
    ];
    for (name, loss) in computed {
        let loss = loss.ok_or_else(|| format!("{name} was not computed"))?;
        let data = loss.into_data_async().await.map_err(text)?;
        let value: Vec<f32> = data
            .try_into_vec_as()
            .map_err(|error| format!("{name}: {error:?}"))?;
        worst = worst.max(compare::values(
            name,
            &value,
            &[golden.scalar(name)?],
            LOSSES,
        )?);
    }
    Ok(worst)
}

/// Gradients of the weighted sum of the losses, and their global norm. `device` must be an autodiff device.
#[cfg(not(target_arch = "wasm32"))]
pub async fn gradients(golden: &Golden, device: &Device) -> Outcome<f32> {
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::tensor::{Gradients, Tensor};

    /// Collects every gradient under its parameter's name.
    struct Collect<'a> {
        gradients: &'a Gradients,
        path: Vec<String>,
        found: Vec<(String, Option<Vec<f32>>)>,
    }

    impl ModuleVisitor for Collect<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param
                .val()
                .grad(self.gradients)
                .map(|gradient| gradient.into_data());
            let values = gradient.and_then(|data| data.try_into_vec_as().ok());
            self.found.push((self.path.join("."), values));
        }
    }

    let model = golden.model(device)?;
    let losses = forward(golden, &model, device)?;
    let gradients = losses.total.backward();
    let mut collect = Collect {
        gradients: &gradients,
        path: Vec::new(),
        found: Vec::new(),
    };
    model.visit(&mut collect);

    let (mut worst, mut squares) = (0.0_f32, 0.0_f64);
    for (name, gradient) in &collect.found {
        let Some(gradient) = gradient else { continue };
        squares += gradient
            .iter()
            .map(|&value| f64::from(value).powi(2))
            .sum::<f64>();
        let key = format!("grad.{name}");
        if golden.has(&key) {
            worst = worst.max(compare::values(&key, gradient, &golden.f32(&key)?.1, 1e-3)?);
        }
    }
    let norm = squares.sqrt() as f32;
    compare::values("grad_norm", &[norm], &[golden.scalar("grad_norm")?], 1e-3)?;
    Ok(worst)
}
