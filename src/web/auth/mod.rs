//! Authentication: passwords, sessions, tokens, guest links and pairing.
//!
//! | credential | presented as | made by | ends |
//! |---|---|---|---|
//! | owner's password | `POST /api/login` | pairing, `peercam passwd`, the page | when replaced |
//! | household's password (may watch) | the same | the owner | when replaced or removed |
//! | session (256 random bits) | cookie | signing in | after 14 days unused, after 90 days, by logout or a new password |
//! | guest link (128 bits) | cookie | the owner | when it expires or is revoked |
//! | token (256 bits) | `Authorization: Bearer` | `peercam token add` | when revoked |
//! | pairing secret (128 bits) | `POST /api/pair` | the first start, `peercam pair` | when used or replaced, after 15 min |
//!
//! A [`Principal`] represents a presented credential; [`Auth::lost`] tells when the credential is no longer valid. Only
//! digests of secrets are stored ([`crate::state`]). Only passwords can be guessed, so the limits of [`guess`] apply to
//! them only: a secret of 128 bits is never refused because of others.
//!
//! Sessions and links outlast a restart, so they expire by the time of day; `reckoning` handles boards whose clock
//! jumps by years. Everything else (pairing links, waits after wrong passwords) uses the time since the board started.

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

/// Longest validity of a guest link, hours: a year.
pub const MOST_HOURS: u64 = 365 * 24;
/// How long a pairing link is valid: long enough to fetch a phone, too short to be useful from an old log.
pub const PAIRING: Duration = Duration::from_secs(15 * 60);
/// How long revoking a guest link can be undone: long enough to notice a mistake.
pub const UNDO: Duration = Duration::from_secs(20);
/// How often a live connection's expiry is checked against the clock; revocation is noticed at once.
const LOOK: Duration = Duration::from_secs(1);
/// How often the state is checked for being writable, and expired credentials are removed. They are also removed when
/// they expire, so that they stay invalid regardless of the clock.
const TIDY: Duration = Duration::from_secs(600);
/// How often a failed write of the state is retried.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Size in bytes of long-lived secrets, and of secrets in links.
const LONG: usize = 32;
const SHORT: usize = 16;

/// A browser that tries to sign in.
#[derive(Clone, Copy, Debug)]
pub struct Browser<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Its cookie of an earlier login.
    pub device: Option<&'a str>,
}

/// The result of a sign-in.
pub struct SignedIn {
    /// The principal.
    pub principal: Principal,
    /// Secret of the session.
    pub session: String,
    /// Secret of the browser, by which it is known from now on.
    pub device: String,
}

impl fmt::Debug for SignedIn {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignedIn").field(&self.principal).finish()
    }
}

/// A valid pairing link.
struct Pairing {
    digest: Digest,
    /// Expiry, as time since the board started.
    until: Duration,
}

impl Pairing {
    fn is(&self, digest: Digest, now: Duration) -> bool {
        self.digest == digest && now < self.until
    }
}

/// Authentication and its state.
pub struct Auth {
    state: Arc<State>,
    passwords: Passwords,
    guesses: Mutex<Accounts>,
    pairing: Mutex<Option<Pairing>>,
    /// The guest link that was revoked last.
    revoked: Mutex<Option<Revoked>>,
    /// Limits answers and log lines for wrong secrets of links. Right ones never wait, because they can't be guessed.
    links: Mutex<Guesses>,
    /// Whether the use of a session is being written.
    seeing: Arc<AtomicBool>,
    clock: Mutex<Clock>,
    /// This machine's links, which tell who is a neighbour.
    neighbours: OnceLock<Links>,
}

impl Auth {
    /// Authentication with the stored state.
    pub fn new(state: Arc<State>) -> Arc<Self> {
        Self::by(state, Look::now)
    }

    /// Makes neighbours on these links count by address. Call it once: the links follow this machine's addresses.
    pub fn set_neighbours(&self, links: Links) {
        let _ = self.neighbours.set(links);
    }

    /// The same with other clocks, for tests.
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

    /// The persistent state.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Whether the device has an owner.
    pub fn paired(&self) -> bool {
        self.state.read(|l| l.owner.is_some())
    }

    /// Creates the secret of a pairing link, which lets its holder set the owner's password within 15 minutes. It
    /// replaces the previous one. It is not stored, so it ends with the daemon.
    ///
    /// # Errors
    /// If there are no random numbers.
    pub fn pair(&self) -> Result<String, Error> {
        let secret = secret::<SHORT>()?;
        let until = self.running() + PAIRING;
        *lock(&self.pairing) = Some(Pairing { digest: Digest::of(&secret), until });
        Ok(secret)
    }
}

/// Used by the web server.
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

    /// Waits until a live connection's principal has lost access; returns why, in one sentence. Watching counts as use.
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

    /// The principal of a guest link's secret, and its remaining validity in seconds.
    ///
    /// # Errors
    /// If there is no such link, or it has expired.
    pub fn guest(&self, secret: &str, from: IpAddr) -> Result<(Principal, u64), Error> {
        const NO: &str = "this guest link is invalid or has expired; ask for a new one";
        let digest = Digest::of(secret);
        let expires =
            self.state.read(|l| l.guests.iter().find(|g| g.digest == digest).map(|g| g.expires_unix));
        let left = expires.map(|at| at.saturating_sub(self.time()));
        let guest = self.principal(Key::Guest(digest)).zip(left);
        guest.ok_or_else(|| self.wrong_link(NO, from))
    }

    /// Turns privacy on or off for a camera, with the microphones that no other camera uses, or for all cameras.
    ///
    /// # Errors
    /// If the state can't be written, or the configuration turns privacy on.
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

    /// Ends all grants for cameras other than these. Waits for the disk.
    pub fn keep_cameras(&self, cameras: &[String]) {
        if let Err(error) = self.state.restrict(|l| l.keep_cameras(cameras)) {
            tracing::debug!("{error}"); // the state itself logs that it can't be written
        }
    }

    /// Why the state can't be written, and the consequences, in one sentence for the owner.
    pub fn unwritten(&self) -> Option<String> {
        self.state.unwritten().borrow().as_ref().map(ToString::to_string)
    }

    /// Removes expired credentials and retries failed writes. Never returns.
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
            // Write changes due to a set clock at once.
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

    /// Notes in the state that a session is in use, in the background.
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
                tracing::debug!("{error}"); // the session may only end earlier
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

    /// Changes the state on a blocking thread, and removes expired credentials.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Lasting, u64) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let dated = self.dated();
        self.on_disk(move |state| state.change(|l| dated.apply(l, change))).await
    }

    /// The same for restrictions, which apply at once, even if the disk can't be written ([`State::restrict`]).
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

/// The time of a change.
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
        // Rarely written for its own sake, because flash wears out.
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
