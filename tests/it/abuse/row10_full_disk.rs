//! The disk of the state is full, or has become read-only: restrictions apply immediately and survive a
//! restart of the daemon, new rights are refused with a sentence, and both are reported.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::access::{Shows, ask, bearer, log_in, parsed};
use crate::daemon::{Daemon, PATTERN, until};
use crate::door::{self, PASSWORD};
use crate::process::Dir;

/// It tries again every few seconds.
const WRITTEN: Duration = Duration::from_secs(30);

/// A small disk, mounted where only programs started [inside](Disk::inside) see it.
struct Disk {
    mounts: File,
}

impl Disk {
    fn at(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        let mount = || {
            // SAFETY: it affects only this thread, which ends here; the file keeps the new namespace.
            let left = unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) };
            assert_eq!(left, 0, "{}", std::io::Error::last_os_error());
            sh(&format!("mount --make-rprivate / && mount -t tmpfs -o size=128k none {}", path.display()));
            File::open("/proc/thread-self/ns/mnt").expect("the new namespace")
        };
        let mounts = std::thread::scope(|scope| scope.spawn(mount).join()).expect("a disk");
        Self { mounts }
    }

    fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            // SAFETY: both affect only this thread, which does nothing but `act`; the file is a mount
            // namespace.
            let entered = unsafe {
                libc::unshare(libc::CLONE_FS) | libc::setns(self.mounts.as_raw_fd(), libc::CLONE_NEWNS)
            };
            assert_eq!(entered, 0, "{}", std::io::Error::last_os_error());
            act()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|p| std::panic::resume_unwind(p))
    }
}

fn sh(script: &str) {
    let out = Command::new("sh").args(["-euc", script]).output().expect("sh runs");
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A fault: its name, how to make writing impossible, and how to repair it.
type Trouble = (&'static str, fn(&Path), fn(&Path));

const TROUBLES: [Trouble; 2] = [
    (
        "full",
        |state| {
            // As much as fits.
            fs::write(state.join("filler"), vec![7; 1 << 20]).expect_err("it is small");
            fs::write(state.join("probe"), vec![7; 8192]).expect_err("it is full");
            fs::remove_file(state.join("probe")).unwrap();
        },
        |state| fs::remove_file(state.join("filler")).unwrap(),
    ),
    (
        "read-only",
        |state| sh(&format!("mount -o remount,ro {}", state.display())),
        |state| sh(&format!("mount -o remount,rw {}", state.display())),
    ),
];

#[test]
fn what_restricts_needs_no_disk() {
    for (name, break_it, mend_it) in TROUBLES {
        let dir = Dir::new();
        let (state, runtime) = (dir.path().join("state"), dir.path().join("run"));
        fs::create_dir_all(&runtime).unwrap();
        let disk = Disk::at(&state);
        let variables = [("RUNTIME_DIRECTORY", runtime.to_str().unwrap())];
        let mut daemon = disk.inside(|| Daemon::start_at(dir, PATTERN, &variables));
        let to = daemon.address();
        let json = |shows: &Shows, method: &str, path: &str, body: Value| {
            ask(to, shows, method, path, &if body.is_null() { String::new() } else { body.to_string() })
        };
        let token = bearer(&door::token());
        let code = |shows: &Shows| ask(to, shows, "GET", "/api/status", "").code;
        let link = parsed(&json(&token, "POST", "/api/guests", json!({"label": "Ann", "hours": 1})));
        let guest = link["secret"].as_str().expect("a secret").to_owned();
        let guest: Shows = vec![("Cookie", format!("peercam={guest}"))];
        let (session, other) = (log_in(to, PASSWORD), log_in(to, PASSWORD));
        assert_eq!([code(&guest), code(&session), code(&other)], [200; 3]);

        disk.inside(|| break_it(&state));
        let begun = Instant::now();
        let warned = |answer: &crate::http::Response| {
            assert_eq!(answer.code, 200, "{name}: {answer:?}");
            let says = parsed(answer)["warning"].as_str().expect("a sentence").to_owned();
            assert!(says.contains("can't be written") && says.contains("board restarts"), "{name}: {says}");
        };
        warned(&json(&session, "POST", "/api/privacy", json!({"on": true})));
        let status = daemon.status();
        let states = [&status["video"]["state"], &status["audio"]["state"]];
        assert_eq!(states, [&json!("private"); 2], "{name}, {:?} after", begun.elapsed());
        let path = format!("/api/guests/{}", link["id"].as_str().expect("an id"));
        warned(&json(&session, "DELETE", &path, Value::Null));
        warned(&json(&session, "POST", "/api/logout", json!({"everywhere": false})));
        assert_eq!([code(&guest), code(&session), code(&other)], [401, 401, 200], "{name}");
        println!("{name}: privacy, revoking and logout within {:.0?}", begun.elapsed());

        // New rights are refused, with the reason.
        for (path, body) in [
            ("/api/guests", json!({"label": "Bob", "hours": 1})),
            ("/api/login", json!({"password": PASSWORD})),
            ("/api/password", json!({"old": PASSWORD, "new": "tea for two", "role": "viewer"})),
        ] {
            let answer = json(&token, "POST", path, body);
            let says = parsed(&answer)["detail"].as_str().unwrap_or_default().to_owned();
            assert!(answer.code == 500 && says.contains("writ"), "{name}: {path}: {answer:?}");
        }
        let told = daemon.status()["state_problem"].clone();
        assert!(told.as_str().is_some_and(|t| t.contains("can't be written")), "{name}: {told}");

        // The disk still has the earlier state, and the daemon starts again.
        daemon.kill();
        disk.inside(|| daemon.restart());
        let held = |what: &str| {
            assert_eq!([code(&guest), code(&session), code(&other)], [401, 401, 200], "{name}, {what}");
            let (_, status) = until(to, "private", WRITTEN, |s| {
                s["video"]["state"] == "private" && s["audio"]["state"] == "private"
            });
            status["state_problem"].clone()
        };
        assert!(held("after a restart").is_string());

        // Once there is room it is written automatically, and lasts.
        disk.inside(|| mend_it(&state));
        until(to, "written", WRITTEN, |s| s["state_problem"].is_null());
        assert!(!runtime.join("restrictions.json").exists());
        daemon.kill();
        disk.inside(|| daemon.restart());
        assert!(held("after another").is_null());
    }
}
