//! A different flow fills the queue: a competing download, whose congestion control reacts to loss and not to
//! delay. A sender that reacts to queueing delay alone gives way to it until nothing is left (Carlucci et
//! al.; RFC 8698 section 5 for NADA's loss mode, and Copa's competitive mode, NSDI 2018). Here a rival is
//! detected by arithmetic. While there is a queue, the link is never idle; so if the queue is ours alone, the
//! arriving bitrate stays the same until the queue has drained, however much less we send. If less and less
//! arrives while the queue remains as long as it was, and for longer than a short burst takes, a different flow takes what
//! we give up. (At the end of a queue of our own less arrives as well, and the last known delay may be older than that.)
//!
//! Then the bitrate reacts to loss like a single TCP flow's: it rises by one packet per round trip and falls
//! by a part at each loss. This ends when the queue is gone, which never happens while a download competes,
//! or when the queue falls as if it were ours alone while we briefly send less.

/// Time after which, in a fall, the arriving bitrate is taken for what the link leaves us, in seconds.
const BELIEVED_S: f64 = 0.4;
/// Growth of the queueing delay in a fall after which the observation starts again, in seconds.
const GROWN_S: f64 = 0.080;
/// If less than this part of that bitrate arrives while the queue remains, a different flow takes what we give up.
const TAKEN: f64 = 0.75;
/// A queue remains while it is at least this part of the longest one of the fall.
const REMAINS: f64 = 0.6;
/// What a flow sends at once without being a rival, in bits, as the page's own requests and messages; on a slow link that
/// takes a while...
const BURST: f64 = 64e3;
/// ... but for no longer than this, in seconds.
const MOST_BURST_S: f64 = 0.5;
/// The link is ours alone again when the queueing delay stays below this, in seconds...
const GONE_S: f64 = 0.020;
/// ... for this long, in seconds.
const GONE_FOR_S: f64 = 0.25;
/// Factor on the bitrate at each loss.
const AT_LOSS: f64 = 0.85;
/// Upper limit of the bitrate after a loss, as a multiple of what arrives.
const AFTER_LOSS: f64 = 2.0;
/// Minimum growth of the bitrate per second, in bits per second: with a queue of one second, TCP itself is
/// not faster. On slow links it is less: at most [`MOST_INCREASE`] times the bitrate.
const LEAST_INCREASE: f64 = 50e3;
/// See [`LEAST_INCREASE`]; per second.
const MOST_INCREASE: f64 = 0.15;
/// Size of a packet, in bits.
const PACKET: f64 = 1_200.0 * 8.0;
/// Interval and length of the trials that test whether the queue is ours alone, in seconds.
const TRY: (f64, f64) = (7.0, 0.6);
/// The bitrate during a trial as a part of what arrives, or of our bitrate if that is less.
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
    /// The longest queueing delay since then.
    longest_s: f64,
    /// The bitrate that arrived once it was taken for our share.
    arrived_bps: Option<f64>,
    /// Since when less than that has arrived.
    taken_s: Option<f64>,
}

#[derive(Debug)]
struct Competing {
    rate_bps: f64,
    gone_since_s: Option<f64>,
    /// When the bitrate last fell because of loss, or when the rival was detected.
    cut_s: f64,
    tried_s: f64,
    /// The current trial.
    trial: Option<Trial>,
    /// When the bitrate was last updated.
    updated_s: f64,
}

/// Sending less for a moment.
#[derive(Clone, Copy, Debug)]
struct Trial {
    since_s: f64,
    /// Queueing delay at that time.
    queue_s: f64,
    rate_bps: f64,
}

impl Rival {
    /// Whether there is a rival.
    pub(super) fn is_there(&self) -> bool {
        self.competing.is_some()
    }

    /// We drain a queue of `queue_s` seconds, and `arrives_bps` arrives. Returns true if a different flow keeps
    /// the queue up.
    pub(super) fn draining(&mut self, queue_s: f64, arrives_bps: f64, now_s: f64) -> bool {
        let begun =
            || Holding { since_s: now_s, queue_s, longest_s: queue_s, arrived_bps: None, taken_s: None };
        let holding = self.holding.get_or_insert_with(begun);
        if queue_s > holding.queue_s + GROWN_S {
            // The link itself has become slower, so earlier arrivals say nothing about it.
            *holding = begun();
        }
        holding.longest_s = holding.longest_s.max(queue_s);
        if now_s - holding.since_s < BELIEVED_S {
            return false;
        }
        let first = *holding.arrived_bps.get_or_insert(arrives_bps);
        if arrives_bps >= TAKEN * first || queue_s < REMAINS * holding.longest_s {
            holding.taken_s = None;
            return false;
        }
        let taken = now_s - *holding.taken_s.get_or_insert(now_s) >= (BURST / first).min(MOST_BURST_S);
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

    /// The bitrate beside the rival, while `arrives_bps` arrives; `None`: it is gone. `lost`: whether more than random
    /// loss has occurred since [`Self::last_cut_s`].
    pub(super) fn rate(
        &mut self,
        queue_s: f64,
        arrives_bps: f64,
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
        if let Some(trial) = c.trial {
            if now_s - trial.since_s >= TRY.1 + rtt_s.min(1.2) {
                // A queue of our own falls by this much; beside a rival it falls by less than half of it.
                let alone = (1.0 - TRIED) * TRY.1;
                over |= trial.queue_s - queue_s > 0.75 * alone.min(trial.queue_s);
                (c.trial, c.tried_s) = (None, now_s);
            }
        } else if lost && now_s - c.cut_s > rtt_s {
            c.rate_bps = (AT_LOSS * c.rate_bps).min(AFTER_LOSS * arrives_bps);
            c.cut_s = now_s;
        } else if now_s - c.tried_s > TRY.0 && now_s - c.cut_s > 1.0 {
            let rate_bps = TRIED * c.rate_bps.min(arrives_bps);
            c.trial = Some(Trial { since_s: now_s, queue_s, rate_bps });
        } else if !limited {
            let round_trip = rtt_s.max(0.05);
            let increase = (PACKET / (round_trip * round_trip)).clamp(LEAST_INCREASE, 150e3);
            c.rate_bps += dt * increase.min(MOST_INCREASE * c.rate_bps);
        }
        let tried = c.trial.filter(|trial| now_s - trial.since_s < TRY.1);
        let rate = tried.map_or(c.rate_bps, |trial| trial.rate_bps);
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
            let arrives = if now < 0.3 { 4e6 } else { 0.95e6 - 1e3 * now };
            assert!(!rival.draining(0.3 - 0.1 * now, arrives, now), "{now}");
        }
    }

    /// As measured on a link that fell from 2.6 Mbit/s to 110 kbit/s, of which 4 KB pass at once after a pause.
    #[test]
    fn less_arrives_at_the_end_of_a_queue_of_our_own() {
        let mut rival = Rival::default();
        for (n, queue) in [0.07, 0.21, 0.34, 0.46, 0.4, 0.33, 0.31, 0.24, 0.18].into_iter().enumerate() {
            assert!(!rival.draining(queue, 98e3, n as f64 * 0.15));
        }
        assert!(!rival.draining(0.142, 69e3, 1.35));
        assert!(!rival.draining(0.082, 36e3, 1.55));
    }

    /// As measured there: a message of the page fills the queue again, and takes three quarters of the link for 0.4 s.
    #[test]
    fn a_short_burst_is_no_rival() {
        let mut rival = Rival::default();
        for n in 0..30 {
            let now = f64::from(n) * 0.0625;
            let (queue, arrives) = if (20..26).contains(&n) { (0.3, 36e3) } else { (0.3 - 0.1 * now, 93e3) };
            assert!(!rival.draining(queue, arrives, now), "{now}");
        }
    }

    #[test]
    fn what_takes_our_share_of_a_slow_link_for_longer_is_a_rival() {
        let mut rival = Rival::default();
        let arrives = |n: i32| if n < 20 { 93e3 } else { 45e3 };
        let seen = (0..60).find(|n| rival.draining(0.25, arrives(*n), f64::from(*n) * 0.05));
        assert!(seen.is_some_and(|n| (29..=31).contains(&n)), "0.5 s later: {seen:?}");
    }

    #[test]
    fn after_a_loss_little_more_is_sent_than_arrives() {
        let mut rival = Rival::default();
        rival.begin(5e6, 90e3, 0.0);
        assert_eq!(rival.rate(0.5, 110e3, true, 0.4, false, 0.5), Some(220e3));
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
        assert_eq!(rival.rate(0.28, 0.8e6, false, 0.35, false, 2.0), Some(1.8e6));
        let later = rival.rate(0.28, 0.8e6, true, 0.35, false, 3.0).expect("a rival");
        assert!((later / 1.8e6 - AT_LOSS).abs() < 0.1, "{later}");
        assert!(rival.rate(0.001, 0.8e6, false, 0.35, false, 3.1).is_some());
        assert!(rival.rate(0.001, 0.8e6, false, 0.35, false, 3.4).is_none());
        assert!(!rival.is_there());
    }

    /// Taken for a rival by mistake: the queue is ours alone, and we send more than the link carries.
    #[test]
    fn a_queue_that_falls_while_we_send_less_is_ours() {
        for (alone, link) in [(true, 110e3), (true, 1e6), (false, 110e3), (false, 1e6)] {
            let mut rival = Rival::default();
            rival.begin(0.0, 1.3 * link, 0.0);
            // The queueing delay every 100 ms; each is known 400 ms later.
            let mut queue = vec![0.4; 5];
            let over = (1..150).find(|n| {
                let now = f64::from(*n) * 0.1;
                let Some(rate) = rival.rate(queue[queue.len() - 5], link, false, 0.4, false, now) else {
                    return true;
                };
                let grows = if alone { 0.1 * (rate / link - 1.0) } else { 0.0 };
                queue.push((queue[queue.len() - 1] + grows).clamp(0.0, 0.5));
                false
            });
            assert_eq!(over.is_some_and(|n| n < 100), alone, "{over:?} at {link}");
        }
    }
}
