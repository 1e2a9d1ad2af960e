//! Models from a server that behaves as the Hugging Face hub does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::fixture::{coca_train, model};

/// A repository `owner/tiny` whose small files come from the hub itself and whose weights from elsewhere.
struct Hub {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By their paths: on the hub, and on its storage.
    files: BTreeMap<String, Vec<u8>>,
    /// One for each request: path, and the value of its range.
    requests: Vec<(String, Option<String>)>,
    /// The connection drops after so many bytes of a body from the storage, once for each.
    drops: Vec<usize>,
    /// The storage hands out other bytes than the hub promised.
    damaged: bool,
    /// The token that was sent to the hub, and whether the storage ever saw one.
    token: Option<String>,
    leaked: bool,
}

impl Hub {
    fn start(folder: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            state
                .lock()
                .unwrap()
                .files
                .insert(format!("/owner/tiny/resolve/main/{name}"), bytes);
        }
        let shared = Arc::clone(&state);
        // `localhost` is another host than 127.0.0.1, as storage is another than the hub.
        let storage = address.replace("127.0.0.1", "localhost");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, storage) = (Arc::clone(&shared), storage.clone());
                std::thread::spawn(move || answer(stream, &shared, &storage));
            }
        });
        Self { address, state }
    }

    fn convert(&self, cache: &Path, source: &str, out: &Path) -> std::process::Output {
        coca_train(&["convert", source, out.to_str().unwrap(), "--overwrite"])
            .env("HF_ENDPOINT", &self.address)
            .env("HF_TOKEN", "hf_secret")
            .env("COCA_CACHE", cache)
            .output()
            .unwrap()
    }

    /// The requests since the last call, for the weights only.
    fn weight_requests(&self) -> Vec<(String, Option<String>)> {
        let requests = std::mem::take(&mut self.state.lock().unwrap().requests);
        let of_weights =
            |(path, _): &(String, _)| path.contains(".safetensors") && !path.contains("index");
        requests.into_iter().filter(of_weights).collect()
    }
}

fn answer(stream: TcpStream, state: &Mutex<State>, storage: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    let mut state = state.lock().unwrap();
    state
        .requests
        .push((path.clone(), headers.get("range").cloned()));
    let on_storage = path.strip_prefix("/storage");
    match on_storage {
        Some(_) => state.leaked |= headers.contains_key("authorization"),
        None => state.token = headers.get("authorization").cloned(),
    }
    let Some(mut body) = state.files.get(on_storage.unwrap_or(&path)).cloned() else {
        return send(stream, "404 Not Found", &[], b"Entry not found", None);
    };
    let hash = format!("{:x}", Sha256::digest(&body));
    if path.contains(".safetensors") && !path.contains("index") && on_storage.is_none() {
        let size = body.len().to_string();
        let to = format!("{storage}/storage{path}");
        let linked = format!("\"{hash}\"");
        let headers = [
            ("location", to.as_str()),
            ("x-linked-etag", &linked),
            ("x-linked-size", &size),
        ];
        return send(stream, "302 Found", &headers, b"", None);
    }
    let drop = on_storage.and_then(|_| (!state.drops.is_empty()).then(|| state.drops.remove(0)));
    if state.damaged && on_storage.is_some() {
        body.iter_mut().rev().take(4).for_each(|byte| *byte ^= 0x55);
    }
    // The storage has tags of its own.
    let etag = format!("\"storage-{}\"", &hash[..8]);
    let start = headers.get("range").and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    let current = headers.get("if-range").is_none_or(|tag| *tag == etag);
    match start.filter(|_| current) {
        Some(start) if start >= body.len() => {
            send(stream, "416 Range Not Satisfiable", &[], b"", None)
        }
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
            let headers = [("content-range", range.as_str()), ("etag", etag.as_str())];
            send(
                stream,
                "206 Partial Content",
                &headers,
                &body[start..],
                drop,
            );
        }
        None => send(stream, "200 OK", &[("etag", etag.as_str())], &body, drop),
    }
}

fn send(
    mut stream: TcpStream,
    status: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    drop: Option<usize>,
) {
    let mut head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let sent = drop.map_or(body.len(), |drop| drop.min(body.len()));
    // A client that has gone is its own business.
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    let _ = stream.write_all(&body[..sent]);
}

fn succeeded(output: &std::process::Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_repository_is_downloaded_once_and_its_token_stays_with_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let hub = Hub::start(&model());
    succeeded(&hub.convert(&cache, "hf:owner/tiny", &out));
    let weights = "open_clip_model.safetensors";
    assert_eq!(
        fs::read(out.join(weights)).unwrap(),
        fs::read(Path::new(&model()).join(weights)).unwrap()
    );
    {
        let state = hub.state.lock().unwrap();
        assert_eq!(state.token.as_deref(), Some("Bearer hf_secret"));
        assert!(!state.leaked, "the storage saw the token");
    }
    assert_eq!(
        hub.weight_requests().len(),
        2,
        "the hub, and where it sends us"
    );
    succeeded(&hub.convert(&cache, "hf:owner/tiny", &out));
    // Asked again, not transferred again: the body of an unchanged file is not read.
    let left: Vec<_> = walk(&cache)
        .into_iter()
        .filter(|name| name.ends_with(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // The address of the folder is as good as its name, and every command takes either.
    let address = format!("{}/owner/tiny/resolve/main/", hub.address);
    let info = coca_train(&["info", &address, "--json"])
        .env("COCA_CACHE", &cache)
        .output()
        .unwrap();
    succeeded(&info);
}

#[test]
fn a_dropped_connection_is_taken_up_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let hub = Hub::start(&model());
    hub.state.lock().unwrap().drops = vec![1000, 2000];
    succeeded(&hub.convert(&cache, "hf:owner/tiny@main", &out));
    let ranges: Vec<_> = hub
        .weight_requests()
        .into_iter()
        .filter(|(path, _)| path.starts_with("/storage"))
        .map(|(_, range)| range)
        .collect();
    let expected = [
        None,
        Some("bytes=1000-".to_owned()),
        Some("bytes=3000-".to_owned()),
    ];
    assert_eq!(ranges, expected);
}

#[test]
fn what_an_earlier_run_left_is_taken_up_unless_the_file_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let hub = Hub::start(&model());
    hub.state.lock().unwrap().drops = vec![5000, 0, 0, 0, 0, 0];
    let output = hub.convert(&cache, "hf:owner/tiny", &out);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && message.contains("open_clip_model.safetensors"),
        "{message}"
    );
    assert!(!out.exists());
    hub.weight_requests();
    hub.state.lock().unwrap().drops.clear();
    succeeded(&hub.convert(&cache, "hf:owner/tiny", &out));
    let last = hub.weight_requests().pop().unwrap();
    assert_eq!(last.1.as_deref(), Some("bytes=5000-"));
}

#[test]
fn damaged_downloads_are_refused_and_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let hub = Hub::start(&model());
    hub.state.lock().unwrap().damaged = true;
    let output = hub.convert(&cache, "hf:owner/tiny", &out);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && message.contains("SHA-256"),
        "{message}"
    );
    assert!(
        walk(&cache)
            .iter()
            .all(|name| name != "open_clip_model.safetensors")
    );
    hub.state.lock().unwrap().damaged = false;
    succeeded(&hub.convert(&cache, "hf:owner/tiny", &out));
}

#[test]
fn sources_that_are_not_there_are_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(&model());
    for (source, word, code) in [
        ("hf:owner/other", "open_clip_config.json", 1),
        ("hf:owner", "hf:owner/name", 2),
        ("http://127.0.0.1:9/model/", "reached", 1),
    ] {
        let output = hub.convert(
            &folder.path().join("cache"),
            source,
            &folder.path().join("out"),
        );
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{source}: {message}");
        assert!(message.contains(word), "{source}: {message}");
    }
}

/// The names of all files below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            names.extend(walk(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names
}
