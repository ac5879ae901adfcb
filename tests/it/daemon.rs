//! The daemon under test, and its HTTP interface.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::door;
use crate::process::{Dir, Process, run};

/// The built-in test picture, in a size that leaves a two-core machine time for the browsers.
pub(crate) const PATTERN: &str =
    "[video]\ndevice = \"pattern\"\nsize = \"640x480\"\nframe_rate = 30\n[audio]\ndevice = \"tone\"\n";

/// Its state directory, in its folder.
const STATE: &str = "state";

/// A running daemon; dropping it kills it.
pub(crate) struct Daemon {
    process: Process,
    address: SocketAddr,
    config: String,
    variables: Vec<(String, String)>,
    /// Most files that it may open; the usual limit if `None`.
    files: Option<u32>,
    dir: Dir,
}

impl Daemon {
    /// Starts it on a free port of 127.0.0.1 with an owner ([`door`]). `config` is `device.toml` without
    /// `web.port`.
    pub(crate) fn start(config: &str) -> Self {
        let dir = Dir::new();
        door::furnish(&dir.path().join(STATE));
        Self::start_in(dir, config)
    }

    /// Starts it for the first time: it has no owner yet.
    pub(crate) fn first_start(config: &str) -> Self {
        Self::start_in(Dir::new(), config)
    }

    /// Starts it with additional environment variables.
    pub(crate) fn start_with(config: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_at(Dir::new(), config, variables)
    }

    /// Starts it in an existing folder.
    pub(crate) fn start_at(dir: Dir, config: &str, variables: &[(&str, &str)]) -> Self {
        door::furnish(&dir.path().join(STATE));
        Self::begin(dir, config, variables, None)
    }

    /// Starts it with a limit for open files.
    pub(crate) fn start_with_files(config: &str, files: u32) -> Self {
        let dir = Dir::new();
        door::furnish(&dir.path().join(STATE));
        Self::begin(dir, config, &[], Some(files))
    }

    fn start_in(dir: Dir, config: &str) -> Self {
        Self::begin(dir, config, &[], None)
    }

    fn begin(dir: Dir, config: &str, variables: &[(&str, &str)], files: Option<u32>) -> Self {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (process, address) = start(config, 0, &dir, &variables, files);
        Self { process, address, config: config.into(), variables, files, dir }
    }

    /// Writes a new `device.toml`, as for [`Daemon::start`] but with the present `web.port`, and reloads it.
    pub(crate) fn reload(&self, config: &str) {
        std::fs::write(self.dir.path().join("device.toml"), complete(config, 0)).unwrap();
        self.process.signal(libc::SIGHUP);
    }

    /// Kills it as a power cut would, and starts it again on the same port.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, on the same port, after [`Daemon::kill`].
    pub(crate) fn restart(&mut self) {
        let Self { config, address, dir, variables, files, .. } = &*self;
        (self.process, self.address) = start(config, address.port(), dir, variables, *files);
    }

    /// Tells it to stop, as systemd would, and waits for its end.
    pub(crate) fn terminate(&mut self, within: Duration) {
        self.process.terminate(within);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        self.process.signal(signal);
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its state directory.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join(STATE)
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// `/api/status` now.
    pub(crate) fn status(&self) -> Value {
        status(self.address)
    }

    /// Waits for a log line with `text`, and returns it.
    pub(crate) fn said(&mut self, text: &str) -> String {
        self.process.said(text, Duration::from_secs(10))
    }

    /// The same with a deadline.
    pub(crate) fn said_within(&mut self, text: &str, within: Duration) -> String {
        self.process.said(text, within)
    }

    /// The output of a command of the owner on the same machine; fails the test if it fails.
    pub(crate) fn command(&self, args: &[&str]) -> String {
        let mut command = Command::new(binary());
        command.args(args).arg("--state-dir").arg(self.state_dir()).env("NO_COLOR", "1");
        run("peercam", &mut command, Duration::from_secs(20))
    }

    /// Number of log lines with `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.process.count(text)
    }

    /// The last log lines.
    pub(crate) fn log(&self) -> String {
        self.process.tail()
    }
}

/// `device.toml` with the parts that a test leaves out.
fn complete(config: &str, port: u16) -> String {
    // Plain HTTP unless a test is about HTTPS: most are about what is behind it.
    let tls = if config.contains("tls = ") { "" } else { "tls = \"off\"\n" };
    let address = if config.contains("\naddress = ") { "" } else { "address = \"127.0.0.1\"\n" };
    let port = if config.contains("[web]\nport = ") { String::new() } else { format!("port = {port}\n") };
    let with_port = format!("[web]\n{address}{port}{tls}");
    let config = if config.contains("[web]\n") {
        config.replace("[web]\n", &with_port)
    } else {
        format!("{config}\n{with_port}")
    };
    // Several daemons at once each need their own media port, and no number is given.
    if config.contains("[ice]\n") { config } else { format!("{config}\n[ice]\nport = 0\n") }
}

/// The daemon under test: the one just built, or a different build, to see a test fail where a fix is
/// missing.
fn binary() -> PathBuf {
    std::env::var_os("PEERCAM_DAEMON").map_or_else(|| env!("CARGO_BIN_EXE_peercam").into(), PathBuf::from)
}

fn start(
    config: &str,
    port: u16,
    dir: &Dir,
    variables: &[(String, String)],
    files: Option<u32>,
) -> (Process, SocketAddr) {
    let path = dir.path().join("device.toml");
    std::fs::write(&path, complete(config, port)).unwrap();
    let mut command = match files {
        None => Command::new(binary()),
        Some(files) => {
            let mut command = Command::new("prlimit");
            command.arg(format!("--nofile={files}:{files}")).arg(binary());
            command
        }
    };
    command.arg("run").arg("--config").arg(&path).arg("--state-dir").arg(dir.path().join(STATE));
    command.current_dir(dir.path()).env("NO_COLOR", "1").envs(variables.iter().cloned());
    let mut process = Process::start("peercam", &mut command);
    let line = process.said("listening on http", Duration::from_secs(20));
    let address = line
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !"[:.]".contains(c) && !c.is_ascii_hexdigit()).next())
        .and_then(|address| address.parse().ok())
        .unwrap_or_else(|| process.fail(&format!("names no address in {line:?}")));
    (process, address)
}

/// `/api/status` of a daemon, wherever it runs.
pub(crate) fn status(address: SocketAddr) -> Value {
    let (code, body) = get(address, "/api/status").unwrap_or_else(|e| panic!("GET /api/status: {e}"));
    assert_eq!(code, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("status is JSON")
}

/// Waits until `/api/status` meets a condition, and returns how long that took, and the status.
pub(crate) fn until(
    address: SocketAddr,
    what: &str,
    within: Duration,
    holds: impl Fn(&Value) -> bool,
) -> (Duration, Value) {
    let start = Instant::now();
    loop {
        let status = status(address);
        if holds(&status) {
            return (start.elapsed(), status);
        }
        assert!(start.elapsed() < within, "not {what} within {within:?}: {status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A GET request of the owner; returns status code and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let bearer = door::token();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {bearer}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = vec![];
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let code = head.split(' ').nth(1).and_then(|c| c.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((code, answer.split_off(end + 4)))
}
