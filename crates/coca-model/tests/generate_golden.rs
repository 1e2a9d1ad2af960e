//! Generation with the model of `golden_generate` in `tests/golden/make_golden.py`: the distributions that sampling
//! filters leave, as in open_clip 3.3.0, and log-probabilities. Its twelve calls are checked in `tests/golden`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, ops::ControlFlow, path::PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use coca_model::generate::{
    Beams, GenerateOptions, Generated, Length, Prompt, Sampling, SpecialIds, Strategy, generate,
    probabilities,
};
use coca_model::tasks::CocaDecoder;
use coca_model::weights::{LoadOptions, StateDict, load};
use coca_model::{Coca, ModelConfig};
use serde_json::Value;

/// The ids of `common` in the golden file.
const SPECIAL: SpecialIds = SpecialIds {
    start: 198,
    end: 199,
    pad: 0,
};
/// The context length of the model, and open_clip's `max_seq_len` in the golden file.
const CONTEXT: usize = 16;

struct Golden {
    tensors: StateDict,
    json: Value,
}

impl Golden {
    fn read() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data");
        let read = |name| fs::read(folder.join(name)).unwrap();
        Self {
            tensors: StateDict::from_safetensors(read("gen_tiny.safetensors")).unwrap(),
            json: serde_json::from_slice(&read("gen_tiny.json")).unwrap(),
        }
    }

    fn model(&self, device: &Device) -> Coca {
        let weights: StateDict = self
            .tensors
            .iter()
            .filter_map(|(name, tensor)| {
                Some((name.strip_prefix("w.")?.to_owned(), tensor.clone()))
            })
            .collect();
        let config: ModelConfig = serde_json::from_value(self.json["config"].clone()).unwrap();
        load(
            Coca::new(&config, device).unwrap(),
            &weights,
            &LoadOptions::default(),
        )
        .unwrap()
    }

    fn image_tokens(&self, model: &Coca, device: &Device) -> Tensor<3> {
        let (shape, values) = self.tensors.get_f32("in.image").unwrap();
        let pixels = Tensor::<4>::from_data(TensorData::new(values, shape), device);
        model.encode_image(pixels).unwrap().tokens
    }
}

fn run(
    model: &Coca,
    image_tokens: &Tensor<3>,
    prefix: &[u32],
    options: &GenerateOptions,
) -> Vec<Generated> {
    let rows = image_tokens.dims()[0];
    let mut decoder = CocaDecoder::new(model, image_tokens.clone(), CONTEXT).unwrap();
    let prompt = Prompt {
        rows,
        prefix,
        special: SPECIAL,
        capacity: CONTEXT,
    };
    let mut ignore = |_| ControlFlow::Continue(());
    pollster::block_on(generate(&mut decoder, prompt, options, &mut ignore)).unwrap()
}

#[test]
fn sampling_filters_leave_the_same_distribution() {
    let golden = Golden::read();
    let (shape, logits) = golden.tensors.get_f32("out.sample_logits").unwrap();
    for (name, top_k, top_p) in [
        ("topk5", Some(5), None),
        ("topp0.9", None, Some(0.9)),
        ("topp0.1", None, Some(0.1)),
    ] {
        for temperature in ["1.0", "0.7"] {
            let (_, expected) = golden
                .tensors
                .get_f32(&format!("out.probs_{name}_t{temperature}"))
                .unwrap();
            let sampling = Sampling {
                top_k,
                top_p,
                temperature: temperature.parse().unwrap(),
                seed: 0,
            };
            for (logits, expected) in logits.chunks(shape[1]).zip(expected.chunks(shape[1])) {
                for (ours, &theirs) in probabilities(logits, &sampling, true)
                    .into_iter()
                    .zip(expected)
                {
                    assert!(
                        (ours - theirs as f64).abs() < 1e-6,
                        "{name} {temperature}: {ours} {theirs}"
                    );
                }
            }
        }
    }
}

/// The cache holds every history of the beams: our own beam search reports the log-probability that a forward pass
/// over the whole text gives.
#[test]
fn log_probabilities_are_those_of_one_uncached_pass() {
    let (golden, device) = (Golden::read(), Device::flex());
    let model = golden.model(&device);
    let image_tokens = golden.image_tokens(&model, &device);
    for strategy in [
        Strategy::Greedy,
        Strategy::Beam(Beams {
            beams: 5,
            ..Default::default()
        }),
    ] {
        let options = GenerateOptions {
            strategy,
            max_length: Length::Total(14),
            ..Default::default()
        };
        let texts = run(&model, &image_tokens, &[SPECIAL.start], &options);
        assert_eq!(texts.len(), 8);
        for (row, text) in texts.iter().enumerate() {
            let ids: Vec<i32> = text.ids.iter().map(|&id| id as i32).collect();
            let length = ids.len();
            let ids = Tensor::<2, burn::tensor::Int>::from_data(
                TensorData::new(ids, [1, length]),
                &device,
            );
            let hidden = model.encode_text(ids).unwrap().tokens;
            let logits = model.caption_logits(hidden, image_tokens.clone().narrow(0, row, 1));
            let logits = logits.into_data().try_into_vec_as::<f32>().unwrap();
            let vocabulary = logits.len() / length;
            let wanted: f64 = logits
                .chunks(vocabulary)
                .zip(&text.ids[1..])
                .map(|(logits, &id)| {
                    let total: f64 = logits.iter().map(|&logit| (logit as f64).exp()).sum();
                    logits[id as usize] as f64 - total.ln()
                })
                .sum();
            assert!(
                (text.log_prob - wanted).abs() < 1e-3,
                "{} {wanted}",
                text.log_prob
            );
        }
    }
}
