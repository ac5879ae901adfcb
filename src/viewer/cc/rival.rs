//! A different flow fills the queue: a competing download, whose congestion control reacts to loss and not to
//! delay. A sender that reacts to queueing delay alone gives way to it until nothing is left (Carlucci et
//! al.; RFC 8698 section 5 for NADA's loss mode, and Copa's competitive mode, NSDI 2018). Here a rival is
//! detected by arithmetic. While there is a queue, the link is never idle; so if the queue is ours alone, the
//! arriving bitrate stays the same until the queue has drained, however much less we send. If less and less
//! arrives while the queue remains, a different flow takes what we give up.
//!
//! Then the bitrate reacts to loss like a single TCP flow's: it rises by one packet per round trip and falls
//! by a part at each loss. This ends when the queue is gone, which never happens while a download competes,
//! or when the queue falls as if it were ours alone while we briefly send less.

/// Time after which, in a fall, the arriving bitrate is taken for what the link leaves us, in seconds.
const BELIEVED_S: f64 = 0.4;
/// Growth of the queueing delay in a fall after which the observation starts again, in seconds.
const GROWN_S: f64 = 0.080;
/// If less than this part of that bitrate arrives while there still is a queue, a different flow takes what
/// we give up.
const TAKEN: f64 = 0.75;
/// The link is ours alone again when the queueing delay stays below this, in seconds...
const GONE_S: f64 = 0.020;
/// ... for this long, in seconds.
const GONE_FOR_S: f64 = 0.25;
/// Factor on the bitrate at each loss.
const AT_LOSS: f64 = 0.85;
/// Minimum growth of the bitrate per second, in bits per second: with a queue of one second, TCP itself is
/// not faster.
const LEAST_INCREASE: f64 = 50e3;
/// Size of a packet, in bits.
const PACKET: f64 = 1_200.0 * 8.0;
/// Interval and length of the trials that test whether the queue is ours alone, in seconds.
const TRY: (f64, f64) = (7.0, 0.6);
/// Factor on the bitrate during a trial.
const TRIED: f64 = 0.7;

/// Detects a rival, and controls the bitrate while there is one.
#[derive(Debug, Default)]
pub(super) struct Rival {
    holding: Option<Holding>,
    competing: Option<Competing>,
}

/// Sending less, to drain a queue.
#[derive(Debug)]
struct Holding {
    since_s: f64,
    /// Queueing delay at that time.
    queue_s: f64,
    /// The bitrate that arrived once it was taken for our share.
    arrived_bps: Option<f64>,
}

#[derive(Debug)]
struct Competing {
    rate_bps: f64,
    gone_since_s: Option<f64>,
    /// When the bitrate last fell because of loss, or when the rival was detected.
    cut_s: f64,
    tried_s: f64,
    /// The current trial: its start, and the queueing delay then.
    trial: Option<(f64, f64)>,
    /// When the bitrate was last updated.
    updated_s: f64,
}

impl Rival {
    /// Whether there is a rival.
    pub(super) fn is_there(&self) -> bool {
        self.competing.is_some()
    }

    /// We drain a queue of `queue_s` seconds, and `arrives_bps` arrives. Returns true if a different flow keeps
    /// the queue up.
    pub(super) fn draining(&mut self, queue_s: f64, arrives_bps: f64, now_s: f64) -> bool {
        let holding = self.holding.get_or_insert(Holding { since_s: now_s, queue_s, arrived_bps: None });
        if queue_s > holding.queue_s + GROWN_S {
            // The link itself has become slower, so earlier arrivals say nothing about it.
            *holding = Holding { since_s: now_s, queue_s, arrived_bps: None };
        }
        if now_s - holding.since_s < BELIEVED_S {
            return false;
        }
        let first = *holding.arrived_bps.get_or_insert(arrives_bps);
        let taken = arrives_bps < TAKEN * first;
        if taken {
            self.holding = None;
        }
        taken
    }

    /// No queue is being drained.
    pub(super) fn calm(&mut self) {
        self.holding = None;
    }

    /// Starts competing with a rival; our bitrate was `before_bps` before it came, and is `now_bps` now.
    pub(super) fn begin(&mut self, before_bps: f64, now_bps: f64, now_s: f64) {
        self.competing = Some(Competing {
            rate_bps: now_bps.max(0.5 * before_bps),
            gone_since_s: None,
            cut_s: now_s,
            tried_s: now_s,
            trial: None,
            updated_s: now_s,
        });
    }

    /// Stops competing: the rival is gone.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// The bitrate beside the rival; `None`: it is gone. `lost`: whether more than random loss has occurred
    /// since [`Self::last_cut_s`].
    pub(super) fn rate(
        &mut self,
        queue_s: f64,
        lost: bool,
        rtt_s: f64,
        limited: bool,
        now_s: f64,
    ) -> Option<f64> {
        let c = self.competing.as_mut()?;
        let gone = (queue_s < GONE_S).then(|| *c.gone_since_s.get_or_insert(now_s));
        c.gone_since_s = gone;
        let mut over = gone.is_some_and(|since| now_s - since >= GONE_FOR_S);
        let dt = (now_s - c.updated_s).clamp(0.0, 0.5);
        c.updated_s = now_s;
        if let Some((since_s, before_s)) = c.trial {
            if now_s - since_s >= TRY.1 + rtt_s.min(1.2) {
                // A queue of our own falls by this much; beside a rival it falls by less than half of it.
                let alone = (1.0 - TRIED) * TRY.1;
                over |= before_s - queue_s > 0.75 * alone.min(before_s);
                (c.trial, c.tried_s) = (None, now_s);
            }
        } else if lost && now_s - c.cut_s > rtt_s {
            c.rate_bps *= AT_LOSS;
            c.cut_s = now_s;
        } else if now_s - c.tried_s > TRY.0 && now_s - c.cut_s > 1.0 {
            c.trial = Some((now_s, queue_s));
        } else if !limited {
            let round_trip = rtt_s.max(0.05);
            c.rate_bps += dt * (PACKET / (round_trip * round_trip)).clamp(LEAST_INCREASE, 150e3);
        }
        let tried = c.trial.is_some_and(|(since, _)| now_s - since < TRY.1);
        let rate = c.rate_bps * if tried { TRIED } else { 1.0 };
        if over {
            self.end();
            return None;
        }
        Some(rate)
    }

    /// When the bitrate last fell because of loss, or when the rival was detected.
    pub(super) fn last_cut_s(&self) -> f64 {
        self.competing.as_ref().map_or(0.0, |c| c.cut_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_our_own_is_not_a_rival() {
        let mut rival = Rival::default();
        for n in 0..40 {
            let now = f64::from(n) * 0.05;
            assert!(
                !rival.draining(0.3 - 0.1 * now, if now < 0.3 { 4e6 } else { 0.95e6 - 1e3 * now }, now),
                "{now}"
            );
        }
    }

    #[test]
    fn a_link_that_becomes_slower_in_a_fall_is_no_rival() {
        let mut rival = Rival::default();
        for n in 0..60 {
            let now = f64::from(n) * 0.05;
            let (queue, arrives) = if now < 1.0 { (0.03, 3.5e6) } else { (0.28 - 0.05 * now, 0.8e6) };
            assert!(!rival.draining(queue, arrives, now), "{now}");
        }
    }

    #[test]
    fn a_rival_is_detected_and_is_gone_with_its_queue() {
        let mut rival = Rival::default();
        let seen = (0..40).position(|n| rival.draining(0.2, 3e6 * 0.97_f64.powi(n), f64::from(n) * 0.05));
        assert!(seen.is_some_and(|n| n <= 20), "{seen:?}");
        rival.begin(3.6e6, 0.8e6, 2.0);
        assert_eq!(rival.rate(0.28, false, 0.35, false, 2.0), Some(1.8e6));
        let later = rival.rate(0.28, true, 0.35, false, 3.0).expect("a rival");
        assert!((later / 1.8e6 - AT_LOSS).abs() < 0.1, "{later}");
        assert!(rival.rate(0.001, false, 0.35, false, 3.1).is_some());
        assert!(rival.rate(0.001, false, 0.35, false, 3.4).is_none());
        assert!(!rival.is_there());
    }
}
