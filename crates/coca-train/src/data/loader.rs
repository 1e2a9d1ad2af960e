//! What each batch consists of, computed from the seed and the step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coca_model::preprocess::Preprocessor;

use super::augment::AugmentConfig;
use super::batch::{Batch, Example, Row, Tokenize};
use super::batches::Batches;
use super::config::{DataConfig, LoaderConfig};
use super::error::{Error, Result};
use super::mix::{Mix, Purpose, stream};
use super::sample::choose_texts;
use super::source::{CacheBudget, Common, Loaded, Source};

/// Receives one line for each broken sample, from any thread.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Everything that batches depend on.
pub struct LoaderSetup<'a> {
    /// The data sets to mix.
    pub data: &'a [DataConfig],
    /// For the data sets without an `augment` of their own.
    pub augment: &'a AugmentConfig,
    /// Sizes, seed, threads.
    pub loader: &'a LoaderConfig,
    /// Where relative shard names start.
    pub base: &'a Path,
    /// The model's image size and statistics.
    pub preprocessor: Preprocessor,
    /// The model's tokenizer.
    pub tokenizer: Arc<dyn Tokenize>,
    /// L, the length of a row of tokens.
    pub context_length: usize,
    /// Told of broken samples.
    pub log: Log,
}

/// Opened data sets, and the recipe of every batch. Cheap to clone.
#[derive(Clone)]
pub struct Loader(Arc<Recipe>);

struct Recipe {
    sources: Vec<Source>,
    mix: Mix,
    config: LoaderConfig,
    preprocessor: Preprocessor,
    tokenizer: Arc<dyn Tokenize>,
    context_length: usize,
    log: Log,
}

/// What a log line says of one data set.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceProgress {
    /// The specification of the data.
    pub shards: String,
    /// How many samples it has.
    pub samples: usize,
    /// How many times they have been gone through.
    pub epochs: f64,
    /// How many have turned out to be broken.
    pub broken: usize,
}

impl Loader {
    /// Checks the configuration and indexes all shards.
    ///
    /// # Errors
    /// A wrong setting, or a shard that is missing or damaged.
    pub fn open(setup: LoaderSetup) -> Result<Self> {
        let config = setup.loader;
        config.validate()?;
        setup.augment.validate()?;
        if setup.data.is_empty() {
            return Err(Error::Config(
                "there is no [[data]] table, so nothing to train on".into(),
            ));
        }
        if setup.context_length < 3 {
            let length = setup.context_length;
            return Err(Error::Config(format!(
                "a context of {length} tokens has no room for text"
            )));
        }
        let common = Common {
            base: setup.base,
            files: config.files(setup.base),
            augment: setup.augment,
            seed: config.seed,
            budget: Arc::new(CacheBudget::new(config.cache_mb.saturating_mul(1 << 20))),
            max_broken: config.max_broken,
        };
        let open = |(number, data)| Source::open(data, number, &common);
        let sources: Vec<Source> = setup
            .data
            .iter()
            .enumerate()
            .map(open)
            .collect::<Result<_>>()?;
        let weights: Vec<f64> = setup.data.iter().map(|data| data.weight).collect();
        Ok(Self(Arc::new(Recipe {
            sources,
            mix: Mix::new(&weights),
            config: config.clone(),
            preprocessor: setup.preprocessor,
            tokenizer: setup.tokenizer,
            context_length: setup.context_length,
            log: setup.log,
        })))
    }

    /// The state of each data set after `step` steps.
    pub fn progress(&self, step: u64) -> Vec<SourceProgress> {
        let slots = step.saturating_mul(self.0.config.batch_size as u64);
        let counts = self.0.mix.counts(slots);
        let progress = |(source, count): (&Source, u64)| SourceProgress {
            shards: source.config.spec.to_string(),
            samples: source.len(),
            epochs: count as f64 / source.len().max(1) as f64,
            broken: source.broken(),
        };
        self.0.sources.iter().zip(counts).map(progress).collect()
    }

    /// Makes the batch of one step on the calling thread.
    pub fn batch(&self, step: u64) -> Result<Batch> {
        self.0.batch(step, &AtomicBool::new(false))
    }

    /// Starts the workers. The first batch is that of `step`, and the sequence is exactly what an uninterrupted run
    /// from step 0 gives from there on, with any number of workers.
    pub fn start_at(&self, step: u64) -> Result<Batches> {
        let (recipe, config) = (Arc::clone(&self.0), &self.0.config);
        let make = move |step, stop: &AtomicBool| recipe.batch(step, stop);
        Batches::start(step, config.worker_count(), config.prefetch, make)
    }
}

impl Recipe {
    /// The batch of one step; given up as [`Error::Stopped`] when `stop` is set.
    fn batch(&self, step: u64, stop: &AtomicBool) -> Result<Batch> {
        let size = self.config.batch_size;
        let mut examples = Vec::with_capacity(size);
        for row in 0..size as u64 {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            examples.push(self.example(step, row)?);
        }
        Ok(Batch::assemble(step, examples, self.config.texts_per_image))
    }

    /// The example of one row: the sample whose turn it is, or the next one that is not broken.
    fn example(&self, step: u64, row: u64) -> Result<Example> {
        let slot = step
            .saturating_mul(self.config.batch_size as u64)
            .saturating_add(row);
        let (data, position) = self.mix.assign(slot);
        let source = self.sources.get(data).ok_or(Error::Stopped)?;
        for sample in source.candidates(position) {
            if source.is_broken(sample) {
                continue;
            }
            let error = match self.guarded_example(source, (data, sample), (step, row)) {
                Err(error @ Error::Sample { .. }) => error,
                result => return result,
            };
            if source.note_broken(sample, &error)? {
                (self.log)(&format!("{error}; the next good sample takes its place"));
            }
        }
        Err(Error::Config(format!(
            "data `{}`: every sample is broken",
            source.config.spec
        )))
    }

    /// [`Self::make_example`], with a panic turned into an error that names the sample.
    fn guarded_example(
        &self,
        source: &Source,
        id: (usize, usize),
        place: (u64, u64),
    ) -> Result<Example> {
        let make = || {
            let loaded = source.load(id.1, &self.preprocessor)?;
            self.make_example(source, id, &loaded, place)
        };
        // The caches hold whole samples or none, so a panic leaves nothing half done.
        catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Error::Worker {
                sample: source.name(id.1),
                message: text.unwrap_or_else(|| "no message".into()),
            })
        })
    }

    fn make_example(
        &self,
        source: &Source,
        id: (usize, usize),
        loaded: &Loaded,
        (step, row): (u64, u64),
    ) -> Result<Example> {
        let mut rng = stream(self.config.seed, Purpose::Sample, step, row);
        let count = self.config.texts_per_image;
        let texts = choose_texts(&loaded.record, &source.config, count, &mut rng);
        let row_of = |text| Row::new(text, self.context_length, &*self.tokenizer);
        let rows = texts.into_iter().map(row_of).collect();
        let pixels = source
            .augment
            .pixels(&loaded.image, &self.preprocessor, &mut rng)
            .map_err(|e| source.sample_error(id.1, e))?;
        Ok(Example {
            name: source.name(id.1),
            id,
            pixels,
            rows,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Letters, jpeg, write_samples, write_tar};
    use super::*;
    use coca_model::preprocess::PreprocessConfig;
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;

    struct Fixture {
        folder: tempfile::TempDir,
        data: Vec<DataConfig>,
        augment: AugmentConfig,
        loader: LoaderConfig,
        log: Arc<Mutex<Vec<String>>>,
    }

    impl Fixture {
        /// Two data sets: 10 samples with captions, 5 with a label and questions.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let one: Vec<_> = (0..10)
                .map(|i| {
                    (
                        format!("a{i}"),
                        format!(r#"{{"captions": ["ab", "c{i}"]}}"#),
                    )
                })
                .collect();
            let two: Vec<_> = (0..5)
                .map(|i| {
                    (
                        format!("b{i}"),
                        r#"{"label": "x", "qa": [["q", "yes"]]}"#.to_owned(),
                    )
                })
                .collect();
            write_samples(folder.path(), "one.tar", &one);
            write_samples(folder.path(), "two.tar", &two);
            let mut data = vec![DataConfig::new("one.tar"), DataConfig::new("two.tar")];
            data[0].weight = 3.0;
            let mut augment = AugmentConfig {
                horizontal_flip: 0.5,
                ..AugmentConfig::default()
            };
            augment.colour_jitter.prob = 0.5;
            augment.colour_jitter.brightness = 0.5;
            let loader = LoaderConfig {
                batch_size: 6,
                workers: 2,
                max_broken: 0.5,
                ..LoaderConfig::default()
            };
            Self {
                folder,
                data,
                augment,
                loader,
                log: Arc::default(),
            }
        }

        fn open(&self) -> Result<Loader> {
            self.open_with(Arc::new(Letters))
        }

        fn open_with(&self, tokenizer: Arc<dyn Tokenize>) -> Result<Loader> {
            let log = Arc::clone(&self.log);
            Loader::open(LoaderSetup {
                data: &self.data,
                augment: &self.augment,
                loader: &self.loader,
                base: self.folder.path(),
                preprocessor: Preprocessor::new(PreprocessConfig::for_size(8, 8)).unwrap(),
                tokenizer,
                context_length: 16,
                log: Arc::new(move |line| log.lock().unwrap().push(line.into())),
            })
        }

        fn take(&self, step: u64, count: usize) -> Vec<Batch> {
            let batches = self.open().unwrap().start_at(step).unwrap();
            batches.take(count).map(Result::unwrap).collect()
        }
    }

    #[test]
    fn batches_do_not_depend_on_workers_cache_or_start() {
        let mut fixture = Fixture::new();
        fixture.loader.texts_per_image = 2;
        let expected = fixture.take(0, 12);
        assert_ne!(expected[0].pixels, expected[1].pixels);
        let alone = fixture.open().unwrap();
        for batch in &expected {
            assert_eq!(alone.batch(batch.step).unwrap(), *batch);
        }
        for workers in [1, 3] {
            fixture.loader.workers = workers;
            assert_eq!(fixture.take(0, 12), expected, "{workers} workers");
            assert_eq!(
                fixture.take(7, 5),
                expected[7..],
                "{workers} workers from step 7"
            );
        }
        // The images are scaled down for the cache, so pixels differ from those without; but not between runs, and
        // not with how many images find room.
        fixture.loader.cache_mb = 1;
        let cached = fixture.take(0, 12);
        assert_eq!(fixture.take(5, 7), cached[5..]);
        assert_ne!(cached[0].pixels, expected[0].pixels);
        assert_eq!(cached[0].ids, expected[0].ids);
        fixture.loader.seed = 1;
        assert_ne!(fixture.take(0, 12), cached);
    }

    #[test]
    fn shares_follow_the_weights_and_epochs_visit_all_samples() {
        let fixture = Fixture::new();
        // 20 steps of 6: 90 and 30 samples, that is 9 and 6 epochs.
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for batch in fixture.take(0, 20) {
            assert_eq!(
                (batch.batch_size, batch.pixels.len(), batch.ids.len()),
                (6, 6 * 3 * 64, 6 * 16)
            );
            for key in batch.keys {
                *counts.entry(key).or_default() += 1;
            }
        }
        assert_eq!(counts.len(), 15);
        for (key, count) in counts {
            assert_eq!(count, if key.starts_with("one") { 9 } else { 6 }, "{key}");
        }
        let progress = fixture.open().unwrap().progress(20);
        assert_eq!(progress[0].epochs, 9.0);
        assert_eq!(
            (progress[1].epochs, progress[1].samples, progress[1].broken),
            (6.0, 5, 0)
        );
    }

    #[test]
    fn rows_carry_prefixes_and_contrastive_groups() {
        let mut fixture = Fixture::new();
        fixture.data.remove(0);
        fixture.loader.texts_per_image = 2;
        fixture.data[0].answer_template = "xx {question} y".into();
        let batch = fixture.take(0, 1).remove(0);
        // Row 0 of each image: the label in a template; row 1: "xx q y" has 6 letters and blanks, then the answer.
        assert_eq!(batch.prefix_lengths, [1, 7].repeat(6));
        assert_eq!(batch.contrastive_index, [0, 2, 4, 6, 8, 10]);
        assert_eq!(batch.contrastive_targets, [0; 6]);
        assert_eq!(batch.weights, [1.0; 12]);
        fixture.data[0].fields = vec![super::super::config::Field::Qa];
        let batch = fixture.take(0, 1).remove(0);
        assert_eq!(batch.contrastive_index, [-1; 6]);
        assert_eq!(batch.weights, [1.0, 0.0].repeat(6));
    }

    #[test]
    fn broken_samples_are_replaced_logged_once_and_limited() {
        let mut fixture = Fixture::new();
        fixture.data.remove(1);
        let good = jpeg(20, 20, 9);
        let members: [(&str, &[u8]); 8] = [
            ("0.jpg", &good),
            ("0.txt", b"a"),
            ("1.jpg", b"not an image"),
            ("1.txt", b"b"),
            ("2.jpg", &good),
            ("3.jpg", &good),
            ("3.txt", b"d"),
            ("4.png", &good[..good.len() / 8]),
        ];
        write_tar(fixture.folder.path(), "one.tar", &members);
        fixture.loader.max_broken = 0.6;
        let expected = fixture.take(0, 10);
        let keys: BTreeSet<_> = expected
            .iter()
            .flat_map(|b| b.keys.iter().map(String::as_str))
            .collect();
        assert!(keys.into_iter().eq(["one.tar:0", "one.tar:3"]));
        let log = std::mem::take(&mut *fixture.log.lock().unwrap());
        assert_eq!(log.len(), 3, "{log:?}");
        for word in [
            "one.tar:1: cannot decode",
            "one.tar:2: it has no text",
            "one.tar:4",
        ] {
            assert!(
                log.iter().any(|line| line.contains(word)),
                "{word} not in {log:?}"
            );
        }
        fixture.loader.workers = 3;
        assert_eq!(fixture.take(4, 6), expected[4..]);

        fixture.loader.max_broken = 0.4;
        let mut batches = fixture.open().unwrap().start_at(0).unwrap();
        let error = batches.find_map(Result::err).unwrap();
        assert!(
            matches!(
                error,
                Error::TooManyBroken {
                    broken: 3,
                    total: 5,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn panics_name_the_sample() {
        struct Explosive;
        impl Tokenize for Explosive {
            fn encode(&self, _: &str) -> Vec<u32> {
                panic!("boom")
            }
            fn sot(&self) -> u32 {
                0
            }
            fn eot(&self) -> u32 {
                0
            }
            fn pad(&self) -> u32 {
                0
            }
        }
        let fixture = Fixture::new();
        let mut batches = fixture
            .open_with(Arc::new(Explosive))
            .unwrap()
            .start_at(0)
            .unwrap();
        let error = batches.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("boom") && error.contains(".tar:"), "{error}");
    }

    #[test]
    fn only_keeps_matching_samples_and_nothing_to_train_on_is_an_error() {
        let mut fixture = Fixture::new();
        fixture.data[1].only.insert("label".into(), "x".into());
        assert_eq!(fixture.open().unwrap().progress(0)[1].samples, 5);
        fixture.data[1].only.insert("label".into(), "y".into());
        let error = fixture.open().err().unwrap().to_string();
        assert!(
            error.contains("two.tar") && error.contains("only"),
            "{error}"
        );
        fixture.data.clear();
        assert!(
            fixture
                .open()
                .err()
                .unwrap()
                .to_string()
                .contains("[[data]]")
        );
    }
}
