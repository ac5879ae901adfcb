//! Estimates when sample number `n` was captured. A sound card counts samples by its own crystal, some
//! hundred parts per million off; from the positions that the driver reports, this estimates the line between
//! sample numbers and `CLOCK_MONOTONIC`.
//!
//! The reported positions are late by up to some milliseconds, and unevenly: a USB card's position moves with
//! every transfer, that of some drivers only with every period, and a thread may be delayed between reading
//! the position and the clock. A Kalman filter with two states, time and rate, weighs them: it follows fast
//! at first, then more slowly, but never too slowly to follow a crystal that warms up. Since a position can
//! be late but never early, one that seems early gets more weight: the estimate settles near the smallest
//! lateness.

use crate::clock::Pts;

/// Assumed error of a position that seems late, in seconds: the granularity of drivers (USB 1 ms, jiffies 4
/// ms).
const LATE_NOISE: f64 = 4e-3;
/// Assumed error of a position that seems early, in seconds.
const EARLY_NOISE: f64 = 1e-3;
/// How fast a rate may wander, per square root of a second. Crystals are a hundred times steadier; this lets
/// the filter follow even a sudden change of 500 ppm with an error below 5 ms.
const RATE_WANDER: f64 = 1e-6;
/// Assumed error of an unknown rate: cheap crystals are within 100 ppm, odd clock dividers within 1000.
const RATE_UNKNOWN: f64 = 150e-6;
/// Smallest assumed error of the rate when the same device starts again.
const RATE_KNOWN: f64 = 20e-6;
/// Assumed error of the rate after a jump, which may also come from a device that is further off than
/// expected.
const RATE_DOUBTFUL: f64 = 2e-3;
/// Number of observations at the start, a quarter of a second, of which only the earliest position counts: a
/// very late one would teach the filter a wrong rate.
const FIRST: u32 = 25;
/// A position this far off, in seconds, is an outlier; it counts as this far off at most.
const OUTLIER: f64 = 8e-3;
/// A position this far off, in seconds, is not late but means that samples were lost.
const JUMP: f64 = 25e-3;
/// Number of such positions in a row that it takes to believe it.
const JUMPS_BELIEVED: u32 = 30;
/// Largest possible drift of a device that works.
pub const MAX_DRIFT: f64 = 5e-3;

/// Sample numbers and time do not match any more: samples were lost, or the rate is far off. Start
/// [again](Timeline::after_jump).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jumped;

/// The estimate for one run of a device; a new run (after an overrun, for example) needs a new timeline.
#[derive(Clone, Debug)]
pub struct Timeline {
    rate_hz: f64,
    /// Time zero of the seconds below; `None` before the first observation.
    epoch: Option<Pts>,
    /// Number of the sample that the estimate is for.
    frame: u64,
    /// Its capture time, in seconds since `epoch`.
    time: f64,
    /// Seconds that a nominal second of samples takes, minus one. Negative if the device runs fast.
    stretch: f64,
    /// Covariance of `time` and `stretch`.
    p: [[f64; 2]; 2],
    /// Remaining observations of which only the earliest counts.
    first: u32,
    jumps: u32,
}

impl Timeline {
    /// Creates a timeline for a device with the nominal rate `rate_hz`.
    pub fn new(rate_hz: u32) -> Self {
        Self::begin(f64::from(rate_hz), 0.0, RATE_UNKNOWN)
    }

    /// Creates a timeline for a new run of the same device, whose rate is known by now.
    pub fn next_run(&self) -> Self {
        Self::begin(self.rate_hz, self.stretch, self.p[1][1].sqrt().max(RATE_KNOWN))
    }

    /// Creates a timeline for the rest of this run, after [`Jumped`].
    pub fn after_jump(&self) -> Self {
        Self::begin(self.rate_hz, self.stretch, RATE_DOUBTFUL)
    }

    fn begin(rate_hz: f64, stretch: f64, spread: f64) -> Self {
        let p = [[EARLY_NOISE * EARLY_NOISE, 0.0], [0.0, spread * spread]];
        Self { rate_hz, epoch: None, frame: 0, time: 0.0, stretch, p, first: FIRST, jumps: 0 }
    }

    /// Records that by `at` the samples up to number `frame` had been captured since the start of this run.
    pub fn observe(&mut self, frame: u64, at: Pts) -> Result<(), Jumped> {
        let Some(epoch) = self.epoch else {
            (self.epoch, self.frame) = (Some(at), frame);
            return Ok(());
        };
        let dt = frame.saturating_sub(self.frame) as f64 / self.rate_hz;
        self.frame = self.frame.max(frame);
        self.time += dt * (1.0 + self.stretch);
        let seen = (at.as_micros() as f64 - epoch.as_micros() as f64) * 1e-6;
        let error = seen - self.time;
        if self.first > 0 {
            self.first -= 1;
            self.time += error.min(0.0);
            return Ok(());
        }
        self.spread(dt);
        if error.abs() > JUMP {
            self.jumps += 1;
            return if self.jumps >= JUMPS_BELIEVED { Err(Jumped) } else { Ok(()) };
        }
        self.jumps = 0;
        self.correct(error.clamp(-OUTLIER, OUTLIER));
        Ok(())
    }

    /// Whether there was an observation; the estimates are valid only then.
    pub fn known(&self) -> bool {
        self.epoch.is_some()
    }

    /// Capture time of sample `frame` (including fractions), past or future, in microseconds of
    /// `CLOCK_MONOTONIC`.
    pub fn time_of(&self, frame: f64) -> f64 {
        let epoch = self.epoch.map_or(0.0, |e| e.as_micros() as f64);
        let seconds = self.time + (frame - self.frame as f64) / self.rate_hz * (1.0 + self.stretch);
        epoch + seconds * 1e6
    }

    /// The sample captured at `at`, with fraction; negative before the start of the run.
    pub fn frame_at(&self, at: Pts) -> f64 {
        let epoch = self.epoch.map_or(0.0, |e| e.as_micros() as f64);
        let seconds = (at.as_micros() as f64 - epoch) * 1e-6 - self.time;
        self.frame as f64 + seconds * self.rate_hz / (1.0 + self.stretch)
    }

    /// How much faster than nominal the device runs, in parts per million of `CLOCK_MONOTONIC`.
    pub fn drift_ppm(&self) -> f64 {
        (1.0 / (1.0 + self.stretch) - 1.0) * 1e6
    }

    /// Increases the uncertainty by that of another `dt` seconds.
    fn spread(&mut self, dt: f64) {
        let [[tt, ts], [_, ss]] = self.p;
        let q = RATE_WANDER * RATE_WANDER;
        let ts_new = ts + dt * ss + q * dt * dt / 2.0;
        self.p =
            [[tt + 2.0 * dt * ts + dt * dt * ss + q * dt * dt * dt / 3.0, ts_new], [ts_new, ss + q * dt]];
    }

    fn correct(&mut self, error: f64) {
        let [[tt, ts], [_, ss]] = self.p;
        let noise = if error < 0.0 { EARLY_NOISE } else { LATE_NOISE };
        let total = tt + noise * noise;
        let (gain_time, gain_stretch) = (tt / total, ts / total);
        self.time += gain_time * error;
        self.stretch = (self.stretch + gain_stretch * error).clamp(-MAX_DRIFT, MAX_DRIFT);
        let ts_new = ts * (1.0 - gain_time);
        self.p = [[tt * (1.0 - gain_time), ts_new], [ts_new, ss - gain_stretch * ts]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 5_000_000_000;

    /// A device that runs `ppm(t)` fast, observed every 10 ms through a driver whose position moves in steps
    /// of `step_s`.
    struct Device {
        captured: f64,
        seconds: f64,
        step_s: f64,
        random: u32,
    }

    impl Device {
        fn new(step_s: f64) -> Self {
            Self { captured: 0.0, seconds: 0.0, step_s, random: 1 }
        }

        /// Advances by 10 ms; returns the position and the time at which it was read.
        fn tick(&mut self, ppm: f64) -> (u64, Pts) {
            self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let wait = 0.009 + 0.002 * f64::from(self.random >> 8) / f64::from(1 << 24);
            self.seconds += wait;
            self.captured += wait * 48_000.0 * (1.0 + ppm * 1e-6);
            let step = (self.step_s * 48_000.0).max(1.0);
            let position = (self.captured / step).floor() * step;
            (position as u64, Pts::from_micros(START + (self.seconds * 1e6) as u64))
        }

        /// How much later than its capture the timeline dates the current sample, in milliseconds.
        fn late_ms(&self, line: &Timeline) -> f64 {
            (line.time_of(self.captured) - START as f64 - self.seconds * 1e6) / 1e3
        }
    }

    /// Runs the device for `seconds` and returns the extremes of the timeline's lateness and drift.
    fn run(
        device: &mut Device,
        line: &mut Timeline,
        ppm: f64,
        seconds: f64,
        disturb: impl Fn(u32, u64, Pts) -> (u64, Pts),
    ) -> Result<[(f64, f64); 2], Jumped> {
        let mut extremes = [(f64::MAX, f64::MIN); 2];
        let until = device.seconds + seconds;
        while device.seconds < until {
            let (frame, at) = device.tick(ppm);
            let (frame, at) = disturb(device.random >> 8, frame, at);
            line.observe(frame, at)?;
            for (x, (min, max)) in [device.late_ms(line), line.drift_ppm()].iter().zip(&mut extremes) {
                (*min, *max) = (min.min(*x), max.max(*x));
            }
        }
        Ok(extremes)
    }

    fn undisturbed(_: u32, frame: u64, at: Pts) -> (u64, Pts) {
        (frame, at)
    }

    #[test]
    fn ten_minutes_of_a_bad_crystal() {
        for ppm in [500.0, -500.0, 0.0, 37.0] {
            for step_s in [0.0, 1e-3, 4e-3, 10e-3] {
                let (mut device, mut line) = (Device::new(step_s), Timeline::new(48_000));
                let at_once = run(&mut device, &mut line, ppm, 60.0, undisturbed).expect("no jump");
                let then = run(&mut device, &mut line, ppm, 540.0, undisturbed).expect("no jump");
                let (step_ms, [(min, max), _]) = (step_s * 1e3, at_once);
                assert!(min > -1.0 && max < step_ms + 1.0, "{ppm} {step_s}: {at_once:?}");
                let [(min, max), drift] = then;
                assert!(min > -0.1 && max < 0.3 * step_ms + 0.1, "{ppm} {step_s}: {then:?}");
                let off = f64::max(ppm - drift.0, drift.1 - ppm);
                assert!(off < if step_ms < 5.0 { 8.0 } else { 50.0 }, "{ppm} {step_s}: {then:?}");
            }
        }
    }

    #[test]
    fn a_sudden_change_of_rate_is_followed() {
        let (mut device, mut line) = (Device::new(4e-3), Timeline::new(48_000));
        run(&mut device, &mut line, -500.0, 90.0, undisturbed).expect("no jump");
        let changed = run(&mut device, &mut line, 500.0, 120.0, undisturbed).expect("no jump");
        let then = run(&mut device, &mut line, 500.0, 60.0, undisturbed).expect("no jump");
        assert!(changed[0].0 > -1.0 && changed[0].1 < 8.0, "{changed:?}");
        let [(min, max), drift] = then;
        assert!(min > 0.0 && max < 1.5, "{then:?}");
        assert!((drift.0 - 500.0).abs() < 8.0 && (drift.1 - 500.0).abs() < 8.0, "{then:?}");
    }

    #[test]
    fn late_positions_are_outvoted_and_lost_samples_are_told() {
        let (mut device, mut line) = (Device::new(1e-3), Timeline::new(48_000));
        run(&mut device, &mut line, 0.0, 30.0, undisturbed).expect("no jump");
        // A busy machine: most positions are some milliseconds late, some very late.
        let busy = |random: u32, frame, at: Pts| {
            let late_us = if random.is_multiple_of(50) { 90_000 } else { random % 8_000 };
            (frame, at + std::time::Duration::from_micros(late_us.into()))
        };
        let [late, drift] = run(&mut device, &mut line, 0.0, 300.0, busy).expect("no jump");
        assert!(late.0 > 0.0 && late.1 < 4.0, "{late:?}");
        assert!(drift.0 > -100.0 && drift.1 < 100.0, "{drift:?}");
        let lost = |_, frame, at| (frame - 48 * 40, at);
        assert_eq!(run(&mut device, &mut line, 0.0, 1.0, lost), Err(Jumped));
    }

    #[test]
    fn a_rate_that_is_half_a_per_cent_off_is_found() {
        for ppm in [4_900.0, -4_900.0] {
            let (mut device, mut line) = (Device::new(4e-3), Timeline::new(48_000));
            while device.seconds < 40.0 {
                if run(&mut device, &mut line, ppm, 40.0, undisturbed).is_err() {
                    (line, device.captured) = (line.after_jump(), 0.0);
                }
            }
            let [(min, max), drift] = run(&mut device, &mut line, ppm, 20.0, undisturbed).expect("no jump");
            assert!(min > 0.0 && max < 1.5, "{min} {max}");
            assert!((drift.0 - ppm).abs() < 40.0 && (drift.1 - ppm).abs() < 40.0, "{drift:?}");
        }
    }

    #[test]
    fn time_and_frames_are_inverse_and_the_next_run_knows_the_drift() {
        let (mut device, mut line) = (Device::new(0.0), Timeline::new(48_000));
        assert!(!line.known());
        run(&mut device, &mut line, 250.0, 60.0, undisturbed).expect("no jump");
        let mut line = line.next_run();
        assert!(!line.known());
        line.observe(1_000, Pts::from_micros(START)).expect("first");
        assert!((line.drift_ppm() - 250.0).abs() < 0.1, "{}", line.drift_ppm());
        let at = Pts::from_micros(START + 20_000);
        let frame = line.frame_at(at);
        assert!((frame - (1_000.0 + 960.0 * 1.000_25)).abs() < 1e-3, "{frame}");
        assert!((line.time_of(frame) - at.as_micros() as f64).abs() < 1e-3);
    }
}
