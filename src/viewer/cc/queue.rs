//! The queueing delay: how much longer packets take than on the empty link. Only this unit sees a full queue
//! that neither grows nor shrinks. livekit's `sendsidebwe` decides by the same measure, and RFC 8298 (SCReAM)
//! and RFC 8698 (NADA) control by it.
//!
//! The delay of the empty link, the *base*, is the minimum of the last [`BASE_S`] seconds. The two clocks
//! drift apart (up to 12 ms per minute at 200 ppm), in that time by 4 ms. The estimator empties the queue at
//! least once in that time. Where it can't, because a different flow fills the queue, the base is held, and
//! adjusted by the drift measured before.

use std::collections::VecDeque;

/// Time over which the base is the minimum, in seconds; there is one bucket for each second.
const BASE_S: usize = 20;
/// How long individual delays are remembered, in seconds.
const KEPT_S: f64 = 1.0;
/// Maximum number of individual delays that are remembered.
const MOST: usize = 1_024;
/// Maximum drift between two quartz clocks, in seconds per second.
const MOST_DRIFT: f64 = 300e-6;
/// A held base is wrong if the delay varies by less than this for [`STILL_S`], in seconds.
const STILL_WITHIN_S: f64 = 0.004;
/// A queue that other flows fill varies more than that within this time, in seconds.
const STILL_S: f64 = 6.0;

/// The delays of one viewer's packets.
#[derive(Debug)]
pub(super) struct Queue {
    /// Arrival time of each packet, and its one-way delay plus an unknown constant.
    delays: VecDeque<(f64, f64)>,
    /// The minimum delay of each second: the second and the delay.
    buckets: [Option<(i64, f64)>; BASE_S],
    base: Option<f64>,
    /// Whether the base is held.
    held: bool,
    /// How fast the base rises, in seconds per second.
    drift: f64,
    /// When the base was last looked at, and its value then.
    looked: Option<(f64, f64)>,
    /// Start of the time in which the standing delay has not varied, with its minimum and maximum since then.
    still: Option<(f64, f64, f64)>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            delays: VecDeque::new(),
            buckets: [None; BASE_S],
            base: None,
            held: false,
            drift: 0.0,
            looked: None,
            still: None,
        }
    }
}

impl Queue {
    /// Records the arrival of a packet.
    pub(super) fn arrived(&mut self, sent_s: f64, arrived_s: f64) {
        let delay = arrived_s - sent_s;
        while self.delays.len() >= MOST || self.delays.front().is_some_and(|(at, _)| arrived_s - at > KEPT_S)
        {
            self.delays.pop_front();
        }
        self.delays.push_back((arrived_s, delay));
        let second = arrived_s.floor() as i64;
        let bucket = &mut self.buckets[second.rem_euclid(BASE_S as i64) as usize];
        match bucket {
            Some((of, least)) if *of == second => *least = least.min(delay),
            _ => *bucket = Some((second, delay)),
        }
        if !self.held || self.base.is_none_or(|base| delay < base) {
            let known = self.buckets.iter().flatten();
            let fresh = known.filter(|(of, _)| (0..BASE_S as i64).contains(&(second - of)));
            self.base = fresh.map(|(_, least)| *least).reduce(f64::min);
        }
        self.follow(arrived_s);
    }

    fn follow(&mut self, now_s: f64) {
        let Some(base) = self.base else { return };
        let Some((looked_s, before)) = self.looked else {
            self.looked = Some((now_s, base));
            return;
        };
        let passed = now_s - looked_s;
        if self.held {
            self.base = Some(base + self.drift * passed);
            self.looked = Some((now_s, base + self.drift * passed));
        } else if passed >= BASE_S as f64 {
            let seen = ((base - before) / passed).clamp(-MOST_DRIFT, MOST_DRIFT);
            self.drift += (seen - self.drift) / 4.0;
            self.looked = Some((now_s, base));
        }
    }

    /// Holds the base while a different flow fills the queue, since the minimum delay is then no base.
    pub(super) fn hold(&mut self, hold: bool) {
        if self.held && !hold {
            self.buckets = [None; BASE_S];
            if let (Some((at, _)), Some(base)) = (self.delays.back(), self.base) {
                let second = at.floor() as i64;
                self.buckets[second.rem_euclid(BASE_S as i64) as usize] = Some((second, base));
                self.looked = Some((*at, base));
            }
        }
        self.held = hold;
        self.still = None;
    }

    /// Whether a held base is wrong: a constant delay means that the path has become longer and that there is
    /// no competing flow. If so, a new base is measured.
    pub(super) fn is_longer_path(&mut self) -> bool {
        let (Some((now_s, _)), Some(standing)) = (self.delays.back().copied(), self.least(0.3)) else {
            return false;
        };
        let (since, low, high) = self.still.unwrap_or((now_s, standing, standing));
        let (low, high) = (low.min(standing), high.max(standing));
        let still = high - low < STILL_WITHIN_S;
        self.still = Some(if still { (since, low, high) } else { (now_s, standing, standing) });
        let longer = still && now_s - since > STILL_S;
        if longer {
            (self.buckets, self.base, self.held, self.still) = ([None; BASE_S], Some(low), false, None);
            self.looked = Some((now_s, low));
        }
        longer
    }

    fn least(&self, window_s: f64) -> Option<f64> {
        let newest = self.delays.back()?.0;
        let recent = self.delays.iter().rev().take_while(|(at, _)| newest - at <= window_s);
        recent.map(|(_, delay)| *delay).reduce(f64::min)
    }

    /// The queueing delay that lasted for all of this time up to the newest arrival, in seconds.
    pub(super) fn standing_s(&self, window_s: f64) -> Option<f64> {
        Some((self.least(window_s)? - self.base?).max(0.0))
    }

    /// The minimum queueing delay of the last `count` packets, in seconds.
    pub(super) fn last_s(&self, count: usize) -> Option<f64> {
        let least = self.delays.iter().rev().take(count).map(|(_, delay)| *delay).reduce(f64::min)?;
        Some((least - self.base?).max(0.0))
    }

    /// The queueing delay of one packet, in seconds.
    pub(super) fn of(&self, sent_s: f64, arrived_s: f64) -> f64 {
        self.base.map_or(0.0, |base| (arrived_s - sent_s - base).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a packet every 10 ms in these seconds, with this queueing delay and clock drift.
    fn pass(queue: &mut Queue, seconds: std::ops::Range<u32>, drift: f64, of: impl Fn(f64) -> f64) {
        for n in seconds.start * 100..seconds.end * 100 {
            let sent = f64::from(n) * 0.01;
            queue.arrived(sent, 1000.0 + sent * (1.0 + drift) + 0.025 + of(sent));
        }
    }

    #[test]
    fn a_constant_queue_is_detected() {
        let mut queue = Queue::default();
        pass(&mut queue, 0..3, 0.0, |_| 0.0);
        pass(&mut queue, 3..13, 0.0, |_| 0.290);
        assert!((queue.standing_s(0.2).expect("known") - 0.290).abs() < 1e-6);
    }

    #[test]
    fn clock_drift_is_not_taken_for_a_queue() {
        for drift in [200e-6, -200e-6] {
            let mut queue = Queue::default();
            let mut most = 0.0_f64;
            for minute in 0..30 {
                pass(&mut queue, minute * 60..minute * 60 + 60, drift, |_| 0.0);
                most = most.max(queue.standing_s(0.2).expect("known"));
            }
            assert!(most < 0.005, "{most}");
        }
    }

    #[test]
    fn a_held_base_follows_the_drift_until_the_path_is_longer() {
        let mut queue = Queue::default();
        pass(&mut queue, 0..200, 200e-6, |_| 0.0);
        queue.hold(true);
        pass(&mut queue, 200..320, 200e-6, |t| 0.1 + 0.1 * (t * 3.0).sin().abs());
        let standing = queue.standing_s(0.2).expect("known");
        assert!((0.09..0.21).contains(&standing), "{standing}");
        assert!(!queue.is_longer_path());
        for n in 0..10 {
            pass(&mut queue, 320 + n..321 + n, 0.0, |_| 0.080);
            queue.is_longer_path();
        }
        assert!(queue.standing_s(0.2).expect("known") < 0.005);
    }
}
