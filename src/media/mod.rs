//! Pure data of the media path: frames, access units, packets. Nothing here knows about devices or networks.

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

/// Why a frame could not be converted; the target picture is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A JPEG that is cut off or damaged.
    #[error("damaged JPEG: {0}")]
    Damaged(String),
    /// The picture has a different size than expected.
    #[error("got a picture of {got}, expected {expected}")]
    Size {
        /// Size of the picture.
        got: Size,
        /// Size of the target.
        expected: Size,
    },
    /// Raw planes are shorter than their size and strides require.
    #[error("{0} frame is shorter than its size and strides require")]
    Short(PixelFormat),
}
