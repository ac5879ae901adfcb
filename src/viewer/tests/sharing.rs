//! Several viewers of one camera, each over its own link, on virtual time. Sessions, tracks, ladders and hubs are real; the
//! encoders are a model of their bitrates.

use std::collections::HashSet;

use rtc::interceptor::Packet;

use super::*;
use crate::media::frame::Size;
use crate::media::unit::BASE_PART;
use crate::pipeline::camera::{Camera, List};
use crate::pipeline::hub::Capacity;
use crate::pipeline::quality::{Offered, Share};
use crate::pipeline::thinning::Thinning;
use crate::testing::Random;
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
    cameras: List,
    /// The part of their bitrate that encoders use: little where nothing moves.
    uses: f64,
    guests: Vec<Guest>,
    /// Time since the start, and number of pictures.
    elapsed: Duration,
    pictures: u32,
    /// For each rung, which pictures are encoded, and how many were since the last IDR.
    encoded: [(Thinning, u32); 3],
}

impl House {
    /// Viewers with these links, who have just connected.
    fn new(links: &[Properties]) -> Self {
        let camera = Camera::new("camera", "camera");
        let size = Some(Size::new(1280, 720));
        camera.video.offer(Offered { size, fps: FPS, bitrate_bps: FULL_BPS, smaller: true });
        let wishes = wishes(Quality::Auto);
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
        let encoded = Default::default();
        Self { camera, cameras, uses: 1.0, guests, elapsed: Duration::ZERO, pictures: 0, encoded }
    }

    /// A guest requests this quality.
    fn wish(&mut self, guest: usize, quality: Quality) {
        self.guests[guest].media.tune(&wishes(quality), &self.cameras);
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
        for (share, (thinning, since_idr)) in Share::ALL.into_iter().zip(&mut self.encoded) {
            let hub = self.camera.video.hub(share);
            let Some(Capacity { bitrate_bps, fps, pause }) = hub.capacity() else { continue };
            let idr = hub.begin(pts, false, pts);
            let fps = f64::from(fps).min(FPS);
            if !idr && (pause || !thinning.is_due(pts, fps as f32)) {
                continue;
            }
            *since_idr = if idr { 0 } else { *since_idr + 1 };
            let disposable = !since_idr.is_multiple_of(2);
            let bps = self.uses * f64::from(bitrate_bps.min(share.bitrate_bps(FULL_BPS)));
            let part = match (idr, disposable) {
                (true, _) => IDR,
                (false, false) => 2.0 * BASE_PART,
                (false, true) => 2.0 * (1.0 - BASE_PART),
            };
            let bytes = bps / 8.0 / fps * part;
            let parts = (bytes / PAYLOAD as f64).ceil().max(1.0);
            let payload = Bytes::from(vec![if idr { 0x65 } else { 0x41 }; (bytes / parts) as usize]);
            let (rtp_time, payloads) = (VIDEO.ticks(pts), vec![payload; parts as usize]);
            let unit = VideoUnit { disposable, payloads, ..VideoUnit::bare(pts, rtp_time, idr) };
            hub.publish(&Arc::new(unit));
        }
    }
}

fn wishes(quality: Quality) -> Wishes {
    let section = Section { mid: None, camera: Some("camera".into()), quality, paused: false, gets: None };
    Wishes { sections: vec![section], listen: "camera".into() }
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

/// While the picture was small, nothing showed that the link carries more than was assumed at first.
#[test]
fn who_enlarges_a_picture_soon_gets_its_full_size() {
    for rate in [3.5e6, 4e6, 8e6, 50e6] {
        let [fast, ..] = links();
        let mut house = House::new(&[fast, Properties { rate, delay: Duration::from_millis(20), ..GOOD }]);
        house.wish(1, Quality::Quarter);
        house.run(20);
        house.wish(1, Quality::Full);
        let full = Some(Layers::all(Share::Full));
        let seconds: Vec<_> = (0..8).map(|_| house.run(1).remove(1).layers).collect();
        println!("{rate}: {seconds:?}");
        assert!(seconds[2..].iter().all(|layers| *layers == full), "{rate}: {seconds:?}");
    }
}

/// While a link was slow, probes have failed, so the next one would have to wait for up to a minute.
#[test]
fn a_link_that_was_slow_is_probed_again_when_more_is_requested() {
    for (rate, for_s) in [(330e3, 100), (400e3, 150)] {
        let [fast, ..] = links();
        let mut house = House::new(&[fast, Properties { rate, delay: Duration::from_millis(20), ..GOOD }]);
        house.wish(1, Quality::Quarter);
        house.run(for_s);
        house.guests[1].world.down.properties.rate = 8e6;
        house.wish(1, Quality::Full);
        let layers = house.run(5).remove(1).layers;
        assert_eq!(layers, Some(Layers::all(Share::Full)), "{rate}, {for_s} s");
    }
}

/// Where nothing moves, little is sent, so that nothing but probes shows what a link carries.
#[test]
fn who_had_a_slow_link_gets_all_pictures_in_full_size_soon_after_it_is_fast() {
    for uses in [1.0, 0.1] {
        for rate in [80e3, 250e3, 600e3] {
            for for_s in [20, 50] {
                let [fast, ..] = links();
                let slow = Properties { rate, delay: Duration::from_millis(20), ..GOOD };
                for links in [&[slow][..], &[fast, slow]] {
                    let mut house = House::new(links);
                    house.uses = uses;
                    house.run(for_s);
                    let last = links.len() - 1;
                    house.guests[last].world.down.properties.rate = 8e6;
                    let full = Some(Layers::all(Share::Full));
                    let after = (1..60).find(|_| house.run(1).remove(last).layers == full);
                    println!("uses {uses}, {last} others, {rate} for {for_s} s: {after:?}");
                    assert!(after.is_some_and(|after| after <= 20));
                }
            }
        }
    }
}

/// The same after it carried only sound.
#[test]
fn who_heard_only_sound_gets_all_pictures_in_full_size_soon_after_the_link_is_fast() {
    for uses in [1.0, 0.4] {
        for for_s in [20, 60] {
            let [fast, dsl, phone] = links();
            let worse = Properties { rate: 150e3, loss: Loss::Random(0.0), ..phone };
            let mut house = House::new(&[fast, dsl, phone, worse]);
            house.uses = uses;
            house.run(for_s);
            house.guests[3].world.down.properties.rate = 8e6;
            let full = Some(Layers::all(Share::Full));
            let after = (1..60).find(|_| house.run(1).remove(3).layers == full);
            println!("uses {uses}, for {for_s} s: {after:?}");
            assert!(after.is_some_and(|after| after <= 40));
        }
    }
}

/// A good link, after anything: other rates, delays and losses, sizes that were requested, pictures in which much moves
/// or nothing. Nothing of that may stay.
#[test]
fn whatever_has_been_a_good_link_gets_all_pictures_in_full_size() {
    let ms = Duration::from_millis;
    for seed in 1..=12 {
        let mut random = Random(seed);
        let mut one_of = |all: &[f64]| all[random.below(all.len() as u64) as usize];
        let mut house = House::new(&[links()[0], GOOD]);
        house.uses = one_of(&[1.0, 0.5, 0.2, 0.05]);
        for _ in 0..one_of(&[2.0, 4.0, 8.0]) as usize {
            let link = Properties {
                rate: one_of(&[60e3, 100e3, 200e3, 400e3, 800e3, 1.5e6, 3e6, 8e6, 50e6]),
                delay: ms(one_of(&[1.0, 10.0, 40.0, 100.0]) as u64),
                jitter: ms(one_of(&[0.0, 5.0, 30.0]) as u64),
                loss: Loss::Random(one_of(&[0.0, 0.0, 0.02, 0.1, 0.3])),
            };
            let world = &mut house.guests[1].world;
            (world.down.properties, world.up.properties) = (link, link);
            let size = one_of(&[0.0, 1.0, 2.0]) as usize;
            house.wish(1, [Quality::Quarter, Quality::Half, Quality::Full][size]);
            house.run(one_of(&[3.0, 10.0, 25.0]) as u64);
        }
        house.wish(1, Quality::Full);
        let (world, good) = (&mut house.guests[1].world, Properties { rate: 8e6, delay: ms(20), ..GOOD });
        (world.down.properties, world.up.properties) = (good, good);
        let after = (1..=60).find(|_| {
            let received = house.run(1).remove(1);
            received.layers == Some(Layers::all(Share::Full)) && received.fps > 0.8 * FPS
        });
        println!("seed {seed}: after {after:?} s");
        assert!(after.is_some(), "seed {seed}");
    }
}
