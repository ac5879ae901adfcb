//! The estimator combines the units: what the link carries now, and how fast packets may leave.
//!
//! * **Decrease at once** where the queue stands ([`Queue`]) or grows ([`Trend`]). While there is a queue the
//!   link is never idle, so the acknowledged bitrate *is* what it carries. The estimate falls to that, minus
//!   a part that grows with the queue: at 0.85 of the acknowledged bitrate a queue of 300 ms would take two
//!   seconds to drain, at 0.5 it takes 0.6.
//! * **Increase in steps**: quickly to what packet trains and probes have shown to be free; otherwise by a
//!   part per second while the link's capacity is unknown; otherwise by a fixed amount per second, so that
//!   viewers who share a link converge (Chiu and Jain, 1989: additive increase, multiplicative decrease).
//! * The estimate never exceeds 1.5 times the acknowledged bitrate (libwebrtc's `aimd_rate_control`), and
//!   does not rise where the source is the limit.
//! * What a stall of the path delays ([`Stalls`]) is no queue.
//! * Separate rules cover random loss ([`Loss`]), a queue that other flows fill ([`Rival`]), viewers that do
//!   not report individual packets ([`Blind`]), and data that still waits in a TCP socket.

mod fall;
mod rise;

use super::acked::Acked;
use super::arrival::Groups;
use super::blind::{Blind, Said};
use super::history::{Corrects, History, Outcome};
use super::limited::Limited;
use super::loss::{Loss, Verdict};
use super::probe::{self, Probes};
use super::queue::Queue;
use super::rival::Rival;
use super::stall::Stalls;
use super::trains::Trains;
use super::trend::{Trend, Usage};
use super::{Kind, Report};

/// A queueing delay of this much over [`STANDING_S`] is too much, in seconds.
const HIGH_S: f64 = 0.020;
/// Time over which the standing queue is measured, in seconds: more than one picture interval, so that a
/// single picture is not taken for a queue.
const STANDING_S: f64 = 0.12;
/// Time over which a draining queue is measured, in seconds.
const RECENT_S: f64 = 0.06;
/// A queueing delay of this much for all of the last packets is too much at once, in seconds.
const JUMP_S: f64 = 0.050;
/// A growing queue is too much from this queueing delay on, in seconds.
const GROWING_S: f64 = 0.014;
/// Below this queueing delay the queue has drained, in seconds.
const LOW_S: f64 = 0.012;
/// Pictures wait while more than this is known to be queued, in seconds.
const HOLD_S: f64 = 0.060;
/// The estimate at which `rise` and `fall` apply their standard growth and decrease, in bits per second.
const ALIKE_BPS: f64 = 1.5e6;
/// A hypothetical link is this many times as fast as the estimate. When for some time no packet meets a
/// longer queue than our own packets would cause there, the real link has probably become faster.
const TIMES: f64 = 1.5;
/// A packet with more than this queueing delay is late, in seconds.
const LATE_S: f64 = 0.030;
/// Queueing delay beyond that of our own packets which is still ignored, in seconds.
const EMPTY_S: f64 = 0.005;
/// The pace of pictures while few bytes wait and while many wait, as multiples of the estimate.
const PACE: (f64, f64) = (1.25, 1.1);
/// The pace is at most this many times what the link carried when it was last full: it is better for a
/// picture to wait here than in the network.
const PACE_KNOWN: f64 = 1.1;
/// The same on links slower than [`SLOW_BPS`], so that no sound packet waits behind two others.
const SLOW_PACE: (f64, f64) = (1.0, 0.95);
/// See [`SLOW_PACE`]; in bits per second.
const SLOW_BPS: f64 = 250e3;
/// "Few" bytes are at most what is sent at the estimate in this time, in seconds.
const FEW_S: f64 = 0.045;
/// Size of the pacer's bucket in seconds of the pace: usually (a little more than one timer tick), on a link
/// that is known to be much faster than the estimate, and on a slow link.
const BURST_S: (f64, f64, f64) = (0.010, 0.020, 0.002);
/// A link that carries more than this many times the estimate is much faster.
const MUCH_FASTER: f64 = 4.0;
/// Without a report for this time plus the round trip time, the estimate falls once per this time, in
/// seconds.
const SILENCE_S: f64 = 0.5;
/// Factor on the estimate for each such fall.
const SILENCE_PART: f64 = 0.7;
/// If everything that was sent for this long is lost, in seconds, the path was interrupted: a full link loses only what
/// exceeds its capacity.
const INTERRUPTED_S: f64 = 0.4;
/// Part of the estimate from before the reports stopped that is used again once they are back.
const BACK_PART: f64 = 0.8;
/// How long receiver reports and REMB are ignored after transport-wide feedback, in seconds.
const SEES_S: f64 = 5.0;
/// A source that could use this many times as much as before has grown.
const GROWN: f64 = 1.3;

/// The limits of the estimate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Minimum, in bits per second.
    pub least_bps: f64,
    /// The first estimate, in bits per second.
    pub start_bps: f64,
    /// The bitrate that can be used, in bits per second. The estimate may rise somewhat above it.
    pub wanted_bps: f64,
}

/// What the estimator is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for the first report.
    #[default]
    Starting,
    /// There is no queue, so the estimate rises.
    Rising,
    /// The source needs no more.
    Limited,
    /// A queue drains.
    Draining,
    /// A different flow fills the queue.
    Competing,
    /// Reports have stopped.
    Silent,
}

impl State {
    /// A description for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Starting => "waiting for the first report",
            Self::Rising => "looking for more",
            Self::Limited => "enough for the picture",
            Self::Draining => "slowed down by a queue",
            Self::Competing => "sharing with another transfer",
            Self::Silent => "no reports",
        }
    }
}

/// Figures for the status and the page.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// The estimate in bits per second, including all headers.
    pub estimate_bps: f64,
    /// Queueing delay in the network, in milliseconds.
    pub queue_ms: f64,
    /// The part of recent packets that was lost.
    pub loss: f64,
    /// Round trip time in milliseconds. Where single packets are reported it includes the time that a report waits at
    /// the viewer.
    pub rtt_ms: f64,
    /// What the estimator is doing.
    pub state: State,
}

/// Instructions for the pacer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Drive {
    /// The estimate, in bits per second.
    pub estimate_bps: f64,
    /// The pace while few bytes wait, in bits per second...
    pub pace_bps: f64,
    /// ... and while many wait, so that a keyframe does not cause a queue.
    pub calm_bps: f64,
    /// Size of the bucket, in seconds of the pace.
    pub burst_s: f64,
    /// Everything but sound waits, because the queue is too long.
    pub hold: bool,
    /// The probe to send.
    pub probe: Option<probe::Active>,
}

impl Drive {
    /// The same for a sender that may use this many bits per second of the link.
    pub(crate) fn within(self, most_bps: f64) -> Self {
        Self {
            estimate_bps: self.estimate_bps.min(most_bps),
            pace_bps: self.pace_bps.min(PACE.0 * most_bps),
            calm_bps: self.calm_bps.min(PACE.1 * most_bps),
            probe: self.probe.filter(|probe| probe.rate_bps <= most_bps),
            ..self
        }
    }

    /// The pace in bits per second while `waiting` bytes wait.
    pub(crate) fn pace(&self, waiting: f64) -> f64 {
        let probe = self.probe.map_or(0.0, |p| p.rate_bps);
        let few = waiting * 8.0 <= FEW_S * self.estimate_bps.max(1.0);
        probe.max(if few { self.pace_bps } else { self.calm_bps }).max(8e3)
    }
}

/// The estimator of one viewer.
#[derive(Debug)]
pub(crate) struct Estimator {
    limits: Limits,
    history: History,
    outcomes: Vec<Outcome>,
    stalls: Stalls,
    acked: Acked,
    groups: Groups,
    trend: Trend,
    queue: Queue,
    loss: Loss,
    limited: Limited,
    trains: Trains,
    rival: Rival,
    probes: Probes,
    blind: Blind,
    estimate_bps: f64,
    state: State,
    /// What the link carried when it was last full, smoothed.
    capacity: Option<f64>,
    /// The estimate before the last fall, until most of it has been regained.
    before: Option<f64>,
    /// The acknowledged bitrate during this fall, smoothed.
    drained: Option<f64>,
    /// When the current queue began, by the viewer's clock.
    queued_since_s: Option<f64>,
    /// The pace that packet trains have shown to be free.
    free_pace: f64,
    carried: u32,
    /// Since when the estimate has been far above the acknowledged bitrate.
    above_s: Option<f64>,
    /// The estimate does not rise before this time.
    hold_s: f64,
    rtt_s: f64,
    decided_s: f64,
    reported_s: Option<f64>,
    fell_s: f64,
    fell_queue_s: f64,
    /// The estimate before this fall.
    fell_from: f64,
    /// The estimate as a multiple of what the encoder used of it when this fall began.
    unused: f64,
    /// When a packet was last known to have met a queue.
    met_s: f64,
    /// When the last packet was sent, and the queueing delay that our packets would have caused by then on a
    /// faster link.
    own: (f64, f64),
    /// The estimate before it fell because of loss.
    lossless: Option<f64>,
    now_s: f64,
    silent_s: f64,
    /// How many packets in a row were lost, and when the first of them was sent.
    missing: Option<(f64, f64)>,
    /// The estimate before the reports stopped.
    silent_from: f64,
    /// What left before this time is of no use.
    useless: Option<f64>,
    /// Bytes that still wait in a TCP socket.
    unsent: Option<f64>,
}

impl Estimator {
    /// Creates an estimator that knows nothing yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            history: History::default(),
            outcomes: vec![],
            stalls: Stalls::default(),
            acked: Acked::default(),
            groups: Groups::default(),
            trend: Trend::default(),
            queue: Queue::default(),
            loss: Loss::default(),
            limited: Limited::default(),
            trains: Trains::default(),
            rival: Rival::default(),
            probes: Probes::default(),
            blind: Blind::default(),
            estimate_bps: limits.start_bps,
            state: State::Starting,
            capacity: None,
            before: None,
            drained: None,
            queued_since_s: None,
            free_pace: 0.0,
            carried: 0,
            above_s: None,
            hold_s: 0.0,
            rtt_s: 0.1,
            decided_s: 0.0,
            reported_s: None,
            fell_s: -100.0,
            fell_queue_s: 0.0,
            fell_from: f64::MAX,
            unused: 1.0,
            met_s: 0.0,
            own: (0.0, 0.0),
            lossless: None,
            now_s: 0.0,
            silent_s: 0.0,
            missing: None,
            silent_from: 0.0,
            useless: None,
            unsent: None,
        }
    }

    /// Changes the bitrate that can be used ([`Limits::wanted_bps`]).
    pub(crate) fn want(&mut self, bps: f64) {
        let before = std::mem::replace(&mut self.limits.wanted_bps, bps);
        if bps > GROWN * before {
            self.probes.hurry();
        }
    }

    /// Until the first report, the link is assumed to carry at least this.
    pub(crate) fn assume(&mut self, bps: f64) {
        if self.state == State::Starting {
            self.estimate_bps = self.estimate_bps.max(bps);
        }
    }

    /// Records that a packet was sent. `size` includes all headers; `number` is its transport-wide sequence
    /// number, if it has one.
    pub(crate) fn sent(
        &mut self,
        number: Option<u16>,
        size: usize,
        kind: Kind,
        probe: Option<u32>,
        now_s: f64,
    ) {
        let (at, own) = self.own;
        let own_s = (own - (now_s - at)).max(0.0);
        self.own = (now_s, own_s + size as f64 * 8.0 / (TIMES * self.estimate_bps).max(1.0));
        if let Some(number) = number {
            self.history.sent(number, size, kind, probe, own_s, now_s);
        }
        if kind != Kind::Probe {
            self.limited.sent(size as f64, now_s);
        }
        if let Some(id) = probe {
            self.probes.sent(id, size as f64, now_s);
        }
    }

    /// Processes transport-wide feedback.
    pub(crate) fn feedback(&mut self, reports: &[Report], now_s: f64) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        outcomes.clear();
        self.now_s = now_s;
        let unknown = self.history.reported(reports, &mut outcomes);
        self.acked.unknown(unknown);
        let is_late = |o: &Outcome| o.arrived_s.is_some_and(|at| self.queue.of(o.sent_s, at) > LATE_S);
        let usual_bps = self.limited.rate(1.0, now_s).min(self.estimate_bps);
        self.stalls.judge(&mut outcomes, usual_bps, is_late);
        let (mut packets, mut lost) = (0.0, 0.0);
        for outcome in &outcomes {
            let (packet, gone) = self.take(outcome);
            packets += packet;
            lost += gone;
        }
        if let Some(sent_s) =
            outcomes.iter().filter(|o| o.arrived_s.is_some()).map(|o| o.sent_s).reduce(f64::max)
        {
            let sample = (now_s - sent_s).clamp(0.001, 3.0);
            self.rtt_s += (sample - self.rtt_s) / 4.0;
        }
        let nothing = outcomes.is_empty();
        self.outcomes = outcomes;
        if nothing {
            return;
        }
        if self.state == State::Silent {
            // The path was interrupted. If there is a queue as well, these reports show it.
            self.state = State::Rising;
            self.set(self.estimate_bps.max(BACK_PART * self.silent_from));
        }
        self.loss.reported(packets, lost, now_s);
        self.reported_s = Some(now_s);
        self.decide(now_s);
    }

    /// Takes what became of a packet. Returns the packets that it adds to those reported, and to those lost: what is
    /// lost in a row is counted with the next packet that arrives.
    fn take(&mut self, o: &Outcome) -> (f64, f64) {
        if let Some(id) = o.probe {
            self.probes.reported(id, o.sent_s, o.arrived_s, o.size);
        }
        let Some(arrived_s) = o.arrived_s else {
            let (count, since_s) = self.missing.unwrap_or((0.0, o.sent_s));
            self.missing = Some((count + 1.0, since_s));
            return (0.0, 0.0);
        };
        let lost = match self.missing.take() {
            Some((_, since_s)) if o.sent_s - since_s >= INTERRUPTED_S => {
                self.useless = Some(o.sent_s); // more is missing than can be sent again in time
                0.0
            }
            missing => missing.map_or(0.0, |(count, _)| count),
        };
        if o.corrects != Some(Corrects::Unknown) {
            self.acked.arrived(arrived_s, o.size);
        }
        let found = if o.corrects == Some(Corrects::Lost) { (0.0, -1.0) } else { (1.0, 0.0) };
        let counts = (found.0 + lost, found.1 + lost);
        if o.stalled {
            return counts; // its delay says nothing about the queue
        }
        self.queue.arrived(o.sent_s, arrived_s);
        if self.queue.of(o.sent_s, arrived_s) > o.own_s + EMPTY_S {
            self.met_s = self.now_s;
        }
        if let Some(delta) = self.groups.arrived(o.sent_s, arrived_s) {
            self.trend.add(delta);
        }
        match self.queue.last_s(3) {
            Some(queue_s) if queue_s > LOW_S => {
                self.queued_since_s.get_or_insert(arrived_s);
            }
            _ => self.queued_since_s = None,
        }
        if o.kind != Kind::Sound {
            let gap_s = 1.7 * o.size * 8.0 / self.estimate_bps.max(1.0) + 0.002;
            if let Some(shown) = self.trains.arrived(o.number, o.sent_s, arrived_s, o.size, gap_s) {
                self.shown(&shown);
            }
        }
        counts
    }

    /// Processes a report that does not name individual packets.
    pub(crate) fn said(&mut self, said: Said, now_s: f64) {
        if self.reported_s.is_some_and(|at| now_s - at < SEES_S) {
            return;
        }
        let limited = self.limited.judge(self.estimate_bps, now_s);
        let sent = self.limited.rate(1.0, now_s);
        let estimate = self.blind.said(said, self.estimate_bps, sent, limited, now_s);
        self.state = if estimate < self.estimate_bps { State::Draining } else { State::Rising };
        self.set(estimate);
    }

    /// A TCP socket holds this many bytes that are not sent or not acknowledged (`SIOCOUTQ`), including what
    /// waits to be written to it; `None` over UDP.
    pub(crate) fn unsent(&mut self, bytes: Option<usize>) {
        self.unsent = bytes.map(|bytes| bytes as f64);
    }

    /// The delay of what a TCP socket holds beyond what is in flight, in seconds.
    fn unsent_s(&self) -> f64 {
        let Some(bytes) = self.unsent else { return 0.0 };
        let rate = self.acked.rate(0.4, 4).unwrap_or(self.estimate_bps).max(1.0);
        (bytes * 8.0 / rate - self.rtt_s).max(0.0)
    }

    fn set(&mut self, bps: f64) {
        let most = 1.25 * self.limits.wanted_bps.max(self.limits.start_bps);
        self.estimate_bps = bps.min(most).max(self.limits.least_bps);
    }

    fn decide(&mut self, now_s: f64) {
        let dt = (now_s - self.decided_s).clamp(0.0, 0.3);
        self.decided_s = now_s;
        let window = STANDING_S.max(3.0 * 9_600.0 / self.estimate_bps.max(1.0)).min(0.4);
        let (Some(standing), Some(last)) = (self.queue.standing_s(window), self.queue.last_s(4)) else {
            return;
        };
        // One late packet is no queue.
        let standing = standing.min(self.queue.last_s(3).unwrap_or(standing));
        let limited = self.limited.judge(self.estimate_bps, now_s);
        if self.rival.is_there() {
            self.compete(standing, limited, now_s);
            return;
        }
        let unsent = self.unsent_s();
        let growing = self.trend.usage() == Usage::Over
            && self.queue.standing_s(0.1).is_some_and(|queue| queue > GROWING_S);
        let jump = last > JUMP_S && self.queue.standing_s(RECENT_S).is_some_and(|queue| queue > HIGH_S);
        let over = standing > HIGH_S || jump || growing || unsent > 2.0 * HOLD_S;
        let draining = self.state == State::Draining;
        // The minimum of several packets: packets of one viewer often leave right after those of a different
        // viewer.
        let recent = self.queue.standing_s(RECENT_S).unwrap_or(last);
        if over || draining && recent > LOW_S {
            let queue = if last > JUMP_S { last } else { recent };
            self.drain(queue.max(standing).max(unsent), draining, now_s);
            return;
        }
        if draining {
            self.drained(now_s);
        }
        self.rival.calm();
        self.state = if limited { State::Limited } else { State::Rising };
        match self.loss.judge(self.estimate_bps, self.rtt_s, now_s) {
            Verdict::Fine => {}
            Verdict::Full => {
                let (part, _) = self.loss.recent(now_s);
                self.probes.stop(now_s);
                self.lossless = Some(self.estimate_bps);
                self.hold_s = now_s + self.rtt_s + 0.3;
                self.set(self.estimate_bps * (1.0 - part));
            }
            Verdict::Chance(before) => self.set(self.estimate_bps.max(before)),
        }
        self.rise(last, limited, dt, now_s);
    }

    /// Processes the passing of time; returns the current instructions for the pacer.
    pub(crate) fn drive(&mut self, now_s: f64) -> Drive {
        self.silence(now_s);
        let estimate_bps = self.estimate_bps;
        let draining = self.state == State::Draining;
        let pace = match self.state {
            _ if estimate_bps < SLOW_BPS => SLOW_PACE,
            State::Draining | State::Competing | State::Silent => (PACE.1, PACE.1),
            _ => PACE,
        };
        let held = (draining || self.unsent.is_some()) && self.backlog_s(now_s) > HOLD_S;
        let fast = if draining { 0.0 } else { self.free_pace };
        let known = self.capacity.map_or(f64::MAX, |capacity| PACE_KNOWN * capacity);
        Drive {
            estimate_bps,
            pace_bps: (pace.0 * estimate_bps).min(known).max(1.02 * estimate_bps).max(fast),
            calm_bps: (pace.1 * estimate_bps).max(fast),
            burst_s: match fast / estimate_bps.max(1.0) {
                _ if estimate_bps < SLOW_BPS => BURST_S.2,
                times if times > MUCH_FASTER => BURST_S.1,
                _ => BURST_S.0,
            },
            hold: held,
            probe: self.probes.active(now_s),
        }
    }

    /// The queueing delay now, as far as it can be known: the last known delay, plus what was sent since,
    /// minus what the link carried meanwhile.
    fn backlog_s(&self, now_s: f64) -> f64 {
        let Some((after, sent_s)) = self.history.after_newest() else { return self.unsent_s() };
        let carries = self.drained.unwrap_or(self.estimate_bps).max(1.0) / 8.0;
        let known = self.queue.last_s(2).unwrap_or_default();
        (known + after / carries - (now_s - sent_s)).max(0.0).max(self.unsent_s())
    }

    /// Reduces the estimate if reports are overdue.
    fn silence(&mut self, now_s: f64) {
        let Some(reported_s) = self.reported_s else { return };
        let sends = now_s - self.own.0 < SILENCE_S; // without packets there is nothing to report
        let waits = self.history.oldest_flying_s().is_some_and(|at| now_s - at > SILENCE_S + self.rtt_s);
        if sends && waits && now_s - reported_s > SILENCE_S + self.rtt_s && now_s - self.silent_s > SILENCE_S
        {
            self.silent_s = now_s;
            if self.state != State::Silent {
                self.silent_from = self.estimate_bps;
            }
            self.state = State::Silent;
            self.before = Some(self.before.unwrap_or(self.estimate_bps));
            self.set(self.estimate_bps * SILENCE_PART);
        }
    }

    /// What it is doing.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The estimate in bits per second, including all headers.
    pub(crate) fn estimate_bps(&self) -> f64 {
        self.estimate_bps
    }

    /// The link was interrupted, or has suddenly become so slow that the pictures on their way are useless: what left
    /// before this time is of no use to the viewer, nor is what waits behind it. Once for each such fall.
    pub(crate) fn useless_before_s(&mut self) -> Option<f64> {
        self.useless.take()
    }

    /// Figures for the status and the page.
    pub(crate) fn figures(&self, now_s: f64) -> Figures {
        let sees = self.reported_s.is_some_and(|at| now_s - at < SEES_S);
        let (queue_s, loss, rtt_s) = if sees {
            (self.queue.last_s(4).unwrap_or_default(), self.loss.recent(now_s).0, self.rtt_s)
        } else {
            let (queue_s, loss, rtt_s) = self.blind.seen();
            (queue_s, loss, rtt_s.unwrap_or(self.rtt_s))
        };
        Figures {
            estimate_bps: self.estimate_bps,
            queue_ms: queue_s.max(self.unsent_s()) * 1000.0,
            loss,
            rtt_ms: rtt_s * 1000.0,
            state: self.state,
        }
    }
}
