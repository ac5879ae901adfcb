//! What `peercam check` and `peercam doctor` find out by trying.

use super::table::columns;

/// What was found, line by line.
#[derive(Default)]
pub(super) struct Report {
    pub(super) lines: Vec<[String; 2]>,
    pub(super) problems: usize,
}

impl Report {
    pub(super) fn line(&mut self, what: &str, says: &str) {
        self.lines.push([what.into(), says.into()]);
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
