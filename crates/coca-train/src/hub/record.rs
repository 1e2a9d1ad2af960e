//! What is known about a file in the cache, kept beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::disk::write_file;

/// The version of a file, as the server names it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The ETag of the file itself: the hub's own when there is one, which is the SHA-256 of large files.
    pub etag: Option<String>,
    /// The date of the last change, of servers that give no ETag.
    pub last_modified: Option<String>,
    /// Size in bytes.
    pub bytes: Option<u64>,
    /// The ETag that each host on the way gave, for `If-Range`.
    pub hosts: BTreeMap<String, String>,
}

impl Record {
    /// The record beside a file; the empty one if there is none that can be read.
    pub fn of(file: &Path) -> Self {
        let bytes = std::fs::read(Self::path(file)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    pub fn save(&self, file: &Path) -> Result<()> {
        write_file(&Self::path(file), &serde_json::to_vec_pretty(self)?)
    }

    /// Whether both are of one version. Without an ETag or a date there is no telling, so: no.
    pub fn same_version(&self, other: &Self) -> bool {
        let sizes = self.bytes.zip(other.bytes).is_none_or(|(a, b)| a == b);
        sizes
            && match (&self.etag, &other.etag) {
                (Some(a), Some(b)) => a == b,
                _ => self.last_modified.is_some() && self.last_modified == other.last_modified,
            }
    }

    /// The file's SHA-256, if that is what its ETag is.
    pub fn sha256(&self) -> Option<&str> {
        self.etag
            .as_deref()
            .filter(|etag| etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }

    /// Where the record of a file is.
    pub fn path(file: &Path) -> PathBuf {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        file.with_file_name(format!(".{name}.json"))
    }
}

/// An ETag without quotes and without the mark of a weak one.
pub fn plain_etag(header: &str) -> String {
    header.trim_start_matches("W/").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        let record = |etag: Option<&str>, date: Option<&str>, bytes| Record {
            etag: etag.map(plain_etag),
            last_modified: date.map(str::to_owned),
            bytes,
            ..Record::default()
        };
        let one = record(Some("\"a\""), Some("Mon"), Some(3));
        assert!(one.same_version(&record(Some("W/\"a\""), Some("Tue"), None)));
        assert!(!one.same_version(&record(Some("b"), Some("Mon"), Some(3))));
        assert!(!one.same_version(&record(Some("a"), None, Some(4))));
        assert!(one.same_version(&record(None, Some("Mon"), Some(3))));
        assert!(!record(None, None, Some(3)).same_version(&record(None, None, Some(3))));
        assert_eq!(
            record(Some(&"0f".repeat(32)), None, None)
                .sha256()
                .map(str::len),
            Some(64)
        );
        assert_eq!(one.sha256(), None);
    }

    #[test]
    fn a_record_is_kept_beside_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        assert_eq!(Record::of(&file), Record::default());
        let record = Record {
            bytes: Some(7),
            ..Record::default()
        };
        record.save(&file).unwrap();
        assert_eq!(Record::of(&file), record);
        std::fs::write(folder.path().join(".model.safetensors.json"), "{").unwrap();
        assert_eq!(Record::of(&file), Record::default());
    }
}
