use super::*;
use crate::clock::Pts;
use crate::media::frame::Buffer;
use crate::media::samples::{full_chroma, full_luma};

/// Planes in plain memory.
pub(super) struct Memory(pub Vec<Vec<u8>>);

impl Buffer for Memory {
    fn plane(&self, index: usize) -> &[u8] {
        &self.0[index]
    }
}

pub(super) fn frame(format: PixelFormat, size: Size, strides: [usize; 3], planes: Vec<Vec<u8>>) -> Frame {
    Frame {
        pts: Pts::from_micros(0),
        size,
        format,
        range: Range::Limited,
        matrix: Matrix::Bt601,
        strides,
        buffer: Box::new(Memory(planes)),
    }
}

/// The test picture: eight bars, then the same in reverse, so that left, right, top and bottom differ. BT.601
/// limited range, from the RGB values of 100 % bars.
const BARS: [(u8, u8, u8); 8] = [
    (235, 128, 128), // white
    (210, 16, 146),  // yellow
    (170, 166, 16),  // cyan
    (145, 54, 34),   // green
    (106, 202, 222), // magenta
    (81, 90, 240),   // red
    (41, 240, 110),  // blue
    (16, 128, 128),  // black
];

fn colour(size: Size, x: u32, y: u32) -> (u8, u8, u8) {
    // Edges are on even columns and rows, so that halved chroma is exact.
    let bar = (x / 2 * 2 * 8 / size.width.max(1)).min(7) as usize;
    if y / 2 * 2 < size.height / 2 { BARS[bar] } else { BARS[7 - bar] }
}

/// The picture in `format`, with rows `pad` bytes longer than needed and arbitrary bytes in the padding.
fn picture(format: PixelFormat, size: Size, pad: usize) -> Frame {
    let (mut strides, mut planes) = ([0; 3], vec![]);
    for (index, padded) in strides.iter_mut().enumerate().take(format.planes()) {
        let (row, rows) = plane_size(format, size, index);
        let stride = row + pad;
        let mut plane = vec![0xAA; stride * rows];
        for y in 0..rows {
            for x in 0..row {
                plane[y * stride + x] = sample(format, size, index, x as u32, y as u32);
            }
        }
        *padded = stride;
        planes.push(plane);
    }
    frame(format, size, strides, planes)
}

/// Byte `x` of row `y` of a plane.
fn sample(format: PixelFormat, size: Size, plane: usize, x: u32, y: u32) -> u8 {
    let at = |x, y| colour(size, x, y);
    match (format, plane) {
        (PixelFormat::Yuyv, _) | (PixelFormat::Uyvy, _) => {
            let luma_first = u32::from(format == PixelFormat::Uyvy);
            let (luma, u, v) = at(x / 2, y);
            if x % 2 == luma_first {
                luma
            } else if x % 4 < 2 {
                u
            } else {
                v
            }
        }
        (PixelFormat::Nv12, 1) if x & 1 == 0 => at(x, y * 2).1,
        (PixelFormat::Nv12, 1) => at(x, y * 2).2,
        (PixelFormat::Nv21, 1) if x & 1 == 0 => at(x, y * 2).2,
        (PixelFormat::Nv21, 1) => at(x, y * 2).1,
        (PixelFormat::Yu12, 1) => at(x * 2, y * 2).1,
        (PixelFormat::Yu12, 2) => at(x * 2, y * 2).2,
        _ => at(x, y).0,
    }
}

fn assert_picture(out: &I420, size: Size, grey: bool) {
    let (y, u, v) = out.planes();
    let (w, h) = (out.size().width, out.size().height);
    for row in 0..h {
        for column in 0..w {
            let (luma, cb, cr) = colour(size, column, row);
            let chroma = (row / 2 * w / 2 + column / 2) as usize;
            let got = (y[(row * w + column) as usize], u[chroma], v[chroma]);
            let expected = if grey { (luma, 128, 128) } else { (luma, cb, cr) };
            assert_eq!(got, expected, "at {column},{row}");
        }
    }
}

const RAW: [PixelFormat; 6] = [
    PixelFormat::Yuyv,
    PixelFormat::Uyvy,
    PixelFormat::Nv12,
    PixelFormat::Nv21,
    PixelFormat::Yu12,
    PixelFormat::Grey,
];

#[test]
fn every_raw_layout_comes_out_exactly() {
    let mut converter = Converter::default();
    for size in [Size::new(64, 48), Size::new(640, 360), Size::new(46, 6), Size::new(2, 2), Size::new(77, 33)]
    {
        for pad in [0, 1, 32] {
            for format in RAW {
                let mut out = I420::new(size);
                let frame = picture(format, size, pad);
                converter.convert(&frame, &mut out).unwrap_or_else(|e| panic!("{format} {size}: {e}"));
                assert_picture(&out, size, format == PixelFormat::Grey);
            }
        }
    }
}

#[test]
fn packed_chroma_is_the_mean_of_two_rows() {
    let rows = vec![10, 100, 20, 200, 30, 103, 40, 201];
    let mut out = I420::new(Size::new(2, 2));
    let yuyv = frame(PixelFormat::Yuyv, Size::new(2, 2), [4, 0, 0], vec![rows]);
    Converter::default().convert(&yuyv, &mut out).expect("converted");
    assert_eq!(out.planes(), (&[10, 20, 30, 40][..], &[102][..], &[201][..]));
}

#[test]
fn full_range_becomes_limited() {
    for sample in 0..=255u8 {
        let (luma, chroma) = (limited_luma(sample), limited_chroma(sample));
        let exact = f64::from(sample);
        assert_eq!(f64::from(luma), (16.0 + exact * 219.0 / 255.0).round());
        assert_eq!(f64::from(chroma), (128.0 + (exact - 128.0) * 224.0 / 255.0).round(), "{sample}");
        assert!(
            full_luma(luma).abs_diff(sample) <= 1 && full_chroma(chroma).abs_diff(sample) <= 1,
            "{sample}"
        );
    }
    assert_eq!((full_luma(0), full_luma(255), full_chroma(0), full_chroma(255)), (0, 255, 0, 255));
    for format in RAW {
        let mut grey = frame(format, Size::new(4, 4), [8; 3], vec![vec![255; 32]; 3]);
        grey.range = Range::Full;
        let mut out = I420::new(Size::new(4, 4));
        Converter::default().convert(&grey, &mut out).expect("converted");
        let chroma = if format == PixelFormat::Grey { 128 } else { 240 };
        assert_eq!(
            (out.planes().0[5], out.planes().1[2], out.planes().2[3]),
            (235, chroma, chroma),
            "{format}"
        );
    }
}

#[test]
fn bt709_bars_become_bt601_bars() {
    // The same colours in limited-range BT.709, from the standard's table.
    let bars = [
        (235, 128, 128),
        (219, 16, 138),
        (188, 154, 16),
        (173, 42, 26),
        (78, 214, 230),
        (63, 102, 240),
        (32, 240, 118),
        (16, 128, 128),
    ];
    for (bar, expected) in bars.into_iter().zip(BARS) {
        let (y, u, v) = bar;
        let planes = vec![vec![y; 16], vec![u; 4], vec![v; 4]];
        let mut frame = frame(PixelFormat::Yu12, Size::new(4, 4), [4, 2, 2], planes);
        frame.matrix = Matrix::Bt709;
        let mut out = I420::new(Size::new(4, 4));
        Converter::default().convert(&frame, &mut out).expect("converted");
        let got = (out.planes().0[9], out.planes().1[1], out.planes().2[2]);
        let far = got.0.abs_diff(expected.0).max(got.1.abs_diff(expected.1)).max(got.2.abs_diff(expected.2));
        assert!(far <= 2, "{bar:?} became {got:?}, not {expected:?}");
    }
}

#[test]
fn short_planes_and_wrong_sizes_are_errors_and_change_nothing() {
    let size = Size::new(64, 48);
    let untouched = |out: &I420| out.planes().0.iter().all(|y| *y == 16);
    for format in RAW {
        for index in 0..format.planes() {
            let whole = picture(format, size, 8);
            let mut planes: Vec<_> = (0..format.planes()).map(|p| whole.buffer.plane(p).to_vec()).collect();
            planes[index].pop();
            let mut out = I420::new(size);
            let short = frame(format, size, whole.strides, planes);
            let result = Converter::default().convert(&short, &mut out);
            assert!(matches!(result, Err(Error::Short(f)) if f == format) && untouched(&out));
        }
        let mut overlapping = picture(format, size, 0);
        overlapping.strides[0] = 16;
        let mut out = I420::new(size);
        assert!(matches!(Converter::default().convert(&overlapping, &mut out), Err(Error::Short(_))));
        overlapping.strides[0] = usize::MAX;
        assert!(matches!(Converter::default().convert(&overlapping, &mut out), Err(Error::Short(_))));
        let mut other = I420::new(Size::new(64, 50));
        let result = Converter::default().convert(&picture(format, size, 0), &mut other);
        assert!(matches!(result, Err(Error::Size { .. })) && untouched(&other));
    }
    let mut nothing = I420::new(Size::new(0, 0));
    let empty = frame(PixelFormat::Grey, Size::new(1, 1), [1, 0, 0], vec![vec![0]]);
    assert!(Converter::default().convert(&empty, &mut nothing).is_err());
}
