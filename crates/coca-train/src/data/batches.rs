//! Makes batches ahead of time on worker threads, and hands them out in the order of their steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};

use super::batch::Batch;
use super::error::{Error, Result};

/// The endless sequence of batches from one step on. Dropping it ends the workers.
///
/// After the first error the iterator ends.
#[derive(Debug)]
pub struct Batches {
    step: u64,
    next: usize,
    stop: Arc<AtomicBool>,
    /// One channel for each worker, in the order of their steps; empty after an error.
    lanes: Vec<Receiver<Result<Batch>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Batches {
    /// Starts `workers` threads that call `make` for each step from `step` on, each at most `prefetch` batches ahead.
    /// `make` should look at its second argument now and then, and give up when it is set.
    pub(super) fn start(
        step: u64,
        workers: usize,
        prefetch: usize,
        make: impl Fn(u64, &AtomicBool) -> Result<Batch> + Clone + Send + 'static,
    ) -> Result<Self> {
        let mut batches = Self {
            step,
            next: 0,
            stop: Arc::default(),
            lanes: Vec::with_capacity(workers),
            threads: Vec::with_capacity(workers),
        };
        for worker in 0..workers {
            // Each worker has every workers-th step and a channel of its own: the order needs no sorting, and no
            // worker can run ahead by more than its channel holds.
            let (sender, receiver) = bounded(prefetch.max(1));
            let (make, stop) = (make.clone(), Arc::clone(&batches.stop));
            let first = step.saturating_add(worker as u64);
            let work = move || {
                for step in (first..).step_by(workers) {
                    let batch = make(step, &stop);
                    let failed = batch.is_err();
                    if sender.send(batch).is_err() || failed {
                        return;
                    }
                }
            };
            let thread = std::thread::Builder::new()
                .name(format!("data-{worker}"))
                .spawn(work);
            batches.threads.push(thread.map_err(Error::Thread)?);
            batches.lanes.push(receiver);
        }
        Ok(batches)
    }

    /// The step of the batch that comes next.
    #[cfg(test)]
    pub fn step(&self) -> u64 {
        self.step
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let lane = self.lanes.get(self.next)?;
        // A worker sends its error before it ends, so a channel that is closed and empty means that it panicked.
        let batch = lane.recv().unwrap_or(Err(Error::Stopped));
        match batch {
            Ok(_) => {
                self.step = self.step.saturating_add(1);
                self.next = (self.next + 1) % self.lanes.len();
            }
            Err(_) => {
                self.stop.store(true, Ordering::Relaxed);
                self.lanes.clear();
            }
        }
        Some(batch)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Workers that wait for room in their channel wake up when it closes.
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // There is no one left to tell about a panic, and panics over samples have been reported.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Makes empty batches; those of even steps take longer.
    fn uneven(step: u64, _: &AtomicBool) -> Result<Batch> {
        if step.is_multiple_of(2) {
            std::thread::sleep(Duration::from_millis(3));
        }
        Ok(Batch::assemble(step, Vec::new(), 1))
    }

    #[test]
    fn batches_come_in_order_from_any_step() {
        for (first, workers) in [(0, 1), (5, 2), (7, 3)] {
            let mut batches = Batches::start(first, workers, 2, uneven).unwrap();
            for step in first..first + 20 {
                assert_eq!(batches.step(), step);
                assert_eq!(batches.next().unwrap().unwrap().step, step);
            }
        }
    }

    #[test]
    fn the_first_error_ends_the_sequence_in_its_turn() {
        let make = |step, stop: &AtomicBool| match step {
            4.. => Err(Error::Config(format!("step {step}"))),
            _ => uneven(step, stop),
        };
        let mut batches = Batches::start(0, 3, 2, make).unwrap();
        assert_eq!(batches.by_ref().take(4).filter(Result::is_ok).count(), 4);
        let error = batches.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("step 4"), "{error}");
        assert!(batches.next().is_none());
    }

    #[test]
    fn dropping_ends_the_threads() {
        let held = Arc::new(());
        let inner = Arc::clone(&held);
        let make = move |step, stop: &AtomicBool| {
            let _held = &inner;
            uneven(step, stop)
        };
        let mut batches = Batches::start(0, 3, 1, make).unwrap();
        batches.next().unwrap().unwrap();
        assert!(Arc::strong_count(&held) > 1);
        drop(batches);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
