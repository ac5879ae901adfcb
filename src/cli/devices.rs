//! `peercam devices`: what there is, and what `device.toml` may say about it.

use std::process::ExitCode;

use super::args::Options;
use super::control::holdings;
use super::print;
use super::table::columns;
use crate::board::holdings::Holdings;
use crate::capture;
use crate::capture::cameras::{self, Listing};
use crate::capture::microphones::{self, Abilities, Found, Place};
use crate::capture::modes::Offered;
use crate::capture::v4l2::controls::{Allowed, Control};
use crate::config::{Audio, Camera, Config, Microphone, Video};
use crate::encode::openh264;
use crate::media::frame::LARGEST;

/// Prints cameras, microphones and encoders, and marks those that the configuration chooses and those that our own daemon
/// has open. A mistake in the configuration is told after the list, which may be what it takes to correct it.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let found = Config::find(options.config.as_deref());
    let config = found.as_ref().map(|(config, _)| config).ok();
    // Whoever may not ask the daemon sees its devices as busy.
    let daemon = holdings(options).ok().flatten();
    let held = |device: fn(&Holdings) -> &Option<String>| daemon.as_ref().and_then(|d| device(d).clone());
    let (camera, microphone) = (held(|d| &d.camera), held(|d| &d.microphone));
    let cameras = cameras::list(config.map_or_else(|| Video::default().size, |c| c.video.size));
    let microphones: Vec<_> =
        microphones::list().into_iter().map(|m| (microphones::abilities(&m.alsa), m)).collect();
    let chosen_camera = config.and_then(|c| chosen_camera(&c.video, camera.as_deref()));
    let chosen = config.and_then(|c| chosen_microphone(&c.audio, microphone.as_deref(), &microphones));
    let shown = [
        show_cameras(&cameras, &Marks { chosen: chosen_camera, open: camera }),
        show_microphones(&microphones, &Marks { chosen, open: microphone }),
        show_encoders(),
    ];
    print(&shown.join("\n"))?;
    found?;
    Ok(ExitCode::SUCCESS)
}

/// Which device the configuration chooses, and which one our own daemon has open.
#[derive(Default)]
struct Marks {
    chosen: Option<String>,
    open: Option<String>,
}

impl Marks {
    fn of(&self, device: &str) -> String {
        let is = |mark: &Option<String>| mark.as_deref() == Some(device);
        let chosen = if is(&self.chosen) { ", chosen" } else { "" };
        let open = if is(&self.open) { ", open in the running peercam" } else { "" };
        format!("{chosen}{open}")
    }
}

fn chosen_camera(video: &Video, open: Option<&str>) -> Option<String> {
    match (&video.device, open) {
        (Camera::Auto, Some(open)) => Some(open.into()),
        _ => cameras::choose(video).ok().map(|choice| choice.path.display().to_string()),
    }
}

fn chosen_microphone(
    audio: &Audio,
    open: Option<&str>,
    all: &[(Result<Abilities, capture::Error>, Found)],
) -> Option<String> {
    match &audio.device {
        Microphone::Device(name) => Some(name.clone()),
        Microphone::Tone | Microphone::Off => None,
        Microphone::Auto => {
            let first =
                || all.iter().find(|(abilities, _)| abilities.is_ok()).map(|(_, found)| found.alsa.clone());
            open.map(String::from).or_else(first)
        }
    }
}

fn show_cameras(all: &[Listing], marks: &Marks) -> String {
    let (fit, unfit): (Vec<_>, Vec<_>) = all.iter().partition(|l| l.unfit.is_none());
    let mut text = String::from("Cameras\n");
    if fit.is_empty() {
        text += "  none: the built-in test picture is shown (video.device = \"pattern\")\n";
    }
    for (i, camera) in fit.into_iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        text += &show_camera(camera, marks);
    }
    if !unfit.is_empty() {
        text += "\nNot used as cameras\n";
        for sentence in unfit.iter().filter_map(|l| l.unfit.as_ref()) {
            text += &format!("  {sentence}\n");
        }
    }
    text
}

fn show_camera(camera: &Listing, marks: &Marks) -> String {
    let Listing { path, name, driver, bus, by_id, offered, controls, .. } = camera;
    let path = path.display().to_string();
    let mut text = format!("  {name} ({driver}, {bus}){}\n    device = \"{path}\"\n", marks.of(&path));
    if let Some(by_id) = by_id {
        text += &format!("    device = \"{by_id}\"\n");
    }
    let mut last = None;
    let (read, unread): (Vec<_>, Vec<_>) = offered.iter().partition(|o| o.format.pixel_format().is_some());
    let row = |offer: &&Offered| {
        // Said once, at the first of its sizes.
        let again = last.replace(offer.format) == Some(offer.format);
        let format = if again { String::new() } else { offer.format.to_string() };
        [format, offer.sizes.to_string(), offer.rates.to_string()]
    };
    text += &columns(4, &read.iter().map(row).collect::<Vec<_>>());
    let mut unread: Vec<_> = unread.iter().map(|o| o.format.to_string()).collect();
    unread.dedup();
    if !unread.is_empty() {
        text += &format!("    not supported: {}\n", unread.join(", "));
    }
    if !controls.is_empty() {
        text += "    [video.controls]\n";
        text += &columns(4, &controls.iter().map(show_control).collect::<Vec<_>>());
    }
    text
}

fn show_control(control: &Control) -> [String; 3] {
    let Control { name, allowed, default, value, read_only, inactive, .. } = control;
    let number = |n: i64| match allowed {
        Allowed::Bits(_) => format!("{:#x}", n as u32), // the driver's 32 bits, without their sign
        _ => n.to_string(),
    };
    let setting = value.map_or_else(|| name.clone(), |value| format!("{name} = {}", number(value)));
    let note = match (read_only, inactive) {
        (true, _) => "; can only be read",
        (_, true) => "; without effect now: another control is in charge",
        _ => "",
    };
    [setting, format!("default {}", number(*default)), format!("{allowed}{note}")]
}

fn show_microphones(all: &[(Result<Abilities, capture::Error>, Found)], marks: &Marks) -> String {
    let mut text = String::from("Microphones\n");
    if all.is_empty() {
        text += "  none: the built-in tone is heard (audio.device = \"tone\")\n";
    }
    for (i, (abilities, Found { alsa, name, place })) in all.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        let place = match place {
            Place::Camera => "part of a camera",
            Place::Usb => "on USB",
            Place::Board => "on the board",
            Place::Virtual => "virtual",
        };
        text += &format!("  {name} ({place}){}\n    device = \"{alsa}\"\n", marks.of(alsa));
        match abilities {
            Ok(Abilities { rates_hz, channels, formats }) => {
                let mut rates = rates_hz.clone();
                rates.sort_unstable();
                let rates: Vec<_> = rates.iter().map(u32::to_string).collect();
                let channels = match channels {
                    (1, 1) => "1 channel".into(),
                    (least, most) if least == most => format!("{most} channels"),
                    (least, most) => format!("{least} to {most} channels"),
                };
                let rates = format!("{} Hz", rates.join(", "));
                text += &columns(4, &[[rates, channels, formats.join(", ")]]);
            }
            // It is not free because we have it: nothing more can be told.
            Err(_) if marks.open.as_deref() == Some(alsa) => (),
            Err(e) => text += &format!("    {e}\n"),
        }
    }
    text
}

fn show_encoders() -> String {
    let (min, max) = (openh264::SMALLEST, LARGEST);
    let rows = [
        ["H.264", "OpenH264, in software", &format!("constrained baseline, {min} to {max}")],
        ["Opus", "libopus, in software", "48000 Hz, 1 or 2 channels, packets of 20 ms"],
    ];
    let rows = rows.map(|row| row.map(String::from));
    format!("Encoders\n{}", columns(2, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::modes::{FourCc, Interval, Rates, Sizes};
    use crate::media::frame::Size;

    fn offered(format: &[u8; 4], sizes: Sizes, fps: &[u32]) -> Offered {
        let rates = Rates::List(fps.iter().map(|f| Interval::of_rate(*f)).collect());
        Offered { format: FourCc::new(format), sizes, rates }
    }

    fn control(name: &str, allowed: Allowed, value: i64) -> Control {
        let (name, value) = (name.into(), Some(value));
        Control { id: 1, name, allowed, default: 1, value, read_only: false, inactive: false }
    }

    fn camera(unfit: Option<&str>) -> Listing {
        let vga = Sizes::One(Size::new(640, 480));
        let hd = Sizes::One(Size::new(1280, 720));
        let menu = Allowed::Menu(vec![(1, "50 Hz".into()), (2, "60 Hz".into())]);
        Listing {
            path: "/dev/video0".into(),
            name: "HD Webcam".into(),
            driver: "uvcvideo".into(),
            bus: "usb-1.2".into(),
            by_id: Some("usb-HD_Webcam-video-index0".into()),
            offered: vec![
                offered(b"YUYV", vga, &[30, 15]),
                offered(b"YUYV", hd, &[10]),
                offered(b"H264", vga, &[30]),
                offered(b"H264", hd, &[30]),
            ],
            controls: vec![
                control("gain", Allowed::Range(0, 255, 1), 17),
                control("leds", Allowed::Bits(0x8000_0001), -0x8000_0000),
                Control { inactive: true, ..control("power_line_frequency", menu, 2) },
            ],
            unfit: unfit.map(String::from),
            is_sensor: false,
        }
    }

    #[test]
    fn a_camera_is_shown_with_all_it_can_do() {
        let expected = "\
Cameras
  HD Webcam (uvcvideo, usb-1.2)
    device = \"/dev/video0\"
    device = \"usb-HD_Webcam-video-index0\"
    YUYV  640x480   30, 15 fps
          1280x720  10 fps
    not supported: H264
    [video.controls]
    gain = 17                 default 1    0 to 255
    leds = 0x80000000         default 0x1  bits of 0x80000001
    power_line_frequency = 2  default 1    1 (50 Hz), 2 (60 Hz); without effect now: another control is in charge
";
        assert_eq!(show_cameras(&[camera(None)], &Marks::default()), expected);
    }

    #[test]
    fn no_camera_and_what_is_none_are_told() {
        let expected = "\
Cameras
  none: the built-in test picture is shown (video.device = \"pattern\")

Not used as cameras
  /dev/video10 (bcm2835-codec) is a codec
";
        assert_eq!(
            show_cameras(&[camera(Some("/dev/video10 (bcm2835-codec) is a codec"))], &Marks::default()),
            expected
        );
    }

    #[test]
    fn microphones_are_shown_with_what_they_can_do_or_why_that_is_unknown() {
        let found = |alsa: &str, place| Found { alsa: alsa.into(), name: "Mic".into(), place };
        let abilities =
            Abilities { rates_hz: vec![48_000, 16_000], channels: (1, 2), formats: vec!["S16_LE".into()] };
        let all = [
            (Ok(abilities), found("hw:CARD=C920,DEV=0", Place::Camera)),
            (Err(capture::Error::busy("hw:CARD=Yeti,DEV=0")), found("hw:CARD=Yeti,DEV=0", Place::Usb)),
        ];
        let expected = "\
Microphones
  Mic (part of a camera)
    device = \"hw:CARD=C920,DEV=0\"
    16000, 48000 Hz  1 to 2 channels  S16_LE

  Mic (on USB)
    device = \"hw:CARD=Yeti,DEV=0\"
    hw:CARD=Yeti,DEV=0 is busy: another program uses it
";
        assert_eq!(show_microphones(&all, &Marks::default()), expected);
        assert!(show_microphones(&[], &Marks::default()).contains("none: the built-in tone"));
    }

    #[test]
    fn what_is_chosen_and_what_our_own_daemon_has_open_is_marked() {
        let both = Marks { chosen: Some("/dev/video0".into()), open: Some("/dev/video0".into()) };
        let shown = show_cameras(&[camera(None)], &both);
        let head = "  HD Webcam (uvcvideo, usb-1.2), chosen, open in the running peercam\n    device = ";
        assert!(shown.contains(head), "{shown}");
        let (mic, other) = ("hw:CARD=Yeti,DEV=0", "hw:CARD=C920,DEV=0");
        let found = |alsa: &str| Found { alsa: alsa.into(), name: "Mic".into(), place: Place::Usb };
        let busy = |alsa: &str| (Err(capture::Error::busy(alsa)), found(alsa));
        let all = [busy(mic), busy(other)];
        let audio = Audio::default();
        let marks = Marks { chosen: chosen_microphone(&audio, Some(mic), &all), open: Some(mic.into()) };
        let shown = show_microphones(&all, &marks);
        let expected = "Microphones
  Mic (on USB), chosen, open in the running peercam
    device = \"hw:CARD=Yeti,DEV=0\"

  Mic (on USB)
    device = \"hw:CARD=C920,DEV=0\"
    hw:CARD=C920,DEV=0 is busy: another program uses it
";
        assert_eq!(shown, expected);
        let named = |device| chosen_microphone(&Audio { device, ..Audio::default() }, None, &all);
        assert_eq!(named(Microphone::Device(other.into())).as_deref(), Some(other));
        assert_eq!((named(Microphone::Off), named(Microphone::Auto)), (None, None));
        let open = chosen_camera(&Video::default(), Some("/dev/video3"));
        assert_eq!(open.as_deref(), Some("/dev/video3"));
    }
}
