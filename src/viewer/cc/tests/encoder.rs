//! A model of an encoder. Picture sizes follow a bitrate as OpenH264's do: with noise, overshoot, a lag of a
//! few pictures, IDRs of several times the usual size, and two temporal layers.

use crate::media::unit::BASE_PART;
use crate::testing::Random;

/// Bitrate that the scene needs, in bits per second, from a given second on. If that is less than the
/// encoder's bitrate, the picture is already good enough.
pub(super) type Scene = Vec<(f64, f64)>;

pub(super) struct Encoder {
    random: Random,
    scene: Scene,
    /// The bitrate that picture sizes follow at the moment.
    follows: f64,
    /// Bytes produced so far beyond the bitrate.
    debt: f64,
    motion: f64,
    seen: usize,
    /// Number of pictures since the last IDR.
    since_idr: usize,
}

impl Encoder {
    pub(super) fn new(scene: Scene, seed: u64) -> Self {
        Self { random: Random(seed), scene, follows: 0.0, debt: 0.0, motion: 0.0, seen: 0, since_idr: 0 }
    }

    /// Encodes a picture; returns its size in bytes, and whether it is disposable.
    pub(super) fn encode(&mut self, bps: f64, fps: f64, idr: bool, now: f64) -> (usize, bool) {
        self.since_idr = if idr { 0 } else { self.since_idr + 1 };
        let disposable = !self.since_idr.is_multiple_of(2);
        let begun = self.scene.iter().filter(|(from, _)| *from <= now).count();
        let changed = std::mem::replace(&mut self.seen, begun) != begun && begun > 1;
        let needs = self.scene.get(begun.saturating_sub(1)).map_or(f64::MAX, |(_, needs)| *needs);
        let lag = if idr {
            0.85
        } else if bps < self.follows {
            0.7
        } else {
            0.5
        };
        self.follows = if self.follows == 0.0 { bps } else { self.follows + lag * (bps - self.follows) };
        let part = 2.0 * if disposable { 1.0 - BASE_PART } else { BASE_PART };
        let target = part * self.follows / fps / 8.0;
        self.motion = 0.9 * self.motion + 0.07 * normal(&mut self.random);
        let noise = (0.12 * normal(&mut self.random) + self.motion).exp();
        let spike = if self.random.part() < 0.01 { 2.0 } else { 1.0 };
        let corrected = (1.0 - self.debt / (10.0 * target)).clamp(0.4, 1.3);
        let limit = part * needs / fps / 8.0;
        let mut size = (target * noise * spike * corrected).min(limit * noise * spike);
        if idr {
            let usual = self.follows / 30.0 / 8.0;
            size = (usual.min(2.0 * limit) * 5.0 * (0.1 * normal(&mut self.random)).exp()).max(2_500.0);
        } else if changed {
            size = target.max(limit.min(target)) * 4.0;
        }
        let size = size.max(120.0);
        self.debt = (self.debt + size - target).clamp(-2.0 * target, 15.0 * target);
        (size as usize, disposable)
    }
}

#[test]
fn the_encoder_follows_its_bitrate() {
    for bps in [60e3, 1e6, 4e6] {
        let mut encoder = Encoder::new(vec![], 3);
        let bytes: usize = (0..900).map(|n| encoder.encode(bps, 30.0, n == 0, f64::from(n) / 30.0).0).sum();
        let part = bytes as f64 * 8.0 / 30.0 / bps;
        assert!((0.93..1.05).contains(&part), "{bps}: {part}");
    }
}

/// A normally distributed number (approximated as by Irwin and Hall).
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.part()).sum::<f64>() - 6.0
}
