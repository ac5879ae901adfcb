//! The file on a real disk, and what a crash, a careless hand or a second daemon do to it.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder of its own, removed when dropped.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("peercam-state-{}-{n}", std::process::id())))
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn session(role: Role, seen_unix: u64) -> Session {
    Session { digest: Digest::of(&format!("{role:?} {seen_unix}")), role, created_unix: 1, seen_unix }
}

#[test]
fn what_was_changed_is_there_after_the_next_start() {
    let dir = Dir::new();
    let state = State::open(&dir.0.join("deep/er")).unwrap();
    let (mut changes, mut privacy) = (state.changes(), state.privacy());
    assert!(!*privacy.borrow());
    let answer = state.change(|l| {
        l.owner = Some("$argon2id$...".into());
        l.privacy = true;
        l.add_session(session(Role::Owner, 7));
        l.add_device(Device { digest: Digest::of("d"), role: Role::Owner, seen_unix: 7 });
        l.tokens.push(Token {
            name: "a".into(),
            role: Role::Viewer,
            digest: Digest::of("t"),
            created_unix: 1,
        });
        5
    });
    assert_eq!(answer.unwrap(), 5);
    assert!(changes.has_changed().unwrap() && privacy.has_changed().unwrap());
    changes.mark_unchanged();
    privacy.mark_unchanged();
    let before = state.read(Lasting::clone);
    drop(state);
    let state = State::open(&dir.0.join("deep/er")).unwrap();
    assert_eq!(state.read(Lasting::clone), before);
    assert!(*state.privacy().borrow());
    assert_eq!(state.dir(), dir.0.join("deep/er"));
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let dir = Dir::new();
    let state = State::open(&dir.0).unwrap();
    let changes = state.changes();
    state.change(|l| l.privacy = false).unwrap();
    assert!(!changes.has_changed().unwrap() && !dir.file().exists());
}

#[test]
fn only_we_may_read_it() {
    let dir = Dir::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let state = State::open(&dir.0).unwrap();
    state.change(|l| l.privacy = true).unwrap();
    assert_eq!((mode(&dir.0), mode(&dir.file()), mode(&dir.0.join(LOCK))), (0o700, 0o600, 0o600));
    // Somebody else's folder stays as it is, and our files are for us only all the same.
    drop(state);
    fs::remove_file(dir.file()).unwrap();
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o755)).unwrap();
    State::open(&dir.0).unwrap().change(|l| l.privacy = true).unwrap();
    assert_eq!((mode(&dir.0), mode(&dir.file())), (0o755, 0o600));
}

#[test]
fn a_crash_in_the_middle_of_a_change_leaves_the_state_before() {
    let dir = Dir::new();
    State::open(&dir.0).unwrap().change(|l| l.owner = Some("before".into())).unwrap();
    // As a power cut between writing and renaming leaves it.
    fs::write(dir.0.join(NEW_FILE), "{\"version\": 1, \"owner\": \"aft").unwrap();
    let state = State::open(&dir.0).unwrap();
    assert_eq!(state.read(|l| l.owner.clone()).as_deref(), Some("before"));
    state.change(|l| l.owner = Some("after".into())).unwrap();
    drop(state);
    assert_eq!(State::open(&dir.0).unwrap().read(|l| l.owner.clone()).as_deref(), Some("after"));
    assert!(!dir.0.join(NEW_FILE).exists());
}

#[test]
fn a_change_that_cant_be_written_did_not_happen() {
    let dir = Dir::new();
    let state = State::open(&dir.0).unwrap();
    // Not by permissions, which root ignores.
    fs::create_dir(dir.0.join(NEW_FILE)).unwrap();
    let error = state.change(|l| l.privacy = true).unwrap_err().to_string();
    assert!(error.contains(FILE), "{error}");
    assert!(!state.read(|l| l.privacy) && !*state.privacy().borrow());
    assert!(!state.changes().has_changed().unwrap());
}

#[test]
fn a_broken_file_stops_the_start() {
    let good = serde_json::to_string(&Lasting { owner: Some("hash".into()), ..Lasting::default() }).unwrap();
    for (broken, says) in [
        ("", "no JSON"),
        ("{", "no JSON"),
        (&good[..good.len() - 2], "no JSON"),
        ("null", "no version"),
        ("[]", "no version"),
        ("{}", "no version"),
        ("{\"version\": 2}", "version 2"),
        ("{\"version\": \"1\"}", "no version"),
        ("{\"version\": 1, \"owner\": 5}", "no sense"),
        ("{\"version\": 1, \"tokens\": [{\"name\": \"a\"}]}", "no sense"),
        (
            "{\"version\": 1, \"sessions\": [{\"digest\": \"short\", \"role\": \"owner\", \"created_unix\": 1, \"seen_unix\": 1}]}",
            "43 characters",
        ),
        ("\u{0}\u{0}\u{0}\u{0}", "no JSON"),
    ] {
        let dir = Dir::new();
        fs::create_dir(&dir.0).unwrap();
        fs::write(dir.file(), broken).unwrap();
        let error = State::open(&dir.0).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{broken:?}: {error}");
        let error = error.to_string();
        assert!(error.contains(says) && error.contains("state.json"), "{broken:?}: {error}");
        assert_eq!(fs::read_to_string(dir.file()).unwrap(), broken, "it is left as it is");
    }
    let dir = Dir::new();
    fs::create_dir(&dir.0).unwrap();
    fs::write(dir.file(), [0xff, 0xfe]).unwrap();
    assert!(matches!(State::open(&dir.0), Err(Error::Broken { .. })));
    fs::write(dir.file(), " ".repeat(MAX_BYTES as usize + 1)).unwrap();
    assert!(matches!(State::open(&dir.0), Err(Error::Broken { .. })));
    fs::remove_file(dir.file()).unwrap();
    fs::create_dir(dir.file()).unwrap();
    assert!(matches!(State::open(&dir.0), Err(Error::Io { .. })));
    fs::remove_dir(dir.file()).unwrap();
    fs::write(dir.file(), good).unwrap();
    assert!(State::open(&dir.0).unwrap().read(|l| l.owner.is_some()));
}

#[test]
fn two_daemons_never_share_it() {
    let dir = Dir::new();
    let first = State::open(&dir.0).unwrap();
    let error = State::open(&dir.0).unwrap_err();
    assert!(matches!(error, Error::InUse(_)), "{error}");
    drop(first);
    State::open(&dir.0).unwrap();
}

#[test]
fn a_folder_that_cant_be_had_is_named() {
    let dir = Dir::new();
    fs::write(&dir.0, "a file").unwrap();
    let error = State::open(&dir.0).unwrap_err().to_string();
    assert!(error.contains(&*dir.0.to_string_lossy()), "{error}");
    fs::remove_file(&dir.0).unwrap();
}

#[test]
fn full_lists_lose_who_was_away_longest_and_the_owner_last() {
    let mut lasting = Lasting::default();
    lasting.add_session(session(Role::Owner, 1));
    for n in 0..Lasting::MOST_SESSIONS as u64 + 10 {
        lasting.add_session(session(Role::Viewer, 100 + n));
    }
    assert_eq!(lasting.sessions.len(), Lasting::MOST_SESSIONS);
    assert_eq!(lasting.sessions[0], session(Role::Owner, 1), "however many viewers there are");
    assert_eq!(lasting.sessions[1], session(Role::Viewer, 111));
    for n in 0..Lasting::MOST_DEVICES as u64 + 1 {
        let device = |n: u64| Device { digest: Digest::of(&n.to_string()), role: Role::Owner, seen_unix: n };
        lasting.add_device(device(n));
        lasting.add_device(device(n)); // the same again is no further one
    }
    assert_eq!(lasting.devices.len(), Lasting::MOST_DEVICES);
    assert_eq!(lasting.devices[0].seen_unix, 1);
}

#[test]
fn the_usual_places() {
    let dir = |root, vars: &[(&str, &str)]| {
        let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v));
        usual_dir(env, root).display().to_string()
    };
    assert_eq!(dir(true, &[("STATE_DIRECTORY", "/var/lib/cam:/var/lib/b")]), "/var/lib/cam");
    assert_eq!(dir(true, &[("HOME", "/root")]), "/var/lib/peercam");
    assert_eq!(dir(false, &[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")]), "/s/peercam");
    assert_eq!(dir(false, &[("HOME", "/home/a"), ("XDG_STATE_HOME", "s")]), "/home/a/.local/state/peercam");
}
