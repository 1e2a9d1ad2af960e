//! Rows of a text table, found by their offsets: a table of any length takes a few bytes of memory for each row.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use super::error::{Error, Result};
use super::files::{Files, io_error};
use super::location::Location;

/// Longer rows are not captions but a mistake, such as a quote that is never closed.
const MAX_ROW: u64 = 16 << 20;

/// Where one row lies.
#[derive(Debug, Clone, Copy)]
struct Row {
    file: u32,
    offset: u64,
    len: u32,
}

/// The rows of several files.
#[derive(Debug)]
pub struct Rows {
    files: Files,
    locations: Vec<Location>,
    rows: Vec<Row>,
    /// The number of each file's first row.
    starts: Vec<usize>,
}

/// Finds the ends of rows in a stream of bytes.
pub trait Split {
    /// Looks at the next bytes. How many of them were used, and whether the last of these ended a row. No bytes stand
    /// for the end of the file.
    fn advance(&mut self, bytes: &[u8]) -> (usize, bool);
}

/// One row on each line.
pub struct Lines;

impl Split for Lines {
    fn advance(&mut self, bytes: &[u8]) -> (usize, bool) {
        match bytes.iter().position(|&b| b == b'\n') {
            Some(at) => (at + 1, true),
            None => (bytes.len(), bytes.is_empty()),
        }
    }
}

impl Rows {
    /// Finds the rows of `locations`. `split` gives the splitter of each file; blank rows are passed over.
    pub fn find<S: Split>(
        files: &Files,
        locations: Vec<Location>,
        split: impl Fn(&Location) -> Result<S>,
    ) -> Result<Self> {
        let (mut rows, mut starts) = (Vec::new(), Vec::new());
        for (number, location) in locations.iter().enumerate() {
            starts.push(rows.len());
            let file = files.open(location)?;
            find(
                file,
                location,
                number as u32,
                &mut split(location)?,
                &mut rows,
            )?;
        }
        Ok(Self {
            files: files.clone(),
            locations,
            rows,
            starts,
        })
    }

    /// Leaves out the first row of each file.
    pub fn without_headers(mut self) -> Self {
        let mut rows = std::mem::take(&mut self.rows).into_iter();
        let mut seen = None;
        self.starts.clear();
        for row in &mut rows {
            if seen != Some(row.file) {
                seen = Some(row.file);
                while self.starts.len() <= row.file as usize {
                    self.starts.push(self.rows.len());
                }
                continue;
            }
            self.rows.push(row);
        }
        self
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The file of row `index`.
    pub fn location(&self, index: usize) -> Option<&Location> {
        self.locations.get(self.file_number(index) as usize)
    }

    /// The number of that file.
    pub fn file_number(&self, index: usize) -> u32 {
        self.rows.get(index).map_or(0, |row| row.file)
    }

    /// The number of the row in its file, from 1.
    pub fn number(&self, index: usize) -> usize {
        let start = self.starts.get(self.file_number(index) as usize);
        index - start.copied().unwrap_or(0).min(index) + 1
    }

    /// Reads row `index`.
    pub fn read(&self, index: usize) -> Result<Vec<u8>> {
        let (Some(row), Some(location)) = (self.rows.get(index), self.location(index)) else {
            return Err(Error::Config(format!(
                "there is no row {index} among {}",
                self.rows.len()
            )));
        };
        let io = io_error(location);
        let mut file = self.files.open(location)?;
        file.seek(SeekFrom::Start(row.offset)).map_err(&io)?;
        let mut bytes = vec![0; row.len as usize];
        file.read_exact(&mut bytes).map_err(&io)?;
        Ok(bytes)
    }
}

fn find(
    file: File,
    location: &Location,
    number: u32,
    split: &mut impl Split,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let io = io_error(location);
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let (mut start, mut at, mut blank) = (0, 0, true);
    loop {
        let bytes = reader.fill_buf().map_err(&io)?;
        let end = bytes.is_empty();
        let (used, is_row) = split.advance(bytes);
        blank &= bytes
            .get(..used)
            .unwrap_or_default()
            .iter()
            .all(u8::is_ascii_whitespace);
        reader.consume(used);
        at += used as u64;
        if at - start > MAX_ROW {
            return Err(io(std::io::Error::other(format!(
                "the row that starts at byte {start} has more than {MAX_ROW} bytes; is a quote never closed?"
            ))));
        }
        if is_row || end {
            if !blank {
                rows.push(Row {
                    file: number,
                    offset: start,
                    len: (at - start) as u32,
                });
            }
            (start, blank) = (at, true);
        }
        if end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_and_numbered_in_each_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Location::from(path)
        };
        let locations = vec![
            write("a", "one\n\n  \r\ntwo\r\nthree"),
            write("b", ""),
            write("c", "four\nfive\n"),
        ];
        let rows = Rows::find(&Files::default(), locations, |_| Ok(Lines)).unwrap();
        let texts: Vec<_> = (0..rows.len())
            .map(|i| String::from_utf8(rows.read(i).unwrap()).unwrap())
            .collect();
        assert_eq!(texts, ["one\n", "two\r\n", "three", "four\n", "five\n"]);
        assert_eq!(
            (0..5).map(|i| rows.number(i)).collect::<Vec<_>>(),
            [1, 2, 3, 1, 2]
        );
        assert_eq!(rows.location(4).unwrap().file_name(), "c");
        let rows = rows.without_headers();
        let numbers: Vec<_> = (0..rows.len())
            .map(|i| (rows.file_number(i), rows.number(i)))
            .collect();
        assert_eq!(numbers, [(0, 1), (0, 2), (2, 1)]);
    }
}
