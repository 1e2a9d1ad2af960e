//! The images of a command.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use coca_model::tasks::{EncodedImages, Predictor, PreparedImage};
use pollster::block_on;
use rayon::prelude::*;

use super::output::describe;

/// Images that are prepared and encoded together.
const BATCH: usize = 16;

/// Encodes images in batches and hands them with their names to `job`. One that cannot be read is named on standard
/// error, and the others are still done.
///
/// # Errors
/// Those of `job` at once; how many images could not be read, at the end.
pub fn each_batch(
    predictor: &Predictor,
    paths: &[PathBuf],
    mut job: impl FnMut(&[String], &EncodedImages) -> Result<()>,
) -> Result<()> {
    let mut broken = 0;
    for batch in paths.chunks(BATCH) {
        let prepare = |path: &PathBuf| -> Result<PreparedImage> {
            let bytes = std::fs::read(path).context("reading it")?;
            Ok(predictor.prepare(&bytes)?)
        };
        let prepared: Vec<_> = batch.par_iter().map(prepare).collect();
        let (mut names, mut images) = (Vec::new(), Vec::new());
        for (path, prepared) in batch.iter().zip(prepared) {
            match prepared {
                Ok(image) => {
                    names.push(path.display().to_string());
                    images.push(image);
                }
                Err(error) => {
                    broken += 1;
                    eprintln!("error: {}: {}", path.display(), describe(&error));
                }
            }
        }
        if !images.is_empty() {
            job(&names, &block_on(predictor.encode_images(&images))?)?;
        }
    }
    match broken {
        0 => Ok(()),
        _ => bail!("{broken} of {} images could not be used", paths.len()),
    }
}
