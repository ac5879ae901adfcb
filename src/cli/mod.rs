//! The command line: arguments, logging, and the commands that print and end.

#![cfg_attr(test, allow(clippy::unwrap_used))] // tests may; the lint still sees everything else when it isn't a test

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

/// All went well.
pub const OK: u8 = 0;
/// Something failed; the text on standard error says what.
pub const FAILED: u8 = 1;
/// The arguments make no sense (clap's own exit status).
pub const USAGE: u8 = 2;
/// The configuration file is missing or wrong: `EX_CONFIG` of sysexits.h. Starting again will not help, so a
/// systemd unit may say `RestartPreventExitStatus=78`.
pub const BAD_CONFIG: u8 = 78;

/// Writes `text` to standard output. A reader that has seen enough (`peercam devices | head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Tells `error` and what caused it on standard error.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    let bad_config = error.is::<config::Error>();
    let says = in_full(error);
    // Problems of a file begin with the file's name and line, which editors and people look for.
    let name = if bad_config || says.starts_with("peercam ") { "" } else { "peercam: " };
    // Standard error may be closed; there is nobody left to tell then.
    let _ = writeln!(io::stderr(), "{name}{says}");
    ExitCode::from(if bad_config { BAD_CONFIG } else { FAILED })
}

/// The error and its causes in one line, without those that an error's own text already ends with.
fn in_full(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        said if said.ends_with(&cause) => said.into(),
        said => format!("{said}: {cause}"),
    })
}
