use super::*;
use turbojpeg::{Image, PixelFormat as Rgb};

const SIZE: Size = Size::new(128, 64);

/// 100 % colour bars, 16 pixels wide each: RGB, and BT.601 limited.
const BARS: [([u8; 3], [u8; 3]); 8] = [
    ([255, 255, 255], [235, 128, 128]),
    ([255, 255, 0], [210, 16, 146]),
    ([0, 255, 255], [170, 166, 16]),
    ([0, 255, 0], [145, 54, 34]),
    ([255, 0, 255], [106, 202, 222]),
    ([255, 0, 0], [81, 90, 240]),
    ([0, 0, 255], [41, 240, 110]),
    ([0, 0, 0], [16, 128, 128]),
];

/// The bars as JPEG.
fn bars(subsamp: Subsamp, size: Size) -> Vec<u8> {
    let mut pixels = vec![];
    for _ in 0..size.height {
        for x in 0..size.width {
            pixels.extend(BARS[(x / 16 % 8) as usize].0);
        }
    }
    let (width, height) = (size.width as usize, size.height as usize);
    let image = Image { pixels: &pixels[..], width, pitch: width * 3, height, format: Rgb::RGB };
    turbojpeg::compress(image, 95, subsamp).expect("compressed").to_vec()
}

/// The bars with restart markers off and some noise, so that most bytes are entropy-coded data.
fn noisy() -> Vec<u8> {
    let mut random = Random(7);
    let pixels: Vec<u8> = (0..SIZE.area() * 3).map(|_| random.next() as u8).collect();
    let (width, height) = (SIZE.width as usize, SIZE.height as usize);
    let image = Image { pixels: &pixels[..], width, pitch: width * 3, height, format: Rgb::RGB };
    turbojpeg::compress(image, 80, Subsamp::Sub2x1).expect("compressed").to_vec()
}

fn decode(jpeg: &[u8], size: Size) -> Result<I420, Error> {
    let mut out = I420::new(size);
    Decoder::default().decode(jpeg, size, &mut out).map(|()| out)
}

fn assert_bars(out: &I420) {
    let (y, u, v) = out.planes();
    let width = out.size().width as usize;
    for bar in 0..width / 16 {
        // In the middle of each bar, away from the edges that halved chroma smears.
        for row in [2, out.size().height as usize - 2] {
            let (x, c) = (bar * 16 + 8, (row / 2) * (width / 2) + bar * 8 + 4);
            let got = [y[row * width + x], u[c], v[c]];
            let expected = BARS[bar % 8].1;
            let far = got.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
            assert!(far <= Some(3), "bar {bar}: {got:?}, not {expected:?}");
        }
    }
}

/// Reproducible noise (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn colours_are_right_in_every_subsampling() {
    use Subsamp::{None, Sub1x2, Sub1x4, Sub2x1, Sub2x2, Sub4x1};
    for subsamp in [Sub2x2, Sub2x1, None, Sub1x2, Sub4x1, Sub1x4] {
        assert_bars(&decode(&bars(subsamp, SIZE), SIZE).unwrap_or_else(|e| panic!("{subsamp:?}: {e}")));
        // Odd sizes lose their last column and row.
        let odd = Size::new(131, 65);
        assert_bars(&decode(&bars(subsamp, odd), odd).unwrap_or_else(|e| panic!("{subsamp:?} odd: {e}")));
    }
}

#[test]
fn grey_has_no_colours() {
    let out = decode(&bars(Subsamp::Gray, SIZE), SIZE).expect("decoded");
    assert!(out.planes().0[8].abs_diff(235) <= 2 && out.planes().0[127].abs_diff(16) <= 2);
    assert!(out.planes().1.iter().chain(out.planes().2).all(|c| *c == 128));
}

#[test]
fn standard_huffman_tables_may_be_left_out() {
    let whole = bars(Subsamp::Sub2x1, SIZE);
    let mut bare = whole[..2].to_vec();
    let mut at = 2;
    while whole[at + 1] != 0xda {
        let length = 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
        if whole[at + 1] != 0xc4 {
            bare.extend(&whole[at..at + length]);
        }
        at += length;
    }
    bare.extend(&whole[at..]);
    assert!(bare.len() < whole.len() - 400, "the tables are gone");
    assert_bars(&decode(&bare, SIZE).expect("decoded"));
}

#[test]
fn a_frame_cut_anywhere_is_damaged_and_not_shown() {
    let whole = noisy();
    assert!(decode(&whole, SIZE).is_ok());
    let mut decoder = Decoder::default();
    for cut in 0..whole.len() {
        let mut out = I420::new(SIZE);
        assert!(decoder.decode(&whole[..cut], SIZE, &mut out).is_err(), "cut at {cut} of {}", whole.len());
        assert!(out.planes().0.iter().all(|y| *y == 16));
    }
    let mut out = I420::new(SIZE);
    decoder.decode(&whole, SIZE, &mut out).expect("a whole one is decoded after damaged ones");
}

#[test]
fn a_lost_packet_in_the_middle_is_damage() {
    let whole = noisy();
    for from in (700..whole.len() - 1300).step_by(97) {
        let mut torn = whole.clone();
        torn.drain(from..from + 1024);
        assert!(decode(&torn, SIZE).is_err(), "1024 bytes lost at {from}");
    }
}

#[test]
fn padding_of_cameras_is_no_damage() {
    let whole = bars(Subsamp::Sub2x1, SIZE);
    let end = whole.len() - 2;
    // Behind the end: zeros, or rubbish up to the next packet.
    assert_bars(&decode(&[&whole[..], &[0; 3000]].concat(), SIZE).expect("zeros"));
    assert_bars(&decode(&[&whole[..], &[0x5a; 500]].concat(), SIZE).expect("rubbish"));
    // Before the end: a few bytes too many ("extraneous bytes before marker 0xd9").
    assert_bars(&decode(&[&whole[..end], &[0, 0, 0], &whole[end..]].concat(), SIZE).expect("a few too many"));
    assert!(decode(&[&whole[..end], &[0; 300], &whole[end..]].concat(), SIZE).is_err(), "many too many");
}

#[test]
fn another_size_is_an_error() {
    let jpeg = bars(Subsamp::Sub2x1, SIZE);
    let got = decode(&jpeg, Size::new(64, 64)).expect_err("refused");
    assert!(matches!(got, Error::Size { got, expected } if got == SIZE && expected == Size::new(64, 64)));
}

#[test]
fn rubbish_never_panics() {
    let whole = bars(Subsamp::Sub2x2, SIZE);
    let (mut random, mut decoder, mut out) = (Random(1), Decoder::default(), I420::new(SIZE));
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.next() % 8 {
            let at = random.next() as usize % bytes.len();
            bytes[at] = random.next() as u8;
        }
        let _ = decoder.decode(&bytes, SIZE, &mut out);
    }
    for length in 0..600 {
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        assert!(decoder.decode(&bytes, SIZE, &mut out).is_err());
        bytes.splice(0..0, [0xff, 0xd8, 0xff]);
        bytes.extend([0xff, 0xd9]);
        let _ = decoder.decode(&bytes, SIZE, &mut out);
    }
    decoder.decode(&whole, SIZE, &mut out).expect("still decodes");
    assert_bars(&out);
}

#[test]
fn a_snapshot_shows_the_same_colours() {
    let picture = decode(&bars(Subsamp::Sub2x2, SIZE), SIZE).expect("decoded");
    let jpeg = encode(&picture, 90).expect("encoded");
    assert_bars(&decode(&jpeg, SIZE).expect("decoded again"));
    let rgb = turbojpeg::decompress(&jpeg, Rgb::RGB).expect("any viewer reads it");
    for (bar, (expected, _)) in BARS.iter().enumerate() {
        let at = 32 * rgb.pitch + (bar * 16 + 8) * 3;
        let got = &rgb.pixels[at..at + 3];
        assert!(
            got.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 8),
            "bar {bar}: {got:?}, not {expected:?}"
        );
    }
}
