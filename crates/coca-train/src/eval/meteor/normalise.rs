//! METEOR's own tokenization of English (`-norm`), which comes after the tokenizer of the caption evaluation: a list of
//! replacements, most of them Moses's. It changes little in text that has been tokenized, but `'s` becomes `' s`.

use std::sync::OnceLock;

use regex::Regex;

/// Abbreviations in lower case that keep their point.
const KEEP_POINT: [&str; 3] = ["v", "vs", "rev"];
/// Before a number only.
const KEEP_POINT_BEFORE_NUMBER: &str = "pp";

/// What the replacements look for, and what they write.
struct Replacement(Regex, &'static str);

/// The words of a caption as METEOR compares them, in lower case.
pub fn normalise(text: &str) -> Vec<String> {
    let mut text = format!(" {text} ");
    for Replacement(pattern, with) in replacements().first.iter() {
        text = pattern.replace_all(&text, *with).into_owned();
    }
    while text.contains("DOTMULTI.") {
        text = replacements()
            .dots
            .replace_all(&text, "DOTDOTMULTI $1")
            .into_owned();
        text = text.replace("DOTMULTI.", "DOTDOTMULTI");
    }
    for Replacement(pattern, with) in replacements().then.iter() {
        text = pattern.replace_all(&text, *with).into_owned();
    }
    let words: Vec<&str> = text
        .split([' ', '\t', '\n', '\r', '\u{C}'])
        .filter(|word| !word.is_empty())
        .collect();
    let mut text = String::with_capacity(text.len());
    for (at, word) in words.iter().enumerate() {
        push(&mut text, word, words.get(at + 1).copied());
        text.push(' ');
    }
    while text.contains("DOTDOTMULTI") {
        text = text.replace("DOTDOTMULTI", "DOTMULTI.");
    }
    let text = text.replace("DOTMULTI", ".").to_lowercase();
    let blank = |c: char| {
        matches!(
            c,
            ' ' | '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}'
        )
    };
    text.split(|c: char| blank(c) || c.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(String::from)
        .collect()
}

/// A word with its point, without it, or with the point behind it.
fn push(text: &mut String, word: &str, next: Option<&str>) {
    let Some(stem) = word.strip_suffix('.').filter(|stem| !stem.is_empty()) else {
        text.push_str(word);
        return;
    };
    let next_is = |what: fn(&char) -> bool| {
        next.and_then(|next| next.chars().next())
            .is_some_and(|first| what(&first))
    };
    if stem.contains('.') && stem.contains(is_letter) {
        // U.S. is US.
        text.push_str(&word.replace('.', ""));
    } else if KEEP_POINT.contains(&stem)
        || next_is(char::is_ascii_lowercase)
        || stem == KEEP_POINT_BEFORE_NUMBER && next_is(char::is_ascii_digit)
    {
        text.push_str(word);
    } else {
        text.push_str(stem);
        text.push_str(" .");
    }
}

fn is_letter(c: char) -> bool {
    let mut buffer = [0; 4];
    replacements().letter.is_match(c.encode_utf8(&mut buffer))
}

struct Replacements {
    /// Up to the points.
    first: Vec<Replacement>,
    /// A run of points that ends.
    dots: Regex,
    /// After the points.
    then: Vec<Replacement>,
    letter: Regex,
}

fn replacements() -> &'static Replacements {
    static REPLACEMENTS: OnceLock<Replacements> = OnceLock::new();
    REPLACEMENTS.get_or_init(|| {
        let western = "A-Za-zŠŽšžŸÀ-ÖØ-öø-ž";
        let cyrillic = "Ѐ-ӿԀ-ԧꙀ-ꙮ꙾-ꚗᴀ-ᵿ";
        let letter = format!("{western}{cyrillic}");
        let pattern = |text: &str| regex(&text.replace("LETTER", &letter));
        let replace = |text: &str, with| Replacement(pattern(text), with);
        Replacements {
            first: vec![
                replace(r"([^0-9LETTER \t\n\x0B\x0C\r.'`,\-‘’])", " $1 "),
                replace(r"\.(\.+)", " DOTMULTI$1"),
            ],
            dots: pattern(r"DOTMULTI\.([^.])"),
            then: vec![
                replace(r"([^0-9]),([^0-9])", "$1 , $2"),
                replace(r"([0-9]),([^0-9])", "$1 , $2"),
                replace(r"([^0-9]),([0-9])", "$1 , $2"),
                replace("[`‘’]", "'"),
                replace("[“”]|''", " \" "),
                replace("–", "-"),
                replace("--", "-"),
                replace(r"([0-9LETTER.])-([0-9LETTER])", "$1 $2"),
                replace("([^LETTER])'([^LETTER])", "$1 ' $2"),
                replace("([^LETTER0-9])'([LETTER])", "$1 ' $2"),
                replace("([LETTER])'([^LETTER])", "$1 ' $2"),
                replace("([LETTER])'([LETTER])", "$1 '$2"),
                replace("([0-9])'(s)", "$1 '$2"),
            ],
            letter: pattern("[LETTER]"),
        }
    })
}

#[allow(
    clippy::expect_used,
    reason = "the patterns are constants, and a test compiles them"
)]
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern without mistakes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apostrophes_hyphens_and_points() {
        for (text, expected) in [
            ("a man 's dog", "a man ' s dog"),
            ("it 's don't", "it ' s don 't"),
            ("a t-shirt and/or x-ray", "a t shirt and / or x ray"),
            ("u.s. flag", "us flag"),
            ("mr. jones and mr.", "mr. jones and mr ."),
            ("1,000 , a,b", "1,000 , a , b"),
            ("wait ... what", "wait ... what"),
            ("1\u{A0}1/2 cups", "1 1 / 2 cups"),
            ("", ""),
        ] {
            assert_eq!(normalise(text).join(" "), expected, "{text}");
        }
    }
}
