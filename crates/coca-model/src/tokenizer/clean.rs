//! Cleans text before it is split into tokens, as open_clip's tokenizers do (`get_clean_fn`).

use super::ftfy::fix_text;
use super::html::unescape;
use serde::{Deserialize, Serialize};

/// How text is cleaned: open_clip's `text_cfg.tokenizer_kwargs.clean`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clean {
    /// Repairs, HTML references, white space, lower case: what CLIP's own tokenizer does.
    Lower,
    /// The same but for case: open_clip's default for a tokenizer that is read from a file.
    Whitespace,
    /// As [`Clean::Lower`], and without ASCII punctuation.
    Canonicalize,
}

impl Clean {
    /// The cleaned text: words separated by single spaces.
    pub fn apply(self, text: &str) -> String {
        let text = fix_text(text);
        let text = unescape(&text);
        let text = unescape(&text);
        match self {
            Self::Lower => collapse_whitespace(&text).to_lowercase(),
            Self::Whitespace => collapse_whitespace(&text),
            Self::Canonicalize => {
                let text: String = text
                    .chars()
                    .filter(|c| *c == '_' || !c.is_ascii_punctuation())
                    .map(|c| if c == '_' { ' ' } else { c })
                    .collect();
                collapse_whitespace(&text.to_lowercase())
            }
        }
    }
}

fn collapse_whitespace(text: &str) -> String {
    // Python also counts the four ASCII separators as white space.
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}'));
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::Clean;

    /// Expected values from open_clip 3.3.0's `get_clean_fn`.
    #[test]
    fn as_open_clip() {
        let text = "  A_Photo&nbsp;of\ta \u{201c}Cat\u{201d} &amp;amp;amp; ΣΑΣ!\n";
        assert_eq!(Clean::Lower.apply(text), "a_photo of a \"cat\" & σας!");
        assert_eq!(Clean::Whitespace.apply(text), "A_Photo of a \"Cat\" & ΣΑΣ!");
        assert_eq!(Clean::Canonicalize.apply(text), "a photo of a cat σας");
        assert_eq!(Clean::Lower.apply("&amp;lt;b> x"), "<b> x");
    }
}
