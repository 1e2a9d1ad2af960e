//! The tokenizer against open_clip 3.3.0: ids and decoded text of 330 captions, emoji, scripts and garbles.
//!
//! The vectors were written by `python make_golden.py`.
#![cfg(feature = "clip-vocabulary")]

use coca_model::tokenizer::Tokenizer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    context_length: usize,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
    /// Without its trailing padding.
    ctx76: Vec<u32>,
    decoded: String,
}

#[test]
fn clip_agrees_with_open_clip() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../../tests/golden/data/tokenizer.json")).unwrap();
    let clip = Tokenizer::clip().unwrap();
    assert_eq!(golden.rows.len(), 330);
    let mut wrong = Vec::new();
    for Row {
        text,
        ids,
        ctx76,
        decoded,
    } in &golden.rows
    {
        let mut context = clip.encode_context(text, golden.context_length);
        assert_eq!(context.len(), golden.context_length);
        let padding = context.split_off(ctx76.len());
        let agrees = clip.encode(text) == *ids
            && context == *ctx76
            && padding.iter().all(|&id| id == clip.pad())
            && clip.decode(ids) == *decoded;
        if !agrees {
            wrong.push(text);
        }
    }
    assert!(wrong.is_empty(), "{} rows differ: {wrong:?}", wrong.len());
}
