//! What is told of tokens and guest links.

use crate::state::{Role, Scope};

/// A token, for lists.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TokenFacts {
    /// Chosen by the owner.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// For which cameras; null: all.
    #[serde(default)]
    pub cameras: Scope,
    /// Made at, seconds of Unix time.
    pub created_unix: u64,
}

/// A guest link, for lists.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GuestFacts {
    /// To revoke it by.
    pub id: String,
    /// Chosen by the owner.
    pub label: String,
    /// For which cameras; null: all.
    pub cameras: Scope,
    /// Made at, seconds of Unix time.
    pub created_unix: u64,
    /// Good until, seconds of Unix time.
    pub expires_unix: u64,
}

/// A guest link that was just made.
pub struct NewGuest {
    /// To revoke it by.
    pub id: String,
    /// For the link; not to be had again.
    pub secret: String,
    /// Good until, seconds of Unix time.
    pub expires_unix: u64,
}
