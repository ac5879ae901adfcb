//! What a supervisor sees: its notifications, and that the daemon ends in time whatever hangs.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, PATTERN, get};
use crate::process::Dir;
use crate::reload::Viewer;
use crate::ticker::Ticker;

const PATIENCE: Duration = Duration::from_secs(20);

/// systemd's end of the socket.
struct Supervisor {
    socket: UnixDatagram,
    dir: Dir,
    /// Messages that have arrived and were not asked for yet.
    heard: Vec<String>,
}

impl Supervisor {
    fn new() -> Self {
        let dir = Dir::new();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { socket, dir, heard: vec![] }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Takes the messages that have arrived.
    fn listen(&mut self) -> &mut Vec<String> {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        &mut self.heard
    }

    /// The first message with a line that begins like this.
    fn told(&mut self, line: &str) -> String {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let heard = self.listen();
            if let Some(at) = heard.iter().position(|m| m.lines().any(|l| l.starts_with(line))) {
                return heard.remove(at);
            }
        }
        panic!("not told {line}, but {:?}", self.heard);
    }

    /// The messages that arrive within this time.
    fn within(&mut self, time: Duration) -> Vec<String> {
        self.listen().clear();
        std::thread::sleep(time);
        std::mem::take(self.listen())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_what_goes_on() {
    let mut systemd = Supervisor::new();
    let environment = systemd.path("environment");
    let config = &format!("{PATTERN}[watching]\non_first = [\"/bin/sh\", \"-c\", \"env > {environment}\"]\n");
    let socket = systemd.path("notify");
    let variables = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "400000")];
    let mut daemon = Daemon::start_with(config, &variables);
    systemd.told("READY=1");
    systemd.told("STATUS=no viewers; camera ");
    let fed = systemd.within(Duration::from_secs(1)).iter().filter(|m| *m == "WATCHDOG=1\n").count();
    assert!((3..=7).contains(&fed), "every 200 ms: {fed}");

    daemon.reload(&format!("{config}[video"));
    let reloading = systemd.told("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    systemd.told("READY=1");
    let refused = systemd.told("STATUS=new configuration rejected");
    assert!(refused.contains("device.toml:") && refused.lines().count() == 1, "{refused}");
    daemon.reload(config);
    systemd.told("RELOADING=1");
    systemd.told("READY=1");
    systemd.told("STATUS=no viewers; camera ");

    let _viewer = Viewer::join(daemon.address()).await;
    systemd.told("STATUS=1 viewer; camera ");
    let begun = Instant::now();
    let variables = loop {
        let variables = std::fs::read_to_string(&environment).unwrap_or_default();
        if variables.contains("PEERCAM_VIEWERS") {
            break variables;
        }
        assert!(begun.elapsed() < PATIENCE, "the program was not run");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(!variables.contains("NOTIFY_SOCKET") && !variables.contains("WATCHDOG"), "{variables}");

    daemon.terminate(Duration::from_secs(3));
    systemd.told("STOPPING=1");
}

#[test]
fn without_a_watchdog_an_idle_daemon_says_nothing() {
    let mut systemd = Supervisor::new();
    let _daemon = Daemon::start_with(PATTERN, &[("NOTIFY_SOCKET", &*systemd.path("notify"))]);
    systemd.told("STATUS=no viewers; camera ");
    std::thread::sleep(Duration::from_secs(2)); // devices are looked at once
    assert_eq!(systemd.within(Duration::from_secs(2)), Vec::<String>::new());
}

/// Stops a thread of the daemon for good, like a driver that never returns.
struct Wedged(libc::pid_t);

impl Wedged {
    fn new(daemon: &Daemon, name: &str) -> Self {
        // A thread sets its own name, which may be a moment after the daemon has reported that it is ready.
        let begun = Instant::now();
        let thread: libc::pid_t = loop {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap().flatten();
            let comm =
                |t: &std::fs::DirEntry| std::fs::read_to_string(t.path().join("comm")).unwrap_or_default();
            if let Some(thread) = tasks.filter(|t| comm(t).trim() == name).map(|t| t.file_name()).next() {
                break thread.into_string().unwrap().parse().unwrap();
            }
            assert!(begun.elapsed() < PATIENCE, "no thread {name}");
            std::thread::sleep(Duration::from_millis(10));
        };
        // SAFETY: these calls change nothing in our own memory.
        unsafe {
            let none = std::ptr::null_mut::<libc::c_void>();
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, thread, none, none), 0, "root may");
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, thread, none, none), 0);
            assert_eq!(
                libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL),
                thread,
                "the thread is stopped"
            );
        }
        Self(thread)
    }

    /// The tracer of a thread must collect its end before the process can be waited for.
    fn bury(&self) -> bool {
        // SAFETY: as above.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL | libc::WNOHANG) == self.0 }
    }
}

#[test]
fn a_thread_that_hangs_does_not_keep_it_from_ending() {
    let mut daemon = Daemon::start(&PATTERN.replace("[video]\n", "[video]\nkeep_open = true\n"));
    let wedged = Wedged::new(&daemon, "video-capture");
    assert_eq!(get(daemon.address(), "/healthz").unwrap().0, 200, "the rest goes on");
    let (ticker, began) = (Ticker::start(), Instant::now());
    daemon.signal(libc::SIGTERM);
    while !wedged.bury() {
        assert!(began.elapsed() < PATIENCE, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = ticker.took(began);
    println!("ended {} ms after SIGTERM", took.as_millis());
    assert!(took < Duration::from_secs(3), "{took:?}");
    daemon.said("a thread hangs in a device call and was abandoned");
}
