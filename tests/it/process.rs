//! Child processes that end with their test in any case, and whose output is awaited with a deadline.

use std::fmt::{Debug, Write as _};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many lines of output a failure shows.
const TAIL: usize = 60;

/// How long a child may take to end properly.
const LAST_WISH: Duration = Duration::from_secs(5);

/// What a process holds once that has not changed for a second: everything has started or ended. Blocks the thread.
pub(crate) fn settled<T: PartialEq + Debug>(held: impl Fn() -> T) -> T {
    let (start, mut since, mut last) = (Instant::now(), Instant::now(), held());
    while since.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(50));
        let now = held();
        assert!(start.elapsed() < Duration::from_secs(20), "it keeps changing: {last:?}, {now:?}");
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

/// A running child; dropping it ends it.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    /// In a lock, so that threads of a test may share the process.
    stdout: Mutex<Receiver<String>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `command` with all three streams connected.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}: {command:?}"));
        let log = Arc::new(Mutex::new(vec![]));
        let (lines, stdout) = channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let out_log = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                out_log.lock().unwrap().push(line.clone());
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let err_log = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                err_log.lock().unwrap().push(line);
            }
        });
        Self { name: name.into(), stdin: child.stdin.take(), child, stdout: Mutex::new(stdout), log }
    }

    /// The next line of standard output.
    pub(crate) fn line(&mut self, within: Duration) -> String {
        match self.stdout.get_mut().unwrap().recv_timeout(within) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => self.fail(&format!("said nothing for {within:?}")),
            Err(RecvTimeoutError::Disconnected) => self.fail("ended"),
        }
    }

    /// Waits until a line of either output contains `text`, and returns the first one.
    pub(crate) fn said(&mut self, text: &str, within: Duration) -> String {
        let end = Instant::now() + within;
        loop {
            if let Some(line) = self.log.lock().unwrap().iter().find(|l| l.contains(text)) {
                return line.clone();
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                self.fail(&format!("ended ({status}) without having said {text:?}"));
            }
            if Instant::now() > end {
                self.fail(&format!("did not say {text:?} within {within:?}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        let written = writeln!(self.stdin.as_mut().expect("open until drop"), "{line}");
        if written.is_err() {
            self.fail("takes no more input");
        }
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as a power cut would, with everything that it started.
    pub(crate) fn kill(&mut self) {
        kill_with_children(&mut self.child);
    }

    /// Sends it SIGTERM; fails the test if it does not end properly in time.
    pub(crate) fn terminate(&mut self, within: Duration) {
        self.signal_to_stop();
        let end = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return,
                Ok(Some(status)) => self.fail(&format!("ended with {status}")),
                _ if Instant::now() > end => self.fail(&format!("did not stop within {within:?}")),
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn signal_to_stop(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        // SAFETY: a signal to a child of ours that has not been waited for, so its number is still valid.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// Fails the test with the last lines of output.
    pub(crate) fn fail(&self, why: &str) -> ! {
        panic!("{} {why}; its last output:\n{}", self.name, self.tail());
    }

    /// How many lines of output contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|l| l.contains(text)).count()
    }

    /// The last lines of output.
    pub(crate) fn tail(&self) -> String {
        let log = self.log.lock().unwrap();
        log[log.len().saturating_sub(TAIL)..].iter().fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "    {line}");
            all
        })
    }
}

impl Drop for Process {
    /// Closes its standard input and sends it SIGTERM, either of which makes every program here clean up and
    /// end; otherwise kills it and everything that it started.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}", self.name, self.tail());
        }
        drop(self.stdin.take());
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal_to_stop();
            let end = Instant::now() + LAST_WISH;
            while matches!(self.child.try_wait(), Ok(None)) {
                if Instant::now() > end {
                    return self.kill();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Kills a child and its descendants: a browser is in a separate process group, and outlives the script that
/// drives it.
fn kill_with_children(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        for id in descendants(child.id()) {
            // SAFETY: only a signal. The number is that of a process that was a descendant of a child of ours
            // a moment ago.
            unsafe { libc::kill(id as libc::pid_t, libc::SIGKILL) };
        }
        let _ = child.kill(); // it does not matter if it is already gone
        let _ = child.wait();
    }
}

/// The descendants of a process, from each process' parent in /proc.
fn descendants(of: u32) -> Vec<u32> {
    let parent_of = |id: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name before it, in parentheses, may contain anything.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let all: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, parent_of(id)?)))
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(all.iter().filter(|(_, p)| *p == parent).map(|(id, _)| id));
        next += 1;
    }
    found.split_off(1)
}

/// Runs a command to its end and returns its standard output; fails the test if it fails or takes longer than
/// `within`.
pub(crate) fn run(name: &str, command: &mut Command, within: Duration) -> String {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}: {command:?}"));
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut all = vec![];
            // What was read before an error is all that there is.
            let _ = from.read_to_end(&mut all);
            String::from_utf8_lossy(&all).into_owned()
        })
    };
    let out = read(Box::new(child.stdout.take().unwrap()));
    let err = read(Box::new(child.stderr.take().unwrap()));
    let end = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > end {
            kill_with_children(&mut child);
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    match status {
        Some(status) if status.success() => out,
        Some(status) => panic!("{name}: {status}\n{out}{err}"),
        None => panic!("{name}: not done within {within:?}\n{out}{err}"),
    }
}

/// A new directory, removed when dropped.
pub(crate) struct Dir(PathBuf);

impl Dir {
    /// Creates it in the system's directory for temporary files.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("peercam-test-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
