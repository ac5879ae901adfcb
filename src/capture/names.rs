//! Persistent names of cameras. udev creates them as links: in `/dev/v4l/by-id` by the camera's identity, in
//! `/dev/v4l/by-path` by the port that it is plugged into.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::Error;
use super::v4l2::node;
use crate::text::is_plain;

/// Directory of the links.
const LINKS: &str = "/dev/v4l";
/// Directory of udev's database, with one file for each device.
const DATABASE: &str = "/run/udev/data";

/// The names of a camera that stay the same when its node gets a different number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Name in `/dev/v4l/by-id`. `None` if another camera has the same one: identical cameras without serial
    /// numbers share one link, which leads to either of them.
    pub by_id: Option<String>,
    /// Name in `/dev/v4l/by-path`.
    pub by_path: Option<String>,
}

/// The node that a configured name leads to.
pub fn resolve(name: &str) -> Result<PathBuf, Error> {
    resolve_below(Path::new(LINKS), name)
}

fn resolve_below(links: &Path, name: &str) -> Result<PathBuf, Error> {
    let paths = match name.starts_with('/') {
        true => vec![PathBuf::from(name)],
        false => ["by-id", "by-path"].map(|folder| links.join(folder).join(name)).into(),
    };
    // udev removes the links of a camera that is unplugged, so a missing link means that it is not plugged
    // in.
    let found = paths.iter().find_map(|path| fs::canonicalize(path).ok());
    found.ok_or_else(|| Error::None(format!("{name} is not plugged in")))
}

/// The names of all nodes.
pub fn all() -> BTreeMap<PathBuf, Names> {
    let known: Vec<_> = node::all().iter().filter_map(|node| known(node)).collect();
    names_below(Path::new(LINKS), &shared(&known))
}

/// What udev knows about a node (`sd-device` keeps it in a file named after the device's numbers).
fn known(node: &Path) -> Option<String> {
    let device = fs::metadata(node).ok()?.rdev();
    let file = format!("c{}:{}", major(device), minor(device));
    fs::read_to_string(Path::new(DATABASE).join(file)).ok()
}

/// The names in `by-id` that more than one node claims, according to udev's database. Its lines with an S are
/// links.
fn shared(known: &[String]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let names = known.iter().flat_map(|known| known.lines()).filter_map(|l| l.strip_prefix("S:v4l/by-id/"));
    names.filter(|name| !seen.insert(*name)).map(String::from).collect()
}

fn names_below(links: &Path, shared: &BTreeSet<String>) -> BTreeMap<PathBuf, Names> {
    let mut all: BTreeMap<PathBuf, Names> = BTreeMap::new();
    for (node, name) in links_in(&links.join("by-id")) {
        if !shared.contains(&name) {
            all.entry(node).or_default().by_id.get_or_insert(name);
        }
    }
    for (node, name) in links_in(&links.join("by-path")) {
        all.entry(node).or_default().by_path.get_or_insert(name);
    }
    all
}

/// The nodes and names in `folder`, by name. Names that can't be displayed are left out, as nobody could copy
/// them.
fn links_in(folder: &Path) -> Vec<(PathBuf, String)> {
    let links = fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |link: &fs::DirEntry| link.file_name().into_string().ok().filter(|name| is_plain(name));
    let mut all: Vec<_> =
        links.filter_map(|link| Some((fs::canonicalize(link.path()).ok()?, name(&link)?))).collect();
    all.sort_by(|(_, a), (_, b)| a.cmp(b));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A directory like `/dev`, removed on drop.
    struct Dev(PathBuf);

    impl Dev {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("peercam-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            for folder in ["by-id", "by-path"] {
                fs::create_dir_all(dir.join("v4l").join(folder)).expect("a folder");
            }
            Self(fs::canonicalize(dir).expect("there"))
        }

        fn links(&self) -> PathBuf {
            self.0.join("v4l")
        }

        fn node(&self, name: &str) -> PathBuf {
            fs::write(self.0.join(name), "").expect("a node");
            self.0.join(name)
        }

        fn link(&self, link: &str, node: &str) {
            symlink(Path::new("../..").join(node), self.links().join(link)).expect("a link");
        }
    }

    impl Drop for Dev {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_name_means_the_node_that_its_link_leads_to_now() {
        let dev = Dev::new("link");
        let (by_id, by_path) = ("usb-Webcam-video-index0", "pci-0000:00:14.0-usb-0:4:1.0-video-index0");
        let full = dev.links().join("by-path").join(by_path).display().to_string();
        let resolved = |name: &str| resolve_below(&dev.links(), name);
        for number in ["video0", "video2"] {
            let node = dev.node(number);
            dev.link(&format!("by-id/{by_id}"), number);
            dev.link(&format!("by-path/{by_path}"), number);
            for name in [by_id, by_path, &full] {
                assert_eq!(resolved(name).expect("there"), node, "{name}");
            }
            fs::remove_file(node).expect("unplugged");
            for name in [by_id, by_path, &full] {
                assert!(
                    matches!(resolved(name), Err(Error::None(why)) if why.ends_with("is not plugged in"))
                );
            }
            for link in [format!("by-id/{by_id}"), format!("by-path/{by_path}")] {
                fs::remove_file(dev.links().join(link)).expect("a link");
            }
        }
    }

    #[test]
    fn equal_cameras_are_told_apart_by_their_ports() {
        let dev = Dev::new("equal");
        let [first, second, other] = ["video0", "video2", "video4"].map(|name| dev.node(name));
        let (equal, unlike) = ("usb-046d_0825-video-index0", "usb-046d_C920_1234-video-index0");
        let port = |n| format!("pci-0000:00:14.0-usb-0:{n}:1.0-video-index0");
        let database =
            |name: &str, n| format!("S:v4l/by-path/{}\nS:v4l/by-id/{name}\nE:ID_BUS=usb\n", port(n));
        // One link that both cameras claim.
        dev.link(&format!("by-id/{equal}"), "video2");
        dev.link(&format!("by-id/{unlike}"), "video4");
        for (n, node) in [(1, "video0"), (2, "video2"), (3, "video4")] {
            dev.link(&format!("by-path/{}", port(n)), node);
        }
        // Newer versions of systemd include the USB revision in a second name.
        dev.link("by-path/pci-0000:00:14.0-usbv2-0:1:1.0-video-index0", "video0");
        let shared = shared(&[database(equal, 1), database(equal, 2), database(unlike, 3)]);
        let names = |by_id: Option<&str>, n| Names { by_id: by_id.map(String::from), by_path: Some(port(n)) };
        let expected =
            [(first, names(None, 1)), (second, names(None, 2)), (other, names(Some(unlike), 3))].into();
        assert_eq!(names_below(&dev.links(), &shared), expected);
    }
}
