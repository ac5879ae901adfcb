//! Retransmits our last DTLS flight if it is not answered soon, or if the other side retransmits its own,
//! which means that ours was lost (RFC 6347 section 4.2.4). webrtc has a timer of a second for this, and
//! cancels it when something arrives that it can't use: on a bad link, where browsers retransmit after 50 ms,
//! a lost flight of ours would cost a second or be lost for ever. The timer can't be changed (`rtc` 0.21).
//!
//! The datagrams are sent again unchanged: copies are dropped by the other side's replay protection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::records::{CHANGE_CIPHER_SPEC, HANDSHAKE, messages};

/// Most datagrams of a flight; one with a certificate has four or five.
const MOST: usize = 16;
/// Time between two retransmissions: the other side's flight arrives in several datagrams.
const PAUSE: Duration = Duration::from_millis(30);
/// Time until the first retransmission without an answer; doubles each time, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// Most retransmissions of a flight, so that a stranger who forges the viewer's requests gets no more than
/// that. On a bad link a browser asks ten times.
const MOST_REPETITIONS: u32 = 32;

/// The last flight that we sent, and what had arrived before.
#[derive(Debug, Default)]
pub struct Flight {
    /// At most [`MOST`]; further ones are not kept.
    datagrams: Vec<(SocketAddr, Bytes)>,
    /// The newest handshake message that has arrived.
    heard: Option<u16>,
    /// The newest one that had arrived when the flight began, which the flight answers.
    answers: Option<u16>,
    repeated: Option<Instant>,
    repetitions: u32,
    /// When to retransmit an unanswered flight, and the time since the last transmission.
    due: Option<Instant>,
    wait: Duration,
}

impl Flight {
    /// Records a DTLS datagram that we send.
    pub fn sent(&mut self, now: Instant, to: SocketAddr, datagram: &[u8]) {
        if !matches!(datagram.first(), Some(&(CHANGE_CIPHER_SPEC | HANDSHAKE))) {
            return; // alerts and data are never retransmitted
        }
        let first = |d: &[u8]| messages(d).next();
        let again = first(datagram).is_some()
            && self.datagrams.first().is_some_and(|(_, begin)| first(begin) == first(datagram));
        if !again && (self.heard > self.answers || self.datagrams.is_empty()) {
            self.wait = FIRST;
        }
        if again || self.heard > self.answers {
            self.datagrams.clear();
            self.repetitions = if again { self.repetitions } else { 0 };
            self.answers = self.heard;
        }
        if self.datagrams.len() < MOST {
            self.datagrams.push((to, Bytes::copy_from_slice(datagram)));
        }
        self.due = Some(now + self.wait);
    }

    /// The handshake is complete: no answer is expected any more.
    pub fn complete(&mut self) {
        self.due = None;
    }

    /// When the next retransmission is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the datagrams to retransmit now.
    pub fn timeout(&mut self, now: Instant) -> Vec<(SocketAddr, Bytes)> {
        if self.due.is_none_or(|due| now < due) {
            return vec![];
        }
        if self.repetitions == MOST_REPETITIONS {
            self.due = None;
            return vec![];
        }
        self.wait = (self.wait * 2).min(LONGEST);
        self.due = Some(now + self.wait);
        self.repeat(now)
    }

    fn repeat(&mut self, now: Instant) -> Vec<(SocketAddr, Bytes)> {
        (self.repeated, self.repetitions) = (Some(now), self.repetitions + 1);
        self.datagrams.clone()
    }

    /// Records a DTLS datagram that has arrived; returns the datagrams to retransmit.
    pub fn arrived(&mut self, now: Instant, datagram: &[u8]) -> Vec<(SocketAddr, Bytes)> {
        let Some(newest) = messages(datagram).max() else { return vec![] };
        if self.heard < Some(newest) {
            self.heard = Some(newest);
            self.due = None; // an answer; if a part is missing, the other side asks for it
            return vec![];
        }
        let answered = self.answers >= messages(datagram).min();
        let soon = self.repeated.is_some_and(|at| now < at + PAUSE);
        if !answered || soon || self.repetitions == MOST_REPETITIONS {
            return vec![];
        }
        self.repeat(now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::records;
    use super::*;

    /// A record with one handshake message.
    fn record(epoch: u16, message: u16) -> Vec<u8> {
        records::tests::record(HANDSHAKE, epoch, &records::tests::message(message))
    }

    struct Room {
        flight: Flight,
        start: Instant,
    }

    impl Room {
        fn new() -> Self {
            Self { flight: Flight::default(), start: Instant::now() }
        }

        fn sent(&mut self, datagram: &[u8]) {
            self.flight.sent(self.start, ([192, 0, 2, 1], 9).into(), datagram);
        }

        /// Number of datagrams that are retransmitted.
        fn arrived(&mut self, ms: u64, datagram: &[u8]) -> usize {
            self.flight.arrived(self.start + Duration::from_millis(ms), datagram).len()
        }
    }

    #[test]
    fn a_flight_is_repeated_when_its_question_is() {
        let mut room = Room::new();
        room.sent(&record(0, 0)); // ClientHello
        for n in 0..3 {
            assert_eq!(room.arrived(50, &record(0, n)), 0, "the answer, message {n}");
        }
        room.sent(&record(0, 1));
        room.sent(&record(1, 9)); // Finished, encrypted: its number can't be read
        assert_eq!(room.arrived(100, &record(0, 2)), 2, "the other side repeats its flight");
        assert_eq!(room.arrived(110, &record(0, 1)), 0, "another datagram of the same flight");
        assert_eq!(room.arrived(150, &record(0, 2)), 2, "and again");
        assert_eq!(room.arrived(300, &record(1, 3)), 0, "their Finished ends it");
    }

    #[test]
    fn what_is_not_answered_is_repeated_more_and_more_seldom() {
        let mut room = Room::new();
        room.sent(&record(0, 0));
        let mut repeated = vec![];
        for ms in 0..6000 {
            let now = room.start + Duration::from_millis(ms);
            repeated.extend(room.flight.timeout(now).iter().map(|_| ms));
        }
        assert_eq!(repeated, [100, 300, 700, 1500, 2500, 3500, 4500, 5500]);
        assert_eq!(room.arrived(6000, &record(0, 1)), 0);
        assert_eq!(room.flight.due(), None, "it was answered");
        room.sent(&record(0, 2));
        assert_eq!(room.flight.due(), Some(room.start + FIRST));
        room.flight.complete();
        assert_eq!(room.flight.due(), None);
    }

    #[test]
    fn a_part_that_comes_again_before_we_answered_repeats_nothing() {
        let mut room = Room::new();
        room.sent(&record(0, 0));
        assert_eq!(room.arrived(1, &record(0, 0)), 0);
        assert_eq!(room.arrived(99, &record(0, 0)), 0);
    }

    #[test]
    fn our_own_repetition_replaces_the_flight_and_its_size_is_bounded() {
        let mut room = Room::new();
        room.arrived(0, &record(0, 0));
        for _ in 0..3 {
            room.sent(&record(0, 1));
            room.sent(&record(0, 2));
        }
        assert_eq!(room.arrived(50, &record(0, 0)), 2);
        for n in 0..100 {
            room.sent(&record(0, 3 + n));
        }
        assert_eq!(room.arrived(100, &record(0, 0)), MOST);
    }

    #[test]
    fn what_is_no_handshake_is_not_repeated() {
        let mut room = Room::new();
        room.arrived(0, &record(0, 0));
        room.sent(&[21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(room.arrived(50, &record(0, 0)), 0, "an alert");
    }

    #[test]
    fn questions_without_end_are_not_answered_without_end() {
        let mut room = Room::new();
        room.arrived(0, &record(0, 0));
        room.sent(&record(0, 1));
        let answers: usize = (1..10_000).map(|n| room.arrived(n * 30, &record(0, 0))).sum();
        assert_eq!(answers, MOST_REPETITIONS as usize);
        // The next flight has its own count.
        room.arrived(400_000, &record(0, 1));
        room.sent(&record(0, 2));
        assert_eq!(room.arrived(400_100, &record(0, 1)), 1);
    }
}
