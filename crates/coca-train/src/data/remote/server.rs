//! A web server for the tests, with faults.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The first two answers break off after a third.
    Drop,
    /// The first request is answered with 503.
    Unavailable,
    /// The first answer breaks off, and ranges are answered with the whole file.
    NoRanges,
}

/// Serves files until it is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// Requests so far.
    pub requests: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Server {
    /// Serves these files by path.
    pub fn start(files: Vec<(String, Vec<u8>)>, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            stop: Arc::default(),
            requests: Arc::default(),
            sent: Arc::default(),
        };
        let (stop, requests) = (Arc::clone(&server.stop), Arc::clone(&server.requests));
        let (sent, files) = (Arc::clone(&server.sent), Arc::new(files));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (requests, sent) = (Arc::clone(&requests), Arc::clone(&sent));
                let files = Arc::clone(&files);
                // A client that goes away is no failure of the server.
                std::thread::spawn(move || answer(stream?, &files, fault, &requests, &sent));
            }
        });
        server
    }

    /// The address of a path.
    pub fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Bytes of files that were sent.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(
    mut stream: TcpStream,
    files: &[(String, Vec<u8>)],
    fault: Fault,
    requests: &AtomicUsize,
    sent: &AtomicUsize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut path, mut start, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.trim().to_ascii_lowercase();
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().into();
        } else if let Some(range) = lower.strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().unwrap();
        } else if lower.is_empty() {
            break;
        }
    }
    let number = requests.fetch_add(1, Ordering::Relaxed);
    if fault == Fault::Unavailable && number == 0 {
        return stream.write_all(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
    let Some((_, content)) = files.iter().find(|(name, _)| *name == path) else {
        return stream.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    };
    if fault == Fault::NoRanges {
        start = 0;
    }
    let body = &content[start..];
    let status = match start {
        0 => "200 OK".to_owned(),
        _ => format!(
            "206 Partial Content\r\nContent-Range: bytes {start}-{}/{}",
            content.len() - 1,
            content.len()
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let breaks = match fault {
        Fault::Drop => number < 2,
        Fault::NoRanges => number == 0,
        _ => false,
    };
    let body = if breaks {
        &body[..body.len() / 3]
    } else {
        body
    };
    sent.fetch_add(body.len(), Ordering::Relaxed);
    stream.write_all(body)?;
    stream.flush()
}
