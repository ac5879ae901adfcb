//! Where log lines go and what they look like: standard error, for a person or for the journal.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use tracing::{Event, Level as Severity, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use super::journal::{About, Counted, Journal, Text, priority};

/// What holds unless the user says otherwise: dependencies speak up only when something is wrong, and the WebRTC
/// stack, which takes every stray datagram for worth a warning, only in real trouble. Targets match by their
/// beginning, so "rtc" is all of its crates.
const DEPENDENCIES: &str = "warn,webrtc=error,rtc=error";

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level(String);

impl Level {
    /// `level` ("info") for our own parts and little from dependencies.
    pub fn ours(level: &str) -> Self {
        Self(format!("{DEPENDENCIES},peercam={level}"))
    }
}

/// Understands a level, or directives by part as `tracing_subscriber::EnvFilter` defines them.
pub fn parse(s: &str) -> Result<Level, String> {
    // A bare level is about us; more than that is about whatever it names, on top of the usual.
    let level = match s.split_once(',').map_or((s, ""), |(first, rest)| (first, rest)) {
        (first, rest) if first.parse::<Severity>().is_ok() || first == "off" => {
            Level(format!("{DEPENDENCIES},peercam={first},{rest}"))
        }
        _ => Level(format!("{DEPENDENCIES},peercam=info,{s}")),
    };
    match EnvFilter::builder().parse(&level.0) {
        Ok(_) if !s.is_empty() => Ok(level),
        _ => Err("allowed: error, warn, info, debug, trace or off, and PART=LEVEL after a comma".into()),
    }
}

/// Sends log lines from now on to the journal, if standard error is that, or else to standard error. Called once.
pub fn start(level: &Level) {
    // `parse` and `ours` made it, so no directive is lost here.
    let filter = EnvFilter::builder().parse_lossy(&level.0);
    let to_journal = is_journal();
    if to_journal && let Ok(journal) = Journal::open() {
        return tracing_subscriber::registry().with(filter).with(journal).init();
    }
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter).fmt_fields(Values);
    let ansi = !to_journal && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    log.with_ansi(ansi).event_format(Lines { to_journal, counted: Counted::default() }).init();
}

/// Whether standard error is the journal, as systemd.exec(5) says to find out about `JOURNAL_STREAM`.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(metadata) = io::stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata())
    else {
        return false;
    };
    stream == format!("{}:{}", metadata.dev(), metadata.ino())
}

/// Of a span, the name of the source that its lines are about.
struct Values;

impl<'w> FormatFields<'w> for Values {
    fn format_fields<R: RecordFields>(&self, mut w: Writer<'w>, fields: R) -> fmt::Result {
        let mut about = About::default();
        fields.record(&mut about);
        write!(w, "{about}")
    }
}

/// Lines of text. Those of faults that come again and again are counted.
struct Lines {
    /// Without time, which the journal knows, and with the level as sd-daemon(3) wants it, for `journalctl -p`: where only its
    /// stream can be reached, and not its socket.
    to_journal: bool,
    counted: Counted,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut w: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (text, metadata) = (Text::of(event), event.metadata());
        let mut about = String::new();
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            about += span.extensions().get::<FormattedFields<N>>().map_or("", |f| f.fields.as_str());
        }
        let level = *metadata.level();
        let Some(left_out) = self.counted.may_say(level, &about, &text) else { return Ok(()) };
        if self.to_journal {
            write!(w, "<{}>{}: ", priority(level), metadata.target())?;
        } else {
            let [dim, colour, plain] = match w.has_ansi_escapes() {
                true => ["\x1b[2m", colour(level), "\x1b[0m"],
                false => [""; 3],
            };
            write!(w, "{dim}")?;
            SystemTime.format_time(&mut w)?;
            write!(w, "{plain} {colour}{level:>5}{plain} {dim}{}:{plain} ", metadata.target())?;
        }
        writeln!(w, "{about}{text}{left_out}")
    }
}

/// As tracing_subscriber's own lines have it.
fn colour(level: Severity) -> &'static str {
    match level {
        Severity::ERROR => "\x1b[31m",
        Severity::WARN => "\x1b[33m",
        Severity::INFO => "\x1b[32m",
        Severity::DEBUG => "\x1b[34m",
        Severity::TRACE => "\x1b[35m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_about_us() {
        assert_eq!(parse("debug"), Ok(Level("warn,webrtc=error,rtc=error,peercam=debug,".into())));
        assert_eq!(parse("off"), Ok(Level("warn,webrtc=error,rtc=error,peercam=off,".into())));
        let parts = parse("peercam::viewer=trace,rtc=debug");
        assert_eq!(parts, Ok(Level(format!("{DEPENDENCIES},peercam=info,peercam::viewer=trace,rtc=debug"))));
        for bad in ["", "=loud", "debug,peercam=loud", "peercam=verbose"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
