//! Where state is kept unless somebody says otherwise.

use std::path::PathBuf;

/// A folder that outlasts us until the board's next start: systemd's `RuntimeDirectory=` with
/// `RuntimeDirectoryPreserve=yes`. `None` where nobody made one.
pub fn runtime_dir() -> Option<PathBuf> {
    let dirs = std::env::var_os("RUNTIME_DIRECTORY").filter(|d| !d.is_empty())?;
    // Several are separated by colons (systemd.exec(5)); the first is ours.
    dirs.to_str()?.split(':').next().filter(|d| !d.is_empty()).map(PathBuf::from)
}

/// Where the state is unless somebody says otherwise: systemd's `StateDirectory=`; `/var/lib/peercam` for root; else the
/// user's own (XDG Base Directory Specification).
pub fn default_dir() -> PathBuf {
    let root = nix::unistd::geteuid().is_root();
    usual_dir(|name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from), root)
}

pub(super) fn usual_dir(env: impl Fn(&str) -> Option<PathBuf>, root: bool) -> PathBuf {
    if let Some(dirs) = env("STATE_DIRECTORY") {
        // Several are separated by colons (systemd.exec(5)); the first is ours.
        let text = dirs.to_string_lossy();
        return text.split(':').next().unwrap_or_default().into();
    }
    if root {
        return "/var/lib/peercam".into();
    }
    let state = env("XDG_STATE_HOME").filter(|p| p.is_absolute());
    let home = || env("HOME").unwrap_or_else(|| "/".into()).join(".local/state");
    state.unwrap_or_else(home).join("peercam")
}
