//! The files of a configuration, kept for the carets of diagnostics, with secrets covered.

use std::ops::Range;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A place in one of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The file's number in [`Sources`].
    pub file: usize,
    /// First octet.
    pub start: usize,
    /// One past the last octet.
    pub end: usize,
}

impl Span {
    /// A place in a file.
    pub fn new(file: usize, range: Range<usize>) -> Self {
        Self {
            file,
            start: range.start,
            end: range.end,
        }
    }

    /// The octets meant.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// A value with the place it was written at.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// One file.
pub struct Source {
    /// Its name as the operator knows it.
    pub path: PathBuf,
    /// It is a preset's: the operator did not write it.
    pub preset: bool,
    /// Its text, which may hold secrets: zeroized when dropped.
    text: Zeroizing<String>,
    /// Its text with every secret covered by asterisks, octet for octet.
    covered: String,
}

impl Source {
    /// Takes a file's text.
    pub fn new(path: &Path, text: String) -> Self {
        let covered = cover_secrets(&text);
        Self {
            path: path.to_owned(),
            preset: false,
            text: Zeroizing::new(text),
            covered,
        }
    }

    /// What a preset says, as if it were a file.
    pub fn of_preset(name: &str, text: String) -> Self {
        Self {
            preset: true,
            ..Self::new(Path::new(&format!("preset \"{name}\"")), text)
        }
    }

    /// The text as written. Not for output.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text as it may be shown.
    pub fn covered(&self) -> &str {
        &self.covered
    }
}

/// The files in the order they were read.
#[derive(Default)]
pub struct Sources(pub Vec<Source>);

impl Sources {
    /// The file of a place.
    pub fn get(&self, span: &Span) -> Option<&Source> {
        self.0.get(span.file)
    }
}

/// Overwrites what follows `psk =` and its like if it is a string. Works on lines, not on TOML: a file that is broken in just
/// this place must not show the secret either.
fn cover_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, value)) = next_secret(rest) {
        let end = string_end(value);
        out.push_str(before);
        let (secret, after) = value.split_at(end);
        // One asterisk per octet keeps the offsets of everything behind it.
        out.extend(secret.bytes().map(|octet| {
            if matches!(octet, b'"' | b'\'' | b'\n' | b'\r') {
                char::from(octet)
            } else {
                '*'
            }
        }));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Splits before the opening quote of the next secret.
fn next_secret(text: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    while let Some(equals) = text.get(from..)?.find('=') {
        let at = from + equals;
        let (before, after) = (text.get(..at)?, text.get(at + 1..)?);
        let value = after.trim_start_matches([' ', '\t']);
        if is_secret_key(before) && value.starts_with(['"', '\'']) {
            return Some(text.split_at(text.len() - value.len()));
        }
        from = at + 1;
    }
    None
}

fn is_secret_key(before: &str) -> bool {
    let key = before.trim_end_matches([' ', '\t', '"', '\'']);
    let start = key
        .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
        .map_or(0, |at| at + 1);
    let key = key.get(start..).unwrap_or_default().to_ascii_lowercase();
    !key.starts_with("weak")
        && !["ppk_id", "ppk_required"].contains(&key.as_str())
        && ["psk", "ppk", "secret", "password", "shared", "pks"]
            .iter()
            .any(|word| key.contains(word))
}

/// The length of the string that `value` begins with, up to and without its closing quotes; to the line's end if there are none.
fn string_end(value: &str) -> usize {
    for quotes in ["\"\"\"", "'''"] {
        if let Some(body) = value.strip_prefix(quotes) {
            return body.find(quotes).map_or(value.len(), |at| at + quotes.len());
        }
    }
    let double = value.starts_with('"');
    let mut escaped = false;
    for (at, c) in value.char_indices().skip(1) {
        match c {
            '\n' => return at,
            '"' if double && !escaped => return at,
            '\'' if !double => return at,
            _ => escaped = double && c == '\\' && !escaped,
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_a_secret_and_keeps_every_offset() {
        let text = "name = \"a\"\npsk = \"hunter2 é\\\"x\" # why\nlocal = { psk='q', id=\"b\" }\n";
        let covered = cover_secrets(text);
        assert_eq!(
            covered,
            "name = \"a\"\npsk = \"*************\" # why\nlocal = { psk='*', id=\"b\" }\n"
                .replace("*************", &"*".repeat(12 + 1))
                .replace("\"*************\"", &format!("\"{}\"", star(text)))
        );
        assert_eq!(covered.len(), text.len());
    }

    fn star(text: &str) -> String {
        let start = text.find("hunter2").unwrap();
        let end = text.find("\" # why").unwrap();
        text.as_bytes()[start..end]
            .iter()
            .map(|&b| if b == b'"' { '"' } else { '*' })
            .collect()
    }

    #[test]
    fn covers_a_secret_whose_string_is_not_closed() {
        assert_eq!(cover_secrets("psk = \"abc\nx = 1"), "psk = \"***\nx = 1");
        assert_eq!(
            cover_secrets("psk = \"\"\"ab\nc\"\"\"\nx = \"1\""),
            "psk = \"\"\"**\n*\"\"\"\nx = \"1\""
        );
        assert_eq!(cover_secrets("secret = 'abc"), "secret = '***");
        assert_eq!(cover_secrets("ppk = 'abc'"), "ppk = '***'");
        assert_eq!(cover_secrets("previous_psk = 'abc'"), "previous_psk = '***'");
    }

    #[test]
    fn shows_the_name_of_a_secret_file() {
        let text = "psk = { file = \"/etc/xvpn/a.psk\" }\nweak_psk = true\nppk_id = \"a\"\n";
        assert_eq!(cover_secrets(text), text);
    }
}
