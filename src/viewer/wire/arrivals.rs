//! Parses a viewer's reports of which packets arrived when (transport-wide feedback;
//! draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1). The rtc crate allocates three lists for
//! each report; this parser allocates none.

use std::time::Duration;

use crate::viewer::cc::REMEMBERED;
pub use crate::viewer::cc::Report;
use crate::viewer::port::reports::{TRANSPORT_FEEDBACK, TRANSPORT_WIDE};

/// Bytes before the chunks: header and sources (12), base number and count (4), reference time and report
/// number (4).
const HEAD: usize = 20;
/// Maximum number of packets in the reports of a compound packet. 24 bytes can claim that 8,191 packets are missing.
pub const MOST: usize = REMEMBERED;
/// Unit of the reference time.
const REFERENCE: Duration = Duration::from_millis(64);
/// Unit of the differences between two arrivals, in microseconds.
const DELTA_US: i64 = 250;
/// Reference times (24 bits) wrap at this value: after twelve days.
const WRAP: u32 = 1 << 24;

/// Combines the reference times of all reports of a viewer into one clock.
#[derive(Debug, Default)]
pub struct Clock {
    newest: Option<u64>,
}

impl Clock {
    /// Unwraps a reference time. The first one is put far from zero, so that an older report can still
    /// precede it.
    fn unwrapped(&mut self, reference: u32) -> u64 {
        let Some(newest) = self.newest else {
            let first = u64::from(WRAP) + u64::from(reference);
            self.newest = Some(first);
            return first;
        };
        let ahead = reference.wrapping_sub(newest as u32) & (WRAP - 1);
        if ahead < WRAP / 2 {
            let unwrapped = newest + u64::from(ahead);
            self.newest = Some(unwrapped);
            unwrapped
        } else {
            newest.saturating_sub(u64::from(WRAP - ahead))
        }
    }
}

/// Adds the arrivals reported in a decrypted compound packet to `out`. An invalid report adds nothing. Returns
/// whether there is anything else in it: other packets, or bytes that are not a whole packet.
pub fn read(compound: &[u8], clock: &mut Clock, out: &mut Vec<Report>) -> bool {
    let (mut rest, mut others) = (compound, false);
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let Some((packet, after)) = rest.split_at_checked(length) else { return true };
        if first >> 6 != 2 {
            return true;
        }
        if kind == TRANSPORT_FEEDBACK && first & 31 == TRANSPORT_WIDE {
            let begin = out.len();
            if one(packet, clock, out).is_none() {
                out.truncate(begin);
            }
        } else {
            others = true;
        }
        rest = after;
    }
    others || !rest.is_empty()
}

fn one(packet: &[u8], clock: &mut Clock, out: &mut Vec<Report>) -> Option<()> {
    let (head, body) = packet.split_at_checked(HEAD)?;
    let base = u16::from_be_bytes([head[12], head[13]]);
    let count = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if count > MOST - out.len() {
        return None;
    }
    // The differences begin where the chunks end.
    let (mut chunks, mut covered) = (0, 0);
    while covered < count {
        covered += Chunk::at(body, chunks)?.count();
        chunks += 1;
    }
    let mut deltas = body.get(2 * chunks..)?;
    let reference = clock.unwrapped(u32::from_be_bytes([0, head[16], head[17], head[18]]));
    let mut arrived_us = i64::try_from(u128::from(reference) * REFERENCE.as_micros()).ok()?;
    let mut number = base;
    let mut left = count;
    for chunk in 0..chunks {
        let chunk = Chunk::at(body, chunk)?;
        for n in 0..chunk.count().min(left) {
            let arrived = match chunk.status(n) {
                0 => None,
                1 => {
                    let (delta, after) = deltas.split_first()?;
                    deltas = after;
                    arrived_us += i64::from(*delta) * DELTA_US;
                    Some(arrived_us)
                }
                2 => {
                    let (delta, after) = deltas.split_first_chunk()?;
                    deltas = after;
                    arrived_us += i64::from(i16::from_be_bytes(*delta)) * DELTA_US;
                    Some(arrived_us)
                }
                // A reserved status.
                _ => return None,
            };
            let arrived = match arrived {
                Some(us) => Some(Duration::from_micros(u64::try_from(us).ok()?)),
                None => None,
            };
            out.push(Report { number, arrived });
            number = number.wrapping_add(1);
        }
        left = left.saturating_sub(chunk.count());
    }
    Some(())
}

/// The statuses of several packets: the same for all, or a list (sections 3.1.3 and 3.1.4).
#[derive(Clone, Copy)]
struct Chunk(u16);

impl Chunk {
    fn at(body: &[u8], n: usize) -> Option<Self> {
        let bytes = body.get(2 * n..2 * n + 2)?;
        Some(Self(u16::from_be_bytes([bytes[0], bytes[1]])))
    }

    fn count(self) -> usize {
        match self.0 >> 14 {
            0 | 1 => usize::from(self.0 & 0x1fff),
            2 => 14,
            _ => 7,
        }
    }

    fn status(self, n: usize) -> u16 {
        match self.0 >> 14 {
            0 | 1 => self.0 >> 13 & 3,
            2 => self.0 >> (13 - n) & 1,
            _ => self.0 >> (12 - 2 * n) & 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// Builds a report with these chunks and differences.
    fn report(base: u16, count: u16, reference: u32, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80 | TRANSPORT_WIDE, TRANSPORT_FEEDBACK, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1];
        packet.extend(base.to_be_bytes());
        packet.extend(count.to_be_bytes());
        packet.extend(&reference.to_be_bytes()[1..]);
        packet.push(0);
        packet.extend(chunks.iter().flat_map(|chunk| chunk.to_be_bytes()));
        packet.extend(deltas);
        packet.resize(packet.len().next_multiple_of(4), 0);
        packet[3] = (packet.len() / 4 - 1) as u8;
        packet
    }

    /// The reported numbers, with microseconds since the reference time zero.
    fn said(compound: &[u8]) -> Vec<(u16, Option<u64>)> {
        let (mut clock, mut out) = (Clock::default(), vec![]);
        read(compound, &mut clock, &mut out);
        let since = REFERENCE * WRAP;
        out.iter().map(|r| (r.number, r.arrived.map(|at| (at - since).as_micros() as u64))).collect()
    }

    #[test]
    fn each_kind_of_chunk_is_parsed() {
        // Three packets that arrived 1 ms apart.
        let run = report(65_535, 3, 0, &[0x2003], &[4, 4, 4]);
        assert_eq!(said(&run), [(65_535, Some(1_000)), (0, Some(2_000)), (1, Some(3_000))]);
        // One bit per packet: arrived, not arrived, arrived; bits beyond the count are ignored.
        let bits = report(5, 3, 1, &[0xa800], &[0, 8]);
        assert_eq!(said(&bits), [(5, Some(64_000)), (6, None), (7, Some(66_000))]);
        // Two bits per packet: a large difference backward, a small one, none.
        let pairs = report(5, 3, 1, &[0xc000 | 2 << 12 | 1 << 10], &[0xff, 0xfc, 8]);
        assert_eq!(said(&pairs), [(5, Some(63_000)), (6, Some(65_000)), (7, None)]);
        // After other packets of the compound, and two reports at once.
        let receiver = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
        assert_eq!(said(&[receiver.clone(), run.clone(), bits].concat()).len(), 6);
        // What else there is needs the other parser.
        let others = |compound: &[u8]| read(compound, &mut Clock::default(), &mut vec![]);
        assert!(!others(&run) && !others(&[run.clone(), run.clone()].concat()));
        assert!(
            others(&[run.clone(), receiver].concat())
                && others(&run[..run.len() - 1])
                && others(&[run, vec![0x80]].concat())
        );
    }

    #[test]
    fn an_invalid_report_is_ignored() {
        let whole = report(1, 20, 3, &[0x2014], &[1; 20]);
        assert_eq!(said(&whole).len(), 20);
        for end in 0..whole.len() {
            assert!(said(&whole[..end]).is_empty(), "{end}");
        }
        assert!(said(&report(1, 21, 3, &[0x2014], &[])).is_empty(), "a chunk is missing");
        assert!(said(&report(1, 24, 3, &[0x2018], &[1; 20])).is_empty(), "differences are missing");
        assert!(said(&report(1, 1, 3, &[0x6001], &[1; 4])).is_empty(), "a reserved status");
        assert!(said(&report(1, 9_000, 3, &[0x1fff, 0x1fff], &[])).is_empty(), "too many packets");
        assert!(said(&report(1, 3, 3, &[0; 8], &[])).is_empty(), "empty chunks");
        let missing = report(1, 1_500, 3, &[1_500], &[]);
        assert_eq!(said(&missing).len(), 1_500);
        assert_eq!(said(&[missing.clone(), missing].concat()).len(), 1_500, "too many packets together");
    }

    #[test]
    fn reference_times_wrap_and_may_come_out_of_order() {
        let mut clock = Clock::default();
        let first = clock.unwrapped(WRAP - 2);
        assert_eq!(clock.unwrapped(3), first + 5);
        assert_eq!(clock.unwrapped(WRAP - 1), first + 1);
        assert_eq!(clock.unwrapped(4), first + 6);
        for n in 0..100 {
            clock.unwrapped(n * (WRAP / 4));
        }
        assert!(clock.unwrapped(99 * (WRAP / 4)) > first + 20 * u64::from(WRAP));
    }

    #[test]
    fn corrupt_reports_do_no_harm() {
        let mut random = Random(7);
        let (mut clock, mut out) = (Clock::default(), vec![]);
        for _ in 0..20_000 {
            let mut packet = report(1, 40, 3, &[0x2014, 0xd555, 0xbfff], &[1; 40]);
            for _ in 0..4 {
                let at = random.below(packet.len() as u64) as usize;
                packet[at] = random.next() as u8;
            }
            out.clear();
            read(&packet, &mut clock, &mut out);
            assert!(out.len() <= MOST);
        }
    }
}
