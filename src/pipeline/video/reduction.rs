//! What of the source's pictures is encoded: all of it, or what the [governor](crate::encode::governor) says that the
//! board carries. Frames that are too many are left out before they are converted; for a smaller size the source is asked.
//! Pure policy.

use std::time::Duration;

use super::Source;
use crate::clock::Pts;
use crate::encode::governor::{Change, Governor, Step};
use crate::media::frame::Size;
use crate::status::{Mode, Pressure, Reduced};

/// The governor, and what came of its word.
#[derive(Default)]
pub(super) struct Reduction {
    /// What frames come from now.
    source: Option<Source>,
    /// What it gives if it is asked for everything, and who decides how much of that is taken.
    full: Option<(Mode, Governor)>,
    why: Option<String>,
    pace: Pace,
}

impl Reduction {
    /// Frames come from `source` from now on. Says whether anything is different.
    pub(super) fn opened(&mut self, source: Source) -> bool {
        if self.source == Some(source) {
            return false;
        }
        self.source = Some(source);
        match &mut self.full {
            Some((full, _)) if source.limit.is_none() && *full != source.mode => self.reset(),
            Some((_, governor)) if source.limit == Some(governor.step().size) => {
                let change = governor.came(source.mode.size);
                self.take(change);
            }
            Some(_) => self.take(None),
            None => self.reset(),
        }
        true
    }

    /// Begins again with all of it: what was measured was of something else.
    pub(super) fn reset(&mut self) {
        // What comes while the source is asked for less is not all that it gives.
        let full = self.source.filter(|source| source.limit.is_none()).map(|source| source.mode);
        self.full = full.map(|mode| (mode, Governor::new(Step { size: mode.size, fps: mode.fps })));
        self.why = None;
        self.take(None);
    }

    /// To be called once for each frame that was encoded, which took `busy` in all. Says whether anything is different.
    pub(super) fn encoded(&mut self, now: Pts, busy: Duration, pressure: Option<Pressure>) -> bool {
        if !self.settled() {
            return false; // that was still another source
        }
        let change = self.full.as_mut().and_then(|(_, governor)| governor.observe(now, busy, pressure));
        let changed = change.is_some();
        self.take(change);
        changed
    }

    fn take(&mut self, change: Option<Change>) {
        if let Some(Change { why: Some(why), .. }) = change {
            self.why = Some(why);
        }
        if self.settled()
            && let Some(source) = self.source
        {
            let most = self.full.as_ref().map_or(f64::INFINITY, |(_, governor)| governor.step().fps);
            self.pace.set(source.mode.fps, most);
        }
    }

    /// The size to ask the source for instead of the configured one.
    pub(super) fn limit(&self) -> Option<Size> {
        let (full, governor) = self.full.as_ref()?;
        Some(governor.step().size).filter(|size| *size != full.size)
    }

    /// Whether the source is what was asked for.
    pub(super) fn settled(&self) -> bool {
        self.source.is_none_or(|source| source.limit == self.limit())
    }

    /// Whether a frame captured at `pts` is to be encoded.
    pub(super) fn takes(&mut self, pts: Pts) -> bool {
        self.pace.takes(pts)
    }

    /// So many frames per second are encoded.
    pub(super) fn fps(&self) -> f64 {
        self.pace.fps
    }

    /// What viewers are told.
    pub(super) fn reduced(&self) -> Option<Reduced> {
        let ((full, _), source) = (self.full.as_ref()?, self.source?);
        let (size, fps) = (source.mode.size, self.pace.fps);
        let less = size.area() < full.size.area() || fps < full.fps;
        less.then(|| Reduced { size, fps, why: self.why.clone().unwrap_or_default() })
    }
}

/// Leaves out frames, evenly.
#[derive(Default)]
struct Pace {
    /// Frames per second of the source, and those to take of it.
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

    /// Goes by the time between frames, because some are lost and a camera in the dark gives fewer anyway. No frame is
    /// on time to the microsecond: up to a quarter of their distance too early is as good as due.
    fn takes(&mut self, pts: Pts) -> bool {
        if self.fps >= self.from {
            return true;
        }
        let [apart, wanted] = [self.from, self.fps].map(|fps| Duration::from_secs_f64(1.0 / fps));
        let due = self.due.unwrap_or(pts);
        if pts + apart / 4 < due {
            return false;
        }
        // Where the source's clock runs a little differently from what was agreed, the next one follows this one.
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

    /// The distances, in frames of the source, of those taken for 10 s; frames come up to `jitter_us` early or late.
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
            // Nominally 30 frames per second, as clocks have it.
            for from in [29.97, 30.0] {
                assert!(distances(from, 15.0, jitter_us).iter().all(|d| *d == 2), "{from} {jitter_us}");
                assert!(distances(from, 10.0, jitter_us).iter().all(|d| *d == 3), "{from} {jitter_us}");
            }
            // A faster one has one too many now and then.
            let fast = distances(30.03, 15.0, jitter_us);
            assert!(fast.iter().filter(|d| **d != 2).count() <= 2, "{fast:?}");
            let two_of_three = distances(30.0, 20.0, jitter_us);
            assert!(two_of_three.windows(2).all(|pair| pair[0] + pair[1] == 3), "{two_of_three:?}");
        }
        assert_eq!(distances(15.0, 20.0, 0), [1; 299], "in the dark all that come are taken");
        assert_eq!(distances(30.0, 30.0, 16_000), [1; 299]);
    }

    /// An encode thread that takes so many nanoseconds for each pixel, and the source it asks.
    struct Bench {
        reduction: Reduction,
        camera: fn(Option<Size>) -> Size,
        source: Source,
        now: Pts,
        asked: Vec<Option<Size>>,
    }

    impl Bench {
        fn new(camera: fn(Option<Size>) -> Size) -> Self {
            let source = Source { mode: mode(camera(None), 30.0), limit: None };
            let reduction = Reduction::default();
            Self { reduction, camera, source, now: at(0), asked: vec![] }
        }

        /// What is told after `seconds` of frames that take `pixel_ns`.
        fn run(&mut self, seconds: u64, pixel_ns: u64) -> Option<Reduced> {
            let end = self.now + Duration::from_secs(seconds);
            while self.now < end {
                self.reduction.opened(self.source);
                if self.reduction.takes(self.now) {
                    let busy = Duration::from_nanos(self.source.mode.size.area() * pixel_ns);
                    self.reduction.encoded(self.now + busy, busy, None);
                }
                if self.reduction.limit() != self.source.limit {
                    self.source.limit = self.reduction.limit();
                    self.source.mode.size = (self.camera)(self.source.limit);
                    self.asked.push(self.source.limit);
                }
                self.now = self.now + Duration::from_micros(33_333);
            }
            self.reduction.reduced()
        }
    }

    fn any(limit: Option<Size>) -> Size {
        limit.unwrap_or(HD)
    }

    fn fixed(_: Option<Size>) -> Size {
        HD
    }

    #[test]
    fn the_rate_goes_first_then_the_size_and_all_comes_back() {
        let mut bench = Bench::new(any);
        assert_eq!(bench.run(10, 10), None);
        let slower = bench.run(10, 50).expect("46 ms for each frame");
        assert_eq!((slower.size, bench.asked.len()), (HD, 0));
        assert!(slower.fps < 30.0 && bench.reduction.fps() == slower.fps, "{slower:?}");
        assert!(slower.why.contains("46 ms"), "{slower:?}");
        let smaller = bench.run(10, 200).expect("184 ms for each frame");
        assert!(smaller.size.area() < HD.area(), "{smaller:?}");
        assert_eq!(bench.run(600, 10), None, "{:?}", bench.asked);
        assert_eq!((bench.source.limit, bench.reduction.fps()), (None, 30.0));
    }

    #[test]
    fn a_camera_of_one_size_is_not_asked_again_and_again() {
        let mut bench = Bench::new(fixed);
        let slow = bench.run(3_600, 200).expect("184 ms for each frame");
        assert_eq!(slow.size, HD, "what came is what is told");
        assert!(slow.fps < 15.0, "{slow:?}");
        assert!(bench.asked.len() < 12, "{:?}", bench.asked);
        assert_eq!(bench.run(600, 10), None);
    }

    #[test]
    fn another_source_begins_with_all_of_it() {
        let mut bench = Bench::new(any);
        let before = bench.run(30, 200).expect("reduced");
        assert!(before.size.area() < HD.area());
        // The configuration changed; frames of the smaller size still come.
        bench.reduction.reset();
        assert_eq!((bench.reduction.reduced(), bench.reduction.limit()), (None, None));
        assert!(!bench.reduction.settled(), "it has to be asked for all");
        bench.source = Source { mode: mode(Size::new(640, 480), 15.0), limit: None };
        assert!(bench.reduction.opened(bench.source));
        assert_eq!((bench.reduction.reduced(), bench.reduction.fps()), (None, 15.0));
        // Without a word of ours.
        bench.source.mode = mode(HD, 30.0);
        assert!(bench.reduction.opened(bench.source) && !bench.reduction.opened(bench.source));
        assert_eq!((bench.reduction.reduced(), bench.reduction.fps()), (None, 30.0));
    }
}
