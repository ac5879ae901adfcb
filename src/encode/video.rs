//! What every video encoder is: pictures in, access units out, and a bitrate that follows what the network carries.

use crate::clock::Pts;
use crate::config::Effort;
use crate::media::frame::Size;
use crate::media::h264::ProfileLevelId;
use crate::media::i420::I420;

/// The encoder failed. Only a new one helps.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{encoder}: {reason}")]
pub struct Error {
    encoder: &'static str,
    reason: String,
}

impl Error {
    /// A failure of the encoder of this [name](VideoEncoder::name).
    pub fn new(encoder: &'static str, reason: impl ToString) -> Self {
        Self { encoder, reason: reason.to_string() }
    }
}

/// What an encoder is made for. Of these only the rates can change later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Size of every picture; even in both directions.
    pub size: Size,
    /// Frames per second at most: rate control reckons with it.
    pub fps: f32,
    /// Bits per second to aim at.
    pub bitrate_bps: u32,
    /// CPU against quality.
    pub effort: Effort,
    /// `level_idc` of the stream (31 is level 3.1): encoders of several sizes that feed one track need the same. A level
    /// that is too low for the other settings is raised. `None`: the lowest that holds them.
    pub level: Option<u8>,
}

/// One coded picture, in memory of the encoder.
pub struct AccessUnit<'a> {
    /// Whether decoding can start here; then SPS and PPS come first.
    pub idr: bool,
    /// NAL units in order, without start codes. Never empty.
    pub nals: Vec<&'a [u8]>,
}

/// An H.264 encoder: constrained baseline, one reference frame, BT.601 in its VUI, whatever the size. It emits one access
/// unit for each picture, and IDRs only where they are asked for, beside the first.
pub trait VideoEncoder: Send {
    /// Encodes one picture, as an IDR if `idr`. Its time must be later than that of the one before.
    ///
    /// # Errors
    /// A picture of another size than the encoder was made for, or a failure of the encoder.
    fn encode(&mut self, picture: &I420, pts: Pts, idr: bool) -> Result<AccessUnit<'_>, Error>;

    /// Aims at another bitrate, in bits per second, and reckons with `fps` frames per second, from the next picture on. Makes
    /// no IDR.
    ///
    /// # Errors
    /// The level of the stream does not allow that bitrate, or `fps` is more than it was made for: only a new encoder can do
    /// that. Or the encoder refuses it. It aims at the former rates then.
    fn set_rates(&mut self, bps: u32, fps: f32) -> Result<(), Error>;

    /// What it was made for, with the rates that it aims at now.
    fn settings(&self) -> Settings;

    /// Profile, constraints and level of the SPS that it emits.
    fn profile(&self) -> ProfileLevelId;

    /// What status and logs call it, e.g. "OpenH264".
    fn name(&self) -> &'static str;
}
