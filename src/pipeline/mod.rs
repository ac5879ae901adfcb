//! From devices to viewers: the video and audio threads, each retried in one place, and the hub they publish to.

pub mod hub;
pub mod keyframe;
pub mod slot;
