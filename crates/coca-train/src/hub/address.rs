//! Addresses of folders and files.

use anyhow::{Context, Result, bail};
use ureq::http::Uri;

/// An `http` or `https` address.
#[derive(Clone, Debug, PartialEq)]
pub struct Address(Uri);

impl Address {
    /// Reads an absolute address. A fragment is left out, as it never reaches a server.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.split('#').next().unwrap_or_default();
        let uri: Uri = text
            .parse()
            .with_context(|| format!("{text} is not an address"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            bail!("{text} is not an address that begins with https:// or http://");
        }
        Ok(Self(uri))
    }

    /// The same with a path that ends in a slash.
    pub fn folder(text: &str) -> Result<Self> {
        let address = Self::parse(text)?;
        if address.0.path().ends_with('/') {
            return Ok(address);
        }
        address.with_path(&format!("{}/", address.0.path()), address.0.query())
    }

    /// A file of this folder; queries (signatures, say) hold for all of them.
    pub fn file(&self, name: &str) -> Result<Self> {
        self.with_path(&format!("{}{name}", self.0.path()), self.0.query())
    }

    /// Where a `Location` header leads.
    pub fn follow(&self, location: &str) -> Result<Self> {
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        if location.starts_with('/') {
            let (path, query) = location.split_once('?').unzip();
            return self.with_path(path.unwrap_or(location), query);
        }
        Self::parse(location).with_context(|| format!("the server redirects to {location}"))
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        self.0.scheme_str().unwrap_or_default()
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// The path, beginning with a slash.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    fn with_path(&self, path: &str, query: Option<&str>) -> Result<Self> {
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        Self::parse(&format!("{}://{authority}{path}{query}", self.scheme()))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_folders_and_redirections_have_addresses() {
        let folder = Address::folder("https://host.test:8080/a/model?key=1#part").unwrap();
        assert_eq!(folder.to_string(), "https://host.test:8080/a/model/?key=1");
        assert_eq!(
            (folder.scheme(), folder.host(), folder.path()),
            ("https", "host.test", "/a/model/")
        );
        let file = folder.file("x.json").unwrap();
        assert_eq!(
            file.to_string(),
            "https://host.test:8080/a/model/x.json?key=1"
        );
        for (location, target) in [
            ("/b/c?d=e", "https://host.test:8080/b/c?d=e"),
            ("//cdn.test/f", "https://cdn.test/f"),
            ("http://cdn.test/f?g#h", "http://cdn.test/f?g"),
        ] {
            assert_eq!(file.follow(location).unwrap().to_string(), target);
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for bad in [
            "",
            "host.test/x",
            "file:///etc/passwd",
            "ftp://host.test/",
            "https://",
            "https://a b/",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        let here = Address::parse("https://host.test/").unwrap();
        for bad in ["x.json", "file:///etc/passwd", ""] {
            assert!(here.follow(bad).is_err(), "{bad}");
        }
    }
}
