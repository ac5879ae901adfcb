//! The command line as a person or a service manager meets it: texts and exit statuses.

use std::process::{Command, Output};

use crate::daemon::{Daemon, PATTERN};
use crate::process::Dir;

fn peercam(dir: &Dir, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peercam"));
    command
        .args(args)
        .current_dir(dir.path())
        .env("NO_COLOR", "1")
        .env("PEERCAM_STATE_DIR", "state")
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_bad_file_is_refused_with_line_key_and_range_and_exit_status_78() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("bad.toml"), "[video]\nframe_rat = 30\nframe_rate = 500\nsize = 7\n")
        .unwrap();
    for command in [&["run"][..], &["check"], &["check", "--config-only"]] {
        let out = peercam(&dir, &[command, &["--config", "bad.toml"]].concat());
        assert_eq!(out.status.code(), Some(78), "{command:?}: {out:?}");
        let said = text(&out.stderr);
        for part in [
            "bad.toml:2: video.frame_rat",
            "bad.toml:3: video.frame_rate",
            "1 to 120",
            "bad.toml:4: video.size",
        ] {
            assert!(said.contains(part), "{part:?} in {said}");
        }
    }
    let missing = peercam(&dir, &["run", "--config", "nowhere.toml"]);
    assert_eq!(missing.status.code(), Some(78), "{missing:?}");
    assert!(text(&missing.stderr).contains("nowhere.toml"), "{missing:?}");
}

#[test]
fn check_says_what_would_be_used() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("device.toml"), format!("{PATTERN}[web]\nport = 0\n")).unwrap();
    let out = peercam(&dir, &["check"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let said = text(&out.stdout);
    for part in ["device.toml", "test picture", "test tone", "OpenH264", "Opus"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let devices = peercam(&dir, &["devices"]);
    assert_eq!(devices.status.code(), Some(0), "{devices:?}");
    assert!(text(&devices.stdout).contains("Encoders"), "{devices:?}");
    let version = peercam(&dir, &["--version"]);
    assert_eq!(text(&version.stdout).trim(), concat!("peercam ", env!("CARGO_PKG_VERSION")));
    assert_eq!(peercam(&dir, &["--no-such-thing"]).status.code(), Some(2));
}

#[test]
fn a_taken_port_is_told_and_ends_it() {
    let daemon = Daemon::start(PATTERN);
    let dir = Dir::new();
    let port = daemon.address().port();
    std::fs::write(dir.path().join("device.toml"), format!("{PATTERN}[web]\nport = {port}\n")).unwrap();
    let out = peercam(&dir, &["run"]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let said = text(&out.stderr);
    assert!(said.contains(&daemon.address().to_string()), "{said}");
}
