//! Takes a data set through the image encoder, a few images at a time on every thread.

use anyhow::{Context, Result};
use coca_model::tasks::{EncodedImages, Predictor};
use indicatif::ProgressBar;
use pollster::block_on;

use crate::data::{EvalSample, EvalSamples};
use crate::parallel::side_by_side;

/// Images that a thread works on at a time.
const CHUNK: usize = 32;

/// A model and the means to run it over a data set.
#[derive(Debug)]
pub struct Runner<'a> {
    /// The model.
    pub predictor: &'a Predictor,
    /// Threads that work side by side, each on images of its own.
    pub threads: usize,
    /// Told of every image that is done.
    pub bar: &'a ProgressBar,
}

/// Some samples of a data set, encoded.
pub struct Chunk<'a> {
    /// The samples.
    pub samples: &'a [EvalSample],
    /// Their images, encoded.
    pub images: &'a EncodedImages,
}

impl Runner<'_> {
    /// Does `job` for every chunk of the samples and returns all results in the order of the samples.
    ///
    /// # Errors
    /// A sample that cannot be read, the first of `job`, and an empty data set.
    pub fn over<T: Send>(
        &self,
        mut samples: EvalSamples,
        job: impl Fn(Chunk<'_>) -> Result<Vec<T>> + Sync,
    ) -> Result<Vec<T>> {
        anyhow::ensure!(samples.len() > 0, "the data set has no sample");
        self.bar.set_length(samples.len() as u64);
        self.bar.set_position(0);
        let mut results = Vec::with_capacity(samples.len());
        while samples.len() > 0 {
            // No more to a thread than it takes for all threads to have some.
            let size = samples.len().div_ceil(self.threads.max(1)).min(CHUNK);
            let mut work: Vec<Vec<EvalSample>> = Vec::new();
            while work.len() < self.threads.max(1) && samples.len() > 0 {
                work.push(samples.by_ref().take(size).collect::<Result<_, _>>()?);
            }
            let found = side_by_side(work, |samples| self.chunk(&samples, &job))?;
            results.extend(found.into_iter().flatten());
        }
        Ok(results)
    }

    fn chunk<T>(
        &self,
        samples: &[EvalSample],
        job: impl Fn(Chunk<'_>) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let prepare = |sample: &EvalSample| {
            let prepared = self.predictor.prepare(&sample.image);
            prepared.with_context(|| format!("in the sample {}", sample.key))
        };
        let prepared = samples.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let images = &block_on(self.predictor.encode_images(&prepared))?;
        let results = job(Chunk { samples, images })?;
        self.bar.inc(samples.len() as u64);
        Ok(results)
    }
}
