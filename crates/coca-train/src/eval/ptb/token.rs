//! What becomes of a match.

use super::rules::Action;

/// A token, if there is one, and how much of the text it takes.
pub struct Taken {
    /// The token as it is written; `None` for what is skipped.
    pub token: Option<String>,
    /// Bytes.
    pub length: usize,
}

/// Applies a rule's action to its match.
pub fn take(action: Action, matched: &str) -> Taken {
    let own = match action {
        Action::Keep | Action::Ampersand | Action::As(_) | Action::Skip => matched,
        Action::KeepBefore(last)
        | Action::Brackets(last)
        | Action::Quote { context: last, .. }
        | Action::SplitLast(last) => without_last(matched, last),
        Action::BeforeApostrophe => before_clitic(matched),
        Action::BeforeNot => before_not(matched),
        Action::Initials => initials(matched),
        Action::BeforeNumber => matched
            .rfind('.')
            .map_or(matched, |point| &matched[..=point]),
    };
    let token = match action {
        Action::Skip => None,
        Action::As(name) => Some(name.to_owned()),
        Action::Quote { opens, .. } => Some(quote(own, opens)),
        Action::Ampersand => Some(with_ampersands(own)),
        Action::Brackets(_) => Some(plain(own).replace('(', "-lrb-").replace(')', "-rrb-")),
        _ => Some(plain(own)),
    };
    Taken {
        token,
        length: own.len(),
    }
}

fn without_last(text: &str, chars: usize) -> &str {
    match chars
        .checked_sub(1)
        .and_then(|last| text.char_indices().rev().nth(last))
    {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

/// `dog` of `dog's`.
fn before_clitic(text: &str) -> &str {
    let end = ["&apos;", "'", "\u{92}", "\u{2019}"]
        .into_iter()
        .filter_map(|mark| text.find(mark))
        .min();
    text.get(..end.unwrap_or(text.len())).unwrap_or(text)
}

/// `do` of `don't`.
fn before_not(text: &str) -> &str {
    let ending = match text.rfind("&apos;") {
        Some(at) if at + "&apos;t".len() == text.len() => "n&apos;t".len(),
        _ => return without_last(text, 3),
    };
    text.get(..text.len() - ending).unwrap_or(text)
}

/// The initials before a sentence begins. The point of a single letter is left over: it ends the sentence.
fn initials(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphabetic() || c == '.' || c == '-'));
    let initials = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
    match initials.len() {
        2 => &initials[..1],
        _ => initials,
    }
}

fn with_ampersands(text: &str) -> String {
    let entity = "&amp;";
    let mut token = plain(text);
    while let Some(at) = token.to_ascii_lowercase().find(entity) {
        token.replace_range(at..at + entity.len(), "&");
    }
    token
}

/// Spaces inside a token become no-break spaces, and soft hyphens vanish.
fn plain(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' => token.push('\u{A0}'),
            '\u{AD}' => {}
            _ => token.push(c),
        }
    }
    token
}

/// LaTeX's quotes.
fn quote(text: &str, opens: bool) -> String {
    let mut token = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (mark, length) = if rest.starts_with("&apos;") {
            (if opens { "`" } else { "'" }, "&apos;".len())
        } else if rest.starts_with("&quot;") {
            (if opens { "``" } else { "''" }, "&quot;".len())
        } else {
            let mark = match c {
                '\'' if opens => "`",
                '"' if opens => "``",
                '"' => "''",
                '\u{91}' | '\u{2018}' | '\u{201B}' | '\u{2039}' => "`",
                '\u{92}' | '\u{2019}' | '\u{203A}' => "'",
                '\u{93}' | '\u{201C}' | '\u{AB}' => "``",
                '\u{94}' | '\u{201D}' | '\u{BB}' => "''",
                _ => rest.get(..c.len_utf8()).unwrap_or_default(),
            };
            (mark, c.len_utf8())
        };
        token.push_str(mark);
        rest = rest.get(length..).unwrap_or_default();
    }
    token
}
