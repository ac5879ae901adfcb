//! What is said of a line that is not TOML. The parser's own sentences speak of its grammar ("invalid float, expected
//! `nan`").

use std::ops::Range;

const LINE: &str = "this line can't be read; write [section], key = value, or # and a comment";
const HEADER: &str = "this names no section; write [name], or [[name]] for one of several, alone on its line";
const NOTHING: &str =
    "there is no value after the =; write a string in quotes, a number, true or false, or an array in [ ]";
const VALUE: &str = "this is no value; write a string in quotes, a number, true or false, or an array in [ ]";
const TEXT: &str =
    "this string is not complete; write \"text\" on one line, with \\\" for a quote and \\\\ for a backslash";
const LIST: &str =
    "this array is not complete; write [\"one\", \"another\"]: quotes, commas between, and ] at the end";

/// What a line that is not TOML was meant to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault<'t> {
    /// A value that begins like none of TOML's: most likely a string without quotes.
    Bare {
        /// The header above it; empty above the first one.
        header: &'t str,
        /// Its key, as it is written.
        key: &'t str,
        /// Where the value is in the file.
        value: Range<usize>,
    },
    /// Something else.
    Other {
        /// The full key that it is about, as far as it is clear.
        key: String,
        /// What is wrong, and what to write.
        says: &'static str,
    },
}

/// What is wrong at the byte `at` of `text`, where the parser gave up with `message`.
pub(super) fn fault<'t>(text: &'t str, at: usize, message: &str) -> Fault<'t> {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let other = |key: &str, says| Fault::Other { key: full(header(&text[..start]), key), says };
    let unnamed = |says| Fault::Other { key: String::new(), says };
    let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), without_comment(value)))
    else {
        return unnamed(match line.trim().chars().next() {
            Some('[') => HEADER,
            _ if message.contains("array") => LIST,
            _ if message.contains("string") => TEXT,
            _ => LINE,
        });
    };
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if key.is_empty() || !key.chars().all(is_key) {
        return unnamed(LINE);
    }
    match value.chars().next() {
        None => other(key, NOTHING),
        Some('"' | '\'') => other(key, TEXT),
        Some('[') => other(key, LIST),
        Some('{') => other(key, VALUE),
        _ if value.chars().any(char::is_control) => other(key, VALUE),
        _ => {
            let from = start + (value.as_ptr() as usize - line.as_ptr() as usize);
            Fault::Bare { header: header(&text[..start]), key, value: from..from + value.len() }
        }
    }
}

/// The key with the section of its header.
pub(super) fn full(header: &str, key: &str) -> String {
    let section = header.split(']').next().unwrap_or_default().trim_matches(['[', ' ', '\t']);
    if section.is_empty() { key.into() } else { format!("{section}.{key}") }
}

/// The last header in `above`: what begins like one and has a string in it is a line of an array.
pub(super) fn header(above: &str) -> &str {
    let is_header = |line: &&str| line.starts_with('[') && !line.contains(['"', '\'']);
    above.lines().rev().map(str::trim).find(is_header).unwrap_or_default()
}

/// A value without the comment behind it. A `#` within it is its own, as in a URL.
fn without_comment(value: &str) -> &str {
    let comment = value.match_indices('#').find(|(at, _)| value[..*at].ends_with([' ', '\t']) || *at == 0);
    value[..comment.map_or(value.len(), |(at, _)| at)].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_quotes_is_found_with_its_key_and_header() {
        let text = "[web]\n[[ice.servers]] # one\r\n  credential = two words # here\r\n";
        let Fault::Bare { header, key, value } = fault(text, text.find("two").expect("it is there"), "")
        else {
            panic!("not found")
        };
        assert_eq!((&text[value], key), ("two words", "credential"));
        assert_eq!(full(header, key), "ice.servers.credential");
        assert_eq!(without_comment(" http://a/#b #c"), "http://a/#b");
        assert_eq!(without_comment("#c"), "");
        let top = fault("a = b", 4, "");
        assert_eq!(top, Fault::Bare { header: "", key: "a", value: 4..5 });
    }
}
