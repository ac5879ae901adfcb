//! An RTP packet with the header extensions that we use (RFC 3550 section 5.1, RFC 8285 section 4.2).

/// Ids of the header extensions in a media section that we use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// Id of the transport-wide number.
    pub transport_wide: Option<u8>,
    /// Id of the time of sending.
    pub send_time: Option<u8>,
    /// Id of the playout delay.
    pub playout_delay: Option<u8>,
}

/// The parts of a packet that differ between packets of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Packet<'a> {
    /// Whether it is the last packet of a picture.
    pub marker: bool,
    /// Its number in the stream, without wrapping.
    pub number: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Its number among all packets to this viewer, if it has one.
    pub transport_wide: Option<u16>,
    /// The requested playout delay, if it is sent in this packet.
    pub playout_delay: Option<&'static [u8; 3]>,
    /// For a retransmission, the number of the original packet, sent before the payload (RFC 4588 section 4).
    pub repeats: Option<u16>,
    /// The payload.
    pub payload: &'a [u8],
}

/// Size of the RTP header, without extensions (RFC 3550 section 5.1).
pub(super) const HEADER: usize = 12;
/// Announces extensions with one-byte headers.
const ONE_BYTE: u16 = 0xbede;
/// The id of padding, which fills up to four bytes.
const PADDING: u8 = 0;

impl Packet<'_> {
    /// Writes the packet, without its seal; returns the size of its header. An extension without an id is
    /// left out. `now_s` is the time of sending on any clock of the sender, in seconds.
    pub(crate) fn write(
        &self,
        ssrc: u32,
        payload_type: u8,
        extensions: Extensions,
        now_s: f64,
        out: &mut Vec<u8>,
    ) -> usize {
        let begin = out.len();
        let number = self.transport_wide.map(u16::to_be_bytes);
        let number = extensions.transport_wide.zip(number.as_ref().map(|n| &n[..]));
        let delay = extensions.playout_delay.zip(self.playout_delay.map(|d| &d[..]));
        let time = send_time(now_s);
        let time = extensions.send_time.map(|id| (id, &time[..]));
        let extended = number.is_some() || delay.is_some() || time.is_some();
        out.extend_from_slice(&[0x80 | u8::from(extended) << 4, u8::from(self.marker) << 7 | payload_type]);
        out.extend_from_slice(&(self.number as u16).to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&ssrc.to_be_bytes());
        if extended {
            let words = out.len() + 2;
            out.extend_from_slice(&ONE_BYTE.to_be_bytes());
            out.extend_from_slice(&[0, 0]);
            for (id, content) in [delay, number, time].into_iter().flatten() {
                out.push(id << 4 | (content.len() - 1) as u8);
                out.extend_from_slice(content);
            }
            let length = (out.len() - words - 2).next_multiple_of(4);
            out.resize(words + 2 + length, PADDING);
            out[words + 1] = (length / 4) as u8;
        }
        let header = out.len() - begin;
        if let Some(repeats) = self.repeats {
            out.extend_from_slice(&repeats.to_be_bytes());
        }
        out.extend_from_slice(self.payload);
        header
    }
}

/// Six bits of seconds and 18 of fraction.
fn send_time(now_s: f64) -> [u8; 3] {
    let [.., a, b, c] = ((now_s * f64::from(1 << 18)) as u64).to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rtc::shared::marshal::Unmarshal;

    use super::*;

    #[test]
    fn rtc_reads_what_is_written() {
        for (transport_wide, playout_delay, send_time) in [
            (None, None, None),
            (Some(3), None, None),
            (None, Some(14), None),
            (Some(1), Some(2), None),
            (None, Some(2), Some(7)),
        ] {
            let extensions = Extensions { transport_wide, send_time, playout_delay };
            for told in [false, true] {
                let packet = Packet {
                    marker: told,
                    number: 0x1_2345,
                    timestamp: 0xfedc_ba98,
                    transport_wide: Some(0x7788),
                    playout_delay: told.then_some(&[1, 2, 3]),
                    repeats: None,
                    payload: b"a picture",
                };
                let mut out = b"before".to_vec();
                let header = packet.write(77, 96, extensions, 65.5, &mut out);
                assert_eq!(&out[6 + header..], b"a picture");
                let read = rtc::rtp::Packet::unmarshal(&mut &out[6..]).expect("RTP");
                let h = &read.header;
                assert_eq!((h.version, h.marker, h.payload_type, h.ssrc), (2, told, 96, 77));
                assert_eq!((h.sequence_number, h.timestamp), (0x2345, 0xfedc_ba98));
                assert_eq!(read.payload, Bytes::from_static(b"a picture"));
                let number = transport_wide.and_then(|id| h.get_extension(id));
                assert_eq!(number, transport_wide.map(|_| Bytes::from_static(&[0x77, 0x88])));
                let delay = playout_delay.and_then(|id| h.get_extension(id));
                assert_eq!(delay, playout_delay.filter(|_| told).map(|_| Bytes::from_static(&[1, 2, 3])));
                let time = send_time.and_then(|id| h.get_extension(id));
                let of_a_minute = Bytes::from_static(&[0b0000_0110, 0, 0]); // 1.5 s
                assert_eq!(time, send_time.map(|_| of_a_minute));
                assert_eq!(h.extension, number.is_some() || delay.is_some() || time.is_some());
            }
        }
    }

    #[test]
    fn a_repetition_begins_with_the_number_that_it_repeats() {
        let packet = Packet { repeats: Some(0x0102), payload: b"x", ..Default::default() };
        let mut out = vec![];
        assert_eq!(packet.write(1, 97, Extensions::default(), 0.0, &mut out), HEADER);
        assert_eq!(out[HEADER..], [1, 2, b'x']);
    }
}
