//! Decreases: what the estimator does while there is a queue.

use super::{ALIKE_BPS, Estimator, HIGH_S, State};

/// The longer of the two windows over which arrivals are counted, in seconds.
const USUAL_S: f64 = 0.35;
/// If the arrivals of the short window are below this part of those of the longer one, the link has become
/// slower.
const LESS: f64 = 0.55;
/// Upper limit of the estimate as a multiple of the acknowledged bitrate that is still explained by an
/// encoder that does not use all of it, where the link has not become slower.
const MOST_UNUSED: f64 = 1.25;
/// Factor on the acknowledged bitrate while there is a queueing delay of [`HIGH_S`]. It falls with the delay
/// beyond that, by 1 for each [`FULL_S`], but not below [`LEAST_PART`].
const PART: f64 = 0.86;
/// Added to [`PART`] for each halving of the acknowledged bitrate below [`ALIKE_BPS`]: of the viewers who
/// share a link, the faster ones give up more.
const STEEPER: f64 = 0.04;
/// Upper limit of [`PART`] after that addition.
const MOST_SLOW_PART: f64 = 0.92;
/// Upper limit of [`PART`] where the encoder left some of the estimate unused.
const MOST_PART: f64 = 0.96;
/// See [`PART`]; in seconds.
const FULL_S: f64 = 0.6;
/// See [`PART`].
const LEAST_PART: f64 = 0.5;
/// If the estimate falls below this part at once, the waiting pictures were encoded for a much faster link.
const DEEP: f64 = 0.5;

impl Estimator {
    /// Reduces the estimate because there is a queue; `already` if it was being drained before.
    pub(super) fn drain(&mut self, queue_s: f64, already: bool, now_s: f64) {
        let newest = self.acked.newest_s().unwrap_or_default();
        let window = self.queued_since_s.map_or(0.1, |since| newest - since).clamp(0.06, 0.3);
        // A short window covers few packets, so the acknowledged bitrate is partly random unless it is much
        // lower. While the capacity is unknown, the bitrate has just risen, and what arrived before that does
        // not count.
        let (busy, usual) = (self.acked.rate(window, 4), self.acked.rate(USUAL_S, 4));
        let slower = matches!((busy, usual), (Some(busy), Some(usual)) if busy < LESS * usual);
        let arrives = match (busy, usual) {
            (Some(busy), Some(usual)) if !slower && (self.capacity.is_some() || busy < usual) => {
                Some(0.5 * (busy + usual))
            }
            _ => busy.or(usual),
        };
        let arrives = arrives.unwrap_or(0.5 * self.estimate_bps);
        // Encoders use more or less of their bitrate. A viewer whose encoder uses less of it must not lose
        // that part with each fall.
        let unused =
            if already { self.unused } else { (self.estimate_bps / arrives).clamp(1.0, MOST_UNUSED) };
        self.unused = if slower { 1.0 } else { unused };
        let most = part(arrives, self.unused);
        let part = (most - (queue_s - HIGH_S) / FULL_S).clamp(LEAST_PART, most);
        self.probes.stop(now_s);
        self.loss.congested(now_s);
        let before = self.estimate_bps;
        if !already {
            if arrives * part < before {
                self.before = Some(self.before.unwrap_or(before).max(before));
            }
            (self.drained, self.lossless) = (None, None);
            (self.fell_s, self.fell_queue_s) = (now_s, queue_s);
            self.trains.forget();
            (self.free_pace, self.carried) = (0.0, 0);
            self.fell_from = before;
        }
        self.state = State::Draining;
        // What arrived at first is our share. What we give up while the queue drains is taken by viewers who
        // share the link, and must not be subtracted twice. If the queue continues to grow, the link itself
        // carries less.
        let grows = queue_s > self.fell_queue_s + 0.02;
        let smoothed = match self.drained {
            Some(known) if grows || now_s - self.fell_s < 0.35 => known + (arrives - known) * 0.5,
            Some(known) => known.max(arrives),
            None => arrives,
        };
        self.drained = Some(smoothed);
        let target = part * if grows { arrives.min(smoothed) } else { smoothed };
        // The estimate never exceeds its value from before the fall.
        self.set(target.min(self.fell_from));
        if self.estimate_bps < DEEP * before && queue_s > 0.1 {
            self.useless = Some(now_s);
        }
        if self.rival.draining(queue_s, arrives, now_s) {
            let before = self.before.take().unwrap_or(before);
            self.queue.hold(true);
            self.rival.begin(before.min(1.2 * self.capacity.unwrap_or(before)), arrives, now_s);
            self.state = State::Competing;
        }
    }

    /// Ends a fall because the queue has drained.
    pub(super) fn drained(&mut self, now_s: f64) {
        if let Some(carries) = self.drained.take() {
            let known = self.capacity.filter(|known| (carries / known - 1.0).abs() < 0.3);
            let capacity = known.map_or(carries, |known| known + 0.4 * (carries - known));
            self.capacity = Some(capacity);
            self.set((part(carries, self.unused) * carries).max(self.estimate_bps).min(self.fell_from));
        }
        self.hold_s = now_s + 0.5 * self.rtt_s;
    }

    pub(super) fn compete(&mut self, queue_s: f64, limited: bool, now_s: f64) {
        self.state = State::Competing;
        let (part, packets) = self.loss.since(self.rival.last_cut_s().max(now_s - 1.0));
        let lost = part * packets >= 2.0 && part > 2.0 * self.loss.own().min(0.05) - 0.01;
        let longer = self.queue.is_longer_path();
        let arrives = self.acked.rate(USUAL_S, 4).unwrap_or(self.estimate_bps);
        match self.rival.rate(queue_s, arrives, lost, self.rtt_s, limited, now_s) {
            Some(rate) if !longer => self.set(rate),
            _ => {
                self.rival.end();
                self.queue.hold(false);
                self.state = State::Rising;
                self.capacity = None;
                self.loss.congested(now_s);
            }
        }
    }
}

/// The part of the acknowledged bitrate to send from now on, where the estimate was `unused` times what the
/// encoder used.
fn part(arrives_bps: f64, unused: f64) -> f64 {
    let part = (PART - STEEPER * (arrives_bps / ALIKE_BPS).log2()).clamp(PART, MOST_SLOW_PART);
    (part * unused).min(MOST_PART)
}
