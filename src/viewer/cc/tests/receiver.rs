//! A model of Chromium's receiver: transport-wide feedback, NACKs in batches, a jitter buffer, and the
//! pictures that are finally shown (`remote_estimator_proxy`, `nack_requester`, `frame_buffer`,
//! `video_receive_stream`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Report;

/// A media packet on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub wide: u16,
    pub size: usize,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// A sound packet, with its capture time.
    Sound(f64),
    /// A part of a picture, in its first transmission or a retransmission.
    Part(Part),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub number: u64,
    /// Sequence number of the first part of its picture; the last part is number `first + count - 1`.
    pub first: u64,
    pub count: u64,
    pub idr: bool,
    pub captured: f64,
}

/// Feedback of the receiver.
#[derive(Clone, Debug)]
pub(super) enum Says {
    Wide(Vec<Report>),
    Nack(Vec<u64>),
    Pli,
    /// Receiver report: the part of packets lost since the last report, and the send time of the sender
    /// report that it answers, from which the model knows the round trip time.
    Report {
        loss: f64,
        sent: f64,
    },
    Remb(f64),
}

struct Picture {
    got: BTreeSet<u64>,
    part: Part,
    nacked: bool,
}

struct Nack {
    since: f64,
    sent: Option<f64>,
    tries: u32,
}

/// The kind of feedback that a receiver sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reports {
    /// Transport-wide feedback at this interval, in seconds; `None`: at the interval that Chromium derives
    /// from the bitrate.
    Wide(Option<f64>),
    /// Receiver reports and REMB.
    Remb,
    /// Receiver reports alone.
    Plain,
}

const NACK_TICK: f64 = 0.020;
/// The round trip time that is assumed before one is measured; a receiver that sends no media never measures
/// one.
const NACK_RTT: f64 = 0.100;
const NACKS: usize = 1_000;
const TRIES: u32 = 100;
const STUCK: f64 = 3.0;

pub(super) struct Receiver {
    reports: Reports,
    /// How much faster the receiver's clock runs.
    drift: f64,
    wide: BTreeMap<u64, f64>,
    wide_next: Option<u64>,
    wide_due: f64,
    rate: f64,
    rate_bytes: f64,
    rate_since: f64,
    pictures: BTreeMap<u64, Picture>,
    highest: Option<u64>,
    nacks: BTreeMap<u64, Nack>,
    nack_due: f64,
    nacked: f64,
    /// Sequence number of the next part to decode.
    next: u64,
    begun: bool,
    decoded: f64,
    asked: f64,
    least_delay: f64,
    deviation: f64,
    /// When each picture was shown, and when it was captured.
    pub shown: Vec<(f64, f64)>,
    /// Bytes that have arrived so far.
    pub bytes: f64,
    /// When each sound packet arrived, and how long after its capture.
    pub sounds: Vec<(f64, f64)>,
    /// The estimate for REMB.
    remote: super::remb::Remote,
    rr_due: f64,
    rr: (u64, u64, Option<u64>, u64),
    last_sent: f64,
}

impl Receiver {
    pub(super) fn new(reports: Reports, drift: f64) -> Self {
        Self {
            reports,
            drift,
            wide: BTreeMap::new(),
            wide_next: None,
            wide_due: 0.0,
            rate: 300e3,
            rate_bytes: 0.0,
            rate_since: 0.0,
            pictures: BTreeMap::new(),
            highest: None,
            nacks: BTreeMap::new(),
            nack_due: 0.0,
            nacked: 0.0,
            next: 0,
            begun: false,
            decoded: 0.0,
            asked: 0.0,
            least_delay: f64::MAX,
            deviation: 0.005,
            shown: vec![],
            bytes: 0.0,
            sounds: vec![],
            remote: super::remb::Remote::default(),
            rr_due: 1.0,
            rr: (0, 0, None, 0),
            last_sent: 0.0,
        }
    }

    fn clock(&self, at: f64) -> f64 {
        1000.0 + at * (1.0 + self.drift)
    }

    /// Receives a packet that was sent at `sent`.
    pub(super) fn arrived(&mut self, packet: &Packet, sent: f64, at: f64) {
        self.rate_bytes += packet.size as f64;
        self.bytes += packet.size as f64;
        self.last_sent = sent;
        let next = *self.wide_next.get_or_insert(u64::from(packet.wide));
        let number = next.wrapping_add_signed(i64::from(packet.wide.wrapping_sub(next as u16) as i16));
        match self.reports {
            Reports::Wide(_) => {
                self.wide.insert(number, at);
            }
            _ => {
                let highest = self.rr.2.unwrap_or(number).max(number);
                self.wide_next = Some(highest);
                self.rr.2 = Some(highest);
                self.rr.0 += 1;
                self.remote.arrived(sent, at, packet.size as f64);
            }
        }
        match packet.what {
            What::Sound(captured) => self.sounds.push((at, at - captured)),
            What::Part(part) => self.part(part, at),
        }
    }

    fn part(&mut self, part: Part, at: f64) {
        if !self.begun {
            if !part.idr {
                return;
            }
            (self.begun, self.next, self.highest) = (true, part.first, Some(part.first.wrapping_sub(1)));
        }
        let highest = self.highest.unwrap_or(part.number);
        if part.number > highest || highest == u64::MAX {
            for lost in highest.wrapping_add(1)..part.number {
                self.nacks.insert(lost, Nack { since: at, sent: None, tries: 0 });
            }
            self.highest = Some(part.number);
        }
        let was_lost = self.nacks.remove(&part.number).is_some();
        if part.first < self.next {
            return;
        }
        let picture = self.pictures.entry(part.first);
        let picture = picture.or_insert_with(|| Picture { got: BTreeSet::new(), part, nacked: false });
        picture.nacked |= was_lost;
        picture.got.insert(part.number);
        if picture.got.len() as u64 == picture.part.count {
            self.decode(at);
        }
    }

    fn decode(&mut self, at: f64) {
        loop {
            let complete = |p: &Picture| p.got.len() as u64 == p.part.count;
            let next = self.pictures.get(&self.next).filter(|p| complete(p)).map(|p| p.part.first);
            let idr =
                || self.pictures.values().filter(|p| p.part.idr && complete(p)).map(|p| p.part.first).max();
            let Some(first) = next.or_else(idr) else { return };
            let Some(picture) = self.pictures.remove(&first) else { return };
            let part = picture.part;
            self.next = part.first + part.count;
            self.pictures.retain(|first, _| *first > part.first);
            self.nacks.retain(|number, _| *number >= part.first + part.count);
            self.decoded = at;
            self.show(part, picture.nacked, at);
        }
    }

    /// Chromium's timing: the delay covers the variation of most pictures' delays, plus one round trip time
    /// where packets are retransmitted.
    fn show(&mut self, part: Part, nacked: bool, at: f64) {
        let delay = at - part.captured;
        self.least_delay = (self.least_delay + 0.0002).min(delay);
        if nacked {
            self.nacked = at;
        } else {
            let apart = (delay - self.least_delay).min(0.3);
            self.deviation += (apart - self.deviation) * if apart > self.deviation { 0.05 } else { 0.01 };
        }
        let again = if self.nacked > 0.0 && at - self.nacked < 60.0 { NACK_RTT } else { 0.0 };
        let buffer = (0.010 + 1.5 * self.deviation + again).min(0.4);
        let last = self.shown.last().map_or(0.0, |(at, _)| *at);
        let time = at.max(part.captured + self.least_delay + buffer).max(last);
        // Of several pictures within one screen refresh, only the newest is seen.
        if time - last < 0.008 {
            self.shown.pop();
        }
        self.shown.push((time, part.captured));
    }

    /// Adds the feedback that is due at `now` to `out`.
    pub(super) fn says(&mut self, now: f64, out: &mut Vec<Says>) {
        if now - self.rate_since >= 0.5 {
            self.rate = self.rate_bytes * 8.0 / (now - self.rate_since);
            (self.rate_bytes, self.rate_since) = (0.0, now);
        }
        if now >= self.nack_due {
            self.nack_due = now + NACK_TICK;
            let due = |n: &Nack| n.sent.is_none_or(|sent| now - sent >= NACK_RTT);
            let lost: Vec<_> = self.nacks.iter().filter(|(_, n)| due(n)).map(|(number, _)| *number).collect();
            for number in &lost {
                if let Some(nack) = self.nacks.get_mut(number) {
                    (nack.sent, nack.tries) = (Some(now), nack.tries + 1);
                }
            }
            self.nacks.retain(|_, n| n.tries < TRIES && now - n.since < 10.0);
            while self.nacks.len() > NACKS {
                self.nacks.pop_first();
            }
            if !lost.is_empty() {
                out.push(Says::Nack(lost));
            }
        }
        if self.begun && now - self.decoded > STUCK && now - self.asked > STUCK
            || !self.begun && self.highest.is_none() && !self.wide.is_empty() && now - self.asked > 0.5
        {
            self.asked = now;
            out.push(Says::Pli);
        }
        match self.reports {
            Reports::Wide(interval) => {
                if now >= self.wide_due && !self.wide.is_empty() {
                    let interval =
                        interval.unwrap_or((68.0 * 8.0 / (0.05 * self.rate.max(1.0))).clamp(0.05, 0.25));
                    self.wide_due = now + interval;
                    out.push(self.wide());
                }
            }
            kind => {
                if kind == Reports::Remb
                    && let Some(remb) = self.remote.says(now)
                {
                    out.push(Says::Remb(remb));
                }
                if now >= self.rr_due {
                    self.rr_due = now + 1.0;
                    let (got, before, highest, reported) = self.rr;
                    let Some(highest) = highest else { return };
                    let (expected, arrived) = (highest - reported, got - before);
                    self.rr = (got, got, Some(highest), highest);
                    let loss = 1.0 - (arrived as f64 / (expected as f64).max(1.0)).min(1.0);
                    out.push(Says::Report { loss, sent: self.last_sent });
                }
            }
        }
    }

    fn wide(&mut self) -> Says {
        let Some((highest, _)) = self.wide.last_key_value() else { return Says::Wide(vec![]) };
        let (highest, lowest) = (*highest, self.wide.first_key_value().map_or(0, |(n, _)| *n));
        let from = self.wide_next.unwrap_or(lowest).min(lowest);
        let reports = (from..=highest).map(|number| Report {
            number: number as u16,
            // Arrival times are reported in steps of 250 us.
            arrived: self
                .wide
                .get(&number)
                .map(|at| Duration::from_micros((self.clock(*at) * 4e3) as u64 * 250)),
        });
        let says = Says::Wide(reports.collect());
        self.wide.clear();
        self.wide_next = Some(highest + 1);
        says
    }
}
