//! An RTP stream to a viewer: its numbers and counts.

use super::packet::{Extensions, Packet};
use crate::clock::Pts;

/// An RTP stream: what its packets have in common, and its counts.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Its source (RFC 3550 section 5.1).
    pub ssrc: u32,
    payload_type: u8,
    /// The header extensions that were negotiated.
    extensions: Extensions,
    /// Number of the next packet, without wrapping.
    next: u64,
    /// Packets sent, and bytes of their payloads, modulo 2^32 as in reports (RFC 3550 section 6.4.1).
    packets: u32,
    octets: u32,
    /// The newest timestamp that was sent, and its capture time.
    newest: Option<(u32, Pts)>,
}

/// The counts for a sender report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The newest timestamp.
    pub timestamp: u32,
    /// Capture time of `timestamp`.
    pub captured: Pts,
    /// Number of packets.
    pub packets: u32,
    /// Bytes of payload.
    pub octets: u32,
}

impl Stream {
    /// Creates a stream. The first number comes from `ssrc`, which is random: unpredictable enough, and far
    /// from wrapping (RFC 3711 section 3.3.1).
    pub(crate) fn new(ssrc: u32, payload_type: u8, extensions: Extensions) -> Self {
        let next = u64::from(ssrc & 0x7fff);
        Self { ssrc, payload_type, extensions, next, packets: 0, octets: 0, newest: None }
    }

    /// The number of a packet that is released for the first time.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// The number without wrapping of a recently sent 16-bit number.
    pub(crate) fn unwrapped(&self, number: u16) -> u64 {
        self.next.saturating_sub(u64::from((self.next as u16).wrapping_sub(number)))
    }

    /// Whether its packets have transport-wide numbers.
    pub(crate) fn has_transport_wide(&self) -> bool {
        self.extensions.transport_wide.is_some()
    }

    /// Writes a packet of this stream that is sent at `now_s`, without its seal; returns the size of its header.
    pub(crate) fn write(&self, packet: &Packet<'_>, now_s: f64, out: &mut Vec<u8>) -> usize {
        packet.write(self.ssrc, self.payload_type, self.extensions, now_s, out)
    }

    /// Counts a packet with this payload size, timestamp and capture time.
    pub(crate) fn count(&mut self, payload: usize, timestamp: u32, captured: Pts) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
        self.newest = Some((timestamp, captured));
    }

    /// What was sent so far, if anything.
    pub(crate) fn sent(&self) -> Option<Sent> {
        let (timestamp, captured) = self.newest?;
        Some(Sent { timestamp, captured, packets: self.packets, octets: self.octets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_by_one_and_are_known_over_a_wrap() {
        let mut stream = Stream::new(0xffff_fff0, 96, Extensions::default());
        let first = stream.number();
        assert_eq!(first, 0x7ff0);
        let last = (0..200_000).map(|_| stream.number()).last().expect("many");
        assert_eq!(last, first + 200_000);
        for back in 0..512 {
            assert_eq!(stream.unwrapped((last - back) as u16), last - back);
        }
    }

    #[test]
    fn counts_are_of_what_was_sent() {
        let mut stream = Stream::new(1, 96, Extensions::default());
        assert_eq!(stream.sent(), None);
        let at = Pts::from_micros(7);
        stream.count(100, 3000, at);
        stream.count(20, 6000, at);
        assert_eq!(stream.sent(), Some(Sent { timestamp: 6000, captured: at, packets: 2, octets: 120 }));
    }
}
