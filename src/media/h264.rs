//! H.264 as it travels: NAL units and the few facts of an SPS that signaling needs.

use std::fmt;

/// `profile-level-id` of RFC 6184 section 8.1: the three bytes after an SPS's NAL header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLevelId(pub [u8; 3]);

impl fmt::Display for ProfileLevelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [profile, constraints, level] = self.0;
        write!(f, "{profile:02x}{constraints:02x}{level:02x}")
    }
}
