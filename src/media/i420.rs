//! The layout of the encoders: three planes, 4:2:0, limited-range BT.601.

use super::frame::Size;

/// An I420 picture; its memory is reused from frame to frame. Its size is even in both directions.
#[derive(Debug)]
pub struct I420 {
    size: Size,
    data: Vec<u8>,
}

impl Clone for I420 {
    fn clone(&self) -> Self {
        Self { size: self.size, data: self.data.clone() }
    }

    /// Reuses the memory of `self`.
    fn clone_from(&mut self, source: &Self) {
        self.size = source.size;
        self.data.clone_from(&source.data);
    }
}

/// The three planes of an [`I420`], without padding: the strides are `width`, `width/2`, `width/2`.
pub struct PlanesMut<'a> {
    /// Luma.
    pub y: &'a mut [u8],
    /// Cb.
    pub u: &'a mut [u8],
    /// Cr.
    pub v: &'a mut [u8],
}

impl I420 {
    /// Creates a black picture. An odd last column or row is dropped.
    pub fn new(size: Size) -> Self {
        let size = size.even();
        let luma = size.area() as usize;
        let mut data = vec![128; luma * 3 / 2];
        data[..luma].fill(16);
        Self { size, data }
    }

    /// Its size, which is even.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The luma, Cb and Cr planes, with rows without padding.
    pub fn planes(&self) -> (&[u8], &[u8], &[u8]) {
        let luma = self.size.area() as usize;
        let (y, c) = self.data.split_at(luma);
        let (u, v) = c.split_at(luma / 4);
        (y, u, v)
    }

    /// The planes for writing.
    pub fn planes_mut(&mut self) -> PlanesMut<'_> {
        let luma = self.size.area() as usize;
        let (y, c) = self.data.split_at_mut(luma);
        let (u, v) = c.split_at_mut(luma / 4);
        PlanesMut { y, u, v }
    }
}

impl openh264::formats::YUVSource for I420 {
    fn dimensions(&self) -> (usize, usize) {
        (self.size.width as usize, self.size.height as usize)
    }
    fn strides(&self) -> (usize, usize, usize) {
        let w = self.size.width as usize;
        (w, w / 2, w / 2)
    }
    fn y(&self) -> &[u8] {
        self.planes().0
    }
    fn u(&self) -> &[u8] {
        self.planes().1
    }
    fn v(&self) -> &[u8] {
        self.planes().2
    }
}
