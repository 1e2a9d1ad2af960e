//! open_clip's state dicts (`golden_model` in `tests/golden/make_golden.py`) go into the model and come out again
//! with the same names, shapes and bits, for every kind of attentional pooler.

use burn::tensor::Device;
use coca_model::weights::{LoadOptions, StateDict, load, save};
use coca_model::{Coca, ModelConfig};

macro_rules! golden {
    ($test:ident, $name:literal) => {
        #[test]
        fn $test() {
            let bytes = include_bytes!(concat!(
                "../../../tests/golden/data/model_",
                $name,
                ".safetensors"
            ));
            let json = include_bytes!(concat!("../../../tests/golden/data/model_", $name, ".json"));
            let json: serde_json::Value = serde_json::from_slice(json).unwrap();
            let config = ModelConfig::from_json(json["config"].to_string().as_bytes()).unwrap();

            let golden = StateDict::from_safetensors(bytes.to_vec()).unwrap();
            let weights: StateDict = golden
                .iter()
                .filter_map(|(name, tensor)| {
                    Some((name.strip_prefix("w.")?.to_string(), tensor.clone()))
                })
                .collect();
            assert!(weights.len() > 60);

            let model = Coca::new(&config, &Device::flex()).unwrap();
            let model = load(model, &weights, &LoadOptions::default()).unwrap();
            assert_eq!(pollster::block_on(save(&model)).unwrap(), weights);
        }
    };
}

golden!(single_pooler, "tiny");
golden!(no_pooler, "tiny_nopool");
golden!(cascade_pooler_with_a_packed_projection, "tiny_cascade");
golden!(parallel_pooler, "tiny_parallel");
golden!(layer_scale, "tiny_quickgelu_ls");
golden!(logit_bias_and_an_oblong_image, "tiny_bias");
