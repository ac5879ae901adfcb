//! What a credential allows, and until when. Pure logic over the state and the time of day.

use super::Role;
use crate::state::{Digest, Guest, Lasting, Scope, Session};
use crate::text;
use crate::viewer::{Credential, Holder};

/// Seconds of an hour.
pub(super) const HOUR_S: u64 = 3600;
/// Seconds of a day.
pub(super) const DAY_S: u64 = 24 * HOUR_S;
/// Time without use after which a session ends, seconds.
pub(super) const IDLE_S: u64 = 14 * DAY_S;
/// Longest duration of a session, seconds.
pub const SESSION_S: u64 = 90 * DAY_S;
/// Shortest time between writes of a session's last use, seconds; flash wears out.
pub(super) const SEEN_S: u64 = HOUR_S;
/// How long a browser that signed in is remembered, seconds.
pub const DEVICE_S: u64 = 365 * DAY_S;
/// How far the clock may have been set back since a guest link was created, seconds.
pub(super) const SET_BACK_S: u64 = 300;

/// An authenticated person or program, with its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The role.
    pub role: Role,
    /// The cameras that it may watch.
    pub cameras: Scope,
    /// Name for lists and the log: "owner", "household", "guest: LABEL", "token: NAME".
    pub who: String,
    /// The credential.
    pub key: Key,
}

impl Principal {
    /// The holder for limits, which count by credential, because several may have the same name or role.
    pub fn holder(&self) -> Holder {
        Holder {
            credential: Credential::new(self.key.digest().bytes()),
            owner: self.role == Role::Owner,
            household: self.role == Role::Viewer && matches!(self.key, Key::Session(_)),
        }
    }
}

/// A credential, by the digest of its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A session's cookie.
    Session(Digest),
    /// A guest link.
    Guest(Digest),
    /// A token.
    Token(Digest),
}

impl Key {
    /// The digest of the secret.
    pub fn digest(self) -> Digest {
        let (Self::Session(digest) | Self::Guest(digest) | Self::Token(digest)) = self;
        digest
    }
}

impl Lasting {
    /// The hash of a role's password.
    pub fn password(&self, role: Role) -> &Option<String> {
        match role {
            Role::Owner => &self.owner,
            Role::Viewer => &self.household,
            Role::Guest => &None,
        }
    }

    /// The cameras that a role may watch after signing in.
    pub fn cameras(&self, role: Role) -> Scope {
        if role == Role::Viewer { self.household_cameras.clone() } else { Scope::ALL }
    }

    /// Replaces a password and ends its sessions, except `keep`.
    pub fn replace_password(&mut self, role: Role, hash: Option<String>, keep: Option<Digest>) {
        match role {
            Role::Owner => self.owner = hash,
            Role::Viewer => self.household = hash,
            Role::Guest => return,
        }
        self.sessions.retain(|s| s.role != role || Some(s.digest) == keep);
    }

    /// Sets a new password. The owner's also ends guest links and tokens except `keep`, unless they should stay valid:
    /// someone who knew the old one may have created some. Returns the names of those that ended. The first owner's
    /// ends none.
    pub fn new_password(
        &mut self,
        role: Role,
        hash: String,
        keep: Option<Digest>,
        keep_links: bool,
    ) -> Vec<String> {
        let ends = role == Role::Owner && self.owner.is_some() && !keep_links;
        self.replace_password(role, Some(hash), keep);
        if !ends {
            return vec![];
        }
        let guests = self.guests.drain(..).map(|g| guest_name(&g.label));
        let mut ended: Vec<_> = guests.collect();
        self.tokens.retain(|t| {
            let stays = Some(t.digest) == keep;
            if !stays {
                ended.push(token_name(&t.name));
            }
            stays
        });
        ended
    }
}

fn guest_name(label: &str) -> String {
    format!("guest: {}", text::shown(label))
}

fn token_name(name: &str) -> String {
    format!("token: {}", text::shown(name))
}

/// The principal of a valid credential, and whether it is time to write its last use.
pub(super) fn find(l: &Lasting, key: Key, now: u64) -> Option<(Principal, bool)> {
    let (role, cameras, who, unseen) = match key {
        Key::Session(digest) => {
            let session = l.sessions.iter().find(|s| s.digest == digest && is_good(s, now))?;
            let unseen = now >= session.seen_unix.saturating_add(SEEN_S);
            (session.role, l.cameras(session.role), holder(session.role).to_owned(), unseen)
        }
        Key::Guest(digest) => {
            let good = |g: &&Guest| now < g.expires_unix && g.created_unix <= now.saturating_add(SET_BACK_S);
            let guest = l.guests.iter().find(|g| g.digest == digest).filter(good)?;
            (Role::Guest, guest.cameras.clone(), guest_name(&guest.label), false)
        }
        Key::Token(digest) => {
            let token = l.tokens.iter().find(|t| t.digest == digest)?;
            (token.role, token.cameras.clone(), token_name(&token.name), false)
        }
    };
    Some((Principal { role, cameras, who, key }, unseen))
}

fn is_good(session: &Session, now: u64) -> bool {
    now < session.seen_unix.saturating_add(IDLE_S) && now < session.created_unix.saturating_add(SESSION_S)
}

/// When the next session or guest link expires.
pub(super) fn next_end(l: &Lasting) -> Option<u64> {
    let sessions = l
        .sessions
        .iter()
        .map(|s| s.seen_unix.saturating_add(IDLE_S).min(s.created_unix.saturating_add(SESSION_S)));
    sessions.chain(l.guests.iter().map(|g| g.expires_unix)).min()
}

/// Removes expired credentials.
pub(super) fn sweep(l: &mut Lasting, now: u64) {
    l.sessions.retain(|s| is_good(s, now));
    l.guests.retain(|g| now < g.expires_unix);
    l.devices.retain(|d| now < d.seen_unix.saturating_add(DEVICE_S));
}

/// The name of a role's holder.
pub(super) fn holder(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Viewer => "household",
        Role::Guest => "guest",
    }
}
