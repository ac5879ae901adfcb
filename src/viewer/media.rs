//! What a viewer receives: the pictures for each of its video sections, and the sound of one camera.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::cc::Share as Carried;
use super::ladder::Layers;
use super::track::Track;
use super::wishes::Wishes;
use crate::clock::Pts;
use crate::media::unit::{AudioUnit, VideoUnit};
use crate::pipeline::camera::{Camera, List};
use crate::pipeline::demand::Claim;
use crate::pipeline::hub::{Capacity, Subscription};
use crate::pipeline::stream::AudioStream;

/// Below the first estimate, in bits per second, the sound has few bits; above the second one, as many as configured.
const BAD_LINK_BPS: f64 = 200e3;
const GOOD_LINK_BPS: f64 = 300e3;

/// A unit for a viewer.
#[derive(Clone, Debug)]
pub(super) enum Unit {
    /// A coded picture, for the section with this number.
    Video(usize, Arc<VideoUnit>),
    /// An Opus packet.
    Audio(Arc<AudioUnit>),
}

/// A viewer's subscriptions.
pub(super) struct Media {
    /// The tracks of the video sections.
    pub tracks: Vec<Track>,
    /// Whether it receives sound.
    sounds: bool,
    sound: Option<Sound>,
    /// Whether the link is so bad that the sound must have few bits.
    low: bool,
    /// Capture time of the newest sound that was sent.
    heard: Option<Pts>,
    /// Cameras whose sound was ever sent to it.
    heard_of: Vec<String>,
    /// The section that is served next.
    turn: usize,
}

/// The sound of a camera.
struct Sound {
    audio: Arc<AudioStream>,
    units: Subscription<AudioUnit>,
    _claim: Claim,
}

impl Media {
    /// Creates the subscriptions of a viewer with this many video sections, and with sound or not; none is
    /// active yet.
    pub(super) fn new(sections: usize, sounds: bool) -> Self {
        let tracks = (0..sections).map(|_| Track::default()).collect();
        Self { tracks, sounds, sound: None, low: false, heard: None, heard_of: vec![], turn: 0 }
    }

    /// The viewer's link probably carries this much, in bits per second: each picture begins with a rung whose keyframe
    /// arrives soon. Call it before [`Self::tune`].
    pub(super) fn begin(&mut self, carried_bps: f64) {
        let part_bps = carried_bps / self.tracks.len().max(1) as f64;
        self.tracks.iter_mut().for_each(|track| track.begin(part_bps));
    }

    /// Changes the subscriptions and the demand to what the viewer wants of these cameras.
    pub(super) fn tune(&mut self, wishes: &Wishes, cameras: &List) {
        for (track, section) in self.tracks.iter_mut().zip(&wishes.sections) {
            let camera = section.camera.as_deref().and_then(|name| find(cameras, name));
            match camera.filter(|_| !section.paused) {
                Some(camera) => track.show(camera, section.quality),
                None => track.stop(),
            }
            // While it switches cameras it still receives pictures of the old one.
            if track.gets().is_some_and(|(camera, _)| find(cameras, camera).is_none()) {
                track.leave();
            }
        }
        let camera = find(cameras, &wishes.listen).filter(|_| self.sounds);
        let now = self.sound.as_ref().map(|sound| Arc::as_ptr(&sound.audio));
        if camera.map(|c| Arc::as_ptr(&c.audio)) != now {
            self.sound = camera.map(|camera| Sound::of(&camera.audio, self.low));
        }
        let name = camera.map(|c| &c.name).filter(|name| !self.heard_of.contains(name));
        self.heard_of.extend(name.cloned());
    }

    /// Chooses the sound for a link of which this is the estimate, in bits per second.
    pub(super) fn hear_over(&mut self, estimate_bps: f64) {
        let low = estimate_bps < if self.low { GOOD_LINK_BPS } else { BAD_LINK_BPS };
        if low != self.low {
            self.low = low;
            self.sound = self.sound.take().map(|sound| Sound::of(&sound.audio, low));
        }
    }

    /// Whether anything of it is seen or heard, that is, not everything is paused.
    pub(super) fn is_watched(&self) -> bool {
        self.sound.is_some() || self.tracks.iter().any(Track::wants)
    }

    /// Returns the next unit: sound first, then each section in turn. Dropping the future loses nothing.
    pub(super) async fn recv(&mut self) -> Unit {
        std::future::poll_fn(|cx| {
            let mut others = Context::from_waker(cx.waker());
            let sound = |units: &mut Subscription<_>| ready(units.poll_recv(cx));
            let next = self.next(sound, |track| ready(track.poll_recv(&mut others)));
            next.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The next unit that is already there, in the same order.
    pub(super) fn try_recv(&mut self) -> Option<Unit> {
        self.next(Subscription::try_recv, Track::try_recv)
    }

    fn next(
        &mut self,
        mut sound: impl FnMut(&mut Subscription<AudioUnit>) -> Option<Arc<AudioUnit>>,
        mut picture: impl FnMut(&mut Track) -> Option<Arc<VideoUnit>>,
    ) -> Option<Unit> {
        while let Some(unit) = self.sound.as_mut().and_then(|s| sound(&mut s.units)) {
            // A different microphone may be behind the previous one: time must not go back.
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

    /// The sections whose camera, rung or layers changed since the previous call, each with the new ones.
    pub(super) fn changed(&mut self) -> impl Iterator<Item = (usize, Option<(String, Layers)>)> {
        self.tracks.iter_mut().enumerate().filter_map(|(section, track)| {
            track
                .changed()
                .then(|| (section, track.gets().map(|(camera, layers)| (camera.to_owned(), layers))))
        })
    }

    /// How much all pictures need at most, in bits per second, and how many there are a second at most.
    pub(super) fn most(&self) -> (f64, f64) {
        let all = self.tracks.iter().map(Track::most);
        all.fold((0.0, 0.0), |(bps, fps), (more, most)| (bps + more, most.max(fps)))
    }

    /// Divides what the viewer's link carries between its pictures, by what each could use; [`most`](Self::most) is
    /// the sum. If there is a time, each also moves to the rung that this suffices for.
    pub(super) fn set_capacity(
        &mut self,
        carried: &Carried,
        (most_bps, most_fps): (f64, f64),
        chooses: Option<Instant>,
    ) {
        let part = (carried.video_bps / most_bps.max(1.0)).min(1.0);
        let fps = if carried.fps < most_fps { carried.fps.floor() as f32 } else { f32::MAX };
        for track in &mut self.tracks {
            let bps = part * track.most().0;
            // Before a camera has delivered, it is not known what its pictures need.
            if bps > 0.0 {
                track.set_capacity(Capacity { bitrate_bps: bps as u32, fps, pause: carried.pause });
                chooses.into_iter().for_each(|now| track.choose(bps, now));
            }
        }
    }

    /// How often it lagged, over all sections.
    pub(super) fn lagged(&self) -> u64 {
        self.tracks.iter().map(Track::lagged).sum()
    }

    /// Privacy was switched on for this camera, or for all: discards its pictures that are held back. Returns
    /// the sections that were sent any of it; `None` if nothing was, not even its sound.
    pub(super) fn conceal(&mut self, camera: Option<&str>) -> Option<Vec<usize>> {
        let tracks = self.tracks.iter_mut().enumerate();
        let sections: Vec<_> = tracks.filter_map(|(n, track)| track.conceal(camera).then_some(n)).collect();
        let heard = self.heard_of.iter().any(|name| camera.is_none_or(|camera| camera == name));
        (heard || !sections.is_empty()).then_some(sections)
    }
}

impl Sound {
    fn of(audio: &Arc<AudioStream>, low: bool) -> Self {
        let hub = if low { &audio.low } else { &audio.hub };
        // The new demand begins before the old one ends.
        Self { _claim: audio.demand.watch(), units: hub.subscribe(), audio: audio.clone() }
    }
}

/// Demand for a viewer that is connecting: for the cameras that it wants and, if it receives `sound`, for a
/// microphone.
pub(super) fn expect(wishes: &Wishes, cameras: &List, sound: bool) -> Vec<Claim> {
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
mod tests;
