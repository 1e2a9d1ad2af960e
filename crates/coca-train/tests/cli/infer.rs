//! classify, caption, answer, embed and info.

use serde_json::Value;

use crate::fixture::{coca_train, fails, json_lines, model, pictures};

/// A command on the model and all pictures.
fn on_pictures(command: &str, options: &[&str]) -> Vec<Value> {
    let (model, pictures) = (model(), pictures());
    let mut args = vec![command, "--model", &model, "--json"];
    args.extend(options);
    args.extend(pictures.iter().map(String::as_str));
    let lines = json_lines(&args);
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line["image"].as_str().unwrap())
        .collect();
    assert_eq!(names, pictures, "one line for each picture, in their order");
    lines
}

fn keys(line: &Value) -> Vec<&str> {
    line.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn scores_of_labels_are_sorted_and_sum_to_one() {
    for line in on_pictures("classify", &["--labels", "red, green,blue"]) {
        assert_eq!(keys(&line), ["image", "labels"]);
        let scores: Vec<f64> = line["labels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|label| label["score"].as_f64().unwrap())
            .collect();
        assert_eq!(scores.len(), 3);
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn labels_come_from_a_file_and_templates_change_the_scores() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "red\ngreen\n\nblue\n").unwrap();
    let at = format!("@{}", file.path().display());
    let listed = on_pictures("classify", &["--labels", "red,green,blue"]);
    assert_eq!(on_pictures("classify", &["--labels", &at]), listed);
    let own = on_pictures(
        "classify",
        &["--labels", &at, "--template", "a photo of a {}"],
    );
    assert_eq!(own, listed, "the model's own template");
    let others = [
        "--labels",
        &at,
        "--template",
        "number {}",
        "--template",
        "all over {}",
    ];
    assert_ne!(on_pictures("classify", &others), listed);
}

#[test]
fn captions_are_reproducible() {
    for options in [
        &[][..],
        &["--beams", "3"],
        &["--top-k", "5", "--seed", "4"],
        &["--openclip-compat"],
    ] {
        let lines = on_pictures("caption", options);
        assert_eq!(lines, on_pictures("caption", options), "{options:?}");
        for line in lines {
            assert_eq!(keys(&line), ["caption", "image", "log_prob", "tokens"]);
            assert!(line["log_prob"].as_f64().unwrap() < 0.0 && line["caption"].is_string());
            assert!(
                line["tokens"].as_array().unwrap().len() < 16,
                "the context length"
            );
        }
    }
    let seeds =
        ["1", "2"].map(|seed| on_pictures("caption", &["--temperature", "3", "--seed", seed]));
    assert_ne!(seeds[0], seeds[1]);
    for line in on_pictures("caption", &["--max-tokens", "2", "--prefix", "a red"]) {
        assert!(line["tokens"].as_array().unwrap().len() <= 2);
    }
}

#[test]
fn answers_are_free_or_chosen() {
    for line in on_pictures("answer", &["--question", "is it red?"]) {
        assert_eq!(keys(&line), ["answer", "image", "log_prob", "question"]);
        assert_eq!(line["question"], "is it red?");
    }
    for line in on_pictures(
        "answer",
        &["--question", "is it red?", "--choices", "yes,no,maybe"],
    ) {
        assert_eq!(
            keys(&line),
            ["answer", "choices", "image", "log_prob", "question"]
        );
        let choices = line["choices"].as_array().unwrap();
        assert_eq!(choices[0]["answer"], line["answer"]);
        let sum: f64 = choices
            .iter()
            .map(|choice| choice["score"].as_f64().unwrap())
            .sum();
        assert!(choices.len() == 3 && (sum - 1.0).abs() < 1e-5);
    }
}

#[test]
fn embeddings_have_unit_length_and_do_not_depend_on_the_batch() {
    let (model, pictures) = (model(), pictures());
    let lines = json_lines(&[
        "embed",
        "--model",
        &model,
        "--json",
        "--text",
        "a dog",
        &pictures[0],
        "--text",
        "red",
    ]);
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[0]["text"], &lines[1]["text"]),
        (&"a dog".into(), &"red".into())
    );
    assert_eq!(lines[2]["image"], pictures[0].as_str());
    let embedding = |line: &Value| -> Vec<f64> {
        let numbers = line["embedding"].as_array().unwrap().iter();
        numbers.map(|x| x.as_f64().unwrap()).collect()
    };
    for line in &lines {
        let squares: f64 = embedding(line).iter().map(|x| x * x).sum();
        assert!(embedding(line).len() == 32 && (squares - 1.0).abs() < 1e-5);
    }
    let alone = json_lines(&["embed", "--model", &model, "--json", "--text", "red"]);
    assert_eq!(alone[0]["text"], lines[1]["text"]);
    // A batch is as long as its longest text, so that sums are rounded differently.
    for (alone, beside) in embedding(&alone[0]).iter().zip(embedding(&lines[1])) {
        assert!((alone - beside).abs() < 1e-6, "{alone}, {beside}");
    }
}

#[test]
fn a_broken_image_is_named_and_the_others_are_done() {
    let broken = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(broken.path(), b"\x89PNG not really").unwrap();
    let broken = broken.path().to_str().unwrap();
    let (model, pictures) = (model(), pictures());
    for command in [
        &["caption"][..],
        &["classify", "--labels", "a,b"],
        &["answer", "--question", "why?"],
        &["embed"],
    ] {
        let options = [
            "--model",
            &model,
            "--json",
            &pictures[0],
            broken,
            "/nowhere.png",
            &pictures[1],
        ];
        let (stdout, stderr) = fails(&[command, &options].concat(), 1);
        assert_eq!(stdout.lines().count(), 2, "{command:?}");
        assert!(
            stdout
                .lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok())
        );
        assert!(
            stderr.contains(broken) && stderr.contains("/nowhere.png") && stderr.contains("2 of 4"),
            "{stderr}"
        );
    }
}

#[test]
fn people_can_read_the_results() {
    let (model, pictures) = (model(), pictures());
    let picture = pictures[0].as_str();
    for (args, words) in [
        (
            &["classify", "--labels", "red,blue"][..],
            &["red.png", " %  red", " %  blue"][..],
        ),
        (&["caption"], &["red.png: "]),
        (
            &["answer", "--question", "why?", "--choices", "yes,no"],
            &["red.png: ", " %  yes", " %  no"],
        ),
        (&["embed", "--text", "a dog"], &["a dog\t", "red.png\t"]),
    ] {
        let output = coca_train(&[args, &["--model", &model, picture]].concat())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && words.iter().all(|word| stdout.contains(word)),
            "{stdout}"
        );
        assert!(!stdout.contains('{'), "{stdout}");
    }
    coca_train(&["info", &model])
        .assert()
        .success()
        .stdout(predicates::str::contains("unimodal text decoder"));
}

#[test]
fn info_counts_the_parameters() {
    let info = &json_lines(&["info", &model(), "--json"])[0];
    assert_eq!(
        (&info["name"], &info["dtype"], &info["self_test"]),
        (&"tiny".into(), &"F32".into(), &true.into())
    );
    let parameters = info["parameters"].as_object().unwrap();
    let total = parameters["total"].as_u64().unwrap();
    let towers: u64 = parameters
        .iter()
        .filter(|(name, _)| *name != "total")
        .map(|(_, n)| n.as_u64().unwrap())
        .sum();
    assert_eq!(total, towers + 1, "all but the logit scale are in a tower");
    assert_eq!(info["bytes"], 4 * total);
    assert_eq!(info["model_cfg"]["embed_dim"], 32);
}

#[test]
fn an_explanation_has_a_map_for_each_word_and_a_picture() {
    let (model, picture) = (model(), pictures()[0].clone());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("heat.png");
    let line = &json_lines(&[
        "explain",
        "--model",
        &model,
        "--json",
        "--text",
        "a red car",
        "--out",
        out.to_str().unwrap(),
        &picture,
    ])[0];
    assert_eq!(
        (&line["image"], &line["text"]),
        (&picture.as_str().into(), &"a red car".into())
    );
    assert_eq!((&line["columns"], &line["rows"]), (&4.into(), &4.into()));
    assert!(line["log_prob"].as_f64().unwrap() < 0.0 && line["region"]["width"].is_number());
    let words = line["words"].as_array().unwrap();
    let texts: Vec<&str> = words
        .iter()
        .map(|word| word["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["a", " red", " car"]);
    for word in words {
        let heat: Vec<f64> = word["heat"]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap())
            .collect();
        assert!(
            heat.len() == 16 && (heat.iter().sum::<f64>() - 1.0).abs() < 1e-5,
            "{heat:?}"
        );
    }
    let strip = image::open(&out).unwrap();
    assert_eq!((strip.width(), strip.height()), (4 * 32, 32));

    let (_, stderr) = fails(
        &[
            "explain",
            "--model",
            &model,
            "--text",
            &"red ".repeat(20),
            &picture,
        ],
        2,
    );
    assert!(stderr.contains("shorten it"), "{stderr}");
}
