//! Names of classes and other lists in files.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What a list file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed {
    /// The lines of a text that are not blank, without blanks around them.
    Lines(Vec<String>),
    /// A JSON value.
    Json(Value),
}

impl Listed {
    /// Reads `FILE`, or of a JSON file's object the entry in `FILE#NAME`.
    pub fn read(spec: &str) -> Result<Self> {
        // A file may have # in its name.
        let (path, entry) = match spec.rsplit_once('#') {
            Some((path, entry)) if !std::path::Path::new(spec).is_file() => (path, Some(entry)),
            _ => (spec, None),
        };
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
        if !path.ends_with(".json") {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            return Ok(Self::Lines(lines.map(String::from).collect()));
        }
        let json: Value =
            serde_json::from_str(&text).with_context(|| format!("{path} is no JSON"))?;
        match entry {
            None => Ok(Self::Json(json)),
            Some(entry) => match json.get(entry) {
                Some(value) => Ok(Self::Json(value.clone())),
                None => bail!("{path} has no entry \"{entry}\""),
            },
        }
    }
}

/// What classes are called in texts, where that is not their label.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassNames {
    /// In the order of the labels.
    InOrder(Vec<String>),
    /// By label.
    OfLabel(BTreeMap<String, String>),
}

impl ClassNames {
    /// Reads `@FILE`: a text with a name a line, or JSON: a list, an object from label to name, or CLIP_benchmark's
    /// object from data set to either, of which `@FILE#NAME` takes one.
    ///
    /// # Errors
    /// The file cannot be read, or it holds something else.
    pub fn find(spec: &str) -> Result<Self> {
        let Some(file) = spec.strip_prefix('@') else {
            bail!("class names are read from a file; write @{spec}");
        };
        let listed = Listed::read(file).context("reading class names")?;
        let found = match listed {
            Listed::Lines(lines) => Some(Self::InOrder(lines)),
            Listed::Json(Value::Array(names)) => {
                let names: Option<Vec<String>> = names
                    .iter()
                    .map(|name| name.as_str().map(String::from))
                    .collect();
                names.map(Self::InOrder)
            }
            Listed::Json(Value::Object(names)) => {
                let names: Option<BTreeMap<String, String>> = names
                    .iter()
                    .map(|(label, name)| Some((label.clone(), name.as_str()?.to_owned())))
                    .collect();
                names.map(Self::OfLabel)
            }
            Listed::Json(_) => None,
        };
        found.with_context(|| {
            format!(
                "{file} holds neither a list of names nor an object from label to name; where it holds several data \
                 sets, write @{file}#NAME"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(name: &str, text: &str, entry: &str) -> Result<ClassNames> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        ClassNames::find(&format!("@{}{entry}", path.display()))
    }

    #[test]
    fn files_in_every_form() {
        let names = ClassNames::InOrder(["a cat", "a dog"].map(String::from).to_vec());
        assert_eq!(of_file("n.txt", "a cat\n\na dog \n", "").unwrap(), names);
        assert_eq!(
            of_file("n.json", r#"["a cat", "a dog"]"#, "").unwrap(),
            names
        );
        let sets = r#"{"pets": ["a cat", "a dog"], "cars": []}"#;
        assert_eq!(of_file("n.json", sets, "#pets").unwrap(), names);
        assert!(
            of_file("n.json", sets, "")
                .unwrap_err()
                .to_string()
                .contains("#NAME")
        );
        let ClassNames::OfLabel(names) = of_file("n.json", r#"{"n01": "cat"}"#, "").unwrap() else {
            panic!()
        };
        assert_eq!(names["n01"], "cat");
        assert!(ClassNames::find("cat,dog").is_err());
    }
}
