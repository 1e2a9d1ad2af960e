//! Parquet files with encoded images, as img2dataset and Hugging Face's `datasets` write them.
//!
//! Single cells are read: the pages before a row's are skipped without being decoded.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Map, Value};

use super::error::{Error, Result};
use super::files::Files;
use super::location::Location;
use super::reader::{IMAGE_EXTENSIONS, MAX_MEMBER, RawSample, Reader};
use super::table_spec::TableSpec;

/// Opened Parquet files.
#[derive(Debug)]
pub struct Parquet {
    files: Files,
    shards: Vec<Shard>,
    samples: Vec<Cell>,
}

#[derive(Debug)]
struct Shard {
    location: Location,
    metadata: ParquetMetaData,
    /// The column of the encoded image.
    image: usize,
    /// The other columns that are read, by the name they have in the JSON object.
    texts: Vec<(usize, String)>,
}

/// Where a sample lies.
#[derive(Debug, Clone, Copy)]
struct Cell {
    shard: u32,
    group: u32,
    row: u32,
}

/// The values of one row in one column: several in a list.
enum Values {
    Bytes(Vec<u8>),
    Json(Value),
}

impl Parquet {
    /// Reads the footers of the files. Rows without an image (downloads that failed) are left out.
    pub fn open(spec: &TableSpec, locations: Vec<Location>, files: &Files) -> Result<Self> {
        let (mut shards, mut samples) = (Vec::new(), Vec::new());
        for location in locations {
            let file = Arc::new(files.open(&location)?);
            let failed = |error: ParquetError| Error::Spec {
                spec: location.to_string(),
                reason: format!("it is not an intact Parquet file: {error}"),
            };
            let metadata = ParquetMetaDataReader::new()
                .parse_and_finish(&*file)
                .map_err(failed)?;
            let (image, texts) = columns(spec, &metadata).map_err(|reason| Error::Spec {
                spec: location.to_string(),
                reason,
            })?;
            let shard = Shard {
                location: location.clone(),
                metadata,
                image,
                texts,
            };
            let number = shards.len() as u32;
            for group in 0..shard.metadata.num_row_groups() {
                let rows = shard.rows_with_image(&file, group).map_err(failed)?;
                samples.extend(rows.into_iter().map(|row| Cell {
                    shard: number,
                    group: group as u32,
                    row,
                }));
            }
            shards.push(shard);
        }
        Ok(Self {
            files: files.clone(),
            shards,
            samples,
        })
    }

    fn find(&self, index: usize) -> Result<(Cell, &Shard, Arc<File>)> {
        let cell = self.samples.get(index);
        let shard = cell.and_then(|cell| self.shards.get(cell.shard as usize));
        let (Some(cell), Some(shard)) = (cell, shard) else {
            let len = self.samples.len();
            return Err(Error::Config(format!(
                "there is no row {index} among {len}"
            )));
        };
        // Opened for each sample: a position in the file is shared by all who share a handle.
        Ok((*cell, shard, Arc::new(self.files.open(&shard.location)?)))
    }

    fn broken(&self, index: usize, error: &impl ToString) -> Error {
        let file = self.file(index).map(Location::file_name);
        Error::Sample {
            name: format!("{}:{}", file.unwrap_or_default(), self.key(index)),
            reason: error.to_string(),
        }
    }
}

impl Reader for Parquet {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn key(&self, index: usize) -> String {
        let Some(cell) = self.samples.get(index) else {
            return String::new();
        };
        let before = self.shards.get(cell.shard as usize).map_or(0, |shard| {
            let groups = shard.metadata.row_groups().iter().take(cell.group as usize);
            groups.map(|group| group.num_rows()).sum::<i64>()
        });
        (before + i64::from(cell.row)).to_string()
    }

    fn file(&self, index: usize) -> Option<&Location> {
        let shard = self.shards.get(self.file_number(index) as usize)?;
        Some(&shard.location)
    }

    fn file_number(&self, index: usize) -> u32 {
        self.samples.get(index).map_or(0, |cell| cell.shard)
    }

    fn read(&self, index: usize) -> Result<RawSample> {
        let (cell, shard, file) = self.find(index)?;
        let image = match shard.cell(&file, cell, shard.image) {
            Ok(Some(Values::Bytes(image))) if image.len() as u64 <= MAX_MEMBER => image,
            Ok(_) => return Err(self.broken(index, &"its row has no image")),
            Err(error) => return Err(self.broken(index, &error)),
        };
        let json = shard.json(&file, cell);
        Ok(RawSample {
            image,
            json: Some(json.map_err(|error| self.broken(index, &error))?),
            text: None,
        })
    }

    fn json(&self, index: usize) -> Result<Option<Vec<u8>>> {
        let (cell, shard, file) = self.find(index)?;
        let json = shard.json(&file, cell);
        json.map(Some).map_err(|error| self.broken(index, &error))
    }
}

impl Shard {
    /// The rows of a group that have an image.
    fn rows_with_image(&self, file: &Arc<File>, group: usize) -> Result<Vec<u32>, ParquetError> {
        let metadata = self.metadata.row_group(group);
        let column = metadata.column(self.image);
        let rows = u32::try_from(metadata.num_rows())
            .map_err(|_| ParquetError::General("a row group of too many rows".into()))?;
        let nulls = column.statistics().and_then(|s| s.null_count_opt());
        if column.column_descr().max_def_level() == 0 || nulls == Some(0) {
            return Ok((0..rows).collect());
        }
        // img2dataset says which downloads failed, so the images need not be looked at.
        let status = self.texts.iter().find(|(_, name)| name == "status");
        let column = status.map_or(column, |(at, _)| metadata.column(*at));
        let ColumnReader::ByteArrayColumnReader(mut reader) =
            reader(file, column, metadata.num_rows())?
        else {
            return Err(ParquetError::General("the images are not bytes".into()));
        };
        let full = column.column_descr().max_def_level();
        let mut found = Vec::new();
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        // One at a time, lest all images of a group be in memory.
        for row in 0..rows {
            levels.clear();
            values.clear();
            let there = (full > 0).then_some(&mut levels);
            reader.read_records(1, there, None, &mut values)?;
            let is_there = match (status, values.first()) {
                (Some(_), Some(status)) => status.data() == b"success",
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if is_there {
                found.push(row);
            }
        }
        Ok(found)
    }

    /// The texts of a row as a JSON object.
    fn json(&self, file: &Arc<File>, cell: Cell) -> Result<Vec<u8>, ParquetError> {
        let mut object = Map::new();
        for (column, name) in &self.texts {
            if let Some(Values::Json(value)) = self.cell(file, cell, *column)? {
                object.insert(name.clone(), value);
            }
        }
        Ok(Value::Object(object).to_string().into_bytes())
    }

    /// One row of one column; `None` where it is null.
    fn cell(
        &self,
        file: &Arc<File>,
        cell: Cell,
        column: usize,
    ) -> Result<Option<Values>, ParquetError> {
        let group = self.metadata.row_group(cell.group as usize);
        let chunk = group.column(column);
        let row = cell.row as usize;
        let text = is_text(chunk.column_descr());
        Ok(match reader(file, chunk, group.num_rows())? {
            ColumnReader::BoolColumnReader(r) => json(values(r, chunk, row)?, chunk, Value::from),
            ColumnReader::Int32ColumnReader(r) => json(values(r, chunk, row)?, chunk, Value::from),
            ColumnReader::Int64ColumnReader(r) => json(values(r, chunk, row)?, chunk, Value::from),
            ColumnReader::FloatColumnReader(r) => json(values(r, chunk, row)?, chunk, Value::from),
            ColumnReader::DoubleColumnReader(r) => json(values(r, chunk, row)?, chunk, Value::from),
            ColumnReader::ByteArrayColumnReader(r) if text => {
                let texts = values(r, chunk, row)?;
                for text in &texts {
                    text.as_utf8()?;
                }
                json(texts, chunk, |text| {
                    Value::from(String::from_utf8_lossy(text.data()).into_owned())
                })
            }
            ColumnReader::ByteArrayColumnReader(r) => {
                let bytes = values(r, chunk, row)?.into_iter().next();
                bytes.map(|bytes| Values::Bytes(bytes.data().to_vec()))
            }
            _ => None,
        })
    }
}

fn reader(
    file: &Arc<File>,
    chunk: &ColumnChunkMetaData,
    rows: i64,
) -> Result<ColumnReader, ParquetError> {
    let rows = usize::try_from(rows)?;
    let pages = SerializedPageReader::new(Arc::clone(file), chunk, rows, None)?;
    Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(pages)))
}

/// The values that are not null in one row of a column.
fn values<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    chunk: &ColumnChunkMetaData,
    row: usize,
) -> Result<Vec<T::T>, ParquetError> {
    let descriptor = chunk.column_descr();
    let (mut levels, mut repeats, mut values) = (Vec::new(), Vec::new(), Vec::new());
    if reader.skip_records(row)? == row {
        reader.read_records(
            1,
            (descriptor.max_def_level() > 0).then_some(&mut levels),
            (descriptor.max_rep_level() > 0).then_some(&mut repeats),
            &mut values,
        )?;
    }
    Ok(values)
}

/// One value, or a list where the column holds lists.
fn json<T>(
    values: Vec<T>,
    chunk: &ColumnChunkMetaData,
    to_json: impl Fn(T) -> Value,
) -> Option<Values> {
    let mut values = values.into_iter().map(to_json);
    let value = match chunk.column_descr().max_rep_level() {
        0 => values.next()?,
        _ => Value::Array(values.collect()),
    };
    Some(Values::Json(value))
}

/// The image's column, and those of numbers and texts. The error is a sentence for the user.
fn columns(
    spec: &TableSpec,
    metadata: &ParquetMetaData,
) -> Result<(usize, Vec<(usize, String)>), String> {
    let schema = metadata.file_metadata().schema_descr();
    let leaves: Vec<(usize, Vec<&str>)> = schema
        .columns()
        .iter()
        .enumerate()
        .map(|(at, column)| {
            (
                at,
                column.path().parts().iter().map(String::as_str).collect(),
            )
        })
        .collect();
    let is_image_column = |at: usize, path: &[&str], name: &str| {
        let column = schema.column(at);
        let bytes = column.physical_type() == PhysicalType::BYTE_ARRAY && !is_text(&column);
        // Hugging Face keeps an image as a group of `bytes` and `path`.
        bytes && column.max_rep_level() == 0 && (path == [name] || path == [name, "bytes"])
    };
    let find = |name: &str| {
        let found = leaves
            .iter()
            .find(|(at, path)| is_image_column(*at, path, name));
        found.map(|(at, _)| *at)
    };
    let image = match &spec.image_key {
        Some(key) => find(key),
        None => IMAGE_EXTENSIONS.into_iter().chain(["image"]).find_map(find),
    };
    let image = image.ok_or_else(|| {
        let names: Vec<String> = leaves.iter().map(|(_, path)| path.join(".")).collect();
        let wanted = match &spec.image_key {
            Some(key) => format!("`{key}`"),
            None => format!("one of {}, image", IMAGE_EXTENSIONS.join(", ")),
        };
        format!(
            "no column of encoded images: expected {wanted}, found {}; name it with image_key",
            names.join(", ")
        )
    })?;
    let mut texts = Vec::new();
    for (at, path) in &leaves {
        let column = schema.column(*at);
        let Some(&name) = path.first() else { continue };
        let is_list = column.max_rep_level() == 1 && path.len() == 3;
        let is_value = path.len() == 1 && column.max_rep_level() == 0;
        let known = match column.physical_type() {
            PhysicalType::BYTE_ARRAY => is_text(&column),
            kind => !matches!(
                kind,
                PhysicalType::FIXED_LEN_BYTE_ARRAY | PhysicalType::INT96
            ),
        };
        if *at == image || !known || !(is_list || is_value) {
            continue;
        }
        let is_caption = spec.caption_key.as_deref() == Some(name);
        let name = if is_caption { "captions" } else { name };
        texts.push((*at, name.to_owned()));
    }
    if let Some(key) = &spec.caption_key
        && !texts.iter().any(|(_, name)| name == "captions")
    {
        return Err(format!(
            "no column of texts is called `{key}` (caption_key)"
        ));
    }
    Ok((image, texts))
}

fn is_text(column: &ColumnDescriptor) -> bool {
    matches!(column.logical_type_ref(), Some(LogicalType::String))
        || column.converted_type() == ConvertedType::UTF8
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    /// Files that pyarrow wrote, with the schemas of img2dataset and of Hugging Face; see the script beside them.
    const IMG2DATASET: &[u8] = include_bytes!("fixtures/img2dataset.parquet");
    const HUGGING_FACE: &[u8] = include_bytes!("fixtures/hugging_face.parquet");

    fn open(folder: &tempfile::TempDir, bytes: &[u8], spec: &TableSpec) -> Result<Parquet> {
        let path = folder.path().join("00000.parquet");
        std::fs::write(&path, bytes).unwrap();
        Parquet::open(spec, vec![path.into()], &Files::default())
    }

    fn object(sample: &RawSample) -> Value {
        serde_json::from_slice(sample.json.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn img2datasets_files_give_the_images_that_were_downloaded() {
        let folder = tempfile::tempdir().unwrap();
        let opened = open(&folder, IMG2DATASET, &TableSpec::new("x")).unwrap();
        // 250 rows in groups of 100; every seventh download failed.
        let expected: Vec<usize> = (0..250).filter(|row| row % 7 != 3).collect();
        assert_eq!(opened.len(), expected.len());
        for at in [0, 3, 90, 130, expected.len() - 1] {
            let row = expected[at];
            assert_eq!(opened.key(at), row.to_string());
            let sample = opened.read(at).unwrap();
            assert_eq!(sample.image, format!("image {row}").as_bytes());
            let object = object(&sample);
            assert_eq!(object["caption"], format!("caption {row}"));
            assert_eq!(object["width"], 256 + row);
            assert_eq!(opened.json(at).unwrap(), sample.json);
        }
    }

    #[test]
    fn hugging_faces_image_groups_and_lists_of_captions() {
        let folder = tempfile::tempdir().unwrap();
        let spec = TableSpec {
            caption_key: Some("sentences".into()),
            ..TableSpec::new("x")
        };
        let opened = open(&folder, HUGGING_FACE, &spec).unwrap();
        assert_eq!(opened.len(), 4);
        let sample = opened.read(2).unwrap();
        assert_eq!(sample.image, b"image 2");
        let object = object(&sample);
        assert_eq!(object["captions"], serde_json::json!(["2 a", "2 b"]));
        assert_eq!(object["label"], 1);
    }

    #[test]
    fn a_file_without_statistics_or_status_is_looked_through() {
        let folder = tempfile::tempdir().unwrap();
        let schema = "message m { optional binary jpg; required int64 label; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let images = [ByteArray::from("a"), ByteArray::from("c")];
        column
            .typed::<ByteArrayType>()
            .write_batch(&images, Some(&[1, 0, 1]), None)
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&[5, 6, 7], None, None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        let opened = open(&folder, &bytes, &TableSpec::new("x")).unwrap();
        let keys: Vec<_> = (0..opened.len()).map(|at| opened.key(at)).collect();
        assert_eq!(keys, ["0", "2"]);
        let sample = opened.read(1).unwrap();
        assert_eq!(sample.image, b"c");
        assert_eq!(object(&sample)["label"], 7);
    }

    #[test]
    fn damaged_files_and_missing_columns_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            |bytes: &[u8], spec: &TableSpec| open(&folder, bytes, spec).unwrap_err().to_string();
        let plain = TableSpec::new("x");
        let text = error(&IMG2DATASET[..IMG2DATASET.len() / 2], &plain);
        assert!(text.contains("not an intact"), "{text}");
        let spec = TableSpec {
            image_key: Some("bild".into()),
            ..plain.clone()
        };
        let text = error(IMG2DATASET, &spec);
        assert!(text.contains("`bild`") && text.contains("jpg"), "{text}");
        let spec = TableSpec {
            caption_key: Some("worte".into()),
            ..plain
        };
        assert!(error(IMG2DATASET, &spec).contains("`worte`"));
    }
}
