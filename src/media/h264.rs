//! H.264 bitstreams: NAL units, and the parts of an SPS that signaling needs (ITU-T H.264, RFC 6184).

use std::fmt;

/// `nal_unit_type` of table 7-1.
pub mod nal {
    /// A slice of an IDR picture.
    pub const IDR: u8 = 5;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter: useless over RTP, where the marker bit ends an access unit.
    pub const AUD: u8 = 9;
    /// Filler data.
    pub const FILLER: u8 = 12;
}

/// `nal_unit_type` of a NAL unit without start code.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |b| b & 0x1f)
}

/// Whether other pictures may refer to this one (`nal_ref_idc`, section 7.4.1). The parameter sets count as referred to.
pub fn is_reference(nal: &[u8]) -> bool {
    nal.first().is_some_and(|b| b & 0x60 != 0)
}

/// The NAL unit without the Annex B start code that encoders put before it.
pub fn strip_start_code(nal: &[u8]) -> &[u8] {
    nal.strip_prefix(&[0, 0, 0, 1]).or_else(|| nal.strip_prefix(&[0, 0, 1])).unwrap_or(nal)
}

/// `profile-level-id` of RFC 6184 section 8.1: the three bytes after an SPS's NAL header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLevelId(pub [u8; 3]);

impl ProfileLevelId {
    /// Reads it from an SPS without start code; `None` if it is not an SPS.
    pub fn of_sps(sps: &[u8]) -> Option<Self> {
        (nal_type(sps) == nal::SPS).then_some(())?;
        Some(Self(sps.get(1..4)?.try_into().ok()?))
    }
}

/// The highest bitrate, in bits per second, that this `level_idc` allows for NAL units (`MaxBR` of table A-1,
/// in units of 1,200 bits per second for the baseline and main profiles). An unknown level counts as the next
/// lower one.
pub fn max_bitrate_bps(level_idc: u8) -> u32 {
    const UNITS: [(u8, u32); 16] = [
        (10, 64),
        (11, 192),
        (12, 384),
        (13, 768),
        (20, 2_000),
        (21, 4_000),
        (22, 4_000),
        (30, 10_000),
        (31, 14_000),
        (32, 20_000),
        (40, 20_000),
        (41, 50_000),
        (42, 50_000),
        (50, 135_000),
        (51, 240_000),
        (52, 240_000),
    ];
    let reached = UNITS.iter().rev().find(|(level, _)| *level <= level_idc);
    reached.map_or(64, |(_, units)| *units) * 1_200
}

impl fmt::Display for ProfileLevelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [profile, constraints, level] = self.0;
        write!(f, "{profile:02x}{constraints:02x}{level:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_level_id_comes_from_the_sps_alone() {
        let sps = strip_start_code(&[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0x8c]);
        assert_eq!(ProfileLevelId::of_sps(sps).map(|p| p.to_string()).as_deref(), Some("42c01f"));
        assert_eq!(ProfileLevelId::of_sps(&[0x68, 1, 2, 3]), None);
        assert_eq!(ProfileLevelId::of_sps(&[0x67, 0x42]), None);
        assert_eq!(ProfileLevelId::of_sps(&[]), None);
    }

    #[test]
    fn a_level_bounds_the_bitrate() {
        assert_eq!(
            [9, 10, 30, 31, 33, 41, 52, 255].map(max_bitrate_bps),
            [76_800, 76_800, 12_000_000, 16_800_000, 24_000_000, 60_000_000, 288_000_000, 288_000_000,]
        );
    }
}
