//! Wrong use of a command that the argument parser cannot see.

/// The command was called wrongly, as opposed to having failed; the program then exits with 2.
#[derive(Debug)]
pub struct UsageError(String);

#[allow(
    clippy::new_ret_no_self,
    reason = "only ever used as the error of a command"
)]
impl UsageError {
    /// As the error of a command; `message` says what is wrong and what to do.
    pub fn new(message: impl Into<String>) -> anyhow::Error {
        Self(message.into()).into()
    }

    /// A setting that the model crate refuses.
    pub fn from_setting(error: coca_model::Error) -> anyhow::Error {
        match error {
            coca_model::Error::Input(message) => Self::new(message),
            other => other.into(),
        }
    }
}

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}
