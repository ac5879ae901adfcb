//! Increases: what the estimator does while there is no queue.

use super::super::{probe, trains};
use super::{ALIKE_BPS, Estimator, LOW_S, PACE, SLOW_BPS, State};

/// Growth per second while the link's capacity is unknown, as a part of the estimate.
const UNKNOWN_GROWTH: f64 = 0.30;
/// Limits of the growth per second near the capacity: maximum as a part of the estimate, the same on links
/// slower than [`SLOW_BPS`], and minimum in bits per second.
const NEAR_GROWTH: (f64, f64, f64) = (0.25, 0.10, 6e3);
/// Growth per second near the capacity at an estimate of [`ALIKE_BPS`], in bits per second. Lower estimates
/// grow faster and higher ones more slowly, by the power [`POWER`] and down to [`FLOOR`] of it, so that
/// viewers who share a link converge.
const GROWTH_BPS: f64 = 200e3;
/// See [`GROWTH_BPS`].
const POWER: f64 = 1.2;
/// See [`GROWTH_BPS`].
const FLOOR: f64 = 0.45;
/// Factor on that growth while the estimate is clearly below the capacity: under [`CLEARLY`] of it.
const BELOW: f64 = 2.5;
/// See [`BELOW`].
const CLEARLY: f64 = 0.8;
/// Near the capacity, the estimate is at most this many times what was sent in the last second: an encoder
/// that does not use all of it proves nothing.
const OVER_SENT: f64 = 1.2;
/// After this long without a longer queue than our own packets explain ([`super::TIMES`]), in seconds, the
/// link has probably become faster; and the growth per second from then on, as a part of the estimate.
const STAGNANT: (f64, f64) = (1.0, 0.6);
/// Maximum growth per second towards a bitrate that was shown to be free, as a part of the estimate.
const SHOWN_GROWTH: f64 = 3.0;
/// Part of the bitrate shown by packet trains that is used.
const OF_SHOWN: f64 = 0.88;
/// Upper limit of the estimate: this many times the acknowledged bitrate, plus this many bits per second.
const OVER_ACKED: (f64, f64) = (1.5, 20e3);
/// An estimate of more than this many times the acknowledged bitrate lasts at most this long, in seconds.
const HELD: (f64, f64) = (1.3, 0.9);
/// After this many packet trains in a row that were carried, the pace rises by this factor.
const FASTER: (u32, f64) = (3, 1.4);
/// The fastest pace, as a multiple of the estimate.
const FASTEST: f64 = 12.0;
/// Part of the bitrate at which a stretched train arrived that is used.
const OF_STRETCHED: f64 = 0.9;

impl Estimator {
    /// Adjusts the pace to what a packet train has shown.
    pub(super) fn shown(&mut self, shown: &trains::Shown) {
        let pace = self.free_pace.max(PACE.0 * self.estimate_bps);
        let carries = if shown.carried { shown.sent_bps } else { OF_STRETCHED * shown.arrived_bps };
        if shown.carried && carries > 0.7 * pace || carries > pace {
            self.carried += 1;
            if self.carried >= FASTER.0 && self.state != State::Draining {
                self.carried = 0;
                let most = if shown.carried { f64::MAX } else { carries };
                self.free_pace = (pace * FASTER.1).min(FASTEST * self.estimate_bps).min(most);
            }
        } else if !shown.carried {
            self.carried = 0;
            self.free_pace = self.free_pace.min(OF_STRETCHED * shown.arrived_bps);
        }
    }

    /// Raises the estimate because there is no queue.
    pub(super) fn rise(&mut self, last_s: f64, limited: bool, dt: f64, now_s: f64) {
        let estimate = self.estimate_bps;
        if self.before.is_some_and(|before| estimate > 0.8 * before) {
            self.before = None;
        }
        let stagnant = now_s - self.met_s > STAGNANT.0;
        let quiet = last_s < LOW_S && now_s > self.hold_s && now_s - self.fell_s > 1.0;
        self.probes.plan(probe::Now {
            estimate_bps: estimate,
            wanted_bps: self.limits.wanted_bps,
            before_bps: self.before,
            stagnant,
            limited,
            quiet,
            now_s,
        });
        let shown = self.probes.shown(self.limits.wanted_bps, self.loss.own(), now_s);
        if let Some(shown) = shown {
            self.set(estimate.max(shown.bps));
        }
        if limited || now_s < self.hold_s {
            self.above_s = None;
            return;
        }
        let arrives = self.acked.rate(1.0, 5).unwrap_or(0.0);
        let own = self.loss.recent(now_s).0.min(0.3);
        let arrives = arrives / (1.0 - own);
        let most = OVER_ACKED.0 * arrives + OVER_ACKED.1;
        let above = estimate > HELD.0 * arrives + OVER_ACKED.1;
        self.above_s = above.then(|| self.above_s.unwrap_or(now_s));
        if self.above_s.is_some_and(|since| now_s - since > HELD.1) {
            self.above_s = None;
            self.set(HELD.0 * arrives + OVER_ACKED.1);
            return;
        }
        if estimate > if stagnant { 1.1 } else { 1.6 } * self.capacity.unwrap_or(f64::MAX) {
            self.capacity = None; // the link has become faster
        }
        // Near the capacity of a shared link, packet trains say nothing: pictures of two viewers may miss
        // each other for a long time.
        let asks = self.capacity.is_none() || stagnant;
        let free = self.trains.free_bps(now_s).filter(|_| asks).map(|free| OF_SHOWN * free);
        let more = match (free, self.capacity) {
            (Some(free), _) if free > 1.05 * estimate => free.min(estimate * (1.0 + SHOWN_GROWTH * dt)),
            // When a burst of loss ends, it looks as if the lower bitrate had helped.
            _ if self.lossless.is_some_and(|before| estimate < 0.95 * before) => {
                estimate * (1.0 + STAGNANT.1 * dt)
            }
            (_, Some(_)) if stagnant => estimate * (1.0 + STAGNANT.1 * dt),
            (_, Some(capacity)) => {
                let times = if estimate < CLEARLY * capacity { BELOW } else { 1.0 };
                let most = GROWTH_BPS * (ALIKE_BPS / estimate).powf(POWER).max(FLOOR);
                let part = if estimate < SLOW_BPS { NEAR_GROWTH.1 } else { NEAR_GROWTH.0 };
                let more = times * most.min(part * estimate).max(NEAR_GROWTH.2) * dt;
                (estimate + more).min(OVER_SENT * self.limited.rate(1.0, now_s))
            }
            _ => estimate * (1.0 + UNKNOWN_GROWTH * dt),
        };
        self.set(more.min(most).max(estimate));
    }
}
