//! The synonym module: WordNet's sets of synonyms.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

const JAR: &str = "meteor-1.5.jar";
/// Inflected forms and their base forms: base form and forms take turns, line by line.
const EXCEPTIONS: &str = "english.exceptions";
/// Words and the numbers of their sets take turns.
const SYNSETS: &str = "english.synsets";
/// More than both files are large.
const MOST_BYTES: u64 = 64 << 20;

/// Endings that WordNet strips to find a base form, and what it puts there; nouns, verbs, adjectives.
const ENDINGS: [(&str, &str); 20] = [
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("s", ""),
    ("ies", "y"),
    ("es", "e"),
    ("es", ""),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
    ("er", ""),
    ("est", ""),
    ("er", "e"),
    ("est", "e"),
];

/// Sets of synonyms by word.
#[derive(Debug, Default)]
pub struct Synonyms {
    /// Base forms of irregular forms.
    bases: HashMap<String, Vec<String>>,
    sets: HashMap<String, Vec<u32>>,
}

impl Synonyms {
    /// Reads the two files from a folder, its subfolder `synonym`, or the jar in it.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::parse(&file(folder, EXCEPTIONS)?, &file(folder, SYNSETS)?)
    }

    fn parse(exceptions: &str, synsets: &str) -> Result<Self> {
        let mut synonyms = Self::default();
        let mut lines = exceptions.lines();
        while let (Some(base), Some(forms)) = (lines.next(), lines.next()) {
            for form in forms.split_whitespace() {
                let bases = synonyms.bases.entry(form.to_owned()).or_default();
                bases.push(base.to_owned());
            }
        }
        let mut lines = synsets.lines();
        while let (Some(word), Some(sets)) = (lines.next(), lines.next()) {
            let sets: Result<Vec<u32>, _> = sets.split_whitespace().map(str::parse).collect();
            let sets = sets.with_context(|| format!("the sets of \"{word}\" in {SYNSETS}"))?;
            synonyms.sets.insert(word.to_owned(), sets);
        }
        Ok(synonyms)
    }

    /// The sets of a word and of its base form, sorted.
    pub fn sets(&self, word: &str) -> Vec<u32> {
        let mut sets = self.own_sets(word).to_vec();
        match self.bases.get(word) {
            Some(bases) => sets.extend(bases.iter().flat_map(|base| self.own_sets(base))),
            None => sets.extend(
                self.base_form(word)
                    .iter()
                    .flat_map(|base| self.own_sets(base)),
            ),
        }
        sets.sort_unstable();
        sets.dedup();
        sets
    }

    fn own_sets(&self, word: &str) -> &[u32] {
        self.sets.get(word).map_or(&[], Vec::as_slice)
    }

    /// WordNet's morphology, as METEOR has it.
    fn base_form(&self, word: &str) -> Option<String> {
        if word.ends_with("ss") || word.encode_utf16().count() <= 2 {
            return Some(word.to_owned());
        }
        let known = ENDINGS.iter().find_map(|(ending, instead)| {
            let base = format!("{}{instead}", word.strip_suffix(ending)?);
            self.sets.contains_key(&base).then_some(base)
        });
        known.map(|base| {
            if word.ends_with("ful") {
                base + "ful"
            } else {
                base
            }
        })
    }
}

/// The text of a file of the synonym module.
fn file(folder: &Path, name: &str) -> Result<String> {
    for path in [folder.join(name), folder.join("synonym").join(name)] {
        if path.is_file() {
            let file = File::open(&path).with_context(|| format!("reading {}", path.display()))?;
            return text(file).with_context(|| format!("reading {}", path.display()));
        }
    }
    let jar = folder.join(JAR);
    if !jar.is_file() {
        bail!(
            "{} holds neither {JAR} nor {name}; give the folder of METEOR 1.5, such as pycocoevalcap's folder meteor",
            folder.display()
        );
    }
    let read = || -> Result<String> {
        let mut archive = zip::ZipArchive::new(File::open(&jar)?)?;
        let member = archive.by_name(&format!("synonym/{name}"))?;
        text(member)
    };
    read().with_context(|| format!("reading synonym/{name} from {}", jar.display()))
}

fn text(source: impl Read) -> Result<String> {
    let mut text = String::new();
    let read = source.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MOST_BYTES {
        bail!("it is larger than {} MiB", MOST_BYTES >> 20);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_share_the_sets_of_their_base_forms() {
        let synonyms = Synonyms::parse(
            "goose\ngeese\n",
            "goose\n7 3\nbox\n1\nbaby\n2\nhandful\n4\nhand\n5\nas\n6\n",
        )
        .unwrap();
        for (word, sets) in [
            ("goose", &[3, 7][..]),
            ("geese", &[3, 7]),
            ("boxes", &[1]),
            ("babies", &[2]),
            ("hands", &[5]),
            ("handful", &[4]),
            ("as", &[6]),
            ("nothing", &[]),
        ] {
            assert_eq!(synonyms.sets(word), sets, "{word}");
        }
        assert!(Synonyms::parse("", "a\nx\n").is_err());
    }

    #[test]
    fn missing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Synonyms::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("meteor-1.5.jar"), "{error}");
    }
}
