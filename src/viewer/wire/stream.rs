//! One RTP stream to one viewer: its numbers and what was sent of it.

use super::packet::Packet;
use crate::clock::Pts;

/// An RTP stream: what is the same for all its packets, and counts.
#[derive(Debug)]
pub struct Stream {
    /// Its source (RFC 3550 section 5.1).
    pub ssrc: u32,
    payload_type: u8,
    /// The id of the transport-wide number's header extension, if negotiated.
    transport_wide: Option<u8>,
    /// The id of the playout delay's, if negotiated.
    playout_delay: Option<u8>,
    /// Number of the next packet, with all wraps.
    next: u64,
    /// Packets that were sent, and bytes of their payloads, modulo 2^32 as reports have them (RFC 3550 section 6.4.1).
    packets: u32,
    octets: u32,
    /// The newest timestamp that was sent, and when that was captured.
    newest: Option<(u32, Pts)>,
}

/// Ids of header extensions in one media section, of those that are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Of the transport-wide number.
    pub transport_wide: Option<u8>,
    /// Of the playout delay.
    pub playout_delay: Option<u8>,
}

/// What a sender report says of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The newest timestamp...
    pub timestamp: u32,
    /// ... and when that was captured.
    pub captured: Pts,
    /// Packets.
    pub packets: u32,
    /// Bytes of payload.
    pub octets: u32,
}

impl Stream {
    /// Nothing sent yet. `ssrc` is random, and so is the first number by it: unguessable enough, and far from its wrap (RFC
    /// 3711 section 3.3.1).
    pub fn new(ssrc: u32, payload_type: u8, extensions: Extensions) -> Self {
        let Extensions { transport_wide, playout_delay } = extensions;
        let next = u64::from(ssrc & 0x7fff);
        Self { ssrc, payload_type, transport_wide, playout_delay, next, packets: 0, octets: 0, newest: None }
    }

    /// The number of a packet that is released now for the first time.
    pub fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// What a number of 16 bits that was sent lately was with all wraps.
    pub fn unwrapped(&self, number: u16) -> u64 {
        self.next.saturating_sub(u64::from((self.next as u16).wrapping_sub(number)))
    }

    /// Whether its packets have transport-wide numbers.
    pub fn has_transport_wide(&self) -> bool {
        self.transport_wide.is_some()
    }

    /// A packet of it as it stands on the wire but for its seal; returns the bytes of its header.
    pub fn write(&self, packet: &Packet<'_>, out: &mut Vec<u8>) -> usize {
        packet.write(self.ssrc, self.payload_type, self.transport_wide, self.playout_delay, out)
    }

    /// A packet with so much payload was sent, of what was captured then.
    pub fn count(&mut self, payload: usize, timestamp: u32, captured: Pts) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
        self.newest = Some((timestamp, captured));
    }

    /// What was sent so far, if anything was.
    pub fn sent(&self) -> Option<Sent> {
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
