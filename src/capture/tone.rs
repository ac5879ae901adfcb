//! The test tone, used instead of a microphone: 1 kHz throughout, and a 3 kHz beep on every full second.
//!
//! A sample depends only on its number since `CLOCK_MONOTONIC` zero, so the tone can't drift, has no seams
//! between packets and needs no state. The beep lasts while `pts % 1 s < 100 ms`; the test picture flashes
//! white by the same rule, which makes lip sync measurable.

use std::f64::consts::TAU;

use crate::clock::AUDIO_HZ;

/// Frequency of the steady tone, in hertz. Both frequencies divide [`AUDIO_HZ`], so a period is a whole
/// number of samples.
pub const TONE_HZ: u32 = 1_000;
/// Frequency of the beep, in hertz.
pub const BEEP_HZ: u32 = 3_000;
/// Length of the beep from the start of each second, in samples.
pub const BEEP_FRAMES: u64 = AUDIO_HZ as u64 / 10;
/// Amplitude of each of the two, -12 dBFS: together they stay 6 dB below full scale.
const AMPLITUDE: f64 = 0.25;

const TONE_PERIOD: usize = (AUDIO_HZ / TONE_HZ) as usize;
const BEEP_PERIOD: usize = (AUDIO_HZ / BEEP_HZ) as usize;

/// One period of each frequency, ready to be copied.
pub struct Tone {
    tone: [f32; TONE_PERIOD],
    beep: [f32; BEEP_PERIOD],
}

impl Default for Tone {
    fn default() -> Self {
        let sine = |n: usize, period: usize| (AMPLITUDE * (TAU * n as f64 / period as f64).sin()) as f32;
        Self {
            tone: std::array::from_fn(|n| sine(n, TONE_PERIOD)),
            beep: std::array::from_fn(|n| sine(n, BEEP_PERIOD)),
        }
    }
}

impl Tone {
    /// Fills `out` (interleaved, all `channels` alike), starting with sample number `first`.
    pub fn fill(&self, first: u64, channels: usize, out: &mut [f32]) {
        for (n, frame) in (first..).zip(out.chunks_exact_mut(channels)) {
            frame.fill(self.at(n));
        }
    }

    fn at(&self, n: u64) -> f32 {
        let tone = self.tone[(n % TONE_PERIOD as u64) as usize];
        let beeps = n % u64::from(AUDIO_HZ) < BEEP_FRAMES;
        if beeps { tone + self.beep[(n % BEEP_PERIOD as u64) as usize] } else { tone }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Amplitude of the sine of `hz` in `samples` (Goertzel's filter).
    pub(crate) fn level(samples: &[f32], hz: f64) -> f64 {
        let coefficient = 2.0 * (TAU * hz / f64::from(AUDIO_HZ)).cos();
        let (mut s1, mut s2) = (0.0, 0.0);
        for x in samples {
            (s1, s2) = (f64::from(*x) + coefficient * s1 - s2, s1);
        }
        let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
        2.0 * power.max(0.0).sqrt() / samples.len() as f64
    }

    fn sound(first: u64, frames: usize) -> Vec<f32> {
        let mut out = vec![0.0; frames];
        Tone::default().fill(first, 1, &mut out);
        out
    }

    #[test]
    fn frequencies_and_levels_are_right() {
        let beep = sound(48_000 * 1_000, 4_800);
        let tone = sound(48_000 * 1_000 + 4_800, 4_800);
        for (samples, hz, wanted) in
            [(&beep, 1e3, 0.25), (&beep, 3e3, 0.25), (&tone, 1e3, 0.25), (&tone, 3e3, 0.0), (&tone, 2e3, 0.0)]
        {
            assert!((level(samples, hz) - wanted).abs() < 1e-3, "{hz} Hz: {}", level(samples, hz));
        }
    }

    #[test]
    fn the_beep_starts_and_ends_on_the_very_sample() {
        let around = |n: u64| sound(n - 2, 5).iter().zip(2..).map(|(x, _)| *x).collect::<Vec<_>>();
        let second = 86_400 * 400 * 48_000; // more than a year of uptime
        let only_tone = |n: u64| Tone::default().tone[(n % 48) as usize];
        let onset = around(second);
        // Both sines begin at zero, so the first sample that differs is the one after the full second.
        assert_eq!(onset[..3], [only_tone(second - 2), only_tone(second - 1), 0.0]);
        assert!(onset[3] > only_tone(1) + 0.05);
        let end = around(second + BEEP_FRAMES);
        assert_eq!(end[2..], [0.0, only_tone(1), only_tone(2)]);
    }

    #[test]
    fn packets_have_no_seam_and_channels_are_alike() {
        let whole = sound(47_000, 2_000);
        let halves = [sound(47_000, 960), sound(47_960, 1_040)].concat();
        assert_eq!(whole, halves);
        let mut stereo = [0.0; 8];
        Tone::default().fill(3, 2, &mut stereo);
        assert!(stereo.chunks(2).all(|f| f[0] == f[1]));
        assert_eq!(stereo[6], sound(6, 1)[0]);
    }
}
