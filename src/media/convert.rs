//! Converts any captured frame to the layout of the encoders: I420, limited-range BT.601.
//!
//! All memory is reused: nothing is allocated once a size has been seen. The `yuv` crate unpacks 4:2:2 (YUYV
//! to I420 at 720p on plain x86-64: 0.13 ms in all, against 0.52 ms with plain loops). Its direct conversion
//! to 4:2:0 is not used: it keeps the chroma of one row of two instead of their mean. For everything else
//! plain loops are as fast.

use super::Error;
use super::frame::{Frame, Matrix, PixelFormat, Range, Size};
use super::i420::I420;
use super::mjpeg;
use super::samples::{copy_plane, limited_chroma, limited_luma, mean};
use yuv::{BufferStoreMut, YuvPackedImage, YuvPlanarImageMut};

/// Converts frames, keeping its scratch memory between them.
#[derive(Default)]
pub struct Converter {
    jpeg: mjpeg::Decoder,
    /// Chroma of packed 4:2:2 at its full height: all Cb, then all Cr.
    chroma: Vec<u8>,
}

impl Converter {
    /// Fills `out` from `frame`, which must have the same size (except for an odd last row or column, which
    /// is cropped). On error `out` is unchanged.
    pub fn convert(&mut self, frame: &Frame, out: &mut I420) -> Result<(), Error> {
        let even = frame.size.even();
        if even != out.size() || even.area() == 0 {
            return Err(Error::Size { got: frame.size, expected: out.size() });
        }
        if frame.format == PixelFormat::Mjpg {
            return self.jpeg.decode(frame.buffer.plane(0), frame.size, out);
        }
        let planes = Planes::of(frame)?;
        match frame.range {
            Range::Limited => self.raw(frame.format, &planes, out, |y| y, |c| c)?,
            Range::Full => self.raw(frame.format, &planes, out, limited_luma, limited_chroma)?,
        }
        if frame.matrix == Matrix::Bt709 && frame.format != PixelFormat::Grey {
            bt601_from_bt709(out);
        }
        Ok(())
    }

    /// Converts raw layouts, passing every luma and chroma sample through `luma` and `chroma`.
    fn raw(
        &mut self,
        format: PixelFormat,
        from: &Planes<'_>,
        out: &mut I420,
        luma: impl Fn(u8) -> u8 + Copy,
        chroma: impl Fn(u8) -> u8 + Copy,
    ) -> Result<(), Error> {
        let w = out.size().width as usize;
        let to = out.planes_mut();
        match format {
            PixelFormat::Yuyv | PixelFormat::Uyvy => {
                return self.packed(format, from, out, luma, chroma);
            }
            PixelFormat::Nv12 | PixelFormat::Nv21 => {
                copy_plane(from.rows(0), to.y, w, luma);
                let (first, second) = if format == PixelFormat::Nv12 { (to.u, to.v) } else { (to.v, to.u) };
                let rows = first.chunks_exact_mut(w / 2).zip(second.chunks_exact_mut(w / 2));
                for (src, (first, second)) in from.rows(1).zip(rows) {
                    split(&src[..w], first, second, chroma);
                }
            }
            PixelFormat::Yu12 => {
                copy_plane(from.rows(0), to.y, w, luma);
                copy_plane(from.rows(1), to.u, w / 2, chroma);
                copy_plane(from.rows(2), to.v, w / 2, chroma);
            }
            PixelFormat::Grey => {
                copy_plane(from.rows(0), to.y, w, luma);
                to.u.fill(128);
                to.v.fill(128);
            }
            PixelFormat::Mjpg => debug_assert!(false, "JPEG is decoded, not copied"),
        }
        Ok(())
    }

    /// Converts packed 4:2:2.
    fn packed(
        &mut self,
        format: PixelFormat,
        from: &Planes<'_>,
        out: &mut I420,
        luma: impl Fn(u8) -> u8,
        chroma: impl Fn(u8) -> u8,
    ) -> Result<(), Error> {
        let Size { width, height } = out.size();
        let (w, h) = (width as usize, height as usize);
        self.chroma.resize(w * h, 0);
        let (u, v) = self.chroma.split_at_mut(w / 2 * h);
        let to = out.planes_mut();
        let mut planar = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(to.y),
            y_stride: width,
            u_plane: BufferStoreMut::Borrowed(u),
            u_stride: width / 2,
            v_plane: BufferStoreMut::Borrowed(v),
            v_stride: width / 2,
            width,
            height,
        };
        let stride = from.strides[0];
        let yuy_stride = u32::try_from(stride).map_err(|_| Error::Short(format))?;
        let packed = YuvPackedImage { yuy: &from.data[0][..stride * h], yuy_stride, width, height };
        let unpack =
            if format == PixelFormat::Yuyv { yuv::yuyv422_to_yuv422 } else { yuv::uyvy422_to_yuv422 };
        // It fails only if planes are too short, which these are not.
        unpack(&mut planar, &packed).map_err(|_| Error::Short(format))?;
        to.y.iter_mut().for_each(|y| *y = luma(*y));
        for (full, half) in [(u, to.u), (v, to.v)] {
            for (rows, half) in full.chunks_exact(w).zip(half.chunks_exact_mut(w / 2)) {
                let (top, bottom) = rows.split_at(w / 2);
                for ((c, a), b) in half.iter_mut().zip(top).zip(bottom) {
                    *c = chroma(mean(*a, *b));
                }
            }
        }
        Ok(())
    }
}

/// The planes of a raw frame, checked to be long enough.
struct Planes<'a> {
    data: [&'a [u8]; 3],
    strides: [usize; 3],
}

impl<'a> Planes<'a> {
    fn of(frame: &'a Frame) -> Result<Self, Error> {
        let mut planes = Self { data: [&[]; 3], strides: frame.strides };
        for index in 0..frame.format.planes() {
            let (bytes, rows) = plane_size(frame.format, frame.size, index);
            let stride = frame.strides[index];
            let data = frame.buffer.plane(index);
            if stride < bytes || stride.checked_mul(rows).is_none_or(|needed| needed > data.len()) {
                return Err(Error::Short(frame.format));
            }
            planes.data[index] = data;
        }
        Ok(planes)
    }

    fn rows(&self, index: usize) -> impl Iterator<Item = &'a [u8]> {
        self.data[index].chunks(self.strides[index])
    }
}

/// Bytes per row, and number of rows, of a plane. Odd sizes are rounded up, as by the kernel.
pub fn plane_size(format: PixelFormat, size: Size, index: usize) -> (usize, usize) {
    let (w, h) = (size.width as usize, size.height as usize);
    match (format, index) {
        (PixelFormat::Yuyv | PixelFormat::Uyvy, _) => (w.next_multiple_of(2) * 2, h),
        (PixelFormat::Nv12 | PixelFormat::Nv21, 1) => (w.next_multiple_of(2), h.div_ceil(2)),
        (PixelFormat::Yu12, 1 | 2) => (w.div_ceil(2), h.div_ceil(2)),
        _ => (w, h),
    }
}

/// Splits interleaved pairs into two rows.
fn split(pairs: &[u8], first: &mut [u8], second: &mut [u8], map: impl Fn(u8) -> u8) {
    for ((pair, a), b) in pairs.chunks_exact(2).zip(first).zip(second) {
        *a = map(pair[0]);
        *b = map(pair[1]);
    }
}

/// Converts a limited-range BT.709 picture to BT.601. The matrix is that of BT.709 to RGB times that of RGB
/// to BT.601, in 1/65536; luma uses the chroma of its own 2x2 block.
fn bt601_from_bt709(picture: &mut I420) {
    let width = picture.size().width as usize;
    let to = picture.planes_mut();
    let chroma = to.u.chunks_exact_mut(width / 2).zip(to.v.chunks_exact_mut(width / 2));
    for (y, (u, v)) in to.y.chunks_exact_mut(width * 2).zip(chroma) {
        let (top, bottom) = y.split_at_mut(width);
        let luma = top.chunks_exact_mut(2).zip(bottom.chunks_exact_mut(2));
        for ((top, bottom), (u, v)) in luma.zip(u.iter_mut().zip(v)) {
            let (cb, cr) = (i32::from(*u) - 128, i32::from(*v) - 128);
            let dy = (6508 * cb + 12563 * cr + 32768) >> 16;
            for y in top.iter_mut().chain(bottom) {
                *y = (i32::from(*y) + dy).clamp(0, 255) as u8;
            }
            *u = (((64871 * cb - 7252 * cr + 32768) >> 16) + 128).clamp(0, 255) as u8;
            *v = (((-4748 * cb + 64448 * cr + 32768) >> 16) + 128).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests;
