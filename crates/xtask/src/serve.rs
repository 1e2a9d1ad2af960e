//! A static web server for this machine only.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

/// Serves a folder on 127.0.0.1 until the process ends. Port 0 takes any free one; `ready` is told the address.
pub fn serve(folder: &Path, port: u16, ready: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .with_context(|| format!("port {port} is not free: choose another with --port"))?;
        ready(&format!("http://{}/", listener.local_addr()?))?;
        loop {
            let (stream, _) = listener.accept().await?;
            let files = TowerToHyperService::new(ServeDir::new(folder));
            tokio::spawn(async move {
                // A browser that goes away in the middle of a file is no event for anyone.
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), files).await;
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::mpsc;
    use std::{fs, thread};

    use super::*;

    fn get(address: &str, path: &str) -> String {
        let host = address.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.to_lowercase()
    }

    #[test]
    fn files_have_their_types_and_nothing_outside_is_served() {
        let outer = std::env::temp_dir().join(format!("xtask-serve-{}", std::process::id()));
        let inner = outer.join("page");
        fs::create_dir_all(&inner).unwrap();
        fs::write(outer.join("secret.txt"), "secret").unwrap();
        for name in ["index.html", "a.wasm", "a.js", "a.svg", "a.webmanifest"] {
            fs::write(inner.join(name), "text").unwrap();
        }
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || serve(&inner, 0, |address| Ok(sender.send(address.to_owned())?)));
        let address = receiver.recv().unwrap();
        assert!(address.starts_with("http://127.0.0.1:"));

        for (path, kind) in [
            ("/", "text/html"),
            ("/a.wasm", "application/wasm"),
            ("/a.js", "text/javascript"),
            ("/a.svg", "image/svg+xml"),
            ("/a.webmanifest", "application/manifest+json"),
        ] {
            let answer = get(&address, path);
            assert!(answer.starts_with("http/1.1 200"), "{path}: {answer}");
            assert!(
                answer.contains(&format!("content-type: {kind}")),
                "{path}: {answer}"
            );
        }
        for path in [
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/..%5csecret.txt",
            "/none",
        ] {
            let answer = get(&address, path);
            assert!(
                answer.starts_with("http/1.1 404") && !answer.contains("secret"),
                "{path}: {answer}"
            );
        }
        fs::remove_dir_all(&outer).unwrap();
    }
}
