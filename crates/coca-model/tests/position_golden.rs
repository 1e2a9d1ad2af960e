//! Position embeddings resized by open_clip (`golden_posembed` in `tests/golden/make_golden.py`), against ours.

use std::collections::BTreeMap;

use coca_model::Result;
use coca_model::weights::{LoadOptions, StateDict, adapt};

/// Adapts the golden's `CASE.in` as the parameter `name` and returns the largest difference from `CASE.out`.
fn largest_error(golden: &StateDict, case: &str, name: &str) -> Result<f32> {
    let (in_shape, _) = golden.get_f32(&format!("{case}.in"))?;
    let (shape, expected) = golden.get_f32(&format!("{case}.out"))?;
    assert_ne!(in_shape, shape, "the golden resizes");

    let input = golden.get(&format!("{case}.in")).cloned();
    let weights: StateDict = input
        .into_iter()
        .map(|tensor| (name.to_string(), tensor))
        .collect();
    let module = BTreeMap::from([(name.to_string(), shape.clone())]);
    let adapted = adapt(&weights, &module, &LoadOptions::default())?;

    let (found_shape, found) = adapted.weights.get_f32(name)?;
    assert_eq!(found_shape, shape);
    Ok(found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max))
}

#[test]
fn position_embeddings_are_resized_as_open_clip_does() {
    let bytes = include_bytes!("../../../tests/golden/data/posembed.safetensors").to_vec();
    let golden = StateDict::from_safetensors(bytes).unwrap();
    for (case, name) in [
        ("vision_4to6", "visual.positional_embedding"),
        ("vision_7to12", "visual.positional_embedding"),
        ("vision_16to10", "visual.positional_embedding"),
        ("text_17to25", "text.positional_embedding"),
        ("text_33to17", "text.positional_embedding"),
    ] {
        let error = largest_error(&golden, case, name).unwrap();
        println!("{case}: largest difference {error:e}");
        assert!(error < 1e-5, "{case}: {error}");
    }
}
