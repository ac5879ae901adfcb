//! Walks a parsed TOML document and collects everything that is wrong with it.
//!
//! Serde would stop at the first mistake, and its errors know neither the full key nor what is allowed. So
//! sections are read here key by key: what was asked for is what is allowed, and anything else is unknown.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{Error, Problem};
use super::synonyms;
use super::syntax::{self, Fault};

/// A value as it stands in the file.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// Why a value is refused: which bytes, what is wrong with them, and what is allowed instead.
pub(super) struct Refusal {
    span: Range<usize>,
    wrong: Wrong,
    allowed: String,
}

/// What is wrong with a value.
enum Wrong {
    /// "is out of range"
    Value(String),
    /// It is of another type, as in "an integer".
    Type { is: &'static str, wanted: &'static str },
}

/// One file being read.
pub(super) struct File<'t> {
    name: &'t str,
    text: &'t str,
    /// This is one line of a file in which this value has no quotes.
    bare: Option<&'t str>,
    problems: RefCell<Vec<Problem>>,
    asked: RefCell<Asked>,
    unknown: RefCell<Vec<Unknown>>,
}

/// What was asked for: all keys that there are.
#[derive(Default)]
struct Asked {
    /// Full keys.
    keys: Vec<String>,
    /// Those of them that are arrays of sections.
    arrays: Vec<String>,
}

impl Asked {
    /// How a section is written.
    fn header(&self, section: &str) -> String {
        if self.is_array(section) { format!("[[{section}]]") } else { format!("[{section}]") }
    }

    fn is_array(&self, key: &str) -> bool {
        self.arrays.iter().any(|array| array == key)
    }
}

/// A key that nothing asked for.
struct Unknown {
    span: Range<usize>,
    key: String,
    /// The section that it stands in.
    section: String,
    /// It is a section itself.
    is_section: bool,
    /// The keys that are allowed there.
    allowed: Vec<&'static str>,
}

impl<'t> File<'t> {
    /// Reads `text` by handing its root to `read`; `name` is what errors call it.
    pub(super) fn read<T>(
        name: &'t str,
        text: &'t str,
        read: &impl Fn(&mut Section<'_, '_>) -> T,
    ) -> Result<T, Error> {
        Self::read_and_list(name, text, read).0
    }

    /// The same, and all keys that were asked for: the tests hold them against the reference file.
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
        // Whatever stands below a header that is there twice may be there twice as well.
        let below_another = |fault: &toml::de::Error| {
            let header = syntax::header_of(file.text, start(fault));
            is_twice(fault) && faults.iter().any(|other| is_twice(other) && header.contains(&start(other)))
        };
        for fault in faults.iter().filter(|fault| !below_another(fault)) {
            file.syntax(fault, read);
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
            file.unknown.take().into_iter().for_each(|unknown| file.tell_unknown(unknown));
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

    fn syntax<T>(&self, fault: &toml::de::Error, read: &impl Fn(&mut Section<'_, '_>) -> T) {
        let span = fault.span().unwrap_or(0..0);
        if is_twice(fault) {
            let key = self.text.get(span.clone()).unwrap_or_default();
            let section = syntax::section(syntax::line(self.text, span.start));
            // Every array is asked for, also by an empty file.
            let (_, asked) = File::new(self.name, "", None).examine(read);
            let says = if asked.is_array(section) {
                format!("is there twice; write {} above each", asked.header(section))
            } else {
                "is there twice; keep one of the two".into()
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

    /// What is wrong with `key = value` below `headers`, in which the value has no quotes. It is read again with them: if
    /// the key takes a string they are all that is missing, or else what is said then names what the key, in full `path`,
    /// takes.
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

    /// Refuses a key that nothing asked for, when all keys are known that there are.
    fn tell_unknown(&self, unknown: Unknown) {
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
            (true, false) => format!("stands in no section{hint}; sections: {}", sections()),
        };
        self.problem(span, &path, says);
    }

    /// What may have been meant by an unknown key, the likeliest only.
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
            // Read all the same, so that its keys are known.
            None => &empty,
        };
        let mut section = Section { file: self.file, path, table, at, asked: vec![], open: false };
        let result = read(&mut section);
        section.refuse_unknown();
        value.is_some().then_some(result)
    }

    /// Reads the array of tables `key`, which may be missing, each with `read`, which gets those above it as well.
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

    /// Whether there are sections in the array `key`, right or wrong.
    pub(super) fn has_sections(&self, key: &str) -> bool {
        let value = self.table.get(key).map(Spanned::get_ref);
        value.is_some_and(|value| value.as_array().is_none_or(|all| !all.is_empty()))
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

/// Whether the parser has read this key before.
fn is_twice(fault: &toml::de::Error) -> bool {
    fault.message() == "duplicate key" || fault.message().starts_with("cannot extend value")
}

fn start(fault: &toml::de::Error) -> usize {
    fault.span().unwrap_or(0..0).start
}

/// Whether it has a header of its own: `[key]`, or `[[key]]`.
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

/// A string that `parse` understands, or it says what is wrong with it.
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

/// An array of what `read` understands.
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

/// The one of `names` that is close to `name`.
fn similar<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    // Jaro similarity, 1 is equal; the threshold that clap uses for arguments.
    const CLOSE: f64 = 0.7;
    let name = name.to_lowercase();
    let scored = names.iter().map(|n| (strsim::jaro(&name, &n.to_lowercase()), *n));
    let best = scored.filter(|(score, _)| *score > CLOSE).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, n)| n)
}
