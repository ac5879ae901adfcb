//! The persistent state: passwords, sessions, tokens, guest links, and privacy.
//!
//! It is one file, `state.json`, in a folder that only the daemon may enter (`file` describes how it is replaced). **If
//! the file can't be read, the daemon does not start**; nor if the file has no owner, unless it says that there never
//! was one. Starting with an empty state would let anybody become the owner.
//!
//! If the disk is full or read-only, changes that grant something fail, but restrictions apply anyway: in memory, and
//! in the runtime folder until the board restarts (`restrictions`). They are written as soon as the disk allows it. If
//! the disk is slow, grants take effect once they are written; restrictions take effect at once, even for pending
//! grants.
//!
//! Secrets are stored only as SHA-256 ([`Digest`]; they are random, so they can't be guessed), and passwords as
//! argon2id hashes. All lists are bounded; [`Lasting`] documents what happens when one is full.

mod digest;
mod dirs;
mod file;
mod lasting;
mod restrictions;
mod scope;

pub use digest::Digest;
pub use dirs::{default_dir, runtime_dir};
pub use lasting::{Guest, KnownBrowser, Lasting, Role, Session, Token};
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
/// Advice for a file that can't be read.
const REMEDY: &str =
    "restore it from a backup, or remove it: then the device has no owner and must be paired again";

/// Why the state can't be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or a file in it can't be used.
    #[error("{}: {doing}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The attempted operation.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Another daemon uses the folder.
    #[error("{}: another peercam uses this folder; give each its own with --state-dir", .0.display())]
    InUse(PathBuf),
    /// The file is damaged, or not one of peercam's.
    #[error("{}: {why}; {remedy}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Advice.
        remedy: &'static str,
    },
}

/// Why the state can't be written, and how long restrictions made since then will last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritten {
    why: String,
    /// Whether the restrictions are saved in the runtime folder.
    until_reboot: bool,
}

impl std::fmt::Display for Unwritten {
    /// Writes one sentence for the owner.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let until = if self.until_reboot { "the board" } else { "peercam" };
        let why = &self.why;
        write!(
            f,
            "the state can't be written ({why}): restrictions apply at once, but only until {until} restarts, \
             and nothing new can be granted"
        )
    }
}

/// The open state. A lock keeps other daemons from opening the same folder.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    /// The folder for restrictions while the disk can't be written.
    runtime: Option<PathBuf>,
    /// Never locked during a disk write, so that restrictions and readers don't wait for the disk.
    memory: RwLock<Memory>,
    /// The state on the disk. Locked during a write. If both are locked, this one comes before `memory`.
    saved: Mutex<Arc<Lasting>>,
    changed: watch::Sender<u64>,
    privacy: watch::Sender<Privacy>,
    unwritten: watch::Sender<Option<Unwritten>>,
    /// Notified when there are unsaved changes that no write includes.
    unsaved: Notify,
    #[cfg(test)]
    slow: tests::SlowDisk,
    _lock: Flock<File>,
}

/// The state in effect.
#[derive(Debug)]
struct Memory {
    now: Arc<Lasting>,
    /// The state that takes effect when the current write succeeds. Restrictions are applied to it, too.
    coming: Option<Lasting>,
    /// Whether the configuration turns privacy on.
    held: bool,
}

impl State {
    /// Opens the state in `dir`. A missing folder is created for the daemon's user only. An existing folder keeps its
    /// permissions (it may be `/tmp`); the files in it are always for the daemon's user only.
    ///
    /// # Errors
    /// If the folder can't be used, if another daemon uses it, or if the file is damaged.
    pub fn open(dir: &Path) -> Result<Arc<Self>, Error> {
        Self::open_with(dir, None)
    }

    /// Like [`State::open`], with a folder that lasts until the board restarts (see [`runtime_dir`]).
    ///
    /// # Errors
    /// Like [`State::open`]; also if the file in `runtime` can't be read.
    pub fn open_with(dir: &Path, runtime: Option<PathBuf>) -> Result<Arc<Self>, Error> {
        let io = |path: &Path, doing| {
            let path = path.to_owned();
            move |source| Error::Io { path, doing, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(io(dir, "creating the state folder"))?;
        let path = dir.join(LOCK);
        // The lock is taken without writing, because the disk may be read-only. O_NOFOLLOW: our own files are not
        // links.
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

    /// Reads the state. Never waits for the disk.
    pub fn read<T>(&self, look: impl FnOnce(&Lasting) -> T) -> T {
        look(&self.snapshot())
    }

    /// Changes the state. Once this returns, the change survives a power cut. It waits for the disk, so tasks should
    /// call it in `spawn_blocking`. A change without effect writes nothing.
    ///
    /// # Errors
    /// If the state can't be written; then nothing has changed.
    pub fn change<T>(&self, change: impl FnOnce(&mut Lasting) -> T) -> Result<T, Error> {
        self.commit(change, false)
    }

    /// Like [`State::change`], for changes that only restrict: they take effect at once, even while something else is
    /// being written, or if they can't be written ([`State::unwritten`] then says for how long). `change` may be called
    /// more than once, on different states.
    ///
    /// # Errors
    /// If the change grants something after all and can't be written; then nothing has changed.
    pub fn restrict<T>(&self, change: impl Fn(&mut Lasting) -> T) -> Result<T, Error> {
        let Some(result) = self.restrict_at_once(&change) else { return self.commit(change, true) };
        self.settle(&mut self.lock());
        Ok(result)
    }

    /// Changes the state in memory only, to correct dates after the clock was set. Never waits for the disk; the task
    /// that waits for [`State::unsaved`] writes the change.
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

    /// Waits until there are changes that no write includes; then call [`State::catch_up`].
    pub async fn unsaved(&self) {
        self.unsaved.notified().await;
    }

    /// Follows why the state can't be written, if so.
    pub fn unwritten(&self) -> watch::Receiver<Option<Unwritten>> {
        self.unwritten.subscribe()
    }

    /// Writes unsaved changes; without any, checks whether the state could be written. Waits for the disk.
    pub fn catch_up(&self) {
        let mut saved = self.lock();
        if !self.settle(&mut saved) {
            let bytes = encode(&saved).and_then(|bytes| file::probe(&self.dir, FILE, &bytes));
            let probed = bytes.map_err(|source| self.writing(source));
            let same = saved.clone();
            self.note(&mut saved, &same, probed.as_ref().err());
        }
    }

    /// Notifies its receiver after every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Sets whether the configuration turns privacy on, regardless of the stored switch. Never waits for the disk.
    pub fn hold_privacy(&self, on: bool) {
        let mut memory = self.memory();
        memory.held = on;
        self.tell_privacy(&memory);
    }

    /// Whether [`State::hold_privacy`] has turned privacy on.
    pub fn privacy_is_held(&self) -> bool {
        self.memory.read().unwrap_or_else(PoisonError::into_inner).held
    }

    /// Follows which cameras are private.
    pub fn privacy(&self) -> watch::Receiver<Privacy> {
        self.privacy.subscribe()
    }

    /// The state folder, for other persistent files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a change that takes effect once it is written. A change that `restricts` may take effect before: privacy
    /// that was never written to the disk can be turned off at once.
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
            // Restrictions made since the write began are included; those who made them wait to write them.
            self.publish(&mut memory, coming);
        }
        drop(memory);
        self.note(&mut saved, &after, written.as_ref().err());
        written.map(|()| result)
    }

    /// Changes the state in effect and the pending one, without the disk; `None` if the change grants something.
    fn restrict_at_once<T>(&self, change: &impl Fn(&mut Lasting) -> T) -> Option<T> {
        let mut memory = self.memory();
        let (mut result, after) = changed(&memory.now, change);
        if !only_restricts(&after, &memory.now, None) {
            return None;
        }
        if let Some(before) = &memory.coming {
            // Apply it to the pending state too, as if it came after the pending grant.
            let (of_coming, coming) = changed(before, change);
            if !only_restricts(&coming, before, None) {
                return None;
            }
            (result, memory.coming) = (of_coming, Some(coming));
        }
        self.publish(&mut memory, after);
        Some(result)
    }

    /// Puts `after` into effect.
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

    /// Writes the state in effect; returns false if the disk is known to have it already.
    fn settle(&self, saved: &mut Arc<Lasting>) -> bool {
        let now = self.snapshot();
        // After a failed write, the content of the disk is unknown.
        let news = now != *saved || self.unwritten.borrow().is_some();
        if news {
            let written = self.write(&now);
            self.note(saved, &now, written.as_ref().err());
        }
        news
    }

    /// Notes whether `state` was written. If not, the restrictions are written to the runtime folder.
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
                    None => tracing::info!("the state can be written again and was saved"),
                }
                *known = unwritten;
            }
            news
        });
    }

    /// Writes restrictions that are not on the disk to the runtime folder; returns whether that succeeded.
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
        Error::Io { path: self.dir.join(FILE), doing: "writing the state", source }
    }
}

/// The result of a change, and the state after it.
fn changed<T>(before: &Lasting, change: impl FnOnce(&mut Lasting) -> T) -> (T, Lasting) {
    let mut after = before.clone();
    let result = change(&mut after);
    after.unpaired = after.owner.is_none();
    after.set_version();
    (result, after)
}

/// Which cameras are private.
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
                "it has version {version}, but this peercam supports only versions up to {newest}"
            )));
        }
        None => return Err(broken("it has no version".into())),
    }
    let lasting: Lasting = serde_json::from_slice(&bytes).map_err(|e| broken(unlike_ours(&e)))?;
    match &lasting.owner {
        None if !lasting.unpaired => Err(broken("it has lost its owner".into())),
        owner => Ok(Lasting { unpaired: owner.is_none(), ..lasting }),
    }
}

/// What is wrong with a file. The parser's own message is left out, because it speaks of Rust types.
fn unlike_ours(error: &serde_json::Error) -> String {
    let what =
        if error.is_data() { "content that peercam does not write" } else { "content that is not JSON" };
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
