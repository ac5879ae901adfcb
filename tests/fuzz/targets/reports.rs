//! What a viewer reports, once it is decrypted.

use peercam::viewer::wire::arrivals::{self, Clock, MOST};
use peercam::viewer::wire::feedback::{self, Feedback};

/// Longest list of lost packets in one packet of RTCP: 17 for each pair of four bytes (RFC 4585 section 6.2.1).
const MOST_LOST: usize = 17 * 65_536 / 4;

/// Compound packets of RTCP, each after its length in two bytes: few packets are reported by each, and none arrived before the
/// viewer's clock began.
pub fn reports(mut data: &[u8]) {
    let mut clock = Clock::default();
    while let Some((length, rest)) = data.split_first_chunk() {
        let (compound, rest) = rest.split_at(rest.len().min(u16::from_be_bytes(*length).into()));
        data = rest;
        let mut reports = vec![];
        let others = arrivals::read(compound, &mut clock, &mut reports);
        assert!(reports.len() <= MOST, "{} packets", reports.len());
        let rest = feedback::read(compound);
        assert!(others || rest.is_empty(), "it would be passed over");
        for feedback in rest {
            if let Feedback::Lost(_, numbers) = feedback {
                assert!(numbers.len() <= MOST_LOST);
            }
        }
    }
}
