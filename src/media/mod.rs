//! Pure data of the media path: frames, access units, packets. Nothing here knows of devices or networks.

pub mod convert;
pub mod frame;
pub mod h264;
pub mod i420;
pub mod mjpeg;
pub mod mode;
pub mod packetize;
pub mod pcm;
pub mod retime;
mod samples;
pub mod scale;
pub mod stamp;
pub mod text;
pub mod timeline;
pub mod unit;

use frame::{PixelFormat, Size};

/// Why a frame could not be converted; the picture it was meant for is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A JPEG that is cut short or otherwise broken.
    #[error("damaged JPEG: {0}")]
    Damaged(String),
    /// The picture is of another size than was agreed.
    #[error("got a picture of {got}, expected {expected}")]
    Size {
        /// Of the picture that came.
        got: Size,
        /// Of the picture to fill.
        expected: Size,
    },
    /// Raw planes hold fewer bytes than their size and strides ask for.
    #[error("{0} frame is shorter than its size and strides require")]
    Short(PixelFormat),
}
