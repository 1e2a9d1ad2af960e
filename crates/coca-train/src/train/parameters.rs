//! What applies to each parameter, by its open_clip name: whether it learns, how fast, and its weight decay.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use coca_model::weights::expected;
use coca_model::{Coca, ModelConfig};

use super::config::{FreezeConfig, OptimizerConfig, pattern};

/// Settings of one parameter that learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Multiplies the learning rate.
    pub rate_factor: f64,
    /// Decoupled weight decay, before the learning rate.
    pub weight_decay: f64,
}

/// Settings of all parameters that learn, and the names of those that do not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// By name.
    pub learning: BTreeMap<String, Settings>,
    /// Names.
    pub frozen: BTreeSet<String>,
}

impl Parameters {
    /// The settings of a model's parameters.
    ///
    /// # Errors
    /// A pattern that no name matches, or nothing left to learn.
    pub fn new(optimizer: &OptimizerConfig, freeze: &FreezeConfig, model: &Coca) -> Result<Self> {
        let shapes = expected(model);
        let compile = |text: &String, place: &str| -> Result<regex::Regex> {
            let regex = pattern(text)?;
            ensure!(
                shapes.keys().any(|name| regex.is_match(name)),
                "{place}: no parameter's name matches `{text}`; `coca-train info` lists them"
            );
            Ok(regex)
        };
        let frozen_by: Vec<regex::Regex> = freeze
            .patterns
            .iter()
            .map(|text| compile(text, "freeze.patterns"))
            .collect::<Result<_>>()?;
        let groups = optimizer
            .groups
            .iter()
            .map(|group| Ok((compile(&group.pattern, "optimizer.groups")?, group)))
            .collect::<Result<Vec<_>>>()?;

        let mut parameters = Self::default();
        for (name, shape) in &shapes {
            let place = place(name, model.config());
            if is_locked(freeze, place) || frozen_by.iter().any(|by| by.is_match(name)) {
                parameters.frozen.insert(name.clone());
                continue;
            }
            let mut settings = Settings {
                shape: shape.clone(),
                rate_factor: optimizer.layer_decay.powi(below_top(place)),
                weight_decay: if decays(name, shape.len()) {
                    optimizer.weight_decay
                } else {
                    0.0
                },
            };
            if let Some((_, group)) = groups.iter().rfind(|(regex, _)| regex.is_match(name)) {
                settings.rate_factor *= group.learning_rate_factor;
                settings.weight_decay = group.weight_decay.unwrap_or(settings.weight_decay);
            }
            parameters.learning.insert(name.clone(), settings);
        }
        ensure!(
            !parameters.learning.is_empty(),
            "[freeze] leaves no parameter to learn"
        );
        Ok(parameters)
    }

    /// The settings of a parameter that learns.
    pub fn get(&self, name: &str) -> Result<&Settings> {
        self.learning
            .get(name)
            .with_context(|| format!("`{name}` has a gradient, but is no parameter that learns"))
    }
}

/// open_clip's groups: matrices decay; vectors, biases, norms and the logit scale do not.
fn decays(name: &str, rank: usize) -> bool {
    rank >= 2
        && !["bn", "ln", "bias", "logit_scale"]
            .iter()
            .any(|part| name.contains(part))
}

/// A tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tower {
    Image,
    Text,
    Decoder,
}

/// A place in a tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the blocks.
    Embedding { blocks: usize },
    /// In a block, counted from the last one.
    Block { above: usize },
    /// A norm or pooler behind the blocks.
    Head,
    /// The last projection.
    Projection,
}

/// Where a parameter is; none for the logit scale.
fn place(name: &str, config: &ModelConfig) -> Option<(Tower, Place)> {
    let (tower, rest, blocks) = if let Some(rest) = name.strip_prefix("visual.") {
        (Tower::Image, rest, config.vision_cfg.layers)
    } else if let Some(rest) = name.strip_prefix("text.") {
        (Tower::Text, rest, config.text_cfg.layers)
    } else {
        let rest = name.strip_prefix("text_decoder.")?;
        (Tower::Decoder, rest, config.multimodal_cfg.layers)
    };
    let rest = rest.strip_prefix("transformer.").unwrap_or(rest);
    let block = ["resblocks.", "cross_attn."]
        .iter()
        .find_map(|list| rest.strip_prefix(list))
        .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    let place = match (block, rest) {
        (Some(block), _) => Place::Block {
            above: blocks.saturating_sub(block + 1),
        },
        (None, "proj" | "text_projection") => Place::Projection,
        (None, rest)
            if ["ln_post", "ln_final", "attn_pool"]
                .iter()
                .any(|part| rest.starts_with(part)) =>
        {
            Place::Head
        }
        _ => Place::Embedding { blocks },
    };
    Some((tower, place))
}

/// How many layers are above a place, for the layer-wise decay (Bao et al. 2021): none above heads, one above the
/// last block.
fn below_top(place: Option<(Tower, Place)>) -> i32 {
    let layers = match place {
        None | Some((_, Place::Head | Place::Projection)) => 0,
        Some((_, Place::Block { above })) => above + 1,
        Some((_, Place::Embedding { blocks })) => blocks + 1,
    };
    i32::try_from(layers).unwrap_or(i32::MAX)
}

/// Whether a frozen tower's unlocked groups leave a place out; see [`FreezeConfig`].
fn is_locked(freeze: &FreezeConfig, place: Option<(Tower, Place)>) -> bool {
    let Some((tower, place)) = place else {
        return false;
    };
    let (locked, unlocked) = match tower {
        Tower::Image => (freeze.image, freeze.image_unlocked_groups),
        Tower::Text => (freeze.text, freeze.text_unlocked_groups),
        Tower::Decoder => (false, 0),
    };
    let group = match place {
        Place::Projection => 1,
        Place::Head => 2,
        Place::Block { above } => 2 + above,
        Place::Embedding { blocks } => 2 + blocks,
    };
    locked && group > unlocked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::config::GroupConfig;
    use crate::train::golden::{json, model};
    use burn::tensor::Device;

    fn parameters(optimizer: &OptimizerConfig, freeze: &FreezeConfig) -> Result<Parameters> {
        Parameters::new(optimizer, freeze, &model(&Device::flex()))
    }

    /// open_clip's `lock`: `python tests/golden/make_optimizer_golden.py tests/golden/data`. It never unlocks the
    /// attentional pooler; here that goes with the last block.
    #[test]
    fn frozen_towers_leave_what_open_clip_leaves() {
        let golden = json("optimizer.json");
        for tower in ["image", "text"] {
            for unlocked in 0..6 {
                let freeze = FreezeConfig {
                    image: tower == "image",
                    image_unlocked_groups: if tower == "image" { unlocked } else { 0 },
                    text: tower == "text",
                    text_unlocked_groups: if tower == "text" { unlocked } else { 0 },
                    patterns: Vec::new(),
                };
                let found = parameters(&OptimizerConfig::default(), &freeze).unwrap();
                let names = &golden["locked"][tower][unlocked.to_string()];
                let mut expected: BTreeSet<String> = serde_json::from_value(names.clone()).unwrap();
                let pooler = |name: &String| name.starts_with("visual.attn_pool");
                let learns = unlocked >= 2 || tower == "text";
                expected.retain(|name| !pooler(name));
                let all = found.learning.keys().chain(&found.frozen);
                expected.extend(all.filter(|name| learns && pooler(name)).cloned());
                let found: BTreeSet<String> = found.learning.into_keys().collect();
                assert_eq!(found, expected, "{tower}, {unlocked} unlocked");
            }
        }
    }

    #[test]
    fn groups_layers_and_patterns_decide() {
        let group = |pattern: &str, factor, weight_decay| GroupConfig {
            pattern: pattern.into(),
            learning_rate_factor: factor,
            weight_decay,
        };
        let optimizer = OptimizerConfig {
            weight_decay: 0.2,
            layer_decay: 0.5,
            groups: vec![
                group("^visual\\.", 0.1, None),
                group("resblocks\\.0\\.ln_1", 2.0, Some(0.3)),
            ],
            ..OptimizerConfig::default()
        };
        let freeze = FreezeConfig {
            patterns: vec!["^logit_scale$".into()],
            ..FreezeConfig::default()
        };
        let found = parameters(&optimizer, &freeze).unwrap();
        assert!(found.frozen.iter().eq(["logit_scale"]));
        // Two blocks in each tower.
        for (name, factor, decay) in [
            ("visual.proj", 0.1, 0.2),
            ("visual.attn_pool.query", 0.1, 0.2),
            ("visual.transformer.resblocks.1.mlp.c_fc.weight", 0.05, 0.2),
            ("visual.transformer.resblocks.0.mlp.c_fc.bias", 0.025, 0.0),
            ("visual.transformer.resblocks.0.ln_1.weight", 0.5, 0.3),
            ("visual.conv1.weight", 0.0125, 0.2),
            ("text.token_embedding.weight", 0.125, 0.2),
            ("text.cls_emb", 0.125, 0.0),
            ("text_decoder.cross_attn.1.attn.in_proj_weight", 0.5, 0.2),
            ("text_decoder.resblocks.0.mlp.c_fc.weight", 0.25, 0.2),
            ("text_decoder.text_projection", 1.0, 0.2),
        ] {
            let settings = &found.learning[name];
            let close = (settings.rate_factor - factor).abs() < 1e-12;
            assert!(
                close && settings.weight_decay == decay,
                "{name}: {settings:?}"
            );
        }
        let typo = OptimizerConfig {
            groups: vec![group("^visaul", 1.0, None)],
            ..OptimizerConfig::default()
        };
        let error = parameters(&typo, &FreezeConfig::default()).unwrap_err();
        assert!(error.to_string().contains("^visaul"));
        let all = FreezeConfig {
            patterns: vec![".".into()],
            ..FreezeConfig::default()
        };
        let error = parameters(&OptimizerConfig::default(), &all).unwrap_err();
        assert!(error.to_string().contains("no parameter"));
    }
}
