//! A tiny data set, and a model that was trained on it for two steps.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assert_cmd::Command;
use serde_json::Value;

/// The samples' labels; each is the colour of the picture.
pub const COLOURS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 20, 20]),
    ("green", [20, 200, 20]),
    ("blue", [20, 20, 220]),
    ("grey", [128, 128, 128]),
];

/// Pictures in the data set, two of each colour.
pub const SAMPLES: usize = 8;

const MODEL: &str = r#"{
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16,
        "attentional_pool": true, "attn_pooler_queries": 5, "attn_pooler_heads": 2},
    "text_cfg": {"context_length": 16, "vocab_size": 600, "width": 32, "heads": 2, "layers": 1},
    "multimodal_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1}
}"#;

const CONFIG: &str = r#"
name = "tiny"
model = "model.json"
output = "out"
steps = 2
tokenizer = "train"

[optimizer]
learning_rate = 1e-3
warmup = 1

[log]
every = 1
checkpoint_every = 1

[loader]
batch_size = 4
texts_per_image = 2
workers = 1

[[data]]
shards = "data.tar"

[[validation]]
name = "same"
shards = "data.tar"
tasks = ["loss", "zero-shot", "retrieval", "vqa", "captions"]
limit = 6
"#;

/// The folder of [`workplace`] that all tests share, with a model in `out/model`. Nobody changes it.
static TRAINED: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
    let _ = fs::remove_dir_all(&folder);
    fill(&folder);
    coca_train(&["train", folder.join("train.toml").to_str().unwrap()])
        .assert()
        .success();
    folder
});

/// A folder of one's own with data, `train.toml` and what it needs.
pub fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    folder
}

/// The trained model's folder.
pub fn model() -> String {
    trained("out/model")
}

/// A path in the shared folder.
pub fn trained(path: &str) -> String {
    TRAINED.join(path).to_str().unwrap().to_owned()
}

/// The pictures as files: one of each colour.
pub fn pictures() -> Vec<String> {
    COLOURS
        .iter()
        .map(|(name, _)| trained(&format!("{name}.png")))
        .collect()
}

/// The command.
pub fn coca_train(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coca-train"));
    command.args(args);
    command
}

/// Runs a command that must succeed and returns the JSON lines on its standard output, which holds nothing else.
pub fn json_lines(args: &[&str]) -> Vec<Value> {
    let output = coca_train(args).output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{args:?}: {stderr}");
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

/// Runs a command that must end with `code`; returns standard output and standard error.
pub fn fails(args: &[&str], code: i32) -> (String, String) {
    let output = coca_train(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    (stdout, stderr)
}

fn fill(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("model.json"), MODEL).unwrap();
    fs::write(folder.join("train.toml"), CONFIG).unwrap();
    let mut shard = tar::Builder::new(Vec::new());
    for at in 0..SAMPLES {
        let (name, colour) = COLOURS[at % COLOURS.len()];
        let json = serde_json::json!({
            "label": name,
            "captions": [format!("a {name} square"), format!("{name} all over, number {at}")],
            "qa": [["what colour is it?", name], ["is it red?", if name == "red" { "yes" } else { "no" }]],
        });
        append(
            &mut shard,
            &format!("{at:03}.png"),
            &picture(colour, at as u8),
        );
        append(
            &mut shard,
            &format!("{at:03}.json"),
            json.to_string().as_bytes(),
        );
    }
    fs::write(folder.join("data.tar"), shard.into_inner().unwrap()).unwrap();
    for (name, colour) in COLOURS {
        fs::write(folder.join(format!("{name}.png")), picture(colour, 0)).unwrap();
    }
}

fn append(shard: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    shard.append_data(&mut header, name, bytes).unwrap();
}

/// A picture of one colour that gets lighter downwards.
fn picture([r, g, b]: [u8; 3], variant: u8) -> Vec<u8> {
    let pixel = |_, y: u32| {
        let light = y as u8 / 2 + variant;
        image::Rgb([
            r.saturating_add(light),
            g.saturating_add(light),
            b.saturating_add(light),
        ])
    };
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::from_fn(40, 48, pixel)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}
