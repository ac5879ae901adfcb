//! Turns the kernel's errors into sentences for viewers.

use std::path::Path;
use std::time::Duration;
use std::{fs, io, thread};

use super::bus;
use super::raw::{self, Node, zeroed};
use crate::capture::Error;
use crate::text::shown;

/// How long a driver may take to remove a node after stopping the stream.
const VANISHING: Duration = Duration::from_millis(100);
/// How often to check during that time.
const LOOKS: u32 = 5;

/// Converts an error from opening or setting up `path`.
pub(super) fn opening(what: &str, path: &Path, source: io::Error) -> Error {
    let shown = path.display();
    match source.raw_os_error() {
        Some(libc::ENOENT) => Error::None(format!("{shown} does not exist")),
        Some(libc::ENODEV | libc::ENXIO) => Error::unplugged("camera"),
        Some(libc::EBUSY) => Error::busy(match holder(path) {
            Some(who) => format!("{shown} (open in {who})"),
            None => shown.to_string(),
        }),
        Some(libc::EACCES | libc::EPERM) => Error::denied(format!(
            "{shown} (add this user to the device's group, usually `video`, and log in again)"
        )),
        Some(libc::ENOSPC) => Error::Unusable(bus::no_room(path)),
        Some(libc::EPIPE) => Error::Unusable(format!(
            "{shown} is part of a camera pipeline that must be set up first; try `libcamerify peercam`"
        )),
        _ => Error::io(format_args!("{what} {shown}"), &source),
    }
}

/// Converts an error while streaming from `path`, which is open as `node`: unplugged, or something else.
pub(super) fn streaming(node: &Node, path: &Path, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => return Error::unplugged("camera"),
        Some(libc::EPIPE) => return Error::changed(),
        _ => {}
    }
    // Drivers stop the stream first (EINVAL or EIO here) and remove the node a moment later.
    for look in 0..LOOKS {
        if look > 0 {
            thread::sleep(VANISHING / LOOKS);
        }
        if is_gone(node, path) {
            return Error::unplugged("camera");
        }
    }
    Error::io(format_args!("reading from {}", path.display()), &source)
}

fn is_gone(node: &Node, path: &Path) -> bool {
    let alive = node.call(raw::QUERYCAP, &mut zeroed());
    alive.is_err_and(|e| e.raw_os_error() == Some(libc::ENODEV)) || !path.exists()
}

/// A different program that has `path` open, if we may see it, such as "ffmpeg, process 812".
fn holder(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let name = process.file_name();
        let Some(id) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        if files.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == path)) {
            if id == std::process::id() {
                continue;
            }
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{}, process {id}", shown(name.trim())));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(errno: i32) -> Error {
        opening("opening", Path::new("/dev/video9"), io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn each_says_what_to_do() {
        assert!(matches!(opened(libc::ENODEV), Error::Unavailable(why) if why == "camera unplugged"));
        assert!(opened(libc::EACCES).to_string().contains("group, usually `video`"));
        assert!(opened(libc::ENOENT).to_string().contains("/dev/video9 does not exist"));
        assert!(opened(libc::EBUSY).to_string().contains("in use by"));
        assert!(opened(libc::ENOSPC).to_string().contains("MJPG"));
        assert!(opened(libc::EINVAL).to_string().starts_with("opening /dev/video9: "));
    }
}
