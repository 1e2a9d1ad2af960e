//! Twelve calls of open_clip's `generate` (3.3.0, with transformers 4.56.2) on eight images of a small model that was
//! overfitted to eight captions.

use std::ops::ControlFlow;

use burn::tensor::Device;
use coca_model::generate::{
    Beams, GenerateOptions, Generated, Length, Prompt, Sampling, SpecialIds, Strategy, generate,
};
use coca_model::tasks::CocaDecoder;
use serde_json::Value;

use crate::{Golden, Outcome};

/// Every call returns exactly open_clip's ids; gives the number of calls.
pub async fn generated_ids(golden: &Golden, device: &Device) -> Outcome<usize> {
    let text = |error: coca_model::Error| error.to_string();
    let model = golden.model(device)?;
    let common = &golden.meta["common"];
    let id = |name: &str| {
        common[name]
            .as_u64()
            .map(|id| id as u32)
            .ok_or_else(|| format!("no {name}"))
    };
    let special = SpecialIds {
        start: id("sot_token_id")?,
        end: id("eos_token_id")?,
        pad: id("pad_token_id")?,
    };
    let capacity = model.config().text_cfg.context_length;
    let image_tokens = model
        .encode_image(golden.tensor("in.image", device)?)
        .map_err(text)?
        .tokens;
    let calls = golden.meta["calls"].as_object().ok_or("no calls")?;
    for (name, call) in calls {
        let prompts: Vec<Vec<u32>> = serde_json::from_value(call["args"]["prompt"].clone())
            .unwrap_or(vec![vec![special.start]]);
        let mut decoder = CocaDecoder::new(&model, image_tokens.clone(), capacity).map_err(text)?;
        let prompt = Prompt {
            rows: image_tokens.dims()[0],
            prefix: &prompts[0],
            special,
            capacity,
        };
        let mut ignore = |_| ControlFlow::Continue(());
        let texts = generate(&mut decoder, prompt, &options(&call["args"])?, &mut ignore)
            .await
            .map_err(text)?;
        let expected: Vec<Vec<u32>> =
            serde_json::from_value(call["ids"].clone()).map_err(|error| error.to_string())?;
        let actual = padded(&texts, special.pad);
        if actual != expected {
            return Err(format!("{name}: {actual:?}, expected {expected:?}"));
        }
    }
    Ok(calls.len())
}

/// The settings of a call, with open_clip's defaults.
fn options(args: &Value) -> Outcome<GenerateOptions> {
    let number = |name: &str, default: usize| args[name].as_u64().map_or(default, |n| n as usize);
    let strategy = match args["generation_type"].as_str() {
        Some("top_k") => Strategy::Sample(Sampling {
            top_k: Some(number("top_k", 1)),
            ..Sampling::default()
        }),
        Some("beam_search") => Strategy::Beam(Beams {
            beams: number("num_beams", 6),
            groups: number("num_beam_groups", 3),
            length_penalty: 1.0,
        }),
        other => return Err(format!("generation_type {other:?}")),
    };
    Ok(GenerateOptions {
        strategy,
        max_length: Length::Total(number("seq_len", 30)),
        min_length: Length::Total(number("min_seq_len", 5)),
        repetition_penalty: args["repetition_penalty"].as_f64().unwrap_or(1.0) as f32,
        fixed_output_length: args["fixed_output_length"].as_bool().unwrap_or(false),
        openclip_compat: true,
    })
}

/// Rows of ids, padded to the longest as open_clip returns them.
fn padded(texts: &[Generated], pad: u32) -> Vec<Vec<u32>> {
    let width = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
    let fill = |text: &Generated| {
        let mut ids = text.ids.clone();
        ids.resize(width, pad);
        ids
    };
    texts.iter().map(fill).collect()
}
