//! What stands on the command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use super::logging;
use crate::state;

const AFTER_HELP: &str = "\
Examples:
  peercam                             serve the first camera and microphone at http://127.0.0.1:8080
  peercam devices                     see what there is
  peercam check --config device.toml  see whether the file is right and what it leads to
  peercam --config device.toml        run with it

Exit status:
  0   all went well
  1   something failed, or `check` found something that will not work; the text says what
  2   the arguments make no sense
  78  the configuration file is missing or wrong (EX_CONFIG)

Without --config, ./device.toml is read, or else /etc/peercam/device.toml; without either, the defaults hold.
Every key is explained in the device.toml that comes with peercam.";

/// A camera and a microphone, live in any browser: captures, encodes, and serves page, signaling and media.
#[derive(Debug, Parser)]
#[command(name = "peercam", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until stopped (this is what happens without a command)
    Run(Run),
    /// Check the configuration, open the devices, and print what would be used and why
    Check(Check),
    /// List cameras with formats, sizes, rates and controls, microphones, and encoders
    Devices(Devices),
}

/// `peercam run`
#[derive(Debug, ClapArgs)]
pub struct Run {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Where what must last is.
    #[command(flatten)]
    pub state: StateDir,
    /// What is logged.
    #[command(flatten)]
    pub log: Log,
}

/// `peercam check`
#[derive(Debug, ClapArgs)]
pub struct Check {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Check only the file and touch no device
    #[arg(long)]
    pub config_only: bool,
    /// What is logged.
    #[command(flatten)]
    pub log: Log,
}

/// `peercam devices`
#[derive(Debug, ClapArgs)]
pub struct Devices {
    /// What is logged.
    #[command(flatten)]
    pub log: Log,
}

/// Where the configuration is.
#[derive(Debug, ClapArgs)]
pub struct ConfigFile {
    /// Configuration file
    #[arg(long = "config", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Where what must last is: owner, sessions, tokens, certificates.
#[derive(Debug, ClapArgs)]
pub struct StateDir {
    /// Folder for what must last: owner, sessions, tokens, certificates
    #[arg(long = "state-dir", value_name = "DIR", env = "PEERCAM_STATE_DIR")]
    dir: Option<PathBuf>,
}

impl StateDir {
    /// What was said, or else the usual place.
    pub fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(state::default_dir)
    }
}

/// What is logged.
#[derive(Debug, ClapArgs)]
pub struct Log {
    /// Log error, warn, info, debug or trace, or more by part ("info,peercam::viewer=debug")
    #[arg(long = "log", value_name = "LEVEL", env = "PEERCAM_LOG", value_parser = logging::parse, hide_env_values = true)]
    pub level: Option<logging::Level>,
}

impl Args {
    /// What to do: what was said, or else to run.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

impl Command {
    /// What is logged where nothing was said: a daemon tells what it does; what a command prints has it all already.
    pub fn log_level(&self) -> logging::Level {
        let (log, default) = match self {
            Self::Run(run) => (&run.log, "info"),
            Self::Check(check) => (&check.log, "error"),
            Self::Devices(devices) => (&devices.log, "error"),
        };
        log.level.clone().unwrap_or_else(|| logging::Level::ours(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Args::try_parse_from(line.split_whitespace()).map(Args::command)
    }

    #[test]
    fn clap_finds_no_fault() {
        <Args as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn run_is_what_happens_without_a_command() {
        for line in
            ["peercam --config a.toml", "peercam run --config a.toml", "peercam --config a.toml --log debug"]
        {
            let Ok(Command::Run(run)) = parse(line) else { panic!("{line} is no run") };
            assert_eq!(run.config.file, Some("a.toml".into()), "{line}");
        }
        assert!(matches!(parse("peercam"), Ok(Command::Run(Run { config: ConfigFile { file: None }, .. }))));
    }

    #[test]
    fn commands_take_what_concerns_them() {
        let Ok(Command::Check(check)) = parse("peercam check --config-only --config a.toml") else {
            panic!("no check")
        };
        assert!(check.config_only && check.config.file == Some("a.toml".into()));
        assert!(matches!(parse("peercam devices --log trace"), Ok(Command::Devices(_))));
        let kind = |line: &str| parse(line).expect_err(line).kind();
        assert_eq!(kind("peercam devices --config a.toml"), ErrorKind::UnknownArgument);
        assert_eq!(kind("peercam run --config-only"), ErrorKind::UnknownArgument);
        assert_eq!(kind("peercam --config a.toml check"), ErrorKind::ArgumentConflict);
        assert_eq!(kind("peercam dance"), ErrorKind::InvalidSubcommand);
        assert_eq!(kind("peercam --log =loud"), ErrorKind::ValueValidation);
        assert_eq!(kind("peercam --version"), ErrorKind::DisplayVersion);
    }

    #[test]
    fn help_tells_every_exit_status() {
        let help = <Args as CommandFactory>::command().render_long_help().to_string();
        for status in [super::super::OK, super::super::FAILED, super::super::USAGE, super::super::BAD_CONFIG]
        {
            assert!(help.contains(&format!("\n  {status:<4}")), "{status} is not in the help");
        }
    }
}
