//! What is said of a line that is no TOML. The parser's own sentences speak of its grammar ("invalid float, expected `nan`").

const LINE: &str = "this line can't be read: allowed is [section], key = value, or # and a comment";
const HEADER: &str =
    "this names no section: allowed is [name], or [[name]] for one of several, alone on its line";
const VALUE: &str =
    "this is no value: allowed is a text in quotes, a number, true or false, or a list in [ ]";
const TEXT: &str =
    "this is no whole text: allowed is \"text\" on one line, in it \\\" for a quote and \\\\ for a backslash";
const LIST: &str =
    "this is no whole list: allowed is [\"one\", \"another\"], with commas between and ] at the end";

/// The key that it is about, as far as it is clear, and what to do. `at` is where the parser gave up, by the `message`.
pub(super) fn sentence(text: &str, at: usize, message: &str) -> (String, &'static str) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = text[start..].lines().next().unwrap_or_default().trim();
    let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
        let says = match line.chars().next() {
            Some('[') => HEADER,
            _ if message.contains("array") => LIST,
            _ if message.contains("string") => TEXT,
            _ => LINE,
        };
        return (String::new(), says);
    };
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if key.is_empty() || !key.chars().all(is_key) {
        return (String::new(), LINE);
    }
    let says = match value.chars().next() {
        Some('"' | '\'') => TEXT,
        Some('[') => LIST,
        _ => VALUE,
    };
    (full(&text[..start], key), says)
}

/// The key with the section that it stands in.
fn full(above: &str, key: &str) -> String {
    let headers = above.lines().rev().filter_map(|line| line.trim().strip_prefix('['));
    let section = headers.filter_map(|line| line.split(']').next()).next().unwrap_or_default();
    let section = section.trim_matches(['[', ' ']);
    if section.is_empty() { key.into() } else { format!("{section}.{key}") }
}
