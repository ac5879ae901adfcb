//! Tests of a viewer's session against a different stack, over a bad link, on virtual time: minutes pass in
//! milliseconds, and each run is the same for the same seed except for keys. Only the task's loop and the
//! sockets are not part of it.

pub(super) mod link;
mod peer;
mod scenes;
mod sharing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use webrtc::peer_connection::RTCPeerConnectionState;

use self::link::{Link, Loss, Parcel, Properties};
use self::peer::Peer;
use super::media::{Media, Unit};
use super::port::{Demux, Inbound, LineId};
use super::sdp;
use super::session::{Change, Session};
use super::track::tests::Rungs;
use super::wire::NtpClock;
use super::wishes::{Section, Wishes};
use crate::clock::{AUDIO_HZ, Pts, RtpClock, VIDEO_HZ};
use crate::media::h264::ProfileLevelId;
use crate::media::unit::{AudioUnit, VideoUnit};
use crate::pipeline::camera::Cameras;
use crate::pipeline::quality::Quality;

/// The addresses of our port and of the viewer.
const OURS: ([u8; 4], u16) = ([192, 0, 2, 1], 8189);
const THEIRS: ([u8; 4], u16) = ([198, 51, 100, 7], 40_000);
const VIDEO: RtpClock = RtpClock { hz: VIDEO_HZ, offset: 7 };
const AUDIO: RtpClock = RtpClock { hz: AUDIO_HZ, offset: 9 };
/// Packets per picture, time between pictures, and between sounds.
const PARTS: usize = 5;
const PICTURE: Duration = Duration::from_micros(33_333);
const FPS: f64 = 30.0;
/// Bits per second of pictures that all have the same size.
const SAME_BPS: f64 = PARTS as f64 * 805.0 * 8.0 * FPS;
const SOUND: Duration = Duration::from_millis(20);
/// Payload type of Opus in the peer's offer.
const OPUS: u8 = 111;

/// A good link; tests change some of it.
const GOOD: Properties = Properties {
    rate: 20e6,
    delay: Duration::from_micros(12_500),
    jitter: Duration::ZERO,
    loss: Loss::Random(0.0),
};

/// A link with a round trip of 25 ms that loses this share in both directions.
fn losing(part: f64) -> Properties {
    Properties { loss: Loss::Random(part), ..GOOD }
}

/// Both sides and the link between them.
struct World {
    now: Instant,
    start: Instant,
    up: Link,
    down: Link,
    demux: Demux,
    line: LineId,
    session: Session,
    peer: Peer,
    playing: bool,
    /// When the next picture and the next sound are due.
    picture: Instant,
    sound: Instant,
    pictures: u32,
    /// The source of pictures, if it is not the world itself.
    studio: Option<Studio>,
    /// The most that the pictures need, in bits per second, where an encoder follows the link; otherwise all have the
    /// same size.
    follows: Option<f64>,
    /// Every n-th picture is never passed to the session, as if the hub's queue had overflowed.
    dropped: Option<u32>,
    state: RTCPeerConnectionState,
    goodbye: bool,
    keyframes: u32,
    /// RTP packets that were sent.
    sent: u64,
    /// Media datagrams that came from webrtc's core.
    strange: u32,
}

/// Cameras, and what the viewer receives from them.
struct Studio {
    cameras: Vec<Rungs>,
    wishes: Wishes,
    media: Media,
    /// What the viewer does after a number of pictures.
    act: fn(&mut Self, u32),
}

impl Studio {
    /// The viewer sees all of them, each in its section.
    fn new(cameras: Vec<Rungs>, act: fn(&mut Self, u32)) -> Self {
        let section = |rungs: &Rungs| Section {
            mid: None,
            camera: Some(rungs.camera.name.clone()),
            quality: Quality::Full,
            paused: false,
            gets: None,
        };
        let sections: Vec<_> = cameras.iter().map(section).collect();
        let listen = cameras[0].camera.name.clone();
        let media = Media::new(sections.len(), false);
        let mut studio = Self { cameras, wishes: Wishes { sections, listen }, media, act };
        studio.tune();
        studio
    }

    fn tune(&mut self) {
        let cameras = self.cameras.iter().map(|rungs| (*rungs.camera).clone());
        self.media.tune(&self.wishes, &Cameras::new(cameras).all());
    }

    /// Captures the n-th picture of all cameras: each at its own time.
    fn picture(&mut self, at: Pts, n: u32) {
        for (camera, rungs) in (0..).zip(&mut self.cameras) {
            rungs.picture(at + PICTURE * camera / 3);
        }
        (self.act)(self, n);
    }
}

impl World {
    fn new(properties: Properties, seed: u64) -> Self {
        Self::with(properties, seed, 1)
    }

    /// Creates a world in which the viewer has this many video sections.
    fn with(properties: Properties, seed: u64, pictures: usize) -> Self {
        let start = Instant::now();
        let mut peer = Peer::new(THEIRS.into(), pictures, start);
        let offer = peer.offer(false, start);
        let own = ProfileLevelId([0x42, 0xc0, 0x1f]);
        let playable = sdp::check(&offer, own, &vec![None; pictures]).expect("playable");
        assert_eq!(playable.pictures.len(), pictures);
        let mut demux = Demux::default();
        let mailbox = Arc::default();
        let line = demux.open(Arc::clone(&mailbox));
        let ntp = NtpClock::now();
        let session = Session::answer(playable, mailbox, [true; 2], ntp, false, start).expect("an answer");
        let mut world = Self {
            now: start,
            start,
            up: Link::new(properties, seed * 2, start),
            down: Link::new(properties, seed * 2 + 1, start),
            demux,
            line,
            session,
            peer,
            playing: true,
            picture: start,
            sound: start,
            pictures: 0,
            studio: None,
            follows: None,
            dropped: None,
            state: RTCPeerConnectionState::New,
            goodbye: false,
            keyframes: 0,
            sent: 0,
            strange: 0,
        };
        let answer = world.completed();
        world.peer.accept(&answer, world.session.offer().video.payload_type, start);
        world.turn();
        world
    }

    /// Our answer with our candidate; puts its credentials into effect.
    fn completed(&mut self) -> String {
        let ours = SocketAddr::from(OURS);
        let candidate = format!("candidate:1 1 udp 2130706431 {} {} typ host", ours.ip(), ours.port());
        let answer = self.session.description(&[candidate], true).expect("an answer");
        let ice = self.session.offer().ice_of(&answer).expect("credentials");
        self.demux.credentials(self.line, &ice.ufrag, &ice.pwd);
        answer
    }

    /// The viewer's full offer restarts ICE.
    fn restart(&mut self) {
        let offer = self.peer.offer(true, self.now);
        let renewed = self.session.offer().later(&offer, None).expect("the same");
        self.session.renegotiate(renewed, false, self.now).expect("an answer");
        let answer = self.completed();
        self.peer.accept(&answer, self.session.offer().video.payload_type, self.now);
        self.turn();
    }

    /// Runs until `done`, or for `limit`. Returns whether it was done.
    fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            let mut due = vec![self.up.due(), self.down.due(), self.session.due(), self.peer.due()];
            if self.playing {
                due.extend([Some(self.picture), Some(self.sound)]);
                let cameras = self.studio.iter().flat_map(|studio| &studio.cameras);
                let encoded = cameras.filter_map(Rungs::due).min();
                due.push(encoded.map(|at| self.now + at.since(self.pts(self.now))));
            }
            let next = due.into_iter().flatten().min().unwrap_or(end).max(self.now);
            if next > end {
                self.now = end;
                return done(self);
            }
            self.now = next;
            self.turn();
        }
    }

    fn run(&mut self, time: Duration) {
        self.until(time, |_| false);
    }

    fn connect(&mut self) -> Duration {
        let up = self.until(Duration::from_secs(30), |w| w.is_up());
        assert!(up, "not connected after 30 s: {:?}, {:?}", self.state, self.peer.state);
        self.now - self.start
    }

    fn is_up(&self) -> bool {
        let up = RTCPeerConnectionState::Connected;
        self.state == up && self.peer.state == up
    }

    /// Does everything that is due now.
    fn turn(&mut self) {
        let now = self.now;
        while let Some(Parcel { from, bytes, .. }) = self.up.arrived(now) {
            let ours = Some(SocketAddr::from(OURS).ip());
            if let Inbound::Line(_, mailbox, label) = self.demux.udp(now, from, ours, &bytes) {
                mailbox.deliver(now, label, &bytes);
            }
        }
        while let Some(Parcel { from, to, bytes }) = self.down.arrived(now) {
            if to == self.peer.address {
                self.peer.receive(from, &bytes, now);
            }
        }
        self.ours();
        for (to, bytes) in self.peer.pass(now) {
            assert_eq!(to, SocketAddr::from(OURS));
            self.up.send(now, Parcel { from: self.peer.address, to, bytes });
        }
    }

    /// One turn of the viewer's task.
    fn ours(&mut self) {
        let now = self.now;
        self.session.receive(now);
        for change in self.session.pass(now) {
            match change {
                Change::Selected(to) => self.demux.select(self.line, to),
                Change::State(state) => self.state = state,
                Change::Goodbye => self.goodbye = true,
            }
        }
        for section in 0..self.session.offer().pictures.len() {
            self.keyframes += u32::from(self.session.wishes_keyframe(section));
        }
        self.control();
        self.media();
        if let Some(mut studio) = self.studio.take() {
            while self.playing && self.picture <= now {
                self.picture += PICTURE;
                self.pictures += 1;
                studio.picture(self.pts(self.picture - PICTURE), self.pictures);
            }
            studio.cameras.iter_mut().for_each(|rungs| rungs.turn(self.pts(now)));
            while let Some(unit) = studio.media.try_recv() {
                self.session.send(&unit, false, now);
            }
            self.studio = Some(studio);
            self.media();
        }
        while self.playing && self.picture <= now {
            let unit = self.next_picture();
            self.picture += PICTURE;
            let Some(unit) = unit else { continue };
            if self.dropped.is_none_or(|every| !self.pictures.is_multiple_of(every)) {
                self.session.send(&unit, false, now);
                self.media();
            }
        }
        while self.playing && self.sound <= now {
            let pts = self.pts(self.sound);
            let payload = Bytes::from_static(&[7; 80]);
            let unit = Unit::Audio(Arc::new(AudioUnit { pts, rtp_time: AUDIO.ticks(pts), payload }));
            self.sound += SOUND;
            self.session.send(&unit, false, now);
            self.media();
        }
    }

    /// The next picture, unless none is to be encoded.
    fn next_picture(&mut self) -> Option<Unit> {
        let pts = self.pts(self.picture);
        self.pictures += 1;
        let (mut idr, mut parts) = (false, PARTS);
        let share = self.session.share((self.follows.unwrap_or(SAME_BPS), FPS), self.now);
        if let Some(share) = share.filter(|_| self.follows.is_some()) {
            idr = self.session.is_broken(0);
            if share.pause && !idr {
                return None;
            }
            let bytes = share.video_bps / FPS / 8.0 * if idr { 5.0 } else { 1.0 };
            parts = (bytes / 805.0).round().max(1.0) as usize;
        }
        let payload =
            Bytes::copy_from_slice(&[&[0x41][..], &self.pictures.to_be_bytes(), &[7; 800]].concat());
        let payloads = vec![payload; parts];
        let rtp_time = VIDEO.ticks(pts);
        Some(Unit::Video(0, Arc::new(VideoUnit { payloads, ..VideoUnit::bare(pts, rtp_time, idr) })))
    }

    fn pts(&self, at: Instant) -> Pts {
        Pts::from_micros(1_000_000_000) + (at - self.start)
    }

    fn control(&mut self) {
        for (to, datagram) in self.session.control() {
            self.strange += u32::from((128..192).contains(&datagram[0]));
            if let Some((to, _)) = self.demux.outbound(self.line, to, &datagram) {
                self.down.send(self.now, Parcel { from: OURS.into(), to, bytes: datagram.to_vec() });
            }
        }
    }

    fn media(&mut self) {
        self.sent += self.session.take_sent().packets;
        let way = self.demux.media(self.line);
        for run in self.session.media().runs(64) {
            for datagram in run.datagrams() {
                if let Some((to, _)) = &way {
                    let parcel = Parcel { from: OURS.into(), to: *to, bytes: datagram.to_vec() };
                    self.down.send(self.now, parcel);
                }
            }
        }
        self.session.media().clear();
    }
}
