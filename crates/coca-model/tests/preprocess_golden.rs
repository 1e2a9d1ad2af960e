//! Preprocessing against open_clip's own transform.
//!
//! The expected crops come from `image_transform(64 or 224, is_train=False)` of open_clip 3.3.0 with Pillow 13.0.0,
//! on each file as it is (`direct`) and after `convert("RGB")` (`rgb_first`). Pillow's own decoding of each JPEG file
//! lies beside it, because JPEG decoders may differ in the last bits.

#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use coca_model::preprocess::{
    ColourOrder, DecodeOptions, PreprocessConfig, Preprocessor, decode_rgb,
};
use image::RgbImage;
use safetensors::SafeTensors;
use serde_json::Value;

const AS_OPEN_CLIP: DecodeOptions = DecodeOptions {
    max_pixels: 1_000_000,
    apply_exif_orientation: false,
};

fn golden(name: &str) -> Vec<u8> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/preprocess");
    fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The rows of `expected.json`, and how many there must be.
fn rows() -> Vec<Value> {
    let expected: Value = serde_json::from_slice(&golden("expected.json")).unwrap();
    let rows = expected["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 46);
    rows
}

/// The file of a row as it is to be read, and when it is to be converted.
fn input(row: &Value) -> (String, ColourOrder) {
    let file = row["file"].as_str().unwrap();
    let order = match row["path"].as_str().unwrap() {
        "direct" => ColourOrder::Direct,
        "rgb_first" => ColourOrder::RgbFirst,
        other => panic!("{other}"),
    };
    match file.ends_with(".jpg") {
        true => (format!("{file}.decoded.png"), order),
        false => (file.into(), order),
    }
}

fn preprocessor(size: usize) -> Preprocessor {
    Preprocessor::new(PreprocessConfig::for_size(size, size)).unwrap()
}

/// Samples as `[3, height, width]`.
fn planes(image: &RgbImage) -> Vec<u8> {
    (0..3)
        .flat_map(|channel| image.pixels().map(move |pixel| pixel.0[channel]))
        .collect()
}

fn assert_equal(name: &str, actual: &[u8], expected: &[u8]) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    let different = actual.iter().zip(expected).filter(|(a, e)| a != e).count();
    let most = actual
        .iter()
        .zip(expected)
        .map(|(a, e)| a.abs_diff(*e))
        .max();
    assert_eq!(different, 0, "{name}: samples differ, by {most:?} at most");
}

#[test]
fn every_crop_equals_open_clips() {
    let file = golden("expected.safetensors");
    let expected = SafeTensors::deserialize(&file).unwrap();
    let mut compared = 0;
    for row in rows() {
        let (file, order) = input(&row);
        let bytes = golden(&file);
        for size in [64, 224] {
            let name = format!(
                "u8_{size}.{}.{}",
                row["file"].as_str().unwrap(),
                row["path"].as_str().unwrap()
            );
            // The larger crops are kept for some files only.
            let Ok(tensor) = expected.tensor(&name) else {
                continue;
            };
            let crop = preprocessor(size)
                .decode_crop(&bytes, &AS_OPEN_CLIP, order)
                .unwrap();
            assert_equal(&name, &planes(&crop), tensor.data());
            compared += 1;
        }
    }
    assert_eq!(compared, 50);
}

#[test]
fn normalised_values_have_the_same_bits() {
    let file = golden("expected.safetensors");
    let expected = SafeTensors::deserialize(&file).unwrap();
    let expected = expected
        .tensor("f32_64.rgb_odd_301x227.png.rgb_first")
        .unwrap();
    let actual: Vec<u8> = preprocessor(64)
        .prepare(&golden("rgb_odd_301x227.png"))
        .unwrap()
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert_equal("f32_64", &actual, expected.data());
}

/// Statistics and single values of the crops of 224 that are too many to keep whole.
#[test]
fn every_larger_crop_has_the_same_statistics() {
    let preprocessor = preprocessor(224);
    for row in rows() {
        let (file, order) = input(&row);
        let crop = preprocessor
            .decode_crop(&golden(&file), &AS_OPEN_CLIP, order)
            .unwrap();
        let values = preprocessor.normalise(&crop);
        let expect = |what: &str, index: usize, actual: f64| {
            let expected = row[what][index].as_f64().unwrap();
            assert!(
                (actual - expected).abs() < 2e-6,
                "{file} {order:?} {what} {index}: {actual}, not {expected}"
            );
        };
        for (channel, plane) in values.chunks_exact(224 * 224).enumerate() {
            let plane: Vec<f64> = plane.iter().copied().map(f64::from).collect();
            let n = plane.len() as f64;
            let mean = plane.iter().sum::<f64>() / n;
            let variance = plane.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
            expect("mean", channel, mean);
            expect("std", channel, variance.sqrt());
            expect(
                "min",
                channel,
                plane.iter().copied().fold(f64::INFINITY, f64::min),
            );
            expect(
                "max",
                channel,
                plane.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            );
            for (probe, (y, x)) in [(0, 0), (10, 200), (112, 112), (223, 223)]
                .into_iter()
                .enumerate()
            {
                expect("probe", channel * 4 + probe, plane[y * 224 + x]);
            }
        }
    }
}

/// Decoders may differ in the inverse transform and in how they interpolate colours of half the resolution.
#[test]
fn decoded_jpegs_are_close_to_pillows() {
    for (file, most, mean) in [
        ("jpeg_q90_333x251.jpg", 4, 0.4),
        ("jpeg_exif6_150x120.jpg", 2, 0.02),
        ("jpeg_cmyk_128x120.jpg", 1, 0.01),
        ("jpeg_gray_128x120.jpg", 1, 0.01),
    ] {
        let ours = decode_rgb(&golden(file), &AS_OPEN_CLIP).unwrap();
        let pillows = decode_rgb(&golden(&format!("{file}.decoded.png")), &AS_OPEN_CLIP).unwrap();
        assert_eq!(ours.dimensions(), pillows.dimensions(), "{file}");
        let differences: Vec<u8> = ours
            .iter()
            .zip(pillows.iter())
            .map(|(o, p)| o.abs_diff(*p))
            .collect();
        assert!(
            differences.iter().all(|d| *d <= most),
            "{file}: {:?}",
            differences.iter().max()
        );
        let sum: f64 = differences.iter().copied().map(f64::from).sum();
        assert!(
            sum / (differences.len() as f64) < mean,
            "{file}: {}",
            sum / differences.len() as f64
        );
    }
}
