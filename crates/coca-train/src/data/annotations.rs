//! COCO captions and VQA v2: JSON files with all annotations, beside a folder of images.

use std::collections::{BTreeMap, HashMap};
use std::io::BufReader;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::{Error, Result};
use super::files::Files;
use super::location::Location;
use super::reader::{MAX_MEMBER, RawSample, Reader};

/// Images by name, each with its annotations as a JSON object.
#[derive(Debug)]
pub struct Annotated {
    files: Files,
    /// The file with the annotations.
    source: Location,
    images: Location,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    image: Box<str>,
    json: Box<str>,
}

#[derive(Deserialize)]
struct Captions {
    images: Vec<CocoImage>,
    annotations: Vec<Caption>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Caption {
    image_id: u64,
    caption: String,
}

#[derive(Deserialize)]
struct Questions {
    questions: Vec<Question>,
    /// `train2014`, `val2014`, …; part of the images' names.
    #[serde(default)]
    data_subtype: Option<String>,
}

#[derive(Deserialize)]
struct Question {
    image_id: u64,
    question_id: u64,
    question: String,
}

#[derive(Deserialize)]
struct Answers {
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    question_id: u64,
    multiple_choice_answer: String,
    #[serde(default)]
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    answer: String,
}

impl Annotated {
    /// Opens COCO's `captions_*.json`. Images without a caption are left out; the others come in the file's order.
    pub fn open_coco(captions: Location, images: Location, files: &Files) -> Result<Self> {
        let annotations: Captions = read(&captions, files, "COCO captions")?;
        let mut texts: HashMap<u64, Vec<String>> = HashMap::new();
        for caption in annotations.annotations {
            texts
                .entry(caption.image_id)
                .or_default()
                .push(caption.caption);
        }
        let samples = annotations
            .images
            .into_iter()
            .filter_map(|image| {
                let captions = texts.remove(&image.id)?;
                Some(Sample {
                    image: image.file_name.into(),
                    json: json!({ "image_id": image.id, "captions": captions })
                        .to_string()
                        .into(),
                })
            })
            .collect();
        Self::new(captions, images, samples, files)
    }

    /// Opens VQA v2's question and annotation files: all questions of an image make one sample, in the order of the
    /// image numbers. `answer` is the most frequent one, `answers` are those of all annotators.
    pub fn open_vqav2(
        questions: Location,
        annotations: &Location,
        images: Location,
        files: &Files,
    ) -> Result<Self> {
        let asked: Questions = read(&questions, files, "VQA v2 questions")?;
        let answers: Answers = read(annotations, files, "VQA v2 annotations")?;
        let mut answers: HashMap<u64, Annotation> = answers
            .annotations
            .into_iter()
            .map(|annotation| (annotation.question_id, annotation))
            .collect();
        let mut by_image: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for question in asked.questions {
            let Some(annotation) = answers.remove(&question.question_id) else {
                return Err(Error::Spec {
                    spec: questions.to_string(),
                    reason: format!(
                        "question {} has no answer in {annotations}; the files do not belong together",
                        question.question_id
                    ),
                });
            };
            let all: Vec<String> = annotation.answers.into_iter().map(|a| a.answer).collect();
            by_image.entry(question.image_id).or_default().push(json!({
                "question_id": question.question_id,
                "question": question.question,
                "answer": annotation.multiple_choice_answer,
                "answers": all,
            }));
        }
        let name = naming(
            asked.data_subtype.as_deref(),
            by_image.keys().next().copied(),
            &images,
            files,
        );
        let samples = by_image
            .into_iter()
            .map(|(image, qa)| Sample {
                image: name(image).into(),
                json: json!({ "image_id": image, "qa": qa }).to_string().into(),
            })
            .collect();
        Self::new(questions, images, samples, files)
    }

    fn new(
        source: Location,
        images: Location,
        samples: Vec<Sample>,
        files: &Files,
    ) -> Result<Self> {
        if samples.is_empty() {
            return Err(Error::Spec {
                spec: source.to_string(),
                reason: "it annotates no image".into(),
            });
        }
        Ok(Self {
            files: files.clone(),
            source,
            images,
            samples,
        })
    }

    fn sample(&self, index: usize) -> Result<&Sample> {
        self.samples.get(index).ok_or_else(|| {
            let len = self.samples.len();
            Error::Config(format!("there is no image {index} among {len}"))
        })
    }
}

/// How VQA v2's images are called: COCO 2014's long names, or the bare number as of 2017, whichever the first image
/// has.
fn naming(
    subtype: Option<&str>,
    first: Option<u64>,
    images: &Location,
    files: &Files,
) -> impl Fn(u64) -> String + use<> {
    let subtype = subtype.unwrap_or_default().to_owned();
    let long = move |id: u64| format!("COCO_{subtype}_{id:012}.jpg");
    let short = |id: u64| format!("{id:012}.jpg");
    let is_short = first.is_some_and(|id| {
        files.open(&images.join(&long(id))).is_err() && files.open(&images.join(&short(id))).is_ok()
    });
    move |id| if is_short { short(id) } else { long(id) }
}

fn read<T: DeserializeOwned>(location: &Location, files: &Files, what: &str) -> Result<T> {
    let file = files.open(location)?;
    serde_json::from_reader(BufReader::new(file)).map_err(|error| Error::Spec {
        spec: location.to_string(),
        reason: format!("these are not {what}: {error}"),
    })
}

impl Reader for Annotated {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn key(&self, index: usize) -> String {
        self.samples
            .get(index)
            .map_or_else(String::new, |sample| sample.image.to_string())
    }

    fn file(&self, _: usize) -> Option<&Location> {
        Some(&self.source)
    }

    fn read(&self, index: usize) -> Result<RawSample> {
        let sample = self.sample(index)?;
        let image = self
            .files
            .read(&self.images.join(&sample.image), MAX_MEMBER);
        Ok(RawSample {
            image: image.map_err(|error| Error::Sample {
                name: format!("{}:{}", self.source.file_name(), sample.image),
                reason: error.to_string(),
            })?,
            json: self.json(index)?,
            text: None,
        })
    }

    fn json(&self, index: usize) -> Result<Option<Vec<u8>>> {
        Ok(Some(self.sample(index)?.json.as_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn write(folder: &Path, name: &str, text: &str) -> Location {
        std::fs::write(folder.join(name), text).unwrap();
        Location::new(name, folder)
    }

    fn json(opened: &Annotated, index: usize) -> Value {
        serde_json::from_slice(&opened.json(index).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn coco_captions_are_gathered_by_image() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"info": {}, "licenses": [],
            "images": [{"id": 9, "file_name": "9.jpg", "height": 4}, {"id": 3, "file_name": "3.jpg"},
                       {"id": 4, "file_name": "4.jpg"}],
            "annotations": [{"image_id": 3, "id": 1, "caption": "c"}, {"image_id": 9, "id": 2, "caption": "a"},
                            {"image_id": 9, "id": 5, "caption": "b"}]}"#;
        let captions = write(folder.path(), "captions.json", text);
        write(folder.path(), "9.jpg", "nine");
        let images = Location::Local(folder.path().into());
        let open = |captions| Annotated::open_coco(captions, images.clone(), &Files::default());
        let opened = open(captions).unwrap();
        assert_eq!(opened.len(), 2);
        assert_eq!(opened.key(0), "9.jpg");
        assert_eq!(
            json(&opened, 0),
            json!({ "image_id": 9, "captions": ["a", "b"] })
        );
        assert_eq!(opened.read(0).unwrap().image, b"nine");
        let error = opened.read(1).unwrap_err();
        assert!(
            matches!(&error, Error::Sample { name, .. } if name == "captions.json:3.jpg"),
            "{error}"
        );
        let error = open(write(folder.path(), "x.json", r#"{"images": []}"#)).unwrap_err();
        assert!(error.to_string().contains("annotations"), "{error}");
    }

    #[test]
    fn vqa_questions_are_joined_with_their_answers() {
        let folder = tempfile::tempdir().unwrap();
        let questions = write(
            folder.path(),
            "questions.json",
            r#"{"data_type": "mscoco", "data_subtype": "val2014", "questions": [
                {"image_id": 42, "question": "Why?", "question_id": 420},
                {"image_id": 7, "question": "How many?", "question_id": 70},
                {"image_id": 42, "question": "Who?", "question_id": 421}]}"#,
        );
        let annotations = write(
            folder.path(),
            "annotations.json",
            r#"{"annotations": [
                {"question_id": 421, "image_id": 42, "multiple_choice_answer": "no one", "answers": []},
                {"question_id": 70, "image_id": 7, "multiple_choice_answer": "2",
                 "answers": [{"answer": "2", "answer_confidence": "yes", "answer_id": 1}, {"answer": "3"}]},
                {"question_id": 420, "image_id": 42, "multiple_choice_answer": "because"}]}"#,
        );
        let images = Location::Local(folder.path().into());
        let open = |annotations: &Location| {
            Annotated::open_vqav2(
                questions.clone(),
                annotations,
                images.clone(),
                &Files::default(),
            )
        };
        let opened = open(&annotations).unwrap();
        assert_eq!(opened.len(), 2);
        assert_eq!(opened.key(0), "COCO_val2014_000000000007.jpg");
        let qa = &json(&opened, 0)["qa"];
        assert_eq!(qa[0]["answer"], "2");
        assert_eq!(qa[0]["answers"], json!(["2", "3"]));
        assert_eq!(json(&opened, 1)["qa"][1]["question"], "Who?");
        write(folder.path(), "000000000007.jpg", "seven");
        let opened = open(&annotations).unwrap();
        assert_eq!(opened.read(0).unwrap().image, b"seven");
        let other = write(folder.path(), "other.json", r#"{"annotations": []}"#);
        let error = open(&other).unwrap_err().to_string();
        assert!(error.contains("question 420"), "{error}");
    }
}
