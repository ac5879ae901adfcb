//! The checks of `peercam doctor`: they examine the machine from outside the daemon and return findings. Small
//! functions read the facts, pure functions judge them.

pub mod clock;
pub mod devices;
pub mod firewall;
pub mod network;
pub mod ports;
pub mod storage;
pub mod stun;

use serde::{Deserialize, Serialize};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No problem.
    Ok,
    /// Possibly a problem, or not checkable.
    Warn,
    /// A problem.
    Bad,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The result.
    pub level: Level,
    /// What was checked, in a word or two.
    pub about: String,
    /// What was found, in a sentence.
    pub says: String,
    /// What to do about it, in a sentence.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding without a problem.
    pub fn ok(about: &str, says: impl Into<String>) -> Self {
        Self { level: Level::Ok, about: about.into(), says: says.into(), remedy: None }
    }

    /// A possible problem.
    pub fn warn(about: &str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, about: about.into(), says: says.into(), remedy: Some(remedy.into()) }
    }

    /// A problem.
    pub fn bad(about: &str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Bad, about: about.into(), says: says.into(), remedy: Some(remedy.into()) }
    }
}
