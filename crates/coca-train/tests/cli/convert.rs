//! convert.

use std::fs;

use crate::fixture::{coca_train, fails, json_lines, model, pictures, trained};

/// Embeddings of a text and a picture.
fn embeddings(model: &str) -> Vec<Vec<f64>> {
    let lines = json_lines(&[
        "embed",
        "--model",
        model,
        "--json",
        "--text",
        "a red square",
        &pictures()[0],
    ]);
    let numbers = |line: &serde_json::Value| {
        line["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap())
            .collect()
    };
    lines.iter().map(numbers).collect()
}

fn distance(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    a.concat()
        .iter()
        .zip(b.concat())
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

#[test]
fn every_type_and_shards_give_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let expected = embeddings(&model);
    for (options, tolerance, files) in [
        (&["--dtype", "f32"][..], 0.0, 1),
        (&["--dtype", "f16"], 2e-3, 1),
        (&["--dtype", "bf16"], 2e-2, 1),
        (&["--dtype", "q8"], 2e-2, 1),
        (&["--dtype", "q4"], 0.2, 1),
        (&["--shard-size", "100kB"], 0.0, 5),
    ] {
        let out = folder
            .path()
            .join(options.join(""))
            .to_str()
            .unwrap()
            .to_owned();
        let args = [&["convert", &model, &out][..], options].concat();
        coca_train(&args).assert().success().stdout("");
        let found = distance(&embeddings(&out), &expected);
        assert!(found <= tolerance, "{options:?}: {found}");
        let weights = fs::read_dir(&out).unwrap().flatten();
        let weights = weights.filter(|file| {
            file.path()
                .extension()
                .is_some_and(|name| name == "safetensors")
        });
        assert!(
            (files..=files + 3).contains(&weights.count()),
            "{options:?}"
        );
        // And back: what was rounded stays rounded.
        let back = format!("{out}-back");
        coca_train(&["convert", &out, &back, "--dtype", "f32"])
            .assert()
            .success();
        assert_eq!(distance(&embeddings(&back), &embeddings(&out)), 0.0);
    }
}

#[test]
fn quantised_weights_are_small_sharded_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let info = |model: &str| json_lines(&["info", model, "--json"]).remove(0);
    let size = |model: &str| info(model)["bytes"].as_u64().unwrap();
    for (dtype, share) in [("q8", 0.36), ("q4", 0.30)] {
        let out = folder.path().join(dtype).to_str().unwrap().to_owned();
        let args = [
            "convert",
            &model,
            &out,
            "--dtype",
            dtype,
            "--report",
            "--shard-size",
            "20kB",
        ];
        let report = json_lines(&args).remove(0);
        let least = if dtype == "q8" { 0.999 } else { 0.97 };
        for cosine in ["image_cosine", "text_cosine"] {
            let found = report[cosine]["least"].as_f64().unwrap();
            assert!(
                (least..=1.000_001).contains(&found),
                "{dtype} {cosine}: {found}"
            );
        }
        assert!(report["top1_agreement"].as_f64().unwrap() <= 1.0);
        let found = size(&out) as f64 / size(&model) as f64;
        assert!(found < share, "{dtype}: {found}");
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(format!("{out}/coca.json")).unwrap()).unwrap();
        assert_eq!(json["quantisation"]["dtype"], dtype);
        let shards = json["files"].as_object().unwrap().keys();
        let shards: Vec<_> = shards
            .filter(|name| name.ends_with(".safetensors"))
            .collect();
        assert!(shards.len() > 1, "{shards:?}");
        let dtypes = info(&out)["dtype"].as_str().unwrap().to_owned();
        assert!(
            dtypes.contains(&dtype.to_uppercase()) && dtypes.contains("F16"),
            "{dtypes}"
        );
        // Back to floats, nothing is said about a quantisation.
        let back = format!("{out}-back");
        coca_train(&["convert", &out, &back, "--dtype", "f32"])
            .assert()
            .success();
        assert!(
            !fs::read_to_string(format!("{back}/coca.json"))
                .unwrap()
                .contains("quantisation")
        );
    }
}

#[test]
fn a_lone_file_takes_its_shape_from_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let weights = trained("out/model/open_clip_model.safetensors");
    let config = trained("out/model/open_clip_config.json");
    coca_train(&["convert", &weights, &out, "--config", &config])
        .assert()
        .success();
    assert_eq!(distance(&embeddings(&out), &embeddings(&model())), 0.0);
    // These shapes are no preset's.
    let (_, stderr) = fails(&["convert", &weights, &format!("{out}2")], 1);
    assert!(stderr.contains("--config"), "{stderr}");
    let (_, stderr) = fails(
        &[
            "convert",
            &weights,
            &format!("{out}2"),
            "--config",
            "coca_ViT-B-32",
        ],
        1,
    );
    assert_eq!(
        stderr.matches("do not fit the model").count(),
        1,
        "{stderr}"
    );
    assert!(!folder.path().join("out2").exists());
}

#[test]
fn resized_positions_are_announced() {
    let folder = tempfile::tempdir().unwrap();
    let config = fs::read_to_string(trained("out/model/open_clip_config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["model_cfg"]["vision_cfg"]["image_size"] = 48.into();
    let path = folder.path().join("open_clip_config.json");
    fs::write(&path, config.to_string()).unwrap();
    fs::copy(
        trained("out/model/tokenizer.json"),
        folder.path().join("tokenizer.json"),
    )
    .unwrap();
    let weights = trained("out/model/open_clip_model.safetensors");
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let command = coca_train(&[
        "convert",
        &weights,
        &out,
        "--config",
        path.to_str().unwrap(),
    ])
    .output()
    .unwrap();
    let stderr = String::from_utf8(command.stderr).unwrap();
    assert!(
        command.status.success() && stderr.contains("resized from 4x4 to 6x6"),
        "{stderr}"
    );
    assert_eq!(embeddings(&out).len(), 2);
}

#[test]
fn nothing_is_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.txt"), "two years of work").unwrap();
    let model = model();
    let args = ["convert", &model, out.to_str().unwrap()];
    assert!(fails(&args, 1).1.contains("--overwrite"));
    assert!(
        fails(&[&args[..], &["--overwrite"]].concat(), 1)
            .1
            .contains("not a model folder")
    );
    assert!(out.join("thesis.txt").exists());
    fs::remove_dir_all(&out).unwrap();
    coca_train(&args).assert().success();
    coca_train(&[&args[..], &["--overwrite", "--dtype", "f16"]].concat())
        .assert()
        .success();
    assert_eq!(json_lines(&["info", args[2], "--json"])[0]["dtype"], "F16");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary folder is left"
    );
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(trained("out/model/open_clip_model.safetensors")).unwrap();
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    for (name, bytes, word) in [
        ("short.safetensors", &whole[..whole.len() / 2], "complete"),
        ("short.pt", &whole[..100], "PyTorch"),
        ("empty.bin", &[], "PyTorch"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let (_, stderr) = fails(&["convert", path.to_str().unwrap(), &out], 1);
        assert!(stderr.contains(name) && stderr.contains(word), "{stderr}");
    }
}
