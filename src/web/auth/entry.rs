//! Signing in with a password or a pairing link, and changing passwords.

use std::net::IpAddr;

use super::guess::Source;
use super::password::{Passwords, Who};
use super::principal::{Key, holder};
use super::{Auth, Browser, DEVICE_S, Error, LONG, Principal, Role, SignedIn, lock, secret};
use crate::state::{Digest, KnownBrowser, Scope, Session};

const LINK_ENDED: &str =
    "this pairing link is no longer valid; `peercam pair` on the device prints a new one";

/// A new password, and whether guest links and tokens created under the old one stay valid.
#[derive(Clone, Copy)]
pub struct NewPassword<'a> {
    /// The password.
    pub text: &'a str,
    /// Whether links and tokens stay valid. Otherwise a new owner password ends them, because someone who knew the old
    /// one may have created some.
    pub keep_links: bool,
}

impl<'a> From<&'a str> for NewPassword<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, keep_links: false }
    }
}

impl Auth {
    /// Sets the owner's password or the household's ([`Role::Viewer`]), and ends the sessions of the old one. `cameras`
    /// are those that the household may watch from now on; `None` leaves them as they are.
    ///
    /// # Errors
    /// If the password is too short, or already used for the other role, or if the state can't be written. Guests have
    /// no password.
    pub async fn set_password(
        &self,
        role: Role,
        password: impl Into<NewPassword<'_>>,
        cameras: Option<Scope>,
    ) -> Result<(), Error> {
        let NewPassword { text, keep_links } = password.into();
        let hash = self.new_hash(role, text).await?;
        let watched = cameras.as_ref().map(|cameras| {
            let names = cameras.names().map(|names| names.iter().cloned().collect::<Vec<_>>().join(", "));
            names.unwrap_or_else(|| "all cameras".to_owned())
        });
        let change = self.change(move |l, _| {
            if let Some(cameras) = cameras {
                l.household_cameras = cameras;
            }
            l.new_password(role, hash, None, keep_links)
        });
        let ended = change.await?;
        tracing::info!("the {}'s password was set", role.as_str());
        if let Some(cameras) = watched {
            tracing::info!("the household may watch {cameras}");
        }
        log_ended(&ended);
        Ok(())
    }

    /// Removes the household's password.
    ///
    /// # Errors
    /// If the state can't be written.
    pub async fn remove_household_password(&self) -> Result<(), Error> {
        self.restrict(|l, _| l.replace_password(Role::Viewer, None, None)).await?;
        tracing::info!("the household's password was removed");
        Ok(())
    }

    /// Checks a pairing secret, for a page that is about to ask for a password.
    ///
    /// # Errors
    /// If the secret is wrong or too old.
    pub fn may_pair(&self, secret: &str, from: IpAddr) -> Result<(), Error> {
        let digest = Digest::of(secret);
        let good = lock(&self.pairing).as_ref().is_some_and(|p| p.is(digest, self.running()));
        if good { Ok(()) } else { Err(self.wrong_link(LINK_ENDED, from)) }
    }

    /// Makes the browser that presents the pairing secret the owner, with that password.
    ///
    /// # Errors
    /// If the secret is wrong or too old, or the password is not allowed.
    pub async fn pair_by(
        &self,
        secret: &str,
        password: impl Into<NewPassword<'_>>,
        browser: Browser<'_>,
    ) -> Result<SignedIn, Error> {
        let NewPassword { text, keep_links } = password.into();
        Passwords::check(text)?;
        self.may_pair(secret, browser.address)?;
        let digest = Digest::of(secret);
        let hash = self.new_hash(Role::Owner, text).await?;
        // If two requests were hashing at the same time, only one still finds the pairing here.
        let used =
            lock(&self.pairing).take_if(|p| p.is(digest, self.running())).ok_or(Error::Wrong(LINK_ENDED))?;
        let signed_in = self.sign_in(Role::Owner, browser, None, Some((hash, keep_links))).await;
        match &signed_in {
            Ok(_) => tracing::info!(address = %browser.address, "the device was paired"),
            Err(_) => *lock(&self.pairing) = Some(used), // allow another try
        }
        signed_in
    }

    /// Signs in with the owner's or the household's password. The browser's previous session ends.
    ///
    /// # Errors
    /// If the password is wrong, or after too many attempts.
    pub async fn login(
        &self,
        password: &str,
        browser: Browser<'_>,
        before: Option<&Principal>,
    ) -> Result<SignedIn, Error> {
        let (who, accounts) = self.accounts(&browser);
        let role = self.guess(who, &accounts, browser.address, password).await?;
        let signed_in = self.sign_in(role, browser, before, None).await?;
        tracing::info!(address = %browser.address, who = signed_in.principal.who, "signed in");
        Ok(signed_in)
    }

    /// Changes a password for the signed-in owner; an empty one removes the household's. Other sessions of that
    /// password end.
    ///
    /// # Errors
    /// If `old` is not the owner's password, if `new` is not allowed, or after too many wrong attempts.
    pub async fn change_password(
        &self,
        principal: &Principal,
        old: &str,
        role: Role,
        new: impl Into<NewPassword<'_>>,
        address: IpAddr,
    ) -> Result<(), Error> {
        let NewPassword { text, keep_links } = new.into();
        let remove = role == Role::Viewer && text.is_empty();
        if !remove {
            Passwords::check(text)?;
        }
        let digest = principal.key.digest();
        self.guess(Who::Owner, &[(Role::Owner, Source::Known(digest))], address, old).await?;
        let ended = if remove {
            self.restrict(move |l, _| l.replace_password(role, None, Some(digest))).await?;
            vec![]
        } else {
            let hash = self.new_hash(role, text).await?;
            self.change(move |l, _| l.new_password(role, hash, Some(digest), keep_links)).await?
        };
        tracing::info!(address = %address, "the {}'s password was changed", role.as_str());
        log_ended(&ended);
        Ok(())
    }

    /// Ends the session, or all sessions of its role. Guest links and tokens stay valid; they are revoked instead.
    ///
    /// # Errors
    /// If the state can't be written.
    pub async fn logout(&self, principal: &Principal, everywhere: bool) -> Result<(), Error> {
        let (Key::Session(digest), role) = (principal.key, principal.role) else { return Ok(()) };
        self.restrict(move |l, _| {
            l.sessions.retain(|s| if everywhere { s.role != role } else { s.digest != digest });
        })
        .await
    }
}

impl Auth {
    /// Who the browser is, the accounts that it may try, and its source for each: known to an account whose password it
    /// has used before, otherwise a stranger. So someone who knows the household's password guesses the owner's as
    /// slowly as anybody else.
    fn accounts(&self, browser: &Browser<'_>) -> (Who, Vec<(Role, Source)>) {
        let stranger = self.source(browser.address);
        let (known, household) = (self.known(browser), self.state.read(|l| l.household.is_some()));
        let who = match known {
            Some((_, Role::Owner)) => Who::Owner,
            Some(_) => Who::Household,
            None => Who::Stranger(stranger),
        };
        let source = |least| match known {
            Some((digest, role)) if role >= least => Source::Known(digest),
            _ => Source::Stranger(stranger),
        };
        let roles = if household { &[Role::Owner, Role::Viewer][..] } else { &[Role::Owner] };
        (who, roles.iter().map(|role| (*role, source(*role))).collect())
    }

    /// The browser's cookie of an earlier login, and the highest role that it has signed in as.
    fn known(&self, browser: &Browser<'_>) -> Option<(Digest, Role)> {
        let (digest, now) = (Digest::of(browser.device?), self.time());
        self.state.read(|l| {
            let device = l.devices.iter().find(|d| d.digest == digest)?;
            (now < device.seen_unix.saturating_add(DEVICE_S)).then_some((digest, device.role))
        })
    }

    /// One attempt at the passwords of these accounts; returns the matching role.
    async fn guess(
        &self,
        who: Who,
        accounts: &[(Role, Source)],
        from: IpAddr,
        password: &str,
    ) -> Result<Role, Error> {
        let begun = lock(&self.guesses).begin(accounts, self.running()).map_err(Error::Wait)?;
        let hash = |role| self.state.read(|l| l.password(role).clone()).map(|hash| (role, hash));
        let hashes = begun.roles().filter_map(hash).collect();
        let answer = self.passwords.whose(who, password, hashes).await;
        match &answer {
            // The limits on attempts also limit these lines.
            Ok(None) => tracing::info!(address = %from, "wrong password"),
            Ok(Some(role)) => lock(&self.guesses).right(&begun, *role, self.running()),
            Err(_) => lock(&self.guesses).take_back(&begun),
        }
        answer?.ok_or(match begun.wait {
            Some(wait) => Error::Wait(wait), // it may be the password of an account that had to wait
            None => Error::Wrong("wrong password"),
        })
    }

    async fn is_password(&self, role: Role, password: &str) -> Result<bool, Error> {
        match self.state.read(|l| l.password(role).clone()) {
            Some(hash) => Ok(self.passwords.whose(Who::Owner, password, vec![(role, hash)]).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Checks and hashes a new password. It must differ from the other role's, or the household would sign in as the
    /// owner.
    async fn new_hash(&self, role: Role, password: &str) -> Result<String, Error> {
        Passwords::check(password)?;
        let other = match role {
            Role::Owner => Role::Viewer,
            Role::Viewer => Role::Owner,
            Role::Guest => return Err(Error::Refused("guests have no password; create a guest link")),
        };
        if self.is_password(other, password).await? {
            return Err(Error::Refused("owner and household need different passwords"));
        }
        self.passwords.hash(Who::Owner, password).await
    }

    /// Creates a session, by a password or by pairing (which sets the owner's `password`, and may keep links and
    /// tokens).
    async fn sign_in(
        &self,
        role: Role,
        browser: Browser<'_>,
        before: Option<&Principal>,
        password: Option<(String, bool)>,
    ) -> Result<SignedIn, Error> {
        let session = secret::<LONG>()?;
        // A browser that has signed in before keeps its cookie and its highest role.
        let known = self.known(&browser);
        let device = match (known, browser.device) {
            (Some(_), Some(device)) => device.to_owned(),
            _ => secret::<LONG>()?,
        };
        let known_as = known.map_or(role, |(_, known_as)| known_as.max(role));
        let (of_session, of_device) = (Digest::of(&session), Digest::of(&device));
        let before = before.map(|p| p.key);
        let change = self.change(move |l, now| {
            let ended = password.map(|(hash, keep)| l.new_password(Role::Owner, hash, None, keep));
            l.sessions.retain(|s| before != Some(Key::Session(s.digest)));
            l.add_session(Session { digest: of_session, role, created_unix: now, seen_unix: now });
            l.add_device(KnownBrowser { digest: of_device, role: known_as, seen_unix: now });
            ended.unwrap_or_default()
        });
        log_ended(&change.await?);
        let cameras = self.state.read(|l| l.cameras(role));
        let principal = Principal { role, cameras, who: holder(role).into(), key: Key::Session(of_session) };
        Ok(SignedIn { principal, session, device })
    }
}

/// Logs which guest links and tokens a new password has ended.
fn log_ended(ended: &[String]) {
    for who in ended {
        tracing::info!(who, "ended because of the owner's new password");
    }
}
