//! Whether an answer is right: exactly, or by the rules of the VQA v2 evaluation.

/// What the VQA evaluation removes, or turns into a space inside a word.
const PUNCTUATION: [char; 21] = [
    ';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',',
    '?', '!',
];
const ARTICLES: [&str; 3] = ["a", "an", "the"];
const NUMBERS: [(&str, &str); 12] = [
    ("none", "0"),
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
];
/// Contractions that are also understood when one of their apostrophes is missing.
const CONTRACTIONS: &str = "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've \
    hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've \
    must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've \
    somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've \
    something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't \
    we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's \
    who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll \
    you're you've";
/// More points than this are not removed: the official code passes a flag where the number of replacements belongs.
const MOST_POINTS: usize = 32;

/// Equal up to case and the width of spaces, to any of people's answers.
pub fn exact_match(answer: &str, truths: &[String]) -> bool {
    truths.iter().any(|truth| plain(answer) == plain(truth))
}

/// The accuracy of VQA v2, 0 to 1 (Goyal et al. 2017): for each of people's answers, how many of the others the
/// answer is equal to, of which three are enough; the mean of that. With one answer it is whether they are equal.
///
/// The answer is taken in its normal form. Of people's answers only the punctuation is removed, and that only where
/// they are not all the same, as in the official code; a single answer is taken in its normal form.
pub fn vqa_accuracy(answer: &str, truths: &[String]) -> f64 {
    let answer = normalise(answer);
    if let [truth] = truths {
        return f64::from(u8::from(answer == normalise(truth)));
    }
    let same = truths.windows(2).all(|pair| pair[0] == pair[1]);
    let equal = |truth: &&String| match same {
        true => answer == **truth,
        false => answer == without_points(&without_punctuation(truth)),
    };
    let equal = truths.iter().filter(equal).count();
    let enough = |others: usize| (others as f64 / 3.0).min(1.0);
    let matched = equal as f64 * enough(equal.saturating_sub(1));
    let unmatched = (truths.len() - equal) as f64 * enough(equal);
    (matched + unmatched) / truths.len().max(1) as f64
}

fn plain(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

/// The VQA v2 evaluation's normal form of an answer: no punctuation, no articles, numbers as digits.
fn normalise(answer: &str) -> String {
    let answer = plain(answer);
    let cleaned = without_points(&without_punctuation(&answer));
    let words = cleaned.split_whitespace().filter_map(|word| {
        let number = NUMBERS.iter().find(|(name, _)| *name == word);
        let word = number.map_or(word, |(_, digits)| digits);
        (!ARTICLES.contains(&word)).then(|| with_apostrophes(word))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Punctuation that stands beside a space anywhere in the answer vanishes, other becomes a space; in an answer with
/// a number such as 1,000 all of it vanishes.
fn without_punctuation(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let grouped = letters
        .windows(3)
        .any(|window| matches!(window, [a, ',', b] if a.is_ascii_digit() && b.is_ascii_digit()));
    let vanishes = |mark: char| {
        let beside = |pair: &[char]| matches!(pair, [a, b] if (*a == mark && *b == ' ') || (*a == ' ' && *b == mark));
        grouped || letters.windows(2).any(beside)
    };
    let mut cleaned = String::with_capacity(text.len());
    for &letter in &letters {
        if !PUNCTUATION.contains(&letter) {
            cleaned.push(letter);
        } else if !vanishes(letter) {
            cleaned.push(' ');
        }
    }
    cleaned
}

/// Points that do not come before a digit are removed.
fn without_points(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let (mut removed, mut letters) = (0, text.chars().peekable());
    while let Some(letter) = letters.next() {
        let before_digit = letters.peek().is_some_and(char::is_ascii_digit);
        if letter == '.' && !before_digit && removed < MOST_POINTS {
            removed += 1;
        } else {
            kept.push(letter);
        }
    }
    kept
}

fn with_apostrophes(word: &str) -> String {
    // A word that is no contraction, and that the official list has nevertheless.
    if word == "somebody'd" {
        return "somebodyd".to_owned();
    }
    let lacks_one = |full: &&str| {
        full.len() == word.len() + 1
            && full
                .match_indices('\'')
                .any(|(at, _)| word.strip_prefix(&full[..at]) == Some(&full[at + 1..]))
    };
    let full = CONTRACTIONS.split_whitespace().find(lacks_one);
    full.unwrap_or(word).to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Question {
        answer: String,
        truths: Vec<String>,
        normalised: String,
        accuracy: f64,
    }

    /// Numbers of the official rules; see tests/python/make_eval_metrics.py.
    #[test]
    fn accuracy_is_that_of_the_official_code() {
        let text = include_str!("../../../../tests/golden/data/vqa.json");
        let questions: Vec<Question> = serde_json::from_str(text).unwrap();
        assert!(questions.len() > 200);
        for question in questions {
            assert_eq!(
                normalise(&question.answer),
                question.normalised,
                "{}",
                question.answer
            );
            let found = vqa_accuracy(&question.answer, &question.truths);
            let (answer, truths) = (&question.answer, &question.truths);
            assert!(
                (found - question.accuracy).abs() < 1e-12,
                "{answer} {truths:?}: {found}"
            );
        }
    }

    #[test]
    fn three_of_ten_are_nearly_enough() {
        let truths: Vec<String> = (0..10)
            .map(|at| if at < 3 { "red" } else { "blue" }.into())
            .collect();
        assert!((vqa_accuracy("red", &truths) - 0.9).abs() < 1e-12);
        assert_eq!(vqa_accuracy("blue", &truths), 1.0);
        assert_eq!(vqa_accuracy("green", &truths), 0.0);
    }

    #[test]
    fn exact_is_stricter() {
        let truth = |text: &str| [text.to_owned()];
        assert!(exact_match(" Left  side", &truth("left side")));
        assert!(!exact_match("the left side", &truth("left side")));
        assert_eq!(vqa_accuracy("the left side", &truth("left side")), 1.0);
        assert_eq!(vqa_accuracy("right side", &truth("left side")), 0.0);
    }
}
