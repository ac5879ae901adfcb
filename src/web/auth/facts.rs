//! Public facts of tokens and guest links.

use crate::state::{Role, Scope};

/// A token, for lists.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TokenFacts {
    /// Name, chosen by the owner.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The cameras that it allows; null for all.
    #[serde(default)]
    pub cameras: Scope,
    /// Time of creation, seconds of Unix time.
    pub created_unix: u64,
}

/// A guest link, for lists.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GuestFacts {
    /// Identifier, for revoking.
    pub id: String,
    /// Label, chosen by the owner.
    pub label: String,
    /// The cameras that it allows; null for all.
    pub cameras: Scope,
    /// Time of creation, seconds of Unix time.
    pub created_unix: u64,
    /// Time of expiry, seconds of Unix time.
    pub expires_unix: u64,
}

/// A new guest link.
pub struct NewGuest {
    /// Identifier, for revoking.
    pub id: String,
    /// Secret of the link, which is returned only once.
    pub secret: String,
    /// Time of expiry, seconds of Unix time.
    pub expires_unix: u64,
}
