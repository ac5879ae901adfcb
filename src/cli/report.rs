//! The results that `peercam check` and `peercam doctor` collect.

use super::table::columns;

/// Results, line by line.
#[derive(Default)]
pub(super) struct Report {
    pub(super) lines: Vec<[String; 2]>,
    pub(super) problems: usize,
    /// Prefix of the next lines, such as a camera's name; may be empty.
    about: String,
}

impl Report {
    /// Sets the name that the following lines begin with.
    pub(super) fn about(&mut self, name: &str) {
        self.about = name.into();
    }

    pub(super) fn line(&mut self, what: &str, says: &str) {
        let says = if self.about.is_empty() { says.into() } else { format!("{}: {says}", self.about) };
        self.lines.push([what.into(), says]);
    }

    /// Adds a problem: something that will not work as configured.
    pub(super) fn problem(&mut self, says: &str) {
        self.problems += 1;
        self.line("  PROBLEM", says);
    }

    pub(super) fn text(&self) -> String {
        let end = match self.problems {
            0 => "no problems".into(),
            1 => "1 problem".into(),
            n => format!("{n} problems"),
        };
        columns(0, &self.lines) + &end + "\n"
    }
}
