use super::*;

/// A picture whose samples are `f(plane, x, y)`.
fn picture(size: Size, f: impl Fn(usize, usize, usize) -> u8) -> I420 {
    let mut picture = I420::new(size);
    let width = picture.size().width as usize;
    let planes = picture.planes_mut();
    for (plane, (samples, width)) in
        [(planes.y, width), (planes.u, width / 2), (planes.v, width / 2)].into_iter().enumerate()
    {
        for (n, sample) in samples.iter_mut().enumerate() {
            *sample = f(plane, n % width, n / width);
        }
    }
    picture
}

fn scaled(from: &I420, size: Size) -> I420 {
    let mut to = picture(size, |_, x, y| (x * 7 + y * 13) as u8); // the previous contents must not matter
    scale(from, &mut to);
    to
}

/// Each plane of a picture, with the length of its rows.
fn planes(picture: &I420) -> [(&[u8], usize); 3] {
    let width = picture.size().width as usize;
    let (y, u, v) = picture.planes();
    [(y, width), (u, width / 2), (v, width / 2)]
}

fn noise(_: usize, x: usize, y: usize) -> u8 {
    let mut n = (x * 7919 + y * 104_729 + 1) as u32;
    n = (n ^ n >> 15).wrapping_mul(0x2c1b_3c6d);
    n = (n ^ n >> 12).wrapping_mul(0x297a_2d39);
    (n ^ n >> 15) as u8
}

fn mean(samples: &[u8]) -> f64 {
    samples.iter().map(|s| f64::from(*s)).sum::<f64>() / samples.len() as f64
}

/// Halves, quarters, three quarters, sizes with odd halves, slightly smaller, much smaller, equal, different
/// shapes.
const SIZES: [((u32, u32), (u32, u32)); 16] = [
    ((128, 72), (64, 36)),
    ((128, 72), (32, 18)),
    ((128, 72), (96, 54)),
    ((126, 70), (62, 34)),
    ((126, 70), (64, 36)),
    ((130, 74), (128, 72)),
    ((128, 72), (128, 72)),
    ((640, 480), (426, 240)),
    ((320, 240), (2, 2)),
    ((2, 2), (2, 2)),
    ((4, 4), (2, 2)),
    ((3840, 16), (2, 16)),
    ((16, 2160), (14, 2)),
    ((6, 6), (4, 4)),
    ((300, 2), (200, 2)),
    ((2, 300), (2, 100)),
];

fn sizes() -> impl Iterator<Item = (Size, Size)> {
    let size = |(width, height)| Size::new(width, height);
    SIZES.into_iter().map(move |(from, to)| (size(from), size(to)))
}

#[test]
fn flat_colours_stay_exactly_what_they_are() {
    for (from, to) in sizes() {
        for colour in [0, 1, 16, 77, 128, 200, 235, 254, 255] {
            let flat = picture(from, |plane, _, _| colour ^ (plane * 3) as u8);
            let small = scaled(&flat, to);
            assert_eq!(small.size(), to);
            for (plane, (samples, _)) in planes(&small).into_iter().enumerate() {
                let expected = colour ^ (plane * 3) as u8;
                assert!(samples.iter().all(|s| *s == expected), "{from} to {to}, plane {plane}: {samples:?}");
            }
        }
    }
}

#[test]
fn gradients_stay_gradients() {
    for (from, to) in sizes() {
        let (w, h) = (from.width as usize, from.height as usize);
        for sideways in [true, false] {
            let value = |part: f64| 20.0 + 200.0 * part;
            // A sample has one colour all over, so a part of a steep edge is off by a part of the step.
            let step = 200.0 / (if sideways { w } else { h } / 2) as f64;
            let allowed = 1.0 + 0.1 * step;
            let ramp = picture(from, |plane, x, y| {
                let half = if plane == 0 { 1 } else { 2 };
                let part = if sideways {
                    (x as f64 + 0.5) / (w / half) as f64
                } else {
                    (y as f64 + 0.5) / (h / half) as f64
                };
                value(part).round() as u8
            });
            for (samples, width) in planes(&scaled(&ramp, to)) {
                let height = samples.len() / width;
                for (n, sample) in samples.iter().enumerate() {
                    let (x, y) = (n % width, n / width);
                    let part = if sideways {
                        (x as f64 + 0.5) / width as f64
                    } else {
                        (y as f64 + 0.5) / height as f64
                    };
                    let off = f64::from(*sample) - value(part);
                    assert!(off.abs() <= allowed, "{from} to {to}, {x},{y}: {off}");
                }
            }
        }
    }
}

#[test]
fn what_is_finer_than_the_new_samples_becomes_grey_and_not_a_pattern() {
    let from = Size::new(128, 72);
    let board = picture(from, |_, x, y| if (x + y) % 2 == 0 { 255 } else { 0 });
    for to in [Size::new(64, 36), Size::new(32, 18)] {
        for (samples, _) in planes(&scaled(&board, to)) {
            assert!(samples.iter().all(|s| *s == 128), "{to}");
        }
    }
}

#[test]
fn noise_keeps_its_mean() {
    for (from, to) in sizes() {
        let noisy = picture(from, noise);
        for ((before, _), (after, _)) in planes(&noisy).into_iter().zip(planes(&scaled(&noisy, to))) {
            let off = mean(after) - mean(before);
            // With more than 256 samples in a direction not all are counted.
            let allowed = if from.width.max(from.height) > 1024 { 3.0 } else { 1.0 };
            assert!(off.abs() <= allowed, "{from} to {to}: {off}");
        }
    }
}

#[test]
fn the_quick_ways_give_what_the_general_one_gives() {
    let from = Size::new(72, 40);
    let noisy = picture(from, noise);
    let samples = noisy.planes().0;
    let (mut quick, mut slow) = (vec![0; 36 * 20], vec![0; 36 * 20]);
    halve(samples, &mut quick, 36);
    average(samples, &mut slow, &Taps::new(72, 36), &Taps::new(40, 20));
    assert_eq!(quick, slow);
    let (mut quick, mut slow) = (vec![0; 18 * 10], vec![0; 18 * 10]);
    quarter(samples, &mut quick, 18);
    average(samples, &mut slow, &Taps::new(72, 18), &Taps::new(40, 10));
    assert_eq!(quick, slow);

    let sums: Vec<u16> = samples.iter().map(|s| u16::from(*s) * 256).collect();
    let (mut quick, mut slow) = (vec![0; 54], vec![0; 54]);
    three_of_four(&sums[..72], &mut quick);
    along::<2>(&sums[..72], &mut slow, &Taps::new(72, 54));
    assert_eq!(quick, slow);
}

#[test]
fn nothing_moves_to_a_side_and_colours_stay_with_their_shapes() {
    for (from, to) in sizes() {
        let (w, h) = (from.width as usize, from.height as usize);
        let turned = picture(from, |plane, x, y| {
            let half = if plane == 0 { 1 } else { 2 };
            noise(plane, w / half - 1 - x, h / half - 1 - y)
        });
        let (small, turned) = (scaled(&picture(from, noise), to), scaled(&turned, to));
        for ((samples, _), (turned, _)) in planes(&small).into_iter().zip(planes(&turned)) {
            let alike = samples.iter().zip(turned.iter().rev()).all(|(a, b)| a.abs_diff(*b) <= 2);
            assert!(alike, "{from} to {to}");
        }
    }
    // An edge of luma and chroma in the middle stays there, equally sharp in all planes.
    let edge = picture(Size::new(128, 72), |plane, x, _| if x < [64, 32, 32][plane] { 40 } else { 200 });
    for to in [Size::new(64, 36), Size::new(32, 18), Size::new(96, 54)] {
        for (samples, width) in planes(&scaled(&edge, to)) {
            for row in samples.chunks(width) {
                let bright = row.iter().filter(|s| **s == 200).count();
                let dark = row.iter().filter(|s| **s == 40).count();
                assert_eq!(bright, dark, "{to}: {row:?}");
                assert!(bright + dark >= width - width % 2, "{to}: {row:?}");
            }
        }
    }
}

#[test]
fn a_picture_of_no_size_is_left_alone() {
    let mut empty = I420::new(Size::new(0, 0));
    scale(&I420::new(Size::new(64, 64)), &mut empty);
    let mut small = picture(Size::new(4, 4), noise);
    let before = small.clone();
    scale(&empty, &mut small);
    assert_eq!(small.planes(), before.planes());
}
