//! train: what it writes, resuming, interruption.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::fixture::{coca_train, fails, trained, workplace};

/// The lines of `metrics.jsonl`, without what the clock says.
fn metrics(output: &Path) -> Vec<Value> {
    let text = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let parse = |line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for name in ["samples_per_second", "time", "seconds"] {
            line.as_object_mut().unwrap().remove(name);
        }
        line
    };
    text.lines().map(parse).collect()
}

fn weights(output: &Path) -> Vec<u8> {
    fs::read(output.join("model/open_clip_model.safetensors")).unwrap()
}

#[test]
fn a_run_leaves_metrics_validations_and_a_whole_model() {
    let lines = metrics(Path::new(&trained("out")));
    assert_eq!(
        lines
            .iter()
            .map(|line| line["step"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [1, 2, 2]
    );
    assert!(lines[1]["loss"].as_f64().unwrap() > 0.0);
    let validation = &lines[2];
    assert_eq!(validation["validation"], "same");
    for name in ["contrastive", "caption", "language_model"] {
        assert!(
            validation["loss"][name].as_f64().unwrap() > 0.0,
            "{validation}"
        );
    }
    for (task, metric) in [
        ("zero-shot", "top1"),
        ("retrieval", "t2i_r1"),
        ("vqa", "vqa_accuracy"),
    ] {
        assert!(
            (0.0..=1.0).contains(&validation[task][metric].as_f64().unwrap()),
            "{validation}"
        );
    }
    assert_eq!(validation["captions"].as_array().unwrap().len(), 6);
    let coca: Value =
        serde_json::from_slice(&fs::read(trained("out/model/coca.json")).unwrap()).unwrap();
    assert_eq!(
        coca["self_test"]["image_embedding"]
            .as_array()
            .unwrap()
            .len(),
        32
    );
}

#[test]
fn a_resumed_run_is_the_same_run_with_any_validation() {
    let folder = workplace();
    let config = folder.path().join("train.toml");
    let run = |output: &str, more: &[&str]| {
        let output = format!("output={output}");
        let common = [
            "train",
            config.to_str().unwrap(),
            "--set",
            "steps=6",
            "--set",
            &output,
        ];
        let keep = [
            "--set",
            "log.checkpoint_every=2",
            "--set",
            "log.keep_checkpoints=9",
        ];
        coca_train(&[&common[..], &keep, more].concat())
            .assert()
            .success()
            .stdout("");
    };
    run("whole", &["--set", "log.validate_every=3"]);
    // As if it had been killed after step 5, with step 4 saved.
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let checkpoint = "checkpoints/step-00000004";
    fs::create_dir_all(cut.join(checkpoint)).unwrap();
    for file in fs::read_dir(whole.join(checkpoint)).unwrap().flatten() {
        fs::copy(file.path(), cut.join(checkpoint).join(file.file_name())).unwrap();
    }
    let lines = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    let before: Vec<&str> = lines
        .lines()
        .filter(|line| !line.contains("\"step\":6"))
        .collect();
    fs::write(cut.join("metrics.jsonl"), before.join("\n") + "\n").unwrap();
    run("cut", &["--set", "log.validate_every=3", "--resume"]);
    assert_eq!(metrics(&cut), metrics(&whole));
    assert_eq!(metrics(&whole).len(), 6 + 2, "steps and validations");
    assert!(weights(&cut) == weights(&whole));
    run("unwatched", &["--set", "validation=[]"]);
    assert!(weights(&folder.path().join("unwatched")) == weights(&whole));
}

#[test]
fn an_earlier_run_is_neither_overwritten_nor_changed() {
    let folder = workplace();
    let config = folder.path().join("train.toml");
    let train = ["train", config.to_str().unwrap()];
    let (_, stderr) = fails(&[&train[..], &["--resume"]].concat(), 1);
    assert!(stderr.contains("no checkpoint"), "{stderr}");
    coca_train(&train).assert().success();
    let (_, stderr) = fails(&train, 1);
    assert!(stderr.contains("--resume"), "{stderr}");
    let (_, stderr) = fails(
        &[
            &train[..],
            &["--resume", "--set", "optimizer.learning_rate=0.1"],
        ]
        .concat(),
        1,
    );
    assert!(
        stderr.contains("changed") && stderr.contains("optimizer"),
        "{stderr}"
    );
    let before = weights(&folder.path().join("out"));
    coca_train(&[&train[..], &["--resume", "--set", "log.every=2"]].concat())
        .assert()
        .success();
    assert!(
        weights(&folder.path().join("out")) == before,
        "there was nothing left to do"
    );
}

#[test]
fn a_missing_validation_set_is_noticed_before_training() {
    let folder = workplace();
    let config = folder.path().join("train.toml");
    let set = "validation=[{name = 'gone', shards = 'gone.tar', tasks = ['loss']}]";
    let (_, stderr) = fails(&["train", config.to_str().unwrap(), "--set", set], 1);
    assert!(
        stderr.contains("gone.tar") && !folder.path().join("out/checkpoints").exists(),
        "{stderr}"
    );
}

#[cfg(unix)]
#[test]
fn an_interruption_saves_and_can_be_resumed() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = workplace();
    let (config, output) = (folder.path().join("train.toml"), folder.path().join("out"));
    let long = [
        "--set",
        "steps=1000000",
        "--set",
        "log.checkpoint_every=1000000",
    ];
    let child = Command::new(env!("CARGO_BIN_EXE_coca-train"))
        .args(["train", config.to_str().unwrap()])
        .args(long)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !fs::read_to_string(output.join("metrics.jsonl"))
        .is_ok_and(|text| text.contains("\"step\":3"))
    {
        assert!(started.elapsed() < Duration::from_secs(60), "no third step");
        std::thread::sleep(Duration::from_millis(20));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(
        ended.status.code() == Some(0) && stderr.contains("--resume"),
        "{stderr}"
    );
    let saved: Vec<_> = fs::read_dir(output.join("checkpoints"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(saved.len(), 1);
    let step = saved[0]
        .file_name()
        .into_string()
        .unwrap()
        .replace("step-", "")
        .parse::<u64>()
        .unwrap();
    let lines = metrics(&output);
    assert_eq!(
        lines.last().unwrap()["step"],
        step,
        "metrics end where the checkpoint is"
    );
    assert!(!output.join("model").exists());
}
