//! Errors in a configuration file, as they are printed in a terminal.

use std::fmt::{self, Write as _};
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::text::of_error;

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The given file does not exist; the text says where it was looked for.
    #[error("{0}")]
    Missing(String),
    /// The file can't be read.
    #[error("can't read {}: {}", path.display(), of_error(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file has these mistakes; at least one.
    #[error("{}", Lines(.0))]
    Refused(Vec<Problem>),
}

/// One mistake and its position. It is shown as `file:line:column: key: what is wrong; what is allowed`, a form that
/// editors can jump to, followed by the line of the file with carets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file, as given by the user.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1 in characters.
    pub column: usize,
    /// Full key ("video.frame_rate"); empty if the line is not TOML.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub says: String,
    /// The text of the line, and the range of its characters (from 0) that is wrong.
    source: (String, Range<usize>),
}

impl Problem {
    /// A problem at the bytes `span` of `text`, the content of `file`.
    pub(super) fn new(file: &str, text: &str, span: Range<usize>, key: &str, says: String) -> Self {
        let start = floor_char(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |n| n + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let column = text[line_start..start].chars().count();
        // The span may be the line break itself, which `line` does not include.
        let end = floor_char(text, span.end.min(line_start + line.len())).max(start);
        let width = text[start..end].chars().count().max(1);
        Self {
            file: file.into(),
            line: text[..line_start].matches('\n').count() + 1,
            column: column + 1,
            key: key.into(),
            says,
            // Tabs would shift the carets, and other control characters could change the terminal.
            source: (line.replace(char::is_control, " "), column..column + width),
        }
    }
}

impl Error {
    /// A sentence for each mistake, without the lines of the file, which may contain passwords.
    pub fn sentences(&self) -> Vec<String> {
        match self {
            Self::Missing(_) | Self::Read { .. } => vec![self.to_string()],
            Self::Refused(problems) => problems.iter().map(Problem::sentence).collect(),
        }
    }
}

impl Problem {
    fn sentence(&self) -> String {
        let Self { file, line, column, key, says, .. } = self;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        format!("{file}:{line}:{column}: {key}{says}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, source: (text, columns), .. } = self;
        let margin = line.to_string().len().max(4);
        let (before, carets) = (" ".repeat(columns.start), "^".repeat(columns.len()));
        let sentence = self.sentence();
        write!(f, "{sentence}\n{line:>margin$} | {text}\n{:margin$} | {before}{carets}", "")
    }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_char('\n')?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// The nearest character boundary at or before byte `at`.
fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}
