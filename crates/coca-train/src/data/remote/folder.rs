//! The folder that downloaded files are kept in.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::{BESIDE, invalid};

/// The use of a file is noted on the disk, for later runs, at most this often.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Temporary files older than this were left behind by a run that was killed.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// Names of temporary files start so.
const TEMPORARY: &str = ".download-";

/// Files of up to so many bytes altogether.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<PathBuf, Entry>,
    /// The files by when they were last used.
    by_use: BTreeMap<u64, PathBuf>,
    /// Bytes of the files, and of those that are being downloaded.
    used: u64,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    last_use: u64,
    noted: SystemTime,
}

/// Bytes that are taken for a download, and given back with it if it fails.
#[derive(Debug)]
pub struct Room<'a> {
    folder: &'a Folder,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut state = self.folder.state();
        state.used = state.used.saturating_sub(self.bytes);
    }
}

impl Folder {
    /// Opens the folder, and finds the files in it.
    pub fn open(root: &Path, limit: u64) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let mut found = Vec::new();
        list(root, &mut found)?;
        found.sort();
        let mut state = State::default();
        for (modified, path, bytes) in found {
            state.insert(path, bytes, modified);
        }
        let folder = Self {
            root: root.into(),
            limit,
            state: Mutex::new(state),
        };
        folder.shrink(&mut folder.state(), 0)?;
        Ok(folder)
    }

    /// Where the file behind an address is kept: below folders for the scheme, the host and those of its own path.
    pub fn path_of(&self, address: &str) -> io::Result<PathBuf> {
        let fail = |reason: &str| Err(invalid(format!("`{address}` {reason}")));
        let Some((scheme, rest)) = address.split_once("://") else {
            return fail("is not an address");
        };
        if rest.contains(['?', '#']) {
            return fail("has a query, which is not supported; give the address without it");
        }
        let mut path = self.root.join(scheme);
        let parts: Vec<&str> = rest.split('/').collect();
        if parts.len() < 2 || parts.contains(&"") || parts.iter().any(|part| part.starts_with('.'))
        {
            return fail("does not name a file");
        }
        for part in parts {
            let mut name = String::with_capacity(part.len());
            for byte in part.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'=' | b'+' => {
                        name.push(byte.into());
                    }
                    _ => name += &format!("%{byte:02X}"),
                }
            }
            path.push(name);
        }
        Ok(path)
    }

    /// Opens a file that is there, and notes that it was used.
    pub fn take(&self, path: &Path) -> io::Result<Option<File>> {
        let mut state = self.state();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Another process may have made room.
                state.remove(path);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let now = SystemTime::now();
        match state.touch(path) {
            Some(entry) if now.duration_since(entry.noted).unwrap_or_default() < NOTE_EVERY => {}
            Some(entry) => {
                entry.noted = now;
                // For the order after a restart; nothing else depends on it.
                let _ = file.set_modified(now);
            }
            // Another process has downloaded it.
            None => state.insert(path.into(), file.metadata()?.len(), now),
        }
        Ok(Some(file))
    }

    /// An empty file that is not counted yet.
    pub fn temporary(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.root)
    }

    /// Makes room for a file of so many bytes.
    pub fn make_room(&self, bytes: u64) -> io::Result<Room<'_>> {
        if bytes > self.limit {
            return Err(io::Error::other(format!(
                "it has {bytes} bytes, more than the cache may hold ({}); raise loader.cache_gb",
                self.limit
            )));
        }
        let mut state = self.state();
        self.shrink(&mut state, bytes)?;
        state.used += bytes;
        Ok(Room {
            folder: self,
            bytes,
        })
    }

    /// Gives a downloaded file its name.
    pub fn keep(
        &self,
        temporary: NamedTempFile,
        path: &Path,
        room: Option<Room<'_>>,
    ) -> io::Result<File> {
        temporary.as_file().sync_all()?;
        let bytes = temporary.as_file().metadata()?.len();
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = temporary.persist(path)?;
        drop(room);
        self.state().insert(path.into(), bytes, SystemTime::now());
        Ok(file)
    }

    /// Removes what was not used for longest until `bytes` more would fit. Files that are being downloaded stay, so a
    /// cache that is too small for what is read at a time grows over its limit rather than stop.
    fn shrink(&self, state: &mut State, bytes: u64) -> io::Result<()> {
        while state.used.saturating_add(bytes) > self.limit
            && let Some(path) = state.by_use.values().next().cloned()
        {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => state.remove(&path),
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub fn used(&self) -> u64 {
        self.state().used
    }
}

impl State {
    fn insert(&mut self, path: PathBuf, bytes: u64, noted: SystemTime) {
        self.remove(&path);
        self.clock += 1;
        self.used += bytes;
        self.by_use.insert(self.clock, path.clone());
        let entry = Entry {
            bytes,
            last_use: self.clock,
            noted,
        };
        self.files.insert(path, entry);
    }

    fn remove(&mut self, path: &Path) {
        if let Some(entry) = self.files.remove(path) {
            self.by_use.remove(&entry.last_use);
            self.used = self.used.saturating_sub(entry.bytes);
        }
    }

    fn touch(&mut self, path: &Path) -> Option<&mut Entry> {
        let entry = self.files.get_mut(path)?;
        let path = self.by_use.remove(&entry.last_use)?;
        self.clock += 1;
        entry.last_use = self.clock;
        self.by_use.insert(self.clock, path);
        Some(entry)
    }
}

/// Finds the files below a folder, and removes what killed runs have left.
fn list(folder: &Path, found: &mut Vec<(SystemTime, PathBuf, u64)>) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let (path, data) = (entry.path(), entry.metadata()?);
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let modified = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if data.is_dir() {
            list(&path, found)?;
        } else if name.starts_with(TEMPORARY) {
            let age = SystemTime::now()
                .duration_since(modified)
                .unwrap_or_default();
            if age > STALE {
                std::fs::remove_file(&path)?;
            }
        } else if !name.contains(BESIDE) {
            found.push((modified, path, data.len()));
        }
    }
    Ok(())
}
