//! Work side by side.

use anyhow::{Context, Result, anyhow};

/// Runs `job` on every item, each on a thread of its own unless there is only one. Results keep their order.
///
/// # Errors
/// The first error of a job, or one of them panicked on its thread.
pub fn side_by_side<I: Send, O: Send>(
    items: Vec<I>,
    job: impl Fn(I) -> Result<O> + Sync,
) -> Result<Vec<O>> {
    if items.len() == 1 {
        return items.into_iter().map(job).collect();
    }
    let job = &job;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || job(item)))
            .collect();
        // All of them first: a thread that panicked and is not joined makes the scope panic too.
        let joined: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        let results = joined.into_iter();
        results
            .map(|result| result.map_err(|_| anyhow!("a thread panicked"))?)
            .collect()
    })
}

/// Threads that this machine runs at a time.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Makes the operations of the CPU device compute on one thread, for work that is on all threads already.
///
/// # Errors
/// Something has been computed before.
pub fn one_thread_within() -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .context("setting up threads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_panics_are_one_error() {
        let job = |number: i32| {
            assert!(number == 0, "on purpose");
            Ok(number)
        };
        assert!(side_by_side(vec![1, 0, 2], job).is_err());
        assert_eq!(side_by_side(vec![0, 0], job).unwrap(), [0, 0]);
    }
}
