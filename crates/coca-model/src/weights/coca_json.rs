//! `coca.json`: what this project adds to an open_clip model folder. Every field is optional.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The contents of `coca.json`. Fields it does not know are kept in `other`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CocaJson {
    /// The model's name, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which of the model's versions this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The prompt templates the model was trained with.
    pub prompts: Prompts,
    /// Where the weights come from: data, licence, training settings.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub provenance: Value,
    /// Sizes and hashes of the folder's other files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileRecord>,
    /// What the model must compute on a device that works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
    /// Everything else.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl CocaJson {
    /// The file's name.
    pub const FILE: &str = "coca.json";
    /// The field that says how the weights are quantised, for people and programs that choose between models;
    /// the weights' files themselves say how to read them.
    pub const QUANTISATION: &str = "quantisation";

    /// Reads the file. An error if it is not such JSON, or if a prompt template has no place for its
    /// argument.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let json: Self = serde_json::from_slice(bytes).map_err(|source| Error::Json {
            what: Self::FILE.into(),
            source,
        })?;
        json.prompts.check()?;
        Ok(json)
    }

    /// Writes the file, indented.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|source| Error::Json {
            what: Self::FILE.into(),
            source,
        })?;
        json.push(b'\n');
        Ok(json)
    }

    /// Checks a file of the folder against its record, if there is one.
    pub fn check_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.files
            .get(name)
            .map_or(Ok(()), |record| record.check(name, bytes))
    }
}

/// A prompt template for each task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prompts {
    /// Classification: a text for a label, which replaces `{}`. The embeddings of several are averaged.
    pub classify: Vec<String>,
    /// Captioning: the text that every caption starts with.
    pub caption: String,
    /// Answering: the text that comes before the answer; the question replaces `{question}`.
    pub answer: String,
}

impl Default for Prompts {
    fn default() -> Self {
        Self {
            classify: vec!["a photo of a {}".into()],
            caption: String::new(),
            answer: "question: {question} answer:".into(),
        }
    }
}

impl Prompts {
    /// The texts for a label, one for each template.
    pub fn label(&self, label: &str) -> Vec<String> {
        self.classify
            .iter()
            .map(|template| template.replace("{}", label))
            .collect()
    }

    /// The text before the answer to a question.
    pub fn question(&self, question: &str) -> String {
        self.answer.replace("{question}", question)
    }

    /// Every template must have a place for its argument, or the answer would not depend on it.
    fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Config(format!("{}: {what}", CocaJson::FILE)));
        if self.classify.is_empty() {
            return wrong("prompts.classify has no template".into());
        }
        if let Some(template) = self
            .classify
            .iter()
            .find(|template| !template.contains("{}"))
        {
            return wrong(format!(
                "the prompts.classify template {template:?} has no {{}} for the label"
            ));
        }
        if !self.answer.contains("{question}") {
            return wrong(format!(
                "the prompts.answer template {:?} has no {{question}}",
                self.answer
            ));
        }
        Ok(())
    }
}

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// SHA-256, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

impl FileRecord {
    /// The record of a file with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: format!("{:x}", Sha256::digest(bytes)),
            bytes: bytes.len() as u64,
        }
    }

    /// Whether the file `name` still is what was recorded.
    pub fn check(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.compare(name, &Self::of(bytes))
    }

    /// Whether the file `name`, of which `found` is the record, is the one that was recorded.
    pub(super) fn compare(&self, name: &str, found: &Self) -> Result<()> {
        if self.bytes != found.bytes {
            let (expected, found) = (self.bytes, found.bytes);
            return Err(Error::Integrity(format!(
                "{name} has {found} bytes instead of {expected}; download it again"
            )));
        }
        if !self.sha256.eq_ignore_ascii_case(&found.sha256) {
            let expected = &self.sha256;
            return Err(Error::Integrity(format!(
                "the SHA-256 of {name} is not {expected}; download it again"
            )));
        }
        Ok(())
    }
}

/// One input and what the model makes of it, to notice a device that computes wrongly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// The text input. The image is [`SelfTest::image`].
    pub text: String,
    /// The image embedding.
    pub image_embedding: Vec<f32>,
    /// The text embedding.
    pub text_embedding: Vec<f32>,
    /// Token ids of the greedy caption.
    #[serde(default)]
    pub caption: Vec<u32>,
    /// Largest allowed distance of an embedding (which has length 1) from the stored one.
    #[serde(default = "tolerance")]
    pub tolerance: f32,
}

/// Room for half precision.
fn tolerance() -> f32 {
    0.02
}

impl SelfTest {
    /// The test image: colour gradients and a checkerboard, RGB bytes [height, width, 3].
    pub fn image(height: usize, width: usize) -> Vec<u8> {
        let ramp =
            |position: usize, size: usize| (position * 255 / size.saturating_sub(1).max(1)) as u8;
        let pixel = |y: usize, x: usize| {
            let checker = if (y / 8 + x / 8).is_multiple_of(2) {
                224
            } else {
                32
            };
            [ramp(x, width), ramp(y, height), checker]
        };
        (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| pixel(y, x)))
            .collect()
    }

    /// Compares the embeddings that a device computed with the stored ones.
    pub fn check(&self, image_embedding: &[f32], text_embedding: &[f32]) -> Result<()> {
        for (what, expected, found) in [
            ("image", &self.image_embedding, image_embedding),
            ("text", &self.text_embedding, text_embedding),
        ] {
            let squares: f32 = expected
                .iter()
                .zip(found)
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            let distance = squares.sqrt();
            if expected.len() != found.len() || distance.is_nan() || distance > self.tolerance {
                return Err(Error::Device(format!(
                    "the self-test's {what} embedding is {distance} away from the right one; use another device"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FULL: &str = r#"{
        "name": "tiny", "revision": "2",
        "prompts": {"classify": ["a {}", "the {}"], "caption": "a", "answer": "q {question} a"},
        "provenance": {"data": "flowers"},
        "files": {"tokenizer.json": {"sha256": "ab", "bytes": 3}},
        "self_test": {"text": "a dog", "image_embedding": [1.0], "text_embedding": [0.0]},
        "quantisation": {"bits": 8}
    }"#;

    #[test]
    fn every_field_is_optional() {
        let json = CocaJson::from_json(b"{}").unwrap();
        assert_eq!(json, CocaJson::default());
        assert_eq!(json.prompts.question("why?"), "question: why? answer:");
        assert_eq!(json.prompts.label("dog"), ["a photo of a dog"]);
    }

    #[test]
    fn it_round_trips_with_unknown_fields() {
        let json = CocaJson::from_json(FULL.as_bytes()).unwrap();
        assert_eq!(json.other["quantisation"]["bits"], 8);
        assert_eq!(json.prompts.label("x"), ["a x", "the x"]);
        assert_eq!(CocaJson::from_json(&json.to_json().unwrap()).unwrap(), json);
    }

    #[test]
    fn templates_without_a_place_for_the_argument_are_refused() {
        for bad in [
            r#"{"classify": []}"#,
            r#"{"classify": ["a dog"]}"#,
            r#"{"answer": "yes"}"#,
        ] {
            let json = format!(r#"{{"prompts": {bad}}}"#);
            assert!(
                matches!(CocaJson::from_json(json.as_bytes()), Err(Error::Config(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_changed_file_is_noticed() {
        let record = FileRecord::of(b"abc");
        assert_eq!(
            record.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        record.check("f", b"abc").unwrap();
        assert!(
            record
                .check("f", b"abd")
                .unwrap_err()
                .to_string()
                .contains("SHA-256")
        );
        assert!(
            record
                .check("f", b"abcd")
                .unwrap_err()
                .to_string()
                .contains("4 bytes instead of 3")
        );
        let json = CocaJson {
            files: [("f".to_string(), record)].into(),
            ..CocaJson::default()
        };
        assert!(json.check_file("f", b"").is_err());
        json.check_file("unlisted", b"").unwrap();
    }

    #[test]
    fn the_self_test_notices_wrong_numbers() {
        let test = CocaJson::from_json(FULL.as_bytes())
            .unwrap()
            .self_test
            .unwrap();
        test.check(&[0.99], &[0.01]).unwrap();
        for (image, text) in [
            (&[0.9][..], &[0.0][..]),
            (&[1.0], &[f32::NAN]),
            (&[1.0], &[]),
            (&[], &[0.0]),
        ] {
            assert!(test.check(image, text).is_err(), "{image:?} {text:?}");
        }
    }

    #[test]
    fn the_test_image_has_every_side() {
        let image = SelfTest::image(16, 24);
        assert_eq!(image.len(), 16 * 24 * 3);
        assert_eq!(image[..3], [0, 0, 224]);
        assert_eq!(image[image.len() - 3..], [255, 255, 32]);
        assert_eq!(SelfTest::image(1, 1), [0, 0, 224]);
    }

    proptest! {
        #[test]
        fn arbitrary_and_mutated_json_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
        ) {
            let _ = CocaJson::from_json(&bytes);
            let mut json = FULL.as_bytes().to_vec();
            let position = at.index(json.len());
            json[position] = to;
            let _ = CocaJson::from_json(&json);
        }
    }
}
