//! Tables with one image and its texts on each row: CSV, TSV and JSON Lines.

use serde_json::{Map, Value};

use super::error::{Error, Result};
use super::files::Files;
use super::location::Location;
use super::reader::{MAX_MEMBER, RawSample, Reader};
use super::rows::{Lines, Rows, Split};
use super::table_spec::TableSpec;

/// What the column with the image's path is called, if nothing else is said; open_clip's name first.
const IMAGE_KEYS: [&str; 7] = [
    "filepath",
    "image",
    "file_name",
    "filename",
    "path",
    "image_path",
    "img",
];

/// What the column with the caption is called; open_clip's name first.
const CAPTION_KEYS: [&str; 5] = ["title", "caption", "captions", "text", "txt"];

/// An opened table.
#[derive(Debug)]
pub struct Table {
    files: Files,
    rows: Rows,
    format: Format,
    image_key: Option<String>,
    caption_key: Option<String>,
    /// Where relative image names start; the table's own folder if not given.
    images: Option<Location>,
}

#[derive(Debug)]
enum Format {
    /// For each file its header and separator.
    Csv(Vec<Header>),
    JsonLines,
}

#[derive(Debug)]
struct Header {
    names: Vec<String>,
    image: usize,
    caption: Option<usize>,
    separator: u8,
}

impl Table {
    /// Opens CSV files, each with a header.
    ///
    /// # Errors
    /// A file that cannot be read, or whose header lacks the columns.
    pub fn open_csv(
        spec: &TableSpec,
        locations: Vec<Location>,
        images: Option<Location>,
        files: &Files,
    ) -> Result<Self> {
        let headers = locations
            .iter()
            .map(|location| Header::read(spec, location, files))
            .collect::<Result<Vec<_>>>()?;
        // Splitting asks for the files in order.
        let separators: Vec<(Location, u8)> = locations
            .iter()
            .cloned()
            .zip(headers.iter().map(|header| header.separator))
            .collect();
        let rows = Rows::find(files, locations, |location| {
            let known = separators.iter().find(|(known, _)| known == location);
            Ok(Records::new(known.map_or(b',', |known| known.1)))
        })?;
        Ok(Self {
            files: files.clone(),
            rows: rows.without_headers(),
            format: Format::Csv(headers),
            image_key: spec.image_key.clone(),
            caption_key: spec.caption_key.clone(),
            images,
        })
    }

    /// Opens JSON Lines files: an object on each line.
    pub fn open_json_lines(
        spec: &TableSpec,
        locations: Vec<Location>,
        images: Option<Location>,
        files: &Files,
    ) -> Result<Self> {
        Ok(Self {
            files: files.clone(),
            rows: Rows::find(files, locations, |_| Ok(Lines))?,
            format: Format::JsonLines,
            image_key: spec.image_key.clone(),
            caption_key: spec.caption_key.clone(),
            images,
        })
    }

    /// The name of the row's image, and the other columns. The error is a sentence for the user.
    fn row(&self, index: usize) -> Result<(String, Map<String, Value>)> {
        let bytes = self.rows.read(index)?;
        let row = match &self.format {
            Format::Csv(headers) => headers
                .get(self.rows.file_number(index) as usize)
                .ok_or_else(|| "its table has no header".into())
                .and_then(|header| header.row(&bytes)),
            Format::JsonLines => self.object(&bytes),
        };
        row.map_err(|reason| self.broken(index, reason))
    }

    fn object(&self, bytes: &[u8]) -> Result<(String, Map<String, Value>), String> {
        let mut object: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|error| format!("its line is not a JSON object: {error}"))?;
        let key = match &self.image_key {
            Some(key) => Some(key.as_str()),
            None => IMAGE_KEYS
                .into_iter()
                .find(|key| object.get(*key).is_some_and(Value::is_string)),
        };
        let key = key.ok_or_else(|| {
            format!(
                "its line names no image: expected one of {}",
                IMAGE_KEYS.join(", ")
            )
        })?;
        let Some(Value::String(image)) = object.remove(key) else {
            return Err(format!("`{key}` is not the name of an image"));
        };
        if let Some(key) = &self.caption_key
            && let Some(caption) = object.remove(key)
        {
            object.insert("captions".into(), caption);
        }
        Ok((image, object))
    }

    fn broken(&self, index: usize, reason: String) -> Error {
        let file = self
            .rows
            .location(index)
            .map(Location::file_name)
            .unwrap_or_default();
        Error::Sample {
            name: format!("{file}:{}", self.key(index)),
            reason,
        }
    }
}

impl Reader for Table {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn key(&self, index: usize) -> String {
        self.rows.number(index).to_string()
    }

    fn file(&self, index: usize) -> Option<&Location> {
        self.rows.location(index)
    }

    fn file_number(&self, index: usize) -> u32 {
        self.rows.file_number(index)
    }

    fn read(&self, index: usize) -> Result<RawSample> {
        let (image, columns) = self.row(index)?;
        let location = match (&self.images, self.rows.location(index)) {
            (Some(folder), _) => folder.join(&image),
            (None, Some(table)) => table.folder().join(&image),
            (None, None) => Location::new(&image, "".as_ref()),
        };
        let image = self
            .files
            .read(&location, MAX_MEMBER)
            .map_err(|error| self.broken(index, error.to_string()))?;
        Ok(RawSample {
            image,
            json: Some(Value::Object(columns).to_string().into_bytes()),
            text: None,
        })
    }

    fn json(&self, index: usize) -> Result<Option<Vec<u8>>> {
        let (_, columns) = self.row(index)?;
        Ok(Some(Value::Object(columns).to_string().into_bytes()))
    }
}

impl Header {
    fn read(spec: &TableSpec, location: &Location, files: &Files) -> Result<Self> {
        let fail = |reason: String| Error::Spec {
            spec: location.to_string(),
            reason,
        };
        let first = first_line(location, files)?;
        let separator = match spec.separator {
            Some(separator) => u8::try_from(separator)
                .ok()
                .filter(u8::is_ascii)
                .ok_or_else(|| {
                    Error::Config(format!(
                        "separator = {separator:?} is not an ASCII character"
                    ))
                })?,
            None if first.contains(&b'\t') => b'\t',
            None => b',',
        };
        let names =
            fields(&first, separator).ok_or_else(|| fail("its header is not UTF-8".into()))?;
        let find = |wanted: &Option<String>, usual: &[&str]| match wanted {
            Some(key) => names.iter().position(|name| name == key),
            None => usual
                .iter()
                .find_map(|key| names.iter().position(|name| name == key)),
        };
        let missing = |what: &str, wanted: &Option<String>, usual: &[&str]| {
            let expected = match wanted {
                Some(key) => format!("`{key}`"),
                None => format!("one of {}", usual.join(", ")),
            };
            fail(format!(
                "no column for the {what}: expected {expected}, found {}; name it with {what}_key",
                names.join(", ")
            ))
        };
        let image = find(&spec.image_key, &IMAGE_KEYS)
            .ok_or_else(|| missing("image", &spec.image_key, &IMAGE_KEYS))?;
        let caption = find(&spec.caption_key, &CAPTION_KEYS);
        if caption.is_none() && spec.caption_key.is_some() {
            return Err(missing("caption", &spec.caption_key, &CAPTION_KEYS));
        }
        Ok(Self {
            image,
            caption,
            separator,
            names,
        })
    }

    fn row(&self, bytes: &[u8]) -> Result<(String, Map<String, Value>), String> {
        let values = fields(bytes, self.separator).ok_or("its row is not UTF-8")?;
        if values.len() != self.names.len() {
            return Err(format!(
                "its row has {} fields where the header has {}",
                values.len(),
                self.names.len()
            ));
        }
        let (mut image, mut columns) = (None, Map::new());
        for (at, (name, value)) in self.names.iter().zip(values).enumerate() {
            if at == self.image {
                image = Some(value);
            } else if self.caption == Some(at) {
                columns.insert("captions".into(), Value::String(value));
            } else if !value.is_empty() {
                // A number is the number of a class, as in the other kinds of data.
                let value = match value.parse::<u64>() {
                    Ok(number) if name == "label" => Value::from(number),
                    _ => Value::String(value),
                };
                columns.insert(name.clone(), value);
            }
        }
        match image {
            Some(image) if !image.is_empty() => Ok((image, columns)),
            _ => Err("its row names no image".into()),
        }
    }
}

/// The bytes of the first line.
fn first_line(location: &Location, files: &Files) -> Result<Vec<u8>> {
    use std::io::{BufRead, BufReader, Read};
    let mut line = Vec::new();
    let file = files.open(location)?;
    BufReader::new(file.take(1 << 20))
        .read_until(b'\n', &mut line)
        .map_err(super::files::io_error(location))?;
    Ok(line)
}

/// Splits a record; `None` if it is not UTF-8.
fn fields(record: &[u8], separator: u8) -> Option<Vec<String>> {
    // What a spreadsheet puts in front of UTF-8.
    let record = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
    let mut reader = csv_core::ReaderBuilder::new().delimiter(separator).build();
    // Unquoting never lengthens a record, and each field takes a byte of it.
    let mut output = vec![0; record.len() + 1];
    let mut ends = vec![0; record.len() + 2];
    let (mut input, mut written, mut fields) = (record, 0, 0);
    loop {
        let (result, used, bytes, found) =
            reader.read_record(input, output.get_mut(written..)?, ends.get_mut(fields..)?);
        input = input.get(used..)?;
        written += bytes;
        fields += found;
        match result {
            // With nothing left, the next call ends the record.
            csv_core::ReadRecordResult::InputEmpty => {}
            csv_core::ReadRecordResult::Record | csv_core::ReadRecordResult::End => break,
            _ => return None,
        }
    }
    let mut start = 0;
    let ends = ends.get(..fields)?;
    ends.iter()
        .map(|&end| {
            let field = output.get(start..end)?;
            start = end;
            Some(std::str::from_utf8(field).ok()?.to_owned())
        })
        .collect()
}

/// Finds the ends of CSV records, which may hold line ends between quotes.
struct Records {
    reader: csv_core::Reader,
    output: Box<[u8]>,
    ends: Box<[usize]>,
}

impl Records {
    fn new(separator: u8) -> Self {
        Self {
            reader: csv_core::ReaderBuilder::new().delimiter(separator).build(),
            output: vec![0; 1 << 12].into(),
            ends: vec![0; 1 << 8].into(),
        }
    }
}

impl Split for Records {
    fn advance(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut used = 0;
        loop {
            // The fields are not wanted here, so each call may write over the last one's.
            let rest = bytes.get(used..).unwrap_or_default();
            let (result, read, ..) =
                self.reader
                    .read_record(rest, &mut self.output, &mut self.ends);
            used += read;
            match result {
                csv_core::ReadRecordResult::Record | csv_core::ReadRecordResult::End => {
                    return (used, true);
                }
                csv_core::ReadRecordResult::InputEmpty => return (used, false),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn table(folder: &Path, name: &str, text: &[u8], spec: TableSpec) -> Result<Table> {
        std::fs::write(folder.join(name), text).unwrap();
        let locations = vec![Location::new(name, folder)];
        match name.ends_with("jsonl") {
            true => Table::open_json_lines(&spec, locations, None, &Files::default()),
            false => Table::open_csv(&spec, locations, None, &Files::default()),
        }
    }

    fn row(table: &Table, index: usize) -> (String, String) {
        let (image, columns) = table.row(index).unwrap();
        (image, Value::Object(columns).to_string())
    }

    #[test]
    fn open_clips_tables_are_read_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"filepath\ttitle\na.jpg\ta cat, sitting\nsub/b.jpg\t\"a \"\"big\"\"\nhouse\"\n";
        let table = table(folder.path(), "t.csv", text, TableSpec::new("t.csv")).unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!(
            row(&table, 0),
            ("a.jpg".into(), r#"{"captions":"a cat, sitting"}"#.into())
        );
        assert_eq!(
            row(&table, 1),
            (
                "sub/b.jpg".into(),
                r#"{"captions":"a \"big\"\nhouse"}"#.into()
            )
        );
        assert_eq!(table.key(1), "2");
        std::fs::write(folder.path().join("a.jpg"), b"A").unwrap();
        assert_eq!(table.read(0).unwrap().image, b"A");
        let error = table.read(1).unwrap_err();
        assert!(
            matches!(&error, Error::Sample { name, .. } if name == "t.csv:2"),
            "{error}"
        );
    }

    #[test]
    fn other_columns_separators_and_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        let spec = TableSpec {
            separator: Some(';'),
            image_key: Some("bild".into()),
            caption_key: Some("worte".into()),
            ..TableSpec::new("t.csv")
        };
        let text = "\u{feff}label;bild;worte;split\r\n3;x.png;süß;train\r\ncat;y.png;;\r\n";
        let table = table(folder.path(), "t.csv", text.as_bytes(), spec).unwrap();
        assert_eq!(table.len(), 2);
        let expected = r#"{"captions":"süß","label":3,"split":"train"}"#;
        assert_eq!(row(&table, 0), ("x.png".into(), expected.into()));
        assert_eq!(
            row(&table, 1),
            ("y.png".into(), r#"{"captions":"","label":"cat"}"#.into())
        );
    }

    #[test]
    fn a_large_table_is_split_across_buffers() {
        let folder = tempfile::tempdir().unwrap();
        let mut text = String::from("image,caption\n");
        for row in 0..20_000 {
            text += &format!("{row}.jpg,\"line\n{}\"\n", "x".repeat(row % 40));
        }
        let table = table(
            folder.path(),
            "t.csv",
            text.as_bytes(),
            TableSpec::new("t.csv"),
        )
        .unwrap();
        assert_eq!(table.len(), 20_000);
        for index in [0, 7_777, 19_999] {
            let captions = format!(r#"{{"captions":"line\n{}"}}"#, "x".repeat(index % 40));
            assert_eq!(row(&table, index), (format!("{index}.jpg"), captions));
        }
    }

    #[test]
    fn json_lines_keep_their_fields() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"{\"file_name\": \"a.jpg\", \"qa\": [[\"q\", \"a\"]]}\n\n{\"x\": 1}\n[]\n";
        let spec = TableSpec::new("t.jsonl");
        let opened = table(folder.path(), "t.jsonl", text, spec).unwrap();
        assert_eq!(opened.len(), 3);
        assert_eq!(
            row(&opened, 0),
            ("a.jpg".into(), r#"{"qa":[["q","a"]]}"#.into())
        );
        for (index, words) in [(1, "names no image"), (2, "not a JSON object")] {
            let error = opened.row(index).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let spec = TableSpec {
            caption_key: Some("de".into()),
            image_key: Some("i".into()),
            ..TableSpec::new("t.jsonl")
        };
        let text = br#"{"i": "a.jpg", "de": "Katze"}"#;
        let opened = table(folder.path(), "t.jsonl", text, spec).unwrap();
        assert_eq!(
            row(&opened, 0),
            ("a.jpg".into(), r#"{"captions":"Katze"}"#.into())
        );
    }

    #[test]
    fn wrong_headers_and_rows_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |text: &[u8], spec: TableSpec| {
            let table = table(folder.path(), "t.csv", text, spec);
            match table.and_then(|table| table.row(0)) {
                Err(error) => error.to_string(),
                Ok(row) => panic!("accepted as {row:?}"),
            }
        };
        let plain = || TableSpec::new("t.csv");
        let text = error(b"a,b\n1,2\n", plain());
        assert!(
            text.contains("image_key") && text.contains("a, b"),
            "{text}"
        );
        let named = TableSpec {
            caption_key: Some("words".into()),
            ..plain()
        };
        let text = error(b"image,b\n1,2\n", named);
        assert!(text.contains("`words`"), "{text}");
        assert!(error(b"image,caption\nx.jpg\n", plain()).contains("1 fields"));
        assert!(error(b"image,caption\n,c\n", plain()).contains("names no image"));
        assert!(error(b"image,caption\n\xff,c\n", plain()).contains("UTF-8"));
    }
}
