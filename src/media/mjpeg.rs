//! JPEG pictures: a camera's MJPEG frames in, snapshots out.
//!
//! JPEG is full-range BT.601 (JFIF 1.02), our pictures are limited range: both ways convert. Cameras may leave out
//! the Huffman tables (as AVI's MJPEG does); libjpeg-turbo then takes the standard ones.

use turbojpeg::{Colorspace, Compressor, Decompressor, Subsamp, YuvImage, YuvPlanesImage, yuv_pixels_len};

use super::convert::{self, Error, copy_plane, mean};
use super::frame::Size;
use super::i420::I420;

/// Decodes MJPEG frames, keeping its memory between them.
#[derive(Default)]
pub struct Decoder {
    turbo: Option<Decompressor>,
    /// The picture as JPEG has it: in its own subsampling, full range.
    scratch: Vec<u8>,
}

impl Decoder {
    /// Fills `out` with the picture in `jpeg`, which must be `size`. A picture that is not whole is an error and
    /// leaves `out` alone.
    pub fn decode(&mut self, jpeg: &[u8], size: Size, out: &mut I420) -> Result<(), Error> {
        let result = self.try_decode(jpeg, size, out);
        if result.is_err() {
            // It keeps tables from frame to frame, for frames that bring none, and these may be rubbish now.
            self.turbo = None;
        }
        result
    }

    fn try_decode(&mut self, jpeg: &[u8], size: Size, out: &mut I420) -> Result<(), Error> {
        let jpeg = whole(jpeg)?;
        let turbo = match &mut self.turbo {
            Some(turbo) => turbo,
            none => none.insert(Decompressor::new().map_err(damaged)?),
        };
        let header = turbo.read_header(jpeg).map_err(damaged)?;
        let got = Size::new(header.width as u32, header.height as u32);
        if got != size {
            return Err(Error::Size { got, expected: size });
        }
        if !matches!(header.colorspace, Colorspace::YCbCr | Colorspace::Gray) {
            return Err(Error::Damaged(format!("colours are {:?}, not YCbCr", header.colorspace)));
        }
        if header.is_lossless || header.subsamp == Subsamp::Unknown {
            return Err(Error::Damaged("its subsampling is none that is known".into()));
        }
        let length = yuv_pixels_len(header.width, 1, header.height, header.subsamp).map_err(damaged)?;
        self.scratch.resize(length, 0);
        let image = YuvImage {
            pixels: &mut self.scratch[..],
            width: header.width,
            align: 1,
            height: header.height,
            subsamp: header.subsamp,
        };
        let (luma, chroma) = (image.y_size(), image.uv_size());
        match turbo.decompress_to_yuv(jpeg, image) {
            Err(e) if !harmless(&e) => return Err(damaged(e)),
            _ => limit(&self.scratch, luma, chroma, header.subsamp, out),
        }
        Ok(())
    }
}

/// The JPEG from its first marker to its last. A frame cut short in transfer lacks the last; some cameras pad behind
/// it with zeros or rubbish, which is cut off.
fn whole(bytes: &[u8]) -> Result<&[u8], Error> {
    /// How much padding is searched: cameras fill up to a USB packet (3 KiB) at most.
    const PADDING: usize = 4096;
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Err(Error::Damaged("it does not begin as a JPEG".into()));
    }
    let tail = bytes.len().saturating_sub(PADDING).max(2);
    match bytes[tail..].windows(2).rposition(|pair| pair == [0xff, 0xd9]) {
        Some(at) => Ok(&bytes[..tail + at + 2]),
        None => Err(Error::Damaged("it ends too early".into())),
    }
}

/// Whether libjpeg only found a few bytes too many between two parts of the picture. Many webcams pad so, and their
/// pictures are whole; a lost packet leaves far more than this, or too little. (libjpeg tells its first complaint
/// only, so damage behind such padding, in the same frame, passes.)
fn harmless(error: &turbojpeg::Error) -> bool {
    const PADDING: u32 = 8;
    let text = error.to_string();
    let count = text
        .split_once("Corrupt JPEG data: ")
        .and_then(|(_, rest)| rest.split_once(" extraneous bytes before"));
    count.and_then(|(n, _)| n.parse().ok()).is_some_and(|n: u32| n <= PADDING)
}

fn damaged(error: turbojpeg::Error) -> Error {
    Error::Damaged(error.to_string())
}

/// JPEG planes (`luma` and `chroma` are their widths and heights) to 4:2:0 in limited range.
fn limit(planes: &[u8], luma: (usize, usize), chroma: (usize, usize), subsamp: Subsamp, out: &mut I420) {
    let width = out.size().width as usize;
    let (y, c) = planes.split_at(luma.0 * luma.1);
    let to = out.planes_mut();
    copy_plane(y.chunks_exact(luma.0), to.y, width, convert::limited_luma);
    if subsamp == Subsamp::Gray {
        to.u.fill(128);
        to.v.fill(128);
        return;
    }
    let (u, v) = c.split_at(chroma.0 * chroma.1);
    for (from, to) in [(u, to.u), (v, to.v)] {
        let mut rows = from.chunks_exact(chroma.0);
        match subsamp {
            Subsamp::Sub2x2 => copy_plane(rows, to, width / 2, convert::limited_chroma),
            Subsamp::Sub2x1 => {
                for dst in to.chunks_exact_mut(width / 2) {
                    let (Some(top), Some(bottom)) = (rows.next(), rows.next()) else { return };
                    for ((d, a), b) in dst.iter_mut().zip(top).zip(bottom) {
                        *d = convert::limited_chroma(mean(*a, *b));
                    }
                }
            }
            other => resample(from, chroma, other, to, width / 2),
        }
    }
}

/// Chroma of the subsamplings that hardly any camera sends (4:4:4, 4:4:0, 4:1:1, 4:4:1): plain, not quick.
fn resample(from: &[u8], (stride, height): (usize, usize), subsamp: Subsamp, to: &mut [u8], width: usize) {
    let at = |x: usize, y: usize| {
        let (x, y) = ((x / subsamp.width()).min(stride - 1), (y / subsamp.height()).min(height - 1));
        u16::from(from[y * stride + x])
    };
    for (y, dst) in to.chunks_exact_mut(width).enumerate() {
        for (x, d) in dst.iter_mut().enumerate() {
            let (x, y) = (2 * x, 2 * y);
            let sum = at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1);
            *d = convert::limited_chroma(((sum + 2) / 4) as u8);
        }
    }
}

/// `picture` as a JPEG file, `quality` from 1 to 100.
pub fn encode(picture: &I420, quality: u8) -> Result<Vec<u8>, turbojpeg::Error> {
    let (y, u, v) = picture.planes();
    let full = |plane: &[u8], map: fn(u8) -> u8| plane.iter().map(|s| map(*s)).collect::<Vec<u8>>();
    let (y, u, v) =
        (full(y, convert::full_luma), full(u, convert::full_chroma), full(v, convert::full_chroma));
    let (width, height) = (picture.size().width as usize, picture.size().height as usize);
    let mut compressor = Compressor::new()?;
    compressor.set_quality(i32::from(quality.clamp(1, 100)))?;
    compressor.compress_yuv_planes_to_vec(&YuvPlanesImage {
        y_plane: &y[..],
        u_plane: &u[..],
        v_plane: &v[..],
        width,
        height,
        y_stride: width,
        u_stride: width / 2,
        v_stride: width / 2,
        subsamp: Subsamp::Sub2x2,
    })
}

#[cfg(test)]
mod tests;
