//! The pictures that a run has stored.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::disk::replace_file;
use crate::observe::Picture;

const FOLDER: &str = "pictures";
/// Larger files are none of ours.
const MAX_BYTES: u64 = 1 << 20;

/// The folder `pictures/` of a run.
#[derive(Debug)]
pub struct Pictures(PathBuf);

impl Pictures {
    /// Those of the run in `output`.
    pub fn in_run(output: &Path) -> Self {
        Self(output.join(FOLDER))
    }

    /// Stores a picture.
    pub fn add(&self, picture: &Picture) -> Result<()> {
        let path = self.0.join(&picture.name);
        if path.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.0)
            .with_context(|| format!("creating {}", self.0.display()))?;
        replace_file(&path, &picture.jpeg)
    }

    /// Removes all pictures.
    pub fn clear(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten() {
            let path = entry?.path();
            if path
                .file_name()
                .is_some_and(|name| Picture::is_name(&name.to_string_lossy()))
            {
                std::fs::remove_file(&path)
                    .with_context(|| format!("removing the earlier {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// A picture as an address that holds it; none if it is not there.
    pub fn address(&self, name: &str) -> Option<String> {
        if !Picture::is_name(name) {
            return None;
        }
        let path = self.0.join(name);
        let found = std::fs::metadata(&path).ok()?;
        if !found.is_file() || found.len() > MAX_BYTES {
            return None;
        }
        let jpeg = std::fs::read(&path).ok()?;
        Some(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)))
    }
}
