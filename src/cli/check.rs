//! `peercam check`: tries what `peercam run` would use, and shows why it was chosen.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::args::{Check, Options};
use super::control::holdings;
use super::report::Report;
use super::{FAILED, files, ports, print};
use crate::board::holdings::Holdings;
use crate::capture::alsa::{Microphone, Read};
use crate::capture::cameras;
use crate::capture::choice::Choice;
use crate::capture::fallback::{Failure, Fallback};
use crate::capture::microphones::{self, Own};
use crate::capture::wish;
use crate::capture::{self, FIRST_FRAME, VideoSource, v4l2};
use crate::config::{self, CameraDevice, Config};
use crate::encode::candidates::Candidates;
use crate::encode::opus;
use crate::encode::video::Settings;
use crate::media::frame::PixelFormat;
use crate::media::mode::Mode;

/// How long the frame rate is measured: long enough to tell 15 frames per second from 30.
const MEASURE: Duration = Duration::from_secs(2);
/// How long the microphone is listened to: long enough to hear the noise of a room.
const LISTEN: Duration = Duration::from_secs(1);

/// Checks the file and the files it names and, without `--config-only`, tries ports and devices.
pub fn run(args: &Check, options: &Options) -> anyhow::Result<ExitCode> {
    let (config, source) = Config::find(options.config.as_deref())?;
    let mut report = Report::default();
    report.line("configuration", &source);
    files::report(&mut report, &config);
    if !args.config_only {
        let daemon = running(&mut report, options);
        network(&mut report, &config, daemon.as_ref());
        devices(&mut report, &config, daemon.as_ref());
    }
    print(&report.text())?;
    Ok(ExitCode::from(if report.problems == 0 { super::OK } else { FAILED }))
}

/// The ports and devices of the running peercam, if there is one.
fn running(report: &mut Report, options: &Options) -> Option<Holdings> {
    match holdings(options) {
        Ok(Some(daemon)) => {
            let says = format!("running (process {}): its ports and devices count as free", daemon.id);
            report.line("peercam", &says);
            Some(daemon)
        }
        Ok(None) => None,
        Err(e) => {
            report.line("peercam", &e.to_string());
            None
        }
    }
}

fn network(report: &mut Report, config: &Config, daemon: Option<&Holdings>) {
    let scheme = if config.web.tls == config::Tls::Off { "http" } else { "https" };
    let page = format!("{scheme}://{}", SocketAddr::new(config.web.address, config.web.port));
    let media = match (config.ice.port, config.ice.tcp) {
        (0, _) => "any free port".into(),
        (port, true) => format!("port {port}, UDP and TCP"),
        (port, false) => format!("port {port}, UDP"),
    };
    for (what, says, section) in [("page", page, "web."), ("media", media, "ice.")] {
        report.line(what, &says);
        for port in ports::of(config).iter().filter(|port| port.key.starts_with(section)) {
            match ports::problem(port, daemon) {
                Some(says) if port.needed => report.problem(&says),
                Some(says) => report.line("  no HTTP", &says),
                None => (),
            }
        }
    }
}

/// Tries every camera and every microphone, even if one fails. If there are several cameras, each line names its
/// camera. Devices that the running `daemon` has open are not tried, because they can't be opened twice.
pub(super) fn devices(report: &mut Report, config: &Config, daemon: Option<&Holdings>) {
    let held = |devices: fn(&Holdings) -> &Vec<String>| daemon.map_or(&[][..], |d| devices(d).as_slice());
    let several = config.cameras.len() > 1;
    let mut nodes = vec![];
    for camera in &config.cameras {
        report.about(if several { &camera.name } else { "" });
        nodes.push(picture(report, &camera.video, held(|d| &d.cameras)));
    }
    let own: Vec<_> = nodes.iter().map(|node| microphones::of_camera(node.as_ref()?)).collect();
    for (audio, names) in microphones_of(config, &own) {
        report.about(if several { &names } else { "" });
        sound(report, &audio, held(|d| &d.microphones));
    }
    report.about("");
}

/// Lists each microphone once, with the names of its cameras. `own` are the cameras' own microphones.
fn microphones_of(config: &Config, own: &[Option<Own>]) -> Vec<(config::Audio, String)> {
    let mut all: Vec<(config::Audio, String)> = vec![];
    for (camera, audio) in config.cameras.iter().zip(audio_of(config, own)) {
        match all.iter_mut().find(|(other, _)| *other == audio) {
            Some((_, names)) => *names += &format!(", {}", camera.name),
            None => all.push((audio, camera.name.clone())),
        }
    }
    all
}

/// `[audio]` for the microphone of each camera. `own` are the cameras' own microphones.
pub(super) fn audio_of(config: &Config, own: &[Option<Own>]) -> Vec<config::Audio> {
    let cameras = config.cameras.iter().zip(own.iter().map(Option::as_ref));
    let wishes = wish::of_cameras(cameras, &config.audio.device);
    wishes.iter().map(|wish| wish.audio(&config.audio, &wishes)).collect()
}

/// The open microphone (`held`) that `audio` refers to. "auto" is never a microphone that belongs to single cameras.
pub(super) fn open_microphone<'a>(audio: &config::Audio, held: &'a [String]) -> Option<&'a String> {
    held.iter().find(|held| match &audio.device {
        config::Microphone::Auto => !audio.others.contains(held),
        config::Microphone::Device(name) => name == *held,
        config::Microphone::Tone | config::Microphone::Off => false,
    })
}

/// The open camera (`held`) that "auto" in `video` refers to. Choosing again would take a different one, as that camera
/// is busy.
pub(super) fn automatic(video: &config::Video, held: &[String]) -> Option<String> {
    let nodes = held.iter().map(PathBuf::from).collect();
    let unnamed = cameras::unnamed(video, nodes);
    let first = unnamed.first().filter(|_| video.device == CameraDevice::Auto);
    first.map(|node| node.display().to_string())
}

/// Tries a camera and its encoder. `held`: the cameras that the running peercam has open. Returns the camera's node.
fn picture(report: &mut Report, video: &config::Video, held: &[String]) -> Option<PathBuf> {
    let mut node = None;
    let wanted =
        Mode { size: video.size, fps: f64::from(video.frame_rate), format: video.pixel_format, range: None };
    let mode = if video.device.is_built_in() {
        report.line("camera", "the test picture: it is set in the configuration");
        wanted
    } else {
        let same = automatic(video, held)
            .map(|node| config::Video { device: CameraDevice::Device(node), ..video.clone() });
        let chosen = cameras::choose(same.as_ref().unwrap_or(video));
        node = chosen.as_ref().ok().map(|choice| choice.path.clone());
        match chosen {
            Ok(choice) if held.iter().any(|node| choice.path == Path::new(node)) => {
                in_use(report, &choice, &wanted);
                wanted
            }
            Ok(choice) => camera(report, choice, &wanted).unwrap_or(wanted),
            Err(capture::Error::None(why)) if video.device == CameraDevice::Auto => {
                report.line("camera", &format!("the test picture: {why}"));
                wanted
            }
            Err(e) => {
                report.line("camera", "none");
                report.problem(&e.to_string());
                wanted
            }
        }
    };
    let settings = Settings {
        size: mode.size,
        fps: mode.fps as f32,
        bitrate_bps: video.bitrate_bps,
        effort: video.effort,
        level: None,
    };
    match Candidates::default().make(settings) {
        Ok(encoder) => report.line(
            "  encoder",
            &format!(
                "{}, profile-level-id {}, {} kbit/s",
                encoder.name(),
                encoder.profile(),
                video.bitrate_bps / 1000
            ),
        ),
        Err(e) => report.problem(&e.to_string()),
    }
    node
}

fn in_use(report: &mut Report, choice: &Choice, wanted: &Mode) {
    let Choice { name, path, problems, .. } = choice;
    report.line("camera", &format!("{name} ({}): open in the running peercam", path.display()));
    report.line("  wanted", &show(wanted));
    problems.iter().for_each(|problem| report.problem(problem));
}

/// Opens the camera, reports the wanted, negotiated and delivered modes, and returns the negotiated mode.
fn camera(report: &mut Report, mut choice: Choice, wanted: &Mode) -> Option<Mode> {
    report.line("camera", &format!("{} ({}): {}", choice.name, choice.path.display(), choice.why));
    report.line("  wanted", &show(wanted));
    for problem in &choice.problems {
        report.problem(problem);
    }
    let mut negotiated = None;
    let (delivers, problems) = first_that_works(&mut choice, |choice| {
        let mut camera = v4l2::Camera::open(choice)?;
        let mode = *negotiated.insert(camera.mode());
        let fps = delivered(&mut camera)?;
        // A rate lower by a quarter is not jitter: the camera delivers fewer frames.
        let note = camera.rate_note().filter(|_| fps < mode.fps * 0.75);
        Ok(format!("{fps:.1} fps{}", note.map(|n| format!(": {n}")).unwrap_or_default()))
    });
    if let Some(mode) = &negotiated {
        report.line("  negotiated", &show(mode));
    }
    for problem in problems {
        report.problem(&problem);
    }
    if let Some(delivers) = delivers {
        report.line("  delivered", &delivers);
    }
    negotiated
}

/// Tries a camera's modes as the daemon does, until one works. Returns its result, and why the others failed.
fn first_that_works<T>(
    choice: &mut Choice,
    mut attempt: impl FnMut(&Choice) -> Result<T, capture::Error>,
) -> (Option<T>, Vec<String>) {
    let (mut fallback, mut problems) = (Fallback::default(), vec![]);
    loop {
        fallback.order(&mut choice.modes);
        let error = match attempt(choice) {
            Ok(works) => return (Some(works), problems),
            Err(error) => error,
        };
        let formats: Vec<_> = choice.modes.iter().map(|mode| mode.format).collect();
        let (Some(how), [failed, _, ..]) = (Failure::of(&error), &formats[..]) else {
            problems.push(error.to_string());
            return (None, problems);
        };
        if let Some(times) = fallback.failed(&formats, how) {
            problems.push(format!("{failed} failed {times} times, most recently: {error}"));
            if problems.len() == formats.len() {
                return (None, problems);
            }
        }
    }
}

/// Frames per second, measured by capture times.
fn delivered(camera: &mut impl VideoSource) -> Result<f64, capture::Error> {
    let first = camera.next(FIRST_FRAME)?.ok_or(capture::Error::Stalled("camera"))?.pts;
    let (mut last, mut frames) = (first, 0);
    let end = Instant::now() + MEASURE;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if let Some(frame) = camera.next(left)? {
            last = frame.pts;
            frames += 1;
        }
    }
    let time = last.since(first).as_secs_f64();
    Ok(if time > 0.0 { f64::from(frames) / time } else { 0.0 })
}

/// Tries a microphone. `held`: the microphones that the running peercam has open.
fn sound(report: &mut Report, audio: &config::Audio, held: &[String]) {
    if audio.device == config::Microphone::Off {
        report.line("microphone", "off in the configuration");
        return;
    }
    match open_microphone(audio, held) {
        Some(name) => report.line("microphone", &format!("{name}: open in the running peercam")),
        None => try_microphone(report, audio),
    }
    match opus::Encoder::new(audio.channels, audio.bitrate_bps, audio.dtx) {
        Ok(_) => {
            let dtx = if audio.dtx { ", silence is not sent" } else { "" };
            let (channels, kbps) = (count(audio.channels, "channel"), audio.bitrate_bps / 1000);
            report.line("  encoder", &format!("Opus, {channels}, {kbps} kbit/s{dtx}"));
        }
        Err(e) => report.problem(&e.to_string()),
    }
}

fn try_microphone(report: &mut Report, audio: &config::Audio) {
    match microphones::open(audio, microphones::NAMED) {
        Ok((choice, None)) => report.line("microphone", &format!("the test tone: {}", choice.why)),
        Ok((choice, Some(opened))) => microphone(report, &choice, opened),
        Err(e) => {
            report.line("microphone", "none");
            report.problem(&e.to_string());
        }
    }
}

/// Reports the microphone's sample rate and format, and whether it hears anything.
fn microphone(report: &mut Report, choice: &microphones::Choice, mut opened: Microphone) {
    let alsa = choice.alsa.as_deref().unwrap_or_default();
    report.line("microphone", &format!("{} ({alsa}): {}", choice.name, choice.why));
    let spec = opened.spec();
    let channels = count(spec.channels, "channel");
    report.line("  negotiated", &format!("{} Hz, {channels}, {}", spec.rate_hz, spec.format));
    match loudest(&mut opened) {
        Ok(0.0) => report.line("  heard", "complete silence: it may be muted (check with `alsamixer`)"),
        Ok(peak) => report.line("  heard", &format!("up to {:.0} dB below full scale", -20.0 * peak.log10())),
        Err(e) => report.problem(&e.to_string()),
    }
}

/// The highest sample of all channels within a second; 1 is full scale.
fn loudest(microphone: &mut Microphone) -> Result<f32, capture::Error> {
    let spec = microphone.spec();
    let mut samples = vec![];
    let (mut peak, mut heard) = (0.0_f32, false);
    let end = Instant::now() + LISTEN;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if let Read::Samples { bytes, .. } = microphone.read(left)? {
            heard = true;
            samples.clear();
            // The samples of all channels are interleaved; the peak of any of them counts.
            spec.format.decode(bytes, 1, 1, &mut samples);
            peak = samples.iter().fold(peak, |peak, s| peak.max(s.abs()));
        }
    }
    if heard { Ok(peak) } else { Err(capture::Error::Stalled("microphone")) }
}

fn count(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn show(mode: &Mode) -> String {
    let format = mode.format.map_or("any format", PixelFormat::fourcc);
    let fps = format!("{:.2}", mode.fps);
    let fps = fps.trim_end_matches('0').trim_end_matches('.');
    format!("{}, {fps} fps, {format}", mode.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::modes::{FourCc, Interval, Picked};
    use crate::config::{Audio, Microphone, Video};
    use crate::media::frame::Size;
    use std::net::TcpListener;

    fn said(check: impl FnOnce(&mut Report)) -> (String, usize) {
        let mut report = Report::default();
        check(&mut report);
        (report.text(), report.problems)
    }

    #[test]
    fn what_needs_no_device_is_always_well() {
        let video = Video { device: CameraDevice::Pattern, ..Video::default() };
        let (text, problems) = said(|r| drop(picture(r, &video, &[])));
        assert!(text.contains("the test picture: it is set in the configuration\n"), "{text}");
        assert!(text.contains("OpenH264, profile-level-id 42c01f, 2000 kbit/s\nno problems\n"), "{text}");
        assert_eq!(problems, 0);
        let (text, problems) =
            said(|r| sound(r, &Audio { device: Microphone::Off, ..Audio::default() }, &[]));
        assert!(text.starts_with("microphone  off"), "{text}");
        assert_eq!(problems, 0);
    }

    #[test]
    fn devices_that_are_not_there_are_problems() {
        let video = Video { device: CameraDevice::Device("/dev/video999".into()), ..Video::default() };
        let (text, problems) = said(|r| drop(picture(r, &video, &[])));
        assert!(text.contains("  PROBLEM  /dev/video999"), "{text}");
        assert_eq!(problems, 1);
        let audio = Audio { device: Microphone::Device("hw:CARD=nowhere".into()), ..Audio::default() };
        let (text, problems) = said(|r| sound(r, &audio, &[]));
        assert!(text.contains("  PROBLEM") && text.ends_with("\n1 problem\n"), "{text}");
        assert_eq!(problems, 1);
    }

    #[test]
    fn each_camera_is_tried_and_each_line_tells_which_it_is() {
        let text = r#"
            [[camera]]
            name = "front"
            device = "/dev/video998"
            microphone = "hw:CARD=nowhere"
            [[camera]]
            name = "back"
            device = "pattern"
            size = "320x240"
            [[camera]]
            name = "hall"
            device = "/dev/video999"
            [audio]
            device = "tone"
        "#;
        let config = Config::parse(text, "device.toml").unwrap();
        let (text, problems) = said(|r| devices(r, &config, None));
        let lines: Vec<_> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let begin = [
            "camera front: none",
            "PROBLEM front: /dev/video998 is not plugged in",
            "encoder front: OpenH264,",
            "camera back: the test picture: ",
            "encoder back: OpenH264,",
            "camera hall: none",
            "PROBLEM hall: /dev/video999 is not plugged in",
            "encoder hall: OpenH264,",
            "microphone front: none",
            "PROBLEM front: there is no microphone hw:CARD=nowhere",
            "encoder front: Opus,",
            "microphone back, hall: the test tone: ",
            "encoder back, hall: Opus,",
            "3 problems",
        ];
        assert_eq!(lines.len(), begin.len(), "{text}");
        assert!(lines.iter().zip(begin).all(|(line, begin)| line.starts_with(begin)), "{text}");
        assert_eq!(problems, 3);
        // A single camera needs no name.
        let config =
            Config::parse("[[camera]]\nname = \"front\"\ndevice = \"pattern\"\nmicrophone = \"off\"", "d")
                .unwrap();
        let (text, _) = said(|r| devices(r, &config, None));
        assert!(!text.contains("front") && text.contains("microphone  off in the configuration"), "{text}");
    }

    #[test]
    fn auto_is_none_of_those_that_others_name() {
        let text = "[[camera]]\nname = \"a\"\ndevice = \"/dev/null\"\nmicrophone = \"hw:1\"\n[[camera]]\nname = \"b\"\n";
        let config = Config::parse(text, "device.toml").unwrap();
        let [named, auto] = &config.cameras[..] else { panic!("two") };
        let held = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let cameras = held(&["/dev/null", "/dev/zero"]);
        assert_eq!(automatic(&auto.video, &cameras).as_deref(), Some("/dev/zero"));
        assert_eq!(automatic(&auto.video, &cameras[..1]), None);
        assert_eq!(automatic(&named.video, &cameras), None);
        let microphones = held(&["hw:1", "hw:2"]);
        let open = |own: &[Option<Own>]| {
            let open = |audio: &Audio| open_microphone(audio, &microphones).map(String::as_str);
            audio_of(&config, own).iter().map(open).collect::<Vec<_>>()
        };
        assert_eq!(open(&[None, None]), [Some("hw:1"), Some("hw:2")]);
        // The own microphone of a camera that names none.
        let own = |alsa: &str| Some(Own { alsa: alsa.into(), card: 7 });
        assert_eq!(open(&[None, own("hw:2")]), [Some("hw:1"), Some("hw:2")]);
        assert_eq!(open(&[None, own("hw:3")]), [Some("hw:1"), None]);
    }

    #[test]
    fn each_microphone_is_tried_once_and_auto_is_no_cameras_own() {
        let text = "[[camera]]\nname = \"a\"\n[[camera]]\nname = \"b\"\ndevice = \"/dev/video1\"\n";
        let third = "[[camera]]\nname = \"c\"\ndevice = \"pattern\"\n";
        let own = [Some(Own { alsa: "hw:CARD=C920,DEV=0".into(), card: 1 }), None, None];
        let listed = |text: &str| {
            let config = Config::parse(text, "device.toml").unwrap();
            let own = &own[..config.cameras.len()];
            let listed = microphones_of(&config, own).into_iter();
            listed.map(|(audio, names)| (audio.device, audio.others, names)).collect::<Vec<_>>()
        };
        let device = |name: &str| Microphone::Device(name.into());
        let [c920, named] = ["hw:CARD=C920,DEV=0", "plughw:1,0"].map(String::from);
        let first = (device(&c920), vec![], "a".to_owned());
        assert_eq!(
            listed(&format!("{text}{third}")),
            [first, (Microphone::Auto, vec![c920], "b, c".to_owned())]
        );
        let text = format!("{text}microphone = \"{named}\"\n{third}");
        let first = (device(&named), vec![], "a, b".to_owned());
        assert_eq!(listed(&text), [first, (Microphone::Auto, vec![named.clone(), named], "c".to_owned())]);
    }

    #[test]
    fn modes_are_tried_as_the_daemon_does() {
        let modes = [PixelFormat::Yuyv, PixelFormat::Mjpg].map(|format| Picked {
            fourcc: FourCc(0),
            format,
            size: Size::new(640, 480),
            interval: Interval::of_rate(30),
        });
        let tried = |works: Option<PixelFormat>, modes: &[Picked]| {
            let mut choice = Choice {
                path: "/dev/video0".into(),
                name: "Webcam".into(),
                why: String::new(),
                modes: modes.to_vec(),
                controls: Default::default(),
                problems: vec![],
            };
            let mut tries = vec![];
            let (found, problems) = first_that_works(&mut choice, |choice| {
                tries.push(choice.modes[0].format.fourcc());
                let silent = Err(capture::Error::Stalled("camera"));
                if works == Some(choice.modes[0].format) { Ok(()) } else { silent }
            });
            (tries.join(" "), found.is_some(), problems)
        };
        let why = |mode| format!("{mode} failed 2 times, most recently: camera stopped sending data");
        assert_eq!(tried(Some(PixelFormat::Yuyv), &modes), ("YUYV".into(), true, vec![]));
        assert_eq!(
            tried(Some(PixelFormat::Mjpg), &modes),
            ("YUYV YUYV MJPG".into(), true, vec![why("YUYV")])
        );
        assert_eq!(
            tried(None, &modes),
            ("YUYV YUYV MJPG MJPG".into(), false, vec![why("YUYV"), why("MJPG")])
        );
        let only = tried(None, &modes[..1]);
        assert_eq!(only, ("YUYV".into(), false, vec!["camera stopped sending data".into()]));
    }

    #[test]
    fn ports_are_tried_and_those_of_our_own_daemon_count_as_free() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let mut config = Config::default();
        (config.web.port, config.web.http_port, config.ice.port) = (port, 0, 0);
        let (text, problems) = said(|r| network(r, &config, None));
        assert!(text.contains(&format!("PROBLEM  web.port: can't take TCP port {port}: ")), "{text}");
        assert_eq!(problems, 1, "{text}");
        let daemon = Holdings::of_this_process(Path::new("/"), None, None);
        let (text, problems) = said(|r| network(r, &config, Some(&daemon)));
        assert_eq!(
            (text, problems),
            (format!("page   https://[::]:{port}\nmedia  any free port\nno problems\n"), 0)
        );
        // Without the HTTP redirect the page still works.
        (config.web.port, config.web.http_port) = (0, port);
        let (text, problems) = said(|r| network(r, &config, None));
        assert!(text.contains("no HTTP") && problems == 0, "{text}");
    }

    #[test]
    fn a_microphone_that_our_own_daemon_has_is_not_opened() {
        let mut audio = Audio { device: Microphone::Device("hw:CARD=nowhere".into()), ..Audio::default() };
        let (text, problems) = said(|r| sound(r, &audio, &["hw:CARD=nowhere".into()]));
        assert!(text.starts_with("microphone  hw:CARD=nowhere: open in the running peercam\n"), "{text}");
        assert!(text.contains("  encoder   Opus") && problems == 0, "{text}");
        assert_eq!(said(|r| sound(r, &audio, &["hw:CARD=other".into()])).1, 1);
        audio.device = Microphone::Auto;
        let (text, _) = said(|r| sound(r, &audio, &["hw:CARD=other".into()]));
        assert!(text.contains("hw:CARD=other: open in the running peercam"), "{text}");
        audio.device = Microphone::Tone;
        assert!(
            said(|r| sound(r, &audio, &["hw:CARD=other".into()])).0.starts_with("microphone  the test tone")
        );
    }
}
