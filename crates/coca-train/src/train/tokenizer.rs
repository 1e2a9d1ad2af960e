//! The tokenizer of a run.

use std::path::Path;

use anyhow::{Context, Result, bail};
use coca_model::tokenizer::Tokenizer;

use super::config::{TokenizerSource, TrainConfig};
use crate::data::{answer_prefix, read_data};

/// The tokenizer that the configuration asks for; `size` is the model's vocabulary.
pub fn tokenizer(config: &TrainConfig, base: &Path, size: usize) -> Result<Tokenizer> {
    match &config.tokenizer {
        TokenizerSource::Clip => Ok(Tokenizer::clip()?),
        TokenizerSource::Init => bail!("tokenizer = \"init\" needs `init`, the folder of a model"),
        TokenizerSource::File(path) => {
            let path = base.join(path);
            let json =
                std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            Tokenizer::from_json(&json).with_context(|| format!("in {}", path.display()))
        }
        TokenizerSource::Train => Ok(Tokenizer::train(
            texts(config, &config.data_dir(base))?,
            size,
        )?),
    }
}

/// Every text of the training data, once.
fn texts(config: &TrainConfig, data: &Path) -> Result<Vec<String>> {
    let (mut texts, files) = (Vec::new(), config.loader.files(data));
    for set in &config.data {
        for sample in read_data(&set.spec, data, &files)? {
            let sample = sample?;
            texts.extend(sample.captions);
            if let Some(label) = sample.label {
                texts.extend(
                    set.templates
                        .iter()
                        .map(|template| template.replace("{}", &label)),
                );
            }
            for (question, answers) in sample.qa {
                texts.push(answer_prefix(&set.answer_template, &question));
                texts.extend(answers);
            }
        }
    }
    Ok(texts)
}
