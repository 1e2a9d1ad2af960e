//! Work side by side.

use anyhow::{Result, anyhow};

/// Runs `job` on every item, each on a thread of its own unless there is only one. Results keep their order.
pub fn side_by_side<I: Send, O: Send>(items: Vec<I>, job: impl Fn(I) -> Result<O> + Sync) -> Result<Vec<O>> {
    if items.len() == 1 {
        return items.into_iter().map(job).collect();
    }
    let job = &job;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || job(item))).collect();
        let joined = threads.into_iter().map(|thread| {
            thread.join().map_err(|_| anyhow!("a thread of the training step panicked"))?
        });
        joined.collect()
    })
}
