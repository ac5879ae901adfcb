//! Buffers shared with a driver: mapped, queued, lent out as frames, and queued again when those are dropped.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::node::Agreed;
use super::raw::{Buf, Map, Node};
use crate::media::convert::plane_size;
use crate::media::frame::{Buffer, PixelFormat};

/// Number of buffers: one with the driver, one waiting in the slot, one being converted, one spare.
const BUFFERS: u32 = 4;

/// The position of each plane of a picture: memory plane, first byte, number of bytes.
type Planes = [(usize, usize, usize); 3];

/// A running stream. Dropping it stops the camera; its memory and node are kept until the last lent frame is
/// dropped.
pub(super) struct Stream {
    shared: Arc<Shared>,
    kind: u32,
    layout: Layout,
}

struct Shared {
    // Dropped before the node, which the mappings need.
    buffers: Vec<Vec<Map>>,
    node: Node,
    kind: u32,
    running: AtomicBool,
}

/// The layout of a picture in a buffer's memory planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    format: PixelFormat,
    /// Bytes per row, for each plane of the picture.
    pub strides: [usize; 3],
    /// Memory plane, first byte after the driver's own offset, number of bytes.
    planes: Planes,
}

impl Layout {
    /// The layout of `format` in what the driver agreed to; `None` if that is invalid.
    pub(super) fn new(format: PixelFormat, agreed: &Agreed) -> Option<Self> {
        let mut layout = Self { format, strides: [0; 3], planes: [(0, 0, 0); 3] };
        if format == PixelFormat::Mjpg {
            return Some(layout);
        }
        // No camera has larger pictures; sums of their planes stay far below 2^31.
        let sane = |n: u32| (2..=16_384).contains(&n);
        if !sane(agreed.size.width)
            || !sane(agreed.size.height)
            || agreed.strides.iter().any(|s| *s > 1 << 17)
        {
            return None;
        }
        let apart = agreed.planes > 1;
        if apart && agreed.planes != format.planes() {
            return None;
        }
        let mut end = 0;
        for index in 0..format.planes() {
            let (row, rows) = plane_size(format, agreed.size, index);
            let stride = match (apart, format, index) {
                (true, _, _) => agreed.strides[index],
                // The kernel's rule for planes in one block: the stride of YU12's chroma is half that of its
                // luma.
                (false, PixelFormat::Yu12, 1 | 2) => agreed.strides[0] / 2,
                (false, _, _) => agreed.strides[0],
            };
            let stride = if stride == 0 { row } else { stride };
            if stride < row {
                return None;
            }
            layout.strides[index] = stride;
            layout.planes[index] = if apart { (index, 0, stride * rows) } else { (0, end, stride * rows) };
            end += stride * rows;
        }
        Some(layout)
    }

    /// Pixel format of the pictures.
    pub(super) fn format(&self) -> PixelFormat {
        self.format
    }

    /// The positions of the planes in a filled buffer whose memory planes are `mapped` bytes long; `None` if
    /// it contains less than a picture.
    fn place(&self, buf: &Buf, mapped: impl Fn(usize) -> usize) -> Option<Planes> {
        let mut planes = self.planes;
        for plane in planes.iter_mut().take(self.format.planes()) {
            let part = buf.parts[plane.0];
            let end = (part.used as usize).min(mapped(plane.0));
            plane.1 += part.start as usize;
            if self.format == PixelFormat::Mjpg {
                plane.2 = end.checked_sub(plane.1).filter(|n| *n > 0)?;
            } else if plane.1 + plane.2 > end {
                return None;
            }
        }
        Some(planes)
    }
}

/// A filled buffer.
pub(super) enum Filled {
    /// A buffer with a picture.
    Picture(Buf, Lent),
    /// A buffer that the driver marked as damaged, or that contains less than a picture. It has been queued
    /// again.
    Damaged(Buf),
}

impl Stream {
    /// Maps and queues buffers of `node`, whose format is set, and starts streaming.
    pub(super) fn start(node: Node, kind: u32, planes: usize, layout: Layout) -> io::Result<Self> {
        let count = node.request_buffers(kind, BUFFERS)?;
        let mut buffers = vec![];
        for index in 0..count {
            let parts = node.query_buffer(kind, index)?.parts;
            let maps = parts.iter().take(planes).map(|part| node.map(part.offset, part.length));
            buffers.push(maps.collect::<io::Result<Vec<_>>>()?);
        }
        let shared = Arc::new(Shared { buffers, node, kind, running: AtomicBool::new(true) });
        // From here on, dropping `stream` stops the camera and frees everything.
        let stream = Self { shared, kind, layout };
        for index in 0..count {
            stream.shared.node.queue(kind, index)?;
        }
        stream.shared.node.stream(true, kind)?;
        Ok(stream)
    }

    /// The node of the stream.
    pub(super) fn node(&self) -> &Node {
        &self.shared.node
    }

    /// Takes a filled buffer; `None` if there is none yet.
    pub(super) fn dequeue(&self) -> io::Result<Option<Filled>> {
        use v4l::v4l_sys::V4L2_BUF_FLAG_ERROR;
        let buf = match self.shared.node.dequeue(self.kind) {
            Ok(buf) => buf,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e),
        };
        let Some(maps) = self.shared.buffers.get(buf.index as usize) else {
            return Err(io::Error::other(format!(
                "the driver returned buffer {}, which does not exist",
                buf.index
            )));
        };
        // From here on, dropping `lent` queues the buffer again.
        let mut lent = Lent { shared: self.shared.clone(), index: buf.index, planes: [(0, 0, 0); 3] };
        let placed = self.layout.place(&buf, |plane| maps.get(plane).map_or(0, Map::len));
        Ok(Some(match placed {
            Some(planes) if buf.flags & V4L2_BUF_FLAG_ERROR == 0 => {
                lent.planes = planes;
                Filled::Picture(buf, lent)
            }
            _ => Filled::Damaged(buf),
        }))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.running.store(false, Ordering::Release);
        // Both calls fail if the camera is gone, which does no harm. Freeing the buffers lets another open of
        // the node use it even while a frame is still lent; the memory of that frame stays mapped.
        let _ = self.shared.node.stream(false, self.kind);
        let _ = self.shared.node.request_buffers(self.kind, 0);
    }
}

/// A lent buffer; dropping it returns it to the stream.
pub(super) struct Lent {
    shared: Arc<Shared>,
    index: u32,
    planes: Planes,
}

impl Buffer for Lent {
    fn plane(&self, index: usize) -> &[u8] {
        let Some((plane, start, length)) = self.planes.get(index).copied() else { return &[] };
        let map = self.shared.buffers.get(self.index as usize).and_then(|maps| maps.get(plane));
        // SAFETY: this buffer was dequeued, and it is queued again only when `self` is dropped, after the
        // result's lifetime.
        let bytes = map.map(|map| unsafe { map.bytes() });
        bytes.and_then(|bytes| bytes.get(start..start + length)).unwrap_or(&[])
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.shared.running.load(Ordering::Acquire) {
            // This fails if the camera is gone, which the next dequeue reports.
            let _ = self.shared.node.queue(self.shared.kind, self.index);
        }
    }
}

/// Opens `path`; the error explains in a sentence what went wrong.
pub(crate) fn open(path: &Path) -> Result<Node, crate::capture::Error> {
    Node::open(path).map_err(|e| super::trouble::opening("opening", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::modes::FourCc;
    use crate::capture::v4l2::raw::{PLANES, Part};
    use crate::media::frame::{Matrix, Range, Size};
    use v4l::v4l_sys::timeval;

    fn agreed(size: Size, planes: usize, strides: [usize; 3]) -> Agreed {
        let format = FourCc::new(b"NV12");
        Agreed { format, size, field: 1, planes, strides, range: Range::Limited, matrix: Matrix::Bt601 }
    }

    fn buf(parts: &[Part]) -> Buf {
        let mut all = [Part::default(); PLANES];
        all[..parts.len()].copy_from_slice(parts);
        Buf { index: 0, flags: 0, sequence: 0, timestamp: timeval { tv_sec: 0, tv_usec: 0 }, parts: all }
    }

    const VGA: Size = Size::new(640, 480);

    #[test]
    fn planes_in_one_piece_follow_each_other() {
        let nv12 = Layout::new(PixelFormat::Nv12, &agreed(VGA, 1, [704, 0, 0])).expect("a layout");
        assert_eq!(nv12.strides, [704, 704, 0]);
        let whole = Part { length: 704 * 720, offset: 0, used: 704 * 720, start: 0 };
        let placed = nv12.place(&buf(&[whole]), |_| 704 * 720).expect("a picture");
        assert_eq!(placed[1], (0, 704 * 480, 704 * 240));
        let yu12 = Layout::new(PixelFormat::Yu12, &agreed(VGA, 1, [704, 0, 0])).expect("a layout");
        assert_eq!(yu12.strides, [704, 352, 352]);
        assert_eq!(yu12.planes[2], (0, 704 * 480 + 352 * 240, 352 * 240));
    }

    #[test]
    fn planes_apart_have_their_own_offsets() {
        let nm12 = Layout::new(PixelFormat::Nv12, &agreed(VGA, 2, [640, 640, 0])).expect("a layout");
        let luma = Part { length: 400_000, offset: 0, used: 640 * 480 + 128, start: 128 };
        let chroma = Part { length: 200_000, offset: 0, used: 640 * 240, start: 0 };
        let placed = nm12.place(&buf(&[luma, chroma]), |_| 400_000).expect("a picture");
        assert_eq!((placed[0], placed[1]), ((0, 128, 640 * 480), (1, 0, 640 * 240)));
    }

    #[test]
    fn too_little_is_no_picture() {
        let yuyv = Layout::new(PixelFormat::Yuyv, &agreed(VGA, 1, [1280, 0, 0])).expect("a layout");
        let part = |used, start| Part { length: 614_400, offset: 0, used, start };
        assert!(yuyv.place(&buf(&[part(614_400, 0)]), |_| 614_400).is_some());
        assert!(yuyv.place(&buf(&[part(614_399, 0)]), |_| 614_400).is_none());
        assert!(yuyv.place(&buf(&[part(614_400, 1)]), |_| 614_400).is_none());
        assert!(yuyv.place(&buf(&[part(u32::MAX, 0)]), |_| 614_399).is_none());
        let mjpg = Layout::new(PixelFormat::Mjpg, &agreed(VGA, 1, [0; 3])).expect("a layout");
        assert_eq!(mjpg.place(&buf(&[part(77, 0)]), |_| 614_400).expect("bytes")[0], (0, 0, 77));
        assert!(mjpg.place(&buf(&[part(0, 0)]), |_| 614_400).is_none());
        assert!(mjpg.place(&buf(&[part(5, 9)]), |_| 614_400).is_none());
    }

    #[test]
    fn nonsense_from_drivers_is_refused() {
        assert!(Layout::new(PixelFormat::Yuyv, &agreed(VGA, 1, [640, 0, 0])).is_none(), "rows overlap");
        assert!(Layout::new(PixelFormat::Yuyv, &agreed(Size::new(0, 480), 1, [0; 3])).is_none());
        assert!(Layout::new(PixelFormat::Yuyv, &agreed(Size::new(u32::MAX, 4), 1, [0; 3])).is_none());
        assert!(
            Layout::new(PixelFormat::Yu12, &agreed(VGA, 2, [640, 320, 0])).is_none(),
            "a plane is missing"
        );
    }
}
