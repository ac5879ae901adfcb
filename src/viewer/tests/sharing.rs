//! Several viewers of one camera, each over its own link, on virtual time. Sessions, tracks, ladders and hubs are real; the
//! encoders are a model of their bitrates.

use std::collections::HashSet;

use rtc::interceptor::Packet;

use super::*;
use crate::media::frame::Size;
use crate::media::unit::BASE_PART;
use crate::pipeline::camera::Camera;
use crate::pipeline::hub::Capacity;
use crate::pipeline::quality::{Offered, Share};
use crate::viewer::ladder::{Layers, Pictures};
use crate::viewer::starts::GUESS_BPS;

/// Bitrate of full pictures.
const FULL_BPS: u32 = 2_500_000;
/// How much larger an IDR is than other pictures.
const IDR: f64 = 5.0;
const PAYLOAD: usize = 1_100;
const STEP: Duration = Duration::from_millis(1);

/// A viewer with its link.
struct Guest {
    world: World,
    media: Media,
}

/// What a guest received in some time.
#[derive(Debug)]
struct Received {
    /// First transmissions of pictures and sounds, in bits per second with headers.
    bps: f64,
    /// Pictures a second.
    fps: f64,
    layers: Option<Layers>,
    /// Longest time between the ends of two pictures.
    gap: Duration,
}

/// A camera, its encoders, and its viewers.
struct House {
    camera: Camera,
    guests: Vec<Guest>,
    /// Time since the start, and number of pictures.
    elapsed: Duration,
    pictures: u32,
    /// When each rung's last picture was captured, and the number of its pictures since the last IDR.
    encoded: [(Pts, u32); 3],
}

impl House {
    /// Viewers with these links, who have just connected.
    fn new(links: &[Properties]) -> Self {
        let camera = Camera::new("camera", "camera");
        let size = Some(Size::new(1280, 720));
        camera.video.offer(Offered { size, fps: FPS, bitrate_bps: FULL_BPS, smaller: true });
        let section = Section {
            mid: None,
            camera: Some("camera".into()),
            quality: Quality::Auto,
            paused: false,
            gets: None,
        };
        let wishes = Wishes { sections: vec![section], listen: "camera".into() };
        let cameras = Cameras::new([camera.clone()]).all();
        let guests = (0..).zip(links).map(|(seed, link)| {
            let mut world = World::new(*link, seed);
            world.picture += Duration::from_secs(100_000); // its own pictures never come
            world.connect();
            let mut media = Media::new(1, false);
            media.begin(GUESS_BPS);
            media.tune(&wishes, &cameras);
            Guest { world, media }
        });
        let guests = guests.collect();
        Self { camera, guests, elapsed: Duration::ZERO, pictures: 0, encoded: [(Pts::from_micros(0), 0); 3] }
    }

    fn now(&self) -> Pts {
        Pts::from_micros(1_000_000_000) + self.elapsed
    }

    /// Runs for some seconds; returns what each guest received.
    fn run(&mut self, for_s: u64) -> Vec<Received> {
        for guest in &mut self.guests {
            guest.world.peer.arrived();
        }
        for _ in 0..for_s * 1000 {
            self.elapsed += STEP;
            if PICTURE * self.pictures <= self.elapsed {
                self.pictures += 1;
                self.encode();
            }
            let (now, chooses) = (self.now(), self.elapsed.as_millis().is_multiple_of(1000));
            self.guests.iter_mut().for_each(|guest| guest.step(now, chooses));
        }
        self.guests.iter_mut().map(|guest| guest.received(for_s)).collect()
    }

    /// Encodes a picture in each rung that has viewers, as the rungs' threads do.
    fn encode(&mut self) {
        let pts = self.now();
        for (share, (last, since_idr)) in Share::ALL.into_iter().zip(&mut self.encoded) {
            let hub = self.camera.video.hub(share);
            let Some(Capacity { bitrate_bps, fps, pause }) = hub.capacity() else { continue };
            let idr = hub.begin(pts, false, pts);
            let fps = f64::from(fps).min(FPS);
            let interval = Duration::from_secs_f64(0.9 / fps);
            if !idr && (pause || pts.since(*last) < interval) {
                continue;
            }
            (*last, *since_idr) = (pts, if idr { 0 } else { *since_idr + 1 });
            let disposable = !since_idr.is_multiple_of(2);
            let bps = bitrate_bps.min(share.bitrate_bps(FULL_BPS));
            let part = match (idr, disposable) {
                (true, _) => IDR,
                (false, false) => 2.0 * BASE_PART,
                (false, true) => 2.0 * (1.0 - BASE_PART),
            };
            let bytes = f64::from(bps) / 8.0 / fps * part;
            let parts = (bytes / PAYLOAD as f64).ceil().max(1.0);
            let payload = Bytes::from(vec![if idr { 0x65 } else { 0x41 }; (bytes / parts) as usize]);
            let (rtp_time, payloads) = (VIDEO.ticks(pts), vec![payload; parts as usize]);
            let unit = VideoUnit { disposable, payloads, ..VideoUnit::bare(pts, rtp_time, idr) };
            hub.publish(&Arc::new(unit));
        }
    }
}

impl Guest {
    /// One turn of its task at `now`, and the time until the next.
    fn step(&mut self, now: Pts, chooses: bool) {
        let Self { world, media } = self;
        let at = world.now;
        while let Some(unit) = media.try_recv() {
            world.session.send(&unit, false, at);
        }
        let most = media.most();
        if let Some(share) = world.session.share(most, at) {
            media.set_capacity(&share, most, chooses.then_some(at));
        }
        if world.session.is_broken(0) {
            media.tracks[0].need_keyframe(now);
        }
        world.media();
        world.run(STEP);
    }

    fn received(&mut self, for_s: u64) -> Received {
        let layers = self.media.tracks[0].gets().map(|(_, layers)| layers);
        let (mut bytes, mut ends, mut shown) = (0, vec![], HashSet::new());
        let video = self.world.session.offer().video.payload_type;
        for (at, packet) in self.world.peer.arrived() {
            let Packet::Rtp(packet) = packet else { continue };
            let kind = packet.header.payload_type;
            if kind == video || kind == OPUS {
                bytes += packet.payload.len() + 64;
            }
            if kind == video && packet.header.marker && shown.insert(packet.header.timestamp) {
                ends.push(at);
            }
        }
        let gap = ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        let for_s = for_s as f64;
        Received { bps: bytes as f64 * 8.0 / for_s, fps: ends.len() as f64 / for_s, layers, gap }
    }
}

/// A fast desktop, a capped DSL line, and a phone on a bad cell.
fn links() -> [Properties; 3] {
    let ms = Duration::from_millis;
    [
        GOOD,
        Properties { rate: 1.2e6, delay: ms(20), ..GOOD },
        Properties { rate: 400e3, delay: ms(40), jitter: ms(10), loss: Loss::Random(0.01) },
    ]
}

#[test]
fn three_viewers_get_what_their_links_carry_and_none_harms_another() {
    let [fast, ..] = links();
    let mut alone = House::new(&[fast]);
    alone.run(10);
    let alone = alone.run(20).remove(0);
    let mut house = House::new(&links());
    let begin = house.run(10);
    let received = house.run(20);
    println!("alone {alone:?}; at first {begin:?}, then {received:?}");
    let [fast, dsl, phone] = &received[..] else { unreachable!("three viewers") };
    assert_eq!([fast, dsl, phone].map(|of| of.layers), Share::ALL.map(|share| Some(Layers::all(share))));
    assert!(fast.bps > 0.95 * alone.bps && fast.fps > 0.95 * alone.fps, "the others cost it nothing");
    assert!(dsl.bps > 0.6 * 1.2e6 && phone.bps > 0.6 * 400e3);
    assert!(received.iter().all(|of| of.fps >= 12.0));
    assert!(begin[0].gap < Duration::from_millis(150), "also while the others find their rungs");
    assert!(begin.iter().all(|of| of.gap < Duration::from_secs(2)), "that takes a moment");
}

#[test]
fn a_link_that_carries_most_of_it_gets_every_second_picture_in_full_size() {
    let ms = Duration::from_millis;
    let [fast, ..] = links();
    let mut house = House::new(&[fast, Properties { rate: 2.1e6, delay: ms(20), ..GOOD }]);
    house.run(15);
    let received = house.run(20);
    println!("{received:?}");
    let [fast, dsl] = &received[..] else { unreachable!("two viewers") };
    assert_eq!(fast.layers, Some(Layers::all(Share::Full)));
    assert_eq!(dsl.layers, Some(Layers { share: Share::Full, pictures: Pictures::Base }));
    assert!(fast.fps > 0.95 * FPS && (dsl.fps - FPS / 2.0).abs() < 1.0);
    assert!(dsl.bps > 0.6 * 2.1e6 && dsl.gap < ms(150));
    // Alone it gets all of it, at the bitrate that its link carries.
    house.guests.remove(0);
    house.run(5);
    let alone = house.run(10).remove(0);
    assert_eq!(alone.layers, Some(Layers::all(Share::Full)));
    assert!(alone.fps > 0.9 * FPS, "{alone:?}");
}

/// A second phone, on a link that carries less than the pictures of the first one.
#[test]
fn a_link_that_carries_no_pictures_gets_sound_until_it_is_alone_on_the_smallest_rung() {
    let [fast, dsl, phone] = links();
    let worse = Properties { rate: 150e3, loss: Loss::Random(0.0), ..phone };
    let mut house = House::new(&[fast, dsl, phone, worse]);
    house.run(30);
    let received = house.run(20);
    println!("{received:?}");
    let [fast, _, phone, worse] = &received[..] else { unreachable!("four viewers") };
    assert_eq!(worse.layers.map(|layers| layers.pictures), Some(Pictures::None));
    assert!(worse.fps < 3.0, "they are tried now and then");
    assert!(fast.fps > 0.95 * FPS && phone.fps >= 12.0 && phone.bps > 0.5 * 400e3, "the others lose nothing");
    house.guests.remove(2);
    house.run(10);
    let received = house.run(20);
    println!("without the first phone: {received:?}");
    let worse = &received[2];
    assert_eq!(worse.layers, Some(Layers::all(Share::Quarter)));
    assert!(worse.fps >= 12.0 && worse.bps > 0.6 * 150e3);
}
