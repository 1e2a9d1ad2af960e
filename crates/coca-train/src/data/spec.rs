//! Which shards a data set consists of: brace patterns, folders, lists.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::location::{Location, is_address};
use super::reader::extension;

/// More shards than any data set has; a pattern beyond it is a typing error.
const MAX_SHARDS: usize = 1_000_000;

/// One or several shard patterns, as written in a configuration or on the command line.
///
/// Each pattern is a tar file, a folder (all its `.tar` files, sorted by name), or a brace pattern such as
/// `train-{00000..00031}.tar` or `{cc3m,cc12m}/train-{0..9}.tar`. As in open_clip, `::` joins patterns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ShardSpec {
    /// One pattern.
    One(String),
    /// Several patterns, read in this order.
    Many(Vec<String>),
}

impl From<&str> for ShardSpec {
    fn from(pattern: &str) -> Self {
        Self::One(pattern.into())
    }
}

impl std::fmt::Display for ShardSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(pattern) => f.write_str(pattern),
            Self::Many(patterns) => f.write_str(&patterns.join("::")),
        }
    }
}

/// The addresses that can be read.
const SCHEMES: [&str; 4] = ["http", "https", "s3", "gs"];

impl ShardSpec {
    /// The first pattern as it was written.
    pub fn first_pattern(&self) -> &str {
        let first = match self {
            Self::One(pattern) => pattern.as_str(),
            Self::Many(patterns) => patterns.first().map_or("", String::as_str),
        };
        first.split("::").next().unwrap_or(first)
    }

    /// The files, in order. Relative patterns start at `base`, usually the configuration's folder.
    ///
    /// Every local file must exist: an epoch over part of a data set looks like a whole one in the numbers.
    pub fn resolve(&self, base: &Path) -> Result<Vec<Location>> {
        let fail = |reason: String| Error::Spec {
            spec: self.to_string(),
            reason,
        };
        let patterns = match self {
            Self::One(pattern) => std::slice::from_ref(pattern),
            Self::Many(patterns) => patterns.as_slice(),
        };
        let mut shards = Vec::new();
        for pattern in patterns.iter().flat_map(|p| p.split("::")) {
            if pattern.starts_with("pipe:") {
                return Err(fail(
                    "commands are not run; write the address itself (https://, s3:// or gs://)"
                        .into(),
                ));
            }
            for name in expand_braces(pattern).map_err(&fail)? {
                if is_address(&name) {
                    shards.push(remote(name).map_err(&fail)?);
                    continue;
                }
                let path = base.join(&name);
                if path.is_dir() {
                    let found = tars_in(&path)?;
                    if found.is_empty() {
                        return Err(fail(format!("the folder `{name}` holds no .tar file")));
                    }
                    shards.extend(found);
                } else if path.is_file() {
                    shards.push(path.into());
                } else {
                    return Err(fail(format!(
                        "there is no file or folder `{name}`; relative names start at {}",
                        base.display()
                    )));
                }
            }
        }
        if shards.is_empty() {
            return Err(fail("no shard is named".into()));
        }
        Ok(shards)
    }
}

/// Checks an address of which nothing can be listed.
fn remote(address: String) -> Result<Location, String> {
    let scheme = address.split("://").next().unwrap_or_default();
    if !SCHEMES.contains(&scheme) {
        return Err(format!(
            "`{scheme}://` is not supported; {} are",
            SCHEMES.map(|scheme| format!("{scheme}://")).join(", ")
        ));
    }
    if extension(&address).is_empty() {
        return Err(format!(
            "`{address}` does not name a file; remote folders are not listed, write their files as \
             name-{{00000..00031}}.tar"
        ));
    }
    Ok(Location::Remote(address))
}

/// The `.tar` files of a folder, sorted by name.
fn tars_in(folder: &Path) -> Result<Vec<Location>> {
    let io = |source| Error::Io {
        path: folder.into(),
        source,
    };
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(io)? {
        let path = entry.map_err(io)?.path();
        let is_tar = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("tar"));
        if is_tar && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found.into_iter().map(Location::Local).collect())
}

/// Expands braces as the shell does: `{a,b}`, `{0..9}`, `{00..31}` (keeping leading zeros), nested and repeated.
///
/// Errors are sentences for the user: an unclosed brace, a range that is none, or too many names.
pub fn expand_braces(pattern: &str) -> Result<Vec<String>, String> {
    let Some(open) = pattern.find('{') else {
        if pattern.contains('}') {
            return Err(format!(
                "`{pattern}` has a closing brace without an opening one"
            ));
        }
        return Ok(vec![pattern.into()]);
    };
    let (head, rest) = pattern.split_at(open);
    let body = &rest[1..];
    let close = closing_brace(body).ok_or(format!("`{pattern}` has an unclosed brace"))?;
    let (body, tail) = (&body[..close], &body[close + 1..]);
    let choices = match range(body)? {
        Some(range) => range,
        None => {
            let parts = split_top(body);
            if parts.len() < 2 {
                return Err(format!(
                    "`{{{body}}}` is neither a range such as {{00..31}} nor a list such as {{a,b}}"
                ));
            }
            let mut choices = Vec::new();
            for part in parts {
                choices.extend(expand_braces(part)?);
            }
            choices
        }
    };
    let tails = expand_braces(tail)?;
    if choices.len().saturating_mul(tails.len()) > MAX_SHARDS {
        return Err(format!(
            "`{pattern}` expands to more than {MAX_SHARDS} names"
        ));
    }
    let mut names = Vec::with_capacity(choices.len() * tails.len());
    for choice in &choices {
        names.extend(tails.iter().map(|tail| format!("{head}{choice}{tail}")));
    }
    Ok(names)
}

/// The position in `body` of the brace that closes the one just before it.
fn closing_brace(body: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Splits at the commas that are in no inner brace.
fn split_top(body: &str) -> Vec<&str> {
    let mut depth = 0usize;
    body.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

/// The numbers of `first..last`, padded to the wider bound when a bound has leading zeros.
fn range(body: &str) -> Result<Option<Vec<String>>, String> {
    let Some((first, last)) = body.split_once("..") else {
        return Ok(None);
    };
    if body.contains(['{', ',']) {
        return Ok(None);
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (Some(from), Some(to)) = (number(first), number(last)) else {
        return Err(format!("`{{{body}}}` is not a range of whole numbers"));
    };
    if to < from {
        return Err(format!("the range `{{{body}}}` runs backwards"));
    }
    if to - from >= MAX_SHARDS as u64 {
        return Err(format!(
            "`{{{body}}}` expands to more than {MAX_SHARDS} names"
        ));
    }
    let padded = [first, last]
        .iter()
        .any(|t| t.len() > 1 && t.starts_with('0'));
    let width = if padded {
        first.len().max(last.len())
    } else {
        0
    };
    Ok(Some((from..=to).map(|n| format!("{n:0width$}")).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_expand_as_in_a_shell() {
        let cases: [(&str, &[&str]); 7] = [
            ("a.tar", &["a.tar"]),
            (
                "t-{08..11}.tar",
                &["t-08.tar", "t-09.tar", "t-10.tar", "t-11.tar"],
            ),
            ("t-{8..10}", &["t-8", "t-9", "t-10"]),
            ("{a,b}/{0..1}", &["a/0", "a/1", "b/0", "b/1"]),
            ("{x{1,2},y}.tar", &["x1.tar", "x2.tar", "y.tar"]),
            ("{,un}known", &["known", "unknown"]),
            ("{{0..1},7}", &["0", "1", "7"]),
        ];
        for (pattern, names) in cases {
            assert_eq!(expand_braces(pattern).unwrap(), names, "{pattern}");
        }
    }

    #[test]
    fn malformed_braces_are_refused() {
        let cases = [
            ("a{0..3", "unclosed"),
            ("a}b", "closing"),
            ("{5..2}", "backwards"),
            ("{0..x}", "whole numbers"),
            ("{abc}", "neither"),
            ("{0..99999999}", "more than"),
            ("{0..99999}{0..99999}", "more than"),
        ];
        for (pattern, words) in cases {
            let error = expand_braces(pattern).unwrap_err();
            assert!(error.contains(words), "{pattern}: {error}");
        }
    }

    #[test]
    fn folders_lists_and_missing_shards() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.tar", "a.tar", "notes.txt"] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let resolve = |spec: ShardSpec| spec.resolve(dir.path());
        let names = |found: Vec<Location>| -> Vec<String> {
            found.iter().map(Location::file_name).collect()
        };
        assert_eq!(names(resolve(".".into()).unwrap()), ["a.tar", "b.tar"]);
        assert_eq!(
            names(resolve("b.tar::a.tar".into()).unwrap()),
            ["b.tar", "a.tar"]
        );
        let many = ShardSpec::Many(vec!["{b,a}.tar".into(), "a.tar".into()]);
        assert_eq!(names(resolve(many).unwrap()), ["b.tar", "a.tar", "a.tar"]);
        let error = resolve("{a,z}.tar".into()).unwrap_err().to_string();
        assert!(error.contains("`z.tar`"), "{error}");
        let remote = resolve("s3://bucket/{0..1}.tar".into()).unwrap();
        let remote: Vec<_> = remote.iter().map(ToString::to_string).collect();
        assert_eq!(remote, ["s3://bucket/0.tar", "s3://bucket/1.tar"]);
        for (spec, words) in [
            ("ftp://x/a.tar", "not supported"),
            ("https://x/shards", "does not name a file"),
            ("pipe:curl x", "not run"),
        ] {
            let error = resolve(spec.into()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
