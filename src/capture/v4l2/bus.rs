//! Cameras that share a USB bus. Each camera reserves bandwidth when it starts, and often there is not enough
//! for two.

use std::path::Path;

use super::node;
use super::raw::Node;

/// Explains in one sentence why the bus has no bandwidth for the camera at `path`, and what to do.
pub(super) fn no_room(path: &Path) -> String {
    let bus = bus_of(path);
    let others = bus.as_deref().map(|bus| users(bus, path)).unwrap_or_default();
    sentence(&path.display().to_string(), bus.as_deref(), &others)
}

fn sentence(path: &str, bus: Option<&str>, others: &[String]) -> String {
    let bus = bus.map_or_else(|| "its USB bus".into(), |bus| format!("USB bus {bus}"));
    let others = match others {
        [] => String::new(),
        [other] => format!(", which {other} also uses"),
        [all @ .., last] => format!(", which {} and {last} also use", all.join(", ")),
    };
    format!(
        "{path}: not enough bandwidth left on {bus}{others}; use a port on a different bus, a smaller size, or \
         pixel_format = \"MJPG\""
    )
}

/// The bus in a driver's `bus_info`: "0000:01:00.0" in "usb-0000:01:00.0-1.2", which names the host
/// controller and the port.
fn controller(bus_info: &str) -> Option<&str> {
    bus_info.strip_prefix("usb-")?.rsplit_once('-').map(|(controller, _)| controller)
}

fn bus_of(path: &Path) -> Option<String> {
    let caps = Node::open(path).ok()?.caps().ok()?;
    controller(&caps.bus).map(Into::into)
}

/// The other cameras on `bus` that any program uses, as "/dev/video2 (HD Webcam)".
fn users(bus: &str, path: &Path) -> Vec<String> {
    let user = |other: std::path::PathBuf| {
        let node = Node::open(&other).ok()?;
        let caps = node.caps().ok()?;
        let here = controller(&caps.bus) == Some(bus) && other != path;
        let busy = here && node.is_busy(caps.capture_kind()?);
        busy.then(|| format!("{} ({})", other.display(), caps.card))
    };
    node::all().into_iter().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_told_from_its_ports() {
        assert_eq!(controller("usb-0000:01:00.0-1.2"), Some("0000:01:00.0"));
        assert_eq!(controller("usb-xhci-hcd.1-2"), Some("xhci-hcd.1"));
        assert_eq!(controller("usb-vhci_hcd.0-1"), Some("vhci_hcd.0"));
        assert_eq!(controller("platform:vivid-000"), None);
    }

    #[test]
    fn the_sentence_names_bus_and_users() {
        let says = |bus, others: &[&str]| {
            let others: Vec<_> = others.iter().map(|o| (*o).to_owned()).collect();
            sentence("/dev/video4", bus, &others)
        };
        let none = "/dev/video4: not enough bandwidth left on its USB bus; use a port on a different bus, \
                    a smaller size, or pixel_format = \"MJPG\"";
        assert_eq!(says(None, &[]), none);
        let two = says(Some("0000:01:00.0"), &["/dev/video0 (C920)", "/dev/video2 (C270)"]);
        assert!(two.contains(
            "on USB bus 0000:01:00.0, which /dev/video0 (C920) and /dev/video2 (C270) also use; use"
        ));
        assert!(says(Some("1"), &["/dev/video0 (C920)"]).contains(", which /dev/video0 (C920) also uses;"));
    }
}
