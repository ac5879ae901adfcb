//! Which modes of a camera have shown that they do not work, so that the next one is tried. Pure policy.
//!
//! Some webcams offer YUYV and stall in it, or fill its buffers only in part, and work in MJPG. What was found out holds
//! for this device until it is plugged in again, which [`Fallback::about`] sees, or until another mode is configured.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Error;
use super::modes::Picked;
use crate::media::frame::PixelFormat;

/// A mode that failed this many times in a row is given up ...
const FAILURES: u32 = 3;
/// ... or this many times by staying silent for as long as a slow camera may: that has taken long enough.
const SILENCES: u32 = 2;

/// A device node as it is now: one that is unplugged and plugged in again has another inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    path: PathBuf,
    inode: u64,
}

impl Device {
    /// The one at `path`.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), inode: fs::metadata(path).map_or(0, |node| node.ino()) }
    }
}

/// How a mode failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It gave no frame for as long as a slow camera may need.
    Silent,
    /// An error, or buffers without a picture.
    Broken,
}

impl Failure {
    /// What a camera's error says of its mode; `None` if that is not to blame.
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::Stalled(_) => Some(Self::Silent),
            Error::Unusable(_) => Some(Self::Broken),
            Error::None(_) | Error::Unavailable(_) => None,
        }
    }
}

/// What is known about the modes of one camera.
#[derive(Debug, Default)]
pub struct Fallback {
    device: Option<Device>,
    given_up: Vec<PixelFormat>,
    failures: u32,
    silences: u32,
}

impl Fallback {
    /// The camera is `device` now; what is known about another one is forgotten.
    pub fn about(&mut self, device: Device) {
        if self.device.as_ref() != Some(&device) {
            *self = Self { device: Some(device), ..Self::default() };
        }
    }

    /// Moves modes that were given up behind the others. Returns the best mode, if it is tried only later.
    pub fn order(&self, modes: &mut [Picked]) -> Option<PixelFormat> {
        let best = modes.first()?.format;
        modes.sort_by_key(|mode| self.given_up.contains(&mode.format)); // stable
        (modes.first()?.format != best).then_some(best)
    }

    /// The first of `modes` (as [`Fallback::order`] left them) failed. Returns how often it did, if the next mode is tried
    /// now. When none is left, all of them are tried once more.
    pub fn failed(&mut self, modes: &[PixelFormat], how: Failure) -> Option<u32> {
        self.failures += 1;
        self.silences += u32::from(how == Failure::Silent);
        if self.failures < FAILURES && self.silences < SILENCES {
            return None;
        }
        let failures = self.failures;
        self.worked();
        self.given_up.extend(modes.first());
        if modes.iter().all(|mode| self.given_up.contains(mode)) {
            self.given_up.clear();
        }
        (modes.len() > 1).then_some(failures)
    }

    /// The mode in use works: earlier failures were of another kind.
    pub fn worked(&mut self) {
        (self.failures, self.silences) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Failure::{Broken, Silent};
    use super::*;
    use crate::capture::modes::{FourCc, Interval};
    use crate::media::frame::Size;

    const YUYV: PixelFormat = PixelFormat::Yuyv;
    const MJPG: PixelFormat = PixelFormat::Mjpg;

    fn modes(formats: &[PixelFormat]) -> Vec<Picked> {
        let (fourcc, size, interval) = (FourCc(0), Size::new(640, 480), Interval::of_rate(30));
        formats.iter().map(|format| Picked { fourcc, format: *format, size, interval }).collect()
    }

    /// The formats in the order in which they are tried.
    fn tried(fallback: &Fallback, formats: &[PixelFormat]) -> Vec<PixelFormat> {
        let mut modes = modes(formats);
        fallback.order(&mut modes);
        modes.iter().map(|mode| mode.format).collect()
    }

    fn device(inode: u64) -> Device {
        Device { path: "/dev/video0".into(), inode }
    }

    #[test]
    fn the_next_mode_is_tried_after_a_few_failures_and_remembered() {
        for failures in [&[Broken, Broken, Broken][..], &[Silent, Silent], &[Broken, Silent, Broken]] {
            let mut fallback = Fallback::default();
            fallback.about(device(1));
            for (n, how) in failures.iter().enumerate() {
                assert_eq!(tried(&fallback, &[YUYV, MJPG]), [YUYV, MJPG]);
                let told = fallback.failed(&[YUYV, MJPG], *how);
                assert_eq!(told, (n + 1 == failures.len()).then_some(failures.len() as u32));
            }
            fallback.about(device(1));
            assert_eq!(tried(&fallback, &[YUYV, MJPG]), [MJPG, YUYV]);
            assert_eq!(fallback.order(&mut modes(&[YUYV, MJPG])), Some(YUYV));
            assert_eq!(fallback.order(&mut modes(&[MJPG, YUYV])), None, "the best one anyway");
            fallback.about(device(2));
            assert_eq!(tried(&fallback, &[YUYV, MJPG]), [YUYV, MJPG], "plugged in again");
        }
    }

    #[test]
    fn a_failure_now_and_then_is_no_reason() {
        let mut fallback = Fallback::default();
        for _ in 0..20 {
            assert_eq!(fallback.failed(&[YUYV, MJPG], Broken), None);
            assert_eq!(fallback.failed(&[YUYV, MJPG], Silent), None);
            fallback.worked();
        }
        assert_eq!(tried(&fallback, &[YUYV, MJPG]), [YUYV, MJPG]);
    }

    #[test]
    fn where_none_works_all_are_tried_in_turn() {
        let mut fallback = Fallback::default();
        let all = [PixelFormat::Nv12, YUYV, MJPG];
        let mut seen = vec![];
        for _ in 0..12 {
            let order = tried(&fallback, &all);
            seen.push(order[0]);
            fallback.failed(&order, Silent);
        }
        assert_eq!(
            seen,
            all.map(|mode| [mode; 2]).into_iter().flatten().cycle().take(12).collect::<Vec<_>>()
        );
        for _ in 0..10 {
            assert_eq!(fallback.failed(&[YUYV], Broken), None, "there is no other");
        }
    }
}
