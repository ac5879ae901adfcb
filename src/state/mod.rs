//! What must outlast the daemon: who may come in, and whether the owner wants privacy.
//!
//! One file, `state.json`, in a folder that only we may enter (`file` says how it is replaced). **A file that can't be
//! read stops the start**, and so does one that names no owner unless it says that there never was one: beginning anew
//! would open the device to whoever comes first.
//!
//! Where the disk is full or read-only, what grants fails, and what restricts holds all the same: in memory, and in the
//! runtime folder until the board starts anew (`restrictions`). It is written as soon as the disk takes it. Where the disk
//! is slow, what grants takes effect once it is written; what restricts does so at once, also for what is being granted.
//!
//! Secrets are here only as SHA-256 ([`Digest`]; they are random, so nobody can try them out) or, what people choose
//! themselves, by argon2id. All lists are bounded; [`Lasting`] says what happens when one is full.

mod digest;
mod dirs;
mod file;
mod lasting;
mod restrictions;
mod scope;

pub use digest::Digest;
pub use dirs::{default_dir, runtime_dir};
pub use lasting::{Device, Guest, Lasting, Role, Session, Token};
pub use scope::Scope;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use nix::fcntl::{Flock, FlockArg};
use tokio::sync::{Notify, watch};

use crate::privacy::Privacy;
use lasting::VERSIONS;
use restrictions::{Restrictions, only_restricts};

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
    /// Never locked while the disk is written: what restricts waits for no write, nor does whoever looks.
    memory: RwLock<Memory>,
    /// What the disk holds. Locked while it is written; before `memory`, where both are.
    saved: Mutex<Arc<Lasting>>,
    changed: watch::Sender<u64>,
    privacy: watch::Sender<Privacy>,
    unwritten: watch::Sender<Option<Unwritten>>,
    /// Something holds that nobody is writing.
    unsaved: Notify,
    #[cfg(test)]
    slow: tests::SlowDisk,
    _lock: Flock<File>,
}

/// What holds.
#[derive(Debug)]
struct Memory {
    now: Arc<Lasting>,
    /// What will hold once the write that is going on has succeeded. What restricts meanwhile restricts this, too.
    coming: Option<Lasting>,
    /// The configuration demands privacy.
    held: bool,
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
            privacy: watch::Sender::new(privacy_of(&lasting, false)),
            unwritten: watch::channel(None).0,
            unsaved: Notify::new(),
            memory: RwLock::new(Memory { now: Arc::new(lasting), coming: None, held: false }),
            saved: Mutex::new(Arc::new(saved)),
            #[cfg(test)]
            slow: tests::SlowDisk::default(),
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
        self.commit(change, false)
    }

    /// The same for what only takes away: that holds at once, also while something else is being written, and where it
    /// can't be written. [`State::unwritten`] says then for how long. It may be called on more than one state.
    ///
    /// # Errors
    /// It gives somebody something after all, and could not be written; then nothing has changed.
    pub fn restrict<T>(&self, change: impl Fn(&mut Lasting) -> T) -> Result<T, Error> {
        let Some(result) = self.restrict_at_once(&change) else { return self.commit(change, true) };
        self.settle(&mut self.lock());
        Ok(result)
    }

    /// The same for what is true whether it can be written or not: how dates are to be read after the clock was set. Never
    /// waits for a disk; whoever waits for [`State::unsaved`] is to write it.
    pub fn redate(&self, change: impl Fn(&mut Lasting)) {
        let mut memory = self.memory();
        let ((), now) = changed(&memory.now, &change);
        if let Some(coming) = &mut memory.coming {
            change(coming);
        }
        self.publish(&mut memory, now);
        drop(memory);
        self.unsaved.notify_one();
    }

    /// Waits until something holds that nobody is writing: time to [`State::catch_up`].
    pub async fn unsaved(&self) {
        self.unsaved.notified().await;
    }

    /// Why the state can't be written, now and whenever that changes.
    pub fn unwritten(&self) -> watch::Receiver<Option<Unwritten>> {
        self.unwritten.subscribe()
    }

    /// Writes what could not be written before; with nothing to write, sees whether something could be. Waits for the disk.
    pub fn catch_up(&self) {
        let mut saved = self.lock();
        if !self.settle(&mut saved) {
            let bytes = encode(&saved).and_then(|bytes| file::probe(&self.dir, FILE, &bytes));
            let probed = bytes.map_err(|source| self.writing(source));
            let same = saved.clone();
            self.note(&mut saved, &same, probed.as_ref().err());
        }
    }

    /// Wakes its receiver after every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether there is privacy from now on, whatever is stored: the configuration may demand it. Never waits for a disk.
    pub fn hold_privacy(&self, on: bool) {
        let mut memory = self.memory();
        memory.held = on;
        self.tell_privacy(&memory);
    }

    /// Whether [`State::hold_privacy`] demands it.
    pub fn privacy_is_held(&self) -> bool {
        self.memory.read().unwrap_or_else(PoisonError::into_inner).held
    }

    /// For which cameras there is privacy, now and whenever that changes.
    pub fn privacy(&self) -> watch::Receiver<Privacy> {
        self.privacy.subscribe()
    }

    /// The folder, for other files that must last.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a change that takes effect once it is written. One that `restricts` may do so before: privacy ends at once
    /// where the disk never learned of it.
    fn commit<T>(&self, change: impl FnOnce(&mut Lasting) -> T, restricts: bool) -> Result<T, Error> {
        let mut saved = self.lock();
        let mut memory = self.memory();
        let (result, after) = changed(&memory.now, change);
        if after == *memory.now {
            return Ok(result);
        }
        if restricts && only_restricts(&after, &memory.now, Some(&saved)) {
            self.publish(&mut memory, after);
            drop(memory);
            self.settle(&mut saved);
            return Ok(result);
        }
        memory.coming = Some(after.clone());
        drop(memory);
        let after = Arc::new(after);
        let written = self.write(&after);
        let mut memory = self.memory();
        if let Some(coming) = memory.coming.take().filter(|_| written.is_ok()) {
            // What was restricted since the write began is in it. Whoever restricts waits to write that.
            self.publish(&mut memory, coming);
        }
        drop(memory);
        self.note(&mut saved, &after, written.as_ref().err());
        written.map(|()| result)
    }

    /// Makes a change of what holds and of what is coming, without the disk; `None` if it gives somebody something.
    fn restrict_at_once<T>(&self, change: &impl Fn(&mut Lasting) -> T) -> Option<T> {
        let mut memory = self.memory();
        let (mut result, after) = changed(&memory.now, change);
        if !only_restricts(&after, &memory.now, None) {
            return None;
        }
        if let Some(before) = &memory.coming {
            // As if it came after that: what is being granted is in sight already.
            let (of_coming, coming) = changed(before, change);
            if !only_restricts(&coming, before, None) {
                return None;
            }
            (result, memory.coming) = (of_coming, Some(coming));
        }
        self.publish(&mut memory, after);
        Some(result)
    }

    /// From now on `after` holds.
    fn publish(&self, memory: &mut Memory, after: Lasting) {
        if after == *memory.now {
            return;
        }
        memory.now = Arc::new(after);
        self.tell_privacy(memory);
        self.changed.send_modify(|n| *n += 1);
    }

    fn tell_privacy(&self, memory: &Memory) {
        let privacy = privacy_of(&memory.now, memory.held);
        self.privacy.send_if_modified(|now| {
            let is_news = *now != privacy;
            *now = privacy;
            is_news
        });
    }

    /// Writes what holds; false if the disk is known to have it.
    fn settle(&self, saved: &mut Arc<Lasting>) -> bool {
        let now = self.snapshot();
        // What a write that failed has left on the disk nobody knows.
        let news = now != *saved || self.unwritten.borrow().is_some();
        if news {
            let written = self.write(&now);
            self.note(saved, &now, written.as_ref().err());
        }
        news
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

    fn memory(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Arc<Lasting> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner).now.clone()
    }

    fn write(&self, lasting: &Lasting) -> Result<(), Error> {
        #[cfg(test)]
        self.slow.wait();
        let written = encode(lasting).and_then(|bytes| file::replace(&self.dir, FILE, &bytes));
        written.map_err(|source| self.writing(source))
    }

    fn writing(&self, source: io::Error) -> Error {
        Error::Io { path: self.dir.join(FILE), doing: "writing what must last", source }
    }
}

/// What a change makes of a state.
fn changed<T>(before: &Lasting, change: impl FnOnce(&mut Lasting) -> T) -> (T, Lasting) {
    let mut after = before.clone();
    let result = change(&mut after);
    after.unpaired = after.owner.is_none();
    after.set_version();
    (result, after)
}

/// For which cameras there is privacy.
fn privacy_of(lasting: &Lasting, held: bool) -> Privacy {
    Privacy { all: held || lasting.privacy, cameras: lasting.private_cameras.clone() }
}

fn encode(lasting: &Lasting) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(lasting)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn load(path: &Path) -> Result<Lasting, Error> {
    let broken = |why: String| Error::Broken { path: path.to_owned(), why, remedy: REMEDY };
    let Some(bytes) = file::read(path, REMEDY)? else { return Ok(Lasting::default()) };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| broken(unlike_ours(&e)))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if VERSIONS.iter().any(|known| version == u64::from(*known)) => (),
        Some(version) => {
            let newest = VERSIONS[VERSIONS.len() - 1];
            return Err(broken(format!(
                "it has version {version}, and this peercam knows none after {newest}"
            )));
        }
        None => return Err(broken("it names no version".into())),
    }
    let lasting: Lasting = serde_json::from_slice(&bytes).map_err(|e| broken(unlike_ours(&e)))?;
    match &lasting.owner {
        None if !lasting.unpaired => Err(broken("it has lost its owner".into())),
        owner => Ok(Lasting { unpaired: owner.is_none(), ..lasting }),
    }
}

/// What is wrong with a file, without what the parser says: that speaks of Rust's types.
fn unlike_ours(error: &serde_json::Error) -> String {
    let what =
        if error.is_data() { "something that peercam does not write" } else { "something that is no JSON" };
    format!("it has {what} in line {}, column {}", error.line(), error.column())
}

fn load_restrictions(runtime: &Path) -> Result<Option<Restrictions>, Error> {
    let path = runtime.join(restrictions::FILE);
    let Some(bytes) = file::read(&path, restrictions::REMEDY)? else { return Ok(None) };
    let parsed = Restrictions::parse(&bytes);
    parsed.map(Some).map_err(|why| Error::Broken { path, why, remedy: restrictions::REMEDY })
}

#[cfg(test)]
mod tests;
