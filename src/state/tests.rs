//! The file on a real disk, and the effects of crashes, manual changes and a second daemon.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::dirs::usual_dir;
use super::file::MAX_BYTES;
use super::*;

const NEW_FILE: &str = "state.json.new";

/// A temporary folder, removed when dropped.
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

/// Makes a disk slow: each write reports that it has begun, and waits for permission to continue.
#[derive(Debug, Default)]
pub(super) struct SlowDisk(Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>);

impl SlowDisk {
    /// Called before every write.
    pub(super) fn wait(&self) {
        if let Some((begun, go_on)) = &*self.0.lock().unwrap() {
            let _ = begun.send(());
            let _ = go_on.recv(); // returns at once when the test has ended
        }
    }

    fn start(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((begun, told), (go_on, waits)) = (mpsc::channel(), mpsc::channel());
        *self.0.lock().unwrap() = Some((begun, waits));
        (told, go_on)
    }
}

/// Waits until `holds` is true.
fn until(state: &State, holds: impl Fn(&Lasting) -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut changes = state.changes();
        let all = async { while !state.read(&holds) && changes.changed().await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(10), all).await.expect("it holds");
    });
}

#[test]
fn what_was_changed_is_there_after_the_next_start() {
    let dir = Dir::new();
    let state = State::open(&dir.0.join("deep/er")).unwrap();
    let (mut changes, mut privacy) = (state.changes(), state.privacy());
    assert!(!privacy.borrow().all);
    let answer = state.change(|l| {
        l.owner = Some("$argon2id$...".into());
        l.privacy = true;
        l.add_session(session(Role::Owner, 7));
        l.add_device(KnownBrowser { digest: Digest::of("d"), role: Role::Owner, seen_unix: 7 });
        l.tokens.push(Token {
            name: "a".into(),
            role: Role::Viewer,
            cameras: Scope::ALL,
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
    assert!(state.privacy().borrow().all);
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
    // A foreign folder keeps its permissions, but our files are still for our user only.
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
    // The result of a power cut between writing and renaming.
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
    // Not done by permissions, which root ignores.
    fs::create_dir(dir.0.join(NEW_FILE)).unwrap();
    let error = state.change(|l| l.privacy = true).unwrap_err().to_string();
    assert!(error.contains(FILE), "{error}");
    assert!(!state.read(|l| l.privacy) && !state.privacy().borrow().all);
    assert!(!state.changes().has_changed().unwrap());
}

#[test]
fn a_broken_file_stops_the_start() {
    let good = serde_json::to_string(&Lasting { owner: Some("hash".into()), ..Lasting::default() }).unwrap();
    for (broken, says) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        (&good[..good.len() - 2], "not JSON"),
        ("null", "no version"),
        ("[]", "no version"),
        ("{}", "no version"),
        ("{\"version\": 3}", "version 3"),
        ("{\"version\": \"1\"}", "no version"),
        ("{\"version\": 1, \"owner\": 5}", "does not write in line 1, column "),
        ("{\"version\": 1, \"tokens\": [{\"name\": \"a\"}]}", "does not write in line 1, column "),
        (
            "{\"version\": 1, \"sessions\": [{\"digest\": \"short\", \"role\": \"owner\", \"created_unix\": 1, \"seen_unix\": 1}]}",
            "does not write in line 1, column ",
        ),
        ("\u{0}\u{0}\u{0}\u{0}", "not JSON"),
    ] {
        let dir = Dir::new();
        fs::create_dir(&dir.0).unwrap();
        fs::write(dir.file(), broken).unwrap();
        let error = State::open(&dir.0).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{broken:?}: {error}");
        let error = error.to_string();
        assert!(error.contains(says) && error.contains("state.json"), "{broken:?}: {error}");
        assert!(!["expected", "missing", "invalid"].iter().any(|parser| error.contains(parser)), "{error}");
        assert_eq!(fs::read_to_string(dir.file()).unwrap(), broken, "the file is not changed");
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
    assert_eq!(lasting.sessions[0], session(Role::Owner, 1), "regardless of the number of viewers");
    assert_eq!(lasting.sessions[1], session(Role::Viewer, 111));
    for n in 0..Lasting::MOST_DEVICES as u64 + 1 {
        let device =
            |n: u64| KnownBrowser { digest: Digest::of(&n.to_string()), role: Role::Owner, seen_unix: n };
        lasting.add_device(device(n));
        lasting.add_device(device(n)); // the same browser is not added twice
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
    assert_eq!(dir(true, &[("STATE_DIRECTORY", ":/var/lib/b")]), "/var/lib/peercam");
    assert_eq!(dir(true, &[("HOME", "/root")]), "/var/lib/peercam");
    assert_eq!(dir(false, &[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")]), "/s/peercam");
    assert_eq!(dir(false, &[("HOME", "/home/a"), ("XDG_STATE_HOME", "s")]), "/home/a/.local/state/peercam");
}

/// A state with one credential of each kind, on a disk that is then full; and the runtime folder.
fn on_a_full_disk(dir: &Dir) -> (Arc<State>, PathBuf) {
    let opened = with_one_of_each(dir);
    fill(dir);
    opened
}

fn with_one_of_each(dir: &Dir) -> (Arc<State>, PathBuf) {
    let runtime = dir.0.join("run");
    fs::create_dir_all(&runtime).unwrap();
    let state = State::open_with(&dir.0, Some(runtime.clone())).unwrap();
    state
        .change(|l| {
            (l.owner, l.household) = (Some("owner's".into()), Some("household's".into()));
            l.add_session(session(Role::Owner, 7));
            l.add_session(session(Role::Viewer, 8));
            l.tokens.extend(["a", "b"].map(token));
        })
        .unwrap();
    (state, runtime)
}

fn token(name: &str) -> Token {
    Token {
        name: name.into(),
        role: Role::Viewer,
        cameras: Scope::ALL,
        digest: Digest::of(name),
        created_unix: 1,
    }
}

fn names(state: &State) -> String {
    state.read(|l| l.tokens.iter().map(|t| t.name.as_str()).collect())
}

/// Makes the folder unwritable, but not by permissions, which root ignores.
fn fill(dir: &Dir) {
    fs::create_dir(dir.0.join(NEW_FILE)).unwrap();
}

fn make_room(dir: &Dir) {
    fs::remove_dir(dir.0.join(NEW_FILE)).unwrap();
}

fn restricted(l: &mut Lasting) {
    (l.privacy, l.household) = (true, None);
    l.sessions.retain(|s| s.role == Role::Owner);
    l.tokens.retain(|t| t.name != "a");
}

#[test]
fn what_restricts_holds_without_a_disk_and_over_a_restart() {
    let dir = Dir::new();
    let (state, runtime) = on_a_full_disk(&dir);
    assert_eq!(*state.unwritten().borrow(), None, "nothing was written yet");
    state.catch_up();
    assert!(state.unwritten().borrow().is_some(), "the failed write was noticed");
    state.restrict(restricted).unwrap();
    assert!(state.privacy().borrow().all);
    let held = state.read(Lasting::clone);
    assert_eq!((held.sessions.len(), held.tokens.len(), held.household.as_ref()), (1, 1, None));
    let says = state.unwritten().borrow().as_ref().map(ToString::to_string).unwrap();
    assert!(says.contains("only until the board restarts"), "{says}");
    // Grants fail in both ways, and change nothing.
    for grant in [
        |l: &mut Lasting| l.add_session(session(Role::Owner, 9)),
        |l: &mut Lasting| l.household = Some("x".into()),
    ] {
        assert!(state.change(grant).is_err() && state.restrict(grant).is_err());
    }
    assert!(state.restrict(|l| (l.owner, l.privacy) = (None, true)).is_err());
    assert_eq!(state.read(Lasting::clone), held);
    drop(state);

    // The daemon restarts; the disk still has the old state.
    let again = State::open_with(&dir.0, Some(runtime.clone())).unwrap();
    assert_eq!(again.read(Lasting::clone), held);
    assert!(again.unwritten().borrow().is_some() && again.privacy().borrow().all);
    make_room(&dir);
    again.catch_up();
    assert_eq!(*again.unwritten().borrow(), None);
    drop(again);
    assert_eq!(fs::read_dir(&runtime).unwrap().count(), 0, "everything is on the disk");
    assert_eq!(State::open(&dir.0).unwrap().read(Lasting::clone), held);
}

#[test]
fn without_a_runtime_folder_it_holds_in_memory_and_says_so() {
    let dir = Dir::new();
    let state = State::open(&dir.0).unwrap();
    fill(&dir);
    state.restrict(|l| l.privacy = true).unwrap();
    assert!(state.privacy().borrow().all);
    let says = state.unwritten().borrow().as_ref().map(ToString::to_string).unwrap();
    assert!(says.contains("only until peercam restarts"), "{says}");
    // Privacy was never written to the disk, so it can be turned off again.
    state.restrict(|l| l.privacy = false).unwrap();
    assert!(!state.privacy().borrow().all);
    make_room(&dir);
    state.change(|l| l.privacy = true).unwrap();
    fill(&dir);
    assert!(state.restrict(|l| l.privacy = false).is_err(), "privacy is on on the disk");
}

#[test]
fn the_runtime_folder_takes_away_and_never_gives() {
    let dir = Dir::new();
    let (state, runtime) = on_a_full_disk(&dir);
    state.restrict(restricted).unwrap();
    let file = runtime.join(restrictions::FILE);
    let kept = fs::read(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // A file that a crash left behind does not affect credentials that are created later.
    make_room(&dir);
    state
        .change(|l| {
            (l.privacy, l.household) = (false, Some("a new one".into()));
            let digest = Digest::of("new");
            l.tokens.push(Token { digest, created_unix: 2, ..token("a") });
        })
        .unwrap();
    assert!(!file.exists());
    let before = state.read(Lasting::clone);
    drop(state);
    fs::write(&file, &kept).unwrap();
    let state = State::open_with(&dir.0, Some(runtime.clone())).unwrap();
    assert_eq!(state.read(Lasting::clone), Lasting { privacy: true, ..before }, "except for privacy");
    drop(state);
    // An unreadable file could have revoked anything.
    for broken in ["", "{}", "{\"version\":2,\"privacy\":false,\"ended\":[]}", "null"] {
        fs::write(&file, broken).unwrap();
        let error = State::open_with(&dir.0, Some(runtime.clone())).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{broken}: {error}");
    }
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(dir.file(), &file).unwrap();
    assert!(State::open_with(&dir.0, Some(runtime)).is_err(), "no link");
}

#[test]
fn a_state_that_has_lost_its_owner_stops_the_start() {
    for lost in [
        "{\"version\": 1}",
        "{\"version\": 1, \"owner\": null}",
        "{\"version\": 1, \"owner\": null, \"privacy\": true, \"tokens\": []}",
        "{\"version\": 1, \"owner\": null, \"unpaired\": false}",
    ] {
        let dir = Dir::new();
        fs::create_dir(&dir.0).unwrap();
        fs::write(dir.file(), lost).unwrap();
        let error = State::open(&dir.0).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{lost}: {error}");
        assert!(error.to_string().contains("lost its owner"), "{error}");
        assert_eq!(fs::read_to_string(dir.file()).unwrap(), lost, "the file is not changed");
    }
    // A state that never had an owner says so.
    let dir = Dir::new();
    State::open(&dir.0).unwrap().change(|l| l.privacy = true).unwrap();
    let state = State::open(&dir.0).unwrap();
    assert!(state.read(|l| l.owner.is_none() && l.privacy));
    state.change(|l| l.owner = Some("hash".into())).unwrap();
    assert!(!fs::read_to_string(dir.file()).unwrap().contains("unpaired"));
}

#[test]
fn no_link_is_followed() {
    let link = |from: &Path, to: &Path| std::os::unix::fs::symlink(to, from).unwrap();
    let dir = Dir::new();
    fs::create_dir(&dir.0).unwrap();
    link(&dir.file(), &dir.0.join("nowhere"));
    let error = State::open(&dir.0).unwrap_err();
    assert!(matches!(error, Error::Broken { .. }) && error.to_string().contains("symbolic link"), "{error}");
    fs::remove_file(dir.file()).unwrap();
    // A link that was planted in place of the new file is replaced, and its target is not.
    let other = dir.0.join("other");
    fs::write(&other, "somebody's").unwrap();
    link(&dir.0.join(NEW_FILE), &other);
    State::open(&dir.0).unwrap().change(|l| l.privacy = true).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's");
    assert!(!dir.0.join(NEW_FILE).exists() && fs::symlink_metadata(dir.file()).unwrap().is_file());
    // The same for a hard link.
    fs::hard_link(&other, dir.0.join(NEW_FILE)).unwrap();
    State::open(&dir.0).unwrap().change(|l| l.privacy = false).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's");
}

#[test]
fn what_restricts_takes_effect_while_a_grant_is_being_written() {
    let dir = Dir::new();
    let (state, _) = with_one_of_each(&dir);
    let (begun, go_on) = state.slow.start();
    thread::scope(|scope| {
        let grant = scope.spawn(|| {
            state.change(|l| {
                l.tokens.push(token("c"));
                l.sessions[1].seen_unix = 9; // the viewer's session, which is about to end
            })
        });
        begun.recv().unwrap();
        let restriction = scope.spawn(|| state.restrict(restricted));
        until(&state, |l| l.privacy && l.household.is_none() && l.sessions.len() == 1);
        assert!(state.privacy().borrow().all && names(&state) == "b", "the grant is not written yet");
        assert!(!grant.is_finished());
        // These don't wait for the disk either, so they can be called here.
        state.hold_privacy(true);
        assert!(state.privacy_is_held());
        state.redate(|l| l.sessions[0].seen_unix = 70);
        go_on.send(()).unwrap();
        grant.join().unwrap().unwrap();
        assert!(!restriction.is_finished(), "it returns only when it survives a power cut");
        begun.recv().unwrap();
        go_on.send(()).unwrap();
        restriction.join().unwrap().unwrap();
    });
    let holds = state.read(Lasting::clone);
    assert_eq!(names(&state), "bc", "the grant was not lost");
    assert_eq!((holds.privacy, &holds.household), (true, &None));
    assert_eq!(holds.sessions.iter().map(|s| s.seen_unix).collect::<Vec<_>>(), [70], "no session came back");
    drop(state);
    assert_eq!(State::open(&dir.0).unwrap().read(Lasting::clone), holds);
}

#[test]
fn what_is_being_granted_is_restricted_too() {
    let dir = Dir::new();
    let (state, _) = with_one_of_each(&dir);
    state.restrict(|l| l.privacy = true).unwrap();
    let at_once = |grant: &(dyn Fn() + Sync), restricts: &dyn Fn() -> usize| {
        let (begun, go_on) = state.slow.start();
        thread::scope(|scope| {
            let grant = scope.spawn(grant);
            begun.recv().unwrap();
            let restricted = restricts();
            drop((begun, go_on));
            grant.join().unwrap();
            restricted
        })
    };
    // Privacy is on on the disk, so turning it off is a grant. Turning it on meanwhile wins.
    let on = || state.restrict_at_once(&|l: &mut Lasting| l.privacy = true).map_or(0, |()| 1);
    assert_eq!(at_once(&|| state.restrict(|l| l.privacy = false).unwrap(), &on), 1);
    assert!(state.privacy().borrow().all && state.read(|l| l.privacy));
    let revoke = || state.restrict_at_once(&|l: &mut Lasting| std::mem::take(&mut l.tokens).len()).unwrap();
    let revoked = at_once(&|| state.change(|l| l.tokens.push(token("c"))).unwrap(), &revoke);
    assert_eq!((revoked, names(&state).as_str()), (3, ""), "including the pending one");
}

#[test]
fn a_grant_that_fails_takes_no_restriction_with_it() {
    let dir = Dir::new();
    let (state, runtime) = with_one_of_each(&dir);
    let (begun, go_on) = state.slow.start();
    thread::scope(|scope| {
        let grant = scope.spawn(|| state.change(|l| l.tokens.push(token("c"))));
        begun.recv().unwrap();
        state.restrict_at_once(&restricted).unwrap();
        fill(&dir);
        drop((begun, go_on));
        assert!(grant.join().unwrap().is_err());
    });
    assert_eq!(names(&state), "b");
    let holds = state.read(Lasting::clone);
    drop(state);
    let again = State::open_with(&dir.0, Some(runtime)).unwrap();
    assert_eq!(again.read(Lasting::clone), holds);
}

#[test]
fn what_a_failed_write_left_is_written_over() {
    let dir = Dir::new();
    let (state, _) = on_a_full_disk(&dir);
    assert!(state.change(|l| l.tokens.push(token("c"))).is_err());
    make_room(&dir);
    fs::write(dir.file(), "what was renamed but not flushed").unwrap();
    state.catch_up();
    drop(state);
    assert_eq!(names(&State::open(&dir.0).unwrap()), "ab");
}

#[tokio::test]
async fn what_the_clock_changes_is_written_by_whoever_waits_for_it() {
    let dir = Dir::new();
    let (state, _) = with_one_of_each(&dir);
    state.redate(|l| l.known_unix = 5);
    tokio::time::timeout(Duration::from_secs(10), state.unsaved()).await.expect("at once");
    state.catch_up();
    drop(state);
    assert_eq!(State::open(&dir.0).unwrap().read(|l| l.known_unix), 5);
}

#[test]
fn a_state_that_names_cameras_is_not_read_by_a_daemon_that_would_leave_them_out() {
    let dir = Dir::new();
    let state = State::open(&dir.0).unwrap();
    let version = || -> u64 {
        let text = fs::read_to_string(dir.0.join(FILE)).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["version"].as_u64().unwrap()
    };
    state.change(|l| l.tokens.push(token("a"))).unwrap();
    assert_eq!(version(), 1);
    state.change(|l| l.tokens[0].cameras = Scope::only(["front".into()])).unwrap();
    assert_eq!(version(), 2);
    let before = state.read(Lasting::clone);
    drop(state);
    let state = State::open(&dir.0).unwrap();
    assert_eq!(state.read(Lasting::clone), before);
    state.restrict(|l| l.private_cameras.insert("front".into())).unwrap();
    state.change(|l| l.tokens[0].cameras = Scope::ALL).unwrap();
    assert_eq!(version(), 2, "a camera is private");
    state.change(|l| l.private_cameras.clear()).unwrap();
    assert_eq!(version(), 1);
}

#[test]
fn privacy_of_a_camera_holds_without_a_disk_and_over_a_restart() {
    let dir = Dir::new();
    let (state, runtime) = with_one_of_each(&dir);
    fill(&dir);
    state.restrict(|l| l.private_cameras.insert("front".into())).unwrap();
    let covers = |state: &State| state.privacy().borrow().covers("front");
    assert!(covers(&state) && !state.privacy().borrow().covers("back"));
    drop(state);
    let state = State::open_with(&dir.0, Some(runtime)).unwrap();
    assert!(covers(&state));
    // It was never written to the disk, so it can be undone without the disk.
    state.restrict(|l| l.private_cameras.clear()).unwrap();
    assert!(!covers(&state));
    // Fewer cameras are a restriction, more cameras are not.
    state.restrict(|l| l.tokens[0].cameras = Scope::only(["front".into()])).unwrap();
    assert!(state.restrict(|l| l.tokens[0].cameras = Scope::ALL).is_err());
    make_room(&dir);
}
