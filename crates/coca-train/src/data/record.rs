//! The metadata of one sample: `KEY.json` and `KEY.txt`, brought into one form.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::{Error, Result};
use super::files::Files;
use super::location::Location;
use super::reader::{MAX_MEMBER, RawSample};

/// What is known about an image. Blank strings are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Whole sentences about the image.
    pub captions: Vec<String>,
    /// The class name, cleaned by [`label_text`].
    pub label: Option<String>,
    /// Single words about the image.
    pub keywords: Vec<String>,
    /// Questions and their answers; where people gave several answers, the most frequent.
    pub qa: Vec<(String, String)>,
    /// All answers to each question of `qa`.
    pub answers: Vec<Vec<String>>,
    /// A sentence without a verdict.
    pub sentence: Option<String>,
    /// A sentence with its verdict, `true` or `false`.
    pub verdict: Option<(String, String)>,
    /// The contents of `KEY.txt`, or json `text`.
    pub text: Option<String>,
}

impl Record {
    /// Reads the metadata of a sample. The error is a sentence for the user.
    pub fn parse(raw: &RawSample, classes: &Classes) -> Result<Self, String> {
        let mut record = Self::default();
        if let Some(json) = &raw.json {
            let json: Value =
                serde_json::from_slice(json).map_err(|e| format!("its json is invalid: {e}"))?;
            record.read_json(&json, classes)?;
        }
        if let Some(text) = &raw.text {
            let text = std::str::from_utf8(text).map_err(|_| "its txt is not UTF-8")?;
            record.text = non_blank(text);
        }
        Ok(record)
    }

    fn read_json(&mut self, json: &Value, classes: &Classes) -> Result<(), String> {
        let json = json.as_object().ok_or("its json is not an object")?;
        let field = |name: &str| json.get(name).filter(|value| !value.is_null());
        // img2dataset's name for a single caption stands in for ours.
        let captions = ["captions", "caption"]
            .into_iter()
            .find_map(|name| Some((name, field(name)?)));
        if let Some((name, value)) = captions {
            self.captions =
                strings(value).ok_or_else(|| format!("`{name}` is not a list of strings"))?;
        }
        if let Some(value) = field("text") {
            self.text = non_blank(value.as_str().ok_or("`text` is not a string")?);
        }
        if let Some(value) = field("keywords") {
            self.keywords = strings(value).ok_or("`keywords` is not a list of strings")?;
        }
        if let Some(value) = field("qa") {
            let pairs = value.as_array().ok_or("`qa` is not a list")?;
            for (at, pair) in pairs.iter().enumerate() {
                let (question, answers) = question_and_answers(pair).ok_or_else(|| {
                    format!("`qa` entry {at} is neither [question, answer] nor an object with those keys")
                })?;
                self.qa.push((question, most_frequent(&answers)));
                self.answers.push(answers);
            }
        }
        // A table has one question on a row.
        if let (Some(question), Some(answer)) = (field("question"), field("answer")) {
            let pair = Value::Array(vec![question.clone(), answer.clone()]);
            let (question, answers) = question_and_answers(&pair)
                .ok_or("`question` and `answer` are not a question and its answer")?;
            self.qa.push((question, most_frequent(&answers)));
            self.answers.push(answers);
        }
        let sentence = match field("sentence") {
            Some(value) => non_blank(value.as_str().ok_or("`sentence` is not a string")?),
            None => None,
        };
        match (field("label"), sentence) {
            (Some(Value::Bool(verdict)), Some(sentence)) => {
                self.verdict = Some((sentence, verdict.to_string()));
            }
            (label, sentence) => {
                self.sentence = sentence;
                let name = field("name").and_then(Value::as_str);
                self.label = label
                    .map(|value| label_name(value, name, classes))
                    .transpose()?;
            }
        }
        Ok(())
    }
}

/// A class name as text: underscores and runs of blanks become single spaces.
pub fn label_text(label: &str) -> String {
    let words = label.split(|c: char| c == '_' || c.is_whitespace());
    words
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn label_name(value: &Value, name: Option<&str>, classes: &Classes) -> Result<String, String> {
    let text = match value {
        Value::String(text) => label_text(text),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => {
            let known = number.as_i64().and_then(|id| classes.0.get(&id));
            match known.map(String::as_str).or(name) {
                Some(name) => label_text(name),
                None if classes.0.is_empty() => number.to_string(),
                None => return Err(format!("label {number} is not in classes.json")),
            }
        }
        _ => return Err("`label` is neither a string nor a number".into()),
    };
    match text.is_empty() {
        true => Err("`label` is blank".into()),
        false => Ok(text),
    }
}

fn non_blank(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}

fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(non_blank(text).into_iter().collect()),
        Value::Array(values) => {
            let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
            Some(texts?.into_iter().filter_map(non_blank).collect())
        }
        _ => None,
    }
}

/// `[question, answer]`, or an object with those keys, or with `answers`, a list of strings or of VQA v2's objects;
/// `answers` goes before `answer`, unless it is empty.
fn question_and_answers(pair: &Value) -> Option<(String, Vec<String>)> {
    let (question, answers) = match pair {
        Value::Array(pair) => match pair.as_slice() {
            [question, answer] => (question, answer),
            _ => return None,
        },
        Value::Object(pair) => (
            pair.get("question")?,
            pair.get("answers")
                .filter(|answers| *answers != &Value::Array(Vec::new()))
                .or_else(|| pair.get("answer"))?,
        ),
        _ => return None,
    };
    let answers: Vec<String> = match answers {
        Value::Array(answers) => {
            let text = |answer: &Value| one_answer(answer.get("answer").unwrap_or(answer));
            answers.iter().map(text).collect::<Option<_>>()?
        }
        answer => vec![one_answer(answer)?],
    };
    let question = non_blank(question.as_str()?)?;
    (!answers.is_empty()).then_some((question, answers))
}

fn one_answer(answer: &Value) -> Option<String> {
    match answer {
        Value::String(answer) => non_blank(answer),
        Value::Number(_) | Value::Bool(_) => Some(answer.to_string()),
        _ => None,
    }
}

/// Of equally frequent answers the first.
fn most_frequent(answers: &[String]) -> String {
    let count = |answer: &String| answers.iter().filter(|other| *other == answer).count();
    let best = answers.iter().rev().max_by_key(|answer| count(answer));
    best.cloned().unwrap_or_default()
}

/// The class names of integer labels; empty where there is no table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classes(BTreeMap<i64, String>);

impl Classes {
    /// Reads the `classes.json` in `folder`, if there is one.
    pub fn in_folder(folder: &Location, files: &Files) -> Result<Self> {
        let table = folder.join("classes.json");
        match files.read_if_there(&table, MAX_MEMBER)? {
            None => Ok(Self::default()),
            Some(json) => Self::parse(&json).map_err(|reason| Error::Classes {
                path: table.to_string().into(),
                reason,
            }),
        }
    }

    fn parse(json: &[u8]) -> Result<Self, String> {
        let list: Vec<Value> =
            serde_json::from_slice(json).map_err(|e| format!("not a JSON list: {e}"))?;
        let mut names = BTreeMap::new();
        for (at, item) in list.iter().enumerate() {
            let id = item.get("id").map_or(Some(at as i64), Value::as_i64);
            let name = item.as_str().or_else(|| item.get("name")?.as_str());
            let (Some(id), Some(name)) = (id, name) else {
                return Err(format!(
                    "entry {at} is neither a name nor an object with `id` and `name`"
                ));
            };
            names.insert(id, name.to_owned());
        }
        Ok(Self(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str, classes: &str) -> Result<Record, String> {
        let raw = RawSample {
            image: vec![],
            json: Some(json.into()),
            text: None,
        };
        Record::parse(&raw, &Classes::parse(classes.as_bytes()).unwrap())
    }

    #[test]
    fn the_forms_that_occur_in_the_wild() {
        let record = parse(
            r#"{"captions": ["a ", "", "b"], "keywords": "k", "label": "car_side"}"#,
            "[]",
        )
        .unwrap();
        assert_eq!(record.captions, ["a", "b"]);
        assert_eq!(record.keywords, ["k"]);
        assert_eq!(record.label.as_deref(), Some("car side"));
        let record = parse(
            r#"{"qa": [["q1", "a1"], {"question": "q2", "answer": 3, "organ": "x"}], "captions": null}"#,
            "[]",
        );
        let expected = [("q1", "a1"), ("q2", "3")].map(|(q, a)| (q.to_owned(), a.to_owned()));
        assert_eq!(record.unwrap().qa, expected);
        let record = parse(
            r#"{"qa": [{"question": "q", "answer": "b", "answers": ["a", {"answer": "b"}, "b", "c"]}]}"#,
            "[]",
        )
        .unwrap();
        assert_eq!(record.qa, [("q".to_owned(), "b".to_owned())]);
        assert_eq!(record.answers, [["a", "b", "b", "c"]]);
        let record = parse(r#"{"sentence": "it is red", "label": true}"#, "[]").unwrap();
        assert_eq!(record.verdict, Some(("it is red".into(), "true".into())));
        assert_eq!((record.label, record.sentence), (None, None));
        let record = parse(
            r#"{"caption": "c", "text": " t", "question": "q", "answer": true}"#,
            "[]",
        )
        .unwrap();
        assert_eq!(record.captions, ["c"]);
        assert_eq!(record.text.as_deref(), Some("t"));
        assert_eq!(record.qa, [("q".into(), "true".into())]);
    }

    #[test]
    fn numeric_labels_are_looked_up() {
        let label = |json: &str, classes: &str| parse(json, classes).map(|r| r.label.unwrap());
        assert_eq!(
            label(r#"{"label": 1}"#, r#"["cat", "big_dog"]"#).unwrap(),
            "big dog"
        );
        assert_eq!(
            label(r#"{"label": 7}"#, r#"[{"id": 7, "name": "Kiwi"}]"#).unwrap(),
            "Kiwi"
        );
        assert_eq!(
            label(r#"{"label": 7, "name": "Kiwi"}"#, "[]").unwrap(),
            "Kiwi"
        );
        assert_eq!(label(r#"{"label": 7}"#, "[]").unwrap(), "7");
        assert!(
            label(r#"{"label": 7}"#, r#"["cat"]"#)
                .unwrap_err()
                .contains("classes.json")
        );
    }

    #[test]
    fn wrong_types_are_sentences() {
        let cases = [
            ("{", "invalid"),
            ("[1]", "not an object"),
            (r#"{"captions": [1]}"#, "captions"),
            (r#"{"qa": [["q"]]}"#, "entry 0"),
            (r#"{"qa": [["q", "a"], {"question": "q"}]}"#, "entry 1"),
            (r#"{"qa": [["q", []]]}"#, "entry 0"),
            (r#"{"label": "_"}"#, "blank"),
            (r#"{"label": []}"#, "label"),
        ];
        for (json, words) in cases {
            let error = parse(json, "[]").unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
        assert!(Classes::parse(b"[{}]").is_err());
    }
}
