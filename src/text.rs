//! Makes names that people and devices choose safe to show: in the journal, in a terminal and on the page.
//!
//! Such a name must not forge a line, move the cursor, reverse the text around it, or be invisible. [`is_plain`] says
//! whether a new name is accepted; [`shown`] writes a name that may come from an older state or from a device.

/// Whether all characters of `name` are visible and have no effect on the text around them.
pub fn is_plain(name: &str) -> bool {
    !name.chars().any(is_deceptive)
}

/// `name`, with every character that is not plain written as its code point: `\u{202e}`.
pub fn shown(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut text, c| {
        if is_deceptive(c) {
            text.extend(c.escape_unicode())
        } else {
            text.push(c)
        }
        text
    })
}

/// The system's error message, without the error number.
pub fn of_error(error: &std::io::Error) -> String {
    let says = error.to_string();
    says.split(" (os error").next().unwrap_or_default().into()
}

/// Control characters, text direction marks (UAX #9), line separators, and characters that are blank or have no width.
/// The joiners U+200C and U+200D are allowed: Persian, Indic scripts and emoji need them.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_left_alone() {
        for name in ["Ann", "Großmutter", "奶奶", "نَدى", "می‌خواهم", "क्‍ष", "👨‍👩‍👧 ❤️", "a \"b\" \\ c", ""]
        {
            assert!(is_plain(name), "{name}");
            assert_eq!(shown(name), name);
        }
    }

    #[test]
    fn what_hides_or_turns_text_is_written_as_its_number() {
        assert_eq!(shown("a\u{202e}nnA"), "a\\u{202e}nnA");
        assert_eq!(shown("a\nb\u{1b}[2J"), "a\\u{a}b\\u{1b}[2J");
        for c in
            ['\0', '\u{7f}', '\u{85}', '\u{61c}', '\u{200b}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{2066}']
                .into_iter()
                .chain(['\u{2069}', '\u{feff}', '\u{e0041}', '\u{3164}', '\u{ad}', '\u{2060}'])
        {
            assert!(!is_plain(&format!("Ann{c}")), "{c:?}");
            assert!(shown(&c.to_string()).is_ascii(), "{c:?}");
        }
    }
}
