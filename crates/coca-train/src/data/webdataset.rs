//! Reads webdataset shards: tar files in which `KEY.jpg`, `KEY.json` and `KEY.txt` make one sample.
//!
//! A shard is walked once, header by header; only offsets are kept, and members are read by seeking. That gives
//! true shuffling and exact resuming, which a streaming reader with a shuffle buffer cannot.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::files::{Files, io_error};
use super::location::Location;
use super::reader::{IMAGE_EXTENSIONS, MAX_MEMBER, RawSample, Reader};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Shards behind addresses that are looked through at a time.
const DOWNLOADS: usize = 8;

/// Where a member's bytes lie in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    offset: u64,
    len: u64,
}

/// The members of one sample that are ever read.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    shard: u32,
    key: Box<str>,
    image: Member,
    json: Option<Member>,
    text: Option<Member>,
}

/// An index of the samples in a list of shards.
#[derive(Debug)]
pub struct Shards {
    files: Files,
    locations: Vec<Location>,
    samples: Vec<Entry>,
}

impl Shards {
    /// Walks the shards and notes where each sample lies, in the order of the files. Members that belong to no
    /// image (folders, links, READMEs, `._` files) are passed over.
    ///
    /// # Errors
    /// A shard that cannot be read, is no tar file, is cut short, or holds no sample.
    pub fn open(locations: Vec<Location>, files: &Files) -> Result<Self> {
        let mut samples = Vec::new();
        for (shard, found) in contents_of_all(&locations, files).into_iter().enumerate() {
            samples.extend(found?.into_iter().map(|mut entry| {
                entry.shard = shard as u32;
                entry
            }));
        }
        Ok(Self {
            files: files.clone(),
            locations,
            samples,
        })
    }

    fn member_reader(&self, index: usize) -> Result<MemberReader<'_>> {
        let (Some(entry), Some(location)) = (self.samples.get(index), self.file(index)) else {
            let len = self.len();
            return Err(Error::Config(format!(
                "there is no sample {index} among {len}"
            )));
        };
        // Opened for each sample: thousands of shards would exceed the limit of open files, and a lock around
        // shared handles would serialise the workers.
        let file = self.files.open(location)?;
        Ok(MemberReader {
            entry,
            location,
            file,
        })
    }
}

impl Reader for Shards {
    fn len(&self) -> usize {
        self.samples.len()
    }

    /// The path in the shard without extensions.
    fn key(&self, index: usize) -> String {
        self.samples
            .get(index)
            .map_or_else(String::new, |entry| entry.key.to_string())
    }

    fn file(&self, index: usize) -> Option<&Location> {
        self.locations.get(self.file_number(index) as usize)
    }

    fn file_number(&self, index: usize) -> u32 {
        self.samples.get(index).map_or(0, |entry| entry.shard)
    }

    fn read(&self, index: usize) -> Result<RawSample> {
        let mut reader = self.member_reader(index)?;
        let entry = reader.entry;
        Ok(RawSample {
            image: reader.read(entry.image)?,
            json: entry.json.map(|m| reader.read(m)).transpose()?,
            text: entry.text.map(|m| reader.read(m)).transpose()?,
        })
    }

    fn json(&self, index: usize) -> Result<Option<Vec<u8>>> {
        let mut reader = self.member_reader(index)?;
        let json = reader.entry.json;
        json.map(|m| reader.read(m)).transpose()
    }
}

/// One sample with its opened shard.
struct MemberReader<'a> {
    entry: &'a Entry,
    location: &'a Location,
    file: File,
}

impl MemberReader<'_> {
    fn read(&mut self, member: Member) -> Result<Vec<u8>> {
        self.file
            .seek(SeekFrom::Start(member.offset))
            .map_err(io_error(self.location))?;
        // The index has checked the length against the file and against MAX_MEMBER; its notes may be another's.
        let mut bytes = vec![0; member.len.min(MAX_MEMBER) as usize];
        self.file.read_exact(&mut bytes).map_err(|e| Error::Tar {
            path: self.location.to_string().into(),
            offset: member.offset,
            reason: format!(
                "cannot read {} bytes of {}: {e}",
                member.len, self.entry.key
            ),
        })?;
        Ok(bytes)
    }
}

/// A sample while its shard is walked: the image may come after the json.
#[derive(Default)]
struct Group {
    key: String,
    image: Option<Member>,
    json: Option<Member>,
    text: Option<Member>,
}

/// The samples of each shard, in order. Several are downloaded at a time.
fn contents_of_all(locations: &[Location], files: &Files) -> Vec<Result<Vec<Entry>>> {
    let is_remote = locations
        .iter()
        .any(|location| matches!(location, Location::Remote(_)));
    let threads = if is_remote {
        DOWNLOADS.min(locations.len())
    } else {
        1
    };
    let work = |first: usize| -> Vec<_> {
        let mine = locations.iter().skip(first).step_by(threads);
        mine.map(|location| contents(location, files)).collect()
    };
    let mut found: Vec<_> = std::thread::scope(|scope| {
        let spawned: Vec<_> = (1..threads)
            .map(|first| scope.spawn(move || work(first)))
            .collect();
        let first = std::iter::once(work(0).into_iter());
        let others = spawned.into_iter().map(|thread| {
            let found = thread.join();
            found
                .unwrap_or_else(|_| vec![Err(Error::Stopped)])
                .into_iter()
        });
        first.chain(others).collect()
    });
    // The threads took turns, and so do their results.
    (0..locations.len())
        .map(|at| {
            let next = found.get_mut(at % threads).and_then(Iterator::next);
            next.unwrap_or(Err(Error::Stopped))
        })
        .collect()
}

/// The samples of one shard, from an earlier run's notes if there are any.
fn contents(location: &Location, files: &Files) -> Result<Vec<Entry>> {
    let noted = files.index(location);
    if let Some(entries) = noted.and_then(|json| serde_json::from_slice(&json).ok()) {
        return Ok(entries);
    }
    let entries = index(files.open(location)?, location)?;
    if entries.is_empty() {
        return Err(Error::Tar {
            path: location.to_string().into(),
            offset: 0,
            reason: format!(
                "it holds no sample; expected KEY.EXT members with EXT one of {}",
                IMAGE_EXTENSIONS.join(", ")
            ),
        });
    }
    if let Ok(json) = serde_json::to_vec(&entries) {
        files.keep_index(location, &json)?;
    }
    Ok(entries)
}

/// Finds the samples of one shard.
fn index(mut file: File, location: &Location) -> Result<Vec<Entry>> {
    let io = io_error(location);
    let len = file.metadata().map_err(&io)?.len();
    let damaged = |offset: u64, reason: String| Error::Tar {
        path: location.to_string().into(),
        offset,
        reason,
    };
    refuse_compressed(&mut file, location)?;

    let mut archive = tar::Archive::new(file);
    let mut groups: Vec<Group> = Vec::new();
    let mut by_key: HashMap<String, usize> = HashMap::new();
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(&io)? {
        let entry = entry.map_err(|e| damaged(end, format!("no intact tar header ({e})")))?;
        let member = Member {
            offset: entry.raw_file_position(),
            len: entry.size(),
        };
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // A sparse member's size is not what it takes up in the archive; it cannot be read by offset either.
        if entry.header().entry_type().is_gnu_sparse() {
            end = member.offset;
            continue;
        }
        end = member
            .offset
            .checked_add(member.len)
            .and_then(|end| end.checked_next_multiple_of(512))
            .filter(|_| member.offset + member.len <= len)
            .ok_or_else(|| {
                let (at, size) = (member.offset, member.len);
                let reason = format!(
                    "`{name}` should be {size} bytes from {at} on, but the file is only {len} bytes long; it was \
                     cut short, copy it again"
                );
                damaged(at, reason)
            })?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let Some((key, extension)) = split_key(&name) else {
            continue;
        };
        let extension = extension.to_ascii_lowercase();
        let is_image = IMAGE_EXTENSIONS.contains(&extension.as_str());
        if !is_image && extension != "json" && extension != "txt" {
            continue;
        }
        if member.len > MAX_MEMBER {
            let reason = format!(
                "`{name}` has {} bytes, more than any sample should",
                member.len
            );
            return Err(damaged(member.offset, reason));
        }
        let at = *by_key.entry(key.into()).or_insert_with(|| {
            groups.push(Group {
                key: key.into(),
                ..Group::default()
            });
            groups.len() - 1
        });
        // A name that comes again replaces the earlier member, as everywhere with tar files.
        if let Some(group) = groups.get_mut(at) {
            match extension.as_str() {
                "json" => group.json = Some(member),
                "txt" => group.text = Some(member),
                _ => group.image = Some(member),
            }
        }
    }
    let read_to = archive.into_inner().stream_position().map_err(&io)?;
    if read_to <= end || end > len {
        let reason =
            "the end-of-archive marker is missing; the file was cut short, copy or pack it again";
        return Err(damaged(end.min(len), reason.into()));
    }
    let entry = |group: Group| {
        Some(Entry {
            shard: 0,
            key: group.key.into(),
            image: group.image?,
            json: group.json,
            text: group.text,
        })
    };
    Ok(groups.into_iter().filter_map(entry).collect())
}

/// Compressed tar files cannot be read at random, and would otherwise only fail as "no intact header".
fn refuse_compressed(file: &mut File, location: &Location) -> Result<()> {
    let mut magic = Vec::new();
    file.take(4)
        .read_to_end(&mut magic)
        .map_err(io_error(location))?;
    file.rewind().map_err(io_error(location))?;
    let known: [(&[u8], &str); 3] = [
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
    ];
    match known.iter().find(|(start, _)| magic.starts_with(start)) {
        Some((_, kind)) => Err(Error::Tar {
            path: location.to_string().into(),
            offset: 0,
            reason: format!("it is {kind}-compressed; unpack it to a plain .tar first"),
        }),
        None => Ok(()),
    }
}

/// Splits `dir/key.ext` at the first dot of the file name, as webdataset does. Hidden files have no key.
fn split_key(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let file = name.rfind('/').map_or(0, |at| at + 1);
    let dot = file + name.get(file..)?.find('.')?;
    (dot > file).then_some((name.get(..dot)?, name.get(dot + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{tar_bytes, write_tar};
    use super::*;
    use std::path::PathBuf;

    fn open(path: PathBuf) -> Result<Shards> {
        Shards::open(vec![path.into()], &Files::default())
    }

    fn write(dir: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join("s.tar");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn members_are_grouped_by_key_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("{}/c.jpg", "folder".repeat(40));
        let members: [(&str, &[u8]); 9] = [
            ("a.jpg", b"image a"),
            ("._a.jpg", b"resource fork"),
            ("a.json", b"{}"),
            ("README.md", b"not a sample"),
            ("b.json", b"{\"b\":1}"),
            ("./a.txt", b"text a"),
            ("b.PNG", b"image b"),
            ("b.seg.png", b"a mask"),
            (&long, b"image c"),
        ];
        let path = write_tar(dir.path(), "s.tar", &members);
        let shards = open(path).unwrap();
        assert_eq!(shards.len(), 3);
        assert_eq!(shards.file(1).unwrap().file_name(), "s.tar");
        assert_eq!(shards.key(1), "b");
        let sample = shards.read(0).unwrap();
        assert_eq!(sample.image, b"image a");
        assert_eq!(sample.json.as_deref(), Some(&b"{}"[..]));
        assert_eq!(sample.text.as_deref(), Some(&b"text a"[..]));
        let sample = shards.read(1).unwrap();
        assert_eq!(sample.image, b"image b");
        assert_eq!(shards.json(1).unwrap(), sample.json);
        assert_eq!(format!("{}.jpg", shards.key(2)), long);
        assert_eq!(shards.read(2).unwrap().image, b"image c");
        assert!(shards.read(3).is_err());
    }

    #[test]
    fn pax_names_links_and_folders_are_tolerated() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        builder.append_data(&mut header, "d.jpg", &b""[..]).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder
            .append_link(&mut header, "e.jpg", "elsewhere")
            .unwrap();
        let long = format!("{}.jpg", "n".repeat(150));
        builder
            .append_pax_extensions([("path", long.as_bytes())])
            .unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(5);
        builder
            .append_data(&mut header, "short.jpg", &b"image"[..])
            .unwrap();
        let path = write(&dir, &builder.into_inner().unwrap());
        let shards = open(path).unwrap();
        assert_eq!(shards.len(), 1);
        assert_eq!(shards.key(0).len(), 150);
        assert_eq!(shards.read(0).unwrap().image, b"image");
    }

    #[test]
    fn every_truncation_is_named_with_file_and_offset() {
        let dir = tempfile::tempdir().unwrap();
        let whole = tar_bytes(&[("a.jpg", &[7; 700]), ("a.json", b"{}"), ("b.jpg", &[8; 10])]);
        // 512 + 1024 for the image, twice 512 + 512, then two zero blocks of which one is enough.
        let content = 512 + 1024 + 1024 + 1024;
        // Cuts at, just before and just after every block.
        let cuts = (0..whole.len() / 512)
            .flat_map(|block| [0, 1, 100, 511].map(|extra| block * 512 + extra));
        for len in cuts {
            let path = write(&dir, &whole[..len]);
            let result = open(path);
            if len >= content + 512 {
                assert_eq!(result.unwrap().len(), 2, "{len} bytes");
            } else {
                let error = result
                    .err()
                    .unwrap_or_else(|| panic!("{len} bytes accepted"));
                let text = error.to_string();
                assert!(
                    matches!(error, Error::Tar { offset, .. } if offset <= len as u64),
                    "{text}"
                );
                assert!(text.contains("s.tar"), "{text}");
            }
        }
        let path = write(&dir, &whole[..1200]);
        let text = open(path).unwrap_err().to_string();
        assert!(
            text.contains("at byte 512") && text.contains("a.jpg"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = |bytes: &[u8]| {
            let path = write(&dir, bytes);
            open(path).unwrap_err().to_string()
        };
        assert!(error(b"").contains("marker"));
        assert!(error(&[b'x'; 2048]).contains("header"));
        assert!(error(b"\x1f\x8b\x08\x00 rest").contains("gzip"));
        assert!(error(&tar_bytes(&[("a.txt", b"no image")])).contains("no sample"));
        // A header that claims more than any file has.
        let mut huge = tar_bytes(&[("a.jpg", b"x")]);
        let mut header = tar::Header::from_byte_slice(&huge[..512]).clone();
        header.set_size(u64::MAX - 5);
        header.set_cksum();
        huge[..512].copy_from_slice(header.as_bytes());
        let text = error(&huge);
        assert!(text.contains("damaged"), "{text}");
    }
}
