//! What one viewer takes of the streams: the pictures of its track, and the sound.

use std::sync::Arc;

use super::track::Track;
use crate::media::unit::{AudioUnit, VideoUnit};
use crate::pipeline::demand::Demand;
use crate::pipeline::hub::Subscription;
use crate::pipeline::quality::Quality;
use crate::pipeline::stream::{Claims, Streams};

/// One unit for one viewer.
#[derive(Clone, Debug)]
pub enum Unit {
    /// One coded picture.
    Video(Arc<VideoUnit>),
    /// One Opus packet.
    Audio(Arc<AudioUnit>),
}

/// One viewer's subscriptions.
pub struct Media {
    /// The pictures.
    pub track: Track,
    sound: Option<Subscription<AudioUnit>>,
    _claims: Claims,
}

impl Media {
    /// From now on there is demand for what a viewer takes: the pictures of `wish`, and `sound` or not.
    pub fn take(streams: &Streams, sound: bool, wish: Quality) -> Self {
        Self {
            _claims: streams.claim(sound, Demand::watch),
            track: Track::new(streams.video.clone(), wish),
            sound: sound.then(|| streams.audio.hub.subscribe()),
        }
    }

    /// The next unit, sound first. Nothing is lost when it is dropped while waiting.
    pub async fn recv(&mut self) -> Unit {
        let Self { track, sound, .. } = self;
        let Some(sound) = sound else { return Unit::Video(track.recv().await) };
        tokio::select! {
            biased;
            unit = sound.recv() => Unit::Audio(unit),
            unit = track.recv() => Unit::Video(unit),
        }
    }

    /// The next unit that is there already, sound first.
    pub fn try_recv(&mut self) -> Option<Unit> {
        let sound = self.sound.as_mut().and_then(Subscription::try_recv).map(Unit::Audio);
        sound.or_else(|| self.track.try_recv().map(Unit::Video))
    }
}
