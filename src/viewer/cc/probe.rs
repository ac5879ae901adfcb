//! Probes: for a moment, more is sent than the estimate allows, to see whether it arrives (libwebrtc's
//! `goog_cc/probe_controller` and `probe_bitrate_estimator`). Where media does not suffice, copies of recent
//! packets (RTX) fill the rest; receivers drop them.
//!
//! A probe begins only on an empty queue, is short, has a limit in bytes, and ends when the queue grows.
//! Packet trains ([`super::trains`]) measure the same at no cost, so probes are used only at the start, when
//! nothing is known, after a fall, and where the link may have become faster.

/// Bitrate of the first probe as a multiple of the estimate, and of each further one as a multiple of the
/// previous probe's.
const STEPS: (f64, f64) = (3.0, 2.0);
/// Highest bitrate to probe, as a multiple of the bitrate that can be used.
const ENOUGH: f64 = 1.15;
/// Length of a probe, in seconds.
const LENGTH_S: f64 = 0.060;
/// Maximum size of a probe, in bytes.
const MOST_BYTES: f64 = 64_000.0;
/// Maximum time until a probe begins, and from then until it has been reported, in seconds.
const PATIENCE_S: (f64, f64) = (0.15, 1.0);
/// Part of a probe's bytes that must be reported, and part of those that may be lost.
const REPORTED: (f64, f64) = (0.8, 0.1);
/// A probe that arrives at less than this part of its send bitrate was limited by the link.
const ARRIVED: f64 = 0.9;
/// Part of the measured bitrate that is used.
const USED: f64 = 0.90;
/// Pause after a failed probe, in seconds: the first pause, and the maximum to which each failure doubles it.
const AGAIN_S: (f64, f64) = (2.0, 60.0);
/// The maximum where the source needs less than the estimate, so that nothing else shows that the link carries more.
const LIMITED_S: f64 = 10.0;
/// Part of the bitrate before a fall that is probed again.
const BACK: f64 = 0.85;
/// Below this estimate, in bits per second, a few packets already cause a queue, so nothing is probed, unless the source
/// needs so little that nothing else shows what the link carries.
const LEAST_BPS: f64 = 300e3;

/// A running probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Active {
    /// Its number.
    pub id: u32,
    /// Its bitrate, in bits per second.
    pub rate_bps: f64,
}

#[derive(Debug)]
struct Running {
    active: Active,
    bytes_left: f64,
    until_s: f64,
    begun: bool,
}

#[derive(Debug)]
struct Sent {
    id: u32,
    rate_bps: f64,
    bytes: f64,
    reported: f64,
    lost: f64,
    /// Send and arrival time of the first and of the last packet, and bytes that arrived after the first.
    first: Option<(f64, f64)>,
    last: (f64, f64),
    arrived: f64,
    until_s: f64,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shown {
    /// A bitrate that the link carries.
    pub bps: f64,
    /// Whether the whole probe was carried, so that the link may carry more.
    pub all: bool,
}

/// Plans probes and evaluates their results.
#[derive(Debug)]
pub(super) struct Probes {
    running: Option<Running>,
    sent: Option<Sent>,
    next_id: u32,
    /// Bitrate of the next probe.
    wish: Option<f64>,
    begun: bool,
    /// How many probes in a row have failed, and when the last one did.
    failures: i32,
    failed_s: f64,
}

impl Default for Probes {
    fn default() -> Self {
        Self { running: None, sent: None, next_id: 1, wish: None, begun: false, failures: 0, failed_s: 0.0 }
    }
}

/// What is known when a probe is planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// The estimate, in bits per second.
    pub estimate_bps: f64,
    /// The bitrate that can be used, in bits per second.
    pub wanted_bps: f64,
    /// What was carried before the last fall, unless it has been reached again since.
    pub before_bps: Option<f64>,
    /// Whether there has been no queue for a long time, so that the link probably carries more.
    pub stagnant: bool,
    /// Whether less is sent than the estimate, as to a viewer on a small rung, so that only a probe shows more.
    pub limited: bool,
    /// Whether the queue is empty and nothing else speaks against a probe.
    pub quiet: bool,
    /// The current time, in seconds.
    pub now_s: f64,
}

impl Probes {
    /// Much more can be used from now on, so the next probe does not wait because others have failed.
    pub(super) fn hurry(&mut self) {
        self.failures = 0;
    }

    /// Begins a probe if one is due.
    pub(super) fn plan(&mut self, at: Now) {
        let Now { estimate_bps, wanted_bps, before_bps, stagnant, limited, quiet, now_s } = at;
        if self.running.is_some() || self.sent.is_some() || !quiet {
            return;
        }
        if !self.begun {
            (self.begun, self.wish) = (true, Some(STEPS.0 * estimate_bps));
        }
        if self.wish.is_none() && (self.failures == 0 || now_s >= self.failed_s + self.pause_s(limited)) {
            let back = before_bps.map(|before| (BACK * before).min(STEPS.0 * estimate_bps));
            self.wish = back.filter(|back| *back > 1.3 * estimate_bps);
            self.wish = self.wish.or_else(|| (stagnant || limited).then_some(STEPS.1 * estimate_bps));
        }
        let Some(wish) = self.wish.take() else { return };
        let rate_bps = wish.min(ENOUGH * wanted_bps);
        if USED * rate_bps <= estimate_bps || (estimate_bps < LEAST_BPS && !limited) {
            return;
        }
        let active = Active { id: self.next_id, rate_bps };
        self.next_id += 1;
        let bytes_left = (rate_bps * LENGTH_S / 8.0).min(MOST_BYTES);
        self.running = Some(Running { active, bytes_left, until_s: now_s + PATIENCE_S.0, begun: false });
    }

    /// The probe to send now.
    pub(super) fn active(&mut self, now_s: f64) -> Option<Active> {
        if self.running.as_ref().is_some_and(|r| r.bytes_left <= 0.0 || now_s > r.until_s) {
            self.running = None;
        }
        self.running.as_ref().map(|r| r.active)
    }

    /// Records that a packet of a probe was sent.
    pub(super) fn sent(&mut self, id: u32, bytes: f64, now_s: f64) {
        let Some(running) = self.running.as_mut().filter(|r| r.active.id == id) else { return };
        if !running.begun {
            (running.begun, running.until_s) = (true, now_s + 2.0 * LENGTH_S);
            self.sent = Some(Sent {
                id,
                rate_bps: running.active.rate_bps,
                bytes: 0.0,
                reported: 0.0,
                lost: 0.0,
                first: None,
                last: (0.0, 0.0),
                arrived: 0.0,
                until_s: now_s + PATIENCE_S.1,
            });
        }
        running.bytes_left -= bytes;
        if let Some(sent) = &mut self.sent {
            sent.bytes += bytes;
        }
    }

    /// Processes a report about a packet of a probe.
    pub(super) fn reported(&mut self, id: u32, sent_s: f64, arrived_s: Option<f64>, bytes: f64) {
        let Some(sent) = self.sent.as_mut().filter(|s| s.id == id) else { return };
        sent.reported += bytes;
        match (arrived_s, sent.first) {
            (None, _) => sent.lost += bytes,
            (Some(at), None) => (sent.first, sent.last) = (Some((sent_s, at)), (sent_s, at)),
            (Some(at), Some(_)) => {
                sent.last = (sent_s.max(sent.last.0), at.max(sent.last.1));
                sent.arrived += bytes;
            }
        }
    }

    /// Ends the probe, because the queue grows or packets are lost.
    pub(super) fn stop(&mut self, now_s: f64) {
        if self.running.take().is_some() || self.sent.is_some() {
            self.failed(now_s);
        }
        (self.sent, self.wish, self.begun) = (None, None, true);
    }

    fn failed(&mut self, now_s: f64) {
        (self.failures, self.failed_s) = (self.failures + 1, now_s);
    }

    /// How long to wait after the last failure.
    fn pause_s(&self, limited: bool) -> f64 {
        let most = if limited { LIMITED_S } else { AGAIN_S.1 };
        (AGAIN_S.0 * 2_f64.powi(self.failures - 1)).min(most)
    }

    /// The result of the last probe; returned once.
    pub(super) fn shown(&mut self, wanted_bps: f64, own_loss: f64, now_s: f64) -> Option<Shown> {
        let sent = self.sent.as_ref()?;
        if self.running.is_some() || (sent.reported < sent.bytes && now_s < sent.until_s) {
            return None;
        }
        let sent = self.sent.take()?;
        let span = |from: f64, to: f64| (to - from).max(1e-3);
        let shown = sent.first.filter(|_| {
            sent.reported >= REPORTED.0 * sent.bytes && sent.lost <= (REPORTED.1 + own_loss) * sent.reported
        });
        let shown = shown.map(|first| {
            let sent_bps = sent.arrived * 8.0 / span(first.0, sent.last.0);
            let arrived_bps = sent.arrived * 8.0 / span(first.1, sent.last.1);
            Shown { bps: USED * sent_bps.min(arrived_bps), all: arrived_bps >= ARRIVED * sent_bps }
        });
        match shown {
            Some(shown) if shown.all => {
                self.failures = 0;
                let more = STEPS.1 * sent.rate_bps;
                self.wish = (sent.rate_bps < 0.99 * ENOUGH * wanted_bps).then_some(more);
            }
            _ => self.failed(now_s),
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Now = Now {
        estimate_bps: 1e6,
        wanted_bps: 5e6,
        before_bps: None,
        stagnant: false,
        limited: false,
        quiet: true,
        now_s: 0.0,
    };

    /// Sends a probe that is due now over a link of this bitrate; returns its result and its size in bytes.
    fn probe(probes: &mut Probes, link: f64, now: f64) -> Option<(Shown, f64)> {
        let mut bytes = 0.0;
        let (mut at, mut free) = (now, now);
        while let Some(active) = probes.active(at) {
            probes.sent(active.id, 1200.0, at);
            free = at.max(free) + 9600.0 / link;
            probes.reported(active.id, at, Some(70.0 + free), 1200.0);
            bytes += 1200.0;
            at += 9600.0 / active.rate_bps;
        }
        probes.shown(5e6, 0.01, at + 0.1).map(|shown| (shown, bytes))
    }

    #[test]
    fn probes_climb_until_the_link_or_the_source_is_full() {
        let mut probes = Probes::default();
        probes.plan(QUIET);
        let (shown, bytes) = probe(&mut probes, 4e6, 0.0).expect("a result");
        assert!(shown.all && (shown.bps - 0.9 * 3e6).abs() < 1e5, "{shown:?}");
        assert!(bytes <= 3e6 / 8.0 * LENGTH_S + 1200.0, "{bytes}");
        probes.plan(Now { estimate_bps: shown.bps, now_s: 0.2, ..QUIET });
        let (shown, _) = probe(&mut probes, 4e6, 0.2).expect("a result");
        assert!(!shown.all && (shown.bps - 0.9 * 4e6).abs() < 1e5, "{shown:?}");
        probes.plan(Now { estimate_bps: shown.bps, now_s: 60.0, ..QUIET });
        assert!(probes.active(60.0).is_none(), "the estimate has not fallen since");
    }

    #[test]
    fn the_rate_before_a_fall_is_probed_less_often_after_failures() {
        let mut probes = Probes { begun: true, ..Probes::default() };
        let mut begun = vec![];
        for n in 0..1200 {
            let now = f64::from(n) * 0.1;
            probes.plan(Now { before_bps: Some(4e6), now_s: now, ..QUIET });
            if probes.active(now).is_some() {
                begun.push(now);
                probe(&mut probes, 0.9e6, now);
            }
        }
        let pauses: Vec<_> = begun.windows(2).map(|w| w[1] - w[0]).collect();
        let longest = AGAIN_S.1 + 0.3;
        assert!(begun.len() <= 7 && pauses.iter().all(|pause| *pause < longest), "{begun:?}");
        assert!(pauses.windows(2).all(|w| w[1] > w[0] || w[0] > AGAIN_S.1), "{begun:?}");
    }

    #[test]
    fn a_slow_link_is_probed_only_where_the_source_needs_less() {
        for (limited, stagnant) in [(true, false), (false, true)] {
            let mut probes = Probes { begun: true, ..Probes::default() };
            probes.plan(Now { estimate_bps: 100e3, limited, stagnant, ..QUIET });
            assert_eq!(probes.active(0.0).is_some(), limited);
        }
    }

    #[test]
    fn failures_do_not_delay_the_probe_for_a_source_that_has_grown() {
        let mut probes = Probes { begun: true, ..Probes::default() };
        let at = |now_s| Now { stagnant: true, now_s, ..QUIET };
        for n in 0..600 {
            let now = f64::from(n) * 0.1;
            probes.plan(at(now));
            if probes.active(now).is_some() {
                probe(&mut probes, 0.9e6, now);
            }
        }
        probes.plan(at(60.0));
        assert!(probes.active(60.0).is_none(), "it waits");
        probes.hurry();
        probes.plan(at(60.1));
        assert!(probes.active(60.1).is_some());
    }

    #[test]
    fn no_probe_begins_while_there_is_a_queue() {
        let mut probes = Probes::default();
        probes.plan(Now { quiet: false, ..QUIET });
        assert!(probes.active(0.0).is_none());
    }
}
