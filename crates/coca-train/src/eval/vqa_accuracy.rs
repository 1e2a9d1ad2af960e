//! Whether an answer is right: exactly, or after the normalisation of the VQA v2 evaluation.

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
/// Contractions that are also understood without their apostrophes.
const CONTRACTIONS: &str = "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've \
    hasn't haven't he'd've he's how'd how'll how's i'd've i'm i've isn't it'd it'd've it'll let's ma'am mightn't \
    mightn't've might've mustn't must've needn't not've o'clock oughtn't shan't she'd've she's should've shouldn't \
    shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd \
    something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've \
    'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've \
    who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd \
    you'd've you'll you're you've";

/// Equal up to case and the width of spaces.
pub fn exact_match(answer: &str, truth: &str) -> bool {
    plain(answer) == plain(truth)
}

/// The accuracy of VQA v2 for a question with one right answer: equal after [`normalise`].
pub fn vqa_match(answer: &str, truth: &str) -> bool {
    normalise(answer) == normalise(truth)
}

fn plain(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

/// The VQA v2 evaluation's form of an answer: no punctuation, no articles, numbers as digits.
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
    let next = text.chars().skip(1).map(Some).chain([None]);
    let kept = text
        .chars()
        .zip(next)
        .filter(|&(letter, next)| letter != '.' || next.is_some_and(|next| next.is_ascii_digit()));
    kept.map(|(letter, _)| letter).collect()
}

fn with_apostrophes(word: &str) -> String {
    let bare = word.replace('\'', "");
    let known = CONTRACTIONS
        .split_whitespace()
        .find(|full| full.replace('\'', "") == bare);
    known.unwrap_or(word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised_as_the_vqa_evaluation_does() {
        for (answer, expected) in [
            ("The  Dog.", "dog"),
            ("two", "2"),
            ("none", "0"),
            ("x-ray", "x ray"),
            ("x - ray", "x ray"),
            ("yes, it is!", "yes it is"),
            ("1,000", "1000"),
            ("3.5", "3.5"),
            ("a.m.", "am"),
            ("dont know", "don't know"),
            ("don't", "don't"),
            ("black/white", "black white"),
            ("(a) an apple", "apple"),
            ("its", "its"),
        ] {
            assert_eq!(normalise(answer), expected, "{answer}");
        }
    }

    #[test]
    fn exact_is_stricter() {
        assert!(exact_match(" Left  side", "left side"));
        assert!(!exact_match("the left side", "left side"));
        assert!(vqa_match("the left side", "left side"));
        assert!(!vqa_match("right side", "left side"));
    }
}
