//! `peercam check`: what `peercam run` would use and why, tried out.

use std::net::SocketAddr;
use std::path::Path;
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
use crate::capture::{self, FIRST_FRAME, VideoSource, microphones, v4l2};
use crate::config::{self, Camera, Config};
use crate::encode::candidates::Candidates;
use crate::encode::opus;
use crate::encode::video::Settings;
use crate::media::frame::PixelFormat;
use crate::media::mode::Mode;

/// Long enough to tell 15 frames a second from 30, short enough to wait for.
const MEASURE: Duration = Duration::from_secs(2);
/// Long enough for a room's noise.
const LISTEN: Duration = Duration::from_secs(1);

/// Checks the file and the files that it names and, unless told otherwise, tries ports and devices.
pub fn run(args: &Check, options: &Options) -> anyhow::Result<ExitCode> {
    let (config, source) = Config::find(options.config.as_deref())?;
    let mut report = Report::default();
    report.line("configuration", &source);
    files::report(&mut report, &config);
    if !args.config_only {
        let daemon = running(&mut report, options);
        network(&mut report, &config, daemon.as_ref());
        let holds =
            |device: fn(&Holdings) -> &Option<String>| daemon.as_ref().and_then(|d| device(d).as_deref());
        picture(&mut report, &config.video, holds(|d| &d.camera));
        sound(&mut report, &config.audio, holds(|d| &d.microphone));
    }
    print(&report.text())?;
    Ok(ExitCode::from(if report.problems == 0 { super::OK } else { FAILED }))
}

/// What our own daemon has taken, if it runs.
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

/// `held`: the camera that our own daemon has open, which can't be opened a second time.
pub(super) fn picture(report: &mut Report, video: &config::Video, held: Option<&str>) {
    let wanted =
        Mode { size: video.size, fps: f64::from(video.frame_rate), format: video.pixel_format, range: None };
    let mode = if video.device == Camera::Pattern {
        report.line("camera", "the test picture: it is the one in the configuration");
        wanted
    } else {
        // By itself it would take another camera, as the one in use is not free.
        let same = held
            .filter(|_| video.device == Camera::Auto)
            .map(|node| config::Video { device: Camera::Device(node.into()), ..video.clone() });
        match cameras::choose(same.as_ref().unwrap_or(video)) {
            Ok(choice) if held.is_some_and(|node| choice.path == Path::new(node)) => {
                in_use(report, &choice, &wanted);
                wanted
            }
            Ok(choice) => camera(report, choice, &wanted).unwrap_or(wanted),
            Err(capture::Error::None(why)) if video.device == Camera::Auto => {
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
}

fn in_use(report: &mut Report, choice: &Choice, wanted: &Mode) {
    let Choice { name, path, problems, .. } = choice;
    report.line("camera", &format!("{name} ({}): the running peercam has it open", path.display()));
    report.line("  wanted", &show(wanted));
    problems.iter().for_each(|problem| report.problem(problem));
}

/// Opens the camera, tells wanted, negotiated and delivered, and returns what was negotiated.
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
        // A quarter less is no jitter but a camera that takes its time.
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

/// Tries a camera's modes as the daemon does, until one works. Returns what that gives, and why others do not work.
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
            problems.push(format!("{failed} has failed {times} times, the last time because: {error}"));
            if problems.len() == formats.len() {
                return (None, problems);
            }
        }
    }
}

/// Frames per second by their capture times.
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

/// `held`: the microphone that our own daemon has open.
pub(super) fn sound(report: &mut Report, audio: &config::Audio, held: Option<&str>) {
    if audio.device == config::Microphone::Off {
        report.line("microphone", "off in the configuration");
        return;
    }
    let ours = held.filter(|held| match &audio.device {
        config::Microphone::Auto => true,
        config::Microphone::Device(name) => name == held,
        config::Microphone::Tone | config::Microphone::Off => false,
    });
    match ours {
        Some(name) => report.line("microphone", &format!("{name}: the running peercam has it open")),
        None => try_microphone(report, audio),
    }
    match opus::Encoder::new(audio.channels, audio.bitrate_bps, audio.dtx) {
        Ok(_) => {
            let dtx = if audio.dtx { ", nothing in silence" } else { "" };
            let (channels, kbps) = (count(audio.channels, "channel"), audio.bitrate_bps / 1000);
            report.line("  encoder", &format!("Opus, {channels}, {kbps} kbit/s{dtx}"));
        }
        Err(e) => report.problem(&e.to_string()),
    }
}

fn try_microphone(report: &mut Report, audio: &config::Audio) {
    match microphones::open(audio) {
        Ok((choice, None)) => report.line("microphone", &format!("the test tone: {}", choice.why)),
        Ok((choice, Some(opened))) => microphone(report, &choice, opened),
        Err(e) => {
            report.line("microphone", "none");
            report.problem(&e.to_string());
        }
    }
}

/// Tells what the microphone runs at, and whether it hears anything.
fn microphone(report: &mut Report, choice: &microphones::Choice, mut opened: Microphone) {
    let alsa = choice.alsa.as_deref().unwrap_or_default();
    report.line("microphone", &format!("{} ({alsa}): {}", choice.name, choice.why));
    let spec = opened.spec();
    let channels = count(spec.channels, "channel");
    report.line("  negotiated", &format!("{} Hz, {channels}, {}", spec.rate_hz, spec.format));
    match loudest(&mut opened) {
        Ok(0.0) => report.line("  heard", "nothing at all: it may be muted (`alsamixer` shows its switches)"),
        Ok(peak) => report.line("  heard", &format!("up to {:.0} dB below full scale", -20.0 * peak.log10())),
        Err(e) => report.problem(&e.to_string()),
    }
}

/// The highest sample of all channels within a second, 1 being full scale.
fn loudest(microphone: &mut Microphone) -> Result<f32, capture::Error> {
    let spec = microphone.spec();
    let mut samples = vec![];
    let (mut peak, mut heard) = (0.0_f32, false);
    let end = Instant::now() + LISTEN;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if let Read::Samples { bytes, .. } = microphone.read(left)? {
            heard = true;
            samples.clear();
            // As if there were one channel: it is the highest sample of any that counts.
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
        let video = Video { device: Camera::Pattern, ..Video::default() };
        let (text, problems) = said(|r| picture(r, &video, None));
        assert!(text.contains("the test picture: it is the one in the configuration\n"), "{text}");
        assert!(text.contains("OpenH264, profile-level-id 42c01f, 2000 kbit/s\nall well\n"), "{text}");
        assert_eq!(problems, 0);
        let (text, problems) =
            said(|r| sound(r, &Audio { device: Microphone::Off, ..Audio::default() }, None));
        assert!(text.starts_with("microphone  off"), "{text}");
        assert_eq!(problems, 0);
    }

    #[test]
    fn devices_that_are_not_there_are_problems() {
        let video = Video { device: Camera::Device("/dev/video999".into()), ..Video::default() };
        let (text, problems) = said(|r| picture(r, &video, None));
        assert!(text.contains("  PROBLEM  /dev/video999"), "{text}");
        assert_eq!(problems, 1);
        let audio = Audio { device: Microphone::Device("hw:CARD=nowhere".into()), ..Audio::default() };
        let (text, problems) = said(|r| sound(r, &audio, None));
        assert!(text.contains("  PROBLEM") && text.ends_with("\n1 problem\n"), "{text}");
        assert_eq!(problems, 1);
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
        let why =
            |mode| format!("{mode} has failed 2 times, the last time because: camera stopped delivering");
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
        assert_eq!(only, ("YUYV".into(), false, vec!["camera stopped delivering".into()]));
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
            (format!("page   https://[::]:{port}\nmedia  any free port\nall well\n"), 0)
        );
        // Without the redirect from HTTP the page is there all the same.
        (config.web.port, config.web.http_port) = (0, port);
        let (text, problems) = said(|r| network(r, &config, None));
        assert!(text.contains("no HTTP") && problems == 0, "{text}");
    }

    #[test]
    fn a_microphone_that_our_own_daemon_has_is_not_opened() {
        let mut audio = Audio { device: Microphone::Device("hw:CARD=nowhere".into()), ..Audio::default() };
        let (text, problems) = said(|r| sound(r, &audio, Some("hw:CARD=nowhere")));
        assert!(text.starts_with("microphone  hw:CARD=nowhere: the running peercam has it open\n"), "{text}");
        assert!(text.contains("  encoder   Opus") && problems == 0, "{text}");
        assert_eq!(said(|r| sound(r, &audio, Some("hw:CARD=other"))).1, 1);
        audio.device = Microphone::Auto;
        assert!(said(|r| sound(r, &audio, Some("hw:CARD=other"))).0.contains("hw:CARD=other: the running"));
        audio.device = Microphone::Tone;
        assert!(said(|r| sound(r, &audio, Some("hw:CARD=other"))).0.starts_with("microphone  the test tone"));
    }
}
