//! Converts samples of a device's clock to packets of the monotonic clock.
//!
//! The [`Timeline`] says when each sample was captured; an asynchronous resampler is steered so that packet
//! `n` of the grid ([`pcm`]) contains what was captured during its 20 ms. It also converts the rate: all
//! devices take the same path, because with the filter below even a 48 kHz device costs only a fifth of what
//! Opus does.
//!
//! Steering is inaudible: the pitch never moves by more than a cent in a second.

use std::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Adjustable, Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use super::pcm::{self, PACKET_FRAMES};
use super::timeline::{Jumped, MAX_DRIFT, Timeline};
use crate::clock::{AUDIO_HZ, Pts};

/// Number of filter taps. With these values aliases and images stay 80 dB down, and 18 of 24 kHz pass with
/// less than 1 dB of loss; twice the taps would cost half as much again and gain 2 kHz that nobody misses.
const TAPS: usize = 32;
/// Cutoff frequency, as a fraction of the lower of both Nyquist frequencies.
const CUTOFF: f32 = 0.9;
/// Time constant for correcting an offset, in seconds.
const SETTLING: f64 = 8.0;
/// Largest correction for an offset, besides the drift: it moves 1 s of sound by at most 1 ms.
const MAX_PULL: f64 = 1e-3;
/// Largest change of the correction in one packet: 500 ppm, or 0.9 cents, in a second.
const MAX_SLEW: f64 = 10e-6;
/// An offset above this, in seconds, is not corrected gradually, which would take long, but by one jump. This
/// happens when the very first positions were very late.
const MAX_OFFSET: f64 = 8e-3;
/// A packet that is this much later than its period makes it is old sound: the newest wins. Below this, a
/// burst is the lesser evil: a browser's jitter buffer stretches over it, while sound that is left out is
/// heard as a gap every time.
const MAX_BEHIND: Duration = Duration::from_millis(100);
/// Most input that is kept, in seconds; more than any buffer that is requested from ALSA.
const MAX_KEPT: usize = 1;

/// The device's rate is outside the range of the resampler.
#[derive(Debug, thiserror::Error)]
#[error("no resampler from {0} Hz to {AUDIO_HZ} Hz")]
pub struct BadRate(u32);

/// See the module's description.
pub struct Retimer {
    rate_hz: u32,
    channels: usize,
    /// How long a packet may take to arrive before it counts as late.
    patience: Duration,
    timeline: Timeline,
    resampler: Async<f32>,
    /// Interleaved samples not yet consumed; the first one has the number `first` in this run of the device.
    kept: Vec<f32>,
    first: u64,
    next: Next,
    /// Input consumed per output, relative to the nominal ratio, minus one.
    correction: f64,
    offset: Option<f64>,
    packet: Vec<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The start is still to be found; it is not before this packet.
    Seek(u64),
    /// This packet fills the resampler's memory and is not returned.
    Prime(u64),
    /// This packet is next.
    Packet(u64),
}

impl Retimer {
    /// Creates a retimer for a device with the nominal rate `rate_hz` that delivers every `period`; samples
    /// are interleaved in `channels`.
    pub fn new(rate_hz: u32, channels: usize, period: Duration) -> Result<Self, BadRate> {
        let parameters = SincInterpolationParameters {
            sinc_len: TAPS,
            f_cutoff: Some(CUTOFF),
            interpolation: SincInterpolationType::Linear,
            oversampling_factor: 256,
            window: WindowFunction::BlackmanHarris,
        };
        let ratio = f64::from(AUDIO_HZ) / f64::from(rate_hz);
        let range = 1.0 + 2.0 * (MAX_DRIFT + MAX_PULL);
        let resampler =
            Async::new_sinc(ratio, range, &parameters, PACKET_FRAMES, channels, FixedAsync::Output)
                .map_err(|_| BadRate(rate_hz))?;
        Ok(Self {
            rate_hz,
            channels,
            patience: MAX_BEHIND + period,
            timeline: Timeline::new(rate_hz),
            resampler,
            kept: vec![],
            first: 0,
            next: Next::Seek(0),
            correction: 0.0,
            offset: None,
            packet: vec![0.0; PACKET_FRAMES * channels],
        })
    }

    /// The device has stopped, and will count its samples from zero again.
    pub fn restart(&mut self) {
        self.begin(self.timeline.next_run());
    }

    /// Records that by `at` the device had captured `ahead` samples more than were pushed. Returns false if
    /// this contradicts the timeline: samples were lost, and it starts over.
    pub fn observe(&mut self, ahead: u64, at: Pts) -> bool {
        let seen = self.timeline.observe(self.first + self.kept_frames() as u64 + ahead, at);
        if seen == Err(Jumped) {
            self.begin(self.timeline.after_jump());
        }
        seen.is_ok()
    }

    fn begin(&mut self, timeline: Timeline) {
        self.timeline = timeline;
        self.kept.clear();
        self.first = 0;
        self.next = Next::Seek(0);
        self.offset = None;
    }

    /// The buffer to which the next (interleaved) samples must be appended.
    pub fn input(&mut self) -> &mut Vec<f32> {
        let too_many = self.kept_frames().saturating_sub(self.rate_hz as usize * MAX_KEPT);
        if too_many > 0 {
            self.consume(too_many);
            self.next = Next::Seek(0);
        }
        &mut self.kept
    }

    /// The next packet of the grid, if it is complete: its number, and its interleaved samples.
    pub fn next(&mut self, now: Pts) -> Option<(u64, &[f32])> {
        if let Next::Packet(n) = self.next
            && now.since(pcm::packet_start(n + 1)) > self.patience
        {
            // The thread was delayed. The last complete packet comes next; the lost ones are not worth the
            // delay.
            self.next = Next::Seek(pcm::packet_at(now).saturating_sub(1));
        }
        if let Next::Seek(earliest) = self.next {
            self.seek(earliest);
        }
        loop {
            // One more than needed by now, because steering may change the number by one.
            if self.kept_frames() <= self.resampler.input_frames_next() {
                return None;
            }
            let next = self.next;
            match next {
                Next::Seek(_) => return None,
                Next::Prime(n) => {
                    self.next = Next::Packet(n + 1);
                    self.resample();
                }
                Next::Packet(n) if self.steer(n) => {
                    self.next = Next::Packet(n + 1);
                    return self.resample().then_some((n, &self.packet));
                }
                Next::Packet(n) => self.seek(n),
            }
        }
    }

    /// How much faster than nominal the device runs, in parts per million.
    pub fn drift_ppm(&self) -> Option<f64> {
        self.timeline.known().then(|| self.timeline.drift_ppm())
    }

    /// How much later than its capture the last packet is dated, in milliseconds.
    pub fn offset_ms(&self) -> Option<f64> {
        self.offset.map(|s| s * 1e3)
    }

    fn kept_frames(&self) -> usize {
        self.kept.len() / self.channels
    }

    fn consume(&mut self, frames: usize) {
        self.kept.drain(..frames * self.channels);
        self.first += frames as u64;
    }

    /// Input samples per output sample.
    fn step(&self) -> f64 {
        f64::from(self.rate_hz) / f64::from(AUDIO_HZ) * (1.0 + self.correction)
    }

    /// How many input samples ahead of the next output's position the next input must be: half the filter,
    /// and the part that the resampler has already stepped over (half a sample on average).
    fn lead(&self) -> f64 {
        (TAPS / 2) as f64 + 0.5 - self.step()
    }

    /// Finds the first packet, not before `earliest`, that the present or future samples can fill, and drops
    /// the samples before it.
    fn seek(&mut self, earliest: u64) {
        if !self.timeline.known() {
            return;
        }
        let begin = |n: u64| self.timeline.frame_at(pcm::packet_start(n)) + self.lead();
        // One packet before the first returned one fills the filter's memory.
        let first_time = self.timeline.time_of(self.first as f64 - self.lead()).max(0.0) as u64;
        let mut n = earliest.saturating_sub(1).max(pcm::packet_at(Pts::from_micros(first_time)));
        while begin(n) < self.first as f64 {
            n += 1;
        }
        let skip = (begin(n).round() as u64 - self.first) as usize;
        let have = self.kept_frames();
        self.consume(skip.min(have));
        if skip <= have {
            self.resampler.reset();
            self.set_ratio(false);
            self.next = Next::Prime(n);
        } else {
            self.next = Next::Seek(earliest);
        }
    }

    /// Steers the resampler for packet `n`. Returns false if the samples of that time are not there.
    fn steer(&mut self, n: u64) -> bool {
        let place = self.first as f64 - self.lead();
        let wanted = self.timeline.frame_at(pcm::packet_start(n));
        let offset = (wanted - place) / f64::from(self.rate_hz);
        if offset.abs() > MAX_OFFSET {
            return false;
        }
        self.offset = Some(offset);
        let drift = self.timeline.drift_ppm() * 1e-6;
        let goal = drift + (offset / SETTLING).clamp(-MAX_PULL, MAX_PULL);
        self.correction += (goal - self.correction).clamp(-MAX_SLEW, MAX_SLEW);
        self.set_ratio(true);
        true
    }

    /// Passes the correction to the resampler, which applies it gradually during a packet or immediately.
    fn set_ratio(&mut self, gently: bool) {
        // In range by construction: |correction| < MAX_DRIFT + MAX_PULL. Otherwise the old ratio stays.
        let _ = self.resampler.set_resample_ratio_relative(1.0 / (1.0 + self.correction), gently);
    }

    /// Makes one packet from the kept samples. Returns false if the resampler fails, as it would if its
    /// buffers were too small, which they are not.
    fn resample(&mut self) -> bool {
        let frames = self.kept_frames();
        let Ok(input) = InterleavedSlice::new(&self.kept, self.channels, frames) else { return false };
        let Ok(mut output) = InterleavedSlice::new_mut(&mut self.packet, self.channels, PACKET_FRAMES) else {
            return false;
        };
        let Ok((used, made)) = self.resampler.process_into_buffer(&input, &mut output, None) else {
            return false;
        };
        self.consume(used);
        made == PACKET_FRAMES
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    const HZ: f64 = 440.0;
    const PERIOD: f64 = 0.01;

    /// A microphone in a room with a sine of [`HZ`] whose phase is zero at monotonic time zero.
    struct Room {
        retimer: Retimer,
        rate_hz: f64,
        channels: usize,
        /// Samples captured since the start of this run, including fractions, and samples pushed.
        position: f64,
        pushed: u64,
        now: f64,
        /// How late the positions are reported, in seconds.
        late: f64,
        heard: Vec<(u64, Vec<f32>)>,
    }

    impl Room {
        fn new(rate_hz: u32, channels: usize) -> Self {
            let retimer = Retimer::new(rate_hz, channels, Duration::from_millis(10)).expect("a common rate");
            let rate_hz = f64::from(rate_hz);
            Self {
                retimer,
                rate_hz,
                channels,
                position: 0.0,
                pushed: 0,
                now: 5_000.003_21,
                late: 0.0,
                heard: vec![],
            }
        }

        fn pts(&self) -> Pts {
            Pts::from_micros((self.now * 1e6) as u64)
        }

        /// Lets the device, which is `ppm` fast, deliver its periods for `seconds`.
        fn run(&mut self, ppm: f64, seconds: f64) {
            let (until, rate) = (self.now + seconds, self.rate_hz * (1.0 + ppm * 1e-6));
            while self.now < until {
                self.now += PERIOD;
                self.position += PERIOD * rate;
                let total = self.position as u64;
                let at = self.pts() + Duration::from_secs_f64(self.late);
                assert!(self.retimer.observe(total - self.pushed, at), "no jump");
                let samples = (self.pushed..total).flat_map(|n| {
                    let t = self.now - (self.position - n as f64) / rate;
                    std::iter::repeat_n((0.5 * (TAU * HZ * t).sin()) as f32, self.channels)
                });
                self.retimer.input().extend(samples);
                self.pushed = total;
                let now = self.pts();
                while let Some((n, samples)) = self.retimer.next(now) {
                    self.heard.push((n, samples.to_vec()));
                }
            }
        }

        /// For these packets: how late the sine in them is (in ms), and how far above the residue (in dB).
        fn judge(&self, packets: std::ops::Range<usize>) -> (f64, f64) {
            let (mut late, mut snr) = (0.0, f64::MAX);
            for (n, samples) in &self.heard[packets] {
                let (mut cos, mut sin, mut power) = (0.0, 0.0, 0.0);
                // The fit needs whole periods: 8 of the 8.8 in a packet.
                let samples: Vec<f64> =
                    samples.iter().step_by(self.channels).map(|x| f64::from(*x)).collect();
                let whole = &samples[..(48_000.0 / HZ * 8.0) as usize];
                let angle = |i: usize| TAU * HZ * ((*n as f64 * 960.0 + i as f64) / 48_000.0);
                for (i, x) in whole.iter().enumerate() {
                    cos += x * angle(i).cos();
                    sin += x * angle(i).sin();
                    power += x * x;
                }
                let count = whole.len() as f64;
                let (a, b) = (2.0 * sin / count, 2.0 * cos / count);
                let residue: f64 = whole
                    .iter()
                    .enumerate()
                    .map(|(i, x)| (x - a * angle(i).sin() - b * angle(i).cos()).powi(2))
                    .sum();
                late = f64::max(late, (-b).atan2(a).abs() / (TAU * HZ) * 1e3);
                snr = snr.min(10.0 * (power / residue).log10());
            }
            (late, snr)
        }
    }

    #[test]
    fn packets_hold_what_sounded_in_their_time() {
        for (rate, channels) in [(48_000, 1), (48_000, 2), (44_100, 1), (96_000, 1), (16_000, 1), (8_000, 2)]
        {
            for ppm in [0.0, 500.0, -500.0] {
                let mut room = Room::new(rate, channels);
                room.run(ppm, 24.0);
                let numbers: Vec<u64> = room.heard.iter().map(|(n, _)| *n).collect();
                assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{rate} {ppm}: no packet is left out");
                assert!((1_190..1_200).contains(&numbers.len()), "{rate} {ppm}: {}", numbers.len());
                let sample_ms = 1e3 / f64::from(rate);
                let (late, snr) = room.judge(0..3);
                assert!(
                    late < 0.1 + 2.0 * sample_ms && snr > 40.0,
                    "{rate} {ppm} at once: {late} ms {snr} dB"
                );
                let (late, snr) = room.judge(800..numbers.len());
                assert!(late < 1.0 + sample_ms && snr > 50.0, "{rate} {ppm} later: {late} ms {snr} dB");
                assert!((room.retimer.drift_ppm().expect("known") - ppm).abs() < 20.0);
            }
        }
    }

    #[test]
    fn a_changing_rate_is_followed_without_a_click() {
        let mut room = Room::new(48_000, 1);
        room.run(0.0, 30.0);
        room.run(500.0, 60.0);
        let (late, snr) = room.judge(100..room.heard.len());
        // While the rate is off by 500 ppm so is the pitch, and the residue is 43 dB down. A click would
        // leave 0 dB.
        assert!(late < 1.5 && snr > 40.0, "{late} ms {snr} dB");
    }

    #[test]
    fn after_a_gap_packets_go_on_in_true_time() {
        let mut room = Room::new(44_100, 1);
        room.run(300.0, 20.0);
        let last = room.heard.len();
        room.now += 0.5;
        (room.position, room.pushed) = (0.0, 0);
        room.retimer.restart();
        room.run(300.0, 1.0);
        let left_out = room.heard[last].0 - room.heard[last - 1].0 - 1;
        assert!((24..=28).contains(&left_out), "{left_out}");
        let (late, snr) = room.judge(last..room.heard.len());
        assert!(late < 0.2 && snr > 60.0, "{late} ms {snr} dB");
        assert!((room.retimer.drift_ppm().expect("known") - 300.0).abs() < 20.0, "the drift is remembered");
    }

    #[test]
    fn old_sound_is_left_out() {
        let mut room = Room::new(48_000, 1);
        room.run(0.0, 1.0);
        let last = room.heard.last().expect("some").0;
        // The thread was delayed for 150 ms; ALSA's buffer kept everything.
        room.now += 0.15;
        room.position += 0.15 * room.rate_hz;
        room.run(0.0, 0.5);
        let next = room.heard.iter().find(|(n, _)| *n > last).expect("more").0;
        assert!((6..=9).contains(&(next - last)), "{}", next - last);
        let (late, snr) = room.judge(60..room.heard.len());
        assert!(late < 0.2 && snr > 60.0, "{late} ms {snr} dB");
    }

    #[test]
    fn a_bad_start_is_soon_put_right() {
        let mut room = Room::new(48_000, 1);
        room.late = 0.02;
        room.run(0.0, 0.15);
        room.late = 0.0;
        room.run(0.0, 1.0);
        let numbers: Vec<u64> = room.heard.iter().map(|(n, _)| *n).collect();
        assert!(numbers.windows(2).all(|w| w[1] > w[0]), "{numbers:?}");
        let (late, snr) = room.judge(10..room.heard.len());
        assert!(late < 0.2 && snr > 60.0, "{late} ms {snr} dB");
    }
}
