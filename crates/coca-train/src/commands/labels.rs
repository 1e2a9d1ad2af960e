//! Lists on the command line.

use anyhow::{Context, Result};

use super::UsageError;

/// The entries of `a,b,c`, or the lines of the file in `@file`, without blanks around them.
///
/// # Errors
/// The file cannot be read, or (as wrong usage) an entry is missing or there twice. `what` names an entry.
pub fn list(text: &str, what: &str) -> Result<Vec<String>> {
    let entries: Vec<String> = match text.strip_prefix('@') {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("reading the {what}s of {path}"))?;
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(String::from)
                .collect()
        }
        None => text
            .split(',')
            .map(|entry| entry.trim().to_owned())
            .collect(),
    };
    if entries.is_empty() || entries.iter().any(String::is_empty) {
        return Err(UsageError::new(format!(
            "{text:?} has an empty {what}; write for example \"cat,dog\""
        )));
    }
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = entries.iter().find(|entry| !seen.insert(entry.as_str())) {
        return Err(UsageError::new(format!(
            "the {what} \"{twice}\" is there twice; remove one"
        )));
    }
    Ok(entries)
}

/// A prompt template for labels, for the argument parser.
pub fn template(text: &str) -> Result<String, String> {
    match text.contains("{}") {
        true => Ok(text.to_owned()),
        false => Err("there is no {} where the label belongs, as in \"a photo of a {}\"".into()),
    }
}

/// A text that is not blank, for the argument parser.
pub fn not_blank(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("it is empty".into()),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_from_the_text_or_a_file() {
        assert_eq!(list("a cat, a dog", "label").unwrap(), ["a cat", "a dog"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a cat, black\n\n a dog \r\n").unwrap();
        let at = format!("@{}", file.path().display());
        assert_eq!(list(&at, "label").unwrap(), ["a cat, black", "a dog"]);
    }

    #[test]
    fn mistakes_are_wrong_usage_and_missing_files_are_failures() {
        for (text, word) in [
            ("a,,b", "empty label"),
            ("", "empty label"),
            ("a,b,a", "twice"),
        ] {
            let error = list(text, "label").unwrap_err();
            assert!(
                error.is::<UsageError>() && error.to_string().contains(word),
                "{error}"
            );
        }
        let missing = list("@/nowhere/labels.txt", "label").unwrap_err();
        assert!(!missing.is::<UsageError>() && missing.to_string().contains("/nowhere/labels.txt"));
        assert!(template("a photo").is_err() && not_blank(" ").is_err());
    }
}
