//! What one viewer takes of the streams: the pictures of each of its sections, and the sound of one camera.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::track::Track;
use super::wishes::Wishes;
use crate::clock::Pts;
use crate::media::unit::{AudioUnit, VideoUnit};
use crate::pipeline::camera::{Camera, List};
use crate::pipeline::demand::Claim;
use crate::pipeline::hub::Subscription;
use crate::pipeline::quality::Share;
use crate::pipeline::stream::AudioStream;

/// One unit for one viewer.
#[derive(Clone, Debug)]
pub enum Unit {
    /// One coded picture, for the section of this number.
    Video(usize, Arc<VideoUnit>),
    /// One Opus packet.
    Audio(Arc<AudioUnit>),
}

/// One viewer's subscriptions.
pub struct Media {
    /// The pictures of each section.
    pub tracks: Vec<Track>,
    /// Whether it takes sound.
    sounds: bool,
    sound: Option<Sound>,
    /// When the newest sound that was sent was captured.
    heard: Option<Pts>,
    /// Cameras whose sound it was ever sent.
    heard_of: Vec<String>,
    /// The section whose turn it is.
    turn: usize,
}

/// The sound of a camera.
struct Sound {
    audio: Arc<AudioStream>,
    units: Subscription<AudioUnit>,
    _claim: Claim,
}

impl Media {
    /// Takes nothing yet. It has so many video sections, and one for sound or not.
    pub fn new(sections: usize, sounds: bool) -> Self {
        let tracks = (0..sections).map(|_| Track::default()).collect();
        Self { tracks, sounds, sound: None, heard: None, heard_of: vec![], turn: 0 }
    }

    /// From now on there is demand for what the viewer wishes for, of the cameras that there are.
    pub fn tune(&mut self, wishes: &Wishes, cameras: &List) {
        for (track, section) in self.tracks.iter_mut().zip(&wishes.sections) {
            let camera = section.camera.as_deref().and_then(|name| find(cameras, name));
            match camera.filter(|_| !section.paused) {
                Some(camera) => track.show(camera, section.quality),
                None => track.stop(),
            }
            // On its way to another one it is still sent pictures of the one before.
            if track.gets().is_some_and(|(camera, _)| find(cameras, camera).is_none()) {
                track.leave();
            }
        }
        let camera = find(cameras, &wishes.listen).filter(|_| self.sounds);
        let now = self.sound.as_ref().map(|sound| Arc::as_ptr(&sound.audio));
        if camera.map(|c| Arc::as_ptr(&c.audio)) != now {
            self.sound = camera.map(|camera| Sound::of(&camera.audio));
        }
        let name = camera.map(|c| &c.name).filter(|name| !self.heard_of.contains(name));
        self.heard_of.extend(name.cloned());
    }

    /// Whether somebody sees or hears any of it: not all of it is paused.
    pub fn is_watched(&self) -> bool {
        self.sound.is_some() || self.tracks.iter().any(Track::wants)
    }

    /// The next unit, sound first and then of each section in turn. Nothing is lost when it is dropped while waiting.
    pub async fn recv(&mut self) -> Unit {
        std::future::poll_fn(|cx| {
            let mut others = Context::from_waker(cx.waker());
            let sound = |units: &mut Subscription<_>| ready(units.poll_recv(cx));
            let next = self.next(sound, |track| ready(track.poll_recv(&mut others)));
            next.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The next unit that is there already, in the same order.
    pub fn try_recv(&mut self) -> Option<Unit> {
        self.next(Subscription::try_recv, Track::try_recv)
    }

    fn next(
        &mut self,
        mut sound: impl FnMut(&mut Subscription<AudioUnit>) -> Option<Arc<AudioUnit>>,
        mut picture: impl FnMut(&mut Track) -> Option<Arc<VideoUnit>>,
    ) -> Option<Unit> {
        while let Some(unit) = self.sound.as_mut().and_then(|s| sound(&mut s.units)) {
            // Another microphone may be behind the one before: time must not go back.
            if self.heard.is_none_or(|heard| heard < unit.pts) {
                self.heard = Some(unit.pts);
                return Some(Unit::Audio(unit));
            }
        }
        let sections = self.tracks.len();
        let turn = self.turn;
        let (section, unit) = (0..sections)
            .map(|n| (turn + n) % sections)
            .find_map(|section| Some((section, picture(&mut self.tracks[section])?)))?;
        self.turn = section + 1;
        Some(Unit::Video(section, unit))
    }

    /// What lists tell of each section that gets something else since this was asked last: the camera and the rung.
    pub fn changed(&mut self) -> impl Iterator<Item = (usize, Option<(String, Share)>)> {
        self.tracks.iter_mut().enumerate().filter_map(|(section, track)| {
            track.changed().then(|| (section, track.gets().map(|(camera, rung)| (camera.to_owned(), rung))))
        })
    }

    /// How often it fell behind in any section.
    pub fn lagged(&self) -> u64 {
        self.tracks.iter().map(Track::lagged).sum()
    }

    /// There is privacy for this camera, or for all: what is held back of it is dropped. The sections that were sent any of
    /// it; `None`: nothing was, not even its sound.
    pub fn conceal(&mut self, camera: Option<&str>) -> Option<Vec<usize>> {
        let tracks = self.tracks.iter_mut().enumerate();
        let sections: Vec<_> = tracks.filter_map(|(n, track)| track.conceal(camera).then_some(n)).collect();
        let heard = self.heard_of.iter().any(|name| camera.is_none_or(|camera| camera == name));
        (heard || !sections.is_empty()).then_some(sections)
    }
}

impl Sound {
    fn of(audio: &Arc<AudioStream>) -> Self {
        // Demand for the new one comes before the old one's ends.
        Self { _claim: audio.demand.watch(), units: audio.hub.subscribe(), audio: audio.clone() }
    }
}

/// Claims for a viewer that is on its way, on the cameras that it wishes for and, if it takes `sound`, on a microphone.
pub fn expect(wishes: &Wishes, cameras: &List, sound: bool) -> Vec<Claim> {
    let wanted = wishes.sections.iter().filter(|section| !section.paused);
    let video = wanted.filter_map(|section| find(cameras, section.camera.as_deref()?));
    let video = video.map(|camera| camera.video.demand.expect());
    let audio = find(cameras, &wishes.listen).filter(|_| sound).map(|c| c.audio.demand.expect());
    video.chain(audio).collect()
}

fn find<'a>(cameras: &'a List, name: &str) -> Option<&'a Arc<Camera>> {
    cameras.iter().find(|camera| camera.name == name)
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(ready) => Some(ready),
        Poll::Pending => None,
    }
}

#[cfg(test)]
#[path = "media_tests.rs"]
mod tests;
