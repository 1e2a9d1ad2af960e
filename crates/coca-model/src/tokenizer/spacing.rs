//! Where people write a space between two words of CLIP's vocabulary, and where they do not.

/// Joins words one by one. It never looks ahead, so text can be shown while it is being generated.
#[derive(Clone, Debug, Default)]
pub struct Spacing {
    /// The last word, empty at the start.
    last: String,
    /// What the next word may be to be written without a space.
    glue: Glue,
    /// Whether a straight double quote is open.
    quoted: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Glue {
    #[default]
    Nothing,
    Number,
    Alphanumeric,
    Anything,
}

const CLITICS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
const ORDINALS: [&str; 4] = ["st", "nd", "rd", "th"];

impl Spacing {
    /// `word`, after a space if one belongs there.
    pub fn place(&mut self, word: &str) -> String {
        let (Some(first), Some(end)) = (word.chars().next(), word.chars().next_back()) else {
            return String::new();
        };
        let follows_text = self.last.ends_with(char::is_alphanumeric);
        let closes_quote = first == '"' && self.quoted;
        let attached = match self.glue {
            Glue::Anything => true,
            Glue::Alphanumeric => first.is_alphanumeric(),
            Glue::Number => first.is_numeric() || ORDINALS.contains(&word),
            Glue::Nothing => false,
        } || matches!(
            first,
            '.' | ',' | '!' | '?' | ';' | ':' | '%' | ')' | ']' | '}' | '…' | '’' | '”' | '»'
        ) || (follows_text
            && (CLITICS.contains(&word) || matches!(word, "-" | "/" | "'")))
            || closes_quote;

        let after_letter = self.last.chars().count() == 1 && follows_text;
        let after_number = self.last.ends_with(char::is_numeric);
        self.glue = match word {
            // A closing quote is followed by a space, an opening one is not.
            "\"" if !self.quoted => Glue::Anything,
            "-" | "/" if attached => Glue::Alphanumeric,
            // "o'clock", but "the dogs' ball".
            "'" if attached && after_letter => Glue::Alphanumeric,
            "." | "," | ":" if after_number => Glue::Number,
            _ if matches!(
                end,
                '(' | '[' | '{' | '$' | '£' | '€' | '#' | '‘' | '“' | '«'
            ) =>
            {
                Glue::Anything
            }
            // Each digit is a word of its own.
            _ if end.is_numeric() => Glue::Number,
            _ => Glue::Nothing,
        };
        self.quoted ^= word.matches('"').count() % 2 == 1;
        let space = if attached || self.last.is_empty() {
            ""
        } else {
            " "
        };
        word.clone_into(&mut self.last);
        format!("{space}{word}")
    }
}

#[cfg(test)]
mod tests {
    use super::Spacing;

    #[test]
    fn as_people_write() {
        for (words, text) in [
            ("it 's a dog 's life !", "it's a dog's life!"),
            ("they don 't , we 'll ; ok ?", "they don't, we'll; ok?"),
            ("a man ( and a dog ) .", "a man (and a dog)."),
            (
                "a sign reads \" stop \" in red",
                "a sign reads \"stop\" in red",
            ),
            (
                "2 5 dogs at 1 0 : 3 0 with 1 , 0 0 0 cats",
                "25 dogs at 10:30 with 1,000 cats",
            ),
            ("the 2 1 st of $ 5 . 9 9", "the 21st of $5.99"),
            (
                "a t - shirt and a close - up / zoom",
                "a t-shirt and a close-up/zoom",
            ),
            ("3 o ' clock", "3 o'clock"),
            ("the dogs ' ball", "the dogs' ball"),
            ("- a dash", "- a dash"),
            ("player # 7", "player #7"),
        ] {
            let mut spacing = Spacing::default();
            let placed: String = words.split(' ').map(|word| spacing.place(word)).collect();
            assert_eq!(placed, text);
        }
    }
}
