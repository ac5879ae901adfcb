//! The ports and devices that a running peercam uses. `peercam check` asks for them, so that it does not report them as
//! taken.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::listen::{self, Protocol};

/// Ports and devices of a running peercam.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// The process id.
    pub id: u32,
    /// The state folder, as an absolute path.
    pub state_dir: PathBuf,
    /// The ports that only this process has.
    pub ports: Vec<(Protocol, u16)>,
    /// Nodes of the open cameras.
    pub cameras: Vec<String>,
    /// ALSA names of the open microphones.
    pub microphones: Vec<String>,
}

impl Holdings {
    /// The ports and devices of this process. `cameras` are the nodes that it used last; those that are closed by now are
    /// left out. `microphones` are those that should be open; the kernel tells only whether any is.
    pub fn of_this_process(
        state_dir: &Path,
        cameras: impl IntoIterator<Item = String>,
        microphones: impl IntoIterator<Item = String>,
    ) -> Self {
        let files = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let open: Vec<_> = files.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        let is_capture =
            |path: &&PathBuf| path.starts_with("/dev/snd") && path.to_string_lossy().ends_with('c');
        let listens = open.iter().any(|path| is_capture(&path));
        Self {
            id: std::process::id(),
            state_dir: full(state_dir),
            ports: listen::ours(),
            cameras: cameras
                .into_iter()
                .filter(|node| open.iter().any(|path| path == Path::new(node)))
                .collect(),
            microphones: microphones.into_iter().filter(|_| listens).collect(),
        }
    }

    /// Whether the daemon has this port. If the kernel shows the owner of the port, that decides, because the daemon
    /// may run in a different network namespace.
    pub fn has(&self, protocol: Protocol, port: u16) -> bool {
        let others =
            || listen::owner(protocol, port).and_then(|owner| owner.id).is_some_and(|id| id != self.id);
        self.ports.contains(&(protocol, port)) && !others()
    }

    /// Whether `dir` is its state folder.
    pub fn keeps_state_in(&self, dir: &Path) -> bool {
        self.state_dir == full(dir)
    }
}

fn full(dir: &Path) -> PathBuf {
    fs::canonicalize(dir).unwrap_or_else(|_| dir.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_what_is_really_held_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let node = std::env::temp_dir().join(format!("peercam-node-{}", std::process::id()));
        let open = fs::File::create(&node).unwrap();
        let camera = node.display().to_string();
        let closed = "/dev/video987".to_owned();
        let cameras = || [closed.clone(), camera.clone()];
        let held = Holdings::of_this_process(Path::new("/proc/self/.."), cameras(), ["hw:1".into()]);
        assert_eq!((held.id, held.state_dir.as_path()), (std::process::id(), Path::new("/proc")));
        assert_eq!((&held.cameras, &held.microphones), (&vec![camera.clone()], &vec![]));
        assert!(held.has(Protocol::Tcp, port) && !held.has(Protocol::Udp, port));
        assert!(held.keeps_state_in(Path::new("/proc/")) && !held.keeps_state_in(Path::new("/")));
        // A different process claims our port.
        let other = Holdings { id: 1, ..held.clone() };
        assert!(!other.has(Protocol::Tcp, port));
        let told: Holdings = serde_json::from_value(serde_json::to_value(&held).unwrap()).unwrap();
        assert_eq!(told, held);
        drop((open, listener));
        fs::remove_file(&node).unwrap();
        let later = Holdings::of_this_process(Path::new("/"), cameras(), None);
        assert!(later.cameras.is_empty() && !later.has(Protocol::Tcp, port));
    }
}
