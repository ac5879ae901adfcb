//! The command line: arguments, logging, and the commands that print and end.

#![cfg_attr(test, allow(clippy::unwrap_used))] // tests may; the lint still sees everything else when it isn't a test

pub mod args;
pub mod check;
pub mod control;
pub mod devices;
pub mod doctor;
mod journal;
pub mod logging;
mod table;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{self, Config};

/// All went well.
pub const OK: u8 = 0;
/// Something failed; the text on standard error says what.
pub const FAILED: u8 = 1;
/// The arguments make no sense (clap's own exit status).
pub const USAGE: u8 = 2;
/// The configuration file is missing or wrong: `EX_CONFIG` of sysexits.h. Starting again will not help, so a
/// systemd unit may say `RestartPreventExitStatus=78`.
pub const BAD_CONFIG: u8 = 78;

/// Where a daemon's configuration is looked for without `--config`: the first that exists.
const USUAL_FILES: [&str; 2] = ["device.toml", "/etc/peercam/device.toml"];

/// Loads `file` or else the first of the usual files, or else takes the defaults; and says which it was.
pub fn load_config(file: Option<&Path>) -> Result<(Config, String), config::Error> {
    // A file that is there but may not be looked at is for `Config::load` to complain about.
    let usual = || USUAL_FILES.map(PathBuf::from).into_iter().find(|f| f.try_exists().unwrap_or(true));
    match file.map(PathBuf::from).or_else(usual) {
        Some(file) => Ok((Config::load(&file)?, file.display().to_string())),
        None => Ok((Config::default(), format!("defaults (there is no {})", USUAL_FILES.join(", no ")))),
    }
}

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
    // Problems of a file begin with the file's name and line, which editors and people look for.
    let name = if bad_config { "" } else { "peercam: " };
    // Standard error may be closed; there is nobody left to tell then.
    let _ = writeln!(io::stderr(), "{name}{}", in_full(error));
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
