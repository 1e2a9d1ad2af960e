//! The model that a run starts with: random, or made from a model folder's weights.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use coca_model::preprocess::PreprocessConfig;
use coca_model::tokenizer::Tokenizer;
use coca_model::weights::{
    CocaJson, LoadOptions, ModelFolder, StateDict, adapt, expected, load, save,
};
use coca_model::{Coca, ModelConfig};
use pollster::block_on;
use serde_json::json;

use super::config::{TokenizerSource, TrainConfig};
use super::tokenizer::tokenizer;
use crate::folder;

/// A model before its first step.
pub struct Initial {
    /// The model.
    pub model: Coca,
    /// Everything of the model folder but the weights, which are the model's.
    pub frame: ModelFolder,
    /// What the user should know about the weights that it starts with.
    pub warnings: Vec<String>,
}

/// How many names a warning lists.
const LISTED: usize = 6;

impl Initial {
    /// What the configuration asks for.
    pub fn new(config: &TrainConfig, base: &Path, device: &Device) -> Result<Self> {
        let init = config
            .init
            .as_ref()
            .map(|init| folder::read(&base.join(init)))
            .transpose()
            .context("init")?;
        let mut shape = match &init {
            Some(init) if config.model == "init" => init.model_cfg.clone(),
            _ => config.model_config(base)?,
        };
        let tokenizer = match &init {
            Some(init) if config.tokenizer == TokenizerSource::Init => init.tokenizer.clone(),
            _ => tokenizer(config, base, shape.text_cfg.vocab_size)?,
        };
        describe_tokenizer(&mut shape, config, &tokenizer, init.as_ref());
        let mut model = Coca::new(&shape, device)?;
        let mut warnings = Vec::new();
        let [height, width] = shape.vision_cfg.image_size.dims();
        let mut preprocess_cfg = PreprocessConfig::for_size(height, width);
        if let Some(init) = &init {
            let name = config.init.as_deref().unwrap_or(Path::new("")).display();
            model = start_from(model, &init.weights, &shape, &mut warnings)
                .with_context(|| format!("init = \"{name}\""))?;
            if init.tokenizer.vocab_size() != tokenizer.vocab_size() {
                warnings.push(format!(
                    "init has a vocabulary of {} tokens, this run one of {}: its token embeddings mean other words. \
                     Set tokenizer = \"init\" to keep its vocabulary",
                    init.tokenizer.vocab_size(),
                    tokenizer.vocab_size()
                ));
            }
            // The size is the new model's; how colours become numbers is the weights'.
            preprocess_cfg = PreprocessConfig {
                size: preprocess_cfg.size,
                ..init.preprocess_cfg.clone()
            };
        }
        let frame = ModelFolder {
            preprocess_cfg,
            model_cfg: shape,
            tokenizer,
            weights: StateDict::new(),
            coca: CocaJson {
                name: Some(config.name.clone()),
                prompts: config.prompts.clone(),
                provenance: serde_json::to_value(&config.provenance)?,
                ..CocaJson::default()
            },
        };
        Ok(Self {
            model,
            frame,
            warnings,
        })
    }
}

/// What open_clip needs to read the folder's tokenizer.json and to clean texts as we do, and how many tokens there are.
fn describe_tokenizer(
    shape: &mut ModelConfig,
    config: &TrainConfig,
    tokenizer: &Tokenizer,
    init: Option<&ModelFolder>,
) {
    match &config.tokenizer {
        TokenizerSource::Clip => return,
        TokenizerSource::Init => {
            if let Some(init) = init {
                let from = &init.model_cfg.text_cfg;
                shape
                    .text_cfg
                    .hf_tokenizer_name
                    .clone_from(&from.hf_tokenizer_name);
                shape
                    .text_cfg
                    .tokenizer_kwargs
                    .clone_from(&from.tokenizer_kwargs);
                shape.text_cfg.vocab_size = from.vocab_size;
                shape.multimodal_cfg.vocab_size = Some(from.vocab_size);
                shape.text_cfg.pad_id = from.pad_id;
            }
            return;
        }
        TokenizerSource::Train => {
            // A vocabulary smaller than the configuration's leaves no unused rows.
            shape.text_cfg.vocab_size = tokenizer.vocab_size();
            shape.multimodal_cfg.vocab_size = Some(tokenizer.vocab_size());
        }
        TokenizerSource::File(_) => {}
    }
    shape.text_cfg.hf_tokenizer_name = Some(config.name.clone());
    shape.text_cfg.tokenizer_kwargs = Some(json!({ "clean": "lower" }));
    shape.text_cfg.pad_id = tokenizer.pad();
}

/// Puts the weights that fit into a model; the others stay random, with a warning.
fn start_from(
    model: Coca,
    weights: &StateDict,
    shape: &ModelConfig,
    warnings: &mut Vec<String>,
) -> Result<Coca> {
    let [rows, columns] = shape.vision_cfg.grid();
    let options = LoadOptions {
        grid: Some((rows, columns)),
        ..LoadOptions::default()
    };
    let expected = expected(&model);
    let adapted = adapt(weights, &expected, &options)?;
    warnings.extend(adapted.notes.iter().map(|note| format!("init: {note}")));
    let mut weights = adapted.weights;
    let unknown: Vec<String> = weights
        .iter()
        .map(|(name, _)| name.to_string())
        .filter(|name| !expected.contains_key(name))
        .collect();
    unknown.iter().for_each(|name| drop(weights.remove(name)));
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    for (name, shape) in &expected {
        match weights.get(name) {
            None => missing.push(name.clone()),
            Some(found) if found.shape() != shape.as_slice() => {
                misshapen.push(format!("{name} ({:?}, not {shape:?})", found.shape()));
                weights.remove(name);
            }
            Some(_) => {}
        }
    }
    let fresh = missing.len() + misshapen.len();
    ensure!(
        fresh < expected.len(),
        "none of its tensors has a place in this model: {}",
        listed(&unknown)
    );
    for (what, names) in [
        (
            "init lacks {} of the model's tensors, which stay random",
            &missing,
        ),
        (
            "{} of init's tensors have another shape; those of the model stay random",
            &misshapen,
        ),
        ("{} of init's tensors have no place in the model", &unknown),
    ] {
        if !names.is_empty() {
            let what = what.replace("{}", &names.len().to_string());
            warnings.push(format!("{what}: {}", listed(names)));
        }
    }
    if fresh > 0 {
        for (name, random) in block_on(save(&model))?.iter() {
            if weights.get(name).is_none() && expected.contains_key(name) {
                weights.insert(name.to_string(), random.clone());
            }
        }
    }
    Ok(load(model, &weights, &options)?)
}

fn listed(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(LISTED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > LISTED {
        text.push_str(", …");
    }
    text
}
