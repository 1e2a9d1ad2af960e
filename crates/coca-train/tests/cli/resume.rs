//! train: what survives kills, full disks, damaged files and losses that are not finite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::{coca_train, fails, trained, workplace};

/// Everything that has a state or is random.
const EVERYTHING: [&str; 9] = [
    "validation=[]",
    "threads=2",
    "accumulate=2",
    "activation_checkpointing=true",
    "patch_dropout=0.4",
    "ema={ decay = 0.9 }",
    "loss={ label_smoothing = 0.1 }",
    "augment={ horizontal_flip = 0.5 }",
    "optimizer.method=adafactor",
];

/// `train` with changes of the fixture's configuration.
fn arguments(folder: &Path, output: &str, changes: &[&str]) -> Vec<String> {
    let config = folder.join("train.toml").to_str().unwrap().to_owned();
    let mut all = vec!["train".to_owned(), config];
    let output = format!("output={output}");
    for change in changes.iter().copied().chain([output.as_str()]) {
        all.extend(["--set".to_owned(), change.to_owned()]);
    }
    all
}

fn run(folder: &Path, output: &str, changes: &[&str], more: &[&str]) -> assert_cmd::assert::Assert {
    let all = arguments(folder, output, changes);
    let all: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    coca_train(&all).assert()
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// Steps of the checkpoints, oldest first, with their folders.
fn checkpoints(output: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(output.join("checkpoints"))
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_prefix("step-")?.parse().ok()?, entry.path()))
        })
        .collect();
    found.sort();
    found
}

fn weights(output: &Path) -> Vec<u8> {
    fs::read(output.join("model/open_clip_model.safetensors")).unwrap()
}

fn steps(output: &Path) -> Vec<u64> {
    let text = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let step = |line| {
        serde_json::from_str::<Value>(line).unwrap()["step"]
            .as_u64()
            .unwrap()
    };
    text.lines().map(step).collect()
}

fn spawn(arguments: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_coca-train"))
        .args(arguments)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Every second kill waits for a checkpoint, so that the run gets on; the others come at any time.
#[test]
fn twenty_kills_change_nothing() {
    const STEPS: u64 = 400;
    let place = workplace();
    let folder = place.path();
    let steps_change = format!("steps={STEPS}");
    let changes = [
        &EVERYTHING[..],
        &[steps_change.as_str(), "log.checkpoint_every=3"],
    ]
    .concat();
    run(folder, "whole", &changes, &[]).success();

    let cut = folder.join("cut");
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for kill in 0..20 {
        let before = checkpoints(&cut).last().map_or(0, |(step, _)| *step);
        let mut all = arguments(folder, "cut", &changes);
        if before > 0 {
            all.push("--resume".into());
        }
        let mut child = spawn(&all);
        let (started, pause) = (Instant::now(), Duration::from_millis(draw(100)));
        let newest = || checkpoints(&cut).last().map_or(0, |(step, _)| *step);
        while kill % 2 == 1 && newest() <= before {
            assert!(started.elapsed() < Duration::from_secs(60), "no progress");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(pause);
        assert_eq!(
            child.try_wait().unwrap(),
            None,
            "the run was over before kill {kill}"
        );
        // SIGKILL on Unix.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    run(folder, "cut", &changes, &["--resume"]).success();
    assert!(weights(&cut) == weights(&folder.join("whole")));
    assert_eq!(steps(&cut), (1..=STEPS).collect::<Vec<_>>());
    for place in ["", "checkpoints", "pictures"].map(|place| cut.join(place)) {
        let names = fs::read_dir(place)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name());
        for name in names {
            assert!(
                !name.to_string_lossy().starts_with('.'),
                "{name:?} was left behind"
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_run_and_keeps_the_last_checkpoint() {
    let place = workplace();
    let (folder, output) = (place.path(), place.path().join("out"));
    let changes = ["steps=4", "log.checkpoint_every=2", "validation=[]"];
    run(folder, "whole", &changes, &[]).success();
    // As if it had been killed after step 2.
    run(folder, "out", &changes, &[]).success();
    fs::remove_dir_all(output.join("model")).unwrap();
    fs::remove_dir_all(&checkpoints(&output)[1].1).unwrap();
    let saved = checkpoints(&output)[0].1.clone();
    let files = |folder: &Path| {
        let mut all: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
            .collect();
        all.sort();
        all
    };
    let before = files(&saved);
    // The system refuses to let the optimiser's file grow to its size. Blocks have 512 or 1024 bytes.
    let size = fs::metadata(saved.join("optimizer.safetensors"))
        .unwrap()
        .len();
    let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", size / 1024 - 8);
    let ended = Command::new("sh")
        .args(["-c", &limit, "sh", env!("CARGO_BIN_EXE_coca-train")])
        .args(arguments(folder, "out", &changes))
        .arg("--resume")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{error}");
    assert!(
        error.contains("the previous one is untouched") && error.contains("writing"),
        "{error}"
    );
    assert_eq!(checkpoints(&output).len(), 1, "{error}");
    assert!(files(&saved) == before);
    run(folder, "out", &changes, &["--resume"]).success();
    assert!(weights(&output) == weights(&folder.join("whole")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    // Nobody can make a folder there, not even root.
    let place = workplace();
    let error = stderr(&run(place.path(), "/proc/run", &[], &[]).code(1));
    assert!(error.contains("creating /proc/run"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used() {
    let place = workplace();
    let (folder, output) = (place.path(), place.path().join("out"));
    let changes = [
        "steps=6",
        "log.checkpoint_every=2",
        "log.keep_checkpoints=3",
        "validation=[]",
    ];
    run(folder, "out", &changes, &[]).success();
    let whole = weights(&output);
    type Damage = fn(&mut Vec<u8>);
    let damage: [(&str, Damage); 4] = [
        ("optimizer.safetensors", |bytes| {
            bytes.truncate(bytes.len() / 2)
        }),
        ("open_clip_model.safetensors", |bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }),
        ("train_state.json", |bytes| bytes.truncate(20)),
        ("train_state.json", Vec::clear),
    ];
    for (name, spoil) in damage {
        fs::remove_dir_all(output.join("model")).unwrap();
        let (step, newest) = checkpoints(&output).pop().unwrap();
        assert_eq!(step, 6);
        let file = newest.join(name);
        let mut bytes = fs::read(&file).unwrap();
        spoil(&mut bytes);
        fs::write(&file, bytes).unwrap();
        let error = stderr(&run(folder, "out", &changes, &["--resume"]).success());
        assert!(error.contains("damaged") && error.contains(name), "{error}");
        assert!(weights(&output) == whole);
        fs::remove_dir_all(newest.with_extension("damaged")).unwrap();
    }
    for (_, folder) in checkpoints(&output) {
        fs::remove_file(folder.join("optimizer.safetensors")).unwrap();
    }
    let error = stderr(&run(folder, "out", &changes, &["--resume"]).code(1));
    assert!(
        error.contains("none of the checkpoints") && error.contains("output"),
        "{error}"
    );
}

#[test]
fn losses_that_are_not_finite_are_skipped_counted_and_in_the_end_reported() {
    let place = workplace();
    let changes = [
        "steps=50",
        "optimizer.learning_rate=1e30",
        "optimizer.warmup=0",
        "log.checkpoint_every=1",
        "max_skipped=3",
        "validation=[]",
    ];
    let error = stderr(&run(place.path(), "out", &changes, &[]).code(1));
    assert!(error.contains("step 2 was skipped"), "{error}");
    assert!(
        error.contains("3 steps in a row") && error.contains("learning_rate"),
        "{error}"
    );
    assert!(error.contains("data.tar:"), "{error}");
    // The first step, and the skipped ones before the last.
    assert_eq!(steps(&place.path().join("out")), [1, 2, 3]);
    let text = fs::read_to_string(place.path().join("out/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(
        last["skipped_steps"] == 2 && last.get("loss").is_none(),
        "{last}"
    );
}

#[test]
fn fine_tuning_starts_from_a_folder_and_warns() {
    let place = workplace();
    let folder = place.path();
    let init = format!("init={}", trained("out/model"));
    let tune = [
        init.as_str(),
        "model=init",
        "tokenizer=init",
        "steps=1",
        "optimizer.warmup=0",
        "validation=[]",
    ];
    let error = stderr(&run(folder, "plain", &tune, &[]).success());
    assert!(!error.contains("warning"), "{error}");
    let config = |folder: &Path| -> Value {
        serde_json::from_slice(&fs::read(folder.join("open_clip_config.json")).unwrap()).unwrap()
    };
    assert_eq!(
        config(&folder.join("plain/model"))["model_cfg"],
        config(Path::new(&trained("out/model")))["model_cfg"]
    );

    let captions = [&tune[..], &["loss.contrastive=0"]].concat();
    let error = stderr(&run(folder, "captions", &captions, &[]).success());
    assert!(
        error.contains("warning") && error.contains("0.79 %"),
        "{error}"
    );

    let forgotten = ["optimizer.learning_rate=1e-5", "steps=1", "validation=[]"];
    let error = stderr(&run(folder, "forgotten", &forgotten, &[]).success());
    assert!(
        error.contains("warning") && error.contains("names no weights"),
        "{error}"
    );

    // A deeper decoder and another vocabulary: what is missing stays random.
    let model = fs::read_to_string(folder.join("model.json")).unwrap();
    let at = model.find("multimodal_cfg").unwrap();
    let (head, tail) = model.split_at(at);
    let deeper = format!("{head}{}", tail.replace("\"layers\": 1", "\"layers\": 2"));
    fs::write(folder.join("deeper.json"), deeper).unwrap();
    let other = [
        init.as_str(),
        "model=deeper.json",
        "tokenizer=init",
        "steps=1",
        "validation=[]",
    ];
    let error = stderr(&run(folder, "deeper", &other, &[]).success());
    assert!(
        error.contains("stay random") && error.contains("text_decoder."),
        "{error}"
    );

    let nothing = format!("init={}", folder.display());
    let bad = [nothing.as_str(), "steps=1"];
    let all = arguments(folder, "bad", &bad);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let (_, error) = fails(&all, 1);
    assert!(
        error.contains("init") && error.contains("model folder"),
        "{error}"
    );
}
