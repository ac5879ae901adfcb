//! The packets in flight: when each transport-wide sequence number was sent, and what became of the packet
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! When a report is lost, nothing is known about its packets: they count neither as arrived nor as lost. A
//! packet that was reported lost may still be reported as arrived later, if others overtook it.

use std::collections::VecDeque;

use super::{Kind, Report};

/// Maximum number of packets that are remembered: two seconds at 8 Mbit/s. Reports about older ones are
/// ignored.
pub(in crate::viewer) const MOST: usize = 2_048;
/// How long a packet is remembered, in seconds: longer than any queue and round trip time at which a
/// conversation is still possible.
const KEPT_S: f64 = 5.0;

/// A packet in flight, or what became of it.
#[derive(Clone, Copy, Debug)]
struct Packet {
    sent_s: f64,
    size: u16,
    kind: Kind,
    /// The probe that the packet belongs to.
    probe: Option<u32>,
    /// The queueing delay that our own earlier packets would have caused on a faster link, in seconds.
    own_s: f32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flying,
    Arrived,
    Lost,
    /// The report about it was lost.
    Unknown,
}

/// What became of a packet, when a report says so for the first time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Transport-wide sequence number, unwrapped.
    pub number: u64,
    /// When it was sent, in seconds.
    pub sent_s: f64,
    /// When it arrived, by the viewer's clock; `None`: it was lost.
    pub arrived_s: Option<f64>,
    /// Size in bytes, including all headers.
    pub size: f64,
    /// What it carried.
    pub kind: Kind,
    /// The probe that it belongs to.
    pub probe: Option<u32>,
    /// The queueing delay that our own earlier packets would have caused on a faster link, in seconds.
    pub own_s: f64,
    /// What was assumed about the packet until now, if that was wrong.
    pub corrects: Option<Corrects>,
    /// Whether a stall of the path delayed it ([`super::stall`]).
    pub stalled: bool,
}

/// An assumption that a report corrects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Corrects {
    /// The packet was reported lost.
    Lost,
    /// Nothing was known about the packet, so it was counted as arrived.
    Unknown,
}

/// The packets of one viewer.
#[derive(Debug, Default)]
pub(super) struct History {
    packets: VecDeque<Packet>,
    /// Number of the first packet that is remembered.
    first: u64,
    /// Packets below this number were reported, or never will be.
    settled: u64,
    /// The newest packet that is known to have arrived: its number and when it was sent.
    newest: Option<(u64, f64)>,
}

impl History {
    /// Records that a packet was sent.
    pub(super) fn sent(
        &mut self,
        number: u16,
        size: usize,
        kind: Kind,
        probe: Option<u32>,
        own_s: f64,
        now_s: f64,
    ) {
        let next = self.first + self.packets.len() as u64;
        let ahead = number.wrapping_sub(next as u16);
        if ahead >= 1 << 15 && !self.packets.is_empty() {
            return; // an identical retransmission: reports can't tell it apart
        }
        if ahead > 0 {
            // The index requires sequence numbers without gaps.
            *self = Self { first: u64::from(number) + (1 << 16), ..Self::default() };
            self.settled = self.first;
        }
        let old = |p: &Packet| now_s - p.sent_s > KEPT_S;
        while self.packets.len() >= MOST || self.packets.front().is_some_and(old) {
            self.forget_first();
        }
        let size = size.min(usize::from(u16::MAX)) as u16;
        self.packets.push_back(Packet {
            sent_s: now_s,
            size,
            kind,
            probe,
            own_s: own_s as f32,
            state: State::Flying,
        });
    }

    fn forget_first(&mut self) {
        if self.packets.pop_front().is_some() {
            self.first += 1;
            self.settled = self.settled.max(self.first);
        }
    }

    /// Processes a report. Adds the new outcomes to `out`, ordered by number; returns the number of bytes
    /// whose report was lost.
    pub(super) fn reported(&mut self, reports: &[Report], out: &mut Vec<Outcome>) -> f64 {
        let begin = out.len();
        let (mut lowest, mut highest) = (u64::MAX, 0);
        for report in reports {
            let Some(number) = self.unwrapped(report.number) else { continue };
            (lowest, highest) = (lowest.min(number), highest.max(number));
            let Some(packet) = self.packets.get_mut((number - self.first) as usize) else { continue };
            let corrects = match (packet.state, report.arrived) {
                (State::Flying, _) => None,
                (State::Lost, Some(_)) => Some(Corrects::Lost),
                (State::Unknown, _) => Some(Corrects::Unknown),
                (State::Lost | State::Arrived, _) => continue,
            };
            packet.state = if report.arrived.is_some() { State::Arrived } else { State::Lost };
            let (size, sent_s) = (f64::from(packet.size), packet.sent_s);
            let (kind, probe, own_s) = (packet.kind, packet.probe, f64::from(packet.own_s));
            let arrived_s = report.arrived.map(|at| at.as_secs_f64());
            if arrived_s.is_some() && self.newest.is_none_or(|(newest, _)| newest < number) {
                self.newest = Some((number, sent_s));
            }
            out.push(Outcome {
                number,
                sent_s,
                arrived_s,
                size,
                kind,
                probe,
                own_s,
                corrects,
                stalled: false,
            });
        }
        out[begin..].sort_by_key(|outcome| outcome.number);
        let mut unknown = 0.0;
        if highest > 0 {
            for number in self.settled..lowest {
                let Some(packet) = self.packets.get_mut((number - self.first) as usize) else { break };
                if packet.state == State::Flying {
                    packet.state = State::Unknown;
                    unknown += f64::from(packet.size);
                }
            }
            self.settled = self.settled.max(highest + 1);
        }
        unknown
    }

    /// Bytes sent after the newest packet that is known to have arrived, and when that packet was sent.
    pub(super) fn after_newest(&self) -> Option<(f64, f64)> {
        let (number, sent_s) = self.newest?;
        let after = self.packets.iter().rev();
        let count = (self.first + self.packets.len() as u64 - 1).saturating_sub(number) as usize;
        Some((after.take(count).map(|p| f64::from(p.size)).sum(), sent_s))
    }

    /// When the oldest packet without a report was sent.
    pub(super) fn oldest_flying_s(&self) -> Option<f64> {
        let from = self.settled.saturating_sub(self.first) as usize;
        self.packets.get(from).map(|p| p.sent_s)
    }

    fn unwrapped(&self, number: u16) -> Option<u64> {
        let last = self.first + self.packets.len() as u64;
        let back = u64::from((last as u16).wrapping_sub(number));
        let number = last.checked_sub(back)?;
        (number >= self.first && number < last).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(number: u16, ms: Option<u64>) -> Report {
        Report { number, arrived: ms.map(Duration::from_millis) }
    }

    fn history(count: u16) -> History {
        let mut history = History::default();
        for n in 0..count {
            history.sent(65_530_u16.wrapping_add(n), 100, Kind::Video, None, 0.0, f64::from(n) / 1000.0);
        }
        history
    }

    #[test]
    fn numbers_wrap_and_each_packet_is_counted_once() {
        let mut history = history(20);
        let reports = [report(65_535, Some(5)), report(0, None), report(1, Some(7))];
        let mut out = vec![];
        assert_eq!(history.reported(&reports, &mut out), 500.0, "the first five were not reported");
        assert_eq!(out.iter().map(|o| o.arrived_s.is_some()).collect::<Vec<_>>(), [true, false, true]);
        out.clear();
        history.reported(&reports, &mut out);
        assert!(out.is_empty(), "already reported");
        history.reported(&[report(0, Some(8))], &mut out);
        assert_eq!(out[0].corrects, Some(Corrects::Lost));
        history.reported(&[report(65_531, Some(1))], &mut out);
        assert_eq!(out[1].corrects, Some(Corrects::Unknown));
    }

    #[test]
    fn reports_of_unknown_and_forgotten_packets_are_ignored() {
        let mut history = history(20);
        let mut out = vec![];
        history.reported(&[report(30_000, Some(1)), report(14, Some(1)), report(65_529, Some(1))], &mut out);
        assert!(out.is_empty());
        history.sent(5, 100, Kind::Repeat, None, 0.0, 1.0);
        assert_eq!(history.packets.len(), 20, "an identical retransmission");
        history.sent(14, 100, Kind::Video, None, 0.0, 20.0);
        assert_eq!(history.packets.len(), 1, "all others are too old");
        history.sent(9, 100, Kind::Repeat, None, 0.0, 20.0);
        assert_eq!(history.packets.len(), 1, "an identical retransmission of a packet that is forgotten");
        for n in 15..10_000_u16 {
            history.sent(n, 100, Kind::Video, None, 0.0, 20.0);
        }
        assert_eq!(history.packets.len(), MOST);
    }

    #[test]
    fn bytes_after_the_newest_arrival_are_counted() {
        let mut history = history(20);
        assert!(history.after_newest().is_none());
        history.reported(&[report(3, Some(9))], &mut vec![]);
        assert_eq!(history.after_newest(), Some((1000.0, 0.009)));
    }
}
