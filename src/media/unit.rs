//! The units that are sent to all viewers: a coded picture or an Opus packet, already packetized.

use bytes::Bytes;

use crate::clock::Pts;

/// The part of a rung's bits that is in its base layer, the pictures that are not [disposable](VideoUnit::disposable).
pub const BASE_PART: f64 = 0.65;

/// An access unit, packetized once for all viewers.
#[derive(Debug)]
pub struct VideoUnit {
    /// Capture time of its frame.
    pub pts: Pts,
    /// When the conversion of its frame began, for measuring delay.
    pub taken: Pts,
    /// When its packets were ready, for measuring delay.
    pub ready: Pts,
    /// RTP timestamp of all its packets.
    pub rtp_time: u32,
    /// Whether a viewer may start here (parameter sets and an IDR).
    pub idr: bool,
    /// Whether no other picture refers to it: a viewer that is not sent it misses nothing else.
    pub disposable: bool,
    /// RTP payloads in order; the last one gets the marker bit.
    pub payloads: Vec<Bytes>,
}

/// An Opus packet of 20 ms.
#[derive(Debug)]
pub struct AudioUnit {
    /// Capture time of its first sample.
    pub pts: Pts,
    /// RTP timestamp.
    pub rtp_time: u32,
    /// RTP payload; never empty, because DTX sends no packet at all.
    pub payload: Bytes,
}

#[cfg(test)]
impl VideoUnit {
    /// A unit for tests that was ready when it was captured, without payloads.
    pub(crate) fn bare(pts: Pts, rtp_time: u32, idr: bool) -> Self {
        Self { pts, taken: pts, ready: pts, rtp_time, idr, disposable: false, payloads: vec![] }
    }
}
