//! The crate itself is only built for the browser, where a mistake in this file would cost every page its GPU.

use coca_model::ModelConfig;

#[test]
fn the_model_of_the_self_check_is_a_model() {
    let config: ModelConfig = serde_json::from_str(include_str!("../src/tiny.json")).unwrap();
    config.validate().unwrap();
}
