//! Distinguishes a machine that was busy elsewhere from a slow daemon. Everything with a time limit is
//! measured beside a ticker, and time in which it could not tick does not count.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time between ticks.
const TICK: Duration = Duration::from_millis(10);
/// If a tick is this late, the machine was busy since the previous one.
const LATE: Duration = Duration::from_millis(50);

/// A thread that records when it could not run.
pub(crate) struct Ticker {
    /// When it started, by both clocks.
    started: (Instant, SystemTime),
    lost: Arc<Mutex<Vec<(Instant, Instant)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let started = (Instant::now(), SystemTime::now());
        let (lost, stop) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (noted, stopped) = (lost.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut before = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                let now = Instant::now();
                if now - before > TICK + LATE {
                    noted.lock().unwrap().push((before, now));
                }
                before = now;
            }
        });
        Self { started, lost, stop, thread: Some(thread) }
    }

    /// The moment given by a browser's clock: milliseconds of Unix time, not before the start.
    pub(crate) fn at(&self, unix_ms: f64) -> Instant {
        let (start, wall) = self.started;
        let unix = Duration::from_secs_f64(unix_ms / 1000.);
        start + unix.saturating_sub(wall.duration_since(UNIX_EPOCH).expect("after 1970"))
    }

    /// How long something took that began at `from` and is over, without time that the machine lost.
    pub(crate) fn took(&self, from: Instant) -> Duration {
        let to = Instant::now();
        (to - from).saturating_sub(self.lost(from, to))
    }

    /// The longest of some periods of time, each without the time that the machine lost.
    pub(crate) fn longest(&self, stretches: impl IntoIterator<Item = (Instant, Instant)>) -> Duration {
        let lasted = |(from, to): (Instant, Instant)| (to - from).saturating_sub(self.lost(from, to));
        stretches.into_iter().map(lasted).max().unwrap_or_default()
    }

    /// How much of the time from `from` to `to` the machine lost.
    pub(crate) fn lost(&self, from: Instant, to: Instant) -> Duration {
        lost(&self.lost.lock().unwrap(), from, to)
    }

    /// Whether at most half of that time was lost.
    pub(crate) fn is_valid(&self, from: Instant, to: Instant) -> bool {
        self.lost(from, to) * 2 <= to - from
    }

    /// Whether something that began at `from` has been observed for long enough, if `lasts` would be enough
    /// on an idle machine: half of that must have been run. Fails the test if four times as long was not
    /// enough.
    pub(crate) fn enough(&self, from: Instant, lasts: Duration) -> bool {
        let (elapsed, ran) = (from.elapsed(), self.took(from));
        let enough = elapsed >= lasts && ran >= lasts / 2;
        assert!(enough || elapsed < lasts * 4, "machine too busy: it ran for {ran:.1?} of {elapsed:.1?}");
        enough
    }

    /// Fails the test if more than half of that time was lost.
    pub(crate) fn judge(&self, from: Instant, to: Instant) {
        let (lost, all) = (self.lost(from, to), to - from);
        assert!(self.is_valid(from, to), "machine too busy: it did not run for {lost:.1?} of {all:.1?}");
    }
}

fn lost(spans: &[(Instant, Instant)], from: Instant, to: Instant) -> Duration {
    spans.iter().map(|(a, b)| (*b).min(to).saturating_duration_since((*a).max(from))).sum()
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn lost_time_is_counted_within_the_bounds_asked_for() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let spans = [(at(100), at(200)), (at(300), at(500))];
    let lost_ms = |from, to| lost(&spans, at(from), at(to)).as_millis();
    assert_eq!([lost_ms(0, 1000), lost_ms(150, 400), lost_ms(200, 300), lost_ms(0, 50)], [300, 150, 0, 0]);
}
