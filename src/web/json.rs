//! Parses JSON from clients, with error messages for people.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// A type that clients send as JSON.
pub(super) trait Expected: DeserializeOwned {
    /// The expected form, for error messages: an example, or words that fit after "expected ".
    const LOOKS: &'static str;
}

/// Parses `text`; the error is the rest of a sentence whose subject is `text`. It leaves out the parser's own message,
/// which speaks of Rust types.
pub(super) fn parse<T: Expected>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| match e.classify() {
        Category::Data => format!("is valid JSON with unexpected content: expected {}", T::LOOKS),
        Category::Syntax | Category::Eof | Category::Io => {
            format!("is not valid JSON (line {}, column {}): expected {}", e.line(), e.column(), T::LOOKS)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Age {
        #[allow(dead_code)] // only parsing is tested
        years: u8,
    }

    impl Expected for Age {
        const LOOKS: &'static str = r#"{"years": 30}"#;
    }

    #[test]
    fn no_parser_speaks() {
        for text in ["", "{", "nonsense", "{\"years\":", "\u{0}", "[1,]"] {
            let said = parse::<Age>(text).unwrap_err();
            assert!(
                said.starts_with("is not valid JSON (line 1, column ") && said.ends_with("{\"years\": 30}"),
                "{said}"
            );
        }
        for text in
            ["{}", "[]", "7", "{\"years\":\"3\"}", "{\"years\":300}", "{\"years\":1e99}", "{\"years\":-1}"]
        {
            let said = parse::<Age>(text).unwrap_err();
            assert_eq!(said, "is valid JSON with unexpected content: expected {\"years\": 30}", "{text}");
        }
        assert!(parse::<Age>("{\"years\":30}").is_ok());
    }
}
