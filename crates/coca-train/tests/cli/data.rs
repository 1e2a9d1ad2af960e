//! `coca-train data`: check, pack and bench.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use serde_json::json;

use crate::fixture::{coca_train, fails, json_lines};

/// A picture of one colour.
fn picture(shade: u8, format: image::ImageFormat) -> Vec<u8> {
    let image = image::RgbImage::from_fn(40, 30, |x, y| {
        image::Rgb([shade, (x * 5) as u8, (y * 7) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A table of ten pictures: one is cut short, one is missing, two are the same, one caption has markup in it.
fn write_table(folder: &Path) -> String {
    let mut table = String::from("filepath,title,label\n");
    for at in 0u8..10 {
        let shade = if at == 9 { 0 } else { at * 20 };
        let mut bytes = picture(shade, image::ImageFormat::Jpeg);
        if at == 3 {
            bytes.truncate(bytes.len() - 20);
        }
        if at != 4 {
            fs::write(folder.join(format!("{at}.jpg")), bytes).unwrap();
        }
        table += &format!("{at}.jpg,\"a <b>caption</b>, number {at}\",{}\n", at % 2);
    }
    fs::write(folder.join("classes.json"), r#"["even", "odd"]"#).unwrap();
    let path = folder.join("table.csv");
    fs::write(&path, table).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn check_counts_what_is_there_and_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let table = write_table(folder.path());
    let sheet = folder.path().join("sheet.html");
    let report = json_lines(&[
        "data",
        "check",
        &table,
        "--json",
        "--max-broken",
        "0.2",
        "--html",
        sheet.to_str().unwrap(),
        "--thumbnails",
        "5",
    ])
    .remove(0);
    assert_eq!(report["samples"], 10);
    assert_eq!(report["broken"]["count"], 2);
    let broken = &report["broken"]["samples"];
    assert_eq!(broken[0]["name"], "table.csv:4");
    assert!(broken[0]["reason"].as_str().unwrap().contains("cut short"));
    assert!(broken[1]["reason"].as_str().unwrap().contains("4.jpg"));
    assert_eq!(report["images"]["formats"], json!({ "jpg": 8 }));
    assert_eq!(report["images"]["short_side"], json!([30, 30, 30]));
    assert_eq!(report["captions"]["count"], 8);
    assert_eq!(
        report["captions"]["words"][1],
        json!({ "from": 3, "to": 5, "count": 8 })
    );
    // 0, 2, 6 and 8 are left of the even ones, 1, 5, 7 and 9 of the odd ones.
    assert_eq!(
        report["labels"],
        json!([{ "label": "even", "count": 4 }, { "label": "odd", "count": 4 }])
    );
    assert_eq!(
        report["duplicates"],
        json!({ "count": 1, "groups": [["table.csv:1", "table.csv:10"]] })
    );

    let page = fs::read_to_string(sheet).unwrap();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 5);
    assert!(page.contains("a &lt;b&gt;caption&lt;/b&gt;") && !page.contains("<b>caption"));
    assert!(page.contains("width=device-width") && page.contains("table.csv:4"));
    for outside in ["http", "<script", "<link", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }

    let (stdout, stderr) = fails(&["data", "check", &table], 1);
    assert!(
        stdout.contains("10 samples") && stdout.contains("table.csv:5"),
        "{stdout}"
    );
    assert!(stderr.contains("2 of 10"), "{stderr}");
    fails(&["data", "check"], 2);
    fails(&["data", "check", &table, "--max-broken", "2"], 2);
    let (_, stderr) = fails(&["data", "check", "nowhere.csv"], 1);
    assert!(stderr.contains("nowhere.csv"), "{stderr}");
}

#[test]
fn packed_shards_hold_the_same_samples() {
    let folder = tempfile::tempdir().unwrap();
    let table = write_table(folder.path());
    let config = folder.path().join("config.toml");
    fs::write(
        &config,
        "[[data]]\ncsv = 'table.csv'\nonly = { label = 1 }\n",
    )
    .unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let out = path("packs/all");
    let pack = [
        "data",
        "pack",
        &table,
        &out,
        "--shard-size",
        "8kB",
        "--json",
    ];
    let (stdout, stderr) = fails(&pack, 1);
    assert!(stdout.is_empty() && stderr.contains("2 of 10"), "{stderr}");
    assert!(!folder.path().join("packs/all-00000.tar").exists());

    let packed = json_lines(&[&pack[..], &["--max-broken", "0.2"]].concat()).remove(0);
    assert_eq!(
        (&packed["samples"], &packed["broken"]),
        (&json!(8), &json!(2))
    );
    let shards = packed["shards"].as_object().unwrap();
    assert!(
        shards.len() > 1 && shards.contains_key("all-00001.tar"),
        "{shards:?}"
    );
    let sizes = fs::read_to_string(folder.path().join("packs/sizes.json")).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&sizes).unwrap(),
        packed["shards"]
    );
    for name in shards.keys() {
        let bytes = fs::metadata(folder.path().join("packs").join(name))
            .unwrap()
            .len();
        assert!(bytes <= 8000, "{name}: {bytes}");
    }
    // The same bytes, once more; a folder of shards is a data set.
    let again = json_lines(&["data", "check", &path("packs"), "--json"]).remove(0);
    let original =
        json_lines(&["data", "check", &table, "--json", "--max-broken", "0.2"]).remove(0);
    for field in ["images", "captions", "labels"] {
        assert_eq!(again[field], original[field], "{field}");
    }
    let (_, stderr) = fails(&[&pack[..], &["--max-broken", "0.2"]].concat(), 1);
    assert!(stderr.contains("--overwrite"), "{stderr}");

    // Overwriting with fewer samples leaves no shard of the longer set behind.
    let pack = [
        "data",
        "pack",
        config.to_str().unwrap(),
        &out,
        "--overwrite",
        "--shuffle",
        "7",
    ];
    let packed = json_lines(&[&pack[..], &["--json", "--max-broken", "0.2"]].concat()).remove(0);
    assert_eq!(packed["shards"], json!({ "all-00000.tar": 4 }));
    assert!(!folder.path().join("packs/all-00001.tar").exists());
    fails(&["data", "pack", &table], 2);
    let (_, stderr) = fails(&["data", "pack", &table, &path("packs")], 2);
    assert!(stderr.contains("is a folder"), "{stderr}");
}

#[test]
fn bench_loads_as_many_samples_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let table = write_table(folder.path());
    let out = folder.path().join("good").to_str().unwrap().to_owned();
    coca_train(&["data", "pack", &table, &out, "--max-broken", "0.5"])
        .assert()
        .success();
    let shard = format!("{out}-00000.tar");
    let line = json_lines(&[
        "data",
        "bench",
        &shard,
        "--samples",
        "100",
        "--image-size",
        "32",
        "--workers",
        "2",
        "--json",
    ])
    .remove(0);
    assert_eq!(line["samples"], 128);
    assert!(line["samples_per_second_per_core"].as_f64().unwrap() > 0.0);
}
