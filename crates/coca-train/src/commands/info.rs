//! `coca-train info`: what a model folder holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use coca_model::ModelConfig;
use coca_model::preprocess::PreprocessConfig;
use coca_model::weights::{ModelFolder, Prompts, StateDict};
use serde::Serialize;
use serde_json::Value;

use super::output;
use crate::{folder, hub};

/// Say what a model folder holds.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The model folder, hf:owner/name, or the address of a folder.
    model: PathBuf,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Info<'a> {
    name: Option<&'a str>,
    revision: Option<&'a str>,
    parameters: Parameters,
    /// Element types of the weights.
    dtype: String,
    /// Size of the weights.
    bytes: usize,
    tensors: usize,
    tokenizer: TokenizerInfo,
    prompts: &'a Prompts,
    self_test: bool,
    provenance: &'a Value,
    model_cfg: &'a ModelConfig,
    preprocess_cfg: &'a PreprocessConfig,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Parameters {
    total: usize,
    image_encoder: usize,
    attentional_pooler: usize,
    unimodal_text_decoder: usize,
    multimodal_text_decoder: usize,
}

#[derive(Serialize)]
struct TokenizerInfo {
    vocabulary: usize,
    context_length: usize,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let model = folder::read(&hub::local(&args.model)?)?;
    let info = info(&model);
    if args.json {
        return output::json(&info);
    }
    let million = |count: usize| format!("{:.2} M", count as f64 / 1e6);
    let (p, v, t) = (
        &info.parameters,
        &model.model_cfg.vision_cfg,
        &model.model_cfg.text_cfg,
    );
    let ([height, width], [patch_height, patch_width]) = (v.image_size.dims(), v.patch_size.dims());
    let layers = model.model_cfg.multimodal_cfg.layers;
    let rows = [
        (
            "name",
            [info.name, info.revision]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", revision "),
        ),
        ("parameters", million(p.total)),
        ("  image encoder", million(p.image_encoder)),
        ("  attentional pooler", million(p.attentional_pooler)),
        ("  unimodal text decoder", million(p.unimodal_text_decoder)),
        (
            "  multimodal text decoder",
            million(p.multimodal_text_decoder),
        ),
        (
            "weights",
            format!(
                "{}, {} tensors, {:.1} MB",
                info.dtype,
                info.tensors,
                info.bytes as f64 / 1e6
            ),
        ),
        (
            "images",
            format!("{width} x {height}, patches of {patch_width} x {patch_height}"),
        ),
        (
            "layers",
            format!(
                "{} image, {} unimodal text, {layers} multimodal text",
                v.layers, t.layers
            ),
        ),
        (
            "widths",
            format!(
                "{} image, {} text, {} embedding",
                v.width, t.width, model.model_cfg.embed_dim
            ),
        ),
        (
            "tokenizer",
            format!(
                "{} ids, {} tokens a text",
                info.tokenizer.vocabulary, t.context_length
            ),
        ),
        ("classify prompts", format!("{:?}", info.prompts.classify)),
        ("caption prompt", format!("{:?}", info.prompts.caption)),
        ("answer prompt", format!("{:?}", info.prompts.answer)),
        (
            "self-test",
            if info.self_test { "yes" } else { "no" }.into(),
        ),
        (
            "provenance",
            if info.provenance.is_null() {
                String::new()
            } else {
                info.provenance.to_string()
            },
        ),
    ];
    let known = rows.iter().filter(|(_, value)| !value.is_empty());
    known
        .into_iter()
        .try_for_each(|(name, value)| output::line(format!("{name:<26}{value}")))
}

fn info(model: &ModelFolder) -> Info<'_> {
    let dtypes: BTreeSet<&str> = model
        .weights
        .iter()
        .map(|(_, tensor)| tensor.dtype().name())
        .collect();
    Info {
        name: model.coca.name.as_deref(),
        revision: model.coca.revision.as_deref(),
        parameters: parameters(&model.weights),
        dtype: dtypes.into_iter().collect::<Vec<_>>().join("+"),
        bytes: model
            .weights
            .iter()
            .map(|(_, tensor)| tensor.bytes().len())
            .sum(),
        tensors: model.weights.len(),
        tokenizer: TokenizerInfo {
            vocabulary: model.tokenizer.vocab_size(),
            context_length: model.model_cfg.text_cfg.context_length,
        },
        prompts: &model.coca.prompts,
        self_test: model.coca.self_test.is_some(),
        provenance: &model.coca.provenance,
        model_cfg: &model.model_cfg,
        preprocess_cfg: &model.preprocess_cfg,
    }
}

/// Numbers of parameters by the first parts of open_clip's names.
fn parameters(weights: &StateDict) -> Parameters {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, tensor) in weights.iter() {
        let pooler = name.starts_with("visual.attn_pool");
        let tower = match name.split('.').next() {
            _ if pooler => "pooler",
            Some(tower) => tower,
            None => "",
        };
        *found.entry(tower).or_default() += tensor.shape().iter().product::<usize>();
    }
    let of = |tower| found.get(tower).copied().unwrap_or(0);
    Parameters {
        total: found.values().sum(),
        image_encoder: of("visual"),
        attentional_pooler: of("pooler"),
        unimodal_text_decoder: of("text"),
        multimodal_text_decoder: of("text_decoder"),
    }
}
