//! `peercam devices`: lists the devices, and how to write them in `device.toml`.

use std::path::Path;
use std::process::ExitCode;

use super::args::Options;
use super::check;
use super::control::holdings;
use super::print;
use super::table::columns;
use crate::capture;
use crate::capture::cameras::{self, Listing};
use crate::capture::microphones::{self, Abilities, Found, Own, Place};
use crate::capture::modes::Offered;
use crate::capture::names::Names;
use crate::capture::v4l2::controls::{Allowed, Control};
use crate::config::{Audio, Config, Microphone, Video};
use crate::encode::openh264;
use crate::media::frame::LARGEST;

/// Prints cameras, microphones and encoders, and marks the devices that the configuration chooses or the running
/// peercam has open. A mistake in the configuration is reported after the list, because the list may help to correct
/// it.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let found = Config::find(options.config.as_deref());
    let config = found.as_ref().map(|(config, _)| config).ok();
    // A user who may not ask the daemon sees its devices as busy.
    let daemon = holdings(options).ok().flatten();
    let (open_cameras, open_microphones) = daemon.map(|d| (d.cameras, d.microphones)).unwrap_or_default();
    let cameras = cameras::list(config.map_or_else(|| Video::default().size, |c| c.video.size));
    let microphones: Vec<_> =
        microphones::list().into_iter().map(|m| (microphones::abilities(&m.alsa), m)).collect();
    let (of_cameras, of_microphones) =
        config.map(|c| chosen(c, &open_cameras, &open_microphones, &microphones)).unwrap_or_default();
    let open = open_microphones.iter().map(|name| listed(name, &microphones)).collect();
    let shown = [
        show_cameras(&cameras, &Marks { chosen: of_cameras, open: open_cameras }),
        show_microphones(&microphones, &Marks { chosen: of_microphones, open }),
        show_encoders(),
    ];
    print(&shown.join("\n"))?;
    found?;
    Ok(ExitCode::SUCCESS)
}

/// Chosen devices, each with the name of its camera if there are several.
type Chosen = Vec<(String, Option<String>)>;

/// The devices that the configuration chooses, and those that the running peercam has open.
#[derive(Default)]
struct Marks {
    chosen: Chosen,
    open: Vec<String>,
}

impl Marks {
    fn of(&self, device: &str) -> String {
        let chosen =
            self.chosen.iter().filter(|(name, _)| name == device).map(|(_, camera)| camera.as_deref());
        let chosen: Vec<_> = chosen.collect();
        let cameras: Vec<_> = chosen.iter().flatten().copied().collect();
        let chosen = match (chosen.is_empty(), cameras.is_empty()) {
            (true, _) => String::new(),
            (false, true) => ", chosen".into(),
            (false, false) => format!(", chosen for {}", cameras.join(" and ")),
        };
        let open = if self.is_open(device) { ", open in the running peercam" } else { "" };
        format!("{chosen}{open}")
    }

    fn is_open(&self, device: &str) -> bool {
        self.open.iter().any(|open| open == device)
    }
}

/// A microphone, and what it supports.
type Listed = (Result<Abilities, capture::Error>, Found);

/// The chosen cameras and microphones.
fn chosen(
    config: &Config,
    open_cameras: &[String],
    open_microphones: &[String],
    all: &[Listed],
) -> (Chosen, Chosen) {
    let nodes = chosen_cameras(config, open_cameras);
    let own: Vec<_> = nodes.iter().map(|node| microphones::of_camera(Path::new(node.as_ref()?))).collect();
    let microphones = chosen_microphones(config, &own, open_microphones, all);
    (named(config, nodes), named(config, microphones))
}

/// The `devices` of all cameras, each with the name of its camera if there are several.
fn named(config: &Config, devices: Vec<Option<String>>) -> Chosen {
    let several = config.cameras.len() > 1;
    let all = config.cameras.iter().zip(devices);
    all.filter_map(|(camera, device)| Some((device?, several.then(|| camera.name.clone())))).collect()
}

/// The node of each camera.
fn chosen_cameras(config: &Config, open: &[String]) -> Vec<Option<String>> {
    let node = |video: &Video| {
        let first = || cameras::choose(video).ok().map(|choice| choice.path.display().to_string());
        check::automatic(video, open).or_else(first)
    };
    config.cameras.iter().map(|camera| node(&camera.video)).collect()
}

/// The microphone of each camera, by the name that it is listed with. `own` are the cameras' own microphones.
fn chosen_microphones(
    config: &Config,
    own: &[Option<Own>],
    open: &[String],
    all: &[Listed],
) -> Vec<Option<String>> {
    let name = |audio: &Audio| match &audio.device {
        Microphone::Device(name) => Some(listed(name, all)),
        Microphone::Tone | Microphone::Off => None,
        Microphone::Auto => {
            let mut free = all.iter().filter(|(_, found)| !found.is_claimed(&audio.others));
            let first = || Some(free.find(|(abilities, _)| abilities.is_ok())?.1.alsa.clone());
            check::open_microphone(audio, open).cloned().or_else(first)
        }
    };
    check::audio_of(config, own).iter().map(name).collect()
}

/// The name with which the microphone called `name` is listed.
fn listed(name: &str, all: &[Listed]) -> String {
    let found = all.iter().find(|(_, found)| found.is_called(name));
    found.map_or(name, |(_, found)| found.alsa.as_str()).to_owned()
}

fn show_cameras(all: &[Listing], marks: &Marks) -> String {
    let (fit, unfit): (Vec<_>, Vec<_>) = all.iter().partition(|l| l.unfit.is_none());
    let mut text = String::from("Cameras\n");
    if fit.is_empty() {
        text += "  none: the built-in test picture is shown (video.device = \"pattern\")\n";
    }
    for (i, camera) in fit.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        text += &show_camera(camera, marks);
    }
    if fit.len() > 1 {
        text += "\n  To use all of them, copy this into device.toml:\n";
        for (i, camera) in fit.iter().enumerate() {
            let (number, device) = (i + 1, lasting(camera));
            text += &format!("    [[camera]]\n    name = \"camera-{number}\"\n    device = \"{device}\"\n");
        }
    }
    if !unfit.is_empty() {
        text += "\nNot used as cameras\n";
        for sentence in unfit.iter().filter_map(|l| l.unfit.as_ref()) {
            text += &format!("  {sentence}\n");
        }
    }
    text
}

/// The camera's stable name, if it has one, or else its node.
fn lasting(camera: &Listing) -> String {
    match &camera.names {
        Names { by_id: Some(name), .. } => name.clone(),
        Names { by_path: Some(name), .. } => format!("/dev/v4l/by-path/{name}"),
        _ => camera.path.display().to_string(),
    }
}

fn show_camera(camera: &Listing, marks: &Marks) -> String {
    let Listing { path, name, driver, bus, offered, controls, .. } = camera;
    let path = path.display().to_string();
    let mut text = format!("  {name} ({driver}, {bus}){}\n    device = \"{path}\"\n", marks.of(&path));
    let lasting = lasting(camera);
    if lasting != path {
        text += &format!("    device = \"{lasting}\"\n");
    }
    let mut last = None;
    let (read, unread): (Vec<_>, Vec<_>) = offered.iter().partition(|o| o.format.pixel_format().is_some());
    let row = |offer: &&Offered| {
        // Print the format only in front of its first size.
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
        (true, _) => "; read-only",
        (_, true) => "; inactive: another control overrides it",
        _ => "",
    };
    [setting, format!("default {}", number(*default)), format!("{allowed}{note}")]
}

fn show_microphones(all: &[Listed], marks: &Marks) -> String {
    let mut text = String::from("Microphones\n");
    if all.is_empty() {
        text += "  none: the built-in tone is heard (audio.device = \"tone\")\n";
    }
    for (i, (abilities, Found { alsa, name, place, .. })) in all.iter().enumerate() {
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
            // The running peercam has it open, so its formats can't be read.
            Err(_) if marks.is_open(alsa) => (),
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
            names: Names {
                by_id: Some("usb-HD_Webcam-video-index0".into()),
                by_path: Some("pci-usb-1.2".into()),
            },
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
    power_line_frequency = 2  default 1    1 (50 Hz), 2 (60 Hz); inactive: another control overrides it
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
        let found = |alsa: &str, place| Found { alsa: alsa.into(), name: "Mic".into(), place, card: 0 };
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
    hw:CARD=Yeti,DEV=0 is in use by another program
";
        assert_eq!(show_microphones(&all, &Marks::default()), expected);
        assert!(show_microphones(&[], &Marks::default()).contains("none: the built-in tone"));
    }

    #[test]
    fn what_is_chosen_and_what_our_own_daemon_has_open_is_marked() {
        let video0 = || "/dev/video0".to_owned();
        let both = Marks { chosen: vec![(video0(), None)], open: vec![video0()] };
        let shown = show_cameras(&[camera(None)], &both);
        let head = "  HD Webcam (uvcvideo, usb-1.2), chosen, open in the running peercam\n    device = ";
        assert!(shown.contains(head), "{shown}");
        let (mic, other) = ("hw:CARD=Yeti,DEV=0", "hw:CARD=C920,DEV=0");
        let all = [busy(mic, 0), busy(other, 1)];
        let config = |text: &str| Config::parse(text, "device.toml").unwrap();
        let open = [mic.to_owned()];
        let chosen = chosen_microphones(&Config::default(), &[None], &open, &all);
        let marks = Marks { chosen: named(&Config::default(), chosen), open: open.to_vec() };
        let shown = show_microphones(&all, &marks);
        let expected = "Microphones
  Mic (on USB), chosen, open in the running peercam
    device = \"hw:CARD=Yeti,DEV=0\"

  Mic (on USB)
    device = \"hw:CARD=C920,DEV=0\"
    hw:CARD=C920,DEV=0 is in use by another program
";
        assert_eq!(shown, expected);
        let chosen = |device: &str| {
            let config = config(&format!("[audio]\ndevice = \"{device}\""));
            named(&config, chosen_microphones(&config, &[None], &[], &all))
        };
        assert_eq!(chosen(other), [(other.to_owned(), None)]);
        assert_eq!(chosen("plughw:1,0"), chosen(other), "a different name of the same one");
        assert_eq!((chosen("off"), chosen("auto")), (vec![], vec![]));
        let open = ["/dev/video3".to_owned()];
        let chosen = named(&Config::default(), chosen_cameras(&Config::default(), &open));
        assert_eq!(chosen, [("/dev/video3".to_owned(), None)]);
    }

    /// A microphone that can't be opened.
    fn busy(alsa: &str, card: u32) -> Listed {
        let found = Found { alsa: alsa.into(), name: "Mic".into(), place: Place::Usb, card };
        (Err(capture::Error::busy(alsa)), found)
    }

    #[test]
    fn several_cameras_are_printed_as_sections_for_the_file() {
        let with = |node: &str, by_id: Option<&str>, by_path: Option<&str>| Listing {
            path: node.into(),
            names: Names { by_id: by_id.map(String::from), by_path: by_path.map(String::from) },
            ..camera(None)
        };
        let all = [
            with("/dev/video0", Some("usb-C920-video-index0"), Some("usb-0:1-index0")),
            camera(Some("/dev/video9 is a codec")),
            // Two equal cameras, and one without udev names.
            with("/dev/video2", None, Some("usb-0:2-index0")),
            with("/dev/video4", None, Some("usb-0:3-index0")),
            with("/dev/video6", None, None),
        ];
        let shown = show_cameras(&all, &Marks::default());
        let expected = r#"
  To use all of them, copy this into device.toml:
    [[camera]]
    name = "camera-1"
    device = "usb-C920-video-index0"
    [[camera]]
    name = "camera-2"
    device = "/dev/v4l/by-path/usb-0:2-index0"
    [[camera]]
    name = "camera-3"
    device = "/dev/v4l/by-path/usb-0:3-index0"
    [[camera]]
    name = "camera-4"
    device = "/dev/video6"

Not used as cameras
  /dev/video9 is a codec
"#;
        assert!(shown.ends_with(expected), "{shown}");
        assert!(
            shown.contains(
                "\n    device = \"/dev/video2\"\n    device = \"/dev/v4l/by-path/usb-0:2-index0\"\n"
            )
        );
        let sections = expected.split_once(":\n").unwrap().1.split_once("\n\n").unwrap().0;
        assert_eq!(Config::parse(sections, "device.toml").unwrap().cameras.len(), 4);
        assert!(!show_cameras(&all[..2], &Marks::default()).contains("[[camera]]"), "one needs no section");
    }

    #[test]
    fn what_is_chosen_is_marked_with_the_camera_that_it_is_chosen_for() {
        let text = r#"
            [[camera]]
            name = "front"
            device = "/dev/video0"
            microphone = "hw:1"
            [[camera]]
            name = "back"
            microphone = "hw:1"
            [[camera]]
            name = "hall"
            device = "pattern"
            microphone = "tone"
        "#;
        let config = Config::parse(text, "device.toml").unwrap();
        let open = ["/dev/video0", "/dev/video2"].map(String::from);
        let for_ = |name: &str, camera: &str| (name.to_owned(), Some(camera.to_owned()));
        let chosen = named(&config, chosen_microphones(&config, &[None, None, None], &[], &[]));
        assert_eq!(chosen, [for_("hw:1", "front"), for_("hw:1", "back")]);
        let marks = Marks { chosen, open: vec![] };
        assert_eq!(
            (marks.of("hw:1").as_str(), marks.of("hw:2").as_str()),
            (", chosen for front and back", "")
        );
        // The automatically chosen camera is the open one (there are no others).
        let chosen = named(&config, chosen_cameras(&config, &open[1..]));
        assert!(chosen.contains(&for_("/dev/video2", "back")));
    }

    #[test]
    fn a_cameras_own_microphone_is_chosen_for_it_and_not_by_auto() {
        let text = "[[camera]]\nname = \"front\"\ndevice = \"/dev/video0\"\n[[camera]]\nname = \"back\"\n";
        let config = Config::parse(text, "device.toml").unwrap();
        let own = [Some(Own { alsa: "hw:CARD=C920,DEV=0".into(), card: 1 }), None];
        let (c920, yeti) = ("hw:CARD=C920,DEV=0".to_owned(), "hw:CARD=Yeti,DEV=0".to_owned());
        let free = |alsa: &str, card| {
            let abilities = Abilities { rates_hz: vec![48_000], channels: (1, 1), formats: vec![] };
            (Ok(abilities), busy(alsa, card).1)
        };
        let all = [free(&c920, 1), free(&yeti, 2)];
        let open = [c920.clone()];
        for open in [&open[..], &[]] {
            let chosen = chosen_microphones(&config, &own, open, &all);
            assert_eq!(chosen, [Some(c920.clone()), Some(yeti.clone())]);
        }
        assert_eq!(chosen_microphones(&config, &own, &open, &all[..1]), [Some(c920), None]);
    }
}
