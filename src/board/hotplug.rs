//! Notices cameras and microphones that are added, removed or changed, without polling: the kernel reports changes of
//! their nodes in `/dev` (inotify(7)).
//!
//! udev's own messages are not used: they reach only its own network namespace, and are sent before links and
//! permissions are set. This module watches what an `open` depends on: nodes, their permissions, and their links in
//! `/dev/v4l`.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long to wait for further changes: plugging in a camera creates half a dozen nodes and links, and then sets their
/// permissions.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest delay of a report while changes keep coming.
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);

/// A watched folder: which names in it matter, and which subfolders are watched too. Subfolders come and go with the
/// devices. Parents come first in the list.
struct Folder {
    path: &'static str,
    matters: fn(&str) -> bool,
    folders: &'static [&'static str],
}

const FOLDERS: [Folder; 5] = [
    Folder { path: "", matters: is_camera, folders: &["v4l", "snd"] },
    Folder { path: "v4l", matters: |_| false, folders: &["by-id", "by-path"] },
    Folder { path: "v4l/by-id", matters: is_link, folders: &[] },
    Folder { path: "v4l/by-path", matters: is_link, folders: &[] },
    Folder { path: "snd", matters: is_microphone, folders: &[] },
];

/// `video0`
fn is_camera(name: &str) -> bool {
    name.strip_prefix("video").is_some_and(|n| n.parse::<u32>().is_ok())
}

/// `pcmC1D0c`, where c is for capture, and `controlC1`, the first node of a card to appear and the last to go.
fn is_microphone(name: &str) -> bool {
    name.starts_with("controlC") || name.starts_with("pcmC") && name.ends_with('c')
}

/// A link in its final place: udev creates links by temporary names and renames them.
fn is_link(name: &str) -> bool {
    !name.starts_with('.')
}

/// Counts changes of cameras and microphones until `stop`. Never fails: without the kernel's messages the count stays
/// the same, and missing devices are found by polling.
pub fn watch(stop: CancellationToken) -> watch::Receiver<u64> {
    watch_below(Path::new("/dev"), stop)
}

fn watch_below(dev: &Path, stop: CancellationToken) -> watch::Receiver<u64> {
    let (tell, told) = watch::channel(0);
    match Nodes::open(dev) {
        Ok(mut nodes) => {
            tokio::spawn(async move {
                if let Some(Err(error)) = stop.run_until_cancelled(nodes.follow(&tell)).await {
                    tracing::warn!("can no longer watch /dev ({error}); new devices are found by polling");
                }
            });
        }
        Err(error) => tracing::warn!("can't watch /dev ({error}); new devices are found by polling"),
    }
    told
}

/// An inotify descriptor that tokio can wait for.
struct Fd(Inotify);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

struct Nodes {
    dev: PathBuf,
    inotify: AsyncFd<Fd>,
    /// The existing folders.
    watched: HashMap<WatchDescriptor, &'static Folder>,
}

impl Nodes {
    fn open(dev: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // SAFETY: the descriptor belongs to the Inotify, which keeps it open as long as it lives.
        let inotify = unsafe { AsyncFd::register(Fd(inotify)) }?;
        let mut this = Self { dev: dev.to_owned(), inotify, watched: HashMap::new() };
        this.watch_folders()?;
        Ok(this)
    }

    /// Watches every existing folder; returns whether one is new.
    fn watch_folders(&mut self) -> io::Result<bool> {
        let changes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_ONLYDIR;
        let mut new = false;
        for folder in &FOLDERS {
            match self.inotify.get_ref().0.add_watch(&self.dev.join(folder.path), changes) {
                Ok(watch) => new |= self.watched.insert(watch, folder).is_none(),
                Err(Errno::ENOENT | Errno::ENOTDIR) if !folder.path.is_empty() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(new)
    }

    async fn follow(&mut self, tell: &watch::Sender<u64>) -> io::Result<()> {
        loop {
            self.change().await?;
            let settled = async {
                while let Ok(more) = tokio::time::timeout(SETTLE, self.change()).await {
                    more?;
                }
                Ok::<_, io::Error>(())
            };
            if let Ok(result) = tokio::time::timeout(SETTLE_AT_MOST, settled).await {
                result?;
            }
            tell.send_modify(|n| *n += 1);
            tracing::debug!("cameras or microphones have changed");
        }
    }

    /// Waits for a change that matters.
    async fn change(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let events = match ready.try_io(|fd| Ok(fd.get_ref().0.read_events()?)) {
                Ok(events) => events?,
                Err(_would_block) => continue,
            };
            let (mut matters, mut folders) = (false, false);
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    (matters, folders) = (true, true);
                } else if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.watched.remove(&event.wd); // the folder is gone
                } else if let Some(folder) = self.watched.get(&event.wd)
                    && let Some(name) = event.name.as_ref().and_then(|n| n.to_str())
                {
                    matters |= (folder.matters)(name);
                    folders |= folder.folders.contains(&name);
                }
            }
            // Files that were created before the folder was watched cause no event.
            matters |= folders && self.watch_folders()?;
            if matters {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// A folder that stands in for `/dev`, and its reported changes.
    struct Dev {
        path: PathBuf,
        told: watch::Receiver<u64>,
        stop: CancellationToken,
    }

    impl Dev {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("peercam-hotplug-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            let stop = CancellationToken::new();
            let told = watch_below(&path, stop.clone());
            Self { path, told, stop }
        }

        fn file(&self, name: &str) -> PathBuf {
            let path = self.path.join(name);
            fs::write(&path, "").unwrap();
            path
        }

        /// The number of changes reported from now on, until there are no more.
        async fn told(&mut self) -> u64 {
            let before = *self.told.borrow_and_update();
            while let Ok(changed) = tokio::time::timeout(4 * SETTLE, self.told.changed()).await {
                changed.unwrap();
            }
            *self.told.borrow() - before
        }
    }

    impl Drop for Dev {
        fn drop(&mut self) {
            self.stop.cancel();
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    #[tokio::test]
    async fn a_camera_comes_with_its_folders_and_goes() {
        let mut dev = Dev::new("camera");
        let node = dev.file("video0");
        dev.file("video1");
        fs::create_dir_all(dev.path.join("v4l/by-id")).unwrap();
        assert_eq!(dev.told().await, 1, "all of it at once");
        // The permissions are set last.
        fs::set_permissions(&node, fs::Permissions::from_mode(0o660)).unwrap();
        assert_eq!(dev.told().await, 1);
        // A different number with the same name, as udev does.
        let link = dev.path.join("v4l/by-id/usb-Webcam-index0");
        symlink("../../video0", link.with_file_name(".#link")).unwrap();
        fs::rename(link.with_file_name(".#link"), &link).unwrap();
        assert_eq!(dev.told().await, 1);
        fs::remove_dir_all(dev.path.join("v4l")).unwrap();
        fs::remove_file(node).unwrap();
        assert_eq!(dev.told().await, 1);
        // The second time, the folders are new.
        fs::create_dir_all(dev.path.join("v4l/by-id")).unwrap();
        dev.told().await;
        symlink("../../video2", &link).unwrap();
        assert_eq!(dev.told().await, 1);
    }

    #[tokio::test]
    async fn a_microphone_likewise() {
        let mut dev = Dev::new("microphone");
        fs::create_dir(dev.path.join("snd")).unwrap();
        dev.told().await;
        for name in ["snd/controlC1", "snd/pcmC1D0c"] {
            dev.file(name);
            assert_eq!(dev.told().await, 1, "{name}");
        }
    }

    #[tokio::test]
    async fn what_does_not_matter_wakes_nobody() {
        let mut dev = Dev::new("other");
        fs::create_dir(dev.path.join("snd")).unwrap();
        dev.told().await;
        for name in ["ttyUSB0", "videos", "video", "snd/pcmC0D0p", "snd/timer", "sda1", "v4l-subdev0"] {
            fs::remove_file(dev.file(name)).unwrap();
        }
        // Reading and writing a camera is not a change.
        let node = dev.file("video7");
        assert_eq!(dev.told().await, 1);
        for _ in 0..3 {
            fs::write(&node, "x").unwrap();
            fs::read(&node).unwrap();
        }
        assert_eq!(dev.told().await, 0);
    }

    #[tokio::test]
    async fn changes_without_end_are_told_all_the_same() {
        let mut dev = Dev::new("storm");
        let (mut told, mut pauses, started) = (0, 0, std::time::Instant::now());
        while started.elapsed() < SETTLE_AT_MOST * 5 / 2 {
            let change = std::time::Instant::now();
            fs::remove_file(dev.file("video0")).unwrap();
            tokio::time::sleep(SETTLE / 4).await;
            // On a busy machine there may be pauses long enough to settle.
            pauses += usize::from(change.elapsed() > SETTLE / 2);
            told = *dev.told.borrow_and_update();
        }
        assert!((1..=2 + pauses as u64).contains(&told), "{told}, with {pauses} pauses");
    }

    #[tokio::test]
    async fn no_such_folder_is_no_fault() {
        let dev = watch_below(Path::new("/nonexistent"), CancellationToken::new());
        assert_eq!(*dev.borrow(), 0);
    }
}
