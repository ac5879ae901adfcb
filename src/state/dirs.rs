//! The default folders for the state.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// A folder that outlasts the daemon until the board restarts: systemd's `RuntimeDirectory=` with
/// `RuntimeDirectoryPreserve=yes`. `None` without systemd.
pub fn runtime_dir() -> Option<PathBuf> {
    first(&std::env::var_os("RUNTIME_DIRECTORY")?)
}

/// The first of the folders that systemd has created; several are separated by colons (systemd.exec(5)).
fn first(dirs: &OsStr) -> Option<PathBuf> {
    let first = dirs.as_bytes().split(|byte| *byte == b':').next()?;
    (!first.is_empty()).then(|| OsStr::from_bytes(first).into())
}

/// The default state folder: systemd's `StateDirectory=`; `/var/lib/peercam` for root; otherwise a folder of the user's
/// (XDG Base Directory Specification).
pub fn default_dir() -> PathBuf {
    let root = nix::unistd::geteuid().is_root();
    usual_dir(|name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from), root)
}

pub(super) fn usual_dir(env: impl Fn(&str) -> Option<PathBuf>, root: bool) -> PathBuf {
    if let Some(dir) = env("STATE_DIRECTORY").and_then(|dirs| first(dirs.as_os_str())) {
        return dir;
    }
    if root {
        return "/var/lib/peercam".into();
    }
    let state = env("XDG_STATE_HOME").filter(|p| p.is_absolute());
    let home = || env("HOME").unwrap_or_else(|| "/".into()).join(".local/state");
    state.unwrap_or_else(home).join("peercam")
}
