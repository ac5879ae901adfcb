//! Sets up logging: to the journal if standard error is connected to it, otherwise to standard error.

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

/// Default levels of dependencies: warnings, and only errors from the WebRTC stack, which warns about every stray
/// datagram. Targets match by prefix, so "rtc" covers all of its crates.
const DEPENDENCIES: &str = "warn,webrtc=error,rtc=error";

/// The log filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level(String);

impl Level {
    /// `level` ("info") for peercam, and the default levels for dependencies.
    pub fn ours(level: &str) -> Self {
        Self(format!("{DEPENDENCIES},peercam={level}"))
    }
}

/// Parses a level, or directives for modules as `tracing_subscriber::EnvFilter` defines them.
pub fn parse(s: &str) -> Result<Level, String> {
    // A bare level applies to peercam. Directives are added to the default levels.
    let level = match s.split_once(',').map_or((s, ""), |(first, rest)| (first, rest)) {
        (first, rest) if first.parse::<Severity>().is_ok() || first == "off" => {
            Level(format!("{DEPENDENCIES},peercam={first},{rest}"))
        }
        _ => Level(format!("{DEPENDENCIES},peercam=info,{s}")),
    };
    match EnvFilter::builder().parse(&level.0) {
        Ok(_) if !s.is_empty() => Ok(level),
        _ => {
            Err("allowed: error, warn, info, debug, trace or off, then ,MODULE=LEVEL for single modules"
                .into())
        }
    }
}

/// Starts logging to the journal if standard error is connected to it, or else to standard error. Call it only once.
pub fn start(level: &Level) {
    // `parse` or `ours` has built `level`, so every directive is valid.
    let filter = EnvFilter::builder().parse_lossy(&level.0);
    let to_journal = is_journal();
    if to_journal && let Ok(journal) = Journal::open() {
        return tracing_subscriber::registry().with(filter).with(journal).init();
    }
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter).fmt_fields(Values);
    let ansi = !to_journal && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    log.with_ansi(ansi).event_format(Lines { to_journal, counted: Counted::default() }).init();
}

/// Whether standard error is connected to the journal; see `JOURNAL_STREAM` in systemd.exec(5).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(metadata) = io::stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata())
    else {
        return false;
    };
    stream == format!("{}:{}", metadata.dev(), metadata.ino())
}

/// Formats a span as the name of its source.
struct Values;

impl<'w> FormatFields<'w> for Values {
    fn format_fields<R: RecordFields>(&self, mut w: Writer<'w>, fields: R) -> fmt::Result {
        let mut about = About::default();
        fields.record(&mut about);
        write!(w, "{about}")
    }
}

/// Formats events as lines of text, and limits repeated warnings and errors.
struct Lines {
    /// Whether standard error goes to the journal whose socket could not be opened. Lines then have no time, which the
    /// journal adds, and begin with the level in the form of sd-daemon(3), for `journalctl -p`.
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

/// The colours that tracing_subscriber's own format uses.
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
