//! Which words of a caption match which of a reference: the alignment with the most matches, and of those the one in
//! the fewest chunks, found by the beam search of METEOR 1.5 (whose ties and roundings decide scores, so they are
//! kept).

use super::lexicon::Lexicon;
use super::paraphrases::Paraphrases;
use super::statistics::{MODULES, Side, Statistics};

/// Partial alignments that are followed.
const BEAM: usize = 40;
/// What a matched word counts in the search, by module.
const SEARCH_WEIGHTS: [f64; MODULES] = [1.0, 0.5, 0.5, 0.5];

/// Words of the reference that match words of the caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Match {
    /// First word in the reference.
    start: usize,
    /// Words in the reference.
    length: usize,
    /// First word in the caption.
    caption_start: usize,
    /// Words in the caption.
    caption_length: usize,
    module: usize,
}

/// All matches there are, by their first word in the reference, and how many cover each word.
struct Matches {
    at: Vec<Vec<Match>>,
    caption_cover: Vec<usize>,
    reference_cover: Vec<usize>,
}

/// An alignment up to some word of the reference.
#[derive(Clone)]
struct Partial {
    /// By first word in the reference.
    matches: Vec<Option<Match>>,
    caption_used: Vec<bool>,
    reference_used: Vec<bool>,
    /// Matched words of both, weighted.
    weight: usize,
    chunks: usize,
    /// Distances between matched words.
    distance: usize,
    /// The word of the reference that comes next.
    next: usize,
    /// Where the last match ends in the caption; `None` after a gap.
    last_end: Option<usize>,
}

/// The statistics of the best alignment.
pub fn align(
    caption: &[u32],
    reference: &[u32],
    lexicon: &Lexicon,
    paraphrases: &Paraphrases,
) -> Statistics {
    let matches = Matches::find(caption, reference, lexicon, paraphrases);
    let best = search(&matches, certain(&matches, caption.len(), reference.len()));
    let function = |words: &[u32]| -> Vec<bool> {
        words
            .iter()
            .map(|&word| lexicon.is_function(word))
            .collect()
    };
    let (in_caption, in_reference) = (function(caption), function(reference));
    let mut statistics = Statistics {
        caption: side(&in_caption),
        reference: side(&in_reference),
        chunks: chunks(&best.matches) as f64,
    };
    for found in best.matches.iter().flatten() {
        let caption = found.caption_start..found.caption_start + found.caption_length;
        count(&mut statistics.caption, found.module, &in_caption[caption]);
        let reference = found.start..found.start + found.length;
        count(
            &mut statistics.reference,
            found.module,
            &in_reference[reference],
        );
    }
    statistics
}

fn side(function: &[bool]) -> Side {
    Side {
        length: function.len() as f64,
        function_words: function.iter().filter(|&&is| is).count() as f64,
        ..Side::default()
    }
}

fn count(side: &mut Side, module: usize, function: &[bool]) {
    for &is_function in function {
        let counts = if is_function {
            &mut side.function
        } else {
            &mut side.content
        };
        counts[module] += 1.0;
    }
}

impl Matches {
    fn find(
        caption: &[u32],
        reference: &[u32],
        lexicon: &Lexicon,
        paraphrases: &Paraphrases,
    ) -> Self {
        let mut matches = Self {
            at: vec![Vec::new(); reference.len()],
            caption_cover: vec![0; caption.len()],
            reference_cover: vec![0; reference.len()],
        };
        matches.words(0, caption, reference, |a, b| a == b);
        // Equal texts need nothing else.
        if caption == reference {
            return matches;
        }
        matches.words(1, caption, reference, |a, b| {
            a != b && lexicon.same_stem(a, b)
        });
        matches.words(2, caption, reference, |a, b| {
            a != b && lexicon.synonymous(a, b)
        });
        for start in 0..reference.len() {
            for (length, other) in paraphrases.at(&reference[start..]) {
                for caption_start in places(caption, other) {
                    matches.push(Match {
                        start,
                        length,
                        caption_start,
                        caption_length: other.len(),
                        module: 3,
                    });
                }
            }
        }
        for caption_start in 0..caption.len() {
            for (caption_length, other) in paraphrases.at(&caption[caption_start..]) {
                for start in places(reference, other) {
                    matches.push(Match {
                        start,
                        length: other.len(),
                        caption_start,
                        caption_length,
                        module: 3,
                    });
                }
            }
        }
        matches
    }

    /// Matches single words.
    fn words(
        &mut self,
        module: usize,
        caption: &[u32],
        reference: &[u32],
        alike: impl Fn(u32, u32) -> bool,
    ) {
        for (start, &word) in reference.iter().enumerate() {
            for (caption_start, &other) in caption.iter().enumerate() {
                if alike(other, word) {
                    self.push(Match {
                        start,
                        length: 1,
                        caption_start,
                        caption_length: 1,
                        module,
                    });
                }
            }
        }
    }

    fn push(&mut self, found: Match) {
        self.at[found.start].push(found);
        let caption = found.caption_start..found.caption_start + found.caption_length;
        self.caption_cover[caption]
            .iter_mut()
            .for_each(|cover| *cover += 1);
        let reference = found.start..found.start + found.length;
        self.reference_cover[reference]
            .iter_mut()
            .for_each(|cover| *cover += 1);
    }
}

/// Where `phrase` stands in `words`.
fn places(words: &[u32], phrase: &[u32]) -> impl Iterator<Item = usize> {
    let windows = words.windows(phrase.len().max(1)).enumerate();
    windows.filter_map(move |(at, window)| (window == phrase).then_some(at))
}

/// The start of the search: matches of words that nothing else covers are certain.
fn certain(matches: &Matches, caption: usize, reference: usize) -> Partial {
    let mut start = Partial {
        matches: vec![None; reference],
        caption_used: vec![false; caption],
        reference_used: vec![false; reference],
        weight: 0,
        chunks: 0,
        distance: 0,
        next: 0,
        last_end: None,
    };
    for (at, found) in matches.at.iter().enumerate() {
        let [found] = found.as_slice() else { continue };
        let caption = found.caption_start..found.caption_start + found.caption_length;
        let reference = found.start..found.start + found.length;
        let alone = matches.caption_cover[caption]
            .iter()
            .all(|&cover| cover == 1)
            && matches.reference_cover[reference]
                .iter()
                .all(|&cover| cover == 1);
        if alone {
            start.matches[at] = Some(*found);
            start.mark(found);
        }
    }
    start
}

impl Partial {
    fn mark(&mut self, found: &Match) {
        self.caption_used[found.caption_start..found.caption_start + found.caption_length]
            .fill(true);
        self.reference_used[found.start..found.start + found.length].fill(true);
    }

    fn is_free(&self, found: &Match) -> bool {
        let caption = found.caption_start..found.caption_start + found.caption_length;
        let reference = found.start..found.start + found.length;
        !self.caption_used[caption].contains(&true)
            && !self.reference_used[reference].contains(&true)
    }

    /// Counts a match and goes to its end; its distance is counted by the caller.
    fn take(&mut self, found: &Match) {
        let weight = SEARCH_WEIGHTS[found.module];
        // Rounded down one by one, as the original adds to integers.
        self.weight += (found.caption_length as f64 * weight) as usize;
        self.weight += (found.length as f64 * weight) as usize;
        if self.last_end.is_some_and(|end| end != found.caption_start) {
            self.chunks += 1;
        }
        self.next = found.start + found.length;
        self.last_end = Some(found.caption_start + found.caption_length);
    }

    fn close_chunk(&mut self) {
        if self.last_end.take().is_some() {
            self.chunks += 1;
        }
    }
}

fn search(matches: &Matches, start: Partial) -> Partial {
    let mut paths = vec![start.clone()];
    for (current, candidates) in matches.at.iter().enumerate() {
        sort(&mut paths);
        paths.truncate(BEAM);
        let best = paths.first().cloned();
        let mut next = Vec::with_capacity(2 * paths.len());
        for path in paths {
            advance(path, current, candidates, &mut next);
        }
        // A certain match that no path can reach; the original goes on without it, too.
        if next.is_empty() {
            next.extend(best);
        }
        paths = next;
    }
    sort(&mut paths);
    paths.truncate(BEAM);
    for path in &mut paths {
        // The search has always counted a chunk that is open at the end, and left it open.
        path.chunks += usize::from(path.last_end.is_some());
    }
    sort(&mut paths);
    paths.into_iter().next().unwrap_or(start)
}

/// All ways of going on at a word of the reference.
fn advance(mut path: Partial, current: usize, candidates: &[Match], next: &mut Vec<Partial>) {
    if path.reference_used[current] {
        if current < path.next {
            next.push(path);
        } else if let Some(found) = path.matches.get(path.next).copied().flatten() {
            path.take(&found);
            path.distance += found.start.abs_diff(found.caption_start);
            next.push(path);
        }
        return;
    }
    for found in candidates {
        if !path.is_free(found) {
            continue;
        }
        let mut taken = path.clone();
        taken.mark(found);
        taken.matches[current] = Some(*found);
        taken.take(found);
        // The distance is the burden of the paths that do not take the match: a slip of the original that decides
        // between paths of equal weight.
        path.distance += found.start.abs_diff(found.caption_start);
        next.push(taken);
    }
    path.close_chunk();
    path.next += 1;
    next.push(path);
}

fn sort(paths: &mut [Partial]) {
    // Stable: of equal paths the earlier one stays ahead.
    paths.sort_by(|a, b| {
        let order = b.weight.cmp(&a.weight).then(a.chunks.cmp(&b.chunks));
        order.then(a.distance.cmp(&b.distance))
    });
}

/// Runs of matches that stand side by side in both texts.
fn chunks(matches: &[Option<Match>]) -> usize {
    let (mut chunks, mut at, mut last_end) = (0, 0, None);
    while let Some(found) = matches.get(at) {
        match found {
            Some(found) => {
                if last_end != Some(found.caption_start) {
                    chunks += 1;
                }
                at = found.start + found.length;
                last_end = Some(found.caption_start + found.caption_length);
            }
            None => {
                last_end = None;
                at += 1;
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(caption: &str, reference: &str) -> Statistics {
        let split =
            |text: &str| -> Vec<String> { text.split_whitespace().map(String::from).collect() };
        let (caption, reference) = (split(caption), split(reference));
        let lexicon = Lexicon::new(caption.iter().chain(&reference), None);
        align(
            &lexicon.numbers(&caption),
            &lexicon.numbers(&reference),
            &lexicon,
            &Paraphrases::default(),
        )
    }

    #[test]
    fn equal_words_and_stems_are_matched_once() {
        let found = aligned("a dog runs", "the dogs run");
        assert_eq!(found.caption.content, [0.0, 2.0, 0.0, 0.0]);
        assert_eq!((found.caption.function_words, found.chunks), (1.0, 1.0));
        // One "dog" of the caption has one partner only.
        let found = aligned("dog dog dog", "dog cat");
        assert_eq!(
            (found.caption.content[0], found.reference.content[0]),
            (1.0, 1.0)
        );
    }

    #[test]
    fn of_equal_alignments_the_one_in_fewer_chunks_wins() {
        let found = aligned("red dog red cat", "red cat");
        assert_eq!((found.caption.content[0], found.chunks), (2.0, 1.0));
        let found = aligned("cat dog", "dog cat");
        assert_eq!(found.chunks, 2.0);
    }
}
