//! Packetizes H.264 access units for RTP (RFC 6184, packetization-mode 1): single NAL units, STAP-A and FU-A.

use bytes::{BufMut, Bytes, BytesMut};

use super::h264::{nal, nal_type};

/// Size of an RTP payload, in bytes. With the largest header and authentication tag, as a retransmission,
/// over UDP and IPv6, it fits into 1,280 bytes, IPv6's smallest MTU. So it passes every link that carries
/// IPv6, and tunnels over links with 1,500.
pub const MAX_PAYLOAD: usize = 1_180;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Splits an access unit, given as NAL units without start codes, into RTP payloads of at most `most` bytes, in
/// order. All payloads are slices of one allocation, filled by one copy. Delimiters, filler and empty NAL units
/// are left out.
pub fn packetize(nals: &[&[u8]], most: usize) -> Vec<Bytes> {
    let nals: Vec<&[u8]> = nals
        .iter()
        .copied()
        .filter(|n| !n.is_empty() && !matches!(nal_type(n), nal::AUD | nal::FILLER))
        .collect();
    let bytes: usize = nals.iter().map(|n| n.len()).sum();
    let fragments = bytes / (most - 2) + nals.len();
    let mut out = BytesMut::with_capacity(bytes + 3 * fragments + nals.len());
    let mut payloads = Vec::with_capacity(fragments);
    let mut rest = &nals[..];
    while let Some(first) = rest.first() {
        let together = aggregated(rest, most);
        if together > 1 {
            stap_a(&rest[..together], &mut out);
            payloads.push(out.split().freeze());
        } else if first.len() <= most {
            out.put_slice(first);
            payloads.push(out.split().freeze());
        } else {
            fu_a(first, most, &mut out, &mut payloads);
        }
        rest = &rest[together..];
    }
    payloads
}

/// How many of the first NAL units fit into one STAP-A; at least 1.
fn aggregated(nals: &[&[u8]], most: usize) -> usize {
    let mut size = 1;
    let fit = nals.iter().take_while(|n| {
        size += 2 + n.len();
        size <= most
    });
    fit.count().max(1)
}

/// Section 5.7.1: a header with the highest NRI of all, then each NAL unit after its 16-bit size.
fn stap_a(nals: &[&[u8]], out: &mut BytesMut) {
    let nri = nals.iter().map(|n| n[0] & 0x60).max().unwrap_or(0);
    out.put_u8(nri | STAP_A);
    for n in nals {
        out.put_u16(n.len() as u16); // at most a payload
        out.put_slice(n);
    }
}

/// Section 5.8: fragments of about equal size; the NAL unit's own header is split between FU indicator and FU
/// header.
fn fu_a(nal: &[u8], most: usize, out: &mut BytesMut, payloads: &mut Vec<Bytes>) {
    let (header, body) = (nal[0], &nal[1..]);
    let count = body.len().div_ceil(most - 2);
    let each = body.len().div_ceil(count);
    for (i, part) in body.chunks(each).enumerate() {
        let (start, end) = (u8::from(i == 0), u8::from((i + 1) * each >= body.len()));
        out.put_u8((header & 0x60) | FU_A);
        out.put_u8(start << 7 | end << 6 | (header & 0x1f));
        out.put_slice(part);
        payloads.push(out.split().freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a receiver reassembles from the payloads, according to the RFC.
    fn depacketize(payloads: &[Bytes], most: usize) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = vec![];
        for p in payloads {
            assert!(p.len() <= most && !p.is_empty());
            match p[0] & 0x1f {
                STAP_A => {
                    let mut rest = &p[1..];
                    while !rest.is_empty() {
                        let n = usize::from(rest[0]) << 8 | usize::from(rest[1]);
                        nals.push(rest[2..2 + n].to_vec());
                        rest = &rest[2 + n..];
                    }
                }
                FU_A if p[1] & 0x80 != 0 => {
                    nals.push([&[(p[0] & 0xe0) | (p[1] & 0x1f)], &p[2..]].concat());
                }
                FU_A => nals.last_mut().expect("a start came first").extend(&p[2..]),
                _ => nals.push(p.to_vec()),
            }
        }
        nals
    }

    fn nal_of(kind: u8, len: usize) -> Vec<u8> {
        (0..len).map(|i| if i == 0 { 0x60 | kind } else { i as u8 }).collect()
    }

    #[test]
    fn every_size_comes_back_whole() {
        for len in (1..50).chain(1_170..1_190).chain(2_350..2_370).chain([20_000, 100_001]) {
            let nals = [nal_of(nal::SPS, 12), nal_of(nal::PPS, 5), nal_of(nal::IDR, len)];
            let refs: Vec<&[u8]> = nals.iter().map(|n| &n[..]).collect();
            for most in [MAX_PAYLOAD, 500] {
                assert_eq!(depacketize(&packetize(&refs, most), most), nals, "{len}");
            }
        }
    }

    #[test]
    fn parameter_sets_share_a_packet_and_a_large_idr_does_not_delay_them() {
        let nals = [nal_of(nal::SPS, 12), nal_of(nal::PPS, 5), nal_of(nal::IDR, 5_000)];
        let payloads = packetize(&nals.each_ref().map(|n| &n[..]), MAX_PAYLOAD);
        assert_eq!(payloads[0].len(), 1 + 2 + 12 + 2 + 5);
        assert_eq!(payloads.len(), 1 + 5);
        assert_eq!(payloads[1][1] >> 6, 0b10, "start");
        assert_eq!(payloads[5][1] >> 6, 0b01, "end");
        assert!(payloads[1..5].windows(2).all(|w| w[0].len().abs_diff(w[1].len()) <= 1), "evenly cut");
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        assert!(packetize(&[], MAX_PAYLOAD).is_empty());
        assert!(packetize(&[&[], &[0x09, 0xf0], &[0x0c, 0xff]], MAX_PAYLOAD).is_empty());
    }
}
