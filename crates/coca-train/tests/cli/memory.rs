//! Memory of training runs, measured on demand: `cargo test --release --workspace --test cli memory -- --ignored
//! --nocapture`.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::fixture::workplace;

/// Runs `train` and looks at a field of its `/proc` status, in MiB, every few milliseconds.
fn watch(config: &Path, changes: &[&str], field: &str, mut look: impl FnMut(f64)) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coca-train"));
    command.arg("train").arg(config).stderr(Stdio::null());
    for change in changes {
        command.args(["--set", change]);
    }
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        if let Some(kib) = line.and_then(|line| line.split_whitespace().next()) {
            look(kib.parse::<f64>().unwrap() / 1024.0);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success());
}

#[test]
#[ignore = "takes minutes"]
fn memory_stays_flat_over_two_thousand_steps() {
    let place = workplace();
    let output = place.path().join("out/metrics.jsonl");
    let changes = [
        "steps=2000",
        "log.checkpoint_every=500",
        "validation=[]",
        "patch_dropout=0.4",
        "activation_checkpointing=true",
    ];
    let mut at_step: Vec<(usize, f64)> = Vec::new();
    watch(
        &place.path().join("train.toml"),
        &changes,
        "VmRSS:",
        |mib| {
            let step = fs::read_to_string(&output).map_or(0, |text| text.lines().count());
            if step / 250 > at_step.last().map_or(0, |(step, _)| step / 250) {
                println!("step {step}: {mib:.0} MiB");
                at_step.push((step, mib));
            }
        },
    );
    let (first, last) = (at_step[0].1, at_step[at_step.len() - 1].1);
    assert!(last < 1.1 * first + 8.0, "{at_step:?}");
}

#[test]
#[ignore = "takes minutes"]
fn checkpointing_and_accumulating_need_less_memory() {
    let place = workplace();
    let model = r#"{
        "embed_dim": 256,
        "vision_cfg": {"image_size": 224, "patch_size": 16, "width": 256, "layers": 12, "head_width": 64,
            "attentional_pool": true, "attn_pooler_queries": 65, "attn_pooler_heads": 4},
        "text_cfg": {"context_length": 32, "vocab_size": 600, "width": 256, "heads": 4, "layers": 6},
        "multimodal_cfg": {"context_length": 32, "width": 256, "heads": 4, "layers": 6}
    }"#;
    fs::write(place.path().join("model.json"), model).unwrap();
    let mut peaks = Vec::new();
    for (output, more) in [
        ("plain", &[][..]),
        ("checkpointed", &["activation_checkpointing=true"][..]),
        ("accumulated", &["accumulate=8"][..]),
        (
            "both",
            &["activation_checkpointing=true", "accumulate=8"][..],
        ),
    ] {
        let output_change = format!("output={output}");
        let common = [
            "steps=3",
            "validation=[]",
            "loader.batch_size=16",
            "log.checkpoint_every=9",
        ];
        let changes = [&common[..], more, &[output_change.as_str()]].concat();
        let mut peak = 0.0;
        watch(
            &place.path().join("train.toml"),
            &changes,
            "VmHWM:",
            |mib| peak = mib,
        );
        println!("{output}: {peak:.0} MiB");
        peaks.push(peak);
    }
    // What is left is weights, gradients, the optimiser and their copies while they are written: with both no more goes.
    let least = f64::min(peaks[1], peaks[2]);
    assert!(peaks[1] < 0.7 * peaks[0] && peaks[2] < 0.7 * peaks[0] && peaks[3] < 1.05 * least);
}
