//! Samples for evaluation: in the order of the data, unaltered.

use std::path::Path;

use super::data_spec::DataSpec;
use super::dataset::DataSet;
use super::error::Result;
use super::files::Files;
use super::spec::ShardSpec;

/// One image with everything that it can be evaluated on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalSample {
    /// The sample's key in its shard.
    pub key: String,
    /// The encoded image.
    pub image: Vec<u8>,
    /// The class name: underscores are spaces, a number is looked up in the `classes.json` beside the shard.
    pub label: Option<String>,
    /// json `captions`; without them `KEY.txt`, or a json `sentence` that is not a question.
    pub captions: Vec<String>,
    /// json `qa`, each question with all its answers; also a `sentence` with a boolean `label`, answered by `true` or
    /// `false`.
    pub qa: Vec<(String, Vec<String>)>,
}

/// The samples of an evaluation data set; see [`read_samples`].
#[derive(Debug)]
pub struct EvalSamples {
    data: DataSet,
    /// The samples to read, by number.
    chosen: std::vec::IntoIter<usize>,
}

/// Opens the data of `spec` (relative names start at `base`) for reading in order: shards, or a table or folder by its
/// name.
///
/// # Errors
/// As [`DataSet::open`]; the iterator's items fail for unreadable files and wrong metadata. Nothing is skipped, so that
/// a score always is about the whole data set.
pub fn read_samples(spec: &ShardSpec, base: &Path) -> Result<EvalSamples> {
    read_data(&spec.clone().into(), base, &Files::default())
}

/// [`read_samples`] of any kind of data.
///
/// # Errors
/// The same.
pub fn read_data(spec: &DataSpec, base: &Path, files: &Files) -> Result<EvalSamples> {
    let data = DataSet::open(spec, base, files)?;
    let all: Vec<usize> = (0..data.len()).collect();
    Ok(EvalSamples {
        data,
        chosen: all.into_iter(),
    })
}

impl EvalSamples {
    /// At most `count` of the samples that are left, evenly spread over them: shards are often sorted by class.
    pub fn spread(mut self, count: usize) -> Self {
        let left = self.chosen.as_slice();
        let count = count.min(left.len());
        let chosen: Vec<usize> = (0..count)
            .filter_map(|at| left.get(at * left.len() / count).copied())
            .collect();
        self.chosen = chosen.into_iter();
        self
    }

    /// Those that are left whose key is wanted.
    pub fn only(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        let left = self.chosen.as_slice().iter().copied();
        let chosen: Vec<usize> = left.filter(|&at| wanted(&self.data.key(at))).collect();
        self.chosen = chosen.into_iter();
        self
    }

    fn read(&self, index: usize) -> Result<EvalSample> {
        let raw = self.data.read(index)?;
        let record = self.data.record(index, &raw)?;
        let mut captions = record.captions;
        if captions.is_empty() {
            captions.extend(record.text.or(record.sentence));
        }
        let questions = record.qa.into_iter().map(|(question, _)| question);
        let mut qa: Vec<(String, Vec<String>)> = questions.zip(record.answers).collect();
        let verdict = record.verdict;
        qa.extend(verdict.map(|(sentence, verdict)| (sentence, vec![verdict])));
        Ok(EvalSample {
            key: self.data.key(index),
            image: raw.image,
            label: record.label,
            captions,
            qa,
        })
    }
}

impl Iterator for EvalSamples {
    type Item = Result<EvalSample>;

    fn next(&mut self) -> Option<Self::Item> {
        self.chosen.next().map(|index| self.read(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.chosen.size_hint()
    }
}

impl ExactSizeIterator for EvalSamples {}

#[cfg(test)]
mod tests {
    use super::super::testing::write_tar;
    use super::*;

    #[test]
    fn samples_come_in_order_with_all_their_fields() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("classes.json"), r#"["cat", "dog"]"#).unwrap();
        let members: [(&str, &[u8]); 8] = [
            ("a.jpg", b"A"),
            ("a.json", br#"{"label": 1, "captions": ["x", "y"]}"#),
            ("a.txt", b"x"),
            ("b.jpg", b"B"),
            (
                "b.json",
                br#"{"sentence": "s", "label": false, "qa": [["q", "a"]]}"#,
            ),
            ("c.jpg", b"C"),
            ("c.txt", b"only text\n"),
            ("d.jpg", b"D"),
        ];
        write_tar(dir.path(), "0.tar", &members);
        write_tar(dir.path(), "1.tar", &[("e.png", b"E"), ("e.json", b"[]")]);
        let samples = read_samples(&"{0..1}.tar".into(), dir.path()).unwrap();
        assert_eq!(samples.len(), 5);
        let spread = |count| -> Vec<usize> {
            read_samples(&"{0..1}.tar".into(), dir.path())
                .unwrap()
                .spread(count)
                .chosen
                .collect()
        };
        let only = read_samples(&"{0..1}.tar".into(), dir.path()).unwrap();
        let only: Vec<usize> = only.only(|key| "bd".contains(key)).chosen.collect();
        assert_eq!(only, [1, 3]);
        assert_eq!(
            [spread(2), spread(0), spread(9)],
            [vec![0, 2], vec![], vec![0, 1, 2, 3, 4]]
        );
        let samples: Vec<_> = samples.collect();
        let get = |i: usize| samples[i].as_ref().unwrap();
        let keys: Vec<_> = (0..4).map(|i| get(i).key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c", "d"]);
        assert_eq!(get(0).label.as_deref(), Some("dog"));
        assert_eq!(get(0).captions, ["x", "y"]);
        let qa = [("q", "a"), ("s", "false")].map(|(q, a)| (q.to_owned(), vec![a.to_owned()]));
        assert_eq!(get(1).qa, qa);
        assert_eq!(get(1).label, None);
        assert_eq!(get(2).captions, ["only text"]);
        assert_eq!(get(3).image, b"D");
        let error = samples[4].as_ref().unwrap_err().to_string();
        assert!(
            error.contains("1.tar:e") && error.contains("not an object"),
            "{error}"
        );
    }
}
