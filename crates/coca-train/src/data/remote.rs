//! Files behind addresses, kept in a folder of bounded size.
//!
//! A file is downloaded as a whole when it is first opened, and read from the folder from then on. Whatever was not used
//! for the longest time makes room for others. What lies behind an address is taken not to change.

mod download;
mod folder;
#[cfg(test)]
pub mod server;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Runtime;

use self::download::Stores;
use self::folder::Folder;

/// Downloads files and keeps them.
#[derive(Debug)]
pub struct Remote {
    runtime: Runtime,
    stores: Stores,
    folder: Folder,
    /// The files that are being downloaded.
    busy: Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>,
}

impl Remote {
    /// Keeps up to `limit` bytes of files in `folder`, which is made if it is missing. Files from earlier runs are
    /// found again.
    ///
    /// # Errors
    /// A folder that cannot be made or listed.
    pub fn new(folder: &Path, limit: u64) -> io::Result<Self> {
        // What `object_store` encrypts with. An error means that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("download")
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            stores: Stores::default(),
            folder: Folder::open(folder, limit)?,
            busy: Mutex::default(),
        })
    }

    /// Opens the file behind an address, after downloading it if it is not there.
    ///
    /// # Errors
    /// An address that is none, a file that is missing or larger than the folder may be, and whatever the server or the
    /// disk says after all retries.
    pub fn open(&self, address: &str) -> io::Result<File> {
        let path = self.folder.path_of(address)?;
        if let Some(file) = self.folder.take(&path)? {
            return Ok(file);
        }
        let busy = {
            let mut all = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(path.clone()).or_default())
        };
        // One thread downloads, the others wait for it.
        let guard = busy.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match self.folder.take(&path)? {
            Some(file) => Ok(file),
            None => self.download(address, &path),
        };
        drop(guard);
        let mut all = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&path);
        file
    }

    fn download(&self, address: &str, path: &Path) -> io::Result<File> {
        let mut temporary = self.folder.temporary()?;
        let mut room = None;
        let mut make_room = |bytes: u64| {
            room = Some(self.folder.make_room(bytes)?);
            Ok(())
        };
        let get = self
            .stores
            .download(address, temporary.as_file_mut(), &mut make_room);
        self.runtime.block_on(get)?;
        let mut file = self.folder.keep(temporary, path, room)?;
        file.rewind()?;
        Ok(file)
    }

    /// A small file that was put beside the one behind `address`, by [`Remote::put_beside`].
    pub fn beside(&self, address: &str, extension: &str) -> Option<Vec<u8>> {
        let path = self.folder.path_of(address).ok()?;
        std::fs::read(with_extension(&path, extension)).ok()
    }

    /// Puts a small file beside the one behind `address`. It stays when that one has to make room, and is not counted.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_beside(&self, address: &str, extension: &str, bytes: &[u8]) -> io::Result<()> {
        let path = with_extension(&self.folder.path_of(address)?, extension);
        let mut temporary = self.folder.temporary()?;
        io::Write::write_all(&mut temporary, bytes)?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        temporary.persist(path)?;
        Ok(())
    }
}

/// Extensions of what is put beside files start so, and are not counted.
const BESIDE: &str = ".coca-";

fn with_extension(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{BESIDE}{extension}"));
    name.into()
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, reason)
}

#[cfg(test)]
mod tests {
    use super::server::{Fault, Server};
    use super::*;
    use std::io::Read;
    use std::sync::atomic::Ordering;

    fn read(remote: &Remote, address: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        remote.open(address)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(count: usize, seed: usize) -> Vec<u8> {
        (0..count)
            .map(|at| (at * 31 + seed * 7 + at / 256) as u8)
            .collect()
    }

    #[test]
    fn files_are_downloaded_once_and_found_by_the_next_run() {
        let server = Server::start(vec![("/a/b.tar".into(), bytes(100_000, 1))], Fault::None);
        let folder = tempfile::tempdir().unwrap();
        let address = server.address("/a/b.tar");
        for _ in 0..2 {
            let remote = Remote::new(folder.path(), 1 << 20).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| assert_eq!(read(&remote, &address).unwrap(), bytes(100_000, 1)));
                }
            });
        }
        assert_eq!(server.sent(), 100_000);
    }

    #[test]
    fn dropped_connections_are_resumed_where_they_broke() {
        let content = bytes(3_000_000, 2);
        let server = Server::start(vec![("/x.tar".into(), content.clone())], Fault::Drop);
        let folder = tempfile::tempdir().unwrap();
        let remote = Remote::new(folder.path(), 1 << 30).unwrap();
        assert_eq!(read(&remote, &server.address("/x.tar")).unwrap(), content);
        assert!(server.requests.load(Ordering::Relaxed) >= 3);
        // Nothing that had arrived was asked for again.
        assert!(
            server.sent() < 3_000_000 + 3_000_000 / 2,
            "{}",
            server.sent()
        );
    }

    #[test]
    fn a_server_that_is_busy_once_or_knows_no_ranges_is_no_failure() {
        for fault in [Fault::Unavailable, Fault::NoRanges] {
            let content = bytes(400_000, 3);
            let server = Server::start(vec![("/x.tar".into(), content.clone())], fault);
            let folder = tempfile::tempdir().unwrap();
            let remote = Remote::new(folder.path(), 1 << 30).unwrap();
            assert_eq!(read(&remote, &server.address("/x.tar")).unwrap(), content);
            assert!(server.requests.load(Ordering::Relaxed) >= 2, "{fault:?}");
        }
    }

    #[test]
    fn missing_and_oversized_files_are_named() {
        let server = Server::start(vec![("/x.tar".into(), bytes(5000, 4))], Fault::None);
        let folder = tempfile::tempdir().unwrap();
        let remote = Remote::new(folder.path(), 4000).unwrap();
        let error = read(&remote, &server.address("/y.tar")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let error = read(&remote, &server.address("/x.tar")).unwrap_err();
        assert!(error.to_string().contains("cache_gb"), "{error}");
        for address in [
            "http://",
            "nonsense",
            "http://h/a/../../b",
            "http://h/a?b=c",
        ] {
            assert_eq!(
                read(&remote, address).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{address}"
            );
        }
        let left: Vec<_> = folder.path().read_dir().unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let names: Vec<String> = (0..6).map(|i| format!("/{i}.tar")).collect();
        let files = names.iter().enumerate();
        let files = files
            .map(|(i, name)| (name.clone(), bytes(1000, i)))
            .collect();
        let server = Server::start(files, Fault::None);
        let folder = tempfile::tempdir().unwrap();
        let remote = Remote::new(folder.path(), 3500).unwrap();
        let get = |i: usize| {
            let content = read(&remote, &server.address(&names[i])).unwrap();
            assert_eq!(content, bytes(1000, i));
            server.requests.load(Ordering::Relaxed)
        };
        for i in [0, 1, 2] {
            get(i);
        }
        let before = get(0);
        // Number 1 has to go, as 0 has just been used.
        assert!(get(3) > before);
        assert_eq!(get(0), get(2));
        let before = get(3);
        assert!(get(1) > before);
        assert!(remote.folder.used() <= 3500);
        // An open file can still be read when it has made room.
        let mut open = remote.open(&server.address(&names[1])).unwrap();
        for i in [2, 3, 4, 5] {
            get(i);
        }
        let mut content = Vec::new();
        open.read_to_end(&mut content).unwrap();
        assert_eq!(content, bytes(1000, 1));
        remote
            .put_beside(&server.address("/1.tar"), "index", b"i")
            .unwrap();
        assert_eq!(
            remote.beside(&server.address("/1.tar"), "index").unwrap(),
            b"i"
        );
    }
}
