//! `coca-train explain`: where the model looks while it writes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use coca_model::preprocess::Region;
use coca_model::tasks::{ExplainedWord, Explanation};
use image::{Rgb, RgbImage, imageops};
use pollster::block_on;
use serde::Serialize;

use super::model::ModelArgs;
use super::{UsageError, labels, output};

/// Show for each word of an image's caption which part of the image it comes from.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Explain this text instead of the caption that the model writes.
    #[arg(long, value_name = "TEXT", value_parser = labels::not_blank)]
    text: Option<String>,
    /// Write a picture: what the model sees, then for each word, from left to right, the same with its heat as light.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The image.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

#[derive(Serialize)]
struct Line<'a> {
    image: String,
    text: &'a str,
    log_prob: f64,
    columns: usize,
    rows: usize,
    region: Place,
    words: Vec<Word<'a>>,
}

#[derive(Serialize)]
struct Word<'a> {
    text: &'a str,
    heat: &'a [f32],
}

#[derive(Serialize)]
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Runs the command.
pub fn run(args: &Args, device: &Device) -> Result<()> {
    let predictor = args.model.open(device)?;
    let name = args.image.display().to_string();
    let bytes = std::fs::read(&args.image).with_context(|| format!("reading {name}"))?;
    let image = predictor
        .prepare(&bytes)
        .with_context(|| format!("in {name}"))?;
    let explanation = block_on(predictor.explain(&image, args.text.as_deref(), &mut |_| {
        ControlFlow::Continue(())
    }))
    .map_err(UsageError::from_setting)?;
    if let Some(file) = &args.out {
        let seen = predictor
            .preprocessor()
            .resize_crop(&coca_model::preprocess::decode_rgb(
                &bytes,
                &Default::default(),
            )?)?;
        write(file, &heat_strip(&seen, &explanation))?;
    }
    let Region {
        x,
        y,
        width,
        height,
    } = explanation.region;
    match args.model.json {
        true => output::json(&Line {
            image: name,
            text: &explanation.text,
            log_prob: explanation.log_prob,
            columns: explanation.columns,
            rows: explanation.rows,
            region: Place {
                x,
                y,
                width,
                height,
            },
            words: explanation
                .words
                .iter()
                .map(|word| Word {
                    text: &word.text,
                    heat: &word.heat,
                })
                .collect(),
        }),
        false => explanation
            .words
            .iter()
            .try_for_each(|word| output::line(for_people(word, &explanation))),
    }
}

/// The word, and where its hottest patch is.
fn for_people(word: &ExplainedWord, explanation: &Explanation) -> String {
    let hottest = (0..word.heat.len()).max_by(|&a, &b| word.heat[a].total_cmp(&word.heat[b]));
    let at = hottest.unwrap_or_default();
    let (row, column) = (
        at / explanation.columns.max(1),
        at % explanation.columns.max(1),
    );
    format!(
        "{:16} {:5.1} % at column {} of {}, row {} of {}",
        word.text.trim_start(),
        100.0 * word.heat.get(at).copied().unwrap_or_default(),
        column + 1,
        explanation.columns,
        row + 1,
        explanation.rows
    )
}

/// The picture, and one copy for each word in which the hottest patch is bright and one without heat dark.
fn heat_strip(seen: &RgbImage, explanation: &Explanation) -> RgbImage {
    let (width, height) = seen.dimensions();
    let mut strip = RgbImage::new(width * (1 + explanation.words.len() as u32), height);
    imageops::replace(&mut strip, seen, 0, 0);
    for (at, word) in explanation.words.iter().enumerate() {
        let hottest = word.heat.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        let mut copy = seen.clone();
        for (x, y, pixel) in copy.enumerate_pixels_mut() {
            let column = x as usize * explanation.columns / width as usize;
            let row = y as usize * explanation.rows / height as usize;
            let heat = word.heat.get(row * explanation.columns + column);
            let light = 0.15 + 0.85 * heat.copied().unwrap_or_default() / hottest;
            *pixel = Rgb(pixel
                .0
                .map(|value| (f32::from(value) * light).round() as u8));
        }
        imageops::replace(&mut strip, &copy, i64::from(width) * (1 + at as i64), 0);
    }
    strip
}

/// To a temporary name first, so that nobody sees half a picture.
fn write(file: &Path, picture: &RgbImage) -> Result<()> {
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    ensure!(
        extension.eq_ignore_ascii_case("png"),
        "{}: the picture is a PNG; give a name that ends in .png",
        file.display()
    );
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let unwritable = || format!("writing {}", file.display());
    let temporary = tempfile::Builder::new()
        .suffix(".png")
        .tempfile_in(folder)
        .with_context(unwritable)?;
    picture.save(temporary.path()).with_context(unwritable)?;
    temporary.persist(file).with_context(unwritable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strip_shows_the_heat_of_each_word() {
        let seen = RgbImage::from_pixel(4, 4, Rgb([200; 3]));
        let word = |heat: &[f32]| ExplainedWord {
            text: "a".into(),
            heat: heat.to_vec(),
        };
        let explanation = Explanation {
            text: "a a".into(),
            log_prob: 0.0,
            words: vec![word(&[0.0, 1.0, 0.0, 0.0]), word(&[0.25; 4])],
            columns: 2,
            rows: 2,
            region: Region::WHOLE,
        };
        let strip = heat_strip(&seen, &explanation);
        assert_eq!(strip.dimensions(), (12, 4));
        let value = |x, y| strip.get_pixel(x, y).0[0];
        assert_eq!(
            (value(0, 0), value(4, 0), value(6, 0), value(6, 2)),
            (200, 30, 200, 30)
        );
        assert_eq!(value(11, 3), 200);
        assert!(
            for_people(&explanation.words[0], &explanation).contains("column 2 of 2, row 1 of 2")
        );
    }
}
