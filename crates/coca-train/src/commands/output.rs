//! Results on standard output.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Error, Result};
use serde::Serialize;

/// Prints a line for people.
pub fn line(text: impl Display) -> Result<()> {
    // Not `println!`, which panics when the reader has closed the pipe.
    writeln!(std::io::stdout().lock(), "{text}").context("writing to standard output")
}

/// Prints a JSON object on one line.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(value)?)
}

/// Writes a file under another name first, so that it is whole or not there.
pub fn file(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> Result<()> {
        let mut builder = tempfile::Builder::new();
        // Temporary files are private to their owner; what they become is not.
        #[cfg(unix)]
        let builder = {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o644))
        };
        let mut file = builder.prefix(".coca-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// An error with its causes, for people. A cause that the message before it ends with already is not repeated.
pub fn describe(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text += ": ";
            text += &cause;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        for text in ["longer", "short"] {
            file(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = file(&folder.path().join("b/c"), b"").unwrap_err();
        assert!(error.to_string().contains("b/c"), "{error}");
    }

    #[test]
    fn causes_are_told_once() {
        let cause = Error::msg("no such file")
            .context("reading x: no such file")
            .context("in the model folder");
        assert_eq!(
            describe(&cause),
            "in the model folder: reading x: no such file"
        );
    }
}
