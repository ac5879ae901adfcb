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

/// Answered to offers in the moment before the first encoder has shown its SPS: constrained baseline, level 3.1.
const PROFILE_AT_START: ProfileLevelId = ProfileLevelId([0x42, 0xc0, 0x1f]);

/// A camera, in several sizes.
pub struct VideoStream {
    /// What is wanted of the camera, in whatever size.
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
    /// Where a rung's units go.
    pub fn hub(&self, share: Share) -> &Arc<Hub<VideoUnit>> {
        &self.hubs[share.index()]
    }

    /// Subscribes to the full pictures.
    pub fn subscribe(&self) -> Subscription<VideoUnit> {
        self.hub(Share::Full).subscribe()
    }

    /// The rungs that viewers may have, at every change.
    pub fn offered(&self) -> watch::Receiver<Offered> {
        self.offered.subscribe()
    }

    /// From now on these. Those who are on another one leave it by themselves.
    pub fn offer(&self, offered: Offered) {
        self.offered.send_if_modified(|now| std::mem::replace(now, offered) != offered);
    }

    /// The rungs that there are, for status.
    pub fn rungs(&self) -> Vec<Rung> {
        let offered = *self.offered.borrow();
        let Some(full) = offered.size else { return vec![] };
        let rung = |name: Share| {
            let viewers = self.hub(name).subscribers();
            Rung { name, size: name.of(full), fps: offered.fps, viewers }
        };
        offered.shares().map(rung).collect()
    }

    /// Profile and level of all rungs, as the encoder of the full one emits them.
    pub fn profile(&self) -> ProfileLevelId {
        *self.profile.borrow()
    }

    /// The encoder of the full rung emits this.
    pub fn set_profile(&self, profile: ProfileLevelId) {
        self.profile.send_replace(profile);
    }

    /// There is privacy: what waits in any queue goes no further.
    pub fn conceal(&self) {
        self.hubs.iter().for_each(|hub| hub.conceal());
    }
}

/// One rung, as status tells it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rung {
    /// Which.
    pub name: Share,
    /// Of its pictures.
    #[serde(flatten)]
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
    /// How many are on it, or are about to be.
    pub viewers: usize,
}

/// A microphone.
#[derive(Default)]
pub struct AudioStream {
    /// What is wanted of it.
    pub demand: Arc<Demand>,
    /// Where its packets go.
    pub hub: Arc<Hub<AudioUnit>>,
}
