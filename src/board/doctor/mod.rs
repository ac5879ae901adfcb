//! What `peercam doctor` looks at: the machine, from outside the daemon. Each look ends in findings. Small functions read
//! what they are made from, pure ones judge it.

pub mod clock;
pub mod devices;
pub mod firewall;
pub mod network;
pub mod ports;
pub mod storage;
pub mod stun;

use serde::{Deserialize, Serialize};

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It may do harm, or could not be seen.
    Warn,
    /// It does not work so.
    Bad,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How it stands.
    pub level: Level,
    /// What it is, in a word or two.
    pub about: String,
    /// How it stands, in a sentence.
    pub says: String,
    /// What to do about it, in a sentence.
    pub remedy: Option<String>,
}

impl Finding {
    /// All well.
    pub fn ok(about: &str, says: impl Into<String>) -> Self {
        Self { level: Level::Ok, about: about.into(), says: says.into(), remedy: None }
    }

    /// Perhaps not well.
    pub fn warn(about: &str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, about: about.into(), says: says.into(), remedy: Some(remedy.into()) }
    }

    /// Not well.
    pub fn bad(about: &str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Bad, about: about.into(), says: says.into(), remedy: Some(remedy.into()) }
    }
}
