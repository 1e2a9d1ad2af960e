//! Downloads with `object_store`, resumed where they broke off.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, parse_url_opts};
use url::{Position, Url};

use super::invalid;

/// Attempts without a single new byte before a download is given up. Each request is also retried by the store itself.
const ATTEMPTS: u32 = 6;

/// The first pause; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(200);

/// One request may take so long; what it brought is kept, and the next one goes on from there.
const TIMEOUT: &str = "600s";

/// The servers and buckets that were met.
#[derive(Debug, Default)]
pub struct Stores(Mutex<HashMap<String, Arc<dyn ObjectStore>>>);

impl Stores {
    /// Writes what lies behind an address into `file`. `make_room` is told its size before the first byte.
    pub async fn download(
        &self,
        address: &str,
        file: &mut File,
        make_room: &mut impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let (store, path) = self.find(address)?;
        let mut known: Option<Known> = None;
        let mut failures = 0;
        loop {
            let before = file.stream_position()?;
            let error = match fetch(&*store, &path, file, &mut known, make_room).await {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => error,
            };
            failures = match file.stream_position()? > before {
                true => 1,
                false => failures + 1,
            };
            if failures >= ATTEMPTS {
                return Err(io::Error::other(format!(
                    "giving up after {ATTEMPTS} attempts: {error}"
                )));
            }
            tokio::time::sleep(PAUSE * 2u32.pow(failures - 1)).await;
        }
    }

    fn find(&self, address: &str) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
        let fail = |error: &dyn std::fmt::Display| invalid(format!("`{address}`: {error}"));
        let url = Url::parse(address).map_err(|error| fail(&error))?;
        let host = url[..Position::BeforePath].to_owned();
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (made, path) = {
            // Credentials, regions and endpoints come from where the clouds' own tools take them.
            let from_environment = std::env::vars()
                .filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("GOOGLE_"))
                .map(|(name, value)| (name.to_ascii_lowercase(), value));
            let options = [("timeout", TIMEOUT), ("allow_http", "true")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            parse_url_opts(&url, from_environment.chain(options)).map_err(|error| fail(&error))?
        };
        // Connections are kept with the store that opened them.
        let store = stores.entry(host).or_insert_with(|| Arc::from(made));
        Ok((Arc::clone(store), path))
    }
}

/// What the first answer said of a file.
struct Known {
    size: u64,
    tag: Option<String>,
}

enum Failure {
    /// Trying again would not help.
    Final(io::Error),
    /// It may.
    Passing(object_store::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Final(error)
    }
}

/// One request for what is still missing.
async fn fetch(
    store: &dyn ObjectStore,
    path: &Path,
    file: &mut File,
    known: &mut Option<Known>,
    make_room: &mut impl FnMut(u64) -> io::Result<()>,
) -> Result<(), Failure> {
    let have = file.stream_position()?;
    let options = GetOptions {
        range: (have > 0).then_some(GetRange::Offset(have)),
        if_match: known.as_ref().and_then(|known| known.tag.clone()),
        ..GetOptions::default()
    };
    let answer = match store.get_opts(path, options).await {
        Ok(answer) => answer,
        Err(error @ object_store::Error::NotFound { .. }) => {
            return Err(io::Error::new(ErrorKind::NotFound, error).into());
        }
        Err(
            error @ (object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }),
        ) => return Err(io::Error::new(ErrorKind::PermissionDenied, error).into()),
        Err(error) => {
            // A server that has no ranges, or another version of the file by now: from the start again.
            if have > 0 {
                restart(file)?;
                *known = None;
            }
            return Err(Failure::Passing(error));
        }
    };
    let size = answer.meta.size;
    match known {
        Some(known) if known.size == size => {}
        _ => {
            make_room(size)?;
            *known = Some(Known {
                size,
                tag: answer.meta.e_tag.clone(),
            });
        }
    }
    if answer.range.start != have {
        restart(file)?;
        if answer.range.start != 0 {
            return Err(io::Error::other("the server sent another part than asked for").into());
        }
    }
    let mut stream = answer.into_stream();
    while let Some(chunk) = stream.next().await {
        file.write_all(&chunk.map_err(Failure::Passing)?)?;
    }
    match file.stream_position()? {
        have if have == size => Ok(()),
        have => Err(Failure::Passing(object_store::Error::Generic {
            store: "download",
            source: format!("the connection ended after {have} of {size} bytes").into(),
        })),
    }
}

fn restart(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0)).map(drop)
}
