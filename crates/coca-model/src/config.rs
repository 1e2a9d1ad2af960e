//! The model configuration: open_clip's own JSON (`model_cfg`), and the presets.
//!
//! Fields that open_clip reads and ignores for CoCa (`multimodal_cfg.n_queries`, `dim_head`, …) are accepted and
//! ignored here too: the attentional pooler is configured by `vision_cfg` alone.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Everything that fixes the shape of a CoCa model. Serialises as open_clip's `model_cfg`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Size of the joint embedding space E.
    pub embed_dim: usize,
    /// The image encoder and its attentional pooler.
    pub vision_cfg: VisionConfig,
    /// The unimodal text decoder.
    pub text_cfg: TextConfig,
    /// The multimodal text decoder.
    pub multimodal_cfg: MultimodalConfig,
    /// Sigmoid approximation of GELU, as OpenAI's first CLIP weights use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quick_gelu: bool,
    /// Initial logit scale, before the exponential. Default ln(1 / 0.07).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_logit_scale: Option<f64>,
    /// Adds a learned bias to the contrastive logits. CoCa's loss does not use it; it is kept for its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_logit_bias: Option<f64>,
    /// open_clip's marker for towers built from `text_cfg`; always true for CoCa.
    #[serde(default = "yes")]
    pub custom_text: bool,
}

/// The image encoder (ViT) and its attentional pooler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Input height and width in pixels: one number or `[height, width]`.
    pub image_size: Size,
    /// Patch height and width in pixels.
    pub patch_size: Size,
    /// Width V of the transformer.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Width of one attention head; the number of heads is `width / head_width`.
    #[serde(default = "head_width")]
    pub head_width: usize,
    /// Hidden width of the MLP over `width`.
    #[serde(default = "mlp_ratio")]
    pub mlp_ratio: f64,
    /// LayerScale's initial value; none: no LayerScale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ls_init_value: Option<f64>,
    /// Which attentional pooler follows the transformer.
    #[serde(default)]
    pub attentional_pool: AttentionalPool,
    /// Number of learned queries of the (captioning) pooler.
    #[serde(default = "pooler_queries")]
    pub attn_pooler_queries: usize,
    /// Attention heads of the pooler.
    #[serde(default = "pooler_heads")]
    pub attn_pooler_heads: usize,
    /// open_clip's switch for returning image tokens; always true for CoCa.
    #[serde(default = "yes")]
    pub output_tokens: bool,
}

/// The unimodal text decoder: causal, with a CLS token appended at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextConfig {
    /// Number of text tokens, SOT and EOT included, CLS not.
    pub context_length: usize,
    /// Number of token embeddings.
    pub vocab_size: usize,
    /// Width D; equal to the multimodal text decoder's.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Number of blocks.
    pub layers: usize,
    /// LayerScale's initial value; none: no LayerScale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ls_init_value: Option<f64>,
    /// The id that fills the context after EOT.
    #[serde(default, skip_serializing_if = "is_zero_id")]
    pub pad_id: u32,
    /// open_clip's switch for the CLS token; always true for CoCa.
    #[serde(default = "yes")]
    pub embed_cls: bool,
    /// open_clip's switch for returning token embeddings; always true for CoCa.
    #[serde(default = "yes")]
    pub output_tokens: bool,
    /// Hides exactly the padding. False (default): open_clip's mask, shifted by one, with which all published
    /// weights were trained (open_clip issue 549).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub correct_cls_mask: bool,
    /// Directory or hub name of the tokenizer, for open_clip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hf_tokenizer_name: Option<String>,
    /// Arguments that open_clip passes to its tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_kwargs: Option<serde_json::Value>,
}

/// The multimodal text decoder: causal self-attention and cross-attention over the image tokens, in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultimodalConfig {
    /// Number of text tokens; open_clip reads it from here when building the causal mask.
    #[serde(default = "context_length")]
    pub context_length: usize,
    /// Number of output logits; equal to the text vocabulary. Ignored by open_clip, which uses `text_cfg`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<usize>,
    /// Width D.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Number of layers, each a self-attention block and a cross-attention block.
    pub layers: usize,
    /// LayerScale's initial value; none: no LayerScale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ls_init_value: Option<f64>,
}

/// A height and width that open_clip writes as one number or as a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// A square.
    Square(usize),
    /// `[height, width]`.
    Rectangle([usize; 2]),
}

impl Size {
    /// `[height, width]`.
    pub fn dims(self) -> [usize; 2] {
        match self {
            Size::Square(side) => [side, side],
            Size::Rectangle(dims) => dims,
        }
    }
}

/// The attentional pooler between the image encoder and its two readers (paper §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttentionalPool {
    /// No pooler: the class token is the image embedding, the patch tokens are the image tokens (`coca_base`).
    #[default]
    None,
    /// One pooler: its first query is the image embedding, the others are the image tokens (published weights).
    Single,
    /// Two poolers over the encoder's output, side by side.
    Parallel,
    /// The contrastive pooler reads the captioning pooler's output (the paper's default).
    Cascade,
}

impl Serialize for AttentionalPool {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_bool(false),
            Self::Single => serializer.serialize_bool(true),
            Self::Parallel => serializer.serialize_str("parallel"),
            Self::Cascade => serializer.serialize_str("cascade"),
        }
    }
}

impl<'de> Deserialize<'de> for AttentionalPool {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Switch(bool),
            Kind(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Switch(false) => Ok(Self::None),
            Raw::Switch(true) => Ok(Self::Single),
            Raw::Kind(kind) if kind == "parallel" => Ok(Self::Parallel),
            Raw::Kind(kind) if kind == "cascade" => Ok(Self::Cascade),
            Raw::Kind(kind) => Err(serde::de::Error::custom(format!(
                "attentional_pool is \"{kind}\", expected true, false, \"parallel\" or \"cascade\""
            ))),
        }
    }
}

/// Names that [`ModelConfig::preset`] knows.
pub const PRESETS: [&str; 7] = [
    "coca_tiny",
    "coca_ViT-B-32",
    "coca_ViT-L-14",
    "coca_base",
    "coca_paper_base",
    "coca_paper_large",
    "coca_paper_2.1b",
];

impl ModelConfig {
    /// A named configuration, one of [`PRESETS`].
    ///
    /// `coca_ViT-B-32`, `coca_ViT-L-14` and `coca_base` are open_clip's; `coca_paper_*` are table 1 of the paper
    /// (cascade pooler, 288 px, patch 18); `coca_tiny` is the model that ships with this project.
    pub fn preset(name: &str) -> Option<Self> {
        let single = |vision, text: [usize; 3], embed| Self::build(embed, vision, text, 76, 49_408);
        let paper =
            |width: usize, heads: usize, image_layers: usize, mlp: usize, text_layers: usize| {
                let vision = VisionConfig {
                    head_width: width / heads,
                    mlp_ratio: mlp as f64 / width as f64,
                    ..VisionConfig::new(288, 18, width, image_layers, AttentionalPool::Cascade)
                };
                Self::build(width, vision, [width, heads, text_layers], 64, 64_000)
            };
        Some(match name {
            "coca_ViT-B-32" => single(
                VisionConfig::new(224, 32, 768, 12, AttentionalPool::Single),
                [512, 8, 12],
                512,
            ),
            "coca_ViT-L-14" => single(
                VisionConfig::new(224, 14, 1024, 24, AttentionalPool::Single),
                [768, 12, 12],
                768,
            ),
            "coca_base" => Self::build(
                512,
                VisionConfig::new(288, 18, 768, 12, AttentionalPool::None),
                [768, 12, 12],
                76,
                64_000,
            ),
            "coca_paper_base" => paper(768, 12, 12, 3072, 12),
            "coca_paper_large" => paper(1024, 16, 24, 4096, 12),
            "coca_paper_2.1b" => paper(1408, 16, 40, 6144, 18),
            "coca_tiny" => {
                let vision = VisionConfig {
                    head_width: 32,
                    attn_pooler_queries: 17,
                    attn_pooler_heads: 6,
                    ..VisionConfig::new(64, 8, 192, 5, AttentionalPool::Single)
                };
                Self::build(192, vision, [192, 6, 2], 24, 2048)
            }
            _ => return None,
        })
    }

    fn build(
        embed_dim: usize,
        vision_cfg: VisionConfig,
        [width, heads, layers]: [usize; 3],
        context_length: usize,
        vocab_size: usize,
    ) -> Self {
        Self {
            embed_dim,
            vision_cfg,
            text_cfg: TextConfig {
                context_length,
                vocab_size,
                width,
                heads,
                layers,
                ls_init_value: None,
                pad_id: 0,
                embed_cls: true,
                output_tokens: true,
                correct_cls_mask: false,
                hf_tokenizer_name: None,
                tokenizer_kwargs: None,
            },
            multimodal_cfg: MultimodalConfig {
                context_length,
                vocab_size: Some(vocab_size),
                width,
                heads,
                layers,
                ls_init_value: None,
            },
            quick_gelu: false,
            init_logit_scale: None,
            init_logit_bias: None,
            custom_text: true,
        }
    }

    /// Reads open_clip's `model_cfg` JSON and checks it.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(bytes).map_err(|source| Error::Json {
            what: "the model config".into(),
            source,
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what the architecture demands (open_clip fails on these deep inside its first forward pass).
    ///
    /// # Errors
    /// [`Error::Config`] naming the fields that do not fit together.
    pub fn validate(&self) -> Result<()> {
        let (v, t, m) = (&self.vision_cfg, &self.text_cfg, &self.multimodal_cfg);
        let check = |ok: bool, message: String| {
            if ok {
                Ok(())
            } else {
                Err(Error::Config(message))
            }
        };
        let sizes = [
            ("embed_dim", self.embed_dim),
            ("vision_cfg.width", v.width),
            ("vision_cfg.head_width", v.head_width),
            ("text_cfg.width", t.width),
            ("text_cfg.heads", t.heads),
            ("text_cfg.vocab_size", t.vocab_size),
            ("multimodal_cfg.heads", m.heads),
            (
                "vision_cfg.image_size",
                v.image_size.dims()[0].min(v.image_size.dims()[1]),
            ),
            (
                "vision_cfg.patch_size",
                v.patch_size.dims()[0].min(v.patch_size.dims()[1]),
            ),
        ];
        for (name, layers) in [
            ("vision_cfg", v.layers),
            ("text_cfg", t.layers),
            ("multimodal_cfg", m.layers),
        ] {
            let ok = (1..=MAX_LAYERS).contains(&layers);
            check(
                ok,
                format!("{name}.layers is {layers}, expected 1 to {MAX_LAYERS}"),
            )?;
        }
        for (name, size) in sizes {
            check(
                (1..=MAX_SIZE).contains(&size),
                format!("{name} is {size}, expected 1 to {MAX_SIZE}"),
            )?;
        }
        for (name, length) in [
            ("text_cfg", t.context_length),
            ("multimodal_cfg", m.context_length),
        ] {
            let ok = (2..=MAX_SIZE).contains(&length);
            check(
                ok,
                format!("{name}.context_length is {length}, expected 2 to {MAX_SIZE}"),
            )?;
        }
        check(
            v.mlp_ratio.is_finite() && v.mlp_hidden() >= 1 && v.mlp_hidden() <= 16 * MAX_SIZE,
            format!("vision_cfg.mlp_ratio is {}", v.mlp_ratio),
        )?;
        let ([h, w], [ph, pw]) = (v.image_size.dims(), v.patch_size.dims());
        check(
            h >= ph && w >= pw,
            format!("the patch ({ph} x {pw}) is larger than the image ({h} x {w})"),
        )?;
        let divides = [
            (
                "vision_cfg.width",
                v.width,
                "vision_cfg.head_width",
                v.head_width,
            ),
            ("text_cfg.width", t.width, "text_cfg.heads", t.heads),
            (
                "multimodal_cfg.width",
                m.width,
                "multimodal_cfg.heads",
                m.heads,
            ),
        ];
        for (name, width, divisor_name, divisor) in divides {
            check(
                width % divisor == 0,
                format!("{name} ({width}) is not divisible by {divisor_name} ({divisor})"),
            )?;
        }
        check(
            t.width == m.width,
            format!(
                "text_cfg.width ({}) and multimodal_cfg.width ({}) must be equal",
                t.width, m.width
            ),
        )?;
        check(
            m.vocab_size.is_none_or(|size| size == t.vocab_size),
            "text_cfg.vocab_size and multimodal_cfg.vocab_size must be equal".into(),
        )?;
        let known = (t.pad_id as usize) < t.vocab_size;
        check(
            known,
            format!("text_cfg.pad_id ({}) is outside the vocabulary", t.pad_id),
        )?;
        if v.attentional_pool == AttentionalPool::None {
            check(
                v.width == m.width,
                format!(
                    "without attentional pooler, vision_cfg.width ({}) must equal multimodal_cfg.width ({})",
                    v.width, m.width
                ),
            )?;
        } else {
            check(
                self.embed_dim == m.width,
                format!(
                    "with an attentional pooler, embed_dim ({}) must equal multimodal_cfg.width ({})",
                    self.embed_dim, m.width
                ),
            )?;
            check(
                v.attn_pooler_heads >= 1 && self.embed_dim.is_multiple_of(v.attn_pooler_heads),
                format!(
                    "embed_dim ({}) is not divisible by vision_cfg.attn_pooler_heads ({})",
                    self.embed_dim, v.attn_pooler_heads
                ),
            )?;
            let least = if v.attentional_pool == AttentionalPool::Single {
                2
            } else {
                1
            };
            check(
                (least..=MAX_SIZE).contains(&v.attn_pooler_queries),
                format!(
                    "vision_cfg.attn_pooler_queries is {}, expected at least {least}",
                    v.attn_pooler_queries
                ),
            )?;
        }
        if matches!(
            v.attentional_pool,
            AttentionalPool::Parallel | AttentionalPool::Cascade
        ) {
            check(
                v.width == self.embed_dim,
                format!(
                    "a parallel or cascade pooler needs vision_cfg.width ({}) equal to embed_dim ({})",
                    v.width, self.embed_dim
                ),
            )?;
        }
        Ok(())
    }
}

/// No published transformer comes near this; it bounds what a hostile config can make the crate allocate.
const MAX_SIZE: usize = 1 << 20;
/// Likewise; every layer is a structure in memory before any weight is loaded.
const MAX_LAYERS: usize = 1024;

impl VisionConfig {
    fn new(image: usize, patch: usize, width: usize, layers: usize, pool: AttentionalPool) -> Self {
        Self {
            image_size: Size::Square(image),
            patch_size: Size::Square(patch),
            width,
            layers,
            head_width: head_width(),
            mlp_ratio: mlp_ratio(),
            ls_init_value: None,
            attentional_pool: pool,
            attn_pooler_queries: pooler_queries(),
            attn_pooler_heads: pooler_heads(),
            output_tokens: true,
        }
    }

    /// Patches along `[height, width]`.
    pub fn grid(&self) -> [usize; 2] {
        let ([h, w], [ph, pw]) = (self.image_size.dims(), self.patch_size.dims());
        [h / ph.max(1), w / pw.max(1)]
    }

    /// Attention heads.
    pub fn heads(&self) -> usize {
        self.width / self.head_width.max(1)
    }

    /// Hidden width of the MLP.
    pub fn mlp_hidden(&self) -> usize {
        (self.width as f64 * self.mlp_ratio) as usize
    }
}

fn yes() -> bool {
    true
}

fn head_width() -> usize {
    64
}

fn mlp_ratio() -> f64 {
    4.0
}

fn pooler_queries() -> usize {
    256
}

fn pooler_heads() -> usize {
    8
}

fn context_length() -> usize {
    76
}

fn is_zero_id(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_survive_json() {
        for name in PRESETS {
            let config = ModelConfig::preset(name).unwrap();
            config.validate().unwrap();
            let json = serde_json::to_vec(&config).unwrap();
            assert_eq!(ModelConfig::from_json(&json).unwrap(), config, "{name}");
        }
        assert!(ModelConfig::preset("coca_unknown").is_none());
    }

    #[test]
    fn impossible_configs_name_the_field() {
        type Spoil = fn(&mut ModelConfig);
        let cases: [(&str, Spoil); 6] = [
            ("multimodal_cfg.width", |c| c.multimodal_cfg.width = 256),
            ("embed_dim", |c| c.embed_dim = 100),
            ("patch", |c| c.vision_cfg.patch_size = Size::Square(4096)),
            ("head_width", |c| c.vision_cfg.head_width = 0),
            ("vocab_size", |c| c.text_cfg.vocab_size = usize::MAX),
            ("attn_pooler_heads", |c| c.vision_cfg.attn_pooler_heads = 5),
        ];
        for (field, spoil) in cases {
            let mut config = ModelConfig::preset("coca_tiny").unwrap();
            spoil(&mut config);
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(field), "{message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = ModelConfig::from_json(&bytes);
        }

        #[test]
        fn no_number_panics(field in 0..30_usize, value in "-?[0-9]{1,25}(\\.[0-9]{1,3})?|null|\"cascade\"|true") {
            // Replaces the n-th number of a valid configuration; what still validates can be built.
            let json = serde_json::to_string(&ModelConfig::preset("coca_tiny").unwrap()).unwrap();
            let mut pieces: Vec<&str> = json.split_inclusive([':', ',', '}', '[']).collect();
            let numbers: Vec<usize> =
                (0..pieces.len()).filter(|&at| pieces[at].starts_with(|c: char| c.is_ascii_digit())).collect();
            let at = numbers[field % numbers.len()];
            let end = pieces[at].chars().last().unwrap();
            let replaced = format!("{value}{end}");
            pieces[at] = &replaced;
            if let Ok(config) = ModelConfig::from_json(pieces.concat().as_bytes()) {
                crate::Coca::new(&config, &burn::tensor::Device::flex()).unwrap();
            }
        }
    }
}
