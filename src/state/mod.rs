//! What must outlast the daemon: who may come in, and whether the owner wants privacy.
//!
//! One file, `state.json`, in a folder that only we may enter (`file` says how it is replaced). **A file that can't be
//! read stops the start**, and so does one that names no owner unless it says that there never was one: beginning anew
//! would open the device to whoever comes first.
//!
//! Where the disk is full or read-only, what grants fails, and what restricts holds all the same: in memory, and in the
//! runtime folder until the board starts anew (`restrictions`). It is written as soon as the disk takes it.
//!
//! Secrets are here only as SHA-256 ([`Digest`]; they are random, so nobody can try them out) or, what people choose
//! themselves, by argon2id. All lists are bounded; [`Lasting`] says what happens when one is full.

mod digest;
mod dirs;
mod file;
mod restrictions;

pub use digest::Digest;
pub use dirs::{default_dir, runtime_dir};

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use restrictions::{Restrictions, only_restricts};

/// The format that we write. An older daemon must not make sense of a newer file by leaving out what it doesn't know.
const VERSION: u32 = 1;
const FILE: &str = "state.json";
const LOCK: &str = "lock";
/// What to do about a file that can't be read.
const REMEDY: &str =
    "restore it from a backup, or remove it: then the device has no owner and must be paired anew";

/// Why there is no state, or why it did not change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or a file in it can't be used.
    #[error("{}: {doing}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("{}: another peercam uses this folder; give each its own by --state-dir", .0.display())]
    InUse(PathBuf),
    /// It isn't what we wrote.
    #[error("{}: {why}; {remedy}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// What somebody may do. Each may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Watch, for a while.
    Guest,
    /// Watch, take snapshots, read the status.
    Viewer,
    /// Everything.
    Owner,
}

impl Role {
    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Viewer => "viewer",
            Self::Owner => "owner",
        }
    }
}

/// A key for programs, presented as `Authorization: Bearer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Chosen by the owner; no two have the same.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// Of its secret.
    pub digest: Digest,
    /// Made at, seconds of Unix time.
    pub created_unix: u64,
}

/// A link that lets somebody watch for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Names it in lists and URLs; no secret.
    pub id: String,
    /// For the owner to tell it from others.
    pub label: String,
    /// Of its secret.
    pub digest: Digest,
    /// Made at, seconds of Unix time.
    pub created_unix: u64,
    /// Good until, seconds of Unix time.
    pub expires_unix: u64,
}

/// A browser that is signed in by a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Of its cookie.
    pub digest: Digest,
    /// By whose password: [`Role::Owner`] or [`Role::Viewer`].
    pub role: Role,
    /// Signed in at, seconds of Unix time.
    pub created_unix: u64,
    /// Last used about then, seconds of Unix time.
    pub seen_unix: u64,
}

/// A browser that was signed in once: strangers' guesses never keep it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Of its cookie.
    pub digest: Digest,
    /// By whose password it last signed in.
    pub role: Role,
    /// Last signed in at, seconds of Unix time.
    pub seen_unix: u64,
}

/// Everything that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasting {
    version: u32,
    /// The owner's password (argon2id, PHC string); `None`: the device has no owner yet.
    pub owner: Option<String>,
    /// There never was an owner. A file without an owner that does not say so has lost him.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unpaired: bool,
    /// The password of those who may watch.
    pub household: Option<String>,
    /// At most [`Lasting::MOST_TOKENS`]; a further one is refused.
    #[serde(default)]
    pub tokens: Vec<Token>,
    /// At most [`Lasting::MOST_GUESTS`]; a further one is refused.
    #[serde(default)]
    pub guests: Vec<Guest>,
    /// At most [`Lasting::MOST_SESSIONS`]; a further one replaces the longest unused, viewers' first.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// At most [`Lasting::MOST_DEVICES`]; a further one replaces the longest unused, viewers' first.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Camera and microphone stay closed.
    #[serde(default)]
    pub privacy: bool,
    /// The latest time known: a clock that shows much less at the next start is wrong.
    #[serde(default)]
    pub known_unix: u64,
    /// What is dated from here on was dated without a clock that could be believed.
    #[serde(default)]
    pub adrift_unix: Option<u64>,
}

impl Default for Lasting {
    fn default() -> Self {
        Self {
            version: VERSION,
            owner: None,
            unpaired: true,
            household: None,
            tokens: vec![],
            guests: vec![],
            sessions: vec![],
            devices: vec![],
            privacy: false,
            known_unix: 0,
            adrift_unix: None,
        }
    }
}

impl Lasting {
    /// Programs that one device serves.
    pub const MOST_TOKENS: usize = 64;
    /// Links at a time.
    pub const MOST_GUESTS: usize = 64;
    /// Browsers signed in.
    pub const MOST_SESSIONS: usize = 256;
    /// Browsers remembered.
    pub const MOST_DEVICES: usize = 64;

    /// A browser has signed in. Viewers who sign in again and again never push the owner out.
    pub fn add_session(&mut self, session: Session) {
        push(&mut self.sessions, session, Self::MOST_SESSIONS, |s| (s.role, s.seen_unix));
    }

    /// A browser is remembered, or again.
    pub fn add_device(&mut self, device: Device) {
        self.devices.retain(|d| d.digest != device.digest);
        push(&mut self.devices, device, Self::MOST_DEVICES, |d| (d.role, d.seen_unix));
    }
}

/// Makes room where there is none: the one that is least worth goes.
fn push<T, K: Ord>(list: &mut Vec<T>, item: T, most: usize, worth: impl Fn(&T) -> K) {
    while list.len() >= most {
        let least = list.iter().enumerate().min_by_key(|(_, item)| worth(item)).map(|(i, _)| i);
        list.remove(least.unwrap_or_default());
    }
    list.push(item);
}

/// Why the state can't be written, and what that means for what was restricted since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritten {
    why: String,
    /// The runtime folder holds what was restricted.
    until_reboot: bool,
}

impl std::fmt::Display for Unwritten {
    /// One sentence for the owner.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let until = if self.until_reboot { "the board" } else { "peercam" };
        let why = &self.why;
        write!(
            f,
            "the state can't be written ({why}): what you restrict holds at once, but only until {until} restarts, \
             and nothing new can be granted"
        )
    }
}

/// The state, open. Nobody else opens the same folder meanwhile.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    /// For what restricts while the disk can't be written.
    runtime: Option<PathBuf>,
    /// Replaced as a whole, so that a reader never waits for a disk.
    now: RwLock<Arc<Lasting>>,
    /// What the disk holds. Locked while the state changes.
    saved: Mutex<Arc<Lasting>>,
    changed: watch::Sender<u64>,
    privacy: watch::Sender<bool>,
    held: AtomicBool,
    unwritten: watch::Sender<Option<Unwritten>>,
    _lock: Flock<File>,
}

impl State {
    /// Opens the state in `dir`, which is made where it is missing, for us only. One that is there already keeps its
    /// permissions (it may be `/tmp`); our files in it are for us only in any case.
    ///
    /// # Errors
    /// The folder can't be used, another daemon uses it, or its file isn't what we wrote.
    pub fn open(dir: &Path) -> Result<Arc<Self>, Error> {
        Self::open_with(dir, None)
    }

    /// The same, with a folder that lasts until the board's next start (see [`runtime_dir`]).
    ///
    /// # Errors
    /// As [`State::open`]; also if the file in `runtime` can't be read.
    pub fn open_with(dir: &Path, runtime: Option<PathBuf>) -> Result<Arc<Self>, Error> {
        let io = |path: &Path, doing| {
            let path = path.to_owned();
            move |source| Error::Io { path, doing, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(io(dir, "making the folder for what must last"))?;
        let path = dir.join(LOCK);
        // Held without writing: the disk may be read-only by now, or become so. O_NOFOLLOW: our own files are no links.
        let mut options = OpenOptions::new();
        let hold = || OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
        let lock = hold().or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                options.write(true).create(true).truncate(false).mode(0o600);
                options.custom_flags(libc::O_NOFOLLOW).open(&path)?;
                hold()
            }
            _ => Err(e),
        });
        let lock = lock.map_err(io(&path, "opening the lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
            nix::errno::Errno::EWOULDBLOCK => Error::InUse(dir.to_owned()),
            e => Error::Io { path, doing: "locking it", source: e.into() },
        })?;
        let saved = load(&dir.join(FILE))?;
        let restrictions = runtime.as_deref().map(load_restrictions).transpose()?.flatten();
        let mut lasting = saved.clone();
        if let Some(restrictions) = restrictions {
            restrictions.apply(&mut lasting);
        }
        let state = Arc::new(Self {
            dir: dir.to_owned(),
            runtime,
            changed: watch::channel(0).0,
            privacy: watch::channel(lasting.privacy).0,
            held: AtomicBool::new(false),
            unwritten: watch::channel(None).0,
            now: RwLock::new(Arc::new(lasting)),
            saved: Mutex::new(Arc::new(saved)),
            _lock: lock,
        });
        state.catch_up();
        Ok(state)
    }

    /// Looks at it. Never waits for a disk.
    pub fn read<T>(&self, look: impl FnOnce(&Lasting) -> T) -> T {
        look(&self.snapshot())
    }

    /// Changes it: once this returns, the change outlasts a power cut. It waits for the disk, so in tasks it belongs on
    /// a thread of its own (`spawn_blocking`). What changes nothing writes nothing.
    ///
    /// # Errors
    /// It could not be written; then nothing has changed.
    pub fn change<T>(&self, change: impl FnOnce(&mut Lasting) -> T) -> Result<T, Error> {
        self.commit(change, |_, _, _| false)
    }

    /// The same for what only takes away: that holds at once, also where it can't be written. [`State::unwritten`] says
    /// then for how long.
    ///
    /// # Errors
    /// It gives somebody something after all, and could not be written; then nothing has changed.
    pub fn restrict<T>(&self, change: impl FnOnce(&mut Lasting) -> T) -> Result<T, Error> {
        self.commit(change, only_restricts)
    }

    /// The same for what is true whether it can be written or not: how dates are to be read after the clock was set.
    pub fn redate(&self, change: impl FnOnce(&mut Lasting)) {
        let _ = self.commit(change, |_, _, _| true); // holds anyway
    }

    /// Why the state can't be written, now and whenever that changes.
    pub fn unwritten(&self) -> watch::Receiver<Option<Unwritten>> {
        self.unwritten.subscribe()
    }

    /// Writes what could not be written before; with nothing to write, sees whether something could be. Waits for the disk.
    pub fn catch_up(&self) {
        let mut saved = self.lock();
        let now = self.snapshot();
        let done = if *now == **saved {
            let bytes = encode(&now).and_then(|bytes| file::probe(&self.dir, FILE, &bytes));
            bytes.map_err(|source| self.writing(source))
        } else {
            self.write(&now)
        };
        self.note(&mut saved, &now, done.as_ref().err());
    }

    /// Wakes its receiver after every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether there is privacy from now on, whatever is stored: the configuration may demand it.
    pub fn hold_privacy(&self, on: bool) {
        let _alone = self.lock();
        self.held.store(on, Ordering::Relaxed);
        let privacy = on || self.read(|l| l.privacy);
        self.privacy.send_if_modified(|p| std::mem::replace(p, privacy) != privacy);
    }

    /// Whether [`State::hold_privacy`] demands it.
    pub fn privacy_is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether there is privacy, now and whenever it changes.
    pub fn privacy(&self) -> watch::Receiver<bool> {
        self.privacy.subscribe()
    }

    /// The folder, for other files that must last.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a change. One that `holds_anyway`, by what it makes of the state before and of what the disk holds, is in
    /// effect before it is written, and also if it can't be.
    fn commit<T>(
        &self,
        change: impl FnOnce(&mut Lasting) -> T,
        holds_anyway: fn(&Lasting, &Lasting, &Lasting) -> bool,
    ) -> Result<T, Error> {
        let mut saved = self.lock();
        let before = self.snapshot();
        let mut after = Lasting::clone(&before);
        let result = change(&mut after);
        after.unpaired = after.owner.is_none();
        if after == *before {
            return Ok(result);
        }
        let anyway = holds_anyway(&after, &before, &saved);
        let after = Arc::new(after);
        if anyway {
            self.publish(&after);
        }
        let written = self.write(&after);
        self.note(&mut saved, &after, written.as_ref().err());
        if !anyway {
            written?;
            self.publish(&after);
        }
        Ok(result)
    }

    fn publish(&self, after: &Arc<Lasting>) {
        let privacy = after.privacy || self.privacy_is_held();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = after.clone();
        self.privacy.send_if_modified(|p| std::mem::replace(p, privacy) != privacy);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Notes whether `state` was written. Where it was not, the runtime folder gets what holds all the same.
    fn note(&self, saved: &mut Arc<Lasting>, state: &Arc<Lasting>, error: Option<&Error>) {
        let unwritten = match error {
            None => {
                *saved = state.clone();
                self.forget_restrictions();
                None
            }
            Some(error) => {
                let why = match error {
                    Error::Io { source, .. } => source.to_string(),
                    other => other.to_string(),
                };
                Some(Unwritten { why, until_reboot: self.keep_restrictions(saved) })
            }
        };
        self.unwritten.send_if_modified(|known| {
            let news = *known != unwritten;
            if news {
                match &unwritten {
                    Some(problem) => tracing::error!("{problem}"),
                    None => tracing::info!("the state can be written again, and is"),
                }
                *known = unwritten;
            }
            news
        });
    }

    /// Whether the runtime folder now holds all that the disk does not know to have ended.
    fn keep_restrictions(&self, saved: &Lasting) -> bool {
        let Some(runtime) = &self.runtime else { return false };
        let kept = serde_json::to_vec(&Restrictions::between(saved, &self.snapshot()))
            .map_err(io::Error::from)
            .and_then(|bytes| file::replace(runtime, restrictions::FILE, &bytes));
        if let Err(error) = &kept {
            tracing::warn!("can't write to {}: {error}", runtime.display());
        }
        kept.is_ok()
    }

    fn forget_restrictions(&self) {
        let Some(runtime) = &self.runtime else { return };
        match fs::remove_file(runtime.join(restrictions::FILE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("can't remove {} from {}: {e}", restrictions::FILE, runtime.display());
            }
            _ => (),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Lasting>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Arc<Lasting> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, lasting: &Lasting) -> Result<(), Error> {
        let written = encode(lasting).and_then(|bytes| file::replace(&self.dir, FILE, &bytes));
        written.map_err(|source| self.writing(source))
    }

    fn writing(&self, source: io::Error) -> Error {
        Error::Io { path: self.dir.join(FILE), doing: "writing what must last", source }
    }
}

fn encode(lasting: &Lasting) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(lasting)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn load(path: &Path) -> Result<Lasting, Error> {
    let broken = |why: String| Error::Broken { path: path.to_owned(), why, remedy: REMEDY };
    let Some(bytes) = file::read(path, REMEDY)? else { return Ok(Lasting::default()) };
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| broken(format!("it is no JSON: {e}")))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => (),
        Some(version) => {
            return Err(broken(format!("it has version {version}, and this peercam knows only {VERSION}")));
        }
        None => return Err(broken("it names no version".into())),
    }
    let lasting: Lasting =
        serde_json::from_value(value).map_err(|e| broken(format!("it makes no sense: {e}")))?;
    match &lasting.owner {
        None if !lasting.unpaired => Err(broken("it has lost its owner".into())),
        owner => Ok(Lasting { unpaired: owner.is_none(), ..lasting }),
    }
}

fn load_restrictions(runtime: &Path) -> Result<Option<Restrictions>, Error> {
    let path = runtime.join(restrictions::FILE);
    let Some(bytes) = file::read(&path, restrictions::REMEDY)? else { return Ok(None) };
    let parsed = Restrictions::parse(&bytes);
    parsed.map(Some).map_err(|why| Error::Broken { path, why, remedy: restrictions::REMEDY })
}

#[cfg(test)]
mod tests;
