//! The rules of the tokenizer, in the order in which they win when several match equally much.

use super::abbreviations::{
    BEFORE_CAPITAL, BEFORE_NUMBER, BEFORE_SMALL, FILE_ENDINGS, SENTENCE_STARTS,
};

/// What is a token, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Names in braces are [`expand`]ed.
    pub pattern: &'static str,
    /// What becomes of the match.
    pub action: Action,
}

/// What becomes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The match is a token.
    Keep,
    /// A token all but for its last characters, which only had to follow.
    KeepBefore(usize),
    /// A token whose `&amp;` is an ampersand.
    Ampersand,
    /// A token whose round brackets get the Treebank's names; the last characters only had to follow.
    Brackets(usize),
    /// The token is always this one.
    As(&'static str),
    /// No token.
    Skip,
    /// Two tokens, of which the second has this many letters.
    SplitLast(usize),
    /// The word before `'s` and its like.
    BeforeApostrophe,
    /// The word before `n't`.
    BeforeNot,
    /// Initials before a word that begins a sentence.
    Initials,
    /// An abbreviation before a number.
    BeforeNumber,
    /// Quotes, in LaTeX's writing; the last characters only had to follow.
    Quote {
        /// Whether a quotation begins here.
        opens: bool,
        /// How many characters.
        context: usize,
    },
}

use Action::{
    Ampersand, As, BeforeApostrophe, BeforeNot, BeforeNumber, Brackets, Initials, Keep, KeepBefore,
    Quote, Skip, SplitLast,
};

const fn rule(pattern: &'static str, action: Action) -> Rule {
    Rule { pattern, action }
}

const CLOSING: Action = Quote {
    opens: false,
    context: 0,
};

/// The rules.
pub const RULES: &[Rule] = &[
    // Words with parts of their own.
    rule(r"(?i:c)\+\+|(?i:[cf])#", Keep),
    rule(r"(?i:cannot|'twas)", SplitLast(3)),
    rule(r"(?i:'tis|gonna|gotta|lemme|gimme|wanna)", SplitLast(2)),
    // Markup.
    rule(
        concat!(
            r"<(?:[!?][A-Za-z-][^>\r\n]*",
            r#"|{tag}(?: +(?:{tag}|{tag} *= *(?:'[^']*'|"[^"]*")))* */?"#,
            r"|/{tag}) *>"
        ),
        Keep,
    ),
    rule(
        r"&(?i:md|mdash|ndash);|[\x{96}\x{97}\x{2013}-\x{2015}]",
        As("--"),
    ),
    rule(r"&(?i:amp);", As("&")),
    rule(r"&(?i:ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+);", Keep),
    // Words and their clitics.
    rule(r"{word}{clitic}", BeforeApostrophe),
    rule(r"[A-Za-z\x{AD}]*[A-MO-Za-mo-z]\x{AD}*{not}", BeforeNot),
    rule(r"{word}", Keep),
    rule(
        concat!(
            r"{apos}(?i:n){apos}?|[lLdDjJ]{apos}|(?i:dunkin|somethin|ol){apos}|{apos}(?i:em|cause|till?)",
            r"|{apos}[2-9]0(?i:s)|[A-HJ-XZn]{mark}\p{L}{2,}|\p{L}+[aeiouyAEIOUY]{mark}[aeiouA-Z]\p{L}*",
            r"|(?i:cont'd)\.?|(?i:'twas|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)|(?i:o){mark}(?i:o)"
        ),
        Keep,
    ),
    rule(r"(?i:y){apos}\p{L}", KeepBefore(1)),
    // Addresses.
    rule(
        r#"(?i:https?)://[^ \t\n\x0C\r"<>|(){}]+[^ \t\n\x0C\r"<>|.!?(){},-]"#,
        Keep,
    ),
    rule(
        concat!(
            r#"(?:(?i:www)\.(?:[^ \t\n\x0C\r"<>|.!?(){},]+\.)+[a-zA-Z]{2,4}"#,
            r#"|(?:[^ \t\n\x0C\r"`'<>|.!?(){},-_$]+\.)+(?i:com|net|org|edu))"#,
            r#"(?:/[^ \t\n\x0C\r"<>|()]+[^ \t\n\x0C\r"<>|.!?(){},-])?"#
        ),
        Keep,
    ),
    rule(
        concat!(
            r#"(?:&(?i:lt);|<)?[a-zA-Z0-9][^ \t\n\x0C\r"<>|()\x{A0}{}]*@(?:[^ \t\n\x0C\r"<>|(){}.\x{A0}]+\.)*"#,
            r#"[^ \t\n\x0C\r"<>|(){}.\x{A0}]+(?:&(?i:gt);|>)?"#
        ),
        Keep,
    ),
    rule(r"@[a-zA-Z_][a-zA-Z_0-9]*|#{letter}+", Keep),
    // Clitics on their own.
    rule(
        r"{clitic}[^A-Za-z]|{not}[^A-Za-z]",
        Quote {
            opens: false,
            context: 1,
        },
    ),
    // Numbers.
    rule(r"\p{Nd}{1,2}[-/]\p{Nd}{1,2}[-/]\p{Nd}{2,4}", Keep),
    rule(
        r"[-+]?(?:\p{Nd}+|\p{Nd}*(?:[.:,\x{AD}\x{66B}\x{66C}]\p{Nd}+)+)",
        Keep,
    ),
    rule(
        r"[\x{207A}\x{207B}\x{208A}\x{208B}]?(?:[\x{2070}\x{B9}\x{B2}\x{B3}\x{2074}-\x{2079}]+|[\x{2080}-\x{2089}]+)",
        Keep,
    ),
    rule(
        r"(?:\p{Nd}{1,4}[- \x{A0}])?\p{Nd}{1,4}(?:\\?/|\x{2044})\p{Nd}{1,4}",
        Keep,
    ),
    rule(r"\x{BC}", As("1/4")),
    rule(r"\x{BD}", As("1/2")),
    rule(r"\x{BE}", As("3/4")),
    rule(r"\x{2153}", As("1/3")),
    rule(r"\x{2154}", As("2/3")),
    rule(r"[\x{2155}-\x{215E}]", Keep),
    // Compounds and money.
    rule(
        concat!(
            r"-(?i:rrb|lrb|rcb|lcb|rsb|lsb)-|(?i:c\.d\.s)|(?i:pro|anti)-|(?i:s(?:&|&amp;)p-500|s(?:&|&amp;)ls)",
            r"|(?i:cap){apos}(?i:n)|(?i:c){apos}(?i:est)"
        ),
        Ampersand,
    ),
    rule(
        r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}",
        Keep,
    ),
    rule(r"[A-Z]*\$|#", Keep),
    rule(r"\x{A2}", As("cents")),
    rule(r"\x{A3}", As("#")),
    rule(r"[\x{80}\x{A4}\x{20A0}\x{20AC}]", As("$")),
    rule(
        r"[\x{A5}\x{60B}\x{E3F}\x{20A4}\x{FFE0}\x{FFE1}\x{FFE5}\x{FFE6}]",
        Keep,
    ),
    // Abbreviations with their point.
    rule(r"{initials}\.{blank}+(?:{start}){blank}", Initials),
    rule(r"{before_number}\.{blank}?\p{Nd}", BeforeNumber),
    rule(r"(?:{before_small})\.(?s:..)", KeepBefore(2)),
    rule(r"(?:{before_small})\.", Keep),
    rule(r"(?:{before_capital}|{initials})\.", Keep),
    rule(r"(?:{before_capital}){space}", KeepBefore(1)),
    rule(r"{initials}{blank}", KeepBefore(1)),
    rule(r"{apos}[0-9][0-9]{blank}", KeepBefore(1)),
    rule(
        r"(?:{letter}|\p{Nd})+(?:\.(?:{letter}|\p{Nd})+)*\.{file}(?:{blank}|[.?!,])",
        KeepBefore(1),
    ),
    rule(r"{word}\.[,;:\x{3001}]", KeepBefore(1)),
    rule(
        concat!(
            r"(?:\([0-9]{2,3}\)[ \x{A0}]?|(?:\+\+?)?(?:[0-9]{2,4}[- \x{A0}])?[0-9]{2,4}[- \x{A0}])",
            r"[0-9]{3,4}[- \x{A0}]?[0-9]{3,5}|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}"
        ),
        Brackets(0),
    ),
    // Quotes, brackets and other marks.
    rule(
        r#"(?:"|&(?i:quot);)[A-Za-z0-9$]"#,
        Quote {
            opens: true,
            context: 1,
        },
    ),
    rule(r#""|&(?i:quot);"#, CLOSING),
    rule(r"<|&(?i:lt);", As("<")),
    rule(r">|&(?i:gt);", As(">")),
    rule(
        r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]][^A-Za-z0-9]",
        Brackets(1),
    ),
    rule(
        concat!(
            r"[\^x=~<>]\.\[\^x=~<>]|[-^x=~<>']_[-^x=~<>']",
            r"|\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)"
        ),
        Brackets(0),
    ),
    rule(r"\{", As("-lcb-")),
    rule(r"\}", As("-rcb-")),
    rule(r"\[", As("-lsb-")),
    rule(r"\]", As("-rsb-")),
    rule(r"\(", As("-lrb-")),
    rule(r"\)", As("-rrb-")),
    rule(r"-{3,4}", As("--")),
    rule(r"-+", Keep),
    rule(
        r"\.{3,5}|(?:\.[ \x{A0}]){2,4}\.|[\x{85}\x{2026}]",
        As("..."),
    ),
    rule(r"@+|#+|_+|\*+|(?:\\\*){1,3}|[,;:\x{3001}]|[?!]+|=|/", Keep),
    rule(
        r"[.\x{A1}\x{BF}\x{37E}\x{589}\x{61F}\x{6D4}\x{700}-\x{702}\x{7FA}\x{3002}]",
        Keep,
    ),
    // Words with hyphens, digits, points or ampersands inside.
    rule(r"{hyphenated}\.[,;:\x{3001}]", KeepBefore(1)),
    rule(r"{hyphenated}", Keep),
    rule(r"{thing}\.[,;:\x{3001}]", KeepBefore(1)),
    rule(r"{thing}", Keep),
    rule(r"[A-Z]+(?:(?:[+&]|&(?i:amp);)[A-Z]+)+", Ampersand),
    rule(
        r"'[A-Za-z][^ \t\n\r\x{A0}]",
        Quote {
            opens: true,
            context: 2,
        },
    ),
    rule(
        r"{clitic}|{not}|{apos}|''|[`\x{2018}-\x{201F}\x{91}-\x{94}\x{2039}\x{203A}\x{AB}\x{BB}]{1,2}",
        CLOSING,
    ),
    rule(r"<<|>>", Keep),
    rule(
        concat!(
            r"[+%&~^|\\\x{A6}-\x{A9}\x{AC}\x{AE}-\x{BA}\x{D7}\x{F7}\x{387}\x{5BE}\x{5C0}\x{5C3}\x{5C6}\x{5F3}\x{5F4}",
            r"\x{60C}\x{66A}\x{66D}\x{964}\x{965}\x{E4F}\x{1FBD}\x{2016}\x{2017}\x{2020}-\x{2023}\x{2030}-\x{2038}",
            r"\x{203B}\x{203E}-\x{2042}\x{2044}\x{207A}-\x{207F}\x{208A}-\x{208E}\x{2100}-\x{214F}",
            r"\x{2190}-\x{2BFF}\x{3012}\x{30FB}\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF20}\x{FF3B}-\x{FF40}\x{FF5B}-\x{FF65}]"
        ),
        Keep,
    ),
    rule(
        r"{blank}+|[\x00\x7F\x{200B}\x{200E}\x{200F}\x{FEFF}]|&(?i:nbsp);",
        Skip,
    ),
];

/// The names in the patterns, each of which may use those behind it.
const NAMES: [(&str, &str); 19] = [
    (
        "{hyphenated}",
        r"[A-Za-z0-9][A-Za-z0-9.,\x{AD}]*(?:-(?:[A-Za-z0-9\x{AD}]+|{acronym}\.))+",
    ),
    (
        "{thing}",
        r"(?:[dDoOlL]{mark}[\p{L}\p{Nd}])?[\p{L}\p{Nd}]+(?:[-_\x{58A}\x{2010}\x{2011}](?:[dDoOlL]{mark}[\p{L}\p{Nd}])?[\p{L}\p{Nd}]+)*",
    ),
    ("{initials}", r"(?:[A-Za-z](?:\.[A-Za-z])*|{union})"),
    ("{acronym}", r"(?:[A-Za-z](?:\.[A-Za-z])+|{union})"),
    (
        "{union}",
        r"(?i:(?:canada|sino|korean|eu|japan|non)-u\.s|u\.s\.-(?:u\.k|u\.s\.s\.r))",
    ),
    (
        "{word}",
        r"(?:{letter}(?:{letter}|\p{Nd})*(?:[.!?]{letter}(?:{letter}|\p{Nd})*)*)",
    ),
    (
        "{letter}",
        r"(?:[\p{L}\p{M}\x{AD}]|&[aeiouAEIOU](?i:acute|grave|uml);)",
    ),
    ("{clitic}", r"{apos}(?:[msdMSD]|(?i:re|ve|ll))"),
    ("{not}", r"(?i:n){mark}(?i:t)"),
    ("{mark}", r"(?:{apos}|[`\x{91}\x{2018}\x{201B}])"),
    ("{apos}", r"(?:['\x{92}\x{2019}]|&(?i:apos);)"),
    ("{tag}", r"[A-Za-z][A-Za-z0-9_:.-]*"),
    ("{start}", SENTENCE_STARTS),
    ("{before_number}", BEFORE_NUMBER),
    ("{before_small}", BEFORE_SMALL),
    ("{before_capital}", BEFORE_CAPITAL),
    ("{file}", FILE_ENDINGS),
    ("{blank}", r"(?:{space}|\n)"),
    ("{space}", r"[ \t\x{A0}\x{2000}-\x{200A}\x{3000}]"),
];

/// A pattern without names.
pub fn expand(pattern: &str) -> String {
    NAMES
        .iter()
        .fold(pattern.to_owned(), |pattern, (name, meaning)| {
            pattern.replace(name, meaning)
        })
}
