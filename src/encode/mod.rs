//! Raw pictures and sound to what travels: H.264 and Opus, and how much of it the board carries.

pub mod governor;
pub mod h264;
pub mod opus;
