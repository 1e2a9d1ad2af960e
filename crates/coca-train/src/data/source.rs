//! One data set of the mixture: its samples by number, their decoded images, and which of them are broken.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use coca_model::preprocess::{DecodeOptions, ImageSize, Preprocessor, decode_rgb, resize_box};
use image::RgbImage;

use super::augment::AugmentConfig;
use super::config::DataConfig;
use super::error::{Error, Result};
use super::mix::permutation;
use super::record::{Classes, Record};
use super::sample::has_text;
use super::webdataset::Shards;

/// Cached images keep this much more than the model's image size, so that crops still have pixels to choose from.
const CACHE_MARGIN: f64 = 1.3;

/// The class names of each folder that shards lie in.
#[derive(Debug)]
pub struct ClassTables(BTreeMap<PathBuf, Classes>);

impl ClassTables {
    /// Reads the tables beside the shards.
    pub fn beside(shards: &Shards) -> Result<Self> {
        let mut tables = BTreeMap::new();
        for path in shards.paths() {
            let folder = path.parent().unwrap_or(path).to_path_buf();
            if let Entry::Vacant(table) = tables.entry(folder) {
                table.insert(Classes::beside(path)?);
            }
        }
        Ok(Self(tables))
    }

    /// The table for sample `index`.
    pub fn of(&self, shards: &Shards, index: usize) -> Option<&Classes> {
        self.0.get(shards.shard_of(index)?.parent()?)
    }
}

/// A usable sample: its image, decoded, and what is known about it.
#[derive(Debug)]
pub struct Loaded {
    /// The decoded image; with a cache, not larger than the cache keeps it.
    pub image: RgbImage,
    /// Its metadata.
    pub record: Record,
}

/// Memory that all data sets share for decoded images, in bytes.
#[derive(Debug, Default)]
pub struct CacheBudget {
    limit: usize,
    used: AtomicUsize,
}

impl CacheBudget {
    /// A budget of `limit` bytes; zero for no cache.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
        }
    }

    /// Takes `size` bytes if they are left. Nothing is ever evicted: epochs visit all samples equally often, so
    /// exchanging one for another would gain nothing.
    fn take(&self, size: usize) -> bool {
        let fits = |used: usize| used.checked_add(size).filter(|&sum| sum <= self.limit);
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, fits).is_ok()
    }

    fn give_back(&self, size: usize) {
        self.used.fetch_sub(size, Ordering::Relaxed);
    }
}

/// An opened data set.
#[derive(Debug)]
pub struct Source {
    /// The configuration it was opened with.
    pub config: DataConfig,
    /// How its images are augmented.
    pub augment: AugmentConfig,
    number: usize,
    seed: u64,
    shards: Shards,
    classes: ClassTables,
    /// Orders of the two epochs that were used last: a batch may straddle a boundary.
    orders: Mutex<[Option<Order>; 2]>,
    /// Decoded samples; empty without a cache.
    cache: Vec<OnceLock<Arc<Loaded>>>,
    budget: Arc<CacheBudget>,
    broken: Mutex<BTreeSet<usize>>,
    max_broken: f64,
}

/// The order of the samples in one epoch.
#[derive(Debug)]
struct Order {
    epoch: u64,
    samples: Arc<Vec<u32>>,
}

/// What all data sets of a loader have in common.
pub struct Common<'a> {
    /// Where relative shard names start.
    pub base: &'a Path,
    /// For data sets without an `augment` of their own.
    pub augment: &'a AugmentConfig,
    /// Decides the order of samples.
    pub seed: u64,
    /// Memory for decoded images.
    pub budget: Arc<CacheBudget>,
    /// The share of samples that may be broken.
    pub max_broken: f64,
}

impl Source {
    /// Opens data set `number` of the mixture.
    pub fn open(config: &DataConfig, number: usize, common: &Common) -> Result<Self> {
        config.validate()?;
        let mut shards = Shards::open(config.shards.resolve(common.base)?)?;
        if !config.only.is_empty() {
            shards.retain(|shards, index| matches(shards, index, config))?;
        }
        let fail = |reason: &str| Error::Spec {
            spec: config.shards.to_string(),
            reason: reason.into(),
        };
        if shards.len() == 0 {
            return Err(fail("no sample has the values that `only` asks for"));
        }
        if u32::try_from(shards.len()).is_err() {
            return Err(fail(
                "more than 4 billion samples; split it into several data sets",
            ));
        }
        let cached = if common.budget.limit > 0 {
            shards.len()
        } else {
            0
        };
        Ok(Self {
            config: config.clone(),
            augment: config.augment.as_ref().unwrap_or(common.augment).clone(),
            number,
            seed: common.seed,
            classes: ClassTables::beside(&shards)?,
            shards,
            orders: Mutex::default(),
            cache: std::iter::repeat_with(OnceLock::new).take(cached).collect(),
            budget: Arc::clone(&common.budget),
            broken: Mutex::default(),
            max_broken: common.max_broken,
        })
    }

    /// How many samples it has.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// `shard.tar:key` of sample `index`.
    pub fn name(&self, index: usize) -> String {
        self.shards.name(index)
    }

    /// How many samples have turned out to be broken so far.
    pub fn broken(&self) -> usize {
        self.broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// The samples to try for position `position` of the endless sequence of epochs: the one whose turn it is, then
    /// those that stand in when it is broken (the next ones of the epoch, around its end).
    pub fn candidates(&self, position: u64) -> impl Iterator<Item = usize> {
        let len = self.len().max(1);
        let (epoch, at) = (position / len as u64, (position % len as u64) as usize);
        let order = self.order(epoch);
        (0..len).filter_map(move |step| Some(*order.get((at + step) % len)? as usize))
    }

    fn order(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let [even, odd] = &mut *orders;
        let slot = if epoch.is_multiple_of(2) { even } else { odd };
        match slot {
            Some(order) if order.epoch == epoch => Arc::clone(&order.samples),
            _ => {
                let len = self.len() as u32;
                let samples = Arc::new(permutation(self.seed, self.number, epoch, len));
                let kept = Arc::clone(&samples);
                *slot = Some(Order {
                    epoch,
                    samples: kept,
                });
                samples
            }
        }
    }

    /// Reads and decodes sample `index`, or takes it from the cache.
    ///
    /// # Errors
    /// [`Error::Sample`] for a broken sample; any other error means that the data set cannot be read.
    pub fn load(&self, index: usize, preprocessor: &Preprocessor) -> Result<Arc<Loaded>> {
        let slot = self.cache.get(index);
        if let Some(loaded) = slot.and_then(OnceLock::get) {
            return Ok(Arc::clone(loaded));
        }
        let mut loaded = self.decode(index)?;
        if let Some(slot) = slot {
            // Done whether or not it will be kept, lest pixels depend on what the cache had room for.
            loaded.image =
                shrink(loaded.image, preprocessor).map_err(|e| self.sample_error(index, e))?;
            let loaded = Arc::new(loaded);
            let size = loaded.image.as_raw().len();
            if self.budget.take(size) && slot.set(Arc::clone(&loaded)).is_err() {
                self.budget.give_back(size);
            }
            return Ok(loaded);
        }
        Ok(Arc::new(loaded))
    }

    fn decode(&self, index: usize) -> Result<Loaded> {
        let raw = self.shards.read(index)?;
        let none = Classes::default();
        let classes = self.classes.of(&self.shards, index).unwrap_or(&none);
        let record = Record::parse(&raw, classes).map_err(|e| self.sample_error(index, e))?;
        if !has_text(&record, &self.config.fields) {
            let fields = &self.config.fields;
            return Err(self.sample_error(index, format!("it has no text; in use are {fields:?}")));
        }
        let image = decode_rgb(&raw.image, &DecodeOptions::default());
        let image = image.map_err(|e| self.sample_error(index, e))?;
        Ok(Loaded { image, record })
    }

    /// The error of a broken sample.
    pub fn sample_error(&self, index: usize, reason: impl ToString) -> Error {
        Error::Sample {
            name: self.name(index),
            reason: reason.to_string(),
        }
    }

    /// Whether sample `index` is known to be broken.
    pub fn is_broken(&self, index: usize) -> bool {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.contains(&index)
    }

    /// Notes that sample `index` is broken; true if that was not known. Fails when there are too many.
    pub fn note_broken(&self, index: usize, error: &Error) -> Result<bool> {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = broken.insert(index);
        if broken.len() as f64 > self.max_broken * self.len() as f64 {
            return Err(Error::TooManyBroken {
                data: self.config.shards.to_string(),
                broken: broken.len(),
                total: self.len(),
                limit: self.max_broken,
                last: error.to_string(),
            });
        }
        Ok(is_new)
    }
}

/// Whether the json of a sample holds every value of `only`.
fn matches(shards: &Shards, index: usize, config: &DataConfig) -> Result<bool> {
    let Some(json) = shards.read_json(index)? else {
        return Ok(false);
    };
    // Broken metadata are met again, and counted, when the sample is loaded.
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(&json) else {
        return Ok(true);
    };
    Ok(config
        .only
        .iter()
        .all(|(name, value)| json.get(name) == Some(value)))
}

/// Scales an image down to what the cache keeps, if it is larger.
fn shrink(image: RgbImage, preprocessor: &Preprocessor) -> coca_model::Result<RgbImage> {
    let (width, height) = image.dimensions();
    let ImageSize {
        height: model_height,
        width: model_width,
    } = preprocessor.config().size;
    let short = (model_height.max(model_width) as f64 * CACHE_MARGIN).ceil();
    let scale = short / f64::from(width.min(height).max(1));
    if scale >= 1.0 {
        return Ok(image);
    }
    let scaled = |side: u32| (f64::from(side) * scale).round().max(1.0) as u32;
    let (to_width, to_height) = (scaled(width), scaled(height));
    // A panorama so long that the resize refuses it is kept as it is.
    match resize_box(
        &image,
        (0, 0, width, height),
        to_width,
        to_height,
        preprocessor.config().interpolation,
    ) {
        Err(coca_model::Error::Input(_)) => Ok(image),
        result => result,
    }
}
