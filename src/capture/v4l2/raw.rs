//! The kernel's V4L2 calls, each with its struct.
//!
//! Structs and request numbers come from the `v4l` crate. The rest of that crate is not used: its stream
//! panics when a camera is unplugged, it does not support multi-planar devices, it unwraps text from drivers,
//! and its `ioctl` goes through `syscall(2)`, which `libcamerify` can't intercept (it replaces libc's `open`,
//! `ioctl`, `mmap` and `close`).

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use std::{io, mem, ptr, slice};

use v4l::v4l_sys::*;
use v4l::v4l2::vidioc;

/// A kernel struct that may be all zeros.
///
/// # Safety
/// The type is plain data, valid for any bytes.
pub unsafe trait Plain {}

/// A zeroed struct.
pub(super) fn zeroed<T: Plain>() -> T {
    // SAFETY: any bytes are valid for `Plain`, so zeros are.
    unsafe { mem::zeroed() }
}

/// A request number and its struct.
pub struct Request<T>(vidioc::_IOC_TYPE, std::marker::PhantomData<T>);

macro_rules! requests {
    ($($name:ident: $arg:ty = $number:expr;)*) => {
        $(pub(crate) const $name: Request<$arg> = Request($number, std::marker::PhantomData);)*
    };
}

/// Requests that the crate doesn't define (`_IOR` is 2, `_IOW` is 1, as on all but a few obsolete
/// architectures).
const fn number<T>(direction: vidioc::_IOC_TYPE, nr: u8) -> vidioc::_IOC_TYPE {
    direction << 30
        | (mem::size_of::<T>() as vidioc::_IOC_TYPE) << 16
        | (b'V' as vidioc::_IOC_TYPE) << 8
        | nr as vidioc::_IOC_TYPE
}

requests! {
    QUERYCAP: v4l2_capability = vidioc::VIDIOC_QUERYCAP;
    ENUM_FMT: v4l2_fmtdesc = vidioc::VIDIOC_ENUM_FMT;
    ENUM_FRAMESIZES: v4l2_frmsizeenum = vidioc::VIDIOC_ENUM_FRAMESIZES;
    ENUM_FRAMEINTERVALS: v4l2_frmivalenum = vidioc::VIDIOC_ENUM_FRAMEINTERVALS;
    S_FMT: v4l2_format = vidioc::VIDIOC_S_FMT;
    G_PARM: v4l2_streamparm = vidioc::VIDIOC_G_PARM;
    S_PARM: v4l2_streamparm = vidioc::VIDIOC_S_PARM;
    REQBUFS: v4l2_requestbuffers = vidioc::VIDIOC_REQBUFS;
    STREAMON: std::os::raw::c_int = vidioc::VIDIOC_STREAMON;
    STREAMOFF: std::os::raw::c_int = vidioc::VIDIOC_STREAMOFF;
    QUERY_EXT_CTRL: v4l2_query_ext_ctrl = vidioc::VIDIOC_QUERY_EXT_CTRL;
    QUERYMENU: v4l2_querymenu = vidioc::VIDIOC_QUERYMENU;
    G_CTRL: v4l2_control = vidioc::VIDIOC_G_CTRL;
    S_CTRL: v4l2_control = vidioc::VIDIOC_S_CTRL;
    SUBSCRIBE_EVENT: v4l2_event_subscription = number::<v4l2_event_subscription>(1, 90);
    DQEVENT: v4l2_event = number::<v4l2_event>(2, 89);
}

macro_rules! plain {
    ($($name:ty),*) => { $(
        // SAFETY: integers, arrays and unions of them, as declared in videodev2.h (and in v4l2_format a raw
        // pointer that is used for overlays only).
        unsafe impl Plain for $name {}
    )* };
}

plain!(
    v4l2_pix_format,
    v4l2_pix_format_mplane,
    v4l2_capability,
    v4l2_fmtdesc,
    v4l2_frmsizeenum,
    v4l2_frmivalenum,
    v4l2_format,
    v4l2_streamparm,
    v4l2_requestbuffers,
    v4l2_query_ext_ctrl,
    v4l2_querymenu,
    v4l2_control,
    v4l2_event_subscription,
    v4l2_event
);

/// The result of `poll(2)` on a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    /// A buffer can be dequeued.
    pub frame: bool,
    /// An event can be dequeued.
    pub event: bool,
    /// The stream or the node is broken.
    pub broken: bool,
}

/// An open device node.
pub struct Node(File);

impl Node {
    /// Opens `path` for streaming without blocking.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).map(Self)
    }

    /// Makes `request` with `arg`; repeats it when a signal interrupts it.
    pub fn call<T: Plain>(&self, request: Request<T>, arg: &mut T) -> io::Result<()> {
        // SAFETY: a `Plain` struct contains no pointer that the kernel follows, and `Request` pairs the
        // number with its struct.
        unsafe { self.ioctl(request.0, ptr::from_mut(arg).cast()) }
    }

    /// `STREAMON` or `STREAMOFF` for buffers of type `kind`.
    pub fn stream(&self, on: bool, kind: u32) -> io::Result<()> {
        let mut kind = kind as std::os::raw::c_int;
        let request = if on { STREAMON } else { STREAMOFF };
        // SAFETY: both take a pointer to an int.
        unsafe { self.ioctl(request.0, ptr::from_mut(&mut kind).cast()) }
    }

    /// `QUERYBUF`: returns where the planes of buffer `index` can be mapped.
    pub fn query_buffer(&self, kind: u32, index: u32) -> io::Result<Buf> {
        self.buffer(vidioc::VIDIOC_QUERYBUF, kind, index)
    }

    /// `QBUF`: passes buffer `index` to the driver.
    pub fn queue(&self, kind: u32, index: u32) -> io::Result<()> {
        self.buffer(vidioc::VIDIOC_QBUF, kind, index).map(drop)
    }

    /// `DQBUF`: takes a filled buffer from the driver.
    pub fn dequeue(&self, kind: u32) -> io::Result<Buf> {
        self.buffer(vidioc::VIDIOC_DQBUF, kind, 0)
    }

    fn buffer(&self, request: vidioc::_IOC_TYPE, kind: u32, index: u32) -> io::Result<Buf> {
        let mplane = kind == v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
        // SAFETY: both structs are plain data except for the pointer to planes, which is null for a
        // single-planar device.
        let (mut buf, mut planes): (v4l2_buffer, [v4l2_plane; PLANES]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        buf.index = index;
        buf.type_ = kind;
        buf.memory = v4l2_memory_V4L2_MEMORY_MMAP;
        if mplane {
            buf.m.planes = planes.as_mut_ptr();
            buf.length = PLANES as u32;
        }
        // SAFETY: `buf` is what these requests take; its planes, if any, outlive the call and are as many as it says.
        unsafe { self.ioctl(request, ptr::from_mut(&mut buf).cast())? };
        let mut parts = [Part::default(); PLANES];
        if mplane {
            for (part, plane) in parts.iter_mut().zip(planes).take(buf.length as usize) {
                // SAFETY: all members of the union are integers; for MMAP the offset is the valid one.
                let offset = unsafe { plane.m.mem_offset };
                *part =
                    Part { length: plane.length, offset, used: plane.bytesused, start: plane.data_offset };
            }
        } else {
            // SAFETY: as above.
            let offset = unsafe { buf.m.offset };
            parts[0] = Part { length: buf.length, offset, used: buf.bytesused, start: 0 };
        }
        Ok(Buf {
            index: buf.index,
            flags: buf.flags,
            sequence: buf.sequence,
            timestamp: buf.timestamp,
            parts,
        })
    }

    /// Maps `length` bytes at `offset` of the node.
    pub fn map(&self, offset: u32, length: u32) -> io::Result<Map> {
        let length = length as usize;
        // SAFETY: asks for fresh memory at an address of the kernel's choice; the result is checked.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ,
                libc::MAP_SHARED,
                self.0.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Map { at: at.cast(), length })
        }
    }

    /// Waits at most `timeout` for a frame, or also for an event if `events`.
    pub fn poll(&self, timeout: Duration, events: bool) -> io::Result<Ready> {
        let wanted = if events { libc::POLLIN | libc::POLLPRI } else { libc::POLLIN };
        let mut fd = libc::pollfd { fd: self.0.as_raw_fd(), events: wanted, revents: 0 };
        // Rounded up: a caller with half a millisecond left must not spin.
        let ms = timeout.as_micros().div_ceil(1000).min(60_000) as libc::c_int;
        // SAFETY: one pollfd, which lives through the call.
        match unsafe { libc::poll(&mut fd, 1, ms) } {
            -1 => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => Ok(Ready::default()),
                e => Err(e),
            },
            _ => Ok(Ready {
                frame: fd.revents & libc::POLLIN != 0,
                event: fd.revents & libc::POLLPRI != 0,
                broken: fd.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0,
            }),
        }
    }

    /// # Safety
    /// `arg` points to what `request` reads and writes.
    unsafe fn ioctl(&self, request: vidioc::_IOC_TYPE, arg: *mut libc::c_void) -> io::Result<()> {
        loop {
            // SAFETY: the caller's promise.
            if unsafe { libc::ioctl(self.0.as_raw_fd(), request, arg) } != -1 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// `VIDEO_MAX_PLANES`
pub(super) const PLANES: usize = 8;

/// A memory plane of a buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// Number of bytes that can be mapped.
    pub length: u32,
    /// Offset for mapping.
    pub offset: u32,
    /// Number of bytes filled, from the start of the plane.
    pub used: u32,
    /// Offset of the picture in the plane.
    pub start: u32,
}

/// A buffer as the driver describes it.
pub struct Buf {
    /// Index of the buffer.
    pub index: u32,
    /// `V4L2_BUF_FLAG_*`
    pub flags: u32,
    /// The driver's frame count.
    pub sequence: u32,
    /// When it was filled, on the clock that `flags` names.
    pub timestamp: timeval,
    /// Its memory planes; those that do not exist are empty.
    pub parts: [Part; PLANES],
}

/// A driver's memory, mapped for reading.
pub struct Map {
    at: *const u8,
    length: usize,
}

// SAFETY: the memory belongs to this process until dropped, and is the same for every thread.
unsafe impl Send for Map {}
// SAFETY: as above; the memory is only read.
unsafe impl Sync for Map {}

impl Map {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// The bytes.
    ///
    /// # Safety
    /// The buffer must not be queued while the result is used, because the driver would write to it.
    pub unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: mapped by `Node::map` with this length; the caller guarantees that nobody writes.
        unsafe { slice::from_raw_parts(self.at, self.length) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this is the mapping itself, and nothing borrows it any more.
        unsafe { libc::munmap(self.at.cast_mut().cast(), self.length) };
    }
}
