//! Encodes raw pictures and sound as H.264 and Opus, and decides how much the board can encode.

#![cfg_attr(test, allow(clippy::unwrap_used))] // tests may; the lint still sees everything else when it isn't a test

pub mod budget;
pub mod candidates;
pub mod governor;
pub mod openh264;
pub mod opus;
pub mod video;
