//! One data set of the mixture: its samples by number, their decoded images, and which of them are broken.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use coca_model::preprocess::{DecodeOptions, ImageSize, Preprocessor, decode_rgb, resize_box};
use image::RgbImage;

use super::augment::AugmentConfig;
use super::config::DataConfig;
use super::dataset::DataSet;
use super::error::{Error, Result};
use super::files::Files;
use super::intact;
use super::order::{Epoch, Orders, REMOTE_WINDOW};
use super::record::Record;
use super::sample::has_text;

/// Cached images keep this much more than the model's image size, so that crops still have pixels to choose from.
const CACHE_MARGIN: f64 = 1.3;

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
    data: Arc<DataSet>,
    recipe: Orders,
    /// The window of files that is being downloaded ahead of its turn.
    ahead: Mutex<Option<(u64, usize)>>,
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
    samples: Arc<Epoch>,
}

/// What all data sets of a loader have in common.
pub struct Common<'a> {
    /// Where relative names start.
    pub base: &'a Path,
    /// Opens the files.
    pub files: Files,
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
        let mut data = DataSet::open(&config.spec, common.base, &common.files)?;
        data.keep_only(&config.only)?;
        if data.len() == 0 {
            return Err(Error::Spec {
                spec: config.spec.to_string(),
                reason: "no sample has the values that `only` asks for".into(),
            });
        }
        let mut recipe = Orders::new(common.seed, number, data.len() as u32, config.resampled);
        let default = data.is_remote().then_some(REMOTE_WINDOW);
        if let Some(window) = config.shuffle_shards.or(default) {
            recipe = recipe.in_windows(window, |sample| data.file_number(sample as usize));
        }
        let cached = if common.budget.limit > 0 {
            data.len()
        } else {
            0
        };
        Ok(Self {
            config: config.clone(),
            augment: config.augment.as_ref().unwrap_or(common.augment).clone(),
            data: Arc::new(data),
            recipe,
            ahead: Mutex::default(),
            orders: Mutex::default(),
            cache: std::iter::repeat_with(OnceLock::new).take(cached).collect(),
            budget: Arc::clone(&common.budget),
            broken: Mutex::default(),
            max_broken: common.max_broken,
        })
    }

    /// How many samples it has.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// `file:key` of sample `index`.
    pub fn name(&self, index: usize) -> String {
        self.data.name(index)
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
        self.fetch_ahead(epoch, at, &order);
        (0..len).filter_map(move |step| Some(*order.samples.get((at + step) % len)? as usize))
    }

    /// Downloads the files of the window after the one at `at` while that one is trained on.
    fn fetch_ahead(&self, epoch: u64, at: usize, order: &Epoch) {
        if order.windows.is_empty() || !self.data.is_remote() {
            return;
        }
        let next = order.windows.partition_point(|(start, _)| *start <= at);
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        // Workers may be a few rows apart; a window is not fetched again for the last of them.
        if ahead.is_some_and(|ahead| ahead >= (epoch, next)) {
            return;
        }
        *ahead = Some((epoch, next));
        if let Some((_, files)) = order.windows.get(next) {
            let (data, files) = (Arc::clone(&self.data), files.clone());
            std::thread::spawn(move || {
                for sample in files {
                    // Whoever reads the sample meets the error again, and reports it.
                    let _ = data.fetch(sample as usize);
                }
            });
        }
    }

    fn order(&self, epoch: u64) -> Arc<Epoch> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let [even, odd] = &mut *orders;
        let slot = if epoch.is_multiple_of(2) { even } else { odd };
        match slot {
            Some(order) if order.epoch == epoch => Arc::clone(&order.samples),
            _ => {
                let samples = Arc::new(self.recipe.epoch(epoch));
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
        let raw = self.data.read(index)?;
        let record = self.data.record(index, &raw)?;
        if !has_text(&record, &self.config.fields) {
            let fields = &self.config.fields;
            return Err(self.sample_error(index, format!("it has no text; in use are {fields:?}")));
        }
        let image = decode_image(&raw.image).map_err(|e| self.sample_error(index, e))?;
        Ok(Loaded { image, record })
    }

    /// The error of a broken sample.
    pub fn sample_error(&self, index: usize, reason: impl ToString) -> Error {
        self.data.sample_error(index, reason)
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
                data: self.config.spec.to_string(),
                broken: broken.len(),
                total: self.len(),
                limit: self.max_broken,
                last: error.to_string(),
            });
        }
        Ok(is_new)
    }
}

/// Decodes an image of the training data, which must be whole. The error is a sentence for the user.
pub fn decode_image(bytes: &[u8]) -> Result<RgbImage, String> {
    intact::check(bytes)?;
    decode_rgb(bytes, &DecodeOptions::default()).map_err(|error| error.to_string())
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
