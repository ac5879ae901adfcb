//! Encodes raw pictures and sound as H.264 and Opus, and decides how much the board can encode.

pub mod budget;
pub mod candidates;
pub mod governor;
pub mod openh264;
pub mod opus;
pub mod video;
