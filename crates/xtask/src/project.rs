//! Where things are in the project.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Version of every crate and of the npm package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The checkout that a command works on.
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// The project that the current folder lies in.
    pub fn find() -> Result<Self> {
        let here = env::current_dir().context("the current folder cannot be read")?;
        let root = here
            .ancestors()
            .find(|folder| folder.join("crates/xtask/Cargo.toml").is_file())
            .context("run `cargo xtask` inside a checkout of the project")?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path given relative to the root of the project.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Cargo's target folder, where all built things go.
    pub fn target(&self) -> PathBuf {
        match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => self.root.join(folder),
            None => self.root.join("target"),
        }
    }

    /// The small model that ships with the package.
    pub fn model(&self) -> PathBuf {
        self.path("models/coca-tiny")
    }

    /// The native command, once built.
    pub fn coca_train(&self) -> PathBuf {
        self.target()
            .join("release")
            .join(format!("coca-train{}", env::consts::EXE_SUFFIX))
    }
}
