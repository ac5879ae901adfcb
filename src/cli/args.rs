//! What stands on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::logging;
use crate::state::{self, Role};

const AFTER_HELP: &str = "\
Examples:
  peercam                             serve the first camera and microphone at https://localhost:8443
  peercam devices                     see what there is
  peercam check --config device.toml  see whether the file is right and what it leads to
  peercam --config device.toml        run with it
  peercam pair                        print a link by which to become the owner of the running peercam
  peercam doctor                      find out why somebody can't connect

Exit status:
  0   all went well
  1   something failed, or `check` or `doctor` found something that does not work; the text says what
  2   the arguments make no sense
  78  the configuration file is missing or wrong (EX_CONFIG)

Without --config, ./device.toml is read, or else /etc/peercam/device.toml; without either, the defaults hold.
SIGHUP (`systemctl reload peercam`) has it read again: viewers stay, and a file with a mistake is refused. SIGTERM ends
the daemon within 3 seconds, a second one at once.
Every key is explained in the device.toml that comes with peercam.";

/// A camera and a microphone, live in any browser: captures, encodes, and serves page, signaling and media.
#[derive(Debug, Parser)]
#[command(name = "peercam", version, after_help = AFTER_HELP)]
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
    /// Print a link, good for 15 minutes, by which to become the owner, or to set the owner's password anew
    Pair(Pair),
    /// Set the owner's password, or the household's
    Passwd(Passwd),
    /// Make, list and revoke keys for programs: WHEP players, monitors, scripts
    Token(Token),
    /// Tell what the running peercam is doing
    Status(ShowStatus),
    /// Close camera and microphone, or let them be opened again
    Privacy(Privacy),
    /// Find out what keeps viewers from connecting, and say what to do
    Doctor(Doctor),
}

/// `peercam pair`
#[derive(Debug, ClapArgs)]
pub struct Pair {
    /// Whose daemon.
    #[command(flatten)]
    pub state: StateDir,
}

const AFTER_PASSWD: &str = "\
At a terminal the password is asked for twice and not shown. Otherwise the first line of standard input is it:
  printf '%s\\n' \"$PASSWORD\" | peercam passwd

It has at least 8 characters. Whoever was signed in by the old one is signed out. A new password for the owner also ends
all guest links and tokens, because whoever had the old one may have made some: at a terminal they are listed and you are
asked; --keep-links keeps them.";

/// `peercam passwd`
#[derive(Debug, ClapArgs)]
#[command(after_help = AFTER_PASSWD)]
pub struct Passwd {
    /// The household's password: whoever has it may watch, and change nothing
    #[arg(long)]
    pub viewer: bool,
    /// Remove the household's password
    #[arg(long, requires = "viewer")]
    pub remove: bool,
    /// Keep guest links and tokens, which a new password for the owner would end
    #[arg(long, conflicts_with = "viewer")]
    pub keep_links: bool,
    /// Whose daemon.
    #[command(flatten)]
    pub state: StateDir,
}

/// `peercam token`
#[derive(Debug, ClapArgs)]
pub struct Token {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// `peercam token ...`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, this once; a program sends it as `Authorization: Bearer TOKEN`
    Add {
        /// What it is for, to know it by
        name: String,
        /// What it is good for: a viewer may watch, take snapshots and read the status; an owner may do all
        #[arg(long, value_enum, default_value_t = TokenRole::Viewer)]
        role: TokenRole,
        /// Whose daemon.
        #[command(flatten)]
        state: StateDir,
    },
    /// List all tokens: name, role, and the day they were made
    List {
        /// Whose daemon.
        #[command(flatten)]
        state: StateDir,
    },
    /// Revoke a token: whoever uses it is cut off
    Revoke {
        /// Its name
        name: String,
        /// Whose daemon.
        #[command(flatten)]
        state: StateDir,
    },
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// May watch.
    Viewer,
    /// May do all.
    Owner,
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Viewer => Self::Viewer,
            TokenRole::Owner => Self::Owner,
        }
    }
}

/// `peercam status`
#[derive(Debug, ClapArgs)]
pub struct ShowStatus {
    /// Print all of it, as JSON
    #[arg(long)]
    pub json: bool,
    /// Whose daemon.
    #[command(flatten)]
    pub state: StateDir,
}

/// `peercam privacy`
#[derive(Debug, ClapArgs)]
pub struct Privacy {
    /// on: close both at once, and keep them closed, also after a restart
    #[arg(value_enum)]
    pub switch: Switch,
    /// Whose daemon.
    #[command(flatten)]
    pub state: StateDir,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

const AFTER_DOCTOR: &str = "\
Looks at ports, firewall, addresses, the STUN servers of the configuration, clock, disk, permissions, devices, encoder and
certificate, and ends with what to do. Root sees most. While peercam runs, its devices are not touched.";

/// `peercam doctor`
#[derive(Debug, ClapArgs)]
#[command(after_help = AFTER_DOCTOR)]
pub struct Doctor {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Whose daemon.
    #[command(flatten)]
    pub state: StateDir,
    /// What is logged.
    #[command(flatten)]
    pub log: Log,
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

/// The options that may stand before or after a command.
#[derive(Default)]
struct Options<'a> {
    config: Option<&'a mut ConfigFile>,
    state: Option<&'a mut StateDir>,
    log: Option<&'a mut Log>,
}

impl Args {
    /// What this program was started to do; ends it where that is not understood, or was help.
    pub fn read() -> Command {
        Self::read_from(std::env::args_os()).unwrap_or_else(|e| e.exit())
    }

    /// The command of a whole command line, or else to run. An option may stand before the command or after it.
    pub fn read_from(line: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
        let mut cli = <Self as CommandFactory>::command();
        let matches = cli.try_get_matches_from_mut(line)?;
        let Self { command, run } = Self::from_arg_matches(&matches)?;
        let Some(mut command) = command else { return Ok(Command::Run(run)) };
        let (mut name, mut inner) = (String::new(), &matches);
        while let Some((next, below)) = inner.subcommand() {
            name = format!("{name} {next}");
            inner = below;
        }
        let Run { config, state, log } = run;
        let Options { config: to_config, state: to_state, log: to_log } = command.options();
        // An environment variable gives the option a value before and after the command, so only the line itself counts.
        let before = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let after = |id| inner.value_source(id) == Some(ValueSource::CommandLine);
        let mut told = |option, (kind, why)| cli.error(kind, format!("{option} {why} `peercam{name}`"));
        if before("file") {
            moved(config, to_config, || after("file")).map_err(|e| told("--config", e))?;
        }
        if before("dir") {
            moved(state, to_state, || after("dir")).map_err(|e| told("--state-dir", e))?;
        }
        if before("level") {
            moved(log, to_log, || after("level")).map_err(|e| told("--log", e))?;
        }
        Ok(command)
    }
}

/// Gives an option that stands before the command to it, which may already have it from behind.
fn moved<T>(
    option: T,
    to: Option<&mut T>,
    already: impl FnOnce() -> bool,
) -> Result<(), (ErrorKind, &'static str)> {
    match to {
        None => Err((ErrorKind::UnknownArgument, "can't be used with")),
        Some(_) if already() => Err((ErrorKind::ArgumentConflict, "stands both before and after")),
        Some(to) => {
            *to = option;
            Ok(())
        }
    }
}

impl Command {
    /// Those of the options that this command takes.
    fn options(&mut self) -> Options<'_> {
        let only_state = |state| Options { state: Some(state), ..Options::default() };
        match self {
            Self::Run(Run { config, state, log }) | Self::Doctor(Doctor { config, state, log }) => {
                Options { config: Some(config), state: Some(state), log: Some(log) }
            }
            Self::Check(Check { config, log, .. }) => {
                Options { config: Some(config), state: None, log: Some(log) }
            }
            Self::Devices(Devices { log }) => Options { log: Some(log), ..Options::default() },
            Self::Pair(Pair { state, .. })
            | Self::Passwd(Passwd { state, .. })
            | Self::Status(ShowStatus { state, .. })
            | Self::Privacy(Privacy { state, .. })
            | Self::Token(Token {
                command:
                    TokenCommand::Add { state, .. }
                    | TokenCommand::List { state, .. }
                    | TokenCommand::Revoke { state, .. },
            }) => only_state(state),
        }
    }

    /// What is logged where nothing was said: a daemon tells what it does; what a command prints has it all already.
    pub fn log_level(&self) -> logging::Level {
        let (log, default) = match self {
            Self::Run(run) => (&run.log, "info"),
            Self::Check(check) => (&check.log, "error"),
            Self::Devices(devices) => (&devices.log, "error"),
            Self::Doctor(doctor) => (&doctor.log, "error"),
            // They print the daemon's answer; it is the daemon that logs.
            Self::Pair(_) | Self::Passwd(_) | Self::Token(_) | Self::Status(_) | Self::Privacy(_) => {
                return logging::Level::ours("error");
            }
        };
        log.level.clone().unwrap_or_else(|| logging::Level::ours(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Args::read_from(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn clap_finds_no_fault() {
        <Args as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn run_is_what_happens_without_a_command() {
        for line in [
            "peercam --config a.toml",
            "peercam run --config a.toml",
            "peercam --config a.toml --log debug run",
        ] {
            let Ok(Command::Run(run)) = parse(line) else { panic!("{line} is no run") };
            assert_eq!(run.config.file, Some("a.toml".into()), "{line}");
        }
        assert!(matches!(parse("peercam"), Ok(Command::Run(Run { config: ConfigFile { file: None }, .. }))));
    }

    #[test]
    fn options_may_stand_before_or_after_the_command() {
        for line in
            ["peercam --config a.toml check --config-only", "peercam check --config-only --config a.toml"]
        {
            let Ok(Command::Check(check)) = parse(line) else { panic!("{line}") };
            assert!(check.config_only && check.config.file == Some("a.toml".into()), "{line}");
        }
        for line in [
            "peercam --state-dir /x --config a --log debug doctor",
            "peercam --state-dir /x doctor --config a --log debug",
            "peercam doctor --state-dir /x --config a --log debug",
        ] {
            let Ok(Command::Doctor(Doctor { config, state, log })) = parse(line) else { panic!("{line}") };
            assert_eq!((config.file, state.dir()), (Some("a".into()), "/x".into()), "{line}");
            assert_eq!(log.level, logging::parse("debug").ok(), "{line}");
        }
        for command in
            ["pair", "passwd", "token add a", "token list", "token revoke a", "status", "privacy on"]
        {
            for line in
                [format!("peercam --state-dir /x {command}"), format!("peercam {command} --state-dir /x")]
            {
                let mut parsed = parse(&line).unwrap();
                assert_eq!(parsed.options().state.unwrap().dir(), PathBuf::from("/x"), "{line}");
            }
            let error = parse(&format!("peercam --config a.toml {command}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnknownArgument);
        }
        let error = parse("peercam --config a token list").unwrap_err().to_string();
        assert!(error.starts_with("error: --config can't be used with `peercam token list`\n"), "{error}");
        let twice = parse("peercam --config a run --config b").unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn commands_take_what_concerns_them() {
        let Ok(Command::Check(check)) = parse("peercam check --config-only --config a.toml") else {
            panic!("no check")
        };
        assert!(check.config_only && check.config.file == Some("a.toml".into()));
        assert!(matches!(parse("peercam devices --log trace"), Ok(Command::Devices(_))));
        assert!(matches!(parse("peercam privacy on --state-dir /x"), Ok(Command::Privacy(_))));
        assert!(matches!(parse("peercam passwd --viewer --remove"), Ok(Command::Passwd(_))));
        let Ok(Command::Token(token)) = parse("peercam token add grafana --role owner") else {
            panic!("no token")
        };
        assert!(matches!(token.command, TokenCommand::Add { role: TokenRole::Owner, .. }));
        let kind = |line: &str| parse(line).expect_err(line).kind();
        assert_eq!(kind("peercam devices --config a.toml"), ErrorKind::UnknownArgument);
        assert_eq!(kind("peercam run --config-only"), ErrorKind::UnknownArgument);
        assert_eq!(kind("peercam --config a.toml devices"), ErrorKind::UnknownArgument);
        assert_eq!(kind("peercam dance"), ErrorKind::InvalidSubcommand);
        assert_eq!(kind("peercam privacy maybe"), ErrorKind::InvalidValue);
        assert_eq!(kind("peercam passwd --remove"), ErrorKind::MissingRequiredArgument);
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

    #[test]
    fn the_man_page_names_every_command_and_option() {
        let page = include_str!("../../systemd/peercam.1").replace('\\', "");
        // A command is named in its macro's arguments, quoted where it is several words.
        let names: Vec<_> = page
            .lines()
            .filter_map(|l| l.strip_prefix('.')?.split_once(' '))
            .map(|(_, said)| said.trim_start_matches('"'))
            .collect();
        let mut waiting = vec![(String::new(), <Args as CommandFactory>::command())];
        while let Some((path, command)) = waiting.pop() {
            assert!(names.iter().any(|n| n.starts_with(path.trim())), "{path} is not in the man page");
            for option in command.get_arguments().filter_map(|a| a.get_long()) {
                assert!(page.contains(&format!("--{option}")), "{path} --{option} is not in the man page");
            }
            waiting
                .extend(command.get_subcommands().map(|c| (format!("{path} {}", c.get_name()), c.clone())));
        }
    }
}
