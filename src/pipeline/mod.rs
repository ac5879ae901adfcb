//! From devices to viewers: the video and audio threads, each retried in one place, and the hubs that they
//! publish to.

pub mod audio;
pub mod camera;
pub mod demand;
pub mod hub;
pub mod keyframe;
pub mod orders;
pub mod quality;
pub mod slate;
pub mod slot;
pub mod snapshot;
pub mod sources;
pub mod stream;
pub mod thinning;
pub mod video;
pub mod worker;
