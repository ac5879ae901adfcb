//! Walks a parsed TOML document and collects everything that is wrong with it.
//!
//! Serde would stop at the first mistake, and its errors know neither the full key nor what is allowed. So
//! sections are read here key by key: what was asked for is what is allowed, and anything else is unknown.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Error, Problem};
use super::syntax;

/// A value as it stands in the file.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// Why a value is refused: which bytes, what is wrong with them, and what is allowed instead.
pub(super) struct Refusal {
    span: Range<usize>,
    wrong: String,
    allowed: String,
}

/// One file being read.
pub(super) struct File<'t> {
    name: &'t str,
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
    asked: RefCell<Vec<String>>,
}

impl<'t> File<'t> {
    /// Reads `text` by handing its root to `read`; `name` is what errors call it.
    pub(super) fn read<T>(
        name: &'t str,
        text: &'t str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> Result<T, Error> {
        Self::read_and_list(name, text, read).0
    }

    /// The same, and all keys that were asked for: the tests hold them against the reference file.
    pub(super) fn read_and_list<T>(
        name: &'t str,
        text: &'t str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> (Result<T, Error>, Vec<String>) {
        let file = File { name, text, problems: RefCell::default(), asked: RefCell::default() };
        let (root, faults) = DeTable::parse_recoverable(text);
        for fault in &faults {
            file.syntax(fault);
        }
        let mut result = None;
        // What follows a broken line may have been misunderstood: say nothing about it.
        if faults.is_empty() {
            let mut section = Section {
                file: &file,
                path: String::new(),
                table: root.get_ref(),
                at: 0..0,
                asked: vec![],
                open: false,
            };
            result = Some(read(&mut section));
            section.refuse_unknown();
        }
        let mut problems = file.problems.into_inner();
        problems.sort_by_key(|p| p.line);
        if result.is_none() {
            problems.dedup_by_key(|p| p.line); // what follows the first is of its making
        }
        let result = match result {
            Some(result) if problems.is_empty() => Ok(result),
            _ => Err(Error::Refused(problems)),
        };
        (result, file.asked.into_inner())
    }

    fn problem(&self, span: Range<usize>, key: &str, says: String) {
        self.problems.borrow_mut().push(Problem::new(self.name, self.text, span, key, says));
    }

    fn syntax(&self, fault: &toml::de::Error) {
        let span = fault.span().unwrap_or(0..0);
        if fault.message() == "duplicate key" || fault.message().starts_with("cannot extend value") {
            let key = self.text.get(span.clone()).unwrap_or_default();
            self.problem(span, key, "is given twice: allowed is once".into());
        } else {
            let (key, says) = syntax::sentence(self.text, span.start, fault.message());
            self.problem(span, &key, says.into());
        }
    }

    /// A value the way its author wrote it, shortened to fit a sentence.
    fn written(&self, value: &Value<'_>) -> String {
        const LONGEST: usize = 60; // characters; the whole line stands below the message anyway
        let text = self.text.get(value.span()).unwrap_or_default();
        let line: String = text.lines().next().unwrap_or_default().chars().take(LONGEST).collect();
        if line.len() < text.len() { line + "..." } else { line }
    }
}

/// One table of the file.
pub(super) struct Section<'f, 't> {
    file: &'f File<'t>,
    path: String,
    table: &'f DeTable<'t>,
    /// Keys that were asked for: the allowed ones.
    asked: Vec<&'static str>,
    /// Where it stands: its header.
    at: Range<usize>,
    /// Any key is allowed.
    open: bool,
}

impl<'f, 't> Section<'f, 't> {
    /// The value of `key` as `read` understands it; `None` when it isn't there or was refused.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let path = self.ask(key);
        let value = self.table.get(key)?;
        let refusal = match read(value) {
            Ok(value) => return Some(value),
            Err(refusal) => refusal,
        };
        self.refuse(&path, value, refusal);
        None
    }

    /// Reads the table `key`, which may be missing, with `read`.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> Option<T> {
        let path = self.ask(key);
        let value = self.table.get(key);
        let at = value.map_or(0..0, Spanned::span);
        let empty = DeTable::new();
        let table = match value.map(|v| (v, v.get_ref())) {
            Some((_, DeValue::Table(table))) => table,
            Some((value, _)) => {
                let allowed = format!("a section, written [{path}]");
                self.refuse(&path, value, wrong_type(value, "section", &allowed));
                return None;
            }
            // Read all the same, so that its keys are known.
            None => &empty,
        };
        let mut section = Section { file: self.file, path, table, at, asked: vec![], open: false };
        let result = read(&mut section);
        section.refuse_unknown();
        value.is_some().then_some(result)
    }

    /// Reads the array of tables `key`, which may be missing, each with `read`.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        let path = self.ask(key);
        let Some(value) = self.table.get(key) else {
            return vec![];
        };
        let elements = value.get_ref().as_array().map(|a| a.iter().collect::<Vec<_>>());
        let Some(elements) = elements.filter(|e| e.iter().all(|v| v.get_ref().is_table())) else {
            let allowed = format!("sections, each written [[{path}]]");
            self.refuse(&path, value, wrong_type(value, "list of sections", &allowed));
            return vec![];
        };
        let mut all = vec![];
        for element in elements {
            if let DeValue::Table(table) = element.get_ref() {
                let mut section = Section {
                    file: self.file,
                    path: path.clone(),
                    table,
                    at: element.span(),
                    asked: vec![],
                    open: false,
                };
                all.push(read(&mut section));
                section.refuse_unknown();
            }
        }
        all
    }

    /// All keys of a section whose keys are not known beforehand. `name` says what is wrong with a key.
    pub(super) fn open<T>(
        &mut self,
        name: impl Fn(&str) -> Result<(), String>,
        read: impl Fn(&Value<'_>) -> Result<T, Refusal>,
    ) -> Vec<(String, T)> {
        let mut all = vec![];
        for (key, value) in self.table {
            let path = self.path_of(key.get_ref());
            match (name(key.get_ref()), read(value)) {
                (Ok(()), Ok(value)) => all.push((key.get_ref().to_string(), value)),
                (Err(says), _) => self.file.problem(key.span(), &path, says),
                (_, Err(refusal)) => self.refuse(&path, value, refusal),
            }
        }
        self.open = true;
        all
    }

    /// Whether `key` stands in this section, refused or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Refuses this section because of what it has not: `key`.
    pub(super) fn lacks(&self, key: &str, says: &str) {
        let at = self.table.get(key).map_or(self.at.clone(), Spanned::span);
        self.file.problem(at, &self.path_of(key), says.into());
    }

    fn ask(&mut self, key: &'static str) -> String {
        self.asked.push(key);
        let path = self.path_of(key);
        self.file.asked.borrow_mut().push(path.clone());
        path
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    fn refuse(&self, path: &str, value: &Value<'t>, refusal: Refusal) {
        let Refusal { span, wrong, allowed } = refusal;
        let written =
            if span == value.span() { self.file.written(value) } else { self.file.text[span.clone()].into() };
        self.file.problem(span, path, format!("{written} {wrong}: allowed is {allowed}"));
    }

    fn refuse_unknown(&self) {
        if self.open {
            return;
        }
        for key in self.table.keys().filter(|k| !self.asked.contains(&k.get_ref().as_ref())) {
            let hint = did_you_mean(key.get_ref(), &self.asked);
            let (what, marks) =
                if self.path.is_empty() { ("section", ["[", "]"]) } else { ("key", ["", ""]) };
            let allowed: Vec<_> = self.asked.iter().map(|k| format!("{}{k}{}", marks[0], marks[1])).collect();
            let says = format!("unknown {what}{hint}: allowed here are {}", allowed.join(", "));
            self.file.problem(key.span(), &self.path_of(key.get_ref()), says);
        }
    }
}

/// A whole number from `least` to `most`.
pub(super) fn integer(least: i64, most: i64) -> impl Fn(&Value<'_>) -> Result<i64, Refusal> {
    move |value| {
        let allowed = format!("{least} to {most}");
        let DeValue::Integer(n) = value.get_ref() else {
            return Err(wrong_type(value, "whole number", &allowed));
        };
        match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) if (least..=most).contains(&n) => Ok(n),
            _ => Err(Refusal { span: value.span(), wrong: "is out of range".into(), allowed }),
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value<'_>) -> Result<bool, Refusal> {
    value.get_ref().as_bool().ok_or_else(|| wrong_type(value, "switch", "true or false"))
}

/// A text that `parse` understands, or it says what is wrong with it.
pub(super) fn text<T>(
    allowed: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Value<'_>) -> Result<T, Refusal> {
    move |value| match value.get_ref() {
        DeValue::String(s) => {
            parse(s).map_err(|wrong| Refusal { span: value.span(), wrong, allowed: allowed.into() })
        }
        _ => Err(wrong_type(value, "text in quotes", allowed)),
    }
}

/// One of a few texts.
pub(super) fn one_of<T: Clone>(choices: &[(&'static str, T)]) -> impl Fn(&Value<'_>) -> Result<T, Refusal> {
    move |value| {
        let names: Vec<_> = choices.iter().map(|c| c.0).collect();
        let quoted: Vec<_> = names.iter().map(|n| format!("\"{n}\"")).collect();
        let allowed = quoted.join(", ");
        let DeValue::String(s) = value.get_ref() else {
            return Err(wrong_type(value, "text in quotes", &allowed));
        };
        let found = choices.iter().find(|c| c.0 == s.as_ref());
        found.map(|c| c.1.clone()).ok_or_else(|| {
            let wrong = format!("is unknown{}", did_you_mean(s, &names));
            Refusal { span: value.span(), wrong, allowed }
        })
    }
}

/// A list of what `read` understands.
pub(super) fn list<T>(
    allowed: &'static str,
    read: impl Fn(&Value<'_>) -> Result<T, Refusal>,
) -> impl Fn(&Value<'_>) -> Result<Vec<T>, Refusal> {
    move |value| match value.get_ref() {
        DeValue::Array(elements) => elements.iter().map(&read).collect(),
        _ => Err(wrong_type(value, "list", allowed)),
    }
}

fn wrong_type(value: &Value<'_>, wanted: &str, allowed: &str) -> Refusal {
    let is = match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a switch",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    };
    Refusal { span: value.span(), wrong: format!("is {is}, not a {wanted}"), allowed: allowed.into() }
}

/// ` (did you mean "x"?)` where one of `names` is close to `name`.
fn did_you_mean(name: &str, names: &[&str]) -> String {
    // Jaro similarity, 1 is equal; the threshold that clap uses for arguments.
    const CLOSE: f64 = 0.7;
    let name = name.to_lowercase();
    let scored = names.iter().map(|n| (strsim::jaro(&name, &n.to_lowercase()), n));
    let best = scored.filter(|(score, _)| *score > CLOSE).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(String::new, |(_, n)| format!(" (did you mean {n}?)"))
}
