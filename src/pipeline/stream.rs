//! What viewers subscribe to: the rungs of a camera, and the sound of a microphone.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use super::demand::Demand;
use super::hub::{Hub, Subscription};
use super::quality::{Offered, Share};
use crate::media::frame::Size;
use crate::media::h264::ProfileLevelId;
use crate::media::unit::{AudioUnit, VideoUnit};

/// The profile in answers before the first encoder has produced its SPS: constrained baseline, level 3.1.
const PROFILE_AT_START: ProfileLevelId = ProfileLevelId([0x42, 0xc0, 0x1f]);

/// A camera's video in several sizes.
pub struct VideoStream {
    /// The demand for the camera, in any size.
    pub demand: Arc<Demand>,
    hubs: [Arc<Hub<VideoUnit>>; Share::ALL.len()],
    offered: watch::Sender<Offered>,
    profile: watch::Sender<ProfileLevelId>,
}

impl Default for VideoStream {
    fn default() -> Self {
        Self {
            demand: Arc::default(),
            hubs: Default::default(),
            offered: watch::Sender::new(Offered::default()),
            profile: watch::Sender::new(PROFILE_AT_START),
        }
    }
}

impl VideoStream {
    /// The hub of a rung.
    pub fn hub(&self, share: Share) -> &Arc<Hub<VideoUnit>> {
        &self.hubs[share.index()]
    }

    /// Subscribes to the full pictures.
    pub fn subscribe(&self) -> Subscription<VideoUnit> {
        self.hub(Share::Full).subscribe()
    }

    /// Watches the rungs that viewers may have.
    pub fn offered(&self) -> watch::Receiver<Offered> {
        self.offered.subscribe()
    }

    /// Changes the rungs that viewers may have. Viewers of another rung leave it by themselves.
    pub fn offer(&self, offered: Offered) {
        self.offered.send_if_modified(|now| std::mem::replace(now, offered) != offered);
    }

    /// The present rungs, for status.
    pub fn rungs(&self) -> Vec<Rung> {
        let offered = *self.offered.borrow();
        let Some(full) = offered.size else { return vec![] };
        let rung = |name: Share| {
            let viewers = self.hub(name).subscribers();
            Rung { name, size: name.of(full), fps: offered.fps, viewers }
        };
        offered.shares().map(rung).collect()
    }

    /// Profile and level of all rungs, as emitted by the encoder of the full one.
    pub fn profile(&self) -> ProfileLevelId {
        *self.profile.borrow()
    }

    /// Sets the profile that the encoder of the full rung emits.
    pub fn set_profile(&self, profile: ProfileLevelId) {
        self.profile.send_replace(profile);
    }

    /// Discards everything in its queues; call it when privacy is switched on.
    pub fn conceal(&self) {
        self.hubs.iter().for_each(|hub| hub.conceal());
    }
}

/// A rung in the status.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rung {
    /// Its share of the full size.
    pub name: Share,
    /// Size of its pictures.
    #[serde(flatten)]
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
    /// Number of viewers that are on it, or about to be.
    pub viewers: usize,
}

/// A microphone's sound.
#[derive(Default)]
pub struct AudioStream {
    /// The demand for it.
    pub demand: Arc<Demand>,
    /// The hub of its packets, as configured.
    pub hub: Arc<Hub<AudioUnit>>,
    /// The hub of its packets for bad links, which are encoded only while somebody subscribes.
    pub low: Arc<Hub<AudioUnit>>,
}

impl AudioStream {
    /// Discards everything in its queues; call it when privacy is switched on.
    pub fn conceal(&self) {
        self.hub.conceal();
        self.low.conceal();
    }
}
