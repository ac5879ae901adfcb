use super::*;
use crate::media::h264::nal_type;
use crate::media::unit::BASE_PART;
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

const SETTINGS: Settings =
    Settings { size: Size::new(320, 240), fps: 30.0, bitrate_bps: 500_000, effort: Effort::Low, level: None };

/// Capture time of frame `n` at 30 frames per second.
fn at(n: u64) -> Pts {
    Pts::from_micros(n * 1_000_000 / 30)
}

/// The access unit with start codes.
fn annex_b(unit: &AccessUnit) -> Vec<u8> {
    unit.nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
}

/// A picture that always changes: noise that moves sideways, below noise that is new in each picture. It can
/// be coded at all of the bitrates that are tested here, and uses up the highest.
struct Moving {
    texture: Vec<u8>,
    seed: u32,
    picture: I420,
    moved: usize,
}

impl Moving {
    fn new(size: Size) -> Self {
        let mut this = Self { texture: vec![], seed: 1, picture: I420::new(size), moved: 0 };
        this.texture = (0..size.area()).map(|_| 64 + this.noise() / 2).collect();
        this
    }

    fn noise(&mut self) -> u8 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        (self.seed >> 24) as u8
    }

    fn next(&mut self) -> &I420 {
        self.moved += 3;
        let len = self.texture.len();
        let mut picture = std::mem::replace(&mut self.picture, I420::new(Size::new(2, 2)));
        for (n, y) in picture.planes_mut().y.iter_mut().enumerate() {
            *y = self.texture[(n + self.moved) % len] + self.noise() / 8;
        }
        self.picture = picture;
        &self.picture
    }
}

#[test]
fn the_bitrate_follows_within_two_seconds_without_an_idr() {
    const WANTED: [u32; 5] = [2_000_000, 500_000, 4_000_000, 1_000_000, 3_000_000];
    let size = Size::new(640, 480);
    let mut encoder =
        OpenH264::new(Settings { size, bitrate_bps: WANTED[0], ..SETTINGS }).expect("an encoder");
    let (mut moving, mut decoder) = (Moving::new(size), Decoder::new().expect("a decoder"));
    let mut n = 0;
    let measured = WANTED.map(|wanted| {
        encoder.set_rates(wanted, SETTINGS.fps).expect("taken");
        assert_eq!(encoder.settings().bitrate_bps, wanted);
        let mut seconds = [0; 4];
        for second in &mut seconds {
            for _ in 0..30 {
                let unit = encoder.encode(moving.next(), at(n), n == 0).expect("no frame is skipped");
                assert_eq!(unit.idr, n == 0, "frame {n}");
                let bytes = annex_b(&unit);
                *second += bytes.len();
                let decoded = decoder.decode(&bytes).expect("decodable").expect("a picture");
                assert_eq!(decoded.dimensions(), (640, 480), "frame {n}");
                n += 1;
            }
        }
        let parts = seconds.map(|bytes| bytes as f64 * 8.0 / f64::from(wanted));
        println!("{wanted} bit/s: {parts:.3?} of it in each second from the change on");
        (parts[2] + parts[3]) / 2.0
    });
    // The first picture is an IDR of several times its share, which the next seconds make up for.
    assert!(measured[1..].iter().all(|part| (0.85..1.15).contains(part)), "{measured:.3?}");
}

#[test]
fn with_fewer_frames_a_second_each_may_be_larger_and_none_is_an_idr() {
    const WANTED: u32 = 1_000_000;
    let size = Size::new(640, 480);
    let mut encoder = OpenH264::new(Settings { size, bitrate_bps: WANTED, ..SETTINGS }).expect("an encoder");
    let mut moving = Moving::new(size);
    let mut at_us = 0;
    let mut measure = |fps: u64| {
        encoder.set_rates(WANTED, fps as f32).expect("taken");
        let mut seconds = [0; 4];
        for second in &mut seconds {
            for _ in 0..fps {
                let idr = at_us == 0;
                let unit = encoder.encode(moving.next(), Pts::from_micros(at_us), idr).expect("encoded");
                assert_eq!(unit.idr, idr, "at {at_us}");
                *second += unit.nals.iter().map(|nal| nal.len() + 4).sum::<usize>();
                at_us += 1_000_000 / fps;
            }
        }
        (seconds[2] + seconds[3]) as f64 * 4.0 / f64::from(WANTED)
    };
    let measured = [30, 15, 10, 20, 30].map(&mut measure);
    assert!(measured[1..].iter().all(|part| (0.85..1.15).contains(part)), "{measured:.3?}");
}

/// A decoder that is not sent some disposable pictures shows the others as one that is sent all.
#[test]
fn every_second_picture_may_be_left_out_at_any_time() {
    let size = Size::new(640, 480);
    let mut encoder =
        OpenH264::new(Settings { size, bitrate_bps: 1_000_000, ..SETTINGS }).expect("an encoder");
    let (mut moving, mut random) = (Moving::new(size), crate::testing::Random(1));
    let mut decoders = [(); 2].map(|()| Decoder::new().expect("a decoder"));
    let (mut all, mut base, mut since_idr, mut leaves_out, mut left_out) = (0, 0, 0, false, 0);
    for n in 0..600 {
        let idr = n % 151 == 0;
        since_idr = if idr { 0 } else { since_idr + 1 };
        leaves_out ^= random.part() < 0.1;
        let unit = encoder.encode(moving.next(), at(n), idr).expect("encoded");
        assert_eq!(unit.disposable, since_idr % 2 == 1, "picture {n}");
        let bytes = annex_b(&unit);
        if n >= 300 && !idr {
            all += bytes.len();
            base += if unit.disposable { 0 } else { bytes.len() };
        }
        let takes_all = !(unit.disposable && leaves_out);
        left_out += u32::from(!takes_all);
        let [complete, partial] = decoders.each_mut();
        let shown = |decoder: &mut Decoder| {
            let decoded = decoder.decode(&bytes).expect("decodable").expect("a picture");
            let rows = decoded.y().chunks(decoded.strides().0).take(size.height as usize);
            rows.flat_map(|row| &row[..size.width as usize]).copied().collect::<Vec<_>>()
        };
        let all_of_it = shown(complete);
        assert!(!takes_all || shown(partial) == all_of_it, "picture {n}");
    }
    let part = base as f64 / all as f64;
    assert!((part - BASE_PART).abs() < 0.06, "the base layer has {part:.2} of the bits");
    assert!(left_out > 100, "{left_out}");
}

#[test]
fn rates_that_the_level_does_not_allow_are_refused_and_the_former_kept() {
    let mut encoder = OpenH264::new(SETTINGS).expect("an encoder");
    let most = max_bitrate_bps(encoder.profile().0[2]);
    encoder.set_rates(most, 15.0).expect("allowed");
    let error = encoder.set_rates(most + 1, 10.0).expect_err("refused");
    assert!(error.to_string().starts_with("OpenH264: "), "{error}");
    encoder.set_rates(most, SETTINGS.fps + 1.0).expect_err("refused");
    assert_eq!((encoder.settings().bitrate_bps, encoder.settings().fps), (most, 15.0));
}

#[test]
fn idrs_come_by_wish_only_and_with_parameter_sets() {
    let mut encoder = OpenH264::new(SETTINGS).expect("an encoder");
    let (mut picture, mut profiles) = (I420::new(SETTINGS.size), vec![]);
    for n in 0u64..60 {
        // A scene change every ten frames must not cause an IDR.
        picture.planes_mut().y.fill(if n / 10 % 2 == 0 { 40 } else { 200 });
        let unit = encoder.encode(&picture, at(n), n == 30).expect("encoded");
        let idr = n == 0 || n == 30;
        assert_eq!(unit.idr, idr, "frame {n}");
        let sps = unit.nals.iter().find(|x| nal_type(x) == nal::SPS);
        assert_eq!(sps.is_some(), idr, "frame {n}");
        let profile = sps.and_then(|sps| ProfileLevelId::of_sps(sps));
        profiles.extend(profile);
    }
    assert_eq!(profiles, [encoder.profile(); 2]);
}

#[test]
fn the_level_follows_size_and_rate_and_the_profile_is_constrained_baseline() {
    for (size, fps, level) in [((640, 480), 30.0, 30), ((1280, 720), 30.0, 31), ((1920, 1080), 30.0, 40)] {
        let size = Size::new(size.0, size.1);
        let encoder = OpenH264::new(Settings { size, fps, bitrate_bps: 2_000_000, ..SETTINGS });
        let [profile, constraints, l] = encoder.expect("an encoder").profile().0;
        assert_eq!((profile, constraints & 0x40), (66, 0x40), "{size}");
        assert_eq!(l, level, "{size}");
    }
}

/// The bits of a NAL unit, without emulation prevention bytes.
struct Bits {
    bits: Vec<bool>,
    at: usize,
}

impl Bits {
    fn of(nal: &[u8]) -> Self {
        let mut bytes = vec![];
        for byte in nal {
            if *byte != 3 || !bytes.ends_with(&[0, 0]) {
                bytes.push(*byte);
            }
        }
        let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1 == 1)).collect();
        Self { bits, at: 0 }
    }

    fn read(&mut self, count: usize) -> u32 {
        self.at += count;
        self.bits[self.at - count..self.at].iter().fold(0, |value, bit| value * 2 + u32::from(*bit))
    }

    /// Exp-Golomb code.
    fn ue(&mut self) -> u32 {
        let zeros = self.bits[self.at..].iter().take_while(|bit| !**bit).count();
        self.read(zeros);
        self.read(zeros + 1) - 1
    }
}

/// The contents of a baseline SPS except for the size: the first part, and everything from the VUI on.
fn beside_size(sps: &[u8]) -> (Vec<u32>, Vec<bool>) {
    let mut bits = Bits::of(&sps[1..]);
    let mut facts = vec![bits.read(8), bits.read(8), bits.read(8)];
    facts.extend([bits.ue(), bits.ue(), bits.ue()]); // id, frame_num bits, picture order
    assert_eq!(facts[5], 2, "pictures are in order");
    facts.extend([bits.ue(), bits.read(1)]); // reference frames, gaps
    let (_width, _height) = (bits.ue(), bits.ue());
    facts.extend([bits.read(1), bits.read(1)]); // progressive, direct inference
    if bits.read(1) == 1 {
        let _cropping = [bits.ue(), bits.ue(), bits.ue(), bits.ue()];
    }
    assert_eq!(bits.read(1), 1, "a VUI");
    let last = bits.bits.iter().rposition(|bit| *bit).expect("a stop bit");
    (facts, bits.bits[bits.at..last].to_vec())
}

#[test]
fn parameter_sets_differ_in_nothing_but_the_size() {
    let sps = |width, height, level| {
        let settings = Settings { size: Size::new(width, height), bitrate_bps: 1_000_000, level, ..SETTINGS };
        let mut encoder = OpenH264::new(settings).expect("an encoder");
        let unit = encoder.encode(&I420::new(settings.size), at(1), true).expect("encoded");
        unit.nals.iter().find(|n| nal_type(n) == nal::SPS).expect("an SPS").to_vec()
    };
    let full = sps(1280, 720, None);
    let level = full[3];
    assert_eq!((level, beside_size(&full).0[6]), (31, 1), "level and reference frames");
    for (width, height) in [(640, 360), (320, 180), (640, 480), (176, 144), (16, 16)] {
        let smaller = sps(width, height, Some(level));
        assert_eq!(beside_size(&smaller), beside_size(&full), "{width}x{height}");
    }
    assert_ne!(beside_size(&sps(640, 360, None)), beside_size(&full), "their own levels differ");
    assert_eq!(sps(1280, 720, Some(10))[3], 31, "a level that is too low is raised");
}

#[test]
fn what_can_t_be_made_is_refused() {
    let mut encoder = OpenH264::new(SETTINGS).expect("an encoder");
    assert!(encoder.encode(&I420::new(Size::new(640, 480)), at(0), false).is_err(), "a different size");
    assert!(OpenH264::new(Settings { level: Some(77), ..SETTINGS }).is_err(), "the level does not exist");
    assert!(OpenH264::new(Settings { size: Size::new(3842, 16), ..SETTINGS }).is_err(), "too large");
}
