//! `coca-train caption`: captions of images.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use pollster::block_on;
use serde::Serialize;

use super::generation::GenerationArgs;
use super::model::ModelArgs;
use super::{UsageError, images, output};

/// Write a caption for each image.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    /// The images.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Line<'a> {
    image: &'a str,
    caption: &'a str,
    tokens: &'a [u32],
    log_prob: f64,
}

/// Runs the command.
pub fn run(args: &Args, device: &Device) -> Result<()> {
    let options = args.generation.options()?;
    let predictor = args.model.open(device)?;
    images::each_batch(&predictor, &args.images, |names, images| {
        let captions =
            block_on(predictor.caption(images, &options, &mut |_| ControlFlow::Continue(())))
                .map_err(UsageError::from_setting)?;
        for (image, caption) in names.iter().zip(&captions) {
            let (text, tokens, log_prob) = (&caption.text, &caption.tokens, caption.log_prob);
            match args.model.json {
                true => output::json(&Line {
                    image,
                    caption: text,
                    tokens,
                    log_prob,
                })?,
                false => output::line(format!("{image}: {text}"))?,
            }
        }
        Ok(())
    })
}
