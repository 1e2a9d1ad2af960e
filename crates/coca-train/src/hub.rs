//! Models from the Hugging Face hub, and from any other server that has a model folder.
//!
//! A folder is mirrored into the user's cache and used from there. `HF_ENDPOINT` and `HF_TOKEN` mean what they mean to
//! the hub's own client; `COCA_CACHE` is another place for the cache. Without a network, what is there is used.

mod address;
mod download;
mod record;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use coca_model::weights::{CocaJson, ModelFolder, ShardIndex};
use sha2::{Digest, Sha256};

use crate::commands::UsageError;
use address::Address;
use download::{Client, Fetched};

/// Where the hub is if `HF_ENDPOINT` does not say otherwise.
const HUB: &str = "https://huggingface.co";

/// The folder or file that `source` names: itself if it is a path, else the folder in the cache that an address or
/// a repository of the hub was downloaded to.
pub fn local(source: &Path) -> Result<PathBuf> {
    match source.to_str().map(address).transpose()?.flatten() {
        Some(folder) => mirror(&folder),
        None => Ok(source.to_path_buf()),
    }
}

/// The address of the folder that `source` names, ending in a slash; none if it is a path.
fn address(source: &str) -> Result<Option<Address>> {
    if let Some(repository) = source.strip_prefix("hf:") {
        let endpoint = std::env::var("HF_ENDPOINT")
            .ok()
            .filter(|endpoint| !endpoint.is_empty());
        return repository_address(endpoint.as_deref().unwrap_or(HUB), repository).map(Some);
    }
    if !source.starts_with("https://") && !source.starts_with("http://") {
        return Ok(None);
    }
    Address::folder(source).map(Some)
}

/// The address of a repository's files: `owner/name` or `owner/name@revision`.
fn repository_address(endpoint: &str, repository: &str) -> Result<Address> {
    let (name, revision) = repository.split_once('@').unwrap_or((repository, "main"));
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let named = name
        .split_once('/')
        .is_some_and(|(owner, name)| plain(owner) && plain(name));
    if !named || revision.is_empty() {
        return Err(UsageError::new(format!(
            "hf:{repository} is not a repository of the hub; write hf:owner/name or hf:owner/name@revision"
        )));
    }
    // A revision may be `refs/pr/1`, which the hub wants as one part.
    let revision = revision.replace('/', "%2F");
    Address::parse(&format!(
        "{}/{name}/resolve/{revision}/",
        endpoint.trim_end_matches('/')
    ))
    .with_context(|| format!("HF_ENDPOINT={endpoint} is not an address"))
}

/// Downloads what a model consists of, unless it is there and current; gives the folder.
fn mirror(folder: &Address) -> Result<PathBuf> {
    let place = cache()?.join(slug(folder));
    std::fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
    let mut files = Files {
        client: Client::new(folder),
        folder,
        place: &place,
    };
    let described = files.get(CocaJson::FILE)?;
    ensure!(
        files.get(ModelFolder::CONFIG)?,
        "there is no {} at {folder}; is it the address of a model folder?",
        ModelFolder::CONFIG
    );
    files.get(ModelFolder::TOKENIZER)?;
    files.weights(described)?;
    Ok(place)
}

struct Files<'a> {
    client: Client,
    folder: &'a Address,
    place: &'a Path,
}

impl Files<'_> {
    /// Brings a file up to date; false if the folder has none of this name.
    fn get(&mut self, name: &str) -> Result<bool> {
        let url = self.folder.file(name)?;
        let path = self.place.join(name);
        match self
            .client
            .fetch(&url, &path)
            .with_context(|| format!("downloading {url}"))?
        {
            Fetched::Present => Ok(true),
            Fetched::Absent => Ok(false),
        }
    }

    /// The weights as the reader of folders prefers them.
    fn weights(&mut self, described: bool) -> Result<()> {
        let listed = if described {
            self.listed()?
        } else {
            Vec::new()
        };
        for name in ModelFolder::WEIGHTS {
            // A list with weights in it spares questions about the names that are not in it.
            let unlisted = !listed.is_empty() && !listed.iter().any(|file| file == name);
            if unlisted || !self.get(name)? {
                continue;
            }
            if name == ShardIndex::FILE {
                let bytes = std::fs::read(self.place.join(name))?;
                for shard in ShardIndex::from_json(&bytes)?.files() {
                    ensure!(
                        self.get(shard)?,
                        "there is no {shard} at {}, which {name} names",
                        self.folder
                    );
                }
            }
            return Ok(());
        }
        bail!(
            "there are no weights at {}; a model folder has one of {}",
            self.folder,
            ModelFolder::WEIGHTS.join(", ")
        )
    }

    /// The files with weights that `coca.json` lists.
    fn listed(&self) -> Result<Vec<String>> {
        let bytes = std::fs::read(self.place.join(CocaJson::FILE))?;
        let files = CocaJson::from_json(&bytes)?.files.into_keys();
        Ok(files
            .filter(|name| ModelFolder::WEIGHTS.contains(&name.as_str()))
            .collect())
    }
}

/// Where models are kept.
fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("COCA_CACHE").filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let cache =
        dirs::cache_dir().context("this user has no cache folder; set COCA_CACHE to one")?;
    Ok(cache.join("coca").join("models"))
}

/// A file name for an address: readable, and different for every address.
fn slug(folder: &Address) -> String {
    let place = format!("{}{}", folder.host(), folder.path());
    let readable: String = place
        .trim_matches('/')
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .take(100)
        .collect();
    let hash = format!("{:x}", Sha256::digest(folder.to_string()));
    format!("{readable}-{}", &hash[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_addresses() {
        for (repository, address) in [
            (
                "laion/CoCa-ViT-B-32",
                "https://hub.test/laion/CoCa-ViT-B-32/resolve/main/",
            ),
            ("a/b@v1.0", "https://hub.test/a/b/resolve/v1.0/"),
            (
                "a/b@refs/pr/1",
                "https://hub.test/a/b/resolve/refs%2Fpr%2F1/",
            ),
        ] {
            let found = repository_address("https://hub.test/", repository).unwrap();
            assert_eq!(found.to_string(), address);
        }
        for bad in ["", "name", "a/b/c", "../x", "a/..", "a/b@", "a b/c", "/b"] {
            assert!(repository_address(HUB, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_left_alone_and_addresses_end_in_a_slash() {
        assert_eq!(local(Path::new("models/x")).unwrap(), Path::new("models/x"));
        let found = address("https://host.test/a/model?key=1").unwrap().unwrap();
        assert_eq!(found.to_string(), "https://host.test/a/model/?key=1");
        assert_ne!(
            slug(&found),
            slug(&address("https://host.test/a/model?key=2").unwrap().unwrap())
        );
        assert!(
            slug(&found).starts_with("host.test-a-model-"),
            "{}",
            slug(&found)
        );
    }
}
