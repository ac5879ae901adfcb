//! Selects which of the source's pictures are encoded: all of them, or what the
//! [governor](crate::encode::governor) says that the board can encode. Excess frames are left out before
//! conversion; smaller pictures are scaled. Pure policy.

use std::time::Duration;

use crate::clock::Pts;
use crate::encode::budget::{Others, Stand};
use crate::encode::governor::{Change, Governor, Spent, Step};
use crate::media::frame::Size;
use crate::media::mode::Mode;
use crate::pressure::Pressure;
use crate::status::Reduced;

/// The governor, and the resulting reduction.
#[derive(Default)]
pub(super) struct Reduction {
    /// The source's mode, and the governor for it.
    source: Option<(Mode, Governor)>,
    why: Option<String>,
    pace: Pace,
}

impl Reduction {
    /// Sets the mode of the source. Returns whether it has changed.
    pub(super) fn opened(&mut self, mode: Mode) -> bool {
        if self.source.as_ref().is_some_and(|(known, _)| *known == mode) {
            return false;
        }
        self.begin(mode);
        true
    }

    /// Starts over without a reduction: the earlier measurements do not apply any more.
    pub(super) fn reset(&mut self) {
        if let Some((mode, _)) = self.source {
            self.begin(mode);
        }
    }

    fn begin(&mut self, mode: Mode) {
        self.source = Some((mode, Governor::new(mode.size, mode.fps)));
        self.take(None);
    }

    /// Call this once for each encoded frame. Returns whether anything has changed.
    pub(super) fn encoded(
        &mut self,
        now: Pts,
        spent: Spent,
        pressure: Option<Pressure>,
        others: Others,
    ) -> bool {
        let observe = |(_, governor): &mut (Mode, Governor)| governor.observe(now, spent, pressure, others);
        let change = self.source.as_mut().and_then(observe);
        let changed = change.is_some();
        if changed {
            self.take(change);
        }
        changed
    }

    /// The state to report to the board's other cameras.
    pub(super) fn stand(&self) -> Stand {
        self.source.as_ref().map(|(_, governor)| governor.stand()).unwrap_or_default()
    }

    fn take(&mut self, change: Option<Change>) {
        self.why = change.and_then(|change| change.why);
        if let Some((mode, governor)) = &self.source {
            self.pace.set(mode.fps, governor.step().fps);
        }
    }

    fn step(&self) -> Option<Step> {
        self.source.as_ref().map(|(_, governor)| governor.step())
    }

    /// Size of full pictures; `None` before any source was seen.
    pub(super) fn size(&self) -> Option<Size> {
        self.step().map(|step| step.size)
    }

    /// Whether to encode a frame captured at `pts`.
    pub(super) fn takes(&mut self, pts: Pts) -> bool {
        self.pace.takes(pts)
    }

    /// Encoded frames per second.
    pub(super) fn fps(&self) -> f64 {
        self.pace.fps
    }

    /// Whether smaller rungs may run; otherwise the reason.
    pub(super) fn smaller(&self) -> Result<(), &str> {
        let may = self.step().is_none_or(|step| step.smaller);
        if may { Ok(()) } else { Err(self.why.as_deref().unwrap_or_default()) }
    }

    /// The reduction as reported to viewers.
    pub(super) fn reduced(&self) -> Option<Reduced> {
        let ((mode, governor), fps) = (self.source.as_ref()?, self.pace.fps);
        let size = governor.step().size;
        let less = size.area() < mode.size.area() || fps < mode.fps;
        less.then(|| Reduced { size, fps, why: self.why.clone().unwrap_or_default() })
    }
}

/// Leaves out frames evenly.
#[derive(Default)]
struct Pace {
    /// Frame rate of the source, and the rate to keep.
    from: f64,
    fps: f64,
    due: Option<Pts>,
}

impl Pace {
    fn set(&mut self, from: f64, most: f64) {
        let fps = from.min(most);
        if (self.from, self.fps) != (from, fps) {
            *self = Self { from, fps, due: None };
        }
    }

    /// Uses the time between frames, because some are lost, and a camera in the dark delivers fewer anyway.
    /// No frame is exactly on time: up to a quarter of their distance too early counts as due.
    fn takes(&mut self, pts: Pts) -> bool {
        if self.fps >= self.from {
            return true;
        }
        let [apart, wanted] = [self.from, self.fps].map(|fps| Duration::from_secs_f64(1.0 / fps));
        let due = self.due.unwrap_or(pts);
        if pts + apart / 4 < due {
            return false;
        }
        // If the source's clock differs a little from the nominal one, the next frame is counted from this
        // one.
        self.due = Some((due + wanted).clamp(pts + wanted - apart * 3 / 5, pts + wanted));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HD: Size = Size::new(1280, 720);

    fn mode(size: Size, fps: f64) -> Mode {
        Mode { size, fps, format: None, range: None }
    }

    fn at(us: u64) -> Pts {
        Pts::from_micros(1_000_000_000 + us)
    }

    /// The distances, in frames of the source, between the frames kept during 10 s; frames arrive up to
    /// `jitter_us` early or late.
    fn distances(from: f64, fps: f64, jitter_us: u64) -> Vec<u64> {
        let mut pace = Pace::default();
        pace.set(30.0, fps);
        let time = |n: u64| at((n as f64 * 1e6 / from) as u64 + n.wrapping_mul(7_919) % (2 * jitter_us + 1));
        let taken: Vec<u64> = (0..300).filter(|n| pace.takes(time(*n))).collect();
        taken.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn frames_are_left_out_evenly() {
        for jitter_us in [0, 500, 3_000] {
            // Nominally 30 frames per second, as real clocks have it.
            for from in [29.97, 30.0] {
                assert!(distances(from, 15.0, jitter_us).iter().all(|d| *d == 2), "{from} {jitter_us}");
                assert!(distances(from, 10.0, jitter_us).iter().all(|d| *d == 3), "{from} {jitter_us}");
            }
            // A faster one has an extra frame now and then.
            let fast = distances(30.03, 15.0, jitter_us);
            assert!(fast.iter().filter(|d| **d != 2).count() <= 2, "{fast:?}");
            let two_of_three = distances(30.0, 20.0, jitter_us);
            assert!(two_of_three.windows(2).all(|pair| pair[0] + pair[1] == 3), "{two_of_three:?}");
        }
        assert_eq!(distances(15.0, 20.0, 0), [1; 299], "in the dark all that come are taken");
        assert_eq!(distances(30.0, 30.0, 16_000), [1; 299]);
    }

    /// A board that takes a given time per pixel, and a camera.
    struct Bench {
        reduction: Reduction,
        mode: Mode,
        now: Pts,
    }

    impl Bench {
        fn new() -> Self {
            Self { reduction: Reduction::default(), mode: mode(HD, 30.0), now: at(0) }
        }

        /// The reduction after `seconds` of frames that take `pixel_ns` per pixel.
        fn run(&mut self, seconds: u64, pixel_ns: u64) -> Option<Reduced> {
            let end = self.now + Duration::from_secs(seconds);
            while self.now < end {
                self.reduction.opened(self.mode);
                if self.reduction.takes(self.now) {
                    let size = self.reduction.size().expect("a source");
                    let encoding = Duration::from_nanos(size.area() * pixel_ns);
                    let spent = Spent { encoding, share: 1.0, ..Default::default() };
                    self.reduction.encoded(self.now + encoding, spent, None, Others::NONE);
                }
                self.now = self.now + Duration::from_micros(33_333);
            }
            self.reduction.reduced()
        }
    }

    #[test]
    fn the_rate_goes_first_then_the_size_and_all_comes_back() {
        let mut bench = Bench::new();
        assert_eq!(bench.run(10, 10), None);
        let slower = bench.run(10, 50).expect("46 ms for each frame");
        assert_eq!(slower.size, HD);
        assert!(slower.fps < 30.0 && bench.reduction.fps() == slower.fps, "{slower:?}");
        assert!(slower.why.contains("46 ms"), "{slower:?}");
        assert_eq!(bench.reduction.smaller(), Err(slower.why.as_str()), "and there are no smaller rungs");
        let smaller = bench.run(10, 200).expect("184 ms for each frame");
        assert!(smaller.size.area() < HD.area(), "{smaller:?}");
        assert_eq!(bench.reduction.size(), Some(smaller.size));
        assert_eq!(bench.run(600, 10), None);
        assert_eq!((bench.reduction.size(), bench.reduction.fps()), (Some(HD), 30.0));
        assert_eq!(bench.reduction.smaller(), Ok(()));
    }

    #[test]
    fn another_source_begins_with_all_of_it() {
        let mut bench = Bench::new();
        assert_eq!(bench.reduction.size(), None);
        let before = bench.run(30, 200).expect("reduced");
        assert!(before.size.area() < HD.area());
        // The configuration changed.
        bench.reduction.reset();
        assert_eq!((bench.reduction.reduced(), bench.reduction.size()), (None, Some(HD)));
        bench.run(30, 200).expect("reduced");
        bench.mode = mode(Size::new(640, 480), 15.0);
        assert!(bench.reduction.opened(bench.mode) && !bench.reduction.opened(bench.mode));
        assert_eq!((bench.reduction.reduced(), bench.reduction.fps()), (None, 15.0));
        assert_eq!(bench.reduction.size(), Some(Size::new(640, 480)));
    }
}
