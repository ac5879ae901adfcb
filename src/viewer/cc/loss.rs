//! Decides whether loss is random or caused by a full link. A radio link loses packets at any bitrate; a full
//! link loses what exceeds its capacity. libwebrtc (`goog_cc/loss_based_bwe_v2`) fits both at once by maximum
//! likelihood; here they are told apart by a trial:
//!
//! Loss that exceeds the link's own loss by more than chance allows (three standard deviations; for 75
//! packets at 5 % that is 7.5 %) is first taken for a full link, and the bitrate falls to what arrived. If
//! the loss stays the same, the bitrate was not its cause: the bitrate is restored, and from then on this
//! loss counts as the link's own.

use std::collections::VecDeque;

/// The own loss that is assumed before anything is known about the link.
const ALWAYS: f64 = 0.01;
/// Number of standard deviations beyond which loss is not random.
const DEVIATIONS: f64 = 3.0;
/// Number of packets that a decision requires...
const LEAST: f64 = 40.0;
/// ... and the time over which they are counted, in seconds.
const WINDOW_S: f64 = 0.6;
/// Above this loss the bitrate falls whatever the cause, because the loss does so much harm.
const HARMFUL: f64 = 0.35;
/// Time constant with which the link's own loss is updated, in seconds.
const FORGET_S: f64 = 6.0;
/// If more than this part of the loss remains after the bitrate fell, the bitrate was not its cause.
const STAYED: f64 = 0.6;
/// How long after the bitrate fell loss is measured again, in seconds beyond the round trip time.
const AGAIN_S: f64 = 0.4;
/// Maximum number of reports that are remembered.
const MOST: usize = 64;

/// What to do about loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// The link seems to be full: send no more than what arrives.
    Full,
    /// The last decrease did not help: return to this bitrate.
    Chance(f64),
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    since_s: f64,
    /// The loss that triggered the trial, and the bitrate before it.
    loss: f64,
    rate_bps: f64,
}

/// Measures loss.
#[derive(Debug)]
pub(super) struct Loss {
    /// Time, number of packets reported, number of those that were lost.
    reports: VecDeque<(f64, f64, f64)>,
    /// The part that the link loses by itself.
    own: f64,
    updated_s: f64,
    trial: Option<Trial>,
    /// Until when no decision is made, because one has just been made.
    quiet_s: f64,
}

impl Default for Loss {
    fn default() -> Self {
        Self { reports: VecDeque::new(), own: ALWAYS, updated_s: 0.0, trial: None, quiet_s: 0.0 }
    }
}

impl Loss {
    /// Records that this many packets were reported, and that this many of them were lost. Corrections are
    /// negative.
    pub(super) fn reported(&mut self, packets: f64, lost: f64, now_s: f64) {
        if self.reports.len() == MOST {
            self.reports.pop_front();
        }
        self.reports.push_back((now_s, packets, lost));
        let dt = (now_s - self.updated_s).clamp(0.0, 1.0);
        self.updated_s = now_s;
        if packets > 0.0 && self.trial.is_none() {
            let part = (lost / packets).clamp(0.0, 1.0);
            // It follows downward as fast as upward: loss caused by a queue is not included, see
            // `Self::congested`.
            self.own += (part - self.own) * dt / FORGET_S;
            self.own = self.own.max(ALWAYS);
        }
    }

    /// The queue is full, or was a moment ago, so current loss says nothing about the link's own loss.
    pub(super) fn congested(&mut self, now_s: f64) {
        self.reports.clear();
        self.trial = None;
        self.quiet_s = now_s + WINDOW_S;
    }

    /// The part of recent packets that was lost, and how many packets that is based on.
    pub(super) fn recent(&self, now_s: f64) -> (f64, f64) {
        self.since(now_s - WINDOW_S)
    }

    /// The part of packets lost since `since_s`, and how many packets that is based on.
    pub(super) fn since(&self, since_s: f64) -> (f64, f64) {
        let recent = self.reports.iter().rev().take_while(|(at, ..)| *at >= since_s);
        let (packets, lost) =
            recent.fold((0.0, 0.0), |(all, gone), (_, packets, lost)| (all + packets, gone + lost));
        if packets > 0.0 { ((lost / packets).clamp(0.0, 1.0), packets) } else { (0.0, 0.0) }
    }

    /// The part that the link loses by itself.
    pub(super) fn own(&self) -> f64 {
        self.own
    }

    /// Decides what to do at this bitrate and round trip time.
    pub(super) fn judge(&mut self, rate_bps: f64, rtt_s: f64, now_s: f64) -> Verdict {
        if let Some(trial) = self.trial {
            let from = trial.since_s + rtt_s + 0.1;
            let (part, packets) = self.since(from);
            if packets < LEAST || now_s < from + AGAIN_S {
                return Verdict::Fine;
            }
            self.trial = None;
            self.quiet_s = now_s + rtt_s;
            if part > STAYED * trial.loss && part < HARMFUL {
                self.own = part.max(self.own);
                return Verdict::Chance(trial.rate_bps);
            }
            return Verdict::Fine;
        }
        if now_s < self.quiet_s {
            return Verdict::Fine;
        }
        let (part, packets) = self.recent(now_s);
        let chance = DEVIATIONS * (self.own * (1.0 - self.own) / packets.max(1.0)).sqrt();
        if packets < LEAST || part < self.own + chance + 0.01 {
            return Verdict::Fine;
        }
        self.trial = Some(Trial { since_s: now_s, loss: part, rate_bps });
        Verdict::Full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports 100 packets every 100 ms for 20 s; `lost` gives the part that is lost at a bitrate and time.
    /// Returns the resulting bitrates.
    fn rates(lost: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let (mut loss, mut rate) = (Loss::default(), 1e6);
        let mut rates = vec![];
        for n in 0..200 {
            let now = f64::from(n) * 0.1;
            loss.reported(100.0, (100.0 * lost(rate, now)).round(), now);
            match loss.judge(rate, 0.05, now) {
                Verdict::Full => rate *= 1.0 - loss.recent(now).0,
                Verdict::Chance(before) => rate = before,
                Verdict::Fine => {}
            }
            rates.push(rate);
        }
        rates
    }

    #[test]
    fn the_links_own_loss_does_not_reduce_the_rate() {
        for own in [0.02, 0.05, 0.10, 0.20] {
            let rates = rates(|_, _| own);
            assert!(rates[30..].iter().all(|r| *r == 1e6), "{own}: {rates:?}");
        }
    }

    #[test]
    fn a_full_link_without_a_queue_is_detected() {
        let rates = rates(|rate, _| if rate > 0.8e6 { 1.0 - 0.8e6 / rate } else { 0.0 });
        assert!(rates[100..].iter().all(|r| *r < 0.85e6), "{rates:?}");
    }
}
