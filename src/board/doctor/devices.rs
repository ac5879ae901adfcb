//! Checks the permissions of cameras and microphones.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::Finding;
use crate::config::{CameraDevice, Microphone};

/// Checks the nodes of cameras and microphones, as the current user. Root may open all. Devices that the configuration
/// does not use are not reported as missing.
pub fn look<'a>(
    mut cameras: impl Iterator<Item = &'a CameraDevice>,
    microphones: impl Iterator<Item = &'a Microphone>,
) -> Vec<Finding> {
    let nodes = |dir: &str, fits: fn(&str) -> bool| -> Vec<PathBuf> {
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut nodes: Vec<_> =
            names.filter(|n| n.file_name().to_str().is_some_and(fits)).map(|n| n.path()).collect();
        nodes.sort();
        nodes
    };
    let films = |n: &str| n.strip_prefix("video").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let records = |n: &str| n.starts_with("pcm") && n.ends_with('c');
    // The most demanding of the configured microphones.
    let microphone = microphones.max_by_key(|microphone| match microphone {
        Microphone::Off => 0,
        Microphone::Tone => 1,
        Microphone::Auto | Microphone::Device(_) => 2,
    });
    vec![
        match cameras.all(CameraDevice::is_built_in) {
            true => Finding::ok("cameras", "not needed: the test picture is configured"),
            false => judge("cameras", "video", &nodes("/dev", films), may_open),
        },
        match microphone {
            Some(Microphone::Tone) => Finding::ok("microphones", "not needed: the test tone is configured"),
            Some(Microphone::Off) => {
                Finding::ok("microphones", "not needed: sound is off in the configuration")
            }
            _ => judge("microphones", "audio", &nodes("/dev/snd", records), may_open),
        },
    ]
}

fn may_open(node: &Path) -> bool {
    access(node, AccessFlags::R_OK | AccessFlags::W_OK).is_ok()
}

fn judge(about: &str, group: &str, nodes: &[PathBuf], may_open: impl Fn(&Path) -> bool) -> Finding {
    let closed: Vec<String> =
        nodes.iter().filter(|n| !may_open(n)).map(|n| n.display().to_string()).collect();
    if nodes.is_empty() {
        return Finding::warn(
            about,
            "none plugged in, or the kernel has no driver for it",
            format!("plug one in, or check `dmesg` for driver errors; {about} are optional"),
        );
    }
    if closed.is_empty() {
        let all: Vec<String> = nodes.iter().map(|n| n.display().to_string()).collect();
        return Finding::ok(about, format!("permission to open {}", all.join(", ")));
    }
    Finding::bad(
        about,
        format!("no permission to open {}", closed.join(", ")),
        format!("`sudo usermod -a -G {group} USER`, then log in again or restart the service"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn nodes_may_be_opened_or_not_or_be_missing() {
        let nodes = ["/dev/video0", "/dev/video2"].map(PathBuf::from);
        assert_eq!(judge("cameras", "video", &[], |_| true).level, Level::Warn);
        assert_eq!(judge("cameras", "video", &nodes, |_| true).level, Level::Ok);
        let bad = judge("cameras", "video", &nodes, |n| n.ends_with("video0"));
        assert_eq!((bad.level, bad.says.as_str()), (Level::Bad, "no permission to open /dev/video2"));
    }

    #[test]
    fn what_the_configuration_does_not_use_is_not_missed() {
        for microphone in [Microphone::Tone, Microphone::Off] {
            let found = look([CameraDevice::Pattern].iter(), [microphone].iter());
            let says: Vec<_> = found.iter().map(|f| (f.level, f.remedy.is_none())).collect();
            assert_eq!(says, [(Level::Ok, true), (Level::Ok, true)], "{found:?}");
        }
        let about =
            |found: &[Finding]| found.iter().map(|f| f.says.contains("not needed")).collect::<Vec<_>>();
        assert_eq!(
            about(&look([CameraDevice::Pattern, CameraDevice::Auto].iter(), [Microphone::Off].iter())),
            [false, true]
        );
        assert_eq!(
            about(&look([CameraDevice::Pattern].iter(), [Microphone::Off, Microphone::Auto].iter())),
            [true, false]
        );
    }
}
