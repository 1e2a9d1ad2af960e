//! Where a file of a data set lies.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file on this machine, or behind an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Location {
    /// A path.
    Local(PathBuf),
    /// `http://`, `https://`, `s3://` or `gs://`.
    Remote(String),
}

impl Location {
    /// The location of `name`, which is an address, an absolute path, or a path from `base` on.
    pub fn new(name: &str, base: &Path) -> Self {
        if is_address(name) {
            Self::Remote(name.into())
        } else {
            Self::Local(base.join(name))
        }
    }

    /// `name` seen from this folder.
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Local(folder) => Self::new(name, folder),
            Self::Remote(_) if is_address(name) => Self::Remote(name.into()),
            Self::Remote(folder) => Self::Remote(format!(
                "{}/{}",
                folder.trim_end_matches('/'),
                name.trim_start_matches('/')
            )),
        }
    }

    /// The folder that this file is in.
    pub fn folder(&self) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.parent().unwrap_or(path).into()),
            Self::Remote(address) => {
                let end = address.rfind('/').unwrap_or(address.len());
                Self::Remote(address.get(..end).unwrap_or(address).into())
            }
        }
    }

    /// The last part of the name, for messages.
    pub fn file_name(&self) -> String {
        match self {
            Self::Local(path) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                name.to_string_lossy().into_owned()
            }
            Self::Remote(address) => match address.trim_end_matches('/').rsplit('/').next() {
                Some(name) => name.into(),
                None => address.clone(),
            },
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Remote(address) => f.write_str(address),
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::Local(path)
    }
}

/// Whether a name has a scheme in front.
pub fn is_address(name: &str) -> bool {
    name.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_seen_from_their_folder() {
        let base = Path::new("data");
        let local = Location::new("a/b.tar", base);
        assert_eq!(local, Location::Local("data/a/b.tar".into()));
        assert_eq!(local.file_name(), "b.tar");
        assert_eq!(
            local.folder().join("x.jpg"),
            Location::Local("data/a/x.jpg".into())
        );
        assert_eq!(
            local.folder().join("/x.jpg"),
            Location::Local("/x.jpg".into())
        );
        let remote = Location::new("s3://bucket/a/b.tar", base);
        assert_eq!(remote.file_name(), "b.tar");
        assert_eq!(
            remote.folder().join("c/d.jpg").to_string(),
            "s3://bucket/a/c/d.jpg"
        );
        assert_eq!(
            remote.join("https://x.org/y").to_string(),
            "https://x.org/y"
        );
    }
}
