//! Which camera to open, and how: what looking for cameras ends with, and opening one begins with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::modes::Picked;

/// The camera to open, and how.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its node.
    pub path: PathBuf,
    /// What the device calls itself.
    pub name: String,
    /// Why this one, in one sentence.
    pub why: String,
    /// Modes to try in this order; there is at least one.
    pub modes: Vec<Picked>,
    /// Controls to set.
    pub controls: BTreeMap<String, i64>,
    /// What is wrong with those, one sentence each. They are left out then; `peercam check` calls it a failure.
    pub problems: Vec<String>,
}
