//! What METEOR counts, and the score that follows.

/// Modules: exact, stem, synonym, paraphrase.
pub const MODULES: usize = 4;

/// Weight of recall in the mean of precision and recall.
const ALPHA: f64 = 0.85;
/// Exponent of the fragmentation.
const BETA: f64 = 0.2;
/// Weight of the fragmentation.
const GAMMA: f64 = 0.6;
/// Weight of content words against function words.
const DELTA: f64 = 0.75;
/// What a match of each module counts.
const WEIGHTS: [f64; MODULES] = [1.0, 0.6, 0.8, 0.6];

/// Counts of one caption against one reference, or sums of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// The caption.
    pub caption: Side,
    /// The reference.
    pub reference: Side,
    /// Runs of matches that stand in the same order in both.
    pub chunks: f64,
}

/// Counts of one of the two texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// Words.
    pub length: f64,
    /// Function words among them.
    pub function_words: f64,
    /// Matched content words by module.
    pub content: [f64; MODULES],
    /// Matched function words by module.
    pub function: [f64; MODULES],
}

impl Side {
    fn matches(&self) -> f64 {
        let both = self.content.iter().zip(&self.function);
        both.map(|(content, function)| content + function).sum()
    }

    /// The weighted share of its words that are matched.
    fn matched_share(&self) -> f64 {
        let weighted = |counts: &[f64; MODULES], delta: f64| {
            let each = counts.iter().zip(WEIGHTS);
            each.map(|(count, weight)| count * weight * delta)
                .sum::<f64>()
        };
        let length =
            DELTA * (self.length - self.function_words) + (1.0 - DELTA) * self.function_words;
        (weighted(&self.content, DELTA) + weighted(&self.function, 1.0 - DELTA)) / length
    }

    fn add(&mut self, other: &Self) {
        self.length += other.length;
        self.function_words += other.function_words;
        let pairs = self.content.iter_mut().zip(other.content);
        pairs.for_each(|(sum, count)| *sum += count);
        let pairs = self.function.iter_mut().zip(other.function);
        pairs.for_each(|(sum, count)| *sum += count);
    }
}

impl Statistics {
    /// Adds another caption's. A perfect caption adds no fragment.
    pub fn add(&mut self, other: &Self) {
        self.caption.add(&other.caption);
        self.reference.add(&other.reference);
        if !other.perfect() {
            self.chunks += other.chunks;
        }
    }

    /// 0 to 1.
    pub fn score(&self) -> f64 {
        let (precision, recall) = (self.caption.matched_share(), self.reference.matched_share());
        let mean = 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall);
        let fragmentation = if self.perfect() {
            0.0
        } else {
            self.chunks / ((self.caption.matches() + self.reference.matches()) / 2.0)
        };
        let score = mean * (1.0 - GAMMA * fragmentation.powf(BETA));
        // Not a number where nothing matches.
        if score.is_nan() { 0.0 } else { score.max(0.0) }
    }

    fn perfect(&self) -> bool {
        self.caption.matches() == self.caption.length
            && self.reference.matches() == self.reference.length
            && self.chunks == 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(length: f64, exact: f64) -> Side {
        Side {
            length,
            content: [exact, 0.0, 0.0, 0.0],
            ..Side::default()
        }
    }

    #[test]
    fn by_hand() {
        let one = Statistics {
            caption: side(4.0, 2.0),
            reference: side(5.0, 2.0),
            chunks: 1.0,
        };
        let mean = 1.0 / (0.15 / 0.5 + 0.85 / 0.4);
        let expected = mean * (1.0 - 0.6 * 0.5f64.powf(0.2));
        assert!((one.score() - expected).abs() < 1e-12);
        assert_eq!(Statistics::default().score(), 0.0);
        let perfect = Statistics {
            caption: side(3.0, 3.0),
            reference: side(3.0, 3.0),
            chunks: 1.0,
        };
        assert_eq!(perfect.score(), 1.0);
        let mut sum = one.clone();
        sum.add(&perfect);
        assert_eq!((sum.chunks, sum.caption.length), (1.0, 7.0));
    }
}
