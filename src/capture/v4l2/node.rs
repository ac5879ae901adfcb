//! Queries the driver about a device node: its identity, formats, sizes and rates.

use std::path::PathBuf;
use std::{fs, io};

use v4l::v4l_sys::*;

use super::raw::{self, Node, zeroed};
use crate::capture::modes::{FourCc, Interval, Offered, Rates, Sizes};
use crate::media::frame::{Matrix, Range, Size};
use crate::text::shown;

/// Limit for enumerations: they end with `EINVAL`, but a broken driver must not loop for ever.
const MOST: u32 = 256;

/// `VIDIOC_QUERYCAP`
#[derive(Clone, Debug)]
pub struct Caps {
    /// Name of the driver, such as "uvcvideo".
    pub driver: String,
    /// Name of the device.
    pub card: String,
    /// Bus and port, such as "usb-0000:01:00.0-1.2".
    pub bus: String,
    /// `V4L2_CAP_*` flags of this node.
    pub flags: u32,
}

/// All nodes (`/dev/video*`), by number.
pub fn all() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("video")?.parse::<u32>().ok();
    let mut all: Vec<_> =
        entries.filter_map(|e| Some((number(e.file_name().to_str()?)?, e.path()))).collect();
    all.sort();
    all.into_iter().map(|(_, path)| path).collect()
}

impl Caps {
    /// The buffer type for capturing, if the node captures.
    pub fn capture_kind(&self) -> Option<u32> {
        if self.flags & V4L2_CAP_VIDEO_CAPTURE != 0 {
            Some(v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE)
        } else if self.flags & V4L2_CAP_VIDEO_CAPTURE_MPLANE != 0 {
            Some(v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE)
        } else {
            None
        }
    }
}

/// The format a driver agreed to.
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    /// Pixel format.
    pub format: FourCc,
    /// Size in pixels.
    pub size: Size,
    /// `V4L2_FIELD_*`
    pub field: u32,
    /// Memory planes per buffer.
    pub planes: usize,
    /// Bytes per row, for each memory plane.
    pub strides: [usize; 3],
    /// Range of the samples.
    pub range: Range,
    /// YCbCr matrix of the samples.
    pub matrix: Matrix,
}

impl Node {
    /// Queries the driver and device.
    pub fn caps(&self) -> io::Result<Caps> {
        let mut caps: v4l2_capability = zeroed();
        self.call(raw::QUERYCAP, &mut caps)?;
        let of_node = caps.capabilities & V4L2_CAP_DEVICE_CAPS != 0;
        Ok(Caps {
            driver: text(&caps.driver),
            card: text(&caps.card),
            bus: text(&caps.bus_info),
            flags: if of_node { caps.device_caps } else { caps.capabilities },
        })
    }

    /// Lists everything that the node offers. For a range of sizes, lists the rates at the size nearest to
    /// `wanted`.
    pub fn offered(&self, kind: u32, wanted: Size) -> Vec<Offered> {
        let mut all = vec![];
        for format in self.formats(kind) {
            for sizes in self.sizes(format) {
                let rates = self.rates(format, sizes.nearest(wanted));
                all.push(Offered { format, sizes, rates });
            }
        }
        all
    }

    fn formats(&self, kind: u32) -> Vec<FourCc> {
        enumerate(|index| {
            let mut desc: v4l2_fmtdesc = zeroed();
            (desc.index, desc.type_) = (index, kind);
            self.call(raw::ENUM_FMT, &mut desc).ok()?;
            Some(FourCc(desc.pixelformat))
        })
    }

    fn sizes(&self, format: FourCc) -> Vec<Sizes> {
        let mut sizes = enumerate(|index| {
            let mut each: v4l2_frmsizeenum = zeroed();
            (each.index, each.pixel_format) = (index, format.0);
            self.call(raw::ENUM_FRAMESIZES, &mut each).ok()?;
            // SAFETY: both members of the union are integers; `type_` says which is valid.
            let (one, range) = unsafe { (each.__bindgen_anon_1.discrete, each.__bindgen_anon_1.stepwise) };
            Some(if each.type_ == v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
                Sizes::One(Size::new(one.width, one.height))
            } else {
                Sizes::Range {
                    min: Size::new(range.min_width, range.min_height),
                    max: Size::new(range.max_width, range.max_height),
                    step: Size::new(range.step_width.max(1), range.step_height.max(1)),
                }
            })
        });
        if sizes.is_empty() {
            // Some drivers list no sizes: any size may be requested, and S_FMT returns the nearest.
            let (min, step) = (Size::new(16, 16), Size::new(2, 2));
            sizes.push(Sizes::Range { min, max: Size::new(8192, 8192), step });
        }
        sizes
    }

    fn rates(&self, format: FourCc, size: Size) -> Rates {
        let valid = |f: v4l2_fract| (f.numerator > 0 && f.denominator > 0).then_some(interval(f));
        let mut range = None;
        let list: Vec<_> = enumerate(|index| {
            let mut each: v4l2_frmivalenum = zeroed();
            (each.index, each.pixel_format) = (index, format.0);
            (each.width, each.height) = (size.width, size.height);
            self.call(raw::ENUM_FRAMEINTERVALS, &mut each).ok()?;
            // SAFETY: both members of the union are integers; `type_` says which is valid.
            let (one, steps) = unsafe { (each.__bindgen_anon_1.discrete, each.__bindgen_anon_1.stepwise) };
            if each.type_ == v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE {
                return Some(valid(one));
            }
            range = valid(steps.min).zip(valid(steps.max));
            None
        });
        let list: Vec<_> = list.into_iter().flatten().collect();
        match range {
            Some((fastest, slowest)) => Rates::Range { fastest, slowest },
            None if list.is_empty() => Rates::Unknown,
            None => Rates::List(list),
        }
    }

    /// Sets format and size; the driver uses the nearest that it supports.
    pub fn set_format(&self, kind: u32, format: FourCc, size: Size) -> io::Result<Agreed> {
        let mplane = kind == v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
        let mut fmt: v4l2_format = zeroed();
        fmt.type_ = kind;
        if mplane {
            let mut pix: v4l2_pix_format_mplane = zeroed();
            (pix.width, pix.height, pix.pixelformat) = (size.width, size.height, format.0);
            pix.field = v4l2_field_V4L2_FIELD_NONE;
            fmt.fmt.pix_mp = pix;
        } else {
            let mut pix: v4l2_pix_format = zeroed();
            (pix.width, pix.height, pix.pixelformat) = (size.width, size.height, format.0);
            pix.field = v4l2_field_V4L2_FIELD_NONE;
            fmt.fmt.pix = pix;
        }
        self.call(raw::S_FMT, &mut fmt)?;
        if mplane {
            // SAFETY: `type_` says that this member is valid; it consists of integers.
            let (pix, ycbcr) = unsafe { (fmt.fmt.pix_mp, fmt.fmt.pix_mp.__bindgen_anon_1.ycbcr_enc) };
            let formats = pix.plane_fmt; // copied out: the struct is packed
            let got = FourCc(pix.pixelformat);
            Ok(Agreed {
                format: got,
                size: Size::new(pix.width, pix.height),
                field: pix.field,
                planes: usize::from(pix.num_planes),
                strides: [0, 1, 2].map(|i| formats[i].bytesperline as usize),
                range: range(got, u32::from(pix.quantization), pix.colorspace),
                matrix: matrix(u32::from(ycbcr), pix.colorspace),
            })
        } else {
            // SAFETY: as above.
            let (pix, ycbcr) = unsafe { (fmt.fmt.pix, fmt.fmt.pix.__bindgen_anon_1.ycbcr_enc) };
            let got = FourCc(pix.pixelformat);
            Ok(Agreed {
                format: got,
                size: Size::new(pix.width, pix.height),
                field: pix.field,
                planes: 1,
                strides: [pix.bytesperline as usize, 0, 0],
                range: range(got, pix.quantization, pix.colorspace),
                matrix: matrix(ycbcr, pix.colorspace),
            })
        }
    }

    /// Requests a frame interval and returns the one that the driver reports, if it reports any.
    pub fn set_interval(&self, kind: u32, wanted: Interval) -> Option<Interval> {
        let mut parm: v4l2_streamparm = zeroed();
        parm.type_ = kind;
        let fract = v4l2_fract { numerator: wanted.num, denominator: wanted.den };
        parm.parm.capture.timeperframe = fract;
        if self.call(raw::S_PARM, &mut parm).is_err() {
            parm = zeroed();
            parm.type_ = kind;
            self.call(raw::G_PARM, &mut parm).ok()?;
        }
        // SAFETY: the type is a capture type, so this member is valid; it consists of integers.
        let got = unsafe { parm.parm.capture.timeperframe };
        (got.numerator > 0 && got.denominator > 0).then_some(interval(got))
    }

    /// Requests `count` buffers and returns how many there are. 0 frees them.
    pub fn request_buffers(&self, kind: u32, count: u32) -> io::Result<u32> {
        let mut request: v4l2_requestbuffers = zeroed();
        (request.count, request.type_, request.memory) = (count, kind, v4l2_memory_V4L2_MEMORY_MMAP);
        self.call(raw::REQBUFS, &mut request)?;
        Ok(request.count)
    }

    /// Whether another program is streaming from it.
    pub fn is_busy(&self, kind: u32) -> bool {
        self.request_buffers(kind, 0).is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY))
    }

    /// Subscribes to changes of the source (such as an HDMI input's new resolution). Returns whether the
    /// driver supports this.
    pub fn watch_source(&self) -> bool {
        let mut subscription: v4l2_event_subscription = zeroed();
        subscription.type_ = V4L2_EVENT_SOURCE_CHANGE;
        self.call(raw::SUBSCRIBE_EVENT, &mut subscription).is_ok()
    }

    /// Takes all waiting events. Returns whether one of them reported a change of the source.
    pub fn source_changed(&self) -> bool {
        let mut changed = false;
        for _ in 0..MOST {
            let mut event: v4l2_event = zeroed();
            if self.call(raw::DQEVENT, &mut event).is_err() {
                break;
            }
            changed |= event.type_ == V4L2_EVENT_SOURCE_CHANGE;
        }
        changed
    }
}

fn enumerate<T>(get: impl FnMut(u32) -> Option<T>) -> Vec<T> {
    (0..MOST).map_while(get).collect()
}

fn interval(f: v4l2_fract) -> Interval {
    Interval { num: f.numerator, den: f.denominator }
}

/// Text of a fixed length; a zero ends it early.
pub(super) fn raw_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

/// The same, made safe to display: the device chose the text.
pub(super) fn text(bytes: &[u8]) -> String {
    shown(&raw_text(bytes))
}

/// `V4L2_MAP_QUANTIZATION_DEFAULT` of videodev2.h: limited range, except for the colour space JPEG and for
/// formats other than YCbCr. Grey counts as one of the latter: it comes from sensors (infrared cameras), and
/// the kernel's vivid fills 0 to 255.
fn range(format: FourCc, quantization: u32, colorspace: u32) -> Range {
    let full = colorspace == v4l2_colorspace_V4L2_COLORSPACE_JPEG || format == FourCc::new(b"GREY");
    match quantization {
        v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE => Range::Full,
        v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE => Range::Limited,
        _ if full => Range::Full,
        _ => Range::Limited,
    }
}

/// `V4L2_MAP_YCBCR_ENC_DEFAULT` of videodev2.h. BT.2020 and SMPTE 240M count as BT.709: they are far nearer
/// to it than to BT.601, and no known camera uses them.
fn matrix(ycbcr_enc: u32, colorspace: u32) -> Matrix {
    match ycbcr_enc {
        v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_DEFAULT => match colorspace {
            v4l2_colorspace_V4L2_COLORSPACE_REC709
            | v4l2_colorspace_V4L2_COLORSPACE_DCI_P3
            | v4l2_colorspace_V4L2_COLORSPACE_BT2020
            | v4l2_colorspace_V4L2_COLORSPACE_SMPTE240M => Matrix::Bt709,
            _ => Matrix::Bt601,
        },
        v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709
        | v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV709
        | v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020
        | v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020_CONST_LUM
        | v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_SMPTE240M => Matrix::Bt709,
        _ => Matrix::Bt601,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_videodev2_h() {
        let (yuyv, grey) = (FourCc::new(b"YUYV"), FourCc::new(b"GREY"));
        assert_eq!(range(yuyv, 0, v4l2_colorspace_V4L2_COLORSPACE_SRGB), Range::Limited);
        assert_eq!(range(yuyv, 0, v4l2_colorspace_V4L2_COLORSPACE_JPEG), Range::Full);
        assert_eq!(range(yuyv, 2, v4l2_colorspace_V4L2_COLORSPACE_JPEG), Range::Limited);
        assert_eq!(range(grey, 0, v4l2_colorspace_V4L2_COLORSPACE_SRGB), Range::Full);
        assert_eq!(range(grey, 2, v4l2_colorspace_V4L2_COLORSPACE_SRGB), Range::Limited);
        assert_eq!(matrix(0, v4l2_colorspace_V4L2_COLORSPACE_SRGB), Matrix::Bt601);
        assert_eq!(matrix(0, v4l2_colorspace_V4L2_COLORSPACE_REC709), Matrix::Bt709);
        assert_eq!(matrix(1, v4l2_colorspace_V4L2_COLORSPACE_REC709), Matrix::Bt601);
    }

    #[test]
    fn text_of_drivers_may_be_anything() {
        assert_eq!(text(b"UVC Camera (046d:0825)\0\xff"), "UVC Camera (046d:0825)");
        assert_eq!(text(b"full"), "full");
        assert_eq!(text(b"\xc3\x28\0"), "\u{fffd}(");
        assert_eq!(text(b"Cam\x1b[2J\nsays\0"), "Cam\\u{1b}[2J\\u{a}says");
        assert_eq!(text("\u{202e}maC".as_bytes()), "\\u{202e}maC");
    }
}
