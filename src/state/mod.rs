//! What must outlast the daemon: who may come in, and whether the owner wants privacy.
//!
//! One file, `state.json`, in a folder that only we may enter. It is replaced as a whole: written beside, flushed to the
//! disk, renamed over the old one, and the rename flushed. A power cut at any moment leaves the old file or the new one.
//! **A file that can't be read stops the start**: beginning anew would open the device to whoever comes first.
//!
//! Secrets are here only as SHA-256 ([`Digest`]; they are random, so nobody can try them out) or, what people choose
//! themselves, by argon2id. All lists are bounded; [`Lasting`] says what happens when one is full.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

/// The format that we write. An older daemon must not make sense of a newer file by leaving out what it doesn't know.
const VERSION: u32 = 1;
const FILE: &str = "state.json";
const NEW_FILE: &str = "state.json.new";
const LOCK: &str = "lock";
/// Far more than full lists take (some 60 kB).
const MAX_BYTES: u64 = 1 << 20;

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
    #[error("{}: {why}; restore it from a backup, or remove it: then the device has no owner and must be paired anew", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
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

/// SHA-256 of a secret that we made. Compared in constant time.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of a secret as it was handed out, or of what somebody claims to be one.
    pub fn of(secret: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, secret.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl std::hash::Hash for Digest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(..)")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let bytes = URL_SAFE_NO_PAD.decode(&text).ok().and_then(|b| b.try_into().ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("a digest is 43 characters of base64url"))
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

/// The state, open. Nobody else opens the same folder meanwhile.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    /// Replaced as a whole, so that a reader never waits for a disk.
    now: RwLock<Arc<Lasting>>,
    /// Held while the state changes.
    changing: Mutex<()>,
    changed: watch::Sender<u64>,
    privacy: watch::Sender<bool>,
    held: AtomicBool,
    _lock: Flock<File>,
}

impl State {
    /// Opens the state in `dir`, which is made where it is missing, for us only. One that is there already keeps its
    /// permissions (it may be `/tmp`); our files in it are for us only in any case.
    ///
    /// # Errors
    /// The folder can't be used, another daemon uses it, or its file isn't what we wrote.
    pub fn open(dir: &Path) -> Result<Arc<Self>, Error> {
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
        let lock = private().truncate(false).open(&path).map_err(io(&path, "opening the lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
            nix::errno::Errno::EWOULDBLOCK => Error::InUse(dir.to_owned()),
            e => Error::Io { path, doing: "locking it", source: e.into() },
        })?;
        let lasting = load(&dir.join(FILE))?;
        Ok(Arc::new(Self {
            dir: dir.to_owned(),
            changed: watch::channel(0).0,
            privacy: watch::channel(lasting.privacy).0,
            held: AtomicBool::new(false),
            now: RwLock::new(Arc::new(lasting)),
            changing: Mutex::default(),
            _lock: lock,
        }))
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
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let mut after = Lasting::clone(&before);
        let result = change(&mut after);
        if after == *before {
            return Ok(result);
        }
        self.write(&after)?;
        let privacy = after.privacy || self.privacy_is_held();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        self.privacy.send_if_modified(|p| std::mem::replace(p, privacy) != privacy);
        self.changed.send_modify(|n| *n += 1);
        Ok(result)
    }

    /// Wakes its receiver after every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether there is privacy from now on, whatever is stored: the configuration may demand it.
    pub fn hold_privacy(&self, on: bool) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn snapshot(&self) -> Arc<Lasting> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, lasting: &Lasting) -> Result<(), Error> {
        let (new, path) = (self.dir.join(NEW_FILE), self.dir.join(FILE));
        let written = || {
            let mut file = private().truncate(true).open(&new)?;
            serde_json::to_writer_pretty(&mut file, lasting)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        written().map_err(|source| Error::Io { path: path.clone(), doing: "writing what must last", source })
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    // O_NOFOLLOW: our own files are no links.
    options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

fn load(path: &Path) -> Result<Lasting, Error> {
    let broken = |why: String| Error::Broken { path: path.to_owned(), why };
    let reading = |source| Error::Io { path: path.to_owned(), doing: "reading what must last", source };
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Lasting::default()),
        Err(e) => return Err(reading(e)),
        Ok(facts) if facts.len() > MAX_BYTES => {
            return Err(broken(format!("it has {} bytes, more than we ever write", facts.len())));
        }
        Ok(_) => (),
    }
    let bytes = fs::read(path).map_err(reading)?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| broken(format!("it is no JSON: {e}")))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => (),
        Some(version) => {
            return Err(broken(format!("it has version {version}, and this peercam knows only {VERSION}")));
        }
        None => return Err(broken("it names no version".into())),
    }
    serde_json::from_value(value).map_err(|e| broken(format!("it makes no sense: {e}")))
}

/// Where the state is unless somebody says otherwise: systemd's `StateDirectory=`; `/var/lib/peercam` for root; else the
/// user's own (XDG Base Directory Specification).
pub fn default_dir() -> PathBuf {
    let root = nix::unistd::geteuid().is_root();
    usual_dir(|name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from), root)
}

fn usual_dir(env: impl Fn(&str) -> Option<PathBuf>, root: bool) -> PathBuf {
    if let Some(dirs) = env("STATE_DIRECTORY") {
        // Several are separated by colons (systemd.exec(5)); the first is ours.
        let text = dirs.to_string_lossy();
        return text.split(':').next().unwrap_or_default().into();
    }
    if root {
        return "/var/lib/peercam".into();
    }
    let state = env("XDG_STATE_HOME").filter(|p| p.is_absolute());
    let home = || env("HOME").unwrap_or_else(|| "/".into()).join(".local/state");
    state.unwrap_or_else(home).join("peercam")
}

#[cfg(test)]
mod tests;
