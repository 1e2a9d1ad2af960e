//! Opens the files of data sets, on this machine and behind addresses.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Error, Result};
use super::location::Location;
#[cfg(feature = "remote")]
use super::remote::Remote;

/// Gigabytes of downloaded files that are kept if nothing else is said.
pub const CACHE_GB: f64 = 50.0;

/// Opens files wherever they lie. Clones share the folder of downloaded files.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "a build without it downloads nothing")
)]
pub struct Files(Arc<Shared>);

#[derive(Debug)]
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "a build without it downloads nothing")
)]
struct Shared {
    folder: Option<PathBuf>,
    limit: u64,
    /// Opened when the first address is.
    #[cfg(feature = "remote")]
    remote: std::sync::Mutex<Option<Arc<Remote>>>,
}

impl Default for Files {
    fn default() -> Self {
        Self::new(None, CACHE_GB)
    }
}

impl Files {
    /// Keeps up to `gigabytes` of downloaded files in `folder`; in the user's folder for caches without it.
    pub fn new(folder: Option<PathBuf>, gigabytes: f64) -> Self {
        Self(Arc::new(Shared {
            folder,
            limit: (gigabytes * 1e9) as u64,
            #[cfg(feature = "remote")]
            remote: std::sync::Mutex::default(),
        }))
    }

    /// Opens a file for reading from its start.
    pub fn open(&self, location: &Location) -> Result<File> {
        match location {
            Location::Local(path) => File::open(path).map_err(io_error(location)),
            Location::Remote(address) => self.open_remote(location, address),
        }
    }

    #[cfg(feature = "remote")]
    fn open_remote(&self, location: &Location, address: &str) -> Result<File> {
        self.remote()?.open(address).map_err(io_error(location))
    }

    #[cfg(not(feature = "remote"))]
    fn open_remote(&self, _: &Location, address: &str) -> Result<File> {
        Err(Error::Config(format!(
            "{address}: this build reads local files only; build coca-train with --features remote"
        )))
    }

    #[cfg(feature = "remote")]
    fn remote(&self) -> Result<Arc<Remote>> {
        let mut slot = self
            .0
            .remote
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(remote) = &*slot {
            return Ok(Arc::clone(remote));
        }
        let folder = match &self.0.folder {
            Some(folder) => folder.clone(),
            None => user_cache().ok_or_else(|| {
                Error::Config("there is no folder for caches; set loader.cache_dir".into())
            })?,
        };
        let remote = Remote::new(&folder, self.0.limit);
        let remote = Arc::new(remote.map_err(io_error(&folder.into()))?);
        *slot = Some(Arc::clone(&remote));
        Ok(remote)
    }

    /// What [`Files::keep_index`] kept for a file behind an address.
    #[cfg_attr(not(feature = "remote"), allow(unused_variables, reason = "as above"))]
    pub fn index(&self, location: &Location) -> Option<Vec<u8>> {
        #[cfg(feature = "remote")]
        if let Location::Remote(address) = location {
            return self.remote().ok()?.beside(address, "index");
        }
        None
    }

    /// Keeps a table of contents, so that the next run need not download a file to know what is in it. Does nothing
    /// for local files.
    #[cfg_attr(not(feature = "remote"), allow(unused_variables, reason = "as above"))]
    pub fn keep_index(&self, location: &Location, index: &[u8]) -> Result<()> {
        #[cfg(feature = "remote")]
        if let Location::Remote(address) = location {
            return self
                .remote()?
                .put_beside(address, "index", index)
                .map_err(io_error(location));
        }
        Ok(())
    }

    /// Reads a whole file of at most `most` bytes.
    pub fn read(&self, location: &Location, most: u64) -> Result<Vec<u8>> {
        let io = io_error(location);
        let file = self.open(location)?;
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(&io)?;
        if bytes.len() as u64 > most {
            return Err(io(std::io::Error::other(format!(
                "it has more than {most} bytes"
            ))));
        }
        Ok(bytes)
    }

    /// Reads a whole file that may be missing.
    pub fn read_if_there(&self, location: &Location, most: u64) -> Result<Option<Vec<u8>>> {
        let is_remote = matches!(location, Location::Remote(_));
        match self.read(location, most) {
            Err(Error::Io { source, .. })
                if source.kind() == ErrorKind::NotFound
                    // What S3 says of missing objects in a bucket that may not be listed.
                    || is_remote && source.kind() == ErrorKind::PermissionDenied =>
            {
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}

/// The folder for downloaded files.
#[cfg(feature = "remote")]
fn user_cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    Some(cache.join("coca-train"))
}

/// Turns what the system says about a file into an error that names it.
pub fn io_error(location: &Location) -> impl Fn(std::io::Error) -> Error + use<> {
    let path = PathBuf::from(location.to_string());
    move |source| Error::Io {
        path: path.clone(),
        source,
    }
}
