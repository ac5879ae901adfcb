//! Pure data of the media path: frames, access units, packets. Nothing here knows of devices or networks.

pub mod convert;
pub mod frame;
pub mod h264;
pub mod i420;
pub mod mjpeg;
pub mod packetize;
pub mod pcm;
pub mod retime;
pub mod scale;
pub mod stamp;
pub mod text;
pub mod timeline;
pub mod unit;
