//! One file from a server into the cache.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::address::Address;
use super::record::{Record, plain_etag};

/// So often a download is taken up again without a single byte having come.
const ATTEMPTS: u32 = 5;
/// Before the first of those attempts; doubled with each.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// A chain of redirections longer than this leads nowhere.
const REDIRECTS: usize = 10;
/// Without a byte for so long, a connection is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The file is in the cache.
    Present,
    /// The server has no such file.
    Absent,
}

/// Requests to one server, and to where it sends them.
pub struct Client {
    agent: Agent,
    /// The token, and the host that may see it.
    token: Option<(String, String)>,
}

/// The last response of a chain of redirections, and what all of them said about the file.
struct Answer {
    response: Response<Body>,
    record: Record,
}

/// Why a transfer ended early.
enum Broken {
    /// It may be taken up again.
    Dropped(anyhow::Error),
    /// Trying again would give the same.
    Final(anyhow::Error),
}

impl Client {
    /// A client for the files of a folder. Only the folder's host gets the token.
    pub fn new(folder: &Address) -> Self {
        let token = std::env::var("HF_TOKEN")
            .ok()
            .filter(|token| !token.is_empty());
        let host = folder.host().to_owned();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Followed here: the hub says on the way what the file is, and its token is not for other hosts.
            .max_redirects(0)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .user_agent(concat!("coca-train/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            token: token.map(|token| (host, token)),
        }
    }

    /// Brings the file at `path` up to date with the one at `url`: downloads it to a temporary name, taking up what an
    /// earlier attempt left, compares its hash where the server gives one, and renames it. Without a network, the
    /// file that is there is as good as current.
    pub fn fetch(&self, url: &Address, path: &Path) -> Result<Fetched> {
        let partial = partial_path(path);
        let mut restarted = false;
        let mut attempt = 0;
        loop {
            let before = length(&partial);
            match self.attempt(url, path, &partial) {
                Ok(fetched) => return Ok(fetched),
                Err(Broken::Final(error)) if !restarted && before > 0 => {
                    // What an earlier run left may be what is wrong.
                    restarted = true;
                    let _ = std::fs::remove_file(&partial);
                    eprintln!("{error:#}; downloading {url} again");
                }
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Dropped(error)) => {
                    let progress = length(&partial) > before;
                    attempt = if progress { 1 } else { attempt + 1 };
                    if attempt >= ATTEMPTS {
                        if path.exists() {
                            eprintln!("warning: {error:#}; using the copy in {}", path.display());
                            return Ok(Fetched::Present);
                        }
                        return Err(error);
                    }
                    std::thread::sleep(FIRST_PAUSE * 2u32.pow(attempt - 1));
                }
            }
        }
    }

    fn attempt(&self, url: &Address, path: &Path, partial: &Path) -> Result<Fetched, Broken> {
        let begun = Record::of(partial);
        let have = length(partial);
        let Answer { response, record } =
            self.request(url, have, &begun).map_err(Broken::Dropped)?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND || status == StatusCode::GONE {
            return Ok(Fetched::Absent);
        }
        let kept = Record::of(path);
        if path.exists() && (status.is_success() || have > 0) && kept.same_version(&record) {
            return Ok(Fetched::Present);
        }
        let resumes = status == StatusCode::PARTIAL_CONTENT && begun.same_version(&record);
        if status == StatusCode::RANGE_NOT_SATISFIABLE && record.bytes == Some(have) && have > 0 {
            // All of it had come before.
        } else if resumes || status == StatusCode::OK {
            let from = if resumes { have } else { 0 };
            record.save(partial).map_err(Broken::Final)?;
            transfer(response.into_body(), partial, from, record.bytes)?;
        } else {
            let error = anyhow::anyhow!("the server answered {status}{}", hint(status));
            let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(if passing {
                Broken::Dropped(error)
            } else {
                Broken::Final(error)
            });
        }
        finish(partial, path, &record).map_err(Broken::Final)?;
        Ok(Fetched::Present)
    }

    /// Asks for the file from byte `from` on, and follows where that leads.
    fn request(&self, url: &Address, from: u64, begun: &Record) -> Result<Answer> {
        let mut record = Record::default();
        let mut url = url.clone();
        for _ in 0..REDIRECTS {
            let host = url.host().to_owned();
            let mut request = self
                .agent
                .get(url.to_string())
                .header("accept-encoding", "identity");
            if let Some((_, token)) = self.token.as_ref().filter(|(home, _)| *home == host) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
                if let Some(etag) = begun.hosts.get(&host) {
                    request = request.header("if-range", etag);
                }
            }
            let response = request.call().context("the server cannot be reached")?;
            let header = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
            };
            if let Some(etag) = header("x-linked-etag").or(header("etag")) {
                record.etag.get_or_insert_with(|| plain_etag(etag));
            }
            // Ranges need the strong tag of the very host that sends the bytes.
            if let Some(etag) = header("etag").filter(|etag| !etag.starts_with("W/")) {
                record.hosts.insert(host, etag.to_owned());
            }
            if let Some(size) = header("x-linked-size").and_then(|size| size.parse().ok()) {
                record.bytes.get_or_insert(size);
            }
            if response.status().is_redirection() {
                let to = header("location").context("the server redirects to nowhere")?;
                let next = url.follow(to)?;
                if url.scheme() == "https" && next.scheme() != "https" {
                    bail!("the server redirects from https to {next}");
                }
                url = next;
                continue;
            }
            record.last_modified = header("last-modified").map(str::to_owned);
            let total =
                header("content-range").and_then(|range| range.rsplit('/').next()?.parse().ok());
            let whole = header("content-length")
                .filter(|_| response.status() == StatusCode::OK)
                .and_then(|length| length.parse().ok());
            record.bytes = record.bytes.or(total).or(whole);
            return Ok(Answer { response, record });
        }
        bail!("the server redirects without end")
    }
}

/// Writes a body to the end of what is there.
fn transfer(body: Body, partial: &Path, from: u64, total: Option<u64>) -> Result<(), Broken> {
    let own = |error: std::io::Error| {
        Broken::Final(anyhow::Error::from(error).context(format!("writing {}", partial.display())))
    };
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(partial);
    let mut file = options.map_err(own)?;
    file.set_len(from).map_err(own)?;
    file.seek(SeekFrom::Start(from)).map_err(own)?;
    let bar = progress(partial, from, total);
    let mut reader = body.into_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut at = from;
    loop {
        let read = reader.read(&mut buffer);
        let read = read.map_err(|error| {
            let error = anyhow::Error::from(error);
            Broken::Dropped(error.context(format!("the connection broke off after {at} bytes")))
        })?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        file.write_all(bytes).map_err(own)?;
        at += read as u64;
        bar.set_position(at);
    }
    bar.finish_and_clear();
    file.sync_all().map_err(own)?;
    match total {
        Some(total) if at < total => Err(Broken::Dropped(anyhow::anyhow!(
            "the connection ended after {at} of {total} bytes"
        ))),
        Some(total) if at > total => Err(Broken::Final(anyhow::anyhow!(
            "the server sent {at} bytes instead of {total}"
        ))),
        _ => Ok(()),
    }
}

/// Compares the hash, where it is known, and gives the file its name.
fn finish(partial: &Path, path: &Path, record: &Record) -> Result<()> {
    if let Some(expected) = record.sha256() {
        let mut hash = Sha256::new();
        std::io::copy(&mut File::open(partial)?, &mut hash)?;
        let found = format!("{:x}", hash.finalize());
        if !found.eq_ignore_ascii_case(expected) {
            std::fs::remove_file(partial)?;
            bail!("what was downloaded is damaged: its SHA-256 is {found} instead of {expected}");
        }
    }
    // Without its record the file is only taken for an old version; with a record of the new one, the old file would
    // be taken for that.
    let _ = std::fs::remove_file(Record::path(path));
    std::fs::rename(partial, path).with_context(|| format!("creating {}", path.display()))?;
    let _ = std::fs::remove_file(Record::path(partial));
    record.save(path)
}

fn partial_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.part"))
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; the repository is private or does not exist: set HF_TOKEN to a token that may read it"
        }
        _ => "",
    }
}

/// On a terminal only.
fn progress(partial: &Path, from: u64, total: Option<u64>) -> ProgressBar {
    // Nobody wants to see these come and go.
    const SMALL: u64 = 1 << 20;
    if total.is_some_and(|total| total < SMALL) {
        return ProgressBar::hidden();
    }
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar.set_position(from);
    bar.set_message(
        partial
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    );
    bar
}
