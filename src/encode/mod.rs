//! Raw pictures and sound to what travels: H.264 and Opus.

pub mod h264;
pub mod opus;
