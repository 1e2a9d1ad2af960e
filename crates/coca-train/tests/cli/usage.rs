//! Exit codes: 2 for wrong usage, 1 for a failure; and nothing on standard output.

use crate::fixture::{fails, model, pictures, trained};

#[test]
fn wrong_usage_ends_with_2() {
    let (model, picture, data) = (model(), pictures().remove(0), trained("data.tar"));
    let m = ["--model", &model, "--json"];
    let with = |args: &[&str], word: &str| {
        let (stdout, stderr) = fails(args, 2);
        assert!(
            stdout.is_empty() && stderr.contains(word),
            "{args:?}: {stderr}"
        );
    };
    with(&[], "Usage");
    with(&["paint"], "paint");
    with(&["classify", "--labels", "a,b", &picture], "--model");
    with(&[&["classify", &picture][..], &m].concat(), "--labels");
    with(
        &[&["classify", "--labels", "a,b"][..], &m].concat(),
        "IMAGE",
    );
    with(
        &[&["classify", "--labels", "a,,b", &picture][..], &m].concat(),
        "empty label",
    );
    with(
        &[&["classify", "--labels", "a,a", &picture][..], &m].concat(),
        "twice",
    );
    with(
        &[
            &["classify", "--labels", "a", "--template", "photo", &picture][..],
            &m,
        ]
        .concat(),
        "{}",
    );
    with(
        &[&["caption", "--beams", "0", &picture][..], &m].concat(),
        "beams",
    );
    with(
        &[
            &["caption", "--beams", "2", "--seed", "1", &picture][..],
            &m,
        ]
        .concat(),
        "--seed",
    );
    with(
        &[&["caption", "--top-p", "2", &picture][..], &m].concat(),
        "top-p",
    );
    with(
        &[&["caption", "--max-tokens", "0", &picture][..], &m].concat(),
        "max-tokens",
    );
    with(
        &[&["answer", "--question", " ", &picture][..], &m].concat(),
        "empty",
    );
    with(
        &[
            &["answer", "--question", "q", "--choices", "", &picture][..],
            &m,
        ]
        .concat(),
        "empty choice",
    );
    with(&[&["embed"][..], &m].concat(), "nothing to embed");
    with(
        &[&["eval", "poetry", "--data", &data][..], &m].concat(),
        "poetry",
    );
    with(
        &[&["eval", "vqa", "--limit", "0", "--data", &data][..], &m].concat(),
        "limit",
    );
    with(
        &["convert", &model, "/tmp/never", "--dtype", "q5"],
        "expected f32, f16",
    );
    with(
        &["convert", &model, "/tmp/never", "--shard-size", "big"],
        "64MB",
    );
    with(&["convert", &data, "/tmp/never"], ".safetensors");
    with(
        &["convert", &model, "/tmp/never", "--config", "coca_tiny"],
        "lone file",
    );
    with(&["info", &model, "--device", "abacus"], "abacus");
}

#[test]
fn failures_end_with_1_and_say_where() {
    let (model, picture, data) = (model(), pictures().remove(0), trained("data.tar"));
    let with = |args: &[&str], word: &str| {
        let (stdout, stderr) = fails(args, 1);
        assert!(
            stdout.is_empty() && stderr.contains(word),
            "{args:?}: {stderr}"
        );
    };
    with(&["info", "/nowhere"], "/nowhere");
    with(
        &["caption", "--model", &trained(""), &picture],
        "open_clip_config.json",
    );
    with(
        &[
            "classify",
            "--model",
            &model,
            "--labels",
            "@/nowhere.txt",
            &picture,
        ],
        "/nowhere.txt",
    );
    with(
        &["eval", "vqa", "--model", &model, "--data", "/nowhere.tar"],
        "/nowhere.tar",
    );
    with(
        &["eval", "vqa", "--model", "/nowhere", "--data", &data],
        "/nowhere",
    );
    with(
        &["convert", "/nowhere.safetensors", "/tmp/never"],
        "/nowhere.safetensors",
    );
    with(&["train", "/nowhere.toml"], "/nowhere.toml");
}

#[test]
fn a_changed_weights_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(model()).unwrap().flatten() {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let weights = folder.path().join("open_clip_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let (_, stderr) = fails(&["info", folder.path().to_str().unwrap()], 1);
    assert!(stderr.contains("SHA-256"), "{stderr}");
}
