//! What can go wrong with training and evaluation data.

use std::path::PathBuf;

/// The result of everything fallible in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any failure of the data readers. Only [`Error::Sample`] is survivable: the loader replaces such a sample.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of range or contradicts another one.
    #[error("data config: {0}")]
    Config(String),
    /// A shard specification cannot be expanded, or names no shard that exists.
    #[error("shards `{spec}`: {reason}")]
    Spec {
        /// The specification as it was written.
        spec: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A shard is not an intact tar file.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    Tar {
        /// The shard.
        path: PathBuf,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// What was found there.
        reason: String,
    },
    /// The table of class names beside a shard is not in a form that is understood.
    #[error("class names in {}: {reason}", path.display())]
    Classes {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One sample cannot be used: its image does not decode, or it has none of the texts asked for.
    #[error("sample {name}: {reason}")]
    Sample {
        /// `shard.tar:key`.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More samples of a data set are broken than the configuration allows.
    #[error(
        "{broken} of the {total} samples in `{data}` are broken, more than max_broken = {limit}; the last one: \
         {last}"
    )]
    TooManyBroken {
        /// The shard specification of the data set.
        data: String,
        /// Broken samples met so far.
        broken: usize,
        /// All samples of the data set.
        total: usize,
        /// The allowed share.
        limit: f64,
        /// The error of the sample that went over the limit.
        last: String,
    },
    /// A worker thread panicked.
    #[error("a data worker panicked at sample {sample}: {message}")]
    Worker {
        /// `shard.tar:key`.
        sample: String,
        /// The panic's message.
        message: String,
    },
    /// A worker thread cannot be started.
    #[error("cannot start a data worker: {0}")]
    Thread(#[source] std::io::Error),
    /// The workers are gone, because an earlier batch failed.
    #[error("the data workers have stopped after an earlier error")]
    Stopped,
}
