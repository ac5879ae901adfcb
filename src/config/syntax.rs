//! Messages for lines that are not TOML. The parser's own messages describe its grammar ("invalid float, expected
//! `nan`").

use std::ops::Range;

const LINE: &str = "this line is not valid TOML; write [section], key = value, or # and a comment";
const HEADER: &str =
    "this is not a section header; write [name], or [[name]] for one of several, on a line of its own";
const NOTHING: &str =
    "there is no value after the =; write a string in quotes, a number, true or false, or an array in [ ]";
const VALUE: &str =
    "this is not a value; write a string in quotes, a number, true or false, or an array in [ ]";
const TEXT: &str =
    "this string is not complete; write \"text\" on one line, with \\\" for a quote and \\\\ for a backslash";
const LIST: &str =
    "this array is not complete; write [\"one\", \"two\"], with quotes, commas and a closing ]";

/// What a line that is not TOML was probably meant to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault<'t> {
    /// A value that is no TOML value: most likely a string without quotes.
    Bare {
        /// The header of the section; empty before the first header.
        header: &'t str,
        /// The key, as written.
        key: &'t str,
        /// Position of the value in the file, in bytes.
        value: Range<usize>,
    },
    /// Something else.
    Other {
        /// The full key, if it is known.
        key: String,
        /// What is wrong, and what to write.
        says: &'static str,
    },
}

/// Finds out what is wrong at byte `at` of `text`, where the parser stopped with `message`.
pub(super) fn fault<'t>(text: &'t str, at: usize, message: &str) -> Fault<'t> {
    let line = line(text, at);
    let start = line.as_ptr() as usize - text.as_ptr() as usize;
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

/// The line that contains byte `at` of `text`.
pub(super) fn line(text: &str, at: usize) -> &str {
    let start = text.get(..at).unwrap_or(text).rfind('\n').map_or(0, |n| n + 1);
    text[start..].lines().next().unwrap_or(&text[start..])
}

/// The full key: the section of `header` and `key`.
pub(super) fn full(header: &str, key: &str) -> String {
    let section = section(header);
    if section.is_empty() { key.into() } else { format!("{section}.{key}") }
}

/// The section that `header` names; empty if it is not a header.
pub(super) fn section(header: &str) -> &str {
    let inside = header.trim_start().strip_prefix('[').unwrap_or_default();
    inside.split(']').next().unwrap_or_default().trim_matches(['[', ' ', '\t'])
}

/// The last header in `above`. A line that begins like a header but contains a string is part of an array.
pub(super) fn header(above: &str) -> &str {
    let is_header = |line: &&str| line.starts_with('[') && !line.contains(['"', '\'']);
    above.lines().rev().map(str::trim).find(is_header).unwrap_or_default()
}

/// Position of the header of the section that contains byte `at` of `text`; empty if there is none.
pub(super) fn header_of(text: &str, at: usize) -> Range<usize> {
    let start = line(text, at).as_ptr() as usize - text.as_ptr() as usize;
    let header = header(&text[..start]);
    if header.is_empty() {
        return 0..0;
    }
    let from = header.as_ptr() as usize - text.as_ptr() as usize;
    from..from + header.len()
}

/// The last header in `above` of the array of sections that `header` belongs to; empty if it belongs to none.
pub(super) fn outer<'t>(above: &'t str, header: &str) -> &'t str {
    let belongs = |outer: &str| section(header).strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    let is_outer = |line: &&str| line.starts_with("[[") && belongs(section(line));
    above.lines().rev().map(str::trim).find(is_outer).unwrap_or_default()
}

/// A value without the comment after it. A `#` inside the value, as in a URL, does not begin a comment.
fn without_comment(value: &str) -> &str {
    let comment = value.match_indices('#').find(|(at, _)| value[..*at].ends_with([' ', '\t']) || *at == 0);
    value[..comment.map_or(value.len(), |(at, _)| at)].trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::says;

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

    #[test]
    fn values_without_quotes_are_told_what_the_key_takes() {
        const NETWORKS: &str = "an array of addresses or networks like [\"127.0.0.1\", \"10.0.0.0/8\"]";
        for (text, expected) in [
            ("[watching]\nprivacy = yes", "watching.privacy: yes is not a boolean; allowed: true or false"),
            ("[audio]\ndtx = True", "audio.dtx: True is not a boolean; allowed: true or false"),
            ("[ice]\ntcp = off # no", "ice.tcp: off is not a boolean; allowed: true or false"),
            (
                "[video]\ndevice = /dev/video0",
                "video.device: a string needs quotes; write device = \"/dev/video0\"",
            ),
            ("[video]\nsize = 640x480", "video.size: a string needs quotes; write size = \"640x480\""),
            ("[web]\ntls = off", "web.tls: a string needs quotes; write tls = \"off\""),
            (
                "[video]\n[web]\naddress = 192.168.0.1",
                "web.address: a string needs quotes; write address = \"192.168.0.1\"",
            ),
            (
                "[watching]\nwebhook = http://a/#b # c",
                "watching.webhook: a string needs quotes; write webhook = \"http://a/#b\"",
            ),
            (
                "[[ice.servers]]\ncredential = two \"words\"",
                "ice.servers.credential: a string needs quotes; write credential = \"two \\\"words\\\"\"",
            ),
            ("[[camera]]\nname = front", "camera.name: a string needs quotes; write name = \"front\""),
            (
                "[[camera]]\n[camera.controls]\ngain = high",
                "camera.controls.gain: high is not an integer; allowed: -2147483648 to 4294967295",
            ),
            (
                "[video]\nsize = 640*480",
                "video.size: \"640*480\" is not a size; allowed: \"WIDTHxHEIGHT\" in even pixels, from 64x64 to 3840x2160",
            ),
            ("[web]\nport = nope", "web.port: nope is not an integer; allowed: 0 to 65535"),
            ("[web]\nport = 80a", "web.port: 80a is not an integer; allowed: 0 to 65535"),
            ("[web]\nport = 080", "web.port: 080 is not an integer; allowed: 0 to 65535"),
            ("[web]\nport = 8_", "web.port: 8_ is not an integer; allowed: 0 to 65535"),
            ("[web]\nport = = 1", "web.port: = 1 is not an integer; allowed: 0 to 65535"),
            ("[video]\nframe_rate = 30fps", "video.frame_rate: 30fps is not an integer; allowed: 1 to 120"),
            (
                "[web]\ntrusted_proxies = 10.0.0.1",
                &format!("web.trusted_proxies: 10.0.0.1 is not an array; allowed: {NETWORKS}"),
            ),
            (
                "[video]\nfps = fast",
                "video.fps: unknown key (did you mean `frame_rate`?); allowed in [video]: device, size, frame_rate, pixel_format, bitrate_kbps, effort, keep_open, controls",
            ),
        ] {
            let line = text.matches('\n').count() + 1;
            assert_eq!(says(text), format!("device.toml:{line}: {expected}"), "{text:?}");
        }
    }

    #[test]
    fn no_sentence_of_the_parser_reaches_a_person() {
        const LINE: &str = "this line is not valid TOML; write [section], key = value, or # and a comment";
        const HEADER: &str = "this is not a section header; write [name], or [[name]] for one of several, on a line of its own";
        const NOTHING: &str = "there is no value after the =; write a string in quotes, a number, true or false, or an array in [ ]";
        const VALUE: &str =
            "this is not a value; write a string in quotes, a number, true or false, or an array in [ ]";
        const TEXT: &str = r#"this string is not complete; write "text" on one line, with \" for a quote and \\ for a backslash"#;
        const LIST: &str =
            r#"this array is not complete; write ["one", "two"], with quotes, commas and a closing ]"#;
        for (text, line, key, expected) in [
            ("[web]\nport =", 2, "web.port", NOTHING),
            ("[web]\nhosts = [\"a\",\nb]", 3, "", TEXT),
            ("[web]\nport = {", 2, "web.port", VALUE),
            ("[video]\ndevice = \"auto", 2, "video.device", TEXT),
            ("[video]\ndevice = 'auto", 2, "video.device", TEXT),
            ("[video]\ndevice = \"a\\q\"", 2, "video.device", TEXT),
            ("[video]\ndevice = \"\\u12\"", 2, "video.device", TEXT),
            ("[video]\ndevice = \"a\" \"b\"", 2, "video.device", TEXT),
            ("[web]\nhosts = [\"a\" \"b\"]", 2, "web.hosts", LIST),
            ("[web]\nhosts = [\"a\", \"b]", 2, "web.hosts", LIST),
            ("[web]\nport 80", 2, "", LINE),
            ("[web]\nport: 80", 2, "", LINE),
            ("[web]\npört = 80", 2, "", LINE),
            ("[web]\n= 80", 2, "", LINE),
            ("hello", 1, "", LINE),
            ("{\"web\": {\"port\": 80}}", 1, "", LINE),
            ("[web", 1, "", HEADER),
            ("[[web]", 1, "", HEADER),
            ("[]", 1, "", HEADER),
            ("[we b]", 1, "", HEADER),
            ("[web] port", 1, "", HEADER),
        ] {
            let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
            assert_eq!(says(text), format!("device.toml:{line}: {key}{expected}"), "{text:?}");
        }
        for text in [
            "\u{0}",
            "a.b = 1\na = 2",
            "[web]\nhosts = [\"a\",\n",
            "a = \"\"\"\n",
            "\r",
            "[web]\na = 1\na.b = 2",
        ] {
            let said = says(text);
            for parser in
                ["expected", "invalid", "unexpected", "missing", "unclosed", "cannot", "not TOML", "`"]
            {
                assert!(!said.contains(parser), "{text:?}: {said}");
            }
        }
    }
}
