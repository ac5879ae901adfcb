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
//! only thing that can be guessed, so the limits of [`guess`] are about them; who presents a secret of 128 bits is never
//! refused for what others did.
//!
//! Times of day decide about sessions and links, since both outlast a restart; `reckoning` is about boards whose clock
//! jumps by years. What does not outlast one (pairing links, waits after wrong passwords) goes by how long the board has
//! been running.

mod error;
mod facts;
pub mod guess;
mod password;
mod principal;
mod reckoning;
mod time;

pub use crate::state::Role;
pub use error::Error;
pub use facts::{GuestFacts, NewGuest, TokenFacts};
pub use principal::{DEVICE_S, Principal, SESSION_S};

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use self::time::Clock;
use crate::state::{Device, Digest, Guest, Lasting, Session, State, Token};
use guess::{Guesses, Source};
use password::Passwords;
use principal::{DAY_S, HOUR_S, Key, find, holder, sweep};
use reckoning::Look;

/// Longest life of a guest link: a year.
pub const MOST_HOURS: u64 = 365 * 24;
/// How long a pairing link is good: time to fetch a phone, too little to find it in an old log.
pub const PAIRING: Duration = Duration::from_secs(15 * 60);
/// How often a live connection is held against the clock; that something was revoked is noticed at once.
const LOOK: Duration = Duration::from_secs(1);
/// How often what has ended is removed, so that it stays ended whatever the clock does.
const SWEEP: Duration = Duration::from_secs(600);
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
    guesses: Mutex<Guesses>,
    pairing: Mutex<Option<Pairing>>,
    /// Wrong secrets of links: they are beyond guessing, so only answers and log lines are slowed, and no right one.
    links: Mutex<Guesses>,
    /// Some session's use is being written down.
    seeing: Arc<AtomicBool>,
    clock: Mutex<Clock>,
}

impl Auth {
    /// For what was stored.
    pub fn new(state: Arc<State>) -> Arc<Self> {
        Self::by(state, Look::now)
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
            links: Mutex::default(),
            seeing: Arc::default(),
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

    /// The secret of a pairing link: whoever presents it within 15 minutes sets the owner's password. The one before is no
    /// longer good. It is not stored: after a restart there is none.
    ///
    /// # Errors
    /// No random numbers.
    pub fn pair(&self) -> Result<String, Error> {
        let secret = secret::<SHORT>()?;
        let until = self.running() + PAIRING;
        *lock(&self.pairing) = Some(Pairing { digest: Digest::of(&secret), until });
        Ok(secret)
    }

    /// Sets the owner's password, or the household's ([`Role::Viewer`]), and ends the sessions that came by the one before.
    ///
    /// # Errors
    /// The password is too short, or it is the other role's; guests have none.
    pub async fn set_password(&self, role: Role, password: &str) -> Result<(), Error> {
        let hash = self.new_hash(role, password).await?;
        self.change(move |l, _| l.replace_password(role, Some(hash), None)).await?;
        tracing::info!("the {}'s password was set", role.as_str());
        Ok(())
    }

    /// From now on only the owner has a password.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn remove_household_password(&self) -> Result<(), Error> {
        self.change(|l, _| l.replace_password(Role::Viewer, None, None)).await?;
        tracing::info!("the household's password was removed");
        Ok(())
    }

    /// A new token; its secret is not to be had again. Waits for the disk.
    ///
    /// # Errors
    /// The name is taken or none, or there are 64 tokens already.
    pub fn add_token(&self, name: &str, role: Role) -> Result<String, Error> {
        let name = label(name)?;
        let secret = secret::<LONG>()?;
        let now = self.time();
        let token = Token { name, role, digest: Digest::of(&secret), created_unix: now };
        self.state.change(|l| {
            if l.tokens.iter().any(|t| t.name == token.name) {
                return Err(Error::Conflict("there is a token of that name; revoke it first"));
            }
            if l.tokens.len() >= Lasting::MOST_TOKENS {
                return Err(Error::Conflict("there are 64 tokens already; revoke one first"));
            }
            tracing::info!(name = token.name, role = role.as_str(), "token added");
            l.tokens.push(token);
            Ok(())
        })??;
        Ok(secret)
    }

    /// All tokens, the oldest first.
    pub fn tokens(&self) -> Vec<TokenFacts> {
        let facts =
            |t: &Token| TokenFacts { name: t.name.clone(), role: t.role, created_unix: t.created_unix };
        self.state.read(|l| l.tokens.iter().map(facts).collect())
    }

    /// It is no longer good; whoever watches by it is cut off. Waits for the disk.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn revoke_token(&self, name: &str) -> Result<(), Error> {
        let removed = self.state.change(|l| {
            let before = l.tokens.len();
            l.tokens.retain(|t| t.name != name);
            l.tokens.len() < before
        })?;
        if !removed {
            return Err(Error::Unknown("there is no token of that name"));
        }
        tracing::info!(name, "token revoked");
        Ok(())
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
        while self.principal(principal.key).is_some() {
            let _ = tokio::time::timeout(LOOK, changes.changed()).await;
        }
        match principal.key {
            Key::Session(_) => "you are no longer signed in",
            Key::Guest(_) => "this guest link has ended",
            Key::Token(_) => "this token was revoked",
        }
    }

    /// Makes the one who presents the pairing secret the owner, with that password.
    ///
    /// # Errors
    /// The secret is wrong or too old; the password is not fit.
    pub async fn pair_by(
        &self,
        secret: &str,
        password: &str,
        browser: Browser<'_>,
    ) -> Result<SignedIn, Error> {
        const NO: &str = "this pairing link is no longer good; `peercam pair` on the device prints a new one";
        Passwords::check(password)?;
        let digest = Digest::of(secret);
        if !lock(&self.pairing).as_ref().is_some_and(|p| p.is(digest, self.running())) {
            return Err(self.wrong_link(NO, browser.address));
        }
        let hash = self.new_hash(Role::Owner, password).await?;
        // Of two that were hashing at the same time only one finds it here.
        let used = lock(&self.pairing).take_if(|p| p.is(digest, self.running())).ok_or(Error::Wrong(NO))?;
        let signed_in = self.sign_in(Role::Owner, browser, None, Some(hash)).await;
        match &signed_in {
            Ok(_) => tracing::info!(address = %browser.address, "the device was paired"),
            Err(_) => *lock(&self.pairing) = Some(used), // for another try
        }
        signed_in
    }

    /// Signs in by the owner's or the household's password. The session that the browser had before ends.
    ///
    /// # Errors
    /// It is neither; or too many were wrong before.
    pub async fn login(
        &self,
        password: &str,
        browser: Browser<'_>,
        before: Option<&Principal>,
    ) -> Result<SignedIn, Error> {
        let source = self.source(&browser);
        let role = self.guess(source, browser.address, self.whose(password)).await?;
        let signed_in = self.sign_in(role, browser, before, None).await?;
        tracing::info!(address = %browser.address, who = signed_in.principal.who, "signed in");
        Ok(signed_in)
    }

    /// The owner, signed in, changes a password; an empty one for the household removes it. Other sessions of that
    /// password end.
    ///
    /// # Errors
    /// `old` is not the owner's; `new` is not fit; or too many were wrong before.
    pub async fn change_password(
        &self,
        principal: &Principal,
        old: &str,
        role: Role,
        new: &str,
        address: IpAddr,
    ) -> Result<(), Error> {
        let remove = role == Role::Viewer && new.is_empty();
        if !remove {
            Passwords::check(new)?;
        }
        let (Key::Session(digest) | Key::Guest(digest) | Key::Token(digest)) = principal.key;
        let owner = async { Ok(self.is_password(Role::Owner, old).await?.then_some(Role::Owner)) };
        self.guess(Source::Known(digest), address, owner).await?;
        let hash = if remove { None } else { Some(self.new_hash(role, new).await?) };
        self.change(move |l, _| l.replace_password(role, hash, Some(digest))).await?;
        tracing::info!(address = %address, "the {}'s password was changed", role.as_str());
        Ok(())
    }

    /// Ends the session, or all of its role. A guest's link goes on, and so does a token: those are revoked.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn logout(&self, principal: &Principal, everywhere: bool) -> Result<(), Error> {
        let (Key::Session(digest), role) = (principal.key, principal.role) else { return Ok(()) };
        self.change(move |l, _| {
            l.sessions.retain(|s| if everywhere { s.role != role } else { s.digest != digest });
        })
        .await
    }

    /// Whoever presents a guest link's secret, and for how many seconds more.
    ///
    /// # Errors
    /// There is no such link, or no longer.
    pub fn guest(&self, secret: &str, from: IpAddr) -> Result<(Principal, u64), Error> {
        const NO: &str = "this guest link is not good, or no longer; ask for a new one";
        let digest = Digest::of(secret);
        let expires =
            self.state.read(|l| l.guests.iter().find(|g| g.digest == digest).map(|g| g.expires_unix));
        let left = expires.map(|at| at.saturating_sub(self.time()));
        let guest = self.principal(Key::Guest(digest)).zip(left);
        guest.ok_or_else(|| self.wrong_link(NO, from))
    }

    /// A new guest link, good for `hours`.
    ///
    /// # Errors
    /// The label or the hours are not fit, or there are 64 links already.
    pub async fn add_guest(&self, label_: &str, hours: u64) -> Result<NewGuest, Error> {
        if !(1..=MOST_HOURS).contains(&hours) {
            return Err(Error::Refused("hours must be 1 to 8760"));
        }
        let (label, id, secret) = (label(label_)?, secret::<8>()?, secret::<SHORT>()?);
        let new = NewGuest { id: id.clone(), secret, expires_unix: self.time() + hours * HOUR_S };
        let (digest, expires_unix) = (Digest::of(&new.secret), new.expires_unix);
        self.change(move |l, now| {
            if l.guests.len() >= Lasting::MOST_GUESTS {
                return Err(Error::Conflict("there are 64 guest links already; revoke one first"));
            }
            tracing::info!(label, hours, "guest link made");
            l.guests.push(Guest { id, label, digest, created_unix: now, expires_unix });
            Ok(())
        })
        .await??;
        Ok(new)
    }

    /// All guest links that are still good, the oldest first.
    pub fn guests(&self) -> Vec<GuestFacts> {
        let now = self.time();
        let facts = |g: &Guest| GuestFacts {
            id: g.id.clone(),
            label: g.label.clone(),
            created_unix: g.created_unix,
            expires_unix: g.expires_unix,
        };
        self.state.read(|l| l.guests.iter().filter(|g| now < g.expires_unix).map(facts).collect())
    }

    /// It is no longer good; whoever watches by it is cut off.
    ///
    /// # Errors
    /// There is no such link.
    pub async fn revoke_guest(&self, id: &str) -> Result<(), Error> {
        let wanted = id.to_owned();
        let removed = self.change(move |l, _| {
            let at = l.guests.iter().position(|g| g.id == wanted)?;
            Some(l.guests.remove(at))
        });
        let guest = removed.await?.ok_or(Error::Unknown("there is no such guest link; it may have ended"))?;
        tracing::info!(label = guest.label, "guest link revoked");
        Ok(())
    }

    /// Opens or closes camera and microphone for everybody.
    ///
    /// # Errors
    /// It could not be written, or the configuration demands privacy.
    pub async fn set_privacy(&self, on: bool) -> Result<(), Error> {
        if !on && self.state.privacy_is_held() {
            return Err(Error::Conflict(
                "device.toml says privacy = true under [watching]; it is changed there",
            ));
        }
        self.change(move |l, _| l.privacy = on).await
    }

    /// Removes what has ended, now and then, for ever.
    pub async fn keep_tidy(&self) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            sweep.tick().await;
            if let Err(error) = self.change(|_, _| ()).await {
                tracing::warn!("{error}");
            }
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
        match lock(&self.links).begin(Source::stranger(from), self.running()) {
            Ok(()) => {
                tracing::info!(address = %from, "a wrong or outdated link");
                Error::Wrong(says)
            }
            Err(wait) => Error::Wait(wait),
        }
    }

    fn source(&self, browser: &Browser<'_>) -> Source {
        let now = self.time();
        let known = |l: &Lasting, digest: Digest| {
            l.devices.iter().any(|d| d.digest == digest && now < d.seen_unix.saturating_add(DEVICE_S))
        };
        match browser.device.map(Digest::of) {
            Some(digest) if self.state.read(|l| known(l, digest)) => Source::Known(digest),
            _ => Source::stranger(browser.address),
        }
    }

    /// One try at a password: `answer` says whose it is.
    async fn guess(
        &self,
        source: Source,
        from: IpAddr,
        answer: impl Future<Output = Result<Option<Role>, Error>>,
    ) -> Result<Role, Error> {
        lock(&self.guesses).begin(source, self.running()).map_err(Error::Wait)?;
        let answer = answer.await;
        match &answer {
            Ok(Some(_)) => lock(&self.guesses).right(source),
            // The limits bound these lines, too.
            Ok(None) => tracing::info!(address = %from, "a wrong password"),
            Err(_) => lock(&self.guesses).take_back(source),
        }
        answer?.ok_or(Error::Wrong("that is not the password"))
    }

    /// Whose password it is.
    async fn whose(&self, password: &str) -> Result<Option<Role>, Error> {
        for role in [Role::Owner, Role::Viewer] {
            if self.is_password(role, password).await? {
                return Ok(Some(role));
            }
        }
        Ok(None)
    }

    async fn is_password(&self, role: Role, password: &str) -> Result<bool, Error> {
        match self.state.read(|l| l.password(role).clone()) {
            Some(hash) => self.passwords.verify(password, &hash).await,
            None => Ok(false),
        }
    }

    /// Of a password that is to be: fit, and not the other role's (whoever knows that would be let in as the owner).
    async fn new_hash(&self, role: Role, password: &str) -> Result<String, Error> {
        Passwords::check(password)?;
        let other = match role {
            Role::Owner => Role::Viewer,
            Role::Viewer => Role::Owner,
            Role::Guest => return Err(Error::Refused("guests have no password; make a guest link")),
        };
        if self.is_password(other, password).await? {
            return Err(Error::Refused("owner and household need different passwords"));
        }
        self.passwords.hash(password).await
    }

    /// A new session, by a password or by pairing (which sets the owner's `password`).
    async fn sign_in(
        &self,
        role: Role,
        browser: Browser<'_>,
        before: Option<&Principal>,
        password: Option<String>,
    ) -> Result<SignedIn, Error> {
        let session = secret::<LONG>()?;
        // One that has logged in before keeps its cookie.
        let device = match (self.source(&browser), browser.device) {
            (Source::Known(_), Some(device)) => device.to_owned(),
            _ => secret::<LONG>()?,
        };
        let (of_session, of_device) = (Digest::of(&session), Digest::of(&device));
        let before = before.map(|p| p.key);
        self.change(move |l, now| {
            if password.is_some() {
                l.replace_password(Role::Owner, password, None);
            }
            l.sessions.retain(|s| before != Some(Key::Session(s.digest)));
            l.add_session(Session { digest: of_session, role, created_unix: now, seen_unix: now });
            l.add_device(Device { digest: of_device, role, seen_unix: now });
        })
        .await?;
        let principal = Principal { role, who: holder(role).into(), key: Key::Session(of_session) };
        Ok(SignedIn { principal, session, device })
    }

    /// Changes what lasts, on a thread that may wait for the disk, and removes what has ended by then.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Lasting, u64) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (state, now) = (self.state.clone(), self.time());
        let adrift = lock(&self.clock).reckoning.adrift();
        let changed = tokio::task::spawn_blocking(move || {
            state.change(|l| {
                let before = l.clone();
                sweep(l, now);
                let result = change(l, now);
                // Seldom for its own sake: flash wears out.
                let step = if l.guests.is_empty() { DAY_S } else { HOUR_S };
                if *l != before || now >= l.known_unix.saturating_add(step) {
                    (l.known_unix, l.adrift_unix) = (now, adrift);
                }
                result
            })
        });
        Ok(changed.await.map_err(|e| Error::Internal(format!("writing what must last: {e}")))??)
    }
}

/// A name for a list: short, and nothing that could forge a line of a log.
fn label(text: &str) -> Result<String, Error> {
    let text = text.trim();
    let fits = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or(Error::Refused("a name has 1 to 64 characters, and no line breaks"))
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
