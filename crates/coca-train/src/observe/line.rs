//! Lines of metrics: JSON objects whose numbers are measurements. Which numbers there are is up to the trainer;
//! whoever reads them takes all.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Numbers of a line that say when it was written, rather than what was measured.
const WHEN: [&str; 4] = ["step", "time", "seconds", "samples"];

/// Unix time in seconds.
pub fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is wrong by so much that no number helps.
    (since.unwrap_or_default().as_secs_f64() * 1000.0).round() / 1000.0
}

/// The step that a line is about.
pub fn step(line: &Value) -> Option<u64> {
    line["step"].as_u64()
}

/// The data set of a line of validation.
pub fn validation(line: &Value) -> Option<&str> {
    line["validation"].as_str()
}

/// Every measurement with its name; those inside objects are joined by `/`, as in `retrieval/i2t_r1`.
pub fn scalars(line: &Value) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    for (name, value) in line.as_object().into_iter().flatten() {
        if !WHEN.contains(&name.as_str()) {
            collect(name.clone(), value, &mut found);
        }
    }
    found
}

fn collect(name: String, value: &Value, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => found.extend(number.as_f64().map(|number| (name, number))),
        Value::Object(fields) => {
            for (field, value) in fields {
                collect(format!("{name}/{field}"), value, found);
            }
        }
        _ => {}
    }
}

/// The losses of a line of training in a few words.
pub fn losses(line: &Value) -> String {
    let named = |name: &str| Some(format!("{name} {:.3}", line[name].as_f64()?));
    let parts = ["loss", "contrastive", "caption", "language_model"];
    parts
        .into_iter()
        .filter_map(named)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The measurements of a line of validation in a few words.
pub fn measured(line: &Value) -> String {
    let name = validation(line).unwrap_or_default();
    let values: Vec<String> = scalars(line)
        .into_iter()
        .map(|(name, value)| format!("{name} {value:.3}"))
        .collect();
    let step = step(line).unwrap_or_default();
    format!("validation \"{name}\" at step {step}: {}", values.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_number_is_a_measurement() {
        let line = json!({
            "step": 3, "time": 1.0, "loss": 2.5, "validation": "x",
            "vqa": {"vqa_accuracy": 0.5, "exact_match": null}, "captions": [{"score": 1.0}],
        });
        assert_eq!(
            scalars(&line),
            [
                ("loss".to_owned(), 2.5),
                ("vqa/vqa_accuracy".to_owned(), 0.5)
            ]
        );
        assert_eq!(
            (step(&line), validation(&line), losses(&line).as_str()),
            (Some(3), Some("x"), "loss 2.500")
        );
    }
}
