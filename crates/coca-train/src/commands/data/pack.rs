//! `coca-train data pack`: any data set as webdataset shards.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde_json::{Map, Value};
use tempfile::{NamedTempFile, TempPath};

use super::super::convert::size;
use super::super::{UsageError, output};
use super::inspection::{Sample, format_name, load};
use super::sources::{Sources, progress_bar, share};
use crate::data::{DataSet, permutation};
use crate::disk::{publish, replace_file, temporary_file};

/// Samples that are read at a time.
const CHUNK: usize = 256;

/// Write data sets as webdataset shards: OUT-00000.tar, … and sizes.json beside them.
///
/// Each sample keeps its image file as it is, its metadata as KEY.json, and its first caption as KEY.txt. Broken
/// samples are named and left out.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The data sets, and last the shards' name without number, for example packs/train.
    #[arg(required = true, num_args = 2.., value_names = ["SPEC", "OUT"])]
    names: Vec<String>,
    /// Where relative names start; the configuration's data_dir, or here, if not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Begin a new shard when one would become larger, for example 64MB.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "256MB")]
    shard_size: u64,
    /// Shuffle the samples of each data set, so that a shard is like any other.
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// The share of broken samples that is no failure.
    #[arg(long, value_name = "SHARE", default_value = "0.01", value_parser = share)]
    max_broken: f64,
    /// Replace the shards of this name that are there.
    #[arg(long)]
    overwrite: bool,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let Some((out, specs)) = args
        .names
        .split_last()
        .filter(|(_, specs)| !specs.is_empty())
    else {
        return Err(UsageError::new("name the data sets, then the shards' name"));
    };
    let target = Target::new(out)?;
    ensure!(
        args.overwrite || !target.shard(0).exists(),
        "{} exists; choose another name, or replace the shards with --overwrite",
        target.shard(0).display()
    );
    let mut writer = Writer::new(target, args.shard_size);
    let (mut samples, mut broken) = (0, 0);
    for spec in specs {
        let sources = Sources::read(spec, args.data_dir.as_deref())?;
        for config in &sources.data {
            let mut data = DataSet::open(&config.spec, &sources.data_dir, &sources.files())?;
            data.keep_only(&config.only)?;
            samples += data.len();
            let order: Vec<u32> = match args.shuffle {
                Some(seed) => permutation(seed, 0, 0, data.len() as u32),
                None => (0..data.len() as u32).collect(),
            };
            let bar = progress_bar(data.len());
            for chunk in order.chunks(CHUNK) {
                let loaded = chunk
                    .par_iter()
                    .map(|&index| load(&data, config, index as usize))
                    .collect::<Result<Vec<_>, _>>()?;
                for (&index, sample) in chunk.iter().zip(loaded) {
                    bar.inc(1);
                    match sample {
                        Ok(sample) => writer.add(&data.key(index as usize), sample)?,
                        Err(reason) => {
                            broken += 1;
                            let name = data.name(index as usize);
                            bar.suspend(|| eprintln!("left out {name}: {reason}"));
                        }
                    }
                }
            }
            bar.finish_and_clear();
        }
    }
    if broken as f64 > args.max_broken * samples as f64 {
        // The shards written so far go with their temporary files.
        bail!(
            "{broken} of {samples} samples are broken, more than --max-broken {} allows; nothing was written",
            args.max_broken
        );
    }
    let sizes = writer.finish()?;
    let packed: usize = sizes.values().sum();
    if args.json {
        return output::json(&serde_json::json!({
            "samples": packed, "broken": broken, "shards": sizes,
        }));
    }
    output::line(format!(
        "{packed} samples in {} shards, {broken} left out",
        sizes.len()
    ))
}

/// What the shards are called.
struct Target {
    folder: PathBuf,
    prefix: String,
}

impl Target {
    fn new(out: &str) -> Result<Self> {
        let path = Path::new(out);
        let prefix = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        match prefix {
            Some(prefix) if !path.is_dir() => Ok(Self {
                folder: path.parent().unwrap_or(Path::new("")).into(),
                prefix,
            }),
            _ => Err(UsageError::new(format!(
                "{out} is a folder; write {} for shards of the name train",
                path.join("train").display()
            ))),
        }
    }

    fn name(&self, number: usize) -> String {
        format!("{}-{number:05}.tar", self.prefix)
    }

    fn shard(&self, number: usize) -> PathBuf {
        self.folder.join(self.name(number))
    }
}

/// Fills shards, which get their names at the end, all together.
struct Writer {
    target: Target,
    limit: u64,
    done: Vec<(TempPath, usize)>,
    open: Option<Shard>,
}

struct Shard {
    builder: tar::Builder<BufWriter<NamedTempFile>>,
    keys: HashSet<String>,
    bytes: u64,
}

impl Writer {
    fn new(target: Target, limit: u64) -> Self {
        Self {
            target,
            limit,
            done: Vec::new(),
            open: None,
        }
    }

    fn add(&mut self, key: &str, sample: Sample) -> Result<()> {
        let members = members(sample)?;
        let bytes: u64 = members
            .iter()
            .map(|(_, bytes)| 512 + (bytes.len() as u64).next_multiple_of(512))
            .sum();
        if self
            .open
            .as_ref()
            .is_some_and(|shard| shard.bytes + bytes > self.limit)
        {
            self.close()?;
        }
        let shard = match &mut self.open {
            Some(shard) => shard,
            None => {
                let file = temporary_file(&self.target.shard(0))?;
                self.open.insert(Shard {
                    builder: tar::Builder::new(BufWriter::new(file)),
                    keys: HashSet::new(),
                    bytes: 1024,
                })
            }
        };
        shard.bytes += bytes;
        let key = unique(&mut shard.keys, key);
        for (extension, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            // The same samples give the same shards, whenever they are packed.
            header.set_mtime(0);
            shard
                .builder
                .append_data(&mut header, format!("{key}.{extension}"), bytes.as_slice())
                .context("writing a shard")?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(shard) = self.open.take() {
            let file = shard
                .builder
                .into_inner()
                .and_then(|buffer| buffer.into_inner().map_err(Into::into))
                .and_then(|mut file| {
                    file.flush()?;
                    file.as_file().sync_all()?;
                    Ok(file)
                })
                .context("writing a shard")?;
            self.done.push((file.into_temp_path(), shard.keys.len()));
        }
        Ok(())
    }

    /// Names the shards, and gives the number of samples in each.
    fn finish(mut self) -> Result<BTreeMap<String, usize>> {
        self.close()?;
        ensure!(!self.done.is_empty(), "there is no sample to write");
        let mut sizes = BTreeMap::new();
        for (number, (file, samples)) in self.done.into_iter().enumerate() {
            publish(file, &self.target.shard(number))?;
            sizes.insert(self.target.name(number), samples);
        }
        // Those of an earlier, longer run would be read as if they belonged to this one.
        for number in sizes.len().. {
            let path = self.target.shard(number);
            if !path.exists() {
                break;
            }
            std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        note_sizes(&self.target, &sizes)?;
        Ok(sizes)
    }
}

/// Puts the sizes into `sizes.json`, beside those of other shards in the folder.
fn note_sizes(target: &Target, sizes: &BTreeMap<String, usize>) -> Result<()> {
    let path = target.folder.join("sizes.json");
    let known = File::open(&path).ok().map(serde_json::from_reader);
    let mut all: BTreeMap<String, usize> = known
        .transpose()
        .with_context(|| format!("{} is not what this command writes", path.display()))?
        .unwrap_or_default();
    all.retain(|name, _| target.folder.join(name).exists());
    all.extend(sizes.iter().map(|(name, &samples)| (name.clone(), samples)));
    let json = serde_json::to_string_pretty(&all)? + "\n";
    replace_file(&path, json.as_bytes())
}

/// What is written of a sample, by extension.
fn members(sample: Sample) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let Sample { raw, record, .. } = sample;
    let mut members = vec![(format_name(&raw.image), raw.image)];
    if let Some(json) = raw.json {
        let mut json: Map<String, Value> = serde_json::from_slice(&json)?;
        // The table of class names stays behind, so the name takes the place of the number.
        if let (Some(Value::Number(_)), Some(label)) = (json.get("label"), &record.label) {
            json.insert("label".into(), Value::String(label.clone()));
        }
        if !json.is_empty() {
            members.push(("json", Value::Object(json).to_string().into_bytes()));
        }
    }
    // open_clip reads nothing but this.
    let text = raw
        .text
        .or_else(|| record.captions.into_iter().next().map(String::into_bytes));
    members.extend(text.map(|text| ("txt", text)));
    Ok(members)
}

/// A key that is new to the shard and has no dot, which would end it.
fn unique(keys: &mut HashSet<String>, key: &str) -> String {
    let stem = key.rsplit_once('.').map_or(key, |(stem, _)| stem);
    let clean: String = stem
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
            _ => '_',
        })
        .collect();
    let clean = clean.trim_start_matches('_');
    let mut name = if clean.is_empty() {
        "sample".to_owned()
    } else {
        clean.chars().take(80).collect()
    };
    let stem = name.clone();
    let mut number = 2u64;
    while !keys.insert(name.clone()) {
        name = format!("{stem}_{number}");
        number += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_clean_and_unique() {
        let mut keys = HashSet::new();
        let names = ["cat/a.b.jpg", "cat/a.b.png", "ä", "", "7"].map(|key| unique(&mut keys, key));
        assert_eq!(names, ["cat_a_b", "cat_a_b_2", "sample", "sample_2", "7"]);
    }
}
