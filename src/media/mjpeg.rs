//! JPEG pictures: decodes a camera's MJPEG frames and encodes snapshots.
//!
//! JPEG is full-range BT.601 (JFIF 1.02), our pictures are limited range, so both directions convert. Cameras
//! may leave out the Huffman tables (as AVI's MJPEG does); libjpeg-turbo then uses the standard ones.
//!
//! A picture is shown only if it is complete. So a frame is tidied (`segments`) before it is decoded; after
//! that, the only harmless fault the decoder may report is extra bytes between two parts of the picture, and
//! the Huffman codes (`entropy`) decide whether the parts are complete.

mod entropy;
mod segments;

use turbojpeg::{Colorspace, Compressor, Decompressor, Subsamp, YuvImage, YuvPlanesImage, yuv_pixels_len};

use super::Error;
use super::frame::Size;
use super::i420::I420;
use super::samples::{copy_plane, full_chroma, full_luma, limited_chroma, limited_luma, mean};

pub use segments::size;

/// Height and width of a block. Coded pictures consist of whole blocks: a camera may send 1088 rows instead
/// of 1080. A picture that is larger by less than a block is cropped.
const BLOCK: u32 = 16;
/// Largest number of scans of a progressive picture, which usually has about ten. Each costs as much as a
/// picture, so there must be a limit.
const MOST_SCANS: u32 = 100;

/// Decodes MJPEG frames, keeping its memory between them.
#[derive(Default)]
pub struct Decoder {
    turbo: Option<Decompressor>,
    tidy: Vec<u8>,
    /// The decoded picture before conversion: in its own subsampling, full range.
    scratch: Vec<u8>,
}

impl Decoder {
    /// Fills `out` with the picture in `jpeg`, which must have the size `size`, or be larger by less than a
    /// block: then it is cropped. An incomplete picture is an error and leaves `out` unchanged.
    pub fn decode(&mut self, jpeg: &[u8], size: Size, out: &mut I420) -> Result<(), Error> {
        let result = self.try_decode(jpeg, size, out);
        if result.is_err() {
            // The decoder keeps tables for frames without tables, and these may be damaged now.
            self.turbo = None;
        }
        result
    }

    fn try_decode(&mut self, jpeg: &[u8], size: Size, out: &mut I420) -> Result<(), Error> {
        segments::tidy(jpeg, &mut self.tidy).map_err(|why| Error::Damaged(why.into()))?;
        let jpeg = &self.tidy[..];
        let turbo = match &mut self.turbo {
            Some(turbo) => turbo,
            none => {
                let turbo = none.insert(Decompressor::new().map_err(damaged)?);
                turbo.set_scan_limit(MOST_SCANS).map_err(damaged)?;
                turbo
            }
        };
        let header = turbo.read_header(jpeg).map_err(damaged)?;
        let got = Size::new(header.width as u32, header.height as u32);
        if !is_cropped_to(got, size) {
            return Err(Error::Size { got, expected: size });
        }
        if !matches!(header.colorspace, Colorspace::YCbCr | Colorspace::Gray) {
            return Err(Error::Damaged(format!("colours are {:?}, not YCbCr", header.colorspace)));
        }
        if header.is_lossless || header.subsamp == Subsamp::Unknown {
            return Err(Error::Damaged("unknown subsampling".into()));
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
            Err(e) if !(found_padding(&e) && entropy::is_complete(jpeg)) => return Err(damaged(e)),
            _ => limit(&self.scratch, luma, chroma, header.subsamp, out),
        }
        Ok(())
    }
}

/// Whether a camera that sends pictures of size `got` means them to be cropped to `size`.
pub fn is_cropped_to(got: Size, size: Size) -> bool {
    let fits = |got: u32, size: u32| (size..size.saturating_add(BLOCK)).contains(&got);
    fits(got.width, size.width) && fits(got.height, size.height)
}

/// Whether libjpeg reports only extra bytes between two parts of the picture.
fn found_padding(error: &turbojpeg::Error) -> bool {
    error.to_string().contains(" extraneous bytes before marker")
}

fn damaged(error: turbojpeg::Error) -> Error {
    Error::Damaged(error.to_string())
}

/// Converts JPEG planes (`luma` and `chroma` are their widths and heights) to 4:2:0 in limited range.
fn limit(planes: &[u8], luma: (usize, usize), chroma: (usize, usize), subsamp: Subsamp, out: &mut I420) {
    let width = out.size().width as usize;
    let (y, c) = planes.split_at(luma.0 * luma.1);
    let to = out.planes_mut();
    copy_plane(y.chunks_exact(luma.0), to.y, width, limited_luma);
    if subsamp == Subsamp::Gray {
        to.u.fill(128);
        to.v.fill(128);
        return;
    }
    let (u, v) = c.split_at(chroma.0 * chroma.1);
    for (from, to) in [(u, to.u), (v, to.v)] {
        let mut rows = from.chunks_exact(chroma.0);
        match subsamp {
            Subsamp::Sub2x2 => copy_plane(rows, to, width / 2, limited_chroma),
            Subsamp::Sub2x1 => {
                for dst in to.chunks_exact_mut(width / 2) {
                    let (Some(top), Some(bottom)) = (rows.next(), rows.next()) else { return };
                    for ((d, a), b) in dst.iter_mut().zip(top).zip(bottom) {
                        *d = limited_chroma(mean(*a, *b));
                    }
                }
            }
            other => resample(from, chroma, other, to, width / 2),
        }
    }
}

/// Converts chroma in rare subsamplings (4:4:4, 4:4:0, 4:1:1, 4:4:1): simple, not fast.
fn resample(from: &[u8], (stride, height): (usize, usize), subsamp: Subsamp, to: &mut [u8], width: usize) {
    let at = |x: usize, y: usize| {
        let (x, y) = ((x / subsamp.width()).min(stride - 1), (y / subsamp.height()).min(height - 1));
        u16::from(from[y * stride + x])
    };
    for (y, dst) in to.chunks_exact_mut(width).enumerate() {
        for (x, d) in dst.iter_mut().enumerate() {
            let (x, y) = (2 * x, 2 * y);
            let sum = at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1);
            *d = limited_chroma(((sum + 2) / 4) as u8);
        }
    }
}

/// Encodes `picture` as a JPEG file; `quality` is from 1 to 100.
pub fn encode(picture: &I420, quality: u8) -> Result<Vec<u8>, turbojpeg::Error> {
    let (y, u, v) = picture.planes();
    let full = |plane: &[u8], map: fn(u8) -> u8| plane.iter().map(|s| map(*s)).collect::<Vec<u8>>();
    let (y, u, v) = (full(y, full_luma), full(u, full_chroma), full(v, full_chroma));
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
