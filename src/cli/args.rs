//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::logging;
use crate::state::{self, Role};

const AFTER_HELP: &str = "\
Examples:
  peercam                             serve the first camera and microphone at https://localhost:8443
  peercam devices                     list the cameras and microphones
  peercam check --config device.toml  test a configuration file
  peercam --config device.toml        run with it
  peercam pair                        print the link that makes you the owner of the running peercam
  peercam doctor                      find out why a viewer can't connect

Options may come before or after the command.

Exit status:
  0   success
  1   something failed, or `check` or `doctor` found a problem
  2   wrong arguments
  78  the configuration file is missing or wrong (EX_CONFIG)

Without --config, the first of ./device.toml and /etc/peercam/device.toml is read; without both, the defaults apply.
SIGHUP (`systemctl reload peercam`) rereads it without disconnecting viewers; a file with mistakes is rejected.
SIGTERM stops peercam within 3 seconds, a second SIGTERM at once.
The device.toml that comes with peercam explains every key.";

/// A camera and a microphone, live in any browser.
#[derive(Debug, Parser)]
#[command(name = "peercam", version, after_help = AFTER_HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

/// The parsed command line.
#[derive(Debug)]
pub struct Args {
    /// The command; [`Command::Run`] if none is given.
    pub command: Command,
    /// The options that all commands share.
    pub options: Options,
}

/// Options that may come before or after a command. If an option is repeated, the last one counts.
#[derive(Debug, Default, ClapArgs)]
pub struct Options {
    /// Configuration file (default: ./device.toml, or else /etc/peercam/device.toml)
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Folder for passwords, tokens and certificates
    #[arg(long, value_name = "DIR", env = "PEERCAM_STATE_DIR", hide_env_values = true, global = true)]
    pub state_dir: Option<PathBuf>,
    /// Log level: error, warn, info, debug, trace or off; for single modules: info,peercam::viewer=debug
    #[arg(
        long,
        value_name = "LEVEL",
        env = "PEERCAM_LOG",
        value_parser = logging::parse,
        hide_env_values = true,
        global = true
    )]
    pub log: Option<logging::Level>,
}

/// The commands.
#[derive(Debug, PartialEq, Subcommand)]
pub enum Command {
    /// Serve camera and microphone until stopped (the default)
    Run,
    /// Check the configuration, try the devices, and show what would be used and why
    #[command(after_help = AFTER_CHECK)]
    Check(Check),
    /// List cameras, microphones and encoders, and what they can do
    #[command(after_help = AFTER_DEVICES)]
    Devices,
    /// Print a link that makes you the owner or sets a new owner password (valid for 15 minutes)
    Pair,
    /// Set the owner's password, or the household's
    Passwd(Passwd),
    /// Create, list and revoke tokens for programs: WHEP players, monitors, scripts
    Token(Token),
    /// Show what the running peercam is doing
    Status(ShowStatus),
    /// Turn privacy on (camera and microphone closed) or off
    Privacy(Privacy),
    /// Find out why viewers can't connect, and what to do about it
    #[command(after_help = AFTER_DOCTOR)]
    Doctor,
}

/// Commands that talk to the running peercam, which has already read its configuration.
const ASKING: [&str; 5] = ["pair", "passwd", "token", "status", "privacy"];

const AFTER_CHECK: &str = "\
Ports and devices that a running peercam uses count as free. The running peercam is found by its --state-dir.";

/// `peercam check`
#[derive(Debug, PartialEq, Eq, ClapArgs)]
pub struct Check {
    /// Check only the file and the files it names, not ports and devices
    #[arg(long)]
    pub config_only: bool,
}

const AFTER_DEVICES: &str = "\
Copy a `device = ...` line into device.toml, or, for several cameras, the [[camera]] sections.
Devices that the configuration chooses are marked.";

const AFTER_PASSWD: &str = "\
At a terminal you are asked for the password twice; it is not shown. Otherwise it is the first line of standard input:
  printf '%s\\n' \"$PASSWORD\" | peercam passwd

A password has at least 8 characters. Everyone who signed in with the old one is signed out. A new owner password also
ends all guest links and tokens, because someone who knew the old one may have created them. At a terminal they are
listed and you are asked; --keep-links keeps them.";

/// `peercam passwd`
#[derive(Debug, PartialEq, Eq, ClapArgs)]
#[command(after_help = AFTER_PASSWD)]
pub struct Passwd {
    /// Set the household's password, which allows watching and nothing else
    #[arg(long)]
    pub viewer: bool,
    /// Remove the household's password
    #[arg(long, requires = "viewer")]
    pub remove: bool,
    /// Keep all guest links and tokens
    #[arg(long, conflicts_with = "viewer")]
    pub keep_links: bool,
    /// Let the household watch this camera only; may be repeated
    #[arg(long = "camera", value_name = "NAME", requires = "viewer", conflicts_with = "remove")]
    pub cameras: Vec<String>,
    /// Let the household watch all cameras
    #[arg(long, requires = "viewer", conflicts_with_all = ["remove", "cameras"])]
    pub all_cameras: bool,
}

/// `peercam token`
#[derive(Debug, PartialEq, Eq, ClapArgs)]
pub struct Token {
    /// The subcommand.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// `peercam token ...`
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum TokenCommand {
    /// Create a token and print it once; programs send it as `Authorization: Bearer TOKEN`
    Add {
        /// A name for the token, such as the program that will use it
        name: String,
        /// What the token allows
        #[arg(long, value_enum, default_value_t = TokenRole::Viewer)]
        role: TokenRole,
        /// Allow this camera only (not for the role owner); may be repeated
        #[arg(long = "camera", value_name = "NAME")]
        cameras: Vec<String>,
    },
    /// List all tokens with role, cameras and date
    List,
    /// Revoke a token and disconnect its clients
    Revoke {
        /// Name of the token, as `peercam token list` shows it
        name: String,
    },
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Watch, take snapshots and read the status
    Viewer,
    /// Everything
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
#[derive(Debug, PartialEq, Eq, ClapArgs)]
pub struct ShowStatus {
    /// Print everything, as JSON
    #[arg(long)]
    pub json: bool,
}

/// `peercam privacy`
#[derive(Debug, PartialEq, Eq, ClapArgs)]
pub struct Privacy {
    /// Whether to turn privacy on or off
    #[arg(value_enum)]
    pub switch: Switch,
    /// Only this camera, with its microphone if no other camera uses it
    #[arg(long, value_name = "NAME")]
    pub camera: Option<String>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Close cameras and microphones at once and keep them closed, even after a restart
    On,
    /// Allow them to be opened when somebody watches
    Off,
}

const AFTER_DOCTOR: &str = "\
Checks ports, firewall, addresses, configured STUN servers, clock, disk, permissions, devices, encoder and certificate.
Run it as root to see the most. Devices are not tried while peercam is running.";

impl Options {
    /// The given state folder, or the default one.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(state::default_dir)
    }
}

impl Args {
    /// Reads the command line of this process. Exits if it is wrong or asks for help.
    pub fn read() -> Self {
        Self::read_from(std::env::args_os()).unwrap_or_else(|e| e.exit())
    }

    /// Parses a command line.
    pub fn read_from(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut cli = command_line();
        let matches = cli.try_get_matches_from_mut(line)?;
        let CommandLine { command, options } = CommandLine::from_arg_matches(&matches)?;
        match matches.subcommand_name() {
            Some(name) if options.config.is_some() && ASKING.contains(&name) => {
                let says =
                    format!("--config can't be used with `peercam {name}`, which asks the running peercam");
                Err(cli.error(ErrorKind::UnknownArgument, says))
            }
            _ => Ok(Self { command: command.unwrap_or(Command::Run), options }),
        }
    }

    /// The log level. The default is "info" for the daemon and "error" for commands, which print their results anyway.
    pub fn log_level(&self) -> logging::Level {
        let default = if self.command == Command::Run { "info" } else { "error" };
        self.options.log.clone().unwrap_or_else(|| logging::Level::ours(default))
    }
}

/// All commands and options. Commands that can't use --config hide it in their help; `read_from` reports its use.
fn command_line() -> clap::Command {
    let cli = CommandLine::command();
    let config = cli.get_arguments().find(|a| a.get_id() == "config").cloned();
    let Some(hidden) = config.map(|a| a.hide(true)) else { return cli };
    ASKING.iter().fold(cli, |cli, name| cli.mut_subcommand(name, |command| command.arg(hidden.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::read_from(line.split_whitespace().map(OsString::from))
    }

    fn command(line: &str) -> Command {
        parse(line).unwrap_or_else(|e| panic!("{line}: {e}")).command
    }

    /// All commands and subcommands: "check", "token add".
    fn commands() -> Vec<(String, clap::Command)> {
        let (mut all, mut waiting) = (vec![], vec![(String::new(), command_line())]);
        while let Some((path, command)) = waiting.pop() {
            let below = |c: &clap::Command| (format!("{path} {}", c.get_name()).trim().into(), c.clone());
            waiting.extend(command.get_subcommands().map(below));
            all.push((path, command));
        }
        all
    }

    #[test]
    fn clap_finds_no_fault() {
        command_line().debug_assert();
    }

    #[test]
    fn run_is_what_happens_without_a_command() {
        for line in [
            "peercam --config a.toml",
            "peercam run --config a.toml",
            "peercam --config a.toml --log debug run",
        ] {
            let args = parse(line).unwrap();
            assert_eq!((args.command, args.options.config), (Command::Run, Some("a.toml".into())), "{line}");
        }
        let bare = parse("peercam").unwrap();
        assert_eq!((bare.command, bare.options.config), (Command::Run, None));
    }

    #[test]
    fn options_stand_before_or_after_every_command_that_can_use_them() {
        let all = [
            "run",
            "check --config-only",
            "devices",
            "doctor",
            "pair",
            "passwd",
            "token add a",
            "token list",
            "token revoke a",
            "status",
            "privacy on",
        ];
        for name in all {
            let asks = ASKING.contains(&name.split(' ').next().unwrap());
            let config = if asks { "" } else { " --config a" };
            let (first, rest) = name.split_once(' ').unwrap_or((name, ""));
            for line in [
                format!("peercam --state-dir /x --log debug{config} {name}"),
                format!("peercam {name} --state-dir /x --log debug{config}"),
                format!("peercam --log debug {name}{config} --state-dir /x"),
                format!("peercam {first} --log debug{config} --state-dir /x {rest}"),
            ] {
                let args = parse(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
                let Options { config, state_dir, log } = args.options;
                assert_eq!((state_dir, log), (Some("/x".into()), logging::parse("debug").ok()), "{line}");
                assert_eq!(config.is_some(), !asks, "{line}");
            }
            for line in [format!("peercam --config a {name}"), format!("peercam {name} --config a")] {
                assert_eq!(parse(&line).is_ok(), !asks, "{line}");
            }
        }
        let error = parse("peercam --config a token list").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownArgument);
        let says = "error: --config can't be used with `peercam token`, which asks the running peercam\n";
        assert!(error.to_string().starts_with(says), "{error}");
        let twice = parse("peercam --config a run --config b").unwrap();
        assert_eq!(twice.options.config, Some("b".into()), "the last one counts");
    }

    #[test]
    fn help_shows_the_options_that_a_command_takes() {
        for line in
            ["peercam devices --help", "peercam help check", "peercam status -h", "peercam token add -h"]
        {
            let help = parse(line).unwrap_err();
            assert_eq!(help.kind(), ErrorKind::DisplayHelp, "{line}");
            let help = help.to_string();
            assert!(help.contains("--state-dir") && help.contains("--log"), "{line}: {help}");
            let asks = line.contains("status") || line.contains("token");
            assert_eq!(help.contains("--config <FILE>"), !asks, "{line}: {help}");
        }
    }

    #[test]
    fn commands_take_what_concerns_them() {
        assert_eq!(command("peercam check --config-only"), Command::Check(Check { config_only: true }));
        assert_eq!(
            command("peercam privacy on"),
            Command::Privacy(Privacy { switch: Switch::On, camera: None })
        );
        let remove =
            Passwd { viewer: true, remove: true, keep_links: false, cameras: vec![], all_cameras: false };
        assert_eq!(command("peercam passwd --viewer --remove"), Command::Passwd(remove));
        let add = TokenCommand::Add { name: "grafana".into(), role: TokenRole::Owner, cameras: vec![] };
        assert_eq!(command("peercam token add grafana --role owner"), Command::Token(Token { command: add }));
        let kind = |line: &str| parse(line).expect_err(line).kind();
        assert_eq!(kind("peercam run --config-only"), ErrorKind::UnknownArgument);
        assert_eq!(kind("peercam dance"), ErrorKind::InvalidSubcommand);
        assert_eq!(kind("peercam privacy maybe"), ErrorKind::InvalidValue);
        assert_eq!(kind("peercam passwd --remove"), ErrorKind::MissingRequiredArgument);
        assert_eq!(kind("peercam --log =loud"), ErrorKind::ValueValidation);
        assert_eq!(kind("peercam --version"), ErrorKind::DisplayVersion);
    }

    #[test]
    fn a_daemon_logs_what_it_does_and_a_command_only_errors() {
        for (line, level) in [("peercam", "info"), ("peercam run", "info"), ("peercam status", "error")] {
            assert_eq!(parse(line).unwrap().log_level(), logging::Level::ours(level), "{line}");
        }
        let told = parse("peercam devices --log debug").unwrap();
        assert_eq!(Ok(told.log_level()), logging::parse("debug"));
    }

    #[test]
    fn help_tells_every_exit_status() {
        let help = command_line().render_long_help().to_string();
        for status in [super::super::OK, super::super::FAILED, super::super::USAGE, super::super::BAD_CONFIG]
        {
            assert!(help.contains(&format!("\n  {status:<4}")), "{status} is not in the help");
        }
    }

    #[test]
    fn the_man_page_names_every_command_and_option() {
        let page = include_str!("../../systemd/peercam.1").replace('\\', "");
        // The man page names a command in a macro's arguments, in quotes if it has several words.
        let names: Vec<_> = page
            .lines()
            .filter_map(|l| l.strip_prefix('.')?.split_once(' '))
            .map(|(_, said)| said.trim_start_matches('"'))
            .collect();
        for (path, command) in commands() {
            assert!(names.iter().any(|n| n.starts_with(&path)), "{path} is not in the man page");
            for option in command.get_arguments().filter_map(|a| a.get_long()) {
                assert!(page.contains(&format!("--{option}")), "{path} --{option} is not in the man page");
            }
        }
    }
}
