//! What a run writes and shows for people: report, TensorBoard's events, lines.

use std::fs;
use std::path::Path;

use prost::Message;

use crate::fixture::{coca_train, fails, json_lines, workplace};

/// The parts of TensorBoard's messages that these tests read, written down independently of the program.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The events of every file, in the order of the files' names.
fn events(output: &Path) -> Vec<Vec<Event>> {
    let folder = fs::read_dir(output.join("tensorboard")).unwrap();
    let mut files: Vec<_> = folder.flatten().map(|file| file.path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| records(&fs::read(file).unwrap()))
        .collect()
}

fn records(mut file: &[u8]) -> Vec<Event> {
    let masked = |data: &[u8]| {
        let crc = crc32c::crc32c(data);
        crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    let mut events = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert_eq!(file[8..12], masked(&file[..8]), "checksum of a length");
        let data = &file[12..12 + length];
        assert_eq!(
            file[12 + length..16 + length],
            masked(data),
            "checksum of an event"
        );
        events.push(Event::decode(data).unwrap());
        file = &file[16 + length..];
    }
    events
}

/// Steps and values of a tag.
fn scalars(events: &[Event], tag: &str) -> Vec<(i64, f32)> {
    let values = |event: &Event| {
        let values = event.summary.clone().unwrap_or_default().value.into_iter();
        let step = event.step;
        values
            .filter(|value| value.tag == tag)
            .filter_map(move |value| Some((step, value.simple_value?)))
            .collect::<Vec<_>>()
    };
    events.iter().flat_map(values).collect()
}

#[test]
fn tensorboard_gets_every_measurement_and_forgets_what_is_repeated() {
    let folder = workplace();
    let (config, output) = (folder.path().join("train.toml"), folder.path().join("out"));
    let train = |steps: &str, more: &[&str]| {
        let steps = format!("steps={steps}");
        let common = ["train", config.to_str().unwrap(), "--set", &steps];
        let log = [
            "--set",
            "log.tensorboard=true",
            "--set",
            "log.checkpoint_every=2",
        ];
        let keep = ["--set", "log.keep_checkpoints=9"];
        coca_train(&[&common[..], &log, &keep, more].concat())
            .assert()
            .success();
    };
    train("4", &[]);
    // As if it had been killed after step 4, with step 2 saved.
    fs::remove_dir_all(output.join("checkpoints/step-00000004")).unwrap();
    train("4", &["--resume"]);

    let files = events(&output);
    assert_eq!(files.len(), 2, "every start has a file of its own");
    for file in &files {
        assert_eq!(file[0].file_version.as_deref(), Some("brain.Event:2"));
    }
    let purge = &files[1][1];
    assert_eq!(
        (purge.step, purge.session_log.clone()),
        (3, Some(SessionLog { status: 1 }))
    );
    let first = scalars(&files[0], "train/loss");
    let steps: Vec<i64> = first.iter().map(|point| point.0).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    assert_eq!(
        scalars(&files[1], "train/loss"),
        first[2..],
        "the same run again"
    );
    let lines = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    for name in [
        "loss",
        "contrastive",
        "caption",
        "learning_rate",
        "gradient_norm",
        "samples_per_second",
    ] {
        let logged = line[name].as_f64().unwrap() as f32;
        assert_eq!(
            scalars(&files[0], &format!("train/{name}"))[0],
            (1, logged),
            "{name}"
        );
    }
    for tag in [
        "loss/caption",
        "zero-shot/top1",
        "retrieval/i2t_r1",
        "vqa/exact_match",
    ] {
        let found = scalars(&files[1], &format!("validation/same/{tag}"));
        assert_eq!(found.len(), 1, "{tag}");
    }
}

#[test]
fn a_report_holds_the_run_and_can_be_rebuilt() {
    let folder = workplace();
    let (config, output) = (folder.path().join("train.toml"), folder.path().join("out"));
    let validate = ["--set", "log.validate_every=1"];
    coca_train(&[&["train", config.to_str().unwrap()][..], &validate].concat())
        .assert()
        .success();
    // What the page says of the time it was written.
    let without_date = |html: String| {
        let (before, after) = html.split_once("Written by").unwrap();
        before.to_owned() + after.split_once("</footer>").unwrap().1
    };
    let report = output.join("report.html");
    let written = fs::read_to_string(&report).unwrap();
    for text in [
        "<h1>tiny</h1>",
        "finished",
        "Captioning loss",
        "what colour is it?",
        "Found first",
        "data.tar",
        "learning_rate = 0.001",
        "data:image/jpeg;base64,",
    ] {
        assert!(written.contains(text), "{text}");
    }
    assert!(!written.contains("no picture"));
    fs::remove_file(&report).unwrap();
    let printed = json_lines(&["report", output.to_str().unwrap(), "--json"]);
    assert_eq!(printed[0]["report"], report.to_str().unwrap());
    let rebuilt = fs::read_to_string(&report).unwrap();
    assert!(without_date(rebuilt) == without_date(written));

    // From the metrics alone.
    fs::remove_file(output.join("run.json")).unwrap();
    fs::remove_dir_all(output.join("pictures")).unwrap();
    coca_train(&["report", output.to_str().unwrap()])
        .assert()
        .success();
    let metrics_only = fs::read_to_string(&report).unwrap();
    assert!(metrics_only.contains("Captioning loss") && metrics_only.contains("no picture"));
    let (_, stderr) = fails(&["report", folder.path().to_str().unwrap()], 1);
    assert!(
        stderr.contains("metrics.jsonl") && stderr.contains("`output`"),
        "{stderr}"
    );
}

#[test]
fn a_report_that_cannot_be_written_does_not_stop_the_training() {
    let folder = workplace();
    let (config, output) = (folder.path().join("train.toml"), folder.path().join("out"));
    // No file takes the place of a folder that is not empty.
    fs::create_dir_all(output.join("report.html/full")).unwrap();
    let ended = coca_train(&["train", config.to_str().unwrap(), "--dashboard"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(
        ended.status.success() && output.join("model").exists(),
        "{stderr}"
    );
    assert_eq!(
        stderr.matches("warning: report.html").count(),
        1,
        "{stderr}"
    );
    // Standard error is a pipe here.
    for text in [
        "no dashboard: standard error is not a terminal",
        "step 2/2 (100%)  loss",
        "validation \"same\" at step 2",
    ] {
        assert!(stderr.contains(text), "{text}: {stderr}");
    }
}

/// On a terminal of its own, which util-linux's `script` gives it.
#[cfg(target_os = "linux")]
#[test]
fn the_dashboard_gives_the_terminal_back() {
    let folder = workplace();
    let terminal = |more: &str| {
        let (program, config) = (
            env!("CARGO_BIN_EXE_coca-train"),
            folder.path().join("train.toml"),
        );
        let command = format!(
            "stty cols 120 rows 40 && '{program}' train '{}' --dashboard {more}; echo code $?; stty -a",
            config.display()
        );
        let ended = std::process::Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(std::process::Stdio::null())
            .output();
        ended
            .ok()
            .map(|ended| String::from_utf8_lossy(&ended.stdout).into_owned())
    };
    let Some(screen) = terminal("--set output=good") else {
        eprintln!("skipped: there is no `script` (util-linux) to make a terminal with");
        return;
    };
    let failed = terminal(
        "--set output=bad --set optimizer.learning_rate=1e30 --set steps=9 --set max_skipped=3",
    )
    .unwrap();
    for (screen, words) in [(&screen, "code 0"), (&failed, "code 1")] {
        let (_, shown) = screen
            .split_once("\u{1b}[?1049h")
            .expect("the other screen");
        let (shown, after) = shown
            .split_once("\u{1b}[?1049l")
            .expect("the screen as it was");
        assert!(shown.contains("losses"), "{screen}");
        assert!(
            after.contains("\u{1b}[?25h"),
            "the cursor is shown: {after}"
        );
        assert!(
            after.contains(words) && after.contains(" icanon"),
            "{after}"
        );
    }
    assert!(screen.contains("the model is in"), "{screen}");
    assert!(failed.contains("error: 3 steps in a row"), "{failed}");
}
