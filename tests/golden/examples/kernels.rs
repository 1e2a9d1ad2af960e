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
use coca_model::{Coca, ModelConfig};

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
    let names = arguments.next().is_some();
    let device = Device::wgpu(Default::default());
    let config = ModelConfig::preset(&preset).unwrap_or_else(|| panic!("no preset {preset:?}"));
    let model = Coca::new(&config, &device).unwrap();
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

    // Weights are drawn when first used.
    let image = model.encode_image(pixels.clone()).unwrap();
    let mut state = model
        .start_decoding(image.tokens.clone(), capacity)
        .unwrap();
    let mut first = state.clone();
    wait(model.decode(&[vec![1]], &mut first).unwrap());

    println!("{preset} on wgpu; adapter chosen by the driver; times are the best of the runs");
    for on in [true, false] {
        if forms == if on { "off" } else { "on" } {
            continue;
        }
        coca_kernels::gpu::enable(on);
        let title = if on { "kernels" } else { "composed" };
        let towers = Towers::of(&config);
        report(title, "image encoder", towers.image(), names, || {
            wait(model.encode_image(pixels.clone()).unwrap().embedding);
        });
        report(
            title,
            "text encoder, 8 texts",
            towers.texts(8),
            names,
            || {
                wait(model.encode_text(texts.clone()).unwrap().embedding);
            },
        );
        state = model
            .start_decoding(image.tokens.clone(), capacity)
            .unwrap();
        wait(model.decode(&[vec![1, 2, 3, 4]], &mut state).unwrap());
        report(title, "decoding, one token", towers.step(), names, || {
            if state.len() == capacity {
                state = model
                    .start_decoding(image.tokens.clone(), capacity)
                    .unwrap();
            }
            wait(model.decode(&[vec![5]], &mut state).unwrap());
        });
    }
}

/// Waits for the result.
fn wait(tensor: Tensor<2>) {
    tensor.into_data();
}

/// The matrices that every token of a part is multiplied with, by their number of weights.
struct Towers {
    image: f64,
    patches: f64,
    text: f64,
    length: f64,
    decoder: f64,
}

impl Towers {
    fn of(config: &ModelConfig) -> Self {
        let (v, t, m) = (&config.vision_cfg, &config.text_cfg, &config.multimodal_cfg);
        // Four of attention, and the two of the MLP.
        let block = |width: usize, hidden: usize| (4 * width * width + 2 * width * hidden) as f64;
        let (rows, columns) = (v.grid()[0], v.grid()[1]);
        let decoder = block(m.width, 4 * m.width);
        // Keys and values of the image are there already.
        let cross = decoder - (2 * m.width * m.width) as f64;
        Self {
            image: v.layers as f64 * block(v.width, v.mlp_hidden()),
            patches: (rows * columns + 1) as f64,
            text: t.layers as f64 * block(t.width, 4 * t.width),
            length: (t.context_length + 1) as f64,
            decoder: m.layers as f64 * (decoder + cross) + (m.width * t.vocab_size) as f64,
        }
    }

    /// Bytes of weights and multiply-adds.
    fn image(&self) -> (f64, f64) {
        (4.0 * self.image, self.image * self.patches)
    }

    fn texts(&self, count: usize) -> (f64, f64) {
        (4.0 * self.text, self.text * self.length * count as f64)
    }

    fn step(&self) -> (f64, f64) {
        let weights = self.text + self.decoder;
        (4.0 * weights, weights)
    }
}

fn report(
    form: &str,
    what: &str,
    (bytes, multiplications): (f64, f64),
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
    for _ in 0..5 {
        if begin.elapsed() > Duration::from_secs(6) {
            break;
        }
        let begin = Instant::now();
        run();
        best = best.min(begin.elapsed());
    }
    let counts = counts.0.lock().unwrap();
    let seconds = best.as_secs_f64();
    println!(
        "{form:9} {what:22} {:9.1} ms (first run {:9.1}), {:4} dispatches; {:6.1} MB of weights: {:6.2} GB/s; \
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
