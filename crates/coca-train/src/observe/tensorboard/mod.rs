//! TensorBoard: `tensorboard --logdir RUN_DIR`.

mod event;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value as Json;

use self::event::{Image, Kind, SessionLog, Summary, Value, What, record};
use super::record::toml_of;
use super::{Event, Observer, Picture, Started, Validated, line};

/// The folder of the event files.
const FOLDER: &str = "tensorboard";

/// Writes every measurement, and the sample captions with their pictures.
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    file: Option<File>,
}

impl TensorBoard {
    /// Will write in `output`; every start has a file of its own.
    pub fn new(output: &Path) -> Self {
        Self {
            folder: output.join(FOLDER),
            file: None,
        }
    }

    fn open(&mut self, started: &Started<'_>) -> Result<()> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("creating {}", self.folder.display()))?;
        if started.step == 0 {
            // A run that starts anew in the same folder is another run.
            self.forget()?;
        }
        // TensorBoard reads the files in the order of their names.
        let name = format!(
            "events.out.tfevents.{:014.3}.{}.coca-train",
            line::now(),
            std::process::id()
        );
        let path = self.folder.join(name);
        let file =
            File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
        self.file = Some(file);
        self.write(0, What::FileVersion("brain.Event:2".into()))?;
        if started.step > 0 {
            // What an earlier file says of later steps belongs to steps that are about to be repeated.
            let status = SessionLog::START;
            self.write(started.step + 1, What::SessionLog(SessionLog { status }))?;
        }
        let config = toml_of(&serde_json::to_value(started.config)?)?;
        let value = Value::text("config".into(), format!("```toml\n{config}\n```"));
        self.write(started.step, What::Summary(Summary { value: vec![value] }))
    }

    fn forget(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("events.out.tfevents.") && name.ends_with(".coca-train") {
                std::fs::remove_file(&path)
                    .with_context(|| format!("removing the earlier {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let event = event::Event {
            wall_time: line::now(),
            step: i64::try_from(step).unwrap_or(i64::MAX),
            what: Some(what),
        };
        file.write_all(&record(&event))
            .with_context(|| format!("writing in {}", self.folder.display()))
    }

    fn logged(&mut self, logged: &Json, prefix: &str) -> Result<()> {
        let value: Vec<Value> = line::scalars(logged)
            .into_iter()
            .map(|(name, value)| Value::scalar(format!("{prefix}/{name}"), value))
            .collect();
        let step = line::step(logged).unwrap_or_default();
        self.write(step, What::Summary(Summary { value }))
    }

    fn validated(&mut self, set: &Validated) -> Result<()> {
        let name = line::validation(&set.line).unwrap_or_default();
        let prefix = format!("validation/{name}");
        self.logged(&set.line, &prefix)?;
        let mut value = Vec::new();
        let pictures: BTreeMap<&str, &Picture> = set
            .pictures
            .iter()
            .map(|picture| (picture.name.as_str(), picture))
            .collect();
        for list in ["captions", "answers"] {
            let Some(entries) = set.line[list].as_array().filter(|all| !all.is_empty()) else {
                continue;
            };
            value.push(Value::text(format!("{prefix}/{list}"), table(entries)));
            for (at, entry) in entries.iter().enumerate() {
                let picture = entry["picture"]
                    .as_str()
                    .and_then(|name| pictures.get(name));
                if let Some(picture) = picture {
                    value.push(image(format!("{prefix}/{list}/{at}"), picture));
                }
            }
        }
        let step = line::step(&set.line).unwrap_or_default();
        self.write(step, What::Summary(Summary { value }))
    }
}

impl Observer for TensorBoard {
    fn name(&self) -> &'static str {
        "TensorBoard"
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Started(started) => self.open(started),
            Event::Logged(logged) => self.logged(logged, "train"),
            Event::Validated(found) => found.iter().try_for_each(|set| self.validated(set)),
            _ => Ok(()),
        }
    }
}

fn image(tag: String, picture: &Picture) -> Value {
    let (width, height) = picture.size;
    let side = |length: u32| i32::try_from(length).unwrap_or(i32::MAX);
    Value {
        tag,
        metadata: None,
        kind: Some(Kind::Image(Image {
            height: side(height),
            width: side(width),
            colorspace: 3,
            encoded: picture.jpeg.clone(),
        })),
    }
}

/// Captions or answers as a Markdown table.
fn table(entries: &[Json]) -> String {
    let cell = |entry: &Json, field: &str| {
        let text = entry[field].as_str().unwrap_or_default();
        text.replace(['\n', '\r'], " ")
            .replace('\\', "\\\\")
            .replace('|', "\\|")
    };
    let asked = entries.iter().any(|entry| entry["question"].is_string());
    let columns: &[&str] = match asked {
        true => &["key", "question", "answer", "reference"],
        false => &["key", "caption", "reference"],
    };
    let mut text = format!(
        "| {} |\n|{}\n",
        columns.join(" | "),
        "---|".repeat(columns.len())
    );
    for entry in entries {
        let cells: Vec<String> = columns.iter().map(|column| cell(entry, column)).collect();
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::event::tests::read;
    use super::*;

    fn opened(folder: &Path) -> TensorBoard {
        let mut board = TensorBoard::new(folder);
        std::fs::create_dir_all(&board.folder).unwrap();
        board.file = Some(File::create_new(board.folder.join("events")).unwrap());
        board
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = opened(folder.path());
        let logged = json!({"step": 20, "seconds": 3.5, "loss": 2.5, "learning_rate": 1e-3});
        board.observe(&Event::Logged(&logged)).unwrap();
        let pixels = vec![0.0; 3 * 4 * 6];
        let config = coca_model::preprocess::PreprocessConfig::for_size(4, 6);
        let picture = Picture::of_normalised(&pixels, &config).unwrap();
        let set = Validated {
            line: json!({
                "step": 20, "validation": "pets", "loss": {"caption": 1.5},
                "captions": [{"key": "a|b", "caption": "a cat", "reference": null, "picture": picture.name}],
            }),
            pictures: vec![picture.clone()],
        };
        board.observe(&Event::Validated(&[set])).unwrap();

        let events = read(&std::fs::read(folder.path().join("tensorboard/events")).unwrap());
        let values: Vec<Value> = events
            .into_iter()
            .flat_map(|event| {
                assert_eq!(event.step, 20);
                assert!(event.wall_time > 1.7e9);
                match event.what {
                    Some(What::Summary(summary)) => summary.value,
                    other => panic!("{other:?}"),
                }
            })
            .collect();
        let tags: Vec<&str> = values.iter().map(|value| value.tag.as_str()).collect();
        assert_eq!(
            tags,
            [
                "train/learning_rate",
                "train/loss",
                "validation/pets/loss/caption",
                "validation/pets/captions",
                "validation/pets/captions/0"
            ]
        );
        assert_eq!(values[1].kind, Some(Kind::Scalar(2.5)));
        let Some(Kind::Tensor(text)) = &values[3].kind else {
            panic!("{:?}", values[3])
        };
        let text = String::from_utf8(text.strings[0].clone()).unwrap();
        assert!(text.contains("| a\\|b | a cat |  |"), "{text}");
        let Some(Kind::Image(image)) = &values[4].kind else {
            panic!("{:?}", values[4])
        };
        assert_eq!(
            (image.width, image.height, &image.encoded),
            (6, 4, &picture.jpeg)
        );
    }
}
