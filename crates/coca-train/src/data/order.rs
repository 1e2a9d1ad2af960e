//! In which order a data set's samples are gone through.

use std::ops::Range;

use rand::Rng;
use rand::seq::SliceRandom;

use super::mix::{Purpose, permutation, stream};

/// How many remote files are shuffled with each other if nothing else is said.
pub const REMOTE_WINDOW: usize = 16;

/// The order of one epoch.
#[derive(Debug, Default)]
pub struct Epoch {
    /// The samples.
    pub samples: Vec<u32>,
    /// Where only so many files are shuffled with each other: for each such window the place of its first sample, and
    /// a sample of each of its files.
    pub windows: Vec<(usize, Vec<u32>)>,
}

/// The recipe for the order of every epoch. Epoch and seed decide it, and nothing else.
#[derive(Debug, Clone)]
pub struct Orders {
    seed: u64,
    /// The data set's number in the mixture.
    data: usize,
    len: u32,
    resampled: bool,
    /// The samples of each file, where only so many files are shuffled with each other.
    window: Option<(usize, Vec<Range<u32>>)>,
}

impl Orders {
    /// All `len` samples are shuffled with each other.
    pub fn new(seed: u64, data: usize, len: u32, resampled: bool) -> Self {
        Self {
            seed,
            data,
            len,
            resampled,
            window: None,
        }
    }

    /// The files are shuffled, and the samples of `window` consecutive files in that order. `file` is the file of each
    /// sample; samples of a file lie together.
    ///
    /// What webdataset approximates with its shard and sample shuffle buffers, but exact and reproducible.
    #[must_use]
    pub fn in_windows(mut self, window: usize, file: impl Fn(u32) -> u32) -> Self {
        let mut files: Vec<Range<u32>> = Vec::new();
        let mut last = None;
        for sample in 0..self.len {
            let number = Some(file(sample));
            match files.last_mut() {
                Some(range) if last == number => range.end = sample + 1,
                _ => files.push(sample..sample + 1),
            }
            last = number;
        }
        if files.len() > window {
            self.window = Some((window.max(1), files));
        }
        self
    }

    /// The samples in the order of `epoch`: as many as the data set has, and each exactly once unless they are
    /// resampled.
    pub fn epoch(&self, epoch: u64) -> Epoch {
        let mut rng = stream(self.seed, Purpose::Order, self.data as u64, epoch);
        let Some((window, files)) = &self.window else {
            let samples = match self.resampled {
                true => (0..self.len)
                    .map(|_| rng.random_range(0..self.len))
                    .collect(),
                false => permutation(self.seed, self.data, epoch, self.len),
            };
            return Epoch {
                samples,
                windows: Vec::new(),
            };
        };
        let mut drawn: Vec<&Range<u32>> = Vec::with_capacity(files.len());
        if self.resampled {
            let mut samples = 0;
            while samples < self.len
                && let Some(file) = files.get(rng.random_range(0..files.len()))
            {
                samples = samples.saturating_add(file.end - file.start);
                drawn.push(file);
            }
        } else {
            drawn.extend(files);
            drawn.shuffle(&mut rng);
        }
        let mut order = Vec::with_capacity(self.len as usize);
        let mut windows = Vec::new();
        for files in drawn.chunks(*window) {
            let start = order.len();
            windows.push((start, files.iter().map(|file| file.start).collect()));
            order.extend(files.iter().flat_map(|file| file.start..file.end));
            if let Some(window) = order.get_mut(start..) {
                window.shuffle(&mut rng);
            }
        }
        order.truncate(self.len as usize);
        Epoch {
            samples: order,
            windows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// 10 files of 1 to 10 samples.
    fn file(sample: u32) -> u32 {
        (0..10)
            .find(|file| sample < (file + 1) * (file + 2) / 2)
            .unwrap()
    }

    fn windowed(resampled: bool) -> Orders {
        Orders::new(3, 1, 55, resampled).in_windows(3, file)
    }

    #[test]
    fn windows_hold_few_files_and_an_epoch_holds_all_samples() {
        let Epoch {
            samples: order,
            windows: noted,
        } = windowed(false).epoch(2);
        assert_eq!(order, windowed(false).epoch(2).samples);
        assert_ne!(order, windowed(false).epoch(3).samples);
        let starts: Vec<_> = noted.iter().map(|(start, _)| *start).collect();
        let order_of = |start: usize| file(order[start]);
        for (window, start) in starts.iter().enumerate() {
            let files: BTreeSet<_> = noted[window].1.iter().map(|&sample| file(sample)).collect();
            assert!(files.contains(&order_of(*start)));
        }
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..55));
        // The files of a window are left for good before the next one begins.
        let mut windows: Vec<BTreeSet<u32>> = vec![BTreeSet::new()];
        for sample in order {
            let full = windows.last().is_some_and(|files| files.len() == 3);
            let last = windows.last_mut().unwrap();
            if full && !last.contains(&file(sample)) {
                windows.push(BTreeSet::from([file(sample)]));
            } else {
                last.insert(file(sample));
            }
        }
        let sizes: Vec<_> = windows.iter().map(BTreeSet::len).collect();
        assert_eq!(sizes, [3, 3, 3, 1]);
    }

    #[test]
    fn few_files_are_shuffled_as_a_whole() {
        let whole = Orders::new(3, 1, 55, false);
        assert_eq!(whole.epoch(4).samples, permutation(3, 1, 4, 55));
        for same in [
            whole.clone().in_windows(10, file),
            whole.clone().in_windows(3, |_| 0),
        ] {
            assert_eq!(same.epoch(4).samples, whole.epoch(4).samples);
            assert!(same.epoch(4).windows.is_empty());
        }
    }

    #[test]
    fn resampling_draws_with_replacement() {
        for orders in [Orders::new(3, 1, 55, true), windowed(true)] {
            let mut counts = [0usize; 55];
            for epoch in 0..400 {
                let order = orders.epoch(epoch).samples;
                assert_eq!(order.len(), 55);
                assert_eq!(order, orders.epoch(epoch).samples);
                let distinct: BTreeSet<_> = order.iter().collect();
                assert!(distinct.len() < 55 || epoch > 0);
                for sample in order {
                    counts[sample as usize] += 1;
                }
            }
            assert!(
                counts.iter().all(|&count| (250..600).contains(&count)),
                "{counts:?}"
            );
        }
    }
}
