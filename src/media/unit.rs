//! What fans out to viewers: one coded picture or one Opus packet, already cut for the wire.

use bytes::Bytes;

use crate::clock::Pts;

/// One access unit, packetized once for all viewers.
#[derive(Debug)]
pub struct VideoUnit {
    /// When its frame was captured.
    pub pts: Pts,
    /// When its frame was taken for conversion, and when its packets were ready: the stages of delay.
    pub taken: Pts,
    /// See `taken`.
    pub ready: Pts,
    /// RTP timestamp of all its packets.
    pub rtp_time: u32,
    /// Whether a viewer may start here (parameter sets and an IDR).
    pub idr: bool,
    /// RTP payloads in order; the marker bit goes on the last.
    pub payloads: Vec<Bytes>,
}

/// One Opus packet of 20 ms.
#[derive(Debug)]
pub struct AudioUnit {
    /// When its first sample was captured.
    pub pts: Pts,
    /// RTP timestamp.
    pub rtp_time: u32,
    /// RTP payload. Empty never: DTX sends nothing instead.
    pub payload: Bytes,
}
