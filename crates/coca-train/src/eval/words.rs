//! Words of a caption as the usual caption metrics count them: lower case, without punctuation.

/// What the reference implementation's tokenizer drops.
const PUNCTUATION: &[&str] = &[
    "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", "(", ")", "[", "]", "{",
    "}", "\"",
];

/// Endings that are words of their own in the Penn Treebank: `it's` is `it` and `'s`.
const ENDINGS: &[&str] = &["'s", "'m", "'d", "'ll", "'re", "'ve", "n't"];

/// The words of a caption, close to the Penn Treebank tokenizer of the COCO caption metrics.
pub fn words(caption: &str) -> Vec<String> {
    let caption = caption.to_lowercase().replace('’', "'");
    let mut words = Vec::new();
    for chunk in caption.split_whitespace() {
        for word in split_punctuation(chunk) {
            push_word(word, &mut words);
        }
    }
    words
}

/// Cuts at punctuation inside a chunk; hyphens, apostrophes and the points of numbers stay inside their word.
fn split_punctuation(chunk: &str) -> impl Iterator<Item = &str> {
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '-' | '.' | ',');
    chunk
        .split(move |c: char| !inner(c) && !matches!(c, '%' | '$' | '&' | '#' | '@' | '/'))
        .flat_map(|part| {
            let number = part.starts_with(|c: char| c.is_ascii_digit());
            let trimmed = part.trim_matches(['.', ',', '-']);
            // "3.5" and "1,000" are one word, "dog,cat" is two.
            let cuts: &[char] = if number { &[] } else { &[','] };
            trimmed.split(cuts)
        })
}

fn push_word(word: &str, words: &mut Vec<String>) {
    if word.is_empty() || PUNCTUATION.contains(&word) {
        return;
    }
    if word == "cannot" {
        words.extend(["can", "not"].map(String::from));
        return;
    }
    for ending in ENDINGS {
        if let Some(stem) = word.strip_suffix(ending) {
            if !stem.is_empty() {
                words.push(stem.to_owned());
            }
            words.push((*ending).to_owned());
            return;
        }
    }
    let word = word.trim_matches('\'');
    if !word.is_empty() {
        words.push(word.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_and_without_punctuation() {
        for (caption, expected) in [
            ("A dog, running.", "a dog running"),
            ("It's a man's T-shirt!", "it 's a man 's t-shirt"),
            (
                "it 's a dog that doesn't bark",
                "it 's a dog that does n't bark",
            ),
            ("They CANNOT see (a \"cat\")", "they can not see a cat"),
            (
                "3.5 miles - 1,000 feet ... dog,cat",
                "3.5 miles 1,000 feet dog cat",
            ),
            ("'quoted' don’t", "quoted do n't"),
            ("", ""),
            (" .,; -- ", ""),
        ] {
            assert_eq!(words(caption).join(" "), expected, "{caption}");
        }
    }
}
