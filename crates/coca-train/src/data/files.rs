//! Opens the files of data sets.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::error::{Error, Result};
use super::location::Location;

/// Opens files wherever they lie. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Files;

impl Files {
    /// Opens a file for reading from its start.
    pub fn open(&self, location: &Location) -> Result<File> {
        match location {
            Location::Local(path) => File::open(path).map_err(io_error(location)),
            Location::Remote(address) => Err(Error::Config(format!(
                "{address}: this build reads local files only"
            ))),
        }
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
        match self.read(location, most) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}

/// Turns what the system says about a file into an error that names it.
pub fn io_error(location: &Location) -> impl Fn(std::io::Error) -> Error + use<> {
    let path = PathBuf::from(location.to_string());
    move |source| Error::Io {
        path: path.clone(),
        source,
    }
}
