//! peercam: a camera and a microphone, live in any browser.
#![doc = ""]
pub mod capture;
pub mod clock;
pub mod config;
pub mod encode;
pub mod media;
pub mod pipeline;
pub mod status;
pub mod viewer;
