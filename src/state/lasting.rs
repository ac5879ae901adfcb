//! What lasts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Digest, Scope};

/// The formats that we write: the second where cameras are named. An older daemon must not make sense of a newer file by
/// leaving out what it doesn't know.
pub const VERSIONS: [u32; 2] = [1, 2];

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
    /// For which cameras.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    pub cameras: Scope,
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
    /// For which cameras.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    pub cameras: Scope,
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
    pub(super) version: u32,
    /// The owner's password (argon2id, PHC string); `None`: the device has no owner yet.
    pub owner: Option<String>,
    /// There never was an owner. A file without an owner that does not say so has lost him.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unpaired: bool,
    /// The password of those who may watch.
    pub household: Option<String>,
    /// Which cameras they may watch.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    pub household_cameras: Scope,
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
    /// All cameras and microphones stay closed.
    #[serde(default)]
    pub privacy: bool,
    /// These cameras stay closed, and the microphones that no other uses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub private_cameras: BTreeSet<String>,
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
            version: VERSIONS[0],
            owner: None,
            unpaired: true,
            household: None,
            household_cameras: Scope::ALL,
            tokens: vec![],
            guests: vec![],
            sessions: vec![],
            devices: vec![],
            privacy: false,
            private_cameras: BTreeSet::new(),
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

    /// Every scope in it.
    fn scopes(&self) -> impl Iterator<Item = &Scope> {
        let (tokens, guests) = (self.tokens.iter(), self.guests.iter());
        let named = tokens.map(|t| &t.cameras).chain(guests.map(|g| &g.cameras));
        named.chain([&self.household_cameras])
    }

    /// The version that it is to be written as.
    pub(super) fn set_version(&mut self) {
        let names_cameras = !self.private_cameras.is_empty() || self.scopes().any(|scope| !scope.is_all());
        self.version = VERSIONS[usize::from(names_cameras)];
    }

    /// These are all the cameras that there are. Other names grant nothing any more.
    pub fn keep_cameras(&mut self, cameras: &[String]) {
        self.tokens.iter_mut().for_each(|t| t.cameras.keep(cameras));
        self.guests.iter_mut().for_each(|g| g.cameras.keep(cameras));
        self.household_cameras.keep(cameras);
    }

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
