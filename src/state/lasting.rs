//! The types of the persistent state.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Digest, Scope};

/// Versions of the format that are written. The second is used if cameras are named, because an older daemon must not
/// read such a file and ignore the restriction to some cameras.
pub(super) const VERSIONS: [u32; 2] = [1, 2];

/// What somebody may do. Each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Watch, for a limited time.
    Guest,
    /// Watch, take snapshots, read the status.
    Viewer,
    /// Everything.
    Owner,
}

impl Role {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Viewer => "viewer",
            Self::Owner => "owner",
        }
    }
}

/// A token for programs, presented as `Authorization: Bearer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// A unique name, chosen by the owner.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The cameras that it allows.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    pub cameras: Scope,
    /// Digest of the secret.
    pub digest: Digest,
    /// Time of creation, seconds of Unix time.
    pub created_unix: u64,
}

/// A link that lets somebody watch for a limited time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Identifier for lists and URLs; not a secret.
    pub id: String,
    /// A label, chosen by the owner.
    pub label: String,
    /// Digest of the secret.
    pub digest: Digest,
    /// The cameras that it allows.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    pub cameras: Scope,
    /// Time of creation, seconds of Unix time.
    pub created_unix: u64,
    /// Time of expiry, seconds of Unix time.
    pub expires_unix: u64,
}

/// A browser that is signed in with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Of its cookie.
    pub digest: Digest,
    /// Whose password was used: [`Role::Owner`] or [`Role::Viewer`].
    pub role: Role,
    /// Time of sign-in, seconds of Unix time.
    pub created_unix: u64,
    /// Approximate time of last use, seconds of Unix time.
    pub seen_unix: u64,
}

/// A browser that was signed in once: guesses by strangers never delay its sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBrowser {
    /// Of its cookie.
    pub digest: Digest,
    /// Whose password was used last.
    pub role: Role,
    /// Time of the last sign-in, seconds of Unix time.
    pub seen_unix: u64,
}

/// The persistent state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasting {
    pub(super) version: u32,
    /// Hash of the owner's password (argon2id, PHC string); `None` if the device has no owner yet.
    pub owner: Option<String>,
    /// There never was an owner. A file without an owner and without this is damaged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unpaired: bool,
    /// Hash of the household's password, if there is one.
    pub household: Option<String>,
    /// The cameras that the household may watch.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    pub household_cameras: Scope,
    /// At most [`Lasting::MOST_TOKENS`]; more are refused.
    #[serde(default)]
    pub tokens: Vec<Token>,
    /// At most [`Lasting::MOST_GUESTS`]; more are refused.
    #[serde(default)]
    pub guests: Vec<Guest>,
    /// At most [`Lasting::MOST_SESSIONS`]; a new one replaces the longest unused, viewers' first.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// At most [`Lasting::MOST_DEVICES`]; a new one replaces the longest unused, viewers' first.
    #[serde(default)]
    pub devices: Vec<KnownBrowser>,
    /// All cameras and microphones stay closed.
    #[serde(default)]
    pub privacy: bool,
    /// These cameras stay closed, and the microphones that no other camera uses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub private_cameras: BTreeSet<String>,
    /// The latest time known: a clock that shows much less at the next start is wrong.
    #[serde(default)]
    pub known_unix: u64,
    /// Dates from this time on were set without a clock that could be believed.
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
    /// Most tokens.
    pub const MOST_TOKENS: usize = 64;
    /// Most guest links at the same time.
    pub const MOST_GUESTS: usize = 64;
    /// Most browsers that are signed in.
    pub const MOST_SESSIONS: usize = 256;
    /// Most browsers that are remembered.
    pub const MOST_DEVICES: usize = 64;

    /// All scopes in the state.
    fn scopes(&self) -> impl Iterator<Item = &Scope> {
        let (tokens, guests) = (self.tokens.iter(), self.guests.iter());
        let named = tokens.map(|t| &t.cameras).chain(guests.map(|g| &g.cameras));
        named.chain([&self.household_cameras])
    }

    /// Sets the version to write.
    pub(super) fn set_version(&mut self) {
        let names_cameras = !self.private_cameras.is_empty() || self.scopes().any(|scope| !scope.is_all());
        self.version = VERSIONS[usize::from(names_cameras)];
    }

    /// Removes all other cameras from grants. Privacy keeps their names: a camera that comes back is still private.
    pub fn keep_cameras(&mut self, cameras: &[String]) {
        self.tokens.iter_mut().for_each(|t| t.cameras.keep(cameras));
        self.guests.iter_mut().for_each(|g| g.cameras.keep(cameras));
        self.household_cameras.keep(cameras);
    }

    /// Adds a session. Viewers who sign in repeatedly never displace the owner.
    pub fn add_session(&mut self, session: Session) {
        push(&mut self.sessions, session, Self::MOST_SESSIONS, |s| (s.role, s.seen_unix));
    }

    /// Remembers a browser, or updates it.
    pub fn add_device(&mut self, device: KnownBrowser) {
        self.devices.retain(|d| d.digest != device.digest);
        push(&mut self.devices, device, Self::MOST_DEVICES, |d| (d.role, d.seen_unix));
    }
}

/// Adds an item. If the list is full, the item with the least worth is removed first.
fn push<T, K: Ord>(list: &mut Vec<T>, item: T, most: usize, worth: impl Fn(&T) -> K) {
    while list.len() >= most {
        let least = list.iter().enumerate().min_by_key(|(_, item)| worth(item)).map(|(i, _)| i);
        list.remove(least.unwrap_or_default());
    }
    list.push(item);
}
