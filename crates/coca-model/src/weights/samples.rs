//! What several tests of this folder read.

use serde_json::{Value, json};

/// `open_clip_config.json` of a small model with CLIP's vocabulary.
pub fn config() -> Value {
    json!({
        "model_cfg": {
            "embed_dim": 32,
            "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 1, "head_width": 32,
                "attentional_pool": true, "attn_pooler_queries": 8, "attn_pooler_heads": 4},
            "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
            "multimodal_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    })
}
