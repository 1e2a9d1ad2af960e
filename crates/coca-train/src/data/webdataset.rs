//! Reads webdataset shards: tar files in which `KEY.jpg`, `KEY.json` and `KEY.txt` make one sample.
//!
//! A shard is walked once, header by header; only offsets are kept, and members are read by seeking. That gives
//! true shuffling and exact resuming, which a streaming reader with a shuffle buffer cannot.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// What counts as a sample's image, compared without case.
const IMAGE_EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "gif", "bmp"];

/// Larger members are not training images or captions, but a mistake or an attack.
const MAX_MEMBER: u64 = 256 << 20;

/// Where a member's bytes lie in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    offset: u64,
    len: u64,
}

/// The members of one sample that are ever read.
#[derive(Debug)]
struct Entry {
    shard: u32,
    key: Box<str>,
    image: Member,
    json: Option<Member>,
    text: Option<Member>,
}

/// The bytes of one sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSample {
    /// The encoded image.
    pub image: Vec<u8>,
    /// `KEY.json`.
    pub json: Option<Vec<u8>>,
    /// `KEY.txt`.
    pub text: Option<Vec<u8>>,
}

/// An index of the samples in a list of shards.
#[derive(Debug)]
pub struct Shards {
    paths: Vec<PathBuf>,
    samples: Vec<Entry>,
}

impl Shards {
    /// Walks the shards and notes where each sample lies, in the order of the files. Members that belong to no
    /// image (folders, links, READMEs, `._` files) are passed over.
    ///
    /// # Errors
    /// A shard that cannot be read, is no tar file, is cut short, or holds no sample.
    pub fn open(paths: Vec<PathBuf>) -> Result<Self> {
        let mut samples = Vec::new();
        for (shard, path) in paths.iter().enumerate() {
            let before = samples.len();
            index(path, shard as u32, &mut samples)?;
            if samples.len() == before {
                return Err(Error::Tar {
                    path: path.clone(),
                    offset: 0,
                    reason: format!(
                        "it holds no sample; expected KEY.EXT members with EXT one of {}",
                        IMAGE_EXTENSIONS.join(", ")
                    ),
                });
            }
        }
        Ok(Self { paths, samples })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// The shard files, in order.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Keeps the samples for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&Self, usize) -> Result<bool>) -> Result<()> {
        let kept: Vec<bool> = (0..self.len())
            .map(|i| keep(self, i))
            .collect::<Result<_>>()?;
        let mut kept = kept.into_iter();
        self.samples.retain(|_| kept.next().unwrap_or(false));
        Ok(())
    }

    /// The key of sample `index`: its path in the shard without extensions.
    pub fn key(&self, index: usize) -> &str {
        self.samples.get(index).map_or("", |entry| &entry.key)
    }

    /// `shard.tar:key`, for messages.
    pub fn name(&self, index: usize) -> String {
        let shard = self.shard_of(index).and_then(|path| path.file_name());
        let shard = shard.unwrap_or_default().to_string_lossy();
        format!("{shard}:{}", self.key(index))
    }

    /// The file that holds sample `index`.
    pub fn shard_of(&self, index: usize) -> Option<&Path> {
        let entry = self.samples.get(index)?;
        self.paths.get(entry.shard as usize).map(PathBuf::as_path)
    }

    /// Reads the members of sample `index`; it must be below [`Shards::len`].
    pub fn read(&self, index: usize) -> Result<RawSample> {
        let mut reader = self.reader(index)?;
        let entry = reader.entry;
        Ok(RawSample {
            image: reader.member(entry.image)?,
            json: entry.json.map(|m| reader.member(m)).transpose()?,
            text: entry.text.map(|m| reader.member(m)).transpose()?,
        })
    }

    /// Reads only the `KEY.json` of sample `index`.
    pub fn read_json(&self, index: usize) -> Result<Option<Vec<u8>>> {
        let mut reader = self.reader(index)?;
        let json = reader.entry.json;
        json.map(|m| reader.member(m)).transpose()
    }

    fn reader(&self, index: usize) -> Result<Reader<'_>> {
        let (Some(entry), Some(path)) = (self.samples.get(index), self.shard_of(index)) else {
            let len = self.len();
            return Err(Error::Config(format!(
                "there is no sample {index} among {len}"
            )));
        };
        // Opened for each sample: thousands of shards would exceed the limit of open files, and a lock around
        // shared handles would serialise the workers.
        let file = File::open(path).map_err(io_error(path))?;
        Ok(Reader { entry, path, file })
    }
}

/// One sample with its opened shard.
struct Reader<'a> {
    entry: &'a Entry,
    path: &'a Path,
    file: File,
}

impl Reader<'_> {
    fn member(&mut self, member: Member) -> Result<Vec<u8>> {
        self.file
            .seek(SeekFrom::Start(member.offset))
            .map_err(io_error(self.path))?;
        // The index has checked the length against the file and against MAX_MEMBER.
        let mut bytes = vec![0; member.len as usize];
        self.file.read_exact(&mut bytes).map_err(|e| Error::Tar {
            path: self.path.into(),
            offset: member.offset,
            reason: format!(
                "cannot read {} bytes of {}: {e}",
                member.len, self.entry.key
            ),
        })?;
        Ok(bytes)
    }
}

fn io_error(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        path: path.clone(),
        source,
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

/// Appends the samples of one shard to `samples`.
fn index(path: &Path, shard: u32, samples: &mut Vec<Entry>) -> Result<()> {
    let io = io_error(path);
    let mut file = File::open(path).map_err(&io)?;
    let len = file.metadata().map_err(&io)?.len();
    let damaged = |offset: u64, reason: String| Error::Tar {
        path: path.into(),
        offset,
        reason,
    };
    refuse_compressed(&mut file, path)?;

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
    samples.extend(groups.into_iter().filter_map(|group| {
        Some(Entry {
            shard,
            key: group.key.into(),
            image: group.image?,
            json: group.json,
            text: group.text,
        })
    }));
    Ok(())
}

/// Compressed tar files cannot be read at random, and would otherwise only fail as "no intact header".
fn refuse_compressed(file: &mut File, path: &Path) -> Result<()> {
    let mut magic = Vec::new();
    file.take(4)
        .read_to_end(&mut magic)
        .map_err(io_error(path))?;
    file.rewind().map_err(io_error(path))?;
    let known: [(&[u8], &str); 3] = [
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
    ];
    match known.iter().find(|(start, _)| magic.starts_with(start)) {
        Some((_, kind)) => Err(Error::Tar {
            path: path.into(),
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
        let shards = Shards::open(vec![path]).unwrap();
        assert_eq!(shards.len(), 3);
        assert_eq!(shards.name(1), "s.tar:b");
        let sample = shards.read(0).unwrap();
        assert_eq!(sample.image, b"image a");
        assert_eq!(sample.json.as_deref(), Some(&b"{}"[..]));
        assert_eq!(sample.text.as_deref(), Some(&b"text a"[..]));
        let sample = shards.read(1).unwrap();
        assert_eq!(sample.image, b"image b");
        assert_eq!(shards.read_json(1).unwrap(), sample.json);
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
        let shards = Shards::open(vec![path]).unwrap();
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
            let result = Shards::open(vec![path]);
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
        let text = Shards::open(vec![path]).unwrap_err().to_string();
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
            Shards::open(vec![path]).unwrap_err().to_string()
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
