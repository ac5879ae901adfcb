//! Writes log lines to systemd's journal with their fields (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>), for
//! `journalctl -u peercam VIEWER=... -o verbose`.
//!
//! The crate tracing-journald is not used: it blocks while the journal is full or hangs, which a camera's thread can't
//! afford, and of a line like `viewer joined address=192.0.2.7`, `journalctl` would show only the first two words.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Pts;
use crate::hush::{Hush, LeftOut};

/// The journal's socket.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Most bytes of one field, so that all fields of a line fit into a datagram.
const FIELD: usize = 4_096;
/// How long to wait for a busy journal: less than a frame. After that the line is dropped and counted.
const PATIENCE: Duration = Duration::from_millis(20);

/// The message and fields of a log line.
#[derive(Debug, Default)]
pub(super) struct Text {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Text {
    /// Reads the message and fields of `event`.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut text = Self::default();
        event.record(&mut text);
        text
    }
}

/// The fields of a span that name its source: a camera or a microphone.
#[derive(Debug, Default)]
pub(super) struct About(Vec<(&'static str, String)>);

impl About {
    /// Reads the fields of a new span.
    pub(super) fn of(attributes: &Attributes<'_>) -> Self {
        let mut about = Self::default();
        attributes.record(&mut about);
        about
    }
}

impl Visit for About {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }
}

impl fmt::Display for About {
    /// Writes the prefix of a line's message: "front: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(_, name)| write!(f, "{name}: "))
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}"); // writing to a String can't fail
        } else {
            self.fields.push((field.name(), format!("{value:?}")));
        }
    }
}

impl fmt::Display for Text {
    /// Writes the message, and the fields that are not part of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for (name, value) in self.fields.iter().filter(|(_, value)| !self.message.contains(value.as_str())) {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

/// Limits repeated warnings and errors: most are only counted.
#[derive(Debug)]
pub(super) struct Counted(Mutex<Hush<String>>);

impl Default for Counted {
    fn default() -> Self {
        Self(Mutex::new(Hush::faults()))
    }
}

impl Counted {
    /// Whether to write a line `about` a source, and how many like it were left out before.
    pub(super) fn may_say(&self, level: Level, about: &str, text: &Text) -> Option<LeftOut> {
        if level > Level::WARN {
            return Some(LeftOut::default());
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).may_say(format!("{about}{text}"), Pts::now())
    }
}

/// Writes to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    counted: Counted,
    lost: AtomicU64,
}

impl Journal {
    /// Opens the journal of this machine.
    pub(super) fn open() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        // The journal ignores an empty datagram; sending it shows whether the socket works.
        socket.send_to(&[], path)?;
        Ok(Self { socket, path: path.to_owned(), counted: Counted::default(), lost: AtomicU64::new(0) })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(About::of(attributes));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (text, metadata) = (Text::of(event), event.metadata());
        let (mut about, mut fields) = (String::new(), vec![]);
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of) = span.extensions().get::<About>() {
                about += &of.to_string();
                fields.extend(of.0.clone());
            }
        }
        let Some(left_out) = self.counted.may_say(*metadata.level(), &about, &text) else { return };
        let mut entry = vec![];
        let lost = match self.lost.swap(0, Ordering::Relaxed) {
            0 => String::new(),
            n => format!(" ({n} lines before this one were lost: the journal was busy)"),
        };
        put(&mut entry, "MESSAGE", &format!("{about}{text}{left_out}{lost}"));
        put(&mut entry, "PRIORITY", &priority(*metadata.level()).to_string());
        put(&mut entry, "SYSLOG_IDENTIFIER", "peercam");
        put(&mut entry, "TARGET", metadata.target());
        if let Some((file, line)) = metadata.file().zip(metadata.line()) {
            put(&mut entry, "CODE_FILE", file);
            put(&mut entry, "CODE_LINE", &line.to_string());
        }
        for (name, value) in fields.iter().chain(&text.fields) {
            put(&mut entry, &field_name(name), value);
        }
        if self.socket.send_to(&entry, &self.path).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The priority as defined by sd-daemon(3).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The name of a journal field: at most 64 upper case letters, digits and `_`, beginning with a letter. The journal
/// drops fields with other names.
fn field_name(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(fits).skip_while(|c| !c.is_ascii_alphabetic()).take(64).collect();
    if name.is_empty() { "FIELD".into() } else { name }
}

/// Appends a field in the form with a length, which allows line breaks in the value.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let whole = |end: &usize| value.is_char_boundary(*end);
    let value = &value[..(0..=value.len().min(FIELD)).rev().find(whole).unwrap_or_default()];
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A socket that stands in for the journal's.
    struct Listener(UnixDatagram, PathBuf);

    impl Listener {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("peercam-journal-{name}-{}", std::process::id()));
            let _ = fs::remove_file(&path);
            Self(UnixDatagram::bind(&path).unwrap(), path)
        }

        /// All entries until an empty datagram.
        fn entries(&self) -> Vec<BTreeMap<String, String>> {
            let mut buffer = [0; 100_000];
            let mut next = || self.0.recv(&mut buffer).map(|n| fields(&buffer[..n])).unwrap();
            std::iter::from_fn(|| Some(next()).filter(|entry| !entry.is_empty())).collect()
        }
    }

    impl Drop for Listener {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.1);
        }
    }

    /// The entries that the journal would get from `log`.
    fn logged(name: &str, log: impl FnOnce()) -> Vec<BTreeMap<String, String>> {
        let listener = Listener::new(name);
        let path = listener.1.clone();
        let journal = Journal::at(&path).unwrap();
        assert_eq!(listener.entries(), [], "only the test whether the journal listens");
        std::thread::scope(|scope| {
            let entries = scope.spawn(|| listener.entries());
            tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), log);
            UnixDatagram::unbound().unwrap().send_to(&[], path).unwrap();
            entries.join().unwrap()
        })
    }

    fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut all = BTreeMap::new();
        while let Some(end) = entry.iter().position(|b| *b == b'\n') {
            let (name, rest) = entry.split_at(end);
            let (length, rest) = rest[1..].split_first_chunk::<8>().unwrap();
            let (value, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
            all.insert(text(name), text(value));
            entry = &rest[1..];
        }
        all
    }

    #[test]
    fn a_line_has_its_fields_and_a_person_sees_them_too() {
        let entries = logged("fields", || {
            let address: std::net::IpAddr = [192, 0, 2, 7].into();
            tracing::info!(viewer = "blue", %address, "viewer joined");
            tracing::error!(camera = "C920", temperature_c = Some(84.0), "the C920\nhas gone: 84");
        });
        let line = |n: usize, field: &str| entries[n].get(field).map(String::as_str);
        assert_eq!(line(0, "MESSAGE"), Some("viewer joined viewer=blue address=192.0.2.7"));
        assert_eq!((line(0, "VIEWER"), line(0, "ADDRESS")), (Some("blue"), Some("192.0.2.7")));
        assert_eq!((line(0, "PRIORITY"), line(0, "SYSLOG_IDENTIFIER")), (Some("6"), Some("peercam")));
        assert_eq!(line(0, "TARGET"), Some("peercam::cli::journal::tests"));
        assert!(line(0, "CODE_FILE").unwrap().ends_with("journal.rs") && line(0, "CODE_LINE").is_some());
        // Fields that are part of the message are not repeated.
        assert_eq!(line(1, "MESSAGE"), Some("the C920\nhas gone: 84 temperature_c=84.0"));
        assert_eq!((line(1, "CAMERA"), line(1, "PRIORITY")), (Some("C920"), Some("3")));
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn a_line_of_a_camera_s_thread_says_which_camera_it_is_about() {
        let entries = logged("about", || {
            let span = tracing::info_span!("camera", camera = "front");
            span.in_scope(|| tracing::warn!("camera: unplugged"));
            tracing::warn!("camera: unplugged");
        });
        let line = |n: usize, field: &str| entries[n].get(field).map(String::as_str);
        assert_eq!(
            (line(0, "MESSAGE"), line(0, "CAMERA")),
            (Some("front: camera: unplugged"), Some("front"))
        );
        assert_eq!((line(1, "MESSAGE"), line(1, "CAMERA")), (Some("camera: unplugged"), None));
    }

    #[test]
    fn what_comes_again_and_again_is_left_out_and_what_is_no_fault_is_not() {
        let entries = logged("again", || {
            for n in 0..20 {
                tracing::warn!("the camera is busy");
                tracing::warn!("another fault, number {n}");
                tracing::info!("somebody came");
            }
        });
        let said = |what: &str| entries.iter().filter(|e| e["MESSAGE"].starts_with(what)).count();
        assert_eq!((said("the camera"), said("another"), said("somebody")), (5, 20, 20));
    }

    #[test]
    fn whatever_is_logged_fits() {
        let entries = logged("long", || tracing::warn!(odd = "ü".repeat(5_000), "{}", "x".repeat(10_000)));
        assert_eq!((entries[0]["MESSAGE"].len(), entries[0]["ODD"].len()), (FIELD, FIELD));
        for (name, field) in [("viewer", "VIEWER"), ("_a.b-c", "A_B_C"), ("9", "FIELD")] {
            assert_eq!(field_name(name), field);
        }
    }

    #[test]
    fn a_journal_that_hangs_holds_nobody_up() {
        let listener = Listener::new("hangs");
        let journal = Journal::at(&listener.1).unwrap();
        listener.entries();
        let started = std::time::Instant::now();
        let lines = 2 + std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen")
            .unwrap()
            .trim()
            .parse::<u32>()
            .unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            (0..=lines).for_each(|n| tracing::info!("line {n}"));
            assert!(started.elapsed() < PATIENCE * (lines + 20), "{:?}", started.elapsed());
            for _ in 0..2 {
                listener.0.recv(&mut [0; 1_000]).unwrap();
            }
            tracing::info!("at last");
        });
        UnixDatagram::unbound().unwrap().send_to(&[], &listener.1).unwrap();
        let last = listener.entries().pop().unwrap();
        assert!(last["MESSAGE"].starts_with("at last ("), "{last:?}");
        assert!(last["MESSAGE"].ends_with("lost: the journal was busy)"), "{last:?}");
    }

    #[test]
    fn where_there_is_no_journal_none_is_taken() {
        assert!(Journal::at(Path::new("/nonexistent/socket")).is_err());
    }
}
