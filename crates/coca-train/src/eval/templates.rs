//! Prompt templates: how a label becomes the texts whose embeddings are averaged.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::names::Listed;

/// The templates that OpenAI tuned on ImageNet for CLIP (Radford et al. 2021), as open_clip has them.
const IMAGENET: [&str; 80] = [
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
];

/// Seven of them that do nearly as well.
const SIMPLE: [&str; 7] = [
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
];

/// How labels become texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Templates {
    /// The same for all labels, with `{}` for the label.
    Same(Vec<String>),
    /// Texts of each label, as language models write them (CuPL).
    OfLabel(BTreeMap<String, Vec<String>>),
}

impl Templates {
    /// Names of the sets that are built in.
    pub const NAMES: [&str; 2] = ["imagenet", "simple"];

    /// A set by name, or the file in `@FILE`: a text with a template a line, or JSON: a list, an object from label to
    /// texts, or CLIP_benchmark's object from data set to either, of which `@FILE#NAME` takes one. `{}` and `{c}` stand
    /// for the label.
    ///
    /// # Errors
    /// There is no such set, the file cannot be read, or it holds something else.
    pub fn find(spec: &str) -> Result<Self> {
        let owned = |templates: &[&str]| templates.iter().map(|text| (*text).to_owned()).collect();
        match spec {
            "imagenet" => return Ok(Self::Same(owned(&IMAGENET))),
            "simple" => return Ok(Self::Same(owned(&SIMPLE))),
            _ => {}
        }
        let Some(file) = spec.strip_prefix('@') else {
            bail!(
                "there is no template set \"{spec}\"; there are {}, or give @FILE",
                Self::NAMES.join(" and ")
            );
        };
        let listed = Listed::read(file).context("reading templates")?;
        Self::parse(listed).with_context(|| format!("in the templates of {file}"))
    }

    fn parse(listed: Listed) -> Result<Self> {
        let templates = match listed {
            Listed::Lines(lines) => lines,
            Listed::Json(Value::Object(object)) => {
                let of_label = |(label, texts): (&String, &Value)| -> Result<_> {
                    let texts = strings(texts)
                        .with_context(|| format!("\"{label}\" is no list of texts"))?;
                    Ok((label.clone(), texts))
                };
                return Ok(Self::OfLabel(
                    object.iter().map(of_label).collect::<Result<_>>()?,
                ));
            }
            Listed::Json(list) => strings(&list).context("they are no list of texts")?,
        };
        let templates: Vec<String> = templates
            .iter()
            .map(|template| template.replace("{c}", "{}"))
            .collect();
        if let Some(template) = templates.iter().find(|template| !template.contains("{}")) {
            bail!("{template:?} has no {{}} where the label belongs");
        }
        Ok(Self::Same(templates))
    }

    /// The texts of a label whose name in texts is `name`.
    ///
    /// # Errors
    /// There are none.
    pub fn texts(&self, label: &str, name: &str) -> Result<Vec<String>> {
        match self {
            Self::Same(templates) => Ok(templates
                .iter()
                .map(|text| text.replace("{}", name))
                .collect()),
            Self::OfLabel(texts) => texts
                .get(label)
                .or_else(|| texts.get(name))
                .cloned()
                .with_context(|| {
                    format!(
                        "the templates have no text for the label \"{label}\"; where a file holds several data sets, \
                         write @FILE#NAME"
                    )
                }),
        }
    }
}

/// A list of strings, not empty.
fn strings(value: &Value) -> Option<Vec<String>> {
    let texts: Option<Vec<String>> = value
        .as_array()?
        .iter()
        .map(|text| text.as_str().map(String::from))
        .collect();
    texts.filter(|texts| !texts.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(name: &str, text: &str, entry: &str) -> Result<Templates> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Templates::find(&format!("@{}{entry}", path.display()))
    }

    #[test]
    fn sets_that_are_built_in() {
        let Templates::Same(all) = Templates::find("imagenet").unwrap() else {
            panic!()
        };
        let Templates::Same(some) = Templates::find("simple").unwrap() else {
            panic!()
        };
        assert!(all.iter().all(|text| text.matches("{}").count() == 1));
        assert!(some.iter().all(|text| all.contains(text)));
        assert_eq!((all.len(), some.len()), (80, 7));
        assert!(
            Templates::find("imagine")
                .unwrap_err()
                .to_string()
                .contains("imagenet")
        );
    }

    #[test]
    fn files_in_every_form() {
        let same =
            |texts: &[&str]| Templates::Same(texts.iter().map(|t| (*t).to_owned()).collect());
        let lines = of_file("t.txt", "a {}\n\nthe {c}.\n", "").unwrap();
        assert_eq!(lines, same(&["a {}", "the {}."]));
        assert_eq!(
            of_file("t.json", r#"["a {c}"]"#, "").unwrap(),
            same(&["a {}"])
        );
        let sets = r#"{"cars": ["a {c}"], "pets": ["my {c}"]}"#;
        assert_eq!(of_file("t.json", sets, "#pets").unwrap(), same(&["my {}"]));
        assert!(of_file("t.json", sets, "#cats").is_err());
        let texts = r#"{"pets": {"cat": ["it purrs", "it meows"]}}"#;
        let texts = of_file("t.json", texts, "#pets").unwrap();
        assert_eq!(texts.texts("cat", "a cat").unwrap().len(), 2);
        assert!(texts.texts("dog", "dog").is_err());
    }

    #[test]
    fn mistakes_are_told() {
        for (text, word) in [
            ("[]", "list"),
            ("[1]", "list"),
            ("[\"a\"]", "{}"),
            ("{", "JSON"),
        ] {
            let error = format!("{:#}", of_file("t.json", text, "").unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
