//! The command line as seen by a person or a service manager: messages and exit statuses.

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
            "bad.toml:2:1: video.frame_rat: unknown key (did you mean `frame_rate`?)",
            "bad.toml:3:14: video.frame_rate: 500 is out of range; allowed: 1 to 120",
            "bad.toml:4:8: video.size: 7 is an integer, expected a string in quotes",
        ] {
            assert!(said.contains(part), "{part:?} in {said}");
        }
    }
    let missing = peercam(&dir, &["run", "--config", "nowhere.toml"]);
    assert_eq!(missing.status.code(), Some(78), "{missing:?}");
    let here = std::fs::canonicalize(dir.path()).unwrap().display().to_string();
    let expected = format!(
        "{here}/nowhere.toml: no such file; without --config, peercam looks for {here}/device.toml, then \
         /etc/peercam/device.toml\n"
    );
    assert_eq!(text(&missing.stderr), expected);
}

#[test]
fn values_without_quotes_and_words_of_other_programs_are_understood() {
    let dir = Dir::new();
    let wrong = "[video]\ndevice = /dev/video0\n[watching]\nprivacy = yes\n";
    std::fs::write(dir.path().join("device.toml"), wrong).unwrap();
    let out = peercam(&dir, &["check", "--config-only"]);
    let expected = "\
device.toml:2:10: video.device: a string needs quotes; write device = \"/dev/video0\"
   2 | device = /dev/video0
     |          ^^^^^^^^^^^
device.toml:4:11: watching.privacy: yes is not a boolean; allowed: true or false
   4 | privacy = yes
     |           ^^^
";
    assert_eq!((text(&out.stderr).as_str(), out.status.code()), (expected, Some(78)));
    std::fs::write(dir.path().join("device.toml"), "[video]\nfps = 30\n").unwrap();
    let said = text(&peercam(&dir, &["check", "--config-only"]).stderr);
    assert!(said.contains("video.fps: unknown key (did you mean `frame_rate`?);"), "{said}");
}

#[test]
fn options_stand_before_or_after_the_command() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("a.toml"), "[video]\nframe_rate = 500\n").unwrap();
    for line in [
        &["--config", "a.toml", "--log", "debug", "--state-dir", "x", "devices"][..],
        &["devices", "--config", "a.toml", "--log", "debug", "--state-dir", "x"],
        &["--config", "a.toml", "check", "--state-dir", "x"],
        &["--state-dir", "x", "doctor", "--config", "a.toml"],
    ] {
        let out = peercam(&dir, line);
        assert_eq!(out.status.code(), Some(78), "{line:?}: {out:?}");
        assert!(text(&out.stderr).contains("a.toml:2:14: video.frame_rate"), "{line:?}: {out:?}");
        // The list may be needed to correct the file.
        assert_eq!(text(&out.stdout).contains("Encoders"), line.contains(&"devices"), "{line:?}: {out:?}");
    }
    for line in [
        &["--state-dir", "x", "--log", "debug", "token", "list"][..],
        &["token", "--state-dir", "x", "list", "--log", "debug"],
        &["status", "--state-dir", "x", "--log", "debug"],
    ] {
        let out = peercam(&dir, line);
        assert_eq!(out.status.code(), Some(1), "{line:?}: {out:?}");
        assert!(text(&out.stderr).contains("nothing answers at x/control.sock"), "{line:?}: {out:?}");
    }
    let out = peercam(&dir, &["status", "--config", "a.toml"]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(text(&out.stderr).contains("--config can't be used with `peercam status`"), "{out:?}");
}

#[test]
fn check_beside_a_running_peercam_knows_its_own_daemon() {
    let config = |ports: &str| {
        format!("{PATTERN}[web]\nport = 18446\nhttp_port = 18447\ntls = \"auto\"\n[ice]\nport = {ports}\n")
    };
    let daemon = Daemon::start(&config("18448"));
    let file = daemon.state_dir().join("../device.toml").display().to_string();
    let said = daemon.command(&["check", "--config", &file]);
    assert!(said.contains(&format!("running (process {})", daemon.id())), "{said}");
    assert!(said.ends_with("no problems\n") && !said.contains("no HTTP"), "{said}");
    // A different state means a different daemon, which would find these ports taken.
    let dir = Dir::new();
    let out = peercam(&dir, &["check", "--config", &file, "--state-dir", "other"]);
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{said}");
    let taken = |what: &str, port: u16| {
        format!("{what} port {port}: peercam (process {}) uses port {port}", daemon.id())
    };
    for part in [taken("web.port: can't take TCP", 18446), taken("ice.port: can't take UDP", 18448)] {
        assert!(said.contains(&part), "{part:?} in {said}");
    }
    assert!(said.contains("3 problems") && said.contains("no HTTP"), "{said}");
    // A port of another program is taken in any case.
    let other = std::net::UdpSocket::bind("0.0.0.0:18449").unwrap();
    std::fs::write(dir.path().join("device.toml"), config("18449")).unwrap();
    let state = daemon.state_dir().display().to_string();
    let out = peercam(&dir, &["--state-dir", &state, "check"]);
    let said = text(&out.stdout);
    let us = "ice.port: can't take UDP port 18449: ";
    assert!(out.status.code() == Some(1) && said.contains(us) && said.contains("1 problem\n"), "{said}");
    drop(other);
}

#[test]
fn check_finds_certificate_files_that_cannot_be_used_with_and_without_devices() {
    let dir = Dir::new();
    let path = dir.path().display();
    let web = format!(
        "[web]\nport = 0\nhttp_port = 0\ntls = \"files\"\ncertificate = \"{path}/c.pem\"\nkey = \"{path}/k.pem\"\n"
    );
    std::fs::write(dir.path().join("device.toml"), format!("{PATTERN}{web}[ice]\nport = 0\n")).unwrap();
    let both = || {
        [&["check", "--config-only"][..], &["check"]].map(|line| {
            let out = peercam(&dir, line);
            (out.status.code(), text(&out.stdout))
        })
    };
    for (code, said) in both() {
        assert_eq!(code, Some(1), "{said}");
        for file in
            ["web.certificate: can't read", "c.pem: No such file", "web.key: can't read", "2 problems"]
        {
            assert!(said.contains(file), "{file:?} in {said}");
        }
    }
    let [one, two] =
        ["one", "two"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
    std::fs::write(dir.path().join("c.pem"), one.cert.pem()).unwrap();
    std::fs::write(dir.path().join("k.pem"), two.signing_key.serialize_pem()).unwrap();
    for (code, said) in both() {
        assert!(code == Some(1) && said.contains("k.pem is not the key of the certificate"), "{said}");
    }
    std::fs::write(dir.path().join("k.pem"), one.signing_key.serialize_pem()).unwrap();
    for (code, said) in both() {
        assert!(code == Some(0) && said.contains("your own, valid until"), "{said}");
    }
}

#[test]
fn the_doctor_misses_no_device_that_is_not_used() {
    let dir = Dir::new();
    for (microphone, says) in [("tone", "test tone"), ("off", "sound is off")] {
        let config = format!("[video]\ndevice = \"pattern\"\n[audio]\ndevice = \"{microphone}\"\n");
        std::fs::write(dir.path().join("device.toml"), config).unwrap();
        let said = text(&peercam(&dir, &["doctor"]).stdout);
        for (about, why) in [("cameras", "test picture"), ("microphones", says)] {
            let line = said.lines().find(|l| l.contains(&format!(" {about} "))).unwrap_or(&said);
            assert!(line.starts_with("ok ") && line.contains("not needed") && line.contains(why), "{said}");
            assert!(!said.contains(&format!("{about}: plug")), "{said}");
        }
    }
}

#[test]
fn check_tries_every_camera_whatever_another_fails_at() {
    let dir = Dir::new();
    let cameras = "[[camera]]\nname = \"front\"\ndevice = \"/dev/video987\"\n\
                   [[camera]]\nname = \"back\"\ndevice = \"pattern\"\nmicrophone = \"tone\"\n";
    let rest = "[audio]\ndevice = \"off\"\n[web]\nport = 0\nhttp_port = 0\n[ice]\nport = 0\n";
    std::fs::write(dir.path().join("device.toml"), format!("{cameras}{rest}")).unwrap();
    let out = peercam(&dir, &["check"]);
    let said = text(&out.stdout);
    for part in [
        "front: /dev/video987 is not plugged in",
        "back: the test picture",
        "front: off in the configuration",
        "back: the test tone",
        "1 problem\n",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert_eq!(out.status.code(), Some(1), "{said}");
    std::fs::write(dir.path().join("device.toml"), cameras.replace("back", "front")).unwrap();
    let out = peercam(&dir, &["check", "--config-only"]);
    let expected =
        "device.toml:5:8: camera.name: is already used by another camera; each camera needs its own\n";
    assert!(text(&out.stderr).starts_with(expected) && out.status.code() == Some(78), "{out:?}");
}

#[test]
fn check_says_what_would_be_used() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("device.toml"), format!("{PATTERN}[web]\nport = 0\n[ice]\nport = 0\n"))
        .unwrap();
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
    std::fs::write(
        dir.path().join("device.toml"),
        format!("{PATTERN}[web]\naddress = \"127.0.0.1\"\nport = {port}\n"),
    )
    .unwrap();
    let out = peercam(&dir, &["run"]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let said = text(&out.stderr);
    assert!(said.contains(&daemon.address().to_string()), "{said}");
}
