//! Refuses a `tokenizer.json` on which the tokenizers library would panic. In the browser a panic ends the worker.

use crate::{Error, Result};
use serde_json::Value;

/// The parts of the file, where each keeps the members of a sequence, and the components known to be sound. Absent
/// on purpose: `Precompiled` indexes out of bounds when its table is damaged, `FixedLength` divides by its length,
/// `BPEDecoder` underflows on no tokens, `CTC` is for speech.
const PARTS: [(&str, &str, &[&str]); 4] = [
    ("model", "", &["BPE", "WordPiece", "WordLevel", "Unigram"]),
    (
        "normalizer",
        "normalizers",
        &[
            "Sequence",
            "NFC",
            "NFD",
            "NFKC",
            "NFKD",
            "Nmt",
            "Lowercase",
            "Replace",
            "Strip",
            "StripAccents",
            "Prepend",
            "BertNormalizer",
            "ByteLevel",
        ],
    ),
    (
        "pre_tokenizer",
        "pretokenizers",
        &[
            "Sequence",
            "Split",
            "ByteLevel",
            "Whitespace",
            "WhitespaceSplit",
            "BertPreTokenizer",
            "Punctuation",
            "Digits",
            "Metaspace",
            "CharDelimiterSplit",
            "UnicodeScripts",
        ],
    ),
    (
        "decoder",
        "decoders",
        &[
            "Sequence",
            "ByteLevel",
            "Replace",
            "WordPiece",
            "Metaspace",
            "Fuse",
            "ByteFallback",
            "Strip",
        ],
    ),
];

/// Returns the document again, without what is not used and without repeated keys, which could hide a component.
pub fn checked(bytes: &[u8]) -> Result<String> {
    let mut file: Value = serde_json::from_slice(bytes).map_err(|source| Error::Json {
        what: "tokenizer.json".to_owned(),
        source,
    })?;
    let Some(object) = file.as_object_mut() else {
        return Err(Error::Tokenizer("tokenizer.json: not an object".to_owned()));
    };
    for unused in ["truncation", "padding", "post_processor"] {
        object.insert(unused.to_owned(), Value::Null);
    }
    for (part, members, known) in PARTS {
        check(
            part,
            object.get(part).unwrap_or(&Value::Null),
            members,
            known,
        )?;
    }
    Ok(file.to_string())
}

fn check(part: &str, component: &Value, members: &str, known: &[&str]) -> Result<()> {
    let refuse = |why: &str| Err(Error::Tokenizer(format!("tokenizer.json: {part}: {why}")));
    if component.is_null() {
        return Ok(());
    }
    match component.get("type").and_then(Value::as_str) {
        Some(name) if known.contains(&name) => {}
        Some(name) => {
            return refuse(&format!(
                "{name} is not supported; it must be one of {}",
                known.join(", ")
            ));
        }
        // Old files leave the type of the model out.
        None if part == "model" => {}
        None => return refuse("a component has no type"),
    }
    let is_set = |key: &str| {
        component
            .get(key)
            .is_some_and(|value| !matches!(value.as_str(), None | Some("")))
    };
    if part == "model" && is_set("continuing_subword_prefix") && component.get("merges").is_some() {
        return refuse("BPE with a prefix inside words is not supported");
    }
    match component.get("type").and_then(Value::as_str) {
        Some("Replace") if !component.get("pattern").is_some_and(matches_something) => {
            return refuse("Replace needs a regular pattern that never matches nothing");
        }
        // It counts back from the end of tokens that may be shorter.
        Some("Strip") if part == "decoder" && component.get("stop") != Some(&Value::from(0)) => {
            return refuse("Strip at the end of tokens is not supported");
        }
        _ => {}
    }
    match component.get(members).and_then(Value::as_array) {
        Some(inner) => inner
            .iter()
            .try_for_each(|inner| check(part, inner, members, known)),
        None => Ok(()),
    }
}

/// Whether every match of a pattern has at least one character.
fn matches_something(pattern: &Value) -> bool {
    let text = |key: &str| pattern.get(key).and_then(Value::as_str);
    match (text("String"), text("Regex")) {
        (Some(literal), None) => !literal.is_empty(),
        (None, Some(regex)) => {
            let parsed = regex_syntax::parse(regex);
            parsed.is_ok_and(|parsed| {
                parsed
                    .properties()
                    .minimum_len()
                    .is_some_and(|length| length > 0)
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::checked;
    use serde_json::{Value, json};

    #[test]
    fn components_that_panic_are_refused() {
        for (part, component) in [
            (
                "normalizer",
                json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" }),
            ),
            (
                "normalizer",
                json!({ "type": "Replace", "pattern": { "String": "" }, "content": "x" }),
            ),
            (
                "normalizer",
                json!({ "type": "Replace", "pattern": { "Regex": r"\b" }, "content": "x" }),
            ),
            (
                "normalizer",
                json!({ "type": "Sequence", "normalizers": [{ "type": "Precompiled" }] }),
            ),
            (
                "pre_tokenizer",
                json!({ "type": "FixedLength", "length": 0 }),
            ),
            ("decoder", json!({ "type": "BPEDecoder", "suffix": "" })),
            ("decoder", json!({ "suffix": "" })),
            (
                "decoder",
                json!({ "type": "Strip", "content": "a", "start": 0, "stop": 9 }),
            ),
            (
                "model",
                json!({ "vocab": {}, "merges": [], "continuing_subword_prefix": "##" }),
            ),
        ] {
            assert!(
                checked(json!({ part: component }).to_string().as_bytes()).is_err(),
                "{component}"
            );
        }
        assert!(checked(br#"{"normalizer": {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}}"#).is_ok());
    }

    #[test]
    fn repeated_keys_hide_nothing() {
        let file = br#"{"decoder": {"type": "CTC"}, "decoder": null, "padding": {}}"#;
        let file: Value = serde_json::from_str(&checked(file).unwrap()).unwrap();
        assert_eq!(
            (&file["decoder"], &file["padding"]),
            (&Value::Null, &Value::Null)
        );
    }
}
