//! The command line: arguments, logging, and the commands other than `run`.

pub mod args;
pub mod check;
pub mod control;
pub mod devices;
pub mod doctor;
mod files;
mod journal;
pub mod logging;
mod ports;
mod report;
mod table;

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::config;

/// Exit status: success.
pub const OK: u8 = 0;
/// Exit status: something failed; standard error says what.
pub const FAILED: u8 = 1;
/// Exit status: wrong arguments (clap's own exit status).
pub const USAGE: u8 = 2;
/// Exit status: the configuration file is missing or wrong (`EX_CONFIG` of sysexits.h). A restart does not help, so a
/// systemd unit may set `RestartPreventExitStatus=78`.
pub const BAD_CONFIG: u8 = 78;

/// Writes `text` to standard output. A closed pipe (`peercam devices | head`) is not an error.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints `error` and its causes on standard error, and returns the exit status.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    let bad_config = error.is::<config::Error>();
    let says = in_full(error);
    // Problems in a file begin with the file's name and line, so that editors can jump there.
    let name = if bad_config || says.starts_with("peercam ") { "" } else { "peercam: " };
    // If standard error is closed, the error can't be reported at all.
    let _ = writeln!(io::stderr(), "{name}{says}");
    ExitCode::from(if bad_config { BAD_CONFIG } else { FAILED })
}

/// The error and its causes in one line. A cause that the error's text already ends with is left out.
fn in_full(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        said if said.ends_with(&cause) => said.into(),
        said => format!("{said}: {cause}"),
    })
}
