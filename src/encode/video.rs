//! The interface of video encoders: pictures in, access units out, and a bitrate that follows the network.

use crate::clock::Pts;
use crate::config::Effort;
use crate::media::frame::Size;
use crate::media::h264::ProfileLevelId;
use crate::media::i420::I420;

/// A failure of the encoder; a new encoder is needed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{encoder}: {reason}")]
pub struct Error {
    encoder: &'static str,
    reason: String,
}

impl Error {
    /// A failure of the encoder with this [name](VideoEncoder::name).
    pub fn new(encoder: &'static str, reason: impl ToString) -> Self {
        Self { encoder, reason: reason.to_string() }
    }
}

/// Settings of an encoder. Only the rates can change later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Size of every picture; even in both directions.
    pub size: Size,
    /// Highest frame rate, in frames per second; used by the rate control.
    pub fps: f32,
    /// Target bitrate, in bits per second.
    pub bitrate_bps: u32,
    /// How much CPU time to spend on quality.
    pub effort: Effort,
    /// `level_idc` of the stream (31 is level 3.1): encoders of different sizes that feed one track need the
    /// same level. A level too low for the other settings is raised. `None` means the lowest level that
    /// allows them.
    pub level: Option<u8>,
}

/// A coded picture, in the encoder's memory.
pub struct AccessUnit<'a> {
    /// Whether decoding can start here; if so, the SPS and PPS come first.
    pub idr: bool,
    /// Whether no other picture refers to it.
    pub disposable: bool,
    /// NAL units in order, without start codes; never empty.
    pub nals: Vec<&'a [u8]>,
}

/// An H.264 encoder: constrained baseline, one reference frame, BT.601 in its VUI for all sizes. It emits one
/// access unit for each picture. The first one is an IDR, others only on request. It has two temporal layers: the
/// IDR and every second picture after it are the base layer, the others are disposable.
pub trait VideoEncoder: Send {
    /// Encodes a picture, as an IDR if `idr`. Its time must be later than that of the previous one.
    ///
    /// # Errors
    /// The picture has a different size than the encoder's, or the encoder failed.
    fn encode(&mut self, picture: &I420, pts: Pts, idr: bool) -> Result<AccessUnit<'_>, Error>;

    /// Changes the target bitrate, in bits per second, and the frame rate, from the next picture on. Causes
    /// no IDR.
    ///
    /// # Errors
    /// The stream's level does not allow that bitrate, `fps` is more than the encoder was created for (a new
    /// encoder is needed then), or the encoder rejects it. The previous rates stay in effect.
    fn set_rates(&mut self, bps: u32, fps: f32) -> Result<(), Error>;

    /// The settings of the encoder, with its current rates.
    fn settings(&self) -> Settings;

    /// Profile, constraints and level in its SPS.
    fn profile(&self) -> ProfileLevelId;

    /// Its name in status and logs, such as "OpenH264".
    fn name(&self) -> &'static str;
}
