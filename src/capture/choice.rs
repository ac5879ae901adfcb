//! The chosen camera and its modes: the result of looking for cameras, and the input for opening one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::modes::Picked;

/// The camera to open, and its modes.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Path of the node.
    pub path: PathBuf,
    /// Name of the device.
    pub name: String,
    /// Why this camera was chosen, in one sentence.
    pub why: String,
    /// Modes in the order in which to try them; at least one.
    pub modes: Vec<Picked>,
    /// Controls to set.
    pub controls: BTreeMap<String, i64>,
    /// Problems with the configured controls, one sentence each. The daemon skips these controls; `peercam
    /// check` reports a failure.
    pub problems: Vec<String>,
}
