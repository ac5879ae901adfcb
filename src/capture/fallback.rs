//! Remembers which modes of a camera do not work, so that the next one is tried. Pure policy.
//!
//! Some webcams offer YUYV but stall in it, or fill its buffers only in part, and work in MJPG. The result is
//! kept for this device until it is plugged in again, which [`Fallback::about`] notices, or until a different
//! mode is configured.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Error;
use super::modes::Picked;
use crate::media::frame::PixelFormat;

/// A mode that failed this many times in a row is given up.
const FAILURES: u32 = 3;
/// A mode that delivered nothing this many times, each for as long as a slow camera may take, is given up:
/// more attempts would take too long.
const SILENCES: u32 = 2;

/// The identity of a device node: after unplugging and plugging in again its inode is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    path: PathBuf,
    inode: u64,
}

impl Device {
    /// The device node at `path`.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), inode: fs::metadata(path).map_or(0, |node| node.ino()) }
    }
}

/// How a mode failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No frame arrived for as long as a slow camera may need.
    Silent,
    /// An error occurred, or the buffers contained no picture.
    Broken,
}

impl Failure {
    /// What a camera's error says about its mode; `None` if the mode is not to blame.
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
    /// Sets the current camera; what is known about any other one is forgotten.
    pub fn about(&mut self, device: Device) {
        if self.device.as_ref() != Some(&device) {
            *self = Self { device: Some(device), ..Self::default() };
        }
    }

    /// Moves modes that were given up to the end. Returns the best mode if it was moved.
    pub fn order(&self, modes: &mut [Picked]) -> Option<PixelFormat> {
        let best = modes.first()?.format;
        modes.sort_by_key(|mode| self.given_up.contains(&mode.format)); // stable
        (modes.first()?.format != best).then_some(best)
    }

    /// Records that the first of `modes`, as sorted by [`Fallback::order`], failed. Returns the number of
    /// failures if the next mode is tried now. When no mode is left, all are tried again.
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

    /// Records that the current mode works: its earlier failures had other causes.
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
            assert_eq!(fallback.order(&mut modes(&[MJPG, YUYV])), None, "the best mode is first already");
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
            assert_eq!(fallback.failed(&[YUYV], Broken), None, "there is no other mode");
        }
    }
}
