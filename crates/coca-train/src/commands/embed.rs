//! `coca-train embed`: embeddings of texts and images.

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use pollster::block_on;
use serde::Serialize;

use super::model::ModelArgs;
use super::{UsageError, images, labels, output};

/// Print the embeddings of texts and images, unit vectors of one space.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A text; may be given several times.
    #[arg(long = "text", value_name = "TEXT", value_parser = labels::not_blank)]
    texts: Vec<String>,
    /// The images.
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind<'a> {
    Text(&'a str),
    Image(&'a str),
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    of: Kind<'a>,
    embedding: &'a [f32],
}

/// Runs the command.
pub fn run(args: &Args, device: &Device) -> Result<()> {
    if args.texts.is_empty() && args.images.is_empty() {
        return Err(UsageError::new(
            "there is nothing to embed; give --text TEXT or an image",
        ));
    }
    let predictor = args.model.open(device)?;
    let embeddings = block_on(predictor.text_embeddings(&args.texts))?;
    for (text, embedding) in args.texts.iter().zip(&embeddings) {
        print(args.model.json, Kind::Text(text), embedding)?;
    }
    images::each_batch(&predictor, &args.images, |names, images| {
        let each = names.iter().zip(images.embeddings());
        each.into_iter()
            .try_for_each(|(name, embedding)| print(args.model.json, Kind::Image(name), embedding))
    })
}

fn print(json: bool, of: Kind<'_>, embedding: &[f32]) -> Result<()> {
    if json {
        return output::json(&Line { of, embedding });
    }
    let (Kind::Text(name) | Kind::Image(name)) = of;
    let numbers: Vec<String> = embedding.iter().map(ToString::to_string).collect();
    output::line(format!("{name}\t{}", numbers.join(" ")))
}
