//! Decides which packets are retransmitted when a viewer reports them lost (NACK, RFC 4585 section 6.2.1).
//! Pure, with the time as an argument; the caller only moves packets.
//!
//! A report costs the viewer a few bytes and us up to a packet for each bit in it, so a viewer that reports
//! without end would get hundreds of bytes for each byte, from an uplink that all share. So there are three
//! limits:
//!
//! * A packet is retransmitted at most once in a round trip: the earlier copy is still on its way. The round
//!   trip is measured from receiver reports (RFC 3550 section 6.4.1). If that copy was lost as well, or the
//!   packet is late, two copies are sent: that costs little, and one almost certainly arrives.
//! * Retransmissions, in bytes, are at most a quarter of the original packets, plus a burst of [`BURST`].
//! * A number that is repeated in one report counts once, which follows from the first limit.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packet::HEADER;
use crate::media::unit::VideoUnit;

/// Most packets kept, each a reference to a picture that all viewers share: at 8 Mbit/s those of 600 ms, more than a
/// round trip.
const KEPT: usize = 512;
/// Shortest time between two copies of a packet, even if the round trip is shorter or the viewer claims so.
const SHORTEST: Duration = Duration::from_millis(20);
/// Longest time between two copies: no player waits longer for a packet, and a viewer that claims more only
/// harms itself.
const LONGEST: Duration = Duration::from_secs(1);
/// How long a packet is of use after it was first sent: no player waits longer for it.
const USEFUL: Duration = Duration::from_millis(1200);
/// A packet that was first sent longer ago than this is late.
const LATE: Duration = Duration::from_millis(150);
/// Most packets, counted from the newest, that are looked at for a copy.
const RECENT: usize = 60;
/// Assumed round trip before the first report.
const UNKNOWN: Duration = Duration::from_millis(100);
/// Bytes that may be retransmitted at once: a tenth of a second at 2.5 Mbit/s, lost as a whole.
const BURST: usize = 32 * 1024;
/// Retransmissions may be up to one part in this many of the media. Where more is lost, they only add to the
/// congestion.
const PART: usize = 4;
/// Sender reports that a receiver report may still refer to: browsers name the newest one, of one every 500
/// ms.
const REPORTS: usize = 8;
/// How much longer a retransmission may be, in bytes: by the original sequence number (RFC 4588 section 4).
pub(super) const LONGER: usize = 2;

/// The packets of an RTP stream to a viewer that may be retransmitted.
pub(super) struct Resend {
    /// In the order of their numbers, without gaps.
    kept: VecDeque<Kept>,
    /// Number of the newest packet.
    newest: u16,
    /// The newest packet, if none is kept: it may still be copied.
    last: Option<Part>,
    /// Bytes that may be retransmitted now.
    budget: usize,
    round_trip: Option<Duration>,
    /// The middle 32 bits of the NTP time in each sender report, and when it was sent.
    reports: [Option<(u32, Instant)>; REPORTS],
    newest_report: usize,
}

/// A packet that was sent.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The picture that it belongs to.
    pub unit: Arc<VideoUnit>,
    /// Index of its payload.
    pub part: usize,
    /// The transport-wide number that it carried, for an identical retransmission.
    pub transport_wide: Option<u16>,
    /// The playout delay that it carried, for an identical retransmission.
    pub playout_delay: Option<&'static [u8; 3]>,
}

impl Part {
    /// Its payload.
    pub(super) fn payload(&self) -> &[u8] {
        &self.unit.payloads[self.part]
    }

    /// Whether it is the last packet of its picture.
    pub(super) fn is_last(&self) -> bool {
        self.part + 1 == self.unit.payloads.len()
    }

    /// Whether it is the first packet of an IDR.
    pub(super) fn begins_idr(&self) -> bool {
        self.unit.idr && self.part == 0
    }
}

/// A packet to retransmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Its number.
    pub number: u16,
    /// Size of its payload, with the original number.
    pub payload: usize,
    /// Whether to send two copies.
    pub twice: bool,
}

struct Kept {
    part: Part,
    sent: Instant,
    /// When it was last retransmitted.
    again: Option<Instant>,
    /// Whether it waits for retransmission.
    waits: bool,
}

impl Resend {
    /// Creates an empty store.
    pub(super) fn new() -> Self {
        Self {
            kept: VecDeque::new(),
            newest: 0,
            last: None,
            budget: BURST,
            round_trip: None,
            reports: [None; REPORTS],
            newest_report: 0,
        }
    }

    /// Records a packet that is sent for the first time; its number follows that of the previous packet.
    pub(super) fn sent(&mut self, number: u16, part: Part, now: Instant) {
        self.budget = (self.budget + bytes(&part) / PART).min(BURST);
        let useless = |kept: &Kept| now.saturating_duration_since(kept.sent) > USEFUL;
        while self.kept.len() == KEPT || self.kept.front().is_some_and(useless) {
            self.kept.pop_front();
        }
        self.last = None;
        self.kept.push_back(Kept { part, sent: now, again: None, waits: false });
        self.newest = number;
    }

    /// Nothing that was sent so far is sent again.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
        self.last = None;
    }

    /// What left before this time is not retransmitted any more.
    pub(super) fn forget_before(&mut self, sent: Instant) {
        while self.kept.front().is_some_and(|kept| kept.sent < sent) {
            self.last = self.kept.pop_front().map(|kept| kept.part);
        }
    }

    /// Whether the packet with this number is kept.
    pub(super) fn has(&self, number: u16) -> bool {
        self.place(number).is_some()
    }

    /// Records a sender report with this NTP time.
    pub(super) fn reported(&mut self, ntp: u64, now: Instant) {
        self.newest_report = (self.newest_report + 1) % REPORTS;
        self.reports[self.newest_report] = Some((middle(ntp), now));
    }

    /// The viewer answered the sender report `lsr`, `dlsr` after receiving it (in 1/65536 s; RFC 3550 section
    /// 6.4.1). Returns the measured round trip time. A report that we never sent is ignored.
    pub(super) fn answered(&mut self, lsr: u32, dlsr: u32, now: Instant) -> Option<Duration> {
        let (_, sent) = self.reports.iter().flatten().find(|(ntp, _)| *ntp == lsr)?;
        let held = Duration::from_micros(u64::from(dlsr) * 1_000_000 / 65_536);
        let sample = now.saturating_duration_since(*sent).saturating_sub(held);
        self.round_trip = Some(self.round_trip.map_or(sample, |known| (known * 7 + sample) / 8));
        Some(sample)
    }

    /// The time within which a packet is not retransmitted again.
    pub(super) fn pause(&self) -> Duration {
        self.round_trip.unwrap_or(UNKNOWN).clamp(SHORTEST, LONGEST)
    }

    /// The viewer reports these numbers as lost; returns the packets to retransmit. Each is to leave by
    /// [`leaves`](Self::leaves).
    pub(super) fn lost(&mut self, numbers: impl IntoIterator<Item = u16>, now: Instant) -> Vec<Lost> {
        let pause = self.pause();
        let mut again = vec![];
        for number in numbers {
            let Some(at) = self.place(number) else { continue };
            let kept = &mut self.kept[at];
            let age = now.saturating_duration_since(kept.sent);
            let soon = kept.again.is_some_and(|at| now.saturating_duration_since(at) < pause);
            if kept.waits || soon || age > USEFUL {
                continue;
            }
            let payload = kept.part.payload().len() + LONGER;
            let twice = kept.again.is_some() || age > LATE;
            let size = (HEADER + payload) * if twice { 2 } else { 1 };
            if size <= self.budget {
                kept.waits = true;
                self.budget -= size;
                again.push(Lost { number, payload, twice });
            }
        }
        again
    }

    /// A packet from [`lost`](Self::lost) leaves now; `None` if it is of no use any more.
    pub(super) fn leaves(&mut self, number: u16, now: Instant) -> Option<Part> {
        let at = self.place(number)?;
        let kept = &mut self.kept[at];
        (kept.waits, kept.again) = (false, Some(now));
        Some(kept.part.clone())
    }

    /// The newest of the recent packets whose retransmission has at most this much payload and at least a quarter of
    /// it; if there is none, the largest. Without recent packets it is the last one.
    pub(super) fn to_copy(&self, most: usize) -> Option<(u16, Part)> {
        let recent = self.kept.iter().rev().take(RECENT).map(|kept| &kept.part);
        let last = self.last.iter().filter(|_| self.kept.is_empty());
        let size = |part: &Part| part.payload().len() + LONGER;
        let fit = (0..).zip(recent.chain(last)).filter(|(_, part)| size(part) <= most);
        let (back, part) = fit.max_by_key(|(back, part)| (size(part).min(most / 4), Reverse(*back)))?;
        Some((self.newest.wrapping_sub(back), part.clone()))
    }

    /// The index of the packet with this number among those that are kept.
    fn place(&self, number: u16) -> Option<usize> {
        let back = usize::from(self.newest.wrapping_sub(number)) + 1;
        self.kept.len().checked_sub(back)
    }
}

/// Size of the packet, without extensions and encryption.
fn bytes(part: &Part) -> usize {
    HEADER + part.payload().len()
}

/// How a receiver report refers to a sender report (RFC 3550 section 6.4.1).
fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Pts;

    const PAYLOAD: usize = 1186;

    struct Room {
        resend: Resend,
        start: Instant,
        /// Milliseconds since the start.
        now: u64,
        number: u16,
    }

    impl Room {
        /// Starts with number 65,000, so that it wraps in these tests.
        fn new() -> Self {
            Self { resend: Resend::new(), start: Instant::now(), now: 0, number: 65_000 }
        }

        fn send(&mut self, packets: usize) {
            (0..packets).for_each(|_| self.send_one(PAYLOAD));
        }

        fn send_one(&mut self, payload: usize) {
            let pts = Pts::from_micros(self.number.into());
            let payloads = vec![vec![self.number as u8; payload].into()];
            let unit = VideoUnit { payloads, ..VideoUnit::bare(pts, 1, false) };
            let part = Part { unit: unit.into(), part: 0, transport_wide: None, playout_delay: None };
            self.resend.sent(self.number, part, self.start + Duration::from_millis(self.now));
            self.number = self.number.wrapping_add(1);
        }

        /// The copies that leave at once where the viewer reports these numbers as lost.
        fn lost(&mut self, ms: u64, numbers: impl IntoIterator<Item = u16>) -> Vec<(u16, Part)> {
            self.now = ms;
            let now = self.start + Duration::from_millis(ms);
            let copies = self.resend.lost(numbers, now).into_iter().flat_map(|lost| {
                let part = self.resend.leaves(lost.number, now).expect("kept");
                vec![(lost.number, part); if lost.twice { 2 } else { 1 }]
            });
            copies.collect()
        }

        /// Reports everything that is kept as lost; returns the retransmitted bytes.
        fn lost_all(&mut self, ms: u64) -> usize {
            let newest = self.number;
            let all = (0..KEPT as u16).map(|n| newest.wrapping_sub(n));
            self.lost(ms, all).iter().map(|(_, part)| bytes(part)).sum()
        }

        /// At `ms`, the viewer answers a report that was sent at `sent`, 10 ms after receiving it.
        fn answered(&mut self, sent: u64, ms: u64) {
            let ntp = (7 << 32) + (sent << 20);
            self.resend.reported(ntp, self.start + Duration::from_millis(sent));
            self.resend.answered((ntp >> 16) as u32, 655, self.start + Duration::from_millis(ms));
        }
    }

    #[test]
    fn a_lost_packet_comes_again() {
        let mut room = Room::new();
        room.send(600);
        let [(number, again)] = &room.lost(0, [63])[..] else { panic!("one") };
        assert_eq!((*number, again.payload()), (63, &[63; PAYLOAD][..]));
        assert!(again.is_last());
    }

    #[test]
    fn what_was_not_sent_or_long_ago_does_not_come() {
        let mut room = Room::new();
        assert!(room.lost(0, [65_000]).is_empty());
        room.send(KEPT + 1);
        assert!(room.lost(0, [65_000, room.number, 30_000]).is_empty());
        assert_eq!(room.lost(0, [65_001]).len(), 1);
    }

    #[test]
    fn what_is_of_no_use_any_more_is_not_kept() {
        let mut room = Room::new();
        room.send(100);
        room.now = 1_201;
        room.send(1);
        assert_eq!(room.resend.kept.len(), 1);
    }

    #[test]
    fn what_is_forgotten_does_not_come() {
        let mut room = Room::new();
        room.send(17);
        room.resend.forget();
        assert!(room.lost(0, 65_000..65_017).is_empty());
        room.send(1);
        assert_eq!(room.lost(0, 65_000..65_018).len(), 1);
    }

    #[test]
    fn what_left_before_a_time_is_forgotten_and_the_rest_stays() {
        let mut room = Room::new();
        room.send(3);
        room.now = 500;
        room.send(2);
        room.resend.forget_before(room.start + Duration::from_millis(500));
        let has = [65_000, 65_002, 65_003, 65_004, 65_005].map(|number| room.resend.has(number));
        assert_eq!(has, [false, false, true, true, false]);
    }

    #[test]
    fn numbers_that_are_repeated_count_once() {
        let mut room = Room::new();
        room.send(17);
        let repeated = (0..330).flat_map(|_| 65_000..65_017);
        assert_eq!(room.lost(0, repeated).len(), 17);
        assert!(room.lost(19, 65_000..65_017).is_empty(), "the next datagram, too soon");
    }

    #[test]
    fn a_packet_comes_once_in_a_round_trip() {
        for (trip, pause) in [(None, 100), (Some(60), 60), (Some(3), 20), (Some(5_000), 1_000)] {
            let mut room = Room::new();
            if let Some(trip) = trip {
                room.answered(0, trip + 10);
            }
            room.send(1);
            assert_eq!(room.lost(0, [65_000]).len(), 1);
            assert_eq!(room.lost(pause - 1, [65_000]).len(), 0, "{trip:?}");
            assert_eq!(room.lost(pause + 1, [65_000]).len(), 2, "{trip:?}: the first copy was lost");
        }
    }

    #[test]
    fn one_that_waits_is_not_queued_again_and_a_late_one_is_of_no_use() {
        let mut room = Room::new();
        room.send(2);
        let at = |ms| room.start + Duration::from_millis(ms);
        let lost = room.resend.lost([65_000], at(10));
        assert_eq!(lost, [Lost { number: 65_000, payload: PAYLOAD + LONGER, twice: false }]);
        assert!(room.resend.lost([65_000], at(500)).is_empty(), "it still waits");
        assert!(room.resend.leaves(65_000, at(500)).is_some());
        assert!(room.resend.lost([65_001], at(160))[0].twice, "it is late");
        assert!(room.resend.lost([65_000], at(1_201)).is_empty(), "nobody waits for it");
    }

    #[test]
    fn the_newest_that_is_worth_it_is_copied_or_else_the_largest() {
        let mut room = Room::new();
        let copied = |room: &Room, most| room.resend.to_copy(most).map(|(number, _)| number);
        assert_eq!(copied(&room, 1_200), None);
        [40, 1_100, 300, 700, 90, 200].into_iter().for_each(|payload| room.send_one(payload));
        assert_eq!(copied(&room, 1_200), Some(65_003), "the newest of those with at least 300 bytes");
        assert_eq!(copied(&room, 4_800), Some(65_001), "the largest");
        assert_eq!(copied(&room, 701), Some(65_005));
        assert_eq!(copied(&room, 50), Some(65_000));
        assert_eq!(copied(&room, 40), None);
        (0..RECENT).for_each(|_| room.send_one(60));
        assert_eq!(copied(&room, 1_200), Some(65_005 + RECENT as u16), "the others left long ago");
        room.resend.forget_before(room.start + Duration::from_secs(1));
        assert_eq!(copied(&room, 1_200), Some(65_005 + RECENT as u16), "of no use, but a copy all the same");
        room.resend.forget();
        assert_eq!(copied(&room, 1_200), None, "it may not be sent");
    }

    #[test]
    fn the_round_trip_is_smoothed_and_answers_to_nothing_do_not_count() {
        let mut room = Room::new();
        room.answered(0, 90);
        assert_eq!(room.resend.pause().as_millis(), 80);
        room.answered(500, 500 + 10 + 160);
        assert_eq!(room.resend.pause().as_millis(), 90);
        for (lsr, dlsr) in [(0, 0), (12_345, 0), (0, u32::MAX)] {
            room.resend.answered(lsr, dlsr, room.start);
        }
        assert_eq!(room.resend.pause().as_millis(), 90);
        // A viewer that claims an impossibly short round trip counts as near, but no nearer than the
        // shortest.
        for n in 0..50 {
            let ntp = (9 << 32) + (n << 16);
            room.resend.reported(ntp, room.start);
            room.resend.answered((ntp >> 16) as u32, u32::MAX, room.start);
        }
        assert_eq!(room.resend.pause(), SHORTEST);
    }

    #[test]
    fn what_is_sent_again_is_a_quarter_of_the_media_and_a_burst() {
        let mut room = Room::new();
        let (mut media, mut again) = (0, 0);
        // Ten seconds of 200 packets a second, all of which are reported lost again and again.
        for ms in (0..10_000).step_by(5) {
            room.send(1);
            media += PAYLOAD + HEADER;
            again += room.lost_all(ms);
        }
        assert!(again <= media / PART + BURST, "{again} of {media}");
        assert!(again > media / PART, "and that is used: {again} of {media}");
        // Nothing is retransmitted when nothing more is sent.
        let silent: usize = (10_000..20_000).map(|ms| room.lost_all(ms)).sum();
        assert!(silent < PAYLOAD + HEADER, "{silent}");
        // After a quiet time there is a burst, but no more.
        room.now = 30_000;
        room.send(4 * KEPT);
        let again = room.lost_all(30_000);
        assert!((BURST - PAYLOAD - HEADER - LONGER..=BURST).contains(&again), "{again}");
    }
}
