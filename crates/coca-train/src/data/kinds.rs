//! Tests of what holds for every kind of data: order, resuming, broken samples, evaluation.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use coca_model::preprocess::{PreprocessConfig, Preprocessor};
use serde::Deserialize;
use serde_json::json;

use super::batch::Batch;
use super::config::{DataConfig, LoaderConfig};
use super::testing::{Letters, jpeg, write_tar};
use super::{AugmentConfig, Files, Loader, LoaderSetup, read_data, read_samples};

/// Samples in each data set; number 3 has an image that is cut short.
const COUNT: usize = 7;
const BROKEN: usize = 3;

const KINDS: [&str; 7] = [
    "shards = 'data.tar'",
    "csv = 'data.csv'",
    "jsonl = 'data.jsonl'\nimages = 'classes'",
    "parquet = 'data.parquet'",
    "folder = 'classes'",
    "coco = { captions = 'coco.json', images = 'classes' }",
    "vqav2 = { questions = 'questions.json', annotations = 'answers.json', images = 'vqa' }",
];

fn image(number: usize) -> Vec<u8> {
    let mut image = jpeg(20 + number as u32, 18, number as u8 * 30);
    if number == BROKEN {
        image.truncate(image.len() - 30);
    }
    image
}

/// The same samples as every kind of data.
fn write_all(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let members: Vec<(String, Vec<u8>)> = (0..COUNT)
        .flat_map(|i| {
            let json = json!({ "captions": [format!("text {i}")] }).to_string();
            let json = json.into_bytes();
            [(format!("{i}.jpg"), image(i)), (format!("{i}.json"), json)]
        })
        .collect();
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    write_tar(folder, "data.tar", &members);
    let (mut csv, mut lines) = (String::from("filepath,title\n"), String::new());
    let (mut images, mut captions) = (Vec::new(), Vec::new());
    let (mut questions, mut answers) = (Vec::new(), Vec::new());
    for i in 0..COUNT {
        write(&format!("classes/c{}/{i}.jpg", i % 2), &image(i));
        write(&format!("vqa/COCO_val2014_{i:012}.jpg"), &image(i));
        csv += &format!("classes/c{}/{i}.jpg,text {i}\n", i % 2);
        let name = format!("c{}/{i}.jpg", i % 2);
        lines += &format!(
            "{}\n",
            json!({ "image": name, "caption": format!("text {i}") })
        );
        images.push(json!({ "id": i, "file_name": name }));
        captions.push(json!({ "image_id": i, "id": i, "caption": format!("text {i}") }));
        questions.push(json!({ "image_id": i, "question_id": i, "question": "what?" }));
        answers.push(json!({ "question_id": i, "multiple_choice_answer": format!("text {i}") }));
    }
    write("data.csv", csv.as_bytes());
    write("data.jsonl", lines.as_bytes());
    let coco = json!({ "images": images, "annotations": captions });
    write("coco.json", coco.to_string().as_bytes());
    let questions = json!({ "data_subtype": "val2014", "questions": questions });
    write("questions.json", questions.to_string().as_bytes());
    let answers = json!({ "annotations": answers });
    write("answers.json", answers.to_string().as_bytes());

    let schema = "message m { required binary jpg; required binary caption (UTF8); }";
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    for rows in [0..4, 4..COUNT] {
        let columns = [
            rows.clone().map(image).map(ByteArray::from).collect(),
            rows.map(|i| ByteArray::from(format!("text {i}").as_str()))
                .collect::<Vec<_>>(),
        ];
        let mut group = writer.next_row_group().unwrap();
        for values in columns {
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, None, None)
                .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    write("data.parquet", &bytes);
}

fn open(folder: &Path, data: &DataConfig, workers: usize, log: &Arc<Mutex<Vec<String>>>) -> Loader {
    let log = Arc::clone(log);
    Loader::open(LoaderSetup {
        data: std::slice::from_ref(data),
        augment: &AugmentConfig::default(),
        loader: &LoaderConfig {
            batch_size: 4,
            workers,
            max_broken: 0.2,
            ..LoaderConfig::default()
        },
        base: folder,
        preprocessor: Preprocessor::new(PreprocessConfig::for_size(8, 8)).unwrap(),
        tokenizer: Arc::new(Letters),
        context_length: 12,
        log: Arc::new(move |line| log.lock().unwrap().push(line.into())),
    })
    .unwrap()
}

#[test]
fn batches_depend_on_seed_and_step_alone() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path());
    for kind in KINDS {
        let data: DataConfig = toml::from_str(kind).unwrap();
        let log = Arc::default();
        let take = |workers, step, count| -> Vec<Batch> {
            let batches = open(folder.path(), &data, workers, &log).start_at(step);
            batches.unwrap().take(count).map(Result::unwrap).collect()
        };
        let expected = take(1, 0, 9);
        assert_eq!(take(3, 0, 9), expected, "{kind}");
        assert_eq!(take(2, 5, 4), expected[5..], "{kind}");
        let keys: BTreeSet<_> = expected.iter().flat_map(|batch| &batch.keys).collect();
        assert_eq!(keys.len(), COUNT - 1, "{kind}: {keys:?}");
        let log = log.lock().unwrap();
        assert_eq!(log.len(), 3, "each of the runs names it once: {log:?}");
        assert!(log.iter().all(|line| line.contains("cut short")), "{log:?}");
    }
}

#[test]
fn evaluation_reads_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path());
    for kind in KINDS {
        let data: DataConfig = toml::from_str(kind).unwrap();
        let samples = read_data(&data.spec, folder.path(), &Files::default()).unwrap();
        let samples: Vec<_> = samples.map(Result::unwrap).collect();
        assert_eq!(samples.len(), COUNT, "{kind}");
        let mut images: Vec<_> = samples.iter().map(|sample| &sample.image).collect();
        images.sort();
        let mut expected: Vec<_> = (0..COUNT).map(image).collect();
        expected.sort();
        assert!(images.into_iter().eq(&expected), "{kind}");
        let sample = &samples[2];
        let qa = [("what?".to_owned(), vec!["text 2".to_owned()])];
        assert!(
            sample.captions == ["text 2"]
                || sample.qa == qa
                || sample.label.as_deref() == Some("c0"),
            "{kind}: {sample:?}"
        );
    }
    for name in [
        "data.tar",
        "data.csv",
        "data.jsonl",
        "data.parquet",
        "classes",
    ] {
        let samples = read_samples(&name.into(), folder.path());
        match name {
            // Its images lie in another folder, which a bare name cannot say.
            "data.jsonl" => assert!(samples.unwrap().next().unwrap().is_err()),
            _ => assert_eq!(samples.unwrap().len(), COUNT, "{name}"),
        }
    }
}

/// Three shards and two tables behind a server, read through a cache that holds hardly more than a shard.
#[cfg(feature = "remote")]
#[test]
fn files_behind_addresses_give_the_batches_of_local_ones() {
    use super::remote::server::{Fault, Server};
    let folder = tempfile::tempdir().unwrap();
    let mut served = Vec::new();
    for number in 0..3 {
        let members: Vec<(String, Vec<u8>)> = (0..5)
            .flat_map(|i| {
                let key = number * 5 + i;
                let text = format!("text {key}").into_bytes();
                [
                    (format!("{key}.jpg"), jpeg(20, 18, key as u8 * 9)),
                    (format!("{key}.txt"), text),
                ]
            })
            .collect();
        let members: Vec<(&str, &[u8])> = members
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        let name = format!("{number}.tar");
        let path = write_tar(folder.path(), &name, &members);
        served.push((format!("/data/{name}"), std::fs::read(path).unwrap()));
    }
    let csv = "filepath,title\nc/0.jpg,zero\nc/1.jpg,one\n";
    std::fs::create_dir(folder.path().join("c")).unwrap();
    std::fs::write(folder.path().join("t.csv"), csv).unwrap();
    served.push(("/data/t.csv".into(), csv.into()));
    for i in 0..2 {
        let image = jpeg(30, 20, i * 50);
        std::fs::write(folder.path().join(format!("c/{i}.jpg")), &image).unwrap();
        served.push((format!("/data/c/{i}.jpg"), image));
    }
    let size = served.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
    let server = Server::start(served, Fault::Drop);
    let take = |prefix: &str, step: u64, workers| -> Vec<Batch> {
        let data: Vec<DataConfig> = [
            format!("shards = '{prefix}{{0..2}}.tar'\nshuffle_shards = 1\nweight = 3"),
            format!("csv = '{prefix}t.csv'"),
        ]
        .iter()
        .map(|toml| toml::from_str(toml).unwrap())
        .collect();
        let loader = Loader::open(LoaderSetup {
            data: &data,
            augment: &AugmentConfig::default(),
            loader: &LoaderConfig {
                batch_size: 4,
                workers,
                cache_dir: Some("cache".into()),
                cache_gb: size as f64 * 1.5 / 1e9,
                ..LoaderConfig::default()
            },
            base: folder.path(),
            preprocessor: Preprocessor::new(PreprocessConfig::for_size(8, 8)).unwrap(),
            tokenizer: Arc::new(Letters),
            context_length: 12,
            log: Arc::new(|line| panic!("{line}")),
        });
        let batches = loader.unwrap().start_at(step).unwrap();
        batches.take(8).map(Result::unwrap).collect()
    };
    let expected = take("", 0, 1);
    let prefix = server.address("/data/");
    assert_eq!(take(&prefix, 0, 3), expected);
    assert_eq!(take(&prefix, 5, 2)[..3], expected[5..]);
}

#[test]
fn the_documentations_examples_are_configurations() {
    #[derive(Deserialize)]
    struct Example {
        data: Vec<DataConfig>,
        #[serde(default)]
        loader: LoaderConfig,
        #[serde(default)]
        augment: AugmentConfig,
    }
    let text = include_str!("../../../../docs/training-data.md");
    let blocks: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= KINDS.len());
    for block in blocks {
        let example: Example =
            toml::from_str(block).unwrap_or_else(|error| panic!("{block}\n{error}"));
        for data in &example.data {
            data.validate().unwrap();
        }
        example.loader.validate().unwrap();
        example.augment.validate().unwrap();
    }
    for kind in KINDS {
        let name = kind.split(' ').next().unwrap();
        assert!(
            text.contains(&format!("\n{name} = ")),
            "no example of {name}"
        );
    }
}
