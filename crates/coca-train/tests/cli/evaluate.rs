//! eval.

use predicates::prelude::PredicateBooleanExt;

use crate::fixture::{COLOURS, SAMPLES, coca_train, fails, json_lines, model, trained};

#[test]
fn every_task_reports_its_metrics() {
    let (model, data) = (model(), trained("data.tar"));
    for (task, n, names) in [
        (
            "zero-shot",
            SAMPLES,
            &["mean_per_class", "top1", "top5"][..],
        ),
        (
            "retrieval",
            SAMPLES,
            &[
                "i2t_mean_rank",
                "i2t_median_rank",
                "i2t_r1",
                "i2t_r10",
                "i2t_r5",
                "t2i_mean_rank",
                "t2i_median_rank",
                "t2i_r1",
                "t2i_r10",
                "t2i_r5",
            ],
        ),
        ("vqa", 2 * SAMPLES, &["exact_match", "vqa_accuracy"]),
        (
            "caption",
            SAMPLES,
            &[
                "bleu1",
                "bleu2",
                "bleu3",
                "bleu4",
                "cider",
                "meteor",
                "perplexity",
                "rouge_l",
            ],
        ),
    ] {
        let lines = json_lines(&["eval", task, "--model", &model, "--data", &data, "--json"]);
        let [line] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert_eq!(
            (&line["task"], &line["data"], &line["n"]),
            (&task.into(), &data.as_str().into(), &n.into())
        );
        let metrics = line["metrics"].as_object().unwrap();
        assert_eq!(metrics.keys().collect::<Vec<_>>(), names);
        for (name, value) in metrics {
            let value = value.as_f64().unwrap();
            let range = match name.as_str() {
                "perplexity" => 1.0..=10_000.0,
                "cider" => 0.0..=10.0,
                _ if name.ends_with("_rank") => 1.0..=2.0 * SAMPLES as f64,
                _ => 0.0..=1.0,
            };
            assert!(range.contains(&value), "{name} {value}");
        }
        if task == "zero-shot" {
            assert_eq!(metrics["top5"], 1.0, "there are {} labels", COLOURS.len());
            assert_eq!(line["per_class"].as_array().unwrap().len(), COLOURS.len());
        }
        if task == "caption" {
            assert_eq!(line["meteor_modules"], serde_json::json!(["exact", "stem"]));
        }
        if task == "retrieval" {
            assert_eq!(metrics["t2i_r10"], 1.0, "there are {SAMPLES} pictures");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_the_numbers() {
    let (model, data) = (model(), trained("data.tar"));
    for task in ["zero-shot", "vqa"] {
        let args = [
            "eval",
            task,
            "--model",
            &model,
            "--data",
            &data,
            "--json",
            "--threads",
        ];
        assert_eq!(
            json_lines(&[&args[..], &["1"]].concat()),
            json_lines(&[&args[..], &["3"]].concat())
        );
    }
}

#[test]
fn a_limit_and_labels_of_ones_own() {
    let (model, data) = (model(), trained("data.tar"));
    let base = ["eval", "zero-shot", "--model", &model, "--data", &data];
    let labels = [
        "--json",
        "--limit",
        "5",
        "--labels",
        "red,green,blue,grey,a_dog,a cat",
    ];
    assert_eq!(json_lines(&[&base[..], &labels].concat())[0]["n"], 5);
    let (stdout, stderr) = fails(&[&base[..], &["--labels", "red,green"]].concat(), 1);
    assert!(
        stdout.is_empty() && stderr.contains("\"blue\"") || stderr.contains("\"grey\""),
        "{stderr}"
    );
    coca_train(&base)
        .assert()
        .success()
        .stdout(predicates::str::contains("8 images"));
}

#[test]
fn a_folder_gets_everything_that_was_found() {
    let (model, data) = (model(), trained("data.tar"));
    let folder = tempfile::tempdir().unwrap();
    let (out, svg) = (
        folder.path().join("new/out"),
        folder.path().join("matrix.svg"),
    );
    let base = [
        "eval",
        "zero-shot",
        "--model",
        &model,
        "--data",
        &data,
        "--json",
    ];
    let files = [
        "--out",
        out.to_str().unwrap(),
        "--confusion",
        svg.to_str().unwrap(),
    ];
    let line = &json_lines(&[&base[..], &files].concat())[0];
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&read("results.json")).unwrap();
    assert_eq!(&stored, line);
    let text = read("results.md");
    assert!(text.contains("| top1 ") && text.contains("### Classes") && text.contains("| grey "));
    assert_eq!(read("confusion.svg"), std::fs::read_to_string(svg).unwrap());
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3);
}

#[test]
fn templates_and_class_names() {
    let (model, data) = (model(), trained("data.tar"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("@{}", path.display())
    };
    let base = [
        "eval",
        "zero-shot",
        "--model",
        &model,
        "--data",
        &data,
        "--json",
    ];
    let top1 =
        |args: &[&str]| json_lines(&[&base[..], args].concat())[0]["metrics"]["top1"].clone();
    let simple = top1(&["--templates", "simple"]);
    let templates = file(
        "t.json",
        r#"{"x": ["itap of a {c}.", "a bad photo of the {c}.", "a origami {c}.", "a photo of the large {c}.",
            "a {c} in a video game.", "art of the {c}.", "a photo of the small {c}."], "y": ["{c}"]}"#,
    );
    assert_eq!(top1(&["--templates", &format!("{templates}#x")]), simple);
    top1(&["--templates", "imagenet"]);
    let names = file(
        "n.json",
        r#"{"red": "red", "green": "green", "blue": "blue", "grey": "grey"}"#,
    );
    assert_eq!(
        top1(&["--templates", "simple", "--class-names", &names]),
        simple
    );
    let fewer = file("f.json", r#"{"red": "red"}"#);
    let (_, stderr) = fails(&[&base[..], &["--class-names", &fewer]].concat(), 1);
    assert!(stderr.contains("has no class name"), "{stderr}");
    let (_, stderr) = fails(&[&base[..], &["--templates", "no such set"]].concat(), 2);
    assert!(stderr.contains("imagenet"), "{stderr}");
    let (_, stderr) = fails(
        &[
            "eval",
            "vqa",
            "--model",
            &model,
            "--data",
            &data,
            "--confusion",
            "x.svg",
        ],
        2,
    );
    assert!(stderr.contains("zero-shot"), "{stderr}");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let data_folder = ["--meteor-data", empty.to_str().unwrap()];
    let caption = ["eval", "caption", "--model", &model, "--data", &data];
    let (_, stderr) = fails(&[&caption[..], &data_folder].concat(), 1);
    assert!(stderr.contains("meteor-1.5.jar"), "{stderr}");
}

#[test]
fn people_get_a_table() {
    let (model, data) = (model(), trained("data.tar"));
    coca_train(&["eval", "caption", "--model", &model, "--data", &data])
        .assert()
        .success()
        .stdout(
            predicates::str::contains("| meteor ").and(predicates::str::contains("exact, stem")),
        );
}
