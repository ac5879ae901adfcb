//! `[video]` and `[[camera]]`: what films, and how.

use std::collections::BTreeMap;

use super::file::{Section, boolean, integer, one_of, text};
use super::{Camera, CameraDevice, Effort, Video, bps, values};
use crate::media::frame::PixelFormat;

/// Cameras: each has threads and pictures of its own, and no board encodes more of them.
const MOST: usize = 16;
/// Video bitrates: below the first nothing is recognisable, above the second no board's encoder follows.
const VIDEO_KBPS: (i64, i64) = (50, 50_000);

/// `[video]`, which is all there is (`alone`), or beside `[[camera]]` sections.
pub(super) fn video(section: &mut Section<'_, '_>, alone: bool) -> Video {
    let device = device(section).unwrap_or_default();
    if !alone && device != CameraDevice::Auto {
        section.lacks("device", "is for a single camera; here each [[camera]] has a device of its own");
    }
    Video { device, ..picture(section, Video::default()) }
}

/// All `[[camera]]`, or the only camera where there is none.
pub(super) fn cameras(root: &mut Section<'_, '_>, video: &Video) -> Vec<Camera> {
    let mut cameras = root.sections("camera", |section, above| camera(section, above, video));
    if cameras.is_empty() {
        return vec![Camera::only(video.clone())];
    }
    let named = |camera: &Camera| match &camera.video.device {
        CameraDevice::Device(name) => Some(name.clone()),
        CameraDevice::Auto | CameraDevice::Pattern => None,
    };
    let named: Vec<_> = cameras.iter().filter_map(named).collect();
    if let Some(auto) = cameras.iter_mut().find(|camera| camera.video.device == CameraDevice::Auto) {
        auto.video.others = named;
    }
    cameras
}

fn camera(section: &mut Section<'_, '_>, above: &[Camera], defaults: &Video) -> Camera {
    if above.len() == MOST {
        section.refuse_all(&format!("is one too many; allowed: {MOST} cameras"));
    }
    let name = name(section, above);
    let label = section.get("label", text(values::LABEL, values::label));
    let device = device(section);
    let taken = |device: &CameraDevice| above.iter().any(|other| other.video.device == *device);
    match &device {
        // One that is refused is none.
        None if section.has("device") => (),
        None if taken(&CameraDevice::Auto) => section.lacks(
            "device",
            "is missing; it is \"auto\" then, as another camera's is; `peercam devices` prints names for it",
        ),
        Some(CameraDevice::Auto) if taken(&CameraDevice::Auto) => section.lacks(
            "device",
            "is \"auto\", as another camera's is; only one can be; `peercam devices` prints names for it",
        ),
        Some(device @ CameraDevice::Device(_)) if taken(device) => {
            section.lacks("device", "is another camera's, too; each needs one of its own");
        }
        _ => (),
    }
    let microphone = section.get("microphone", text(values::OWN_MICROPHONE, values::own_microphone));
    let led = section.get("led", text(values::LED, values::led)).flatten();
    if led.is_some() && above.iter().any(|other| other.led == led) {
        section.lacks("led", "is another camera's, too; each needs one of its own");
    }
    let defaults = Video { device: device.unwrap_or_default(), ..defaults.clone() };
    let label = label.unwrap_or_else(|| readable(&name));
    Camera { name, label, video: picture(section, defaults), microphone, led }
}

/// Empty where it is refused.
fn name(section: &mut Section<'_, '_>, above: &[Camera]) -> String {
    let name = section.get("name", text(values::CAMERA_NAME, values::camera_name));
    match &name {
        None if !section.has("name") => {
            let says = format!("is missing; each camera has one; allowed: {}", values::CAMERA_NAME);
            section.lacks("name", &says);
        }
        Some(name) if above.iter().any(|other| other.name == *name) => {
            section.lacks("name", "is another camera's, too; each needs one of its own");
        }
        _ => (),
    }
    name.unwrap_or_default()
}

/// "front-door" as "Front door".
fn readable(name: &str) -> String {
    let mut letters = name.chars().map(|c| if c == '-' { ' ' } else { c });
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn device(section: &mut Section<'_, '_>) -> Option<CameraDevice> {
    section.get("device", text(values::CAMERA, values::camera))
}

/// How it films: all keys but `device`, and `default` for those that are left out.
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
