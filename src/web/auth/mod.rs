//! Who may come in: passwords, sessions, tokens, guest links, pairing.
//!
//! | credential | presented as | made by | ends |
//! |---|---|---|---|
//! | owner's password | `POST /api/login` | pairing, `peercam passwd`, the page | by another |
//! | household's password (may watch) | the same | the owner | by another, or none |
//! | session (256 random bits) | cookie | a right password | 14 days unused, 90 days, logout, another password |
//! | guest link (128 bits) | cookie | the owner | at its time, or revoked |
//! | token (256 bits) | `Authorization: Bearer` | `peercam token add` | revoked |
//! | pairing secret (128 bits) | `POST /api/pair` | the first start, `peercam pair` | used, 15 min, or by another |
//!
//! A [`Principal`] is somebody who presented one of them, and stands for it: [`Auth::lost`] tells when it is no longer
//! good. Nobody holds a second kind of proof. Only digests of secrets are stored ([`crate::state`]). Passwords are the
//! only thing that can be guessed, so the limits of [`guess`] are about them; who presents a secret of 128 bits is
//! never refused for what others did.
//!
//! Times of day decide about sessions and links, since both outlast a restart; `reckoning` is about boards whose clock
//! jumps by years. What does not outlast one (pairing links, waits after wrong passwords) goes by how long the board
//! has been running.

mod entry;
mod error;
mod facts;
pub mod guess;
mod links;
mod memory;
mod password;
mod principal;
mod reckoning;
mod time;

pub use crate::state::Role;
pub use entry::NewPassword;
pub use error::Error;
pub use facts::{GuestFacts, NewGuest, TokenFacts};
pub use principal::{DEVICE_S, Key, Principal, SESSION_S};

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use self::time::Clock;
use crate::net::{self, Links};
use crate::state::{self, Digest, Lasting, Session, State};
use guess::{Accounts, Guesses, Source};
use links::Revoked;
use password::Passwords;
use principal::{DAY_S, HOUR_S, find, next_end, sweep};
use reckoning::Look;

/// Longest life of a guest link: a year.
pub const MOST_HOURS: u64 = 365 * 24;
/// How long a pairing link is good: time to fetch a phone, too little to find it in an old log.
pub const PAIRING: Duration = Duration::from_secs(15 * 60);
/// How long revoking a guest link can be undone: time to notice a slip.
pub const UNDO: Duration = Duration::from_secs(20);
/// How often a live connection is held against the clock; that something was revoked is noticed at once.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is seen whether the state can be written, and what has ended is removed; the latter also when it ends,
/// so that it stays ended whatever the clock does.
const TIDY: Duration = Duration::from_secs(600);
/// How often what could not be written is tried again.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Bytes of a secret that lasts, and of one that must fit a link.
const LONG: usize = 32;
const SHORT: usize = 16;

/// A browser that tries a password.
#[derive(Clone, Copy, Debug)]
pub struct Browser<'a> {
    /// Where it is.
    pub address: IpAddr,
    /// Its cookie of an earlier login.
    pub device: Option<&'a str>,
}

/// Somebody has signed in: what the browser gets.
pub struct SignedIn {
    /// Who.
    pub principal: Principal,
    /// Secret of the session.
    pub session: String,
    /// Secret of the browser, which has logged in before from now on.
    pub device: String,
}

impl fmt::Debug for SignedIn {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignedIn").field(&self.principal).finish()
    }
}

/// A pairing link that may be used.
struct Pairing {
    digest: Digest,
    /// It ends when the board has been running for so long.
    until: Duration,
}

impl Pairing {
    fn is(&self, digest: Digest, now: Duration) -> bool {
        self.digest == digest && now < self.until
    }
}

/// The doorkeeper.
pub struct Auth {
    state: Arc<State>,
    passwords: Passwords,
    guesses: Mutex<Accounts>,
    pairing: Mutex<Option<Pairing>>,
    /// The guest link that was revoked last.
    revoked: Mutex<Option<Revoked>>,
    /// Wrong secrets of links: they are beyond guessing, so only answers and log lines are slowed, and no right one.
    links: Mutex<Guesses>,
    /// Some session's use is being written down.
    seeing: Arc<AtomicBool>,
    clock: Mutex<Clock>,
    /// Who is a neighbour.
    neighbours: OnceLock<Links>,
}

impl Auth {
    /// For what was stored.
    pub fn new(state: Arc<State>) -> Arc<Self> {
        Self::by(state, Look::now)
    }

    /// From now on neighbours on these links count by address. Once is enough: the links follow this machine's
    /// addresses.
    pub fn set_neighbours(&self, links: Links) {
        let _ = self.neighbours.set(links);
    }

    /// By clocks of one's own.
    fn by(state: Arc<State>, clocks: fn() -> Look) -> Arc<Self> {
        let clock = Mutex::new(Clock::start(&state, clocks));
        Arc::new(Self {
            state,
            clock,
            passwords: Passwords::default(),
            guesses: Mutex::default(),
            pairing: Mutex::default(),
            revoked: Mutex::default(),
            links: Mutex::default(),
            seeing: Arc::default(),
            neighbours: OnceLock::new(),
        })
    }

    /// What lasts.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Whether the device has an owner.
    pub fn paired(&self) -> bool {
        self.state.read(|l| l.owner.is_some())
    }

    /// The secret of a pairing link: whoever presents it within 15 minutes sets the owner's password. The one before is
    /// no longer good. It is not stored: after a restart there is none.
    ///
    /// # Errors
    /// No random numbers.
    pub fn pair(&self) -> Result<String, Error> {
        let secret = secret::<SHORT>()?;
        let until = self.running() + PAIRING;
        *lock(&self.pairing) = Some(Pairing { digest: Digest::of(&secret), until });
        Ok(secret)
    }
}

/// For the web.
impl Auth {
    /// The browser that presents this cookie.
    pub fn by_cookie(&self, secret: &str) -> Option<Principal> {
        let digest = Digest::of(secret);
        self.principal(Key::Session(digest)).or_else(|| self.principal(Key::Guest(digest)))
    }

    /// The program that presents this token.
    pub fn by_token(&self, secret: &str) -> Option<Principal> {
        self.principal(Key::Token(Digest::of(secret)))
    }

    /// When a live connection's principal has lost access, and why, in one sentence. Watching counts as use.
    pub async fn lost(&self, principal: &Principal) -> &'static str {
        let mut changes = self.state.changes();
        loop {
            match self.principal(principal.key) {
                Some(now) if now.cameras == principal.cameras => {}
                Some(_) => return "the owner has changed which cameras you may watch",
                None => break,
            }
            let _ = tokio::time::timeout(LOOK, changes.changed()).await;
        }
        match principal.key {
            Key::Session(_) => "you are no longer signed in",
            Key::Guest(_) => "this guest link has ended",
            Key::Token(_) => "this token was revoked",
        }
    }

    /// Whoever presents a guest link's secret, and for how many seconds more.
    ///
    /// # Errors
    /// There is no such link, or no longer.
    pub fn guest(&self, secret: &str, from: IpAddr) -> Result<(Principal, u64), Error> {
        const NO: &str = "this guest link is invalid or has expired; ask for a new one";
        let digest = Digest::of(secret);
        let expires =
            self.state.read(|l| l.guests.iter().find(|g| g.digest == digest).map(|g| g.expires_unix));
        let left = expires.map(|at| at.saturating_sub(self.time()));
        let guest = self.principal(Key::Guest(digest)).zip(left);
        guest.ok_or_else(|| self.wrong_link(NO, from))
    }

    /// Opens or closes a camera, with the microphones that no other uses, or all of them, for everybody.
    ///
    /// # Errors
    /// It could not be written, or the configuration demands privacy.
    pub async fn set_privacy(&self, on: bool, camera: Option<String>) -> Result<(), Error> {
        if !on && self.state.privacy_is_held() {
            return Err(Error::Conflict("device.toml sets privacy = true in [watching]; change it there"));
        }
        let change = move |l: &mut Lasting, _| match &camera {
            None => l.privacy = on,
            Some(camera) if on => l.private_cameras.extend([camera.clone()]),
            Some(camera) => l.private_cameras.retain(|name| name != camera),
        };
        self.restrict(change).await
    }

    /// These are all the cameras that there are: what was granted of others ends. Waits for the disk.
    pub fn keep_cameras(&self, cameras: &[String]) {
        if let Err(error) = self.state.restrict(|l| l.keep_cameras(cameras)) {
            tracing::debug!("{error}"); // the state says by itself that it can't be written
        }
    }

    /// Why the state can't be written, and what that means, in one sentence for the owner.
    pub fn unwritten(&self) -> Option<String> {
        self.state.unwritten().borrow().as_ref().map(ToString::to_string)
    }

    /// Removes what has ended, and writes what could not be written before, for ever.
    pub async fn keep_tidy(&self) {
        loop {
            if let Err(error) = self.restrict(|_, _| ()).await {
                tracing::debug!("{error}"); // the state says by itself that it can't be written
            }
            let state = self.state.clone();
            let _ = tokio::task::spawn_blocking(move || state.catch_up()).await; // it can't panic
            let most = if self.unwritten().is_some() { CATCH_UP } else { TIDY };
            let next =
                self.state.read(next_end).map(|at| Duration::from_secs(at.saturating_sub(self.time())));
            // What the clock has changed is written at once.
            let pause = next.map_or(most, |next| next.clamp(LOOK, most));
            let _ = tokio::time::timeout(pause, self.state.unsaved()).await;
        }
    }
}

impl Auth {
    fn principal(&self, key: Key) -> Option<Principal> {
        let now = self.time();
        let (principal, unseen) = self.state.read(|l| find(l, key, now))?;
        if unseen {
            self.see(key, now);
        }
        Some(principal)
    }

    /// Writes down that a session is in use, beside whatever goes on.
    fn see(&self, key: Key, now: u64) {
        let Key::Session(digest) = key else { return };
        if tokio::runtime::Handle::try_current().is_err() || self.seeing.swap(true, Ordering::Relaxed) {
            return;
        }
        let (state, seeing) = (self.state.clone(), self.seeing.clone());
        tokio::task::spawn_blocking(move || {
            let of = |s: &&mut Session| s.digest == digest;
            let written = state.change(|l| l.sessions.iter_mut().filter(of).for_each(|s| s.seen_unix = now));
            if let Err(error) = written {
                tracing::debug!("{error}"); // it costs the session nothing but an earlier end
            }
            seeing.store(false, Ordering::Relaxed);
        });
    }

    fn wrong_link(&self, says: &'static str, from: IpAddr) -> Error {
        match lock(&self.links).begin(Source::Stranger(self.source(from)), self.running()) {
            Ok(()) => {
                tracing::info!(address = %from, "wrong or expired link");
                Error::Wrong(says)
            }
            Err(wait) => Error::Wait(wait),
        }
    }

    fn source(&self, address: IpAddr) -> net::Source {
        let source = self.neighbours.get().map(|links| links.source(address));
        source.unwrap_or_else(|| net::Source::of(address, &[]))
    }

    /// Changes what lasts, on a thread that may wait for the disk, and removes what has ended by then.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Lasting, u64) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let dated = self.dated();
        self.on_disk(move |state| state.change(|l| dated.apply(l, change))).await
    }

    /// The same for what only takes away: it holds at once, also where the disk can't be written ([`State::restrict`]).
    async fn restrict<T: Send + 'static>(
        &self,
        change: impl Fn(&mut Lasting, u64) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let dated = self.dated();
        self.on_disk(move |state| state.restrict(|l| dated.apply(l, &change))).await
    }

    fn dated(&self) -> Dated {
        let now = self.time();
        Dated { now, adrift: lock(&self.clock).reckoning.adrift() }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T, state::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let state = self.state.clone();
        let done = tokio::task::spawn_blocking(move || work(&state)).await;
        Ok(done.map_err(|e| Error::Internal(format!("writing the state: {e}")))??)
    }
}

/// When a change is made.
#[derive(Clone, Copy)]
struct Dated {
    now: u64,
    adrift: Option<u64>,
}

impl Dated {
    fn apply<T>(self, l: &mut Lasting, change: impl FnOnce(&mut Lasting, u64) -> T) -> T {
        let (before, now) = (l.clone(), self.now);
        sweep(l, now);
        let result = change(l, now);
        // Seldom for its own sake: flash wears out.
        let step = if l.guests.is_empty() { DAY_S } else { HOUR_S };
        if *l != before || now >= l.known_unix.saturating_add(step) {
            (l.known_unix, l.adrift_unix) = (now, self.adrift);
        }
        result
    }
}

/// `N` random bytes in base64url.
fn secret<const N: usize>() -> Result<String, Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
