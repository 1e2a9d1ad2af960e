//! Times the parts of a model of a preset's shape (random weights) on wgpu, with the GPU kernels and composed of burn's
//! own operations, side by side: `cargo xtask bench kernels`.
//!
//! Beside the time stand the kernels that were started, the bytes of weights that every run has to read and the
//! multiply-adds with them: what no program can save.

#![allow(clippy::unwrap_used, reason = "a measurement may panic")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_cubecl::cubecl::logging::{LaunchObservation, LaunchObserver};
use coca_model::generate::Decoder;
use coca_model::tasks::CocaDecoder;
use coca_model::weights::{
    Dtype, LoadOptions, StateDict, TensorEntry, dtype_in_memory, expected, load,
};
use coca_model::{Coca, ModelConfig};
use pollster::block_on;

/// Counts kernels by name.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<&'static str, usize>>);

impl LaunchObserver for Counts {
    fn launched(&self, kernel: &'static str) {
        *self.0.lock().unwrap().entry(kernel).or_default() += 1;
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let preset = arguments.next().unwrap_or_else(|| "coca_ViT-B-32".into());
    let forms = arguments.next().unwrap_or_else(|| "both".into());
    let dtype = arguments.next().unwrap_or_else(|| "f32".into());
    let only = arguments.next().unwrap_or_else(|| "all".into());
    let names = arguments.next().is_some();
    let device = Device::wgpu(Default::default());
    let config = ModelConfig::preset(&preset).unwrap_or_else(|| panic!("no preset {preset:?}"));
    let dtype: Dtype = match &dtype[..] {
        "f32" => Dtype::F32,
        "f16" => Dtype::F16,
        "q8" => Dtype::Q8,
        "q4" => Dtype::Q4,
        other => panic!("no weights in {other:?}; f32, f16, q8 or q4"),
    };
    let model = stored(&config, dtype, &device);
    let [height, width] = config.vision_cfg.image_size.dims();
    let pixels = Tensor::<4>::random(
        [1, 3, height, width],
        Distribution::Normal(0.0, 1.0),
        &device,
    );
    let length = config.text_cfg.context_length;
    let ids: Vec<i32> = (0..8 * length as i32).map(|at| 2 + at % 97).collect();
    let texts = Tensor::<2, Int>::from_data(TensorData::new(ids, [8, length]), &device);
    let capacity = length.min(20);

    println!(
        "{preset} in {} on wgpu; adapter chosen by the driver; times are the best of the runs",
        dtype_in_memory(&model)
    );
    let vision = &config.vision_cfg;
    let patches = (vision.grid()[0] * vision.grid()[1] + 1) as f64;
    let parts = [
        (Matrices::image(&config, dtype), patches),
        (Matrices::text(&config, dtype), 8.0 * (length + 1) as f64),
        (Matrices::step(&config, dtype), 1.0),
    ];
    for on in [true, false] {
        if forms == if on { "off" } else { "on" } {
            continue;
        }
        coca_kernels::gpu::enable(on);
        let title = if on { "kernels" } else { "composed" };
        // Weights are drawn when first used.
        wait(model.encode_image(pixels.clone()).unwrap().embedding);
        report(title, "image encoder", parts[0], names, || {
            wait(model.encode_image(pixels.clone()).unwrap().embedding);
        });
        if only == "image" {
            continue;
        }
        report(title, "text encoder, 8 texts", parts[1], names, || {
            wait(model.encode_text(texts.clone()).unwrap().embedding);
        });
        let image = model.encode_image(pixels.clone()).unwrap();
        let mut state = model
            .start_decoding(image.tokens.clone(), capacity)
            .unwrap();
        wait(model.decode(&[vec![1, 2, 3, 4]], &mut state).unwrap());
        report(title, "decoding, one token", parts[2], names, || {
            if state.len() == capacity {
                state = model
                    .start_decoding(image.tokens.clone(), capacity)
                    .unwrap();
            }
            wait(model.decode(&[vec![5]], &mut state).unwrap());
        });
        let started = || {
            let mut decoder = CocaDecoder::new(&model, image.tokens.clone(), length).unwrap();
            decoder.feed(&[vec![1, 2, 3, 4]]).unwrap();
            (decoder, 4)
        };
        let (mut decoder, mut fed) = started();
        report(title, "one token, best found", parts[2], names, || {
            if fed == length {
                (decoder, fed) = started();
            }
            decoder.feed(&[vec![5]]).unwrap();
            fed += 1;
            if block_on(decoder.best(4)).unwrap().is_none() {
                block_on(decoder.logits()).unwrap();
            }
        });
        // What of a step the device takes: many that nobody waits for.
        const CHAIN: usize = 10;
        let chain = Matrices {
            bytes: parts[2].0.bytes * CHAIN as f64,
            weights: parts[2].0.weights * CHAIN as f64,
        };
        report(title, "ten tokens, one wait", (chain, 1.0), names, || {
            if fed + CHAIN > length {
                (decoder, fed) = started();
            }
            for _ in 0..CHAIN {
                decoder.feed(&[vec![5]]).unwrap();
            }
            fed += CHAIN;
            block_on(decoder.logits()).unwrap();
        });
    }
}

/// A model with made-up weights of a type, as a file of them would be loaded: numbers that are small and not 0.
fn stored(config: &ModelConfig, dtype: Dtype, device: &Device) -> Coca {
    let model = Coca::new(config, device).unwrap();
    if dtype == Dtype::F32 {
        return model;
    }
    let mut weights = StateDict::new();
    let mut state = 1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    };
    for (name, shape) in expected(&model) {
        let entry = match StateDict::stored_as(&name, &shape, dtype) {
            kept @ (Dtype::Q8 | Dtype::Q4) => {
                // Any byte is a code; what comes before them are scales in 16 bits.
                let (rows, columns) = (shape[0], shape.iter().product::<usize>() / shape[0]);
                let blocks = columns.div_ceil(16);
                let (scales, codes) = match kept {
                    Dtype::Q8 => (columns.div_ceil(32), columns),
                    _ => (columns.div_ceil(256), blocks.div_ceil(2) + 8 * blocks),
                };
                let scales = 2 * rows * scales;
                let mut bytes = vec![0; scales + rows * codes];
                for pair in bytes[..scales].chunks_exact_mut(2) {
                    pair.copy_from_slice(&half::f16::from_f32(0.05).to_le_bytes());
                }
                for byte in &mut bytes[scales..] {
                    *byte = random() as u8;
                }
                TensorEntry::new(kept, shape, bytes).unwrap()
            }
            _ => {
                let count = shape.iter().product::<usize>();
                let bytes = (0..count).flat_map(|_| {
                    let x = (random() as f32 / u32::MAX as f32 - 0.5) * 0.1;
                    half::f16::from_f32(x).to_le_bytes()
                });
                TensorEntry::new(Dtype::F16, shape, bytes.collect()).unwrap()
            }
        };
        weights.insert(name, entry);
    }
    let options = LoadOptions {
        keep_dtype: true,
        ..Default::default()
    };
    load(model, &weights, &options).unwrap()
}

/// Waits for the result.
fn wait(tensor: Tensor<2>) {
    tensor.into_data();
}

/// The matrices that every token of a part is multiplied with.
#[derive(Clone, Copy, Default)]
struct Matrices {
    /// In memory.
    bytes: f64,
    weights: f64,
}

impl Matrices {
    /// Those of a model in `dtype` whose names `counts` gives a share above 0.
    fn of(config: &ModelConfig, dtype: Dtype, counts: impl Fn(&str) -> f64) -> Self {
        let model = Coca::new(config, &Device::flex()).unwrap();
        let mut sum = Self::default();
        for (name, shape) in expected(&model) {
            let weights = counts(&name) * shape.iter().product::<usize>() as f64;
            if shape.len() < 2 || weights == 0.0 {
                continue;
            }
            // With a scale in 32 bits for each 32 or 16.
            let bits = match StateDict::stored_as(&name, &shape, dtype) {
                Dtype::Q4 => 4.0 + 2.0,
                Dtype::Q8 => 8.0 + 1.0,
                Dtype::F16 => 16.0,
                _ => 32.0,
            };
            sum.weights += weights;
            sum.bytes += weights * bits / 8.0;
        }
        sum
    }

    fn image(config: &ModelConfig, dtype: Dtype) -> Self {
        let share = |name: &str| f64::from(name.starts_with("visual.transformer."));
        Self::of(config, dtype, share)
    }

    fn text(config: &ModelConfig, dtype: Dtype) -> Self {
        let share = |name: &str| f64::from(name.starts_with("text.transformer."));
        Self::of(config, dtype, share)
    }

    /// Both text decoders and the logits; keys and values of the image are there already.
    fn step(config: &ModelConfig, dtype: Dtype) -> Self {
        let share = |name: &str| match name {
            _ if name.ends_with("positional_embedding") => 0.0,
            _ if name.contains("cross_attn") && name.contains("in_proj") => 1.0 / 3.0,
            _ if name.starts_with("text_decoder.") => 1.0,
            _ => f64::from(name.starts_with("text.transformer.")),
        };
        Self::of(config, dtype, share)
    }
}

fn report(
    form: &str,
    what: &str,
    (Matrices { bytes, weights }, tokens): (Matrices, f64),
    names: bool,
    mut run: impl FnMut(),
) {
    let begin = Instant::now();
    run();
    let first = begin.elapsed();
    let counts = Arc::new(Counts::default());
    let watching = LaunchObservation::new(counts.clone());
    let begin = Instant::now();
    run();
    let mut best = begin.elapsed();
    drop(watching);
    let begin = Instant::now();
    for _ in 0..40 {
        if begin.elapsed() > Duration::from_secs(6) {
            break;
        }
        let begin = Instant::now();
        run();
        best = best.min(begin.elapsed());
    }
    let counts = counts.0.lock().unwrap();
    let (seconds, multiplications) = (best.as_secs_f64(), weights * tokens);
    println!(
        "{form:9} {what:22} {:9.2} ms (first run {:9.1}), {:4} dispatches; {:6.1} MB of weights: {:6.2} GB/s; \
         {:6.2} G multiply-adds: {:6.2} G/s",
        seconds * 1e3,
        first.as_secs_f64() * 1e3,
        counts.values().sum::<usize>(),
        bytes / 1e6,
        bytes / 1e9 / seconds,
        multiplications / 1e9,
        multiplications / 1e9 / seconds,
    );
    if names {
        for (name, count) in counts.iter() {
            println!("    {count:4} {name}");
        }
    }
}
