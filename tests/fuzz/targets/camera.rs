//! Data from a camera: pictures of any layout, including JPEG, and H.264.

use peercam::clock::Pts;
use peercam::media::convert::Converter;
use peercam::media::frame::{Buffer, Frame, Matrix, PixelFormat, Range, Size};
use peercam::media::h264::{ProfileLevelId, nal_type, strip_start_code};
use peercam::media::i420::I420;
use peercam::media::packetize::{MAX_PAYLOAD, packetize};

/// The first four bytes choose layout, size and strides; the rest is the picture.
pub fn camera(data: &[u8]) {
    let [layout, width, height, stride, rest @ ..] = data else { return };
    match PixelFormat::ALL.get(usize::from(layout % 8)) {
        Some(format) => picture(*format, [*width, *height, *stride], rest),
        None => h264(rest),
    }
}

struct Bytes(Vec<Vec<u8>>);

impl Buffer for Bytes {
    fn plane(&self, index: usize) -> &[u8] {
        self.0.get(index).map_or(&[], Vec::as_slice)
    }
}

fn picture(format: PixelFormat, [width, height, stride]: [u8; 3], bytes: &[u8]) {
    // Layout::new refuses strides shorter than a row, and the size is what the driver agreed to.
    let size = Size::new(u32::from(width) + 2, u32::from(height) + 2);
    let planes = bytes.chunks(bytes.len().div_ceil(format.planes().max(1)).max(1)).map(<[u8]>::to_vec);
    let row =
        if matches!(format, PixelFormat::Yuyv | PixelFormat::Uyvy) { 2 } else { 1 } * size.width as usize;
    let frame = Frame {
        pts: Pts::from_micros(1),
        size,
        format,
        range: if stride & 1 == 0 { Range::Full } else { Range::Limited },
        matrix: if stride & 2 == 0 { Matrix::Bt601 } else { Matrix::Bt709 },
        strides: [row + usize::from(stride); 3],
        buffer: Box::new(Bytes(if format == PixelFormat::Mjpg {
            vec![bytes.to_vec()]
        } else {
            planes.collect()
        })),
    };
    let mut out = I420::new(Size::new(size.width & !1, size.height & !1));
    let _ = Converter::default().convert(&frame, &mut out);
}

/// NAL units of any bytes: what is packetized can be reassembled completely.
fn h264(bytes: &[u8]) {
    let nals: Vec<&[u8]> = split(bytes).into_iter().map(strip_start_code).collect();
    for nal in &nals {
        let _ = ProfileLevelId::of_sps(nal).map(|p| p.to_string());
    }
    let payloads = packetize(&nals, MAX_PAYLOAD);
    assert!(payloads.iter().all(|p| (1..=MAX_PAYLOAD).contains(&p.len())));
    let kept = |n: &&&[u8]| !n.is_empty() && !matches!(nal_type(n), 9 | 12);
    let expected: Vec<&[u8]> = nals.iter().filter(kept).copied().collect();
    // A NAL unit with the type of an aggregate or a fragment is not valid H.264, and can't be distinguished
    // from one; nor is a unit whose forbidden_zero_bit is set, which a fragment doesn't carry.
    if expected.iter().all(|n| n[0] & 0x80 == 0 && !matches!(nal_type(n), 24 | 28)) {
        assert_eq!(reassembled(&payloads), expected);
    }
}

/// Reassembles like a receiver according to RFC 6184.
fn reassembled(payloads: &[impl AsRef<[u8]>]) -> Vec<Vec<u8>> {
    let mut whole: Vec<Vec<u8>> = vec![];
    for payload in payloads.iter().map(AsRef::as_ref) {
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                while let [a, b, more @ ..] = rest {
                    let (nal, more) = more.split_at(usize::from(u16::from_be_bytes([*a, *b])));
                    whole.push(nal.to_vec());
                    rest = more;
                }
            }
            28 if payload[1] & 0x80 != 0 => {
                whole.push([&[payload[0] & 0xe0 | payload[1] & 0x1f][..], &payload[2..]].concat());
            }
            28 => whole.last_mut().expect("a start").extend(&payload[2..]),
            _ => whole.push(payload.to_vec()),
        }
    }
    whole
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> =
        bytes.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(at, _)| at).collect();
    starts.push(bytes.len());
    starts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect()
}
