//! Walks a parsed TOML document and collects all mistakes in it.
//!
//! Serde would stop at the first mistake, and its errors name neither the full key nor the allowed values. So this
//! module reads sections key by key: the keys that were read are the allowed keys, and all others are unknown.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{Error, Problem};
use super::synonyms;
use super::syntax::{self, Fault};

/// A value and its position in the file.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// Why a value is refused: its bytes, what is wrong with them, and what is allowed instead.
pub(super) struct Refusal {
    span: Range<usize>,
    wrong: Wrong,
    allowed: String,
}

/// What is wrong with a value.
enum Wrong {
    /// "is out of range"
    Value(String),
    /// The value has the wrong type, like "an integer".
    Type { is: &'static str, wanted: &'static str },
}

/// One file being read.
pub(super) struct File<'t> {
    name: &'t str,
    text: &'t str,
    /// A value without quotes in the original file, if this is a single line that is read again with quotes.
    bare: Option<&'t str>,
    problems: RefCell<Vec<Problem>>,
    asked: RefCell<Asked>,
    unknown: RefCell<Vec<Unknown>>,
}

/// All keys that were read, which are all keys that exist.
#[derive(Default)]
struct Asked {
    /// Full keys.
    keys: Vec<String>,
    /// The full keys of arrays of sections.
    arrays: Vec<String>,
}

impl Asked {
    /// The header of a section.
    fn header(&self, section: &str) -> String {
        if self.is_array(section) { format!("[[{section}]]") } else { format!("[{section}]") }
    }

    fn is_array(&self, key: &str) -> bool {
        self.arrays.iter().any(|array| array == key)
    }
}

/// An unknown key.
struct Unknown {
    span: Range<usize>,
    key: String,
    /// The section that contains the key.
    section: String,
    /// Whether the key is itself a section.
    is_section: bool,
    /// The keys that are allowed in the section.
    allowed: Vec<&'static str>,
}

impl<'t> File<'t> {
    /// Parses `text` and passes its root to `read`; `name` is the file's name in errors.
    pub(super) fn read<T>(
        name: &'t str,
        text: &'t str,
        read: &impl Fn(&mut Section<'_, '_>) -> T,
    ) -> Result<T, Error> {
        Self::read_and_list(name, text, read).0
    }

    /// Like [`Self::read`], and also returns all known keys, which the tests compare with the reference file.
    pub(super) fn read_and_list<T>(
        name: &'t str,
        text: &'t str,
        read: &impl Fn(&mut Section<'_, '_>) -> T,
    ) -> (Result<T, Error>, Vec<String>) {
        let (result, asked) = Self::new(name, text, None).examine(read);
        (result, asked.keys)
    }

    fn new(name: &'t str, text: &'t str, bare: Option<&'t str>) -> Self {
        let (problems, asked, unknown) = Default::default();
        Self { name, text, bare, problems, asked, unknown }
    }

    fn examine<T>(self, read: &impl Fn(&mut Section<'_, '_>) -> T) -> (Result<T, Error>, Asked) {
        let file = self;
        let (root, faults) = DeTable::parse_recoverable(file.text);
        // Below a duplicate header, keys may be duplicates as well; only the header is reported.
        let below_another = |fault: &toml::de::Error| {
            let header = syntax::header_of(file.text, start(fault));
            is_twice(fault) && faults.iter().any(|other| is_twice(other) && header.contains(&start(other)))
        };
        for fault in faults.iter().filter(|fault| !below_another(fault)) {
            file.syntax(fault, read);
        }
        let mut result = None;
        // After a broken line, values may have been misread, so none are checked.
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
            file.unknown.take().into_iter().for_each(|unknown| file.report_unknown(unknown));
        }
        let mut problems = file.problems.into_inner();
        problems.sort_by_key(|p| p.line);
        if result.is_none() {
            problems.dedup_by_key(|p| p.line); // later errors in a line follow from the first
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

    fn syntax<T>(&self, fault: &toml::de::Error, read: &impl Fn(&mut Section<'_, '_>) -> T) {
        let span = fault.span().unwrap_or(0..0);
        if is_twice(fault) {
            let key = self.text.get(span.clone()).unwrap_or_default();
            let section = syntax::section(syntax::line(self.text, span.start));
            // Reading an empty file lists all arrays of sections.
            let (_, asked) = File::new(self.name, "", None).examine(read);
            let says = if asked.is_array(section) {
                format!("appears twice; write {} above each", asked.header(section))
            } else {
                "appears twice; remove one of the two".into()
            };
            return self.problem(span, key, says);
        }
        match syntax::fault(self.text, span.start, fault.message()) {
            Fault::Other { key, says } => self.problem(span, &key, says.into()),
            Fault::Bare { header, key, value } => {
                let path = syntax::full(header, key);
                let outer = syntax::outer(&self.text[..value.start], header);
                let headers = format!("{outer}\n{header}");
                let says = self.quoted(&headers, &path, key, &self.text[value.clone()], read);
                self.problem(value, &path, says);
            }
        }
    }

    /// What is wrong with the line `key = value` below `headers`, whose value has no quotes. The line is read again
    /// with quotes: if the key takes a string, only the quotes are missing; otherwise the error of the second reading
    /// says what the key takes. `path` is the full key.
    fn quoted<T>(
        &self,
        headers: &str,
        path: &str,
        key: &str,
        value: &str,
        read: &impl Fn(&mut Section<'_, '_>) -> T,
    ) -> String {
        let quoted = format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
        let lines = format!("{headers}\n{key} = {quoted}");
        let problems = match File::new(self.name, &lines, Some(value)).examine(read).0 {
            Err(Error::Refused(problems)) => problems,
            _ => vec![],
        };
        let about = problems.into_iter().find(|problem| problem.key == path);
        about.map_or_else(|| format!("a string needs quotes; write {key} = {quoted}"), |problem| problem.says)
    }

    /// Reports an unknown key. Called when all keys have been read.
    fn report_unknown(&self, unknown: Unknown) {
        let Unknown { span, key, section, is_section, allowed } = unknown;
        let at_root = section.is_empty();
        let path = if at_root { key.clone() } else { format!("{section}.{key}") };
        let hint = did_you_mean(&self.meant(&key, &section, is_section, &allowed));
        let header = |section: &str| self.asked.borrow().header(section);
        let sections = || allowed.iter().map(|section| header(section)).collect::<Vec<_>>().join(", ");
        let says = match (at_root, is_section) {
            (false, _) => {
                format!("unknown key{hint}; allowed in {}: {}", header(&section), allowed.join(", "))
            }
            (true, true) => format!("unknown section{hint}; allowed: {}", sections()),
            (true, false) => format!("is outside every section{hint}; sections: {}", sections()),
        };
        self.problem(span, &path, says);
    }

    /// What an unknown key may have been meant to be: only the likeliest guesses.
    fn meant(&self, key: &str, section: &str, is_section: bool, allowed: &[&str]) -> Vec<String> {
        let asked = self.asked.borrow();
        let elsewhere = |(section, key): (&str, &str)| format!("`{key}` in {}", asked.header(section));
        let same: Vec<_> = asked
            .keys
            .iter()
            .filter_map(|path| path.rsplit_once('.'))
            .filter(|(other, name)| *name == key && *other != section && !asked.is_array(other))
            .map(elsewhere)
            .collect();
        let here = |key: &str| if section.is_empty() { asked.header(key) } else { format!("`{key}`") };
        let same_meaning: Vec<_> = synonyms::of(section, key).into_iter().map(here).collect();
        let alike: Vec<_> = similar(key, allowed).map(here).into_iter().collect();
        let same_meaning_elsewhere = synonyms::anywhere(key).into_iter().map(elsewhere).collect();
        let likeliest_first = match (section.is_empty(), is_section) {
            (true, false) => vec![same, same_meaning_elsewhere],
            (true, true) => vec![same_meaning, alike],
            (false, _) => vec![same_meaning, same, alike, same_meaning_elsewhere],
        };
        likeliest_first.into_iter().find(|guess| !guess.is_empty()).unwrap_or_default()
    }

    /// A value as written in the file, shortened to fit a sentence.
    fn written(&self, value: &Value<'_>) -> String {
        const LONGEST: usize = 60; // characters; the whole line is printed below the message anyway
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
    /// Keys that were read: the allowed ones.
    asked: Vec<&'static str>,
    /// Position of the header.
    at: Range<usize>,
    /// Whether any key is allowed.
    open: bool,
}

impl<'f, 't> Section<'f, 't> {
    /// The value of `key`, parsed by `read`; `None` if it is missing or refused.
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

    /// Reads the optional table `key` with `read`.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, '_>) -> T,
    ) -> Option<T> {
        let path = self.ask(key);
        let value = self.table.get(key);
        let at = value.map_or(0..0, Spanned::span);
        let empty = DeTable::new();
        let table = match value.map(|v| (v, v.get_ref())) {
            Some((_, DeValue::Table(table))) => table,
            Some((value, _)) => {
                self.refuse(&path, value, wrong_type(value, "a section", &format!("[{path}]")));
                return None;
            }
            // Read an empty table, so that its keys are known.
            None => &empty,
        };
        let mut section = Section { file: self.file, path, table, at, asked: vec![], open: false };
        let result = read(&mut section);
        section.refuse_unknown();
        value.is_some().then_some(result)
    }

    /// Reads the optional array of tables `key`. `read` gets each table and the results of those before it.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Section<'_, '_>, &[T]) -> T,
    ) -> Vec<T> {
        let path = self.ask(key);
        self.file.asked.borrow_mut().arrays.push(path.clone());
        let Some(value) = self.table.get(key) else {
            return vec![];
        };
        let elements = value.get_ref().as_array();
        let Some(elements) = elements.filter(|all| all.iter().all(|v| v.get_ref().is_table())) else {
            let allowed = format!("[[{path}]] above each");
            self.refuse(&path, value, wrong_type(value, "an array of sections", &allowed));
            return vec![];
        };
        let mut all = vec![];
        for element in elements.iter() {
            if let DeValue::Table(table) = element.get_ref() {
                let mut section = Section {
                    file: self.file,
                    path: path.clone(),
                    table,
                    at: element.span(),
                    asked: vec![],
                    open: false,
                };
                let next = read(&mut section, &all);
                all.push(next);
                section.refuse_unknown();
            }
        }
        all
    }

    /// Whether the array `key` has sections, valid or not.
    pub(super) fn has_sections(&self, key: &str) -> bool {
        let value = self.table.get(key).map(Spanned::get_ref);
        value.is_some_and(|value| value.as_array().is_none_or(|all| !all.is_empty()))
    }

    /// Reads all keys of a section that may have any key. `name` checks a key.
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

    /// Whether this section has `key`, valid or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Refuses `key`, or the section if `key` is missing in it.
    pub(super) fn lacks(&self, key: &str, says: &str) {
        let at = self.table.get(key).map_or(self.at.clone(), Spanned::span);
        self.file.problem(at, &self.path_of(key), says.into());
    }

    /// Refuses this section as a whole.
    pub(super) fn refuse_all(&self, says: &str) {
        self.file.problem(self.at.clone(), &self.path, says.into());
    }

    fn ask(&mut self, key: &'static str) -> String {
        self.asked.push(key);
        let path = self.path_of(key);
        self.file.asked.borrow_mut().keys.push(path.clone());
        path
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    fn refuse(&self, path: &str, value: &Value<'t>, refusal: Refusal) {
        let Refusal { span, wrong, allowed } = refusal;
        let written =
            if span == value.span() { self.file.written(value) } else { self.file.text[span.clone()].into() };
        let wrong = match (wrong, self.file.bare) {
            (Wrong::Value(wrong), _) => format!("{written} {wrong}"),
            (Wrong::Type { is, wanted }, None) => format!("{written} is {is}, expected {wanted}"),
            (Wrong::Type { wanted, .. }, Some(bare)) => format!("{bare} is not {wanted}"),
        };
        self.file.problem(span, path, format!("{wrong}; allowed: {allowed}"));
    }

    fn refuse_unknown(&self) {
        if self.open {
            return;
        }
        for (key, value) in self.table.iter().filter(|(k, _)| !self.asked.contains(&k.get_ref().as_ref())) {
            self.file.unknown.borrow_mut().push(Unknown {
                span: key.span(),
                key: key.get_ref().to_string(),
                section: self.path.clone(),
                is_section: is_section(value.get_ref()),
                allowed: self.asked.clone(),
            });
        }
    }
}

/// Whether the fault is a duplicate key.
fn is_twice(fault: &toml::de::Error) -> bool {
    fault.message() == "duplicate key" || fault.message().starts_with("cannot extend value")
}

fn start(fault: &toml::de::Error) -> usize {
    fault.span().unwrap_or(0..0).start
}

/// Whether the value is written with a header, `[key]` or `[[key]]`.
fn is_section(value: &DeValue<'_>) -> bool {
    let is_array = |all: &DeArray<'_>| !all.is_empty() && all.iter().all(|v| v.get_ref().is_table());
    value.is_table() || value.as_array().is_some_and(is_array)
}

/// An integer from `least` to `most`.
pub(super) fn integer(least: i64, most: i64) -> impl Fn(&Value<'_>) -> Result<i64, Refusal> {
    move |value| {
        let allowed = format!("{least} to {most}");
        let DeValue::Integer(n) = value.get_ref() else {
            return Err(wrong_type(value, "an integer", &allowed));
        };
        match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) if (least..=most).contains(&n) => Ok(n),
            _ => Err(Refusal { span: value.span(), wrong: Wrong::Value("is out of range".into()), allowed }),
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value<'_>) -> Result<bool, Refusal> {
    value.get_ref().as_bool().ok_or_else(|| wrong_type(value, "a boolean", "true or false"))
}

/// A string that `parse` accepts; its error says what is wrong with the string.
pub(super) fn text<T>(
    allowed: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Value<'_>) -> Result<T, Refusal> {
    move |value| match value.get_ref() {
        DeValue::String(s) => {
            let refusal = |wrong| Refusal { span: value.span(), wrong, allowed: allowed.into() };
            parse(s).map_err(|wrong| refusal(Wrong::Value(wrong)))
        }
        _ => Err(wrong_type(value, "a string in quotes", allowed)),
    }
}

/// One of a few strings.
pub(super) fn one_of<T: Clone>(choices: &[(&'static str, T)]) -> impl Fn(&Value<'_>) -> Result<T, Refusal> {
    move |value| {
        let names: Vec<_> = choices.iter().map(|c| c.0).collect();
        let quoted: Vec<_> = names.iter().map(|n| format!("\"{n}\"")).collect();
        let allowed = quoted.join(", ");
        let DeValue::String(s) = value.get_ref() else {
            return Err(wrong_type(value, "a string in quotes", &allowed));
        };
        let found = choices.iter().find(|c| c.0 == s.as_ref());
        found.map(|c| c.1.clone()).ok_or_else(|| {
            let meant: Vec<_> = similar(s, &names).map(|n| format!("\"{n}\"")).into_iter().collect();
            let wrong = Wrong::Value(format!("is unknown{}", did_you_mean(&meant)));
            Refusal { span: value.span(), wrong, allowed }
        })
    }
}

/// An array of values that `read` accepts.
pub(super) fn list<T>(
    allowed: &'static str,
    read: impl Fn(&Value<'_>) -> Result<T, Refusal>,
) -> impl Fn(&Value<'_>) -> Result<Vec<T>, Refusal> {
    move |value| match value.get_ref() {
        DeValue::Array(elements) => elements.iter().map(&read).collect(),
        _ => Err(wrong_type(value, "an array", allowed)),
    }
}

fn wrong_type(value: &Value<'_>, wanted: &'static str, allowed: &str) -> Refusal {
    let is = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a section",
    };
    Refusal { span: value.span(), wrong: Wrong::Type { is, wanted }, allowed: allowed.into() }
}

/// ` (did you mean a or b?)`
fn did_you_mean(meant: &[String]) -> String {
    if meant.is_empty() { String::new() } else { format!(" (did you mean {}?)", meant.join(" or ")) }
}

/// The name in `names` that is most similar to `name`, if any is similar enough.
fn similar<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    // Jaro similarity, 1 is equal; the threshold that clap uses for arguments.
    const CLOSE: f64 = 0.7;
    let name = name.to_lowercase();
    let scored = names.iter().map(|n| (strsim::jaro(&name, &n.to_lowercase()), *n));
    let best = scored.filter(|(score, _)| *score > CLOSE).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, n)| n)
}
