use super::*;
use turbojpeg::{Image, PixelFormat as Rgb};

const SIZE: Size = Size::new(128, 64);

/// 100 % colour bars, 16 pixels wide each: in RGB and in limited-range BT.601.
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

/// The bars as a JPEG.
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

/// The bars with some noise and without restart markers, so that most bytes are entropy-coded data.
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
        // In the middle of each bar, away from the edges, which halved chroma blurs.
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
    let bare = without_tables(&bars(Subsamp::Sub2x1, SIZE));
    assert_bars(&decode(&bare, SIZE).expect("decoded"));
}

fn without_tables(whole: &[u8]) -> Vec<u8> {
    let mut bare = whole[..2].to_vec();
    let mut at = 2;
    while whole[at + 1] != segments::SOS {
        let length = 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
        if whole[at + 1] != segments::DHT {
            bare.extend(&whole[at..at + length]);
        }
        at += length;
    }
    bare.extend(&whole[at..]);
    assert!(bare.len() < whole.len() - 400, "the tables are gone");
    bare
}

/// The pictures of `tests/data/mjpeg`, as sent by cameras: bars with noise in the middle, of [`SIZE`] or a
/// little larger.
fn recorded() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mjpeg");
    let files = std::fs::read_dir(folder).expect("the folder").map(|f| f.expect("a file").path());
    let name = |path: &std::path::Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut all: Vec<_> = files.map(|path| (name(&path), std::fs::read(path).expect("read"))).collect();
    all.sort();
    assert!(all.len() > 20, "the recordings are missing");
    all
}

fn recording(name: &str) -> Vec<u8> {
    recorded().into_iter().find(|(n, _)| n == name).expect("it is there").1
}

/// The start of the entropy-coded data.
fn data_of(jpeg: &[u8]) -> usize {
    let scan = jpeg.windows(2).rposition(|pair| pair == [0xff, segments::SOS]).expect("a scan");
    scan + 2 + usize::from(jpeg[scan + 3])
}

#[test]
fn what_cameras_do_beside_the_picture_is_no_damage() {
    let mut decoder = Decoder::default();
    for (name, jpeg) in recorded() {
        let mut out = I420::new(SIZE);
        decoder.decode(&jpeg, SIZE, &mut out).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_bars(&out);
    }
}

#[test]
fn what_one_camera_does_another_does_together() {
    let end = recording("bytes-before-restarts").len() - 2;
    let all = [
        &recording("end-of-another-in-front")[..700],
        &[0xff, 0xd8, 0xff, 0xfe, 0, 4, 0xff, 0xd9],
        &recording("bytes-before-restarts")[2..end],
        &[0xff; 5],
        &[0; 5000],
    ]
    .concat();
    assert_bars(&decode(&all, SIZE).expect("decoded"));
    // The standard tables may also be missing from it.
    let bare = without_tables(&recording("bytes-before-restarts"));
    assert_bars(&decode(&bare, SIZE).expect("decoded"));
}

#[test]
fn a_frame_cut_anywhere_is_damaged_and_not_shown() {
    let names = ["whole", "bytes-before-restarts", "progressive"];
    let pictures = names.map(recording).into_iter().chain([noisy()]);
    let mut decoder = Decoder::default();
    for whole in pictures {
        // Everything except the end marker, which may be missing.
        for cut in 0..whole.len() - 2 {
            let mut out = I420::new(SIZE);
            assert!(
                decoder.decode(&whole[..cut], SIZE, &mut out).is_err(),
                "cut at {cut} of {}",
                whole.len()
            );
            assert!(out.planes().0.iter().all(|y| *y == 16));
        }
        let mut out = I420::new(SIZE);
        decoder.decode(&whole, SIZE, &mut out).expect("a complete picture is decoded after damaged ones");
    }
}

#[test]
fn a_buffer_filled_up_behind_a_cut_is_no_picture() {
    for name in ["whole", "bytes-before-restarts"] {
        let whole = recording(name);
        let fills = [0, 0xff, 0x5a, 0x80].map(|byte| vec![byte; 3000]);
        let stale = recording("rubbish-behind-end").split_off(2944);
        for cut in (data_of(&whole)..whole.len() - 6).step_by(7) {
            // Bytes that happen to be codes for the last blocks can't be told from them.
            let stale = Some(&stale).filter(|_| cut < whole.len() - 100);
            for fill in fills.iter().chain(stale) {
                for end in [&[][..], &[0xff, 0xd9]] {
                    let jpeg = [&whole[..cut], fill, end].concat();
                    assert!(decode(&jpeg, SIZE).is_err(), "{name} cut at {cut}, then {} {end:?}", fill[0]);
                }
            }
        }
    }
}

#[test]
fn a_lost_packet_in_the_middle_is_damage() {
    let whole = noisy();
    for from in (700..whole.len() - 1300).step_by(97) {
        let mut torn = whole.clone();
        torn.drain(from..from + 1024);
        assert!(decode(&torn, SIZE).is_err(), "1024 bytes lost at {from}");
    }
    // Extra bytes before markers are not the only fault of these: parts of one interval are missing, or
    // several intervals with their markers.
    let whole = recording("bytes-before-restarts");
    for (lost, most_shown) in [(24, 0.5), (100, 0.05), (400, 0.0), (1024, 0.0)] {
        let places = (data_of(&whole)..whole.len() - 2 - lost).step_by(7);
        let torn = places.clone().map(|from| [&whole[..from], &whole[from + lost..]].concat());
        let shown = torn.filter(|torn| decode(torn, SIZE).is_ok()).count() as f64 / places.len() as f64;
        println!("{lost} bytes lost: {:.1} % shown", shown * 100.0);
        assert!(shown <= most_shown, "{lost} bytes lost: {shown}");
    }
}

#[test]
fn padding_of_cameras_is_no_damage() {
    let whole = bars(Subsamp::Sub2x1, SIZE);
    let end = whole.len() - 2;
    for subsamp in [Subsamp::Sub2x2, Subsamp::None, Subsamp::Sub4x1] {
        let other = bars(subsamp, Size::new(131, 65));
        let (data, marker) = other.split_at(other.len() - 2);
        for padding in [1, 9, 4000] {
            let jpeg = [data, &vec![0; padding], marker].concat();
            assert_bars(
                &decode(&jpeg, Size::new(131, 65)).unwrap_or_else(|e| panic!("{subsamp:?} {padding}: {e}")),
            );
        }
    }
    let grey = bars(Subsamp::Gray, SIZE);
    decode(&[&grey[..grey.len() - 2], &[0; 40]].concat(), SIZE).expect("grey, padded");
    assert_bars(
        &decode(&[&whole[..end], &[0, 0, 0], &whole[end..]].concat(), SIZE).expect("a few extra bytes"),
    );
    assert_bars(&decode(&[&whole[..], &[0; 300_000]].concat(), SIZE).expect("a large buffer"));
}

#[test]
fn a_picture_of_whole_blocks_is_cropped_and_no_other() {
    let crops = |got, size| is_cropped_to(got, size);
    assert!(crops(Size::new(1920, 1088), Size::new(1920, 1080)));
    assert!(crops(Size::new(320, 248), Size::new(320, 240)));
    assert!(crops(Size::new(864, 480), Size::new(854, 480)));
    assert!(!crops(Size::new(320, 232), Size::new(320, 240)), "too small");
    assert!(!crops(Size::new(320, 256), Size::new(320, 240)), "a whole block more");
    assert!(!crops(Size::new(640, 480), Size::new(320, 240)));
    assert!(!crops(Size::new(1, 1), Size::new(u32::MAX, u32::MAX)));
    assert_eq!(size(&recording("rows-72-for-64")), Some(Size::new(128, 72)));
    assert_eq!(size(&recording("two-starts")), Some(SIZE));
    assert_eq!(size(&recording("whole")[..150]), None);
    assert_eq!(size(b"no JPEG"), None);
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
    // In pictures that need all of the tidying, every byte is changed, and runs of bytes are removed.
    for (_, jpeg) in recorded() {
        for at in (0..jpeg.len()).step_by(5) {
            let mut bytes = jpeg.clone();
            bytes[at] = random.next() as u8;
            let _ = decoder.decode(&bytes, SIZE, &mut out);
            bytes.drain(at..bytes.len().min(at + random.next() as usize % 40));
            let _ = decoder.decode(&bytes, SIZE, &mut out);
        }
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
    let rgb = turbojpeg::decompress(&jpeg, Rgb::RGB).expect("any decoder reads it");
    for (bar, (expected, _)) in BARS.iter().enumerate() {
        let at = 32 * rgb.pitch + (bar * 16 + 8) * 3;
        let got = &rgb.pixels[at..at + 3];
        assert!(
            got.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 8),
            "bar {bar}: {got:?}, not {expected:?}"
        );
    }
}
