//! What `peercam check` and `peercam doctor` find out by trying.

use super::table::columns;

/// What was found, line by line.
#[derive(Default)]
pub(super) struct Report {
    pub(super) lines: Vec<[String; 2]>,
    pub(super) problems: usize,
    /// Whom the next lines are about; empty: no one.
    about: String,
}

impl Report {
    /// From now on each line begins with this name.
    pub(super) fn about(&mut self, name: &str) {
        self.about = name.into();
    }

    pub(super) fn line(&mut self, what: &str, says: &str) {
        let says = if self.about.is_empty() { says.into() } else { format!("{}: {says}", self.about) };
        self.lines.push([what.into(), says]);
    }

    /// Something that will not work as configured.
    pub(super) fn problem(&mut self, says: &str) {
        self.problems += 1;
        self.line("  PROBLEM", says);
    }

    pub(super) fn text(&self) -> String {
        let end = match self.problems {
            0 => "all well".into(),
            1 => "1 problem".into(),
            n => format!("{n} problems"),
        };
        columns(0, &self.lines) + &end + "\n"
    }
}
