//! Reads `[video]` and `[[camera]]`.

use std::collections::BTreeMap;

use super::file::{Section, boolean, integer, one_of, text};
use super::{Camera, CameraDevice, Effort, Video, bps, values};
use crate::media::frame::PixelFormat;

/// Most `[[camera]]` sections: each camera has its own threads and buffers, and no board can encode more.
const MOST: usize = 16;
/// Lowest and highest video bitrate, kbit/s: below it nothing is recognisable, above it no board's encoder keeps up.
const VIDEO_KBPS: (i64, i64) = (50, 50_000);

/// Reads `[video]`. `alone`: there are no `[[camera]]` sections.
pub(super) fn video(section: &mut Section<'_, '_>, alone: bool) -> Video {
    let device = device(section).unwrap_or_default();
    if !alone && device != CameraDevice::Auto {
        section.lacks("device", "is only for a single camera; set the device in each [[camera]] instead");
    }
    Video { device, ..picture(section, Video::default()) }
}

/// Reads all `[[camera]]` sections; without any, `[video]` describes the only camera.
pub(super) fn cameras(root: &mut Section<'_, '_>, video: &Video) -> Vec<Camera> {
    let mut cameras = root.sections("camera", |section, above| camera(section, above, video));
    if cameras.is_empty() {
        return vec![Camera::only(video.clone())];
    }
    let named = |camera: &Camera| match &camera.video.device {
        CameraDevice::Device(name) => Some(name.clone()),
        CameraDevice::Auto | CameraDevice::Pattern | CameraDevice::Noise => None,
    };
    let named: Vec<_> = cameras.iter().filter_map(named).collect();
    if let Some(auto) = cameras.iter_mut().find(|camera| camera.video.device == CameraDevice::Auto) {
        auto.video.others = named;
    }
    cameras
}

fn camera(section: &mut Section<'_, '_>, above: &[Camera], defaults: &Video) -> Camera {
    if above.len() == MOST {
        section.refuse_all(&format!("is one too many; allowed: at most {MOST} cameras"));
    }
    let name = name(section, above);
    let label = section.get("label", text(values::LABEL, values::label));
    let device = device(section);
    let taken = |device: &CameraDevice| above.iter().any(|other| other.video.device == *device);
    match &device {
        // A refused device has been reported already.
        None if section.has("device") => (),
        None if taken(&CameraDevice::Auto) => section.lacks(
            "device",
            "is missing; the default, \"auto\", is already used by another camera; `peercam devices` prints device names",
        ),
        Some(CameraDevice::Auto) if taken(&CameraDevice::Auto) => section.lacks(
            "device",
            "is \"auto\", which only one camera can use; `peercam devices` prints device names",
        ),
        Some(device @ CameraDevice::Device(_)) if taken(device) => {
            section.lacks("device", "is already used by another camera; each camera needs its own");
        }
        _ => (),
    }
    let microphone = section.get("microphone", text(values::OWN_MICROPHONE, values::own_microphone));
    let led = section.get("led", text(values::LED, values::led)).flatten();
    if led.is_some() && above.iter().any(|other| other.led == led) {
        section.lacks("led", "is already used by another camera; each camera needs its own");
    }
    let defaults = Video { device: device.unwrap_or_default(), ..defaults.clone() };
    let label = label.unwrap_or_else(|| readable(&name));
    Camera { name, label, video: picture(section, defaults), microphone, led }
}

/// Reads `name`; empty if it is refused.
fn name(section: &mut Section<'_, '_>, above: &[Camera]) -> String {
    let name = section.get("name", text(values::CAMERA_NAME, values::camera_name));
    match &name {
        None if !section.has("name") => {
            let says = format!("is missing; each camera needs one; allowed: {}", values::CAMERA_NAME);
            section.lacks("name", &says);
        }
        Some(name) if above.iter().any(|other| other.name == *name) => {
            section.lacks("name", "is already used by another camera; each camera needs its own");
        }
        _ => (),
    }
    name.unwrap_or_default()
}

/// The default label: "front-door" becomes "Front door".
fn readable(name: &str) -> String {
    let mut letters = name.chars().map(|c| if c == '-' { ' ' } else { c });
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn device(section: &mut Section<'_, '_>) -> Option<CameraDevice> {
    section.get("device", text(values::CAMERA, values::camera))
}

/// Reads all keys of a camera but `device`; missing keys get the value of `default`.
fn picture(section: &mut Section<'_, '_>, default: Video) -> Video {
    let mut formats = vec![("auto", None)];
    formats.extend(PixelFormat::ALL.map(|f| (f.fourcc(), Some(f))));
    let efforts = [("low", Effort::Low), ("medium", Effort::Medium), ("high", Effort::High)];
    Video {
        size: section.get("size", text(values::SIZE, values::size)).unwrap_or(default.size),
        frame_rate: section.get("frame_rate", integer(1, 120)).map_or(default.frame_rate, |n| n as u32),
        pixel_format: section.get("pixel_format", one_of(&formats)).unwrap_or(default.pixel_format),
        bitrate_bps: section.get("bitrate_kbps", bps(VIDEO_KBPS)).unwrap_or(default.bitrate_bps),
        effort: section.get("effort", one_of(&efforts)).unwrap_or(default.effort),
        keep_open: section.get("keep_open", boolean).unwrap_or(default.keep_open),
        controls: {
            let mut all = default.controls;
            all.extend(section.section("controls", controls).unwrap_or_default());
            all
        },
        ..default
    }
}

fn controls(section: &mut Section<'_, '_>) -> BTreeMap<String, i64> {
    section.open(values::control_name, values::control).into_iter().collect()
}

#[cfg(test)]
mod tests;
