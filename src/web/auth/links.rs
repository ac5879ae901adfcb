//! Guest links and tokens, which the owner creates, lists and revokes.

use std::time::Duration;

use super::principal::HOUR_S;
use super::{
    Auth, Error, GuestFacts, LONG, MOST_HOURS, NewGuest, Role, SHORT, TokenFacts, UNDO, lock, secret,
};
use crate::state::{Digest, Guest, Lasting, Scope, Token};
use crate::text;

/// A guest link that was revoked.
pub(super) struct Revoked {
    guest: Guest,
    /// Time up to which this can be undone, as time since the board started.
    until: Duration,
}

impl Auth {
    /// Creates a token for these cameras and returns its secret, this once. Waits for the disk.
    ///
    /// # Errors
    /// If the name is taken or not allowed, if there are 64 tokens already, or if the role is owner but the scope is
    /// not all cameras.
    pub fn add_token(&self, name: &str, role: Role, cameras: Scope) -> Result<String, Error> {
        let name = label(name)?;
        if role == Role::Owner && !cameras.is_all() {
            // An owner's token could create another one for all cameras.
            return Err(Error::Refused("a token with the role owner allows all cameras; leave --camera out"));
        }
        let secret = secret::<LONG>()?;
        let now = self.time();
        let token =
            Token { name: name.clone(), role, cameras, digest: Digest::of(&secret), created_unix: now };
        self.state.change(|l| {
            if l.tokens.iter().any(|t| t.name == token.name) {
                return Err(Error::Conflict("a token with this name already exists; revoke it first"));
            }
            if l.tokens.len() >= Lasting::MOST_TOKENS {
                return Err(Error::Conflict("there are 64 tokens already; revoke one first"));
            }
            l.tokens.push(token);
            Ok(())
        })??;
        tracing::info!(name, role = role.as_str(), "token added");
        Ok(secret)
    }

    /// All tokens, the oldest first.
    pub fn tokens(&self) -> Vec<TokenFacts> {
        let facts = |t: &Token| TokenFacts {
            name: text::shown(&t.name),
            role: t.role,
            cameras: t.cameras.clone(),
            created_unix: t.created_unix,
        };
        self.state.read(|l| l.tokens.iter().map(facts).collect())
    }

    /// The names of all guest links and tokens, which a new owner password ends, and whether there is a household
    /// password.
    pub fn issued(&self) -> serde_json::Value {
        let guests: Vec<_> = self.guests().into_iter().map(|g| g.label).collect();
        let tokens: Vec<_> = self.tokens().into_iter().map(|t| t.name).collect();
        let household = self.state.read(|l| l.household.is_some());
        serde_json::json!({"guests": guests, "tokens": tokens, "household": household})
    }

    /// Revokes a token and disconnects its viewers. Waits for the disk.
    ///
    /// # Errors
    /// If there is no token with this name.
    pub fn revoke_token(&self, name: &str) -> Result<(), Error> {
        let removed = self.state.restrict(|l| {
            let before = l.tokens.len();
            // The name as shown in lists is accepted, too.
            l.tokens.retain(|t| t.name != name && text::shown(&t.name) != name);
            l.tokens.len() < before
        })?;
        if !removed {
            return Err(Error::Unknown("there is no token with this name"));
        }
        tracing::info!(name = text::shown(name), "token revoked");
        Ok(())
    }

    /// Creates a guest link to these cameras, valid for `hours`.
    ///
    /// # Errors
    /// If the label or the hours are not allowed, or if there are 64 links already.
    pub async fn add_guest(&self, label_: &str, hours: u64, cameras: Scope) -> Result<NewGuest, Error> {
        if !(1..=MOST_HOURS).contains(&hours) {
            return Err(Error::Refused("hours must be 1 to 8760"));
        }
        let (label, id, secret) = (label(label_)?, secret::<8>()?, secret::<SHORT>()?);
        let new = NewGuest { id: id.clone(), secret, expires_unix: self.time() + hours * HOUR_S };
        let (digest, expires_unix) = (Digest::of(&new.secret), new.expires_unix);
        let name = label.clone();
        self.change(move |l, now| {
            if l.guests.len() >= Lasting::MOST_GUESTS {
                return Err(Error::Conflict("there are 64 guest links already; revoke one first"));
            }
            l.guests.push(Guest { id, label, cameras, digest, created_unix: now, expires_unix });
            Ok(())
        })
        .await??;
        tracing::info!(label = name, hours, "guest link created");
        Ok(new)
    }

    /// All valid guest links, the oldest first.
    pub fn guests(&self) -> Vec<GuestFacts> {
        let now = self.time();
        let facts = |g: &Guest| GuestFacts {
            id: g.id.clone(),
            label: text::shown(&g.label),
            cameras: g.cameras.clone(),
            created_unix: g.created_unix,
            expires_unix: g.expires_unix,
        };
        self.state.read(|l| l.guests.iter().filter(|g| now < g.expires_unix).map(facts).collect())
    }

    /// Revokes a guest link and disconnects its viewers.
    ///
    /// # Errors
    /// If there is no such link.
    pub async fn revoke_guest(&self, id: &str) -> Result<(), Error> {
        let wanted = id.to_owned();
        let removed = self.restrict(move |l, _| {
            let at = l.guests.iter().position(|g| g.id == wanted)?;
            Some(l.guests.remove(at))
        });
        let guest =
            removed.await?.ok_or(Error::Unknown("there is no such guest link; it may have expired"))?;
        tracing::info!(label = text::shown(&guest.label), "guest link revoked");
        *lock(&self.revoked) = Some(Revoked { guest, until: self.running() + UNDO });
        Ok(())
    }

    /// Restores the guest link that was revoked last, within [`UNDO`].
    ///
    /// # Errors
    /// If it is too late, or there are 64 links again.
    pub async fn restore_guest(&self, id: &str) -> Result<(), Error> {
        let now = self.running();
        let revoked = lock(&self.revoked).take_if(|r| r.guest.id == id && now < r.until);
        let revoked = revoked.ok_or(Error::Unknown("too late to undo; create a new link"))?;
        let label = text::shown(&revoked.guest.label);
        let guest = revoked.guest.clone();
        let restored = self.change(move |l, _| {
            if l.guests.len() >= Lasting::MOST_GUESTS {
                return Err(Error::Conflict("there are 64 guest links already; revoke one first"));
            }
            let at = l.guests.partition_point(|g| g.created_unix <= guest.created_unix);
            l.guests.insert(at, guest);
            Ok(())
        });
        let restored = restored.await.and_then(|restored| restored);
        match &restored {
            Ok(()) => tracing::info!(label, "guest link restored"),
            Err(_) => *lock(&self.revoked) = Some(revoked), // allow another try
        }
        restored
    }
}

/// Checks a name: it must be short and visible, and must not forge log lines or change the direction of text.
fn label(name: &str) -> Result<String, Error> {
    let name = name.trim();
    let fits = (1..=64).contains(&name.chars().count()) && text::is_plain(name);
    fits.then(|| name.to_owned()).ok_or(Error::Refused(
        "a name must have 1 to 64 characters, without line breaks, invisible characters or text direction marks",
    ))
}
