//! eval.

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
            &["i2t_r1", "i2t_r10", "i2t_r5", "t2i_r1", "t2i_r10", "t2i_r5"],
        ),
        ("vqa", 2 * SAMPLES, &["exact_match", "vqa_accuracy"]),
        (
            "caption",
            SAMPLES,
            &["bleu4", "cider", "perplexity", "rouge_l"],
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
                _ => 0.0..=1.0,
            };
            assert!(range.contains(&value), "{name} {value}");
        }
        if task == "zero-shot" {
            assert_eq!(metrics["top5"], 1.0, "there are {} labels", COLOURS.len());
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
