use crate::config::tests::{refuses, says};
use crate::config::*;

#[test]
fn cameras_have_keys_of_their_own_and_those_of_video_where_they_have_none() {
    let text = r#"
        [[camera]]
        name = "front-door"
        device = "usb-046d_0825-video-index0"
        size = "320x240"
        frame_rate = 5
        [camera.controls]
        brightness = 9
        [[camera]]
        name = "2nd"
        label = " Großmutters Garten "
        device = "/dev/video2"
        microphone = "plughw:CARD=C920,DEV=0"
        led = "garden:red"
        pixel_format = "auto"
        bitrate_kbps = 900
        effort = "low"
        keep_open = false
        [[camera]]
        name = "any"
        microphone = "off"
        [[camera]]
        name = "p"
        device = "pattern"
        microphone = "tone"
        [[camera]]
        name = "q"
        device = "pattern"
        [video]
        frame_rate = 15
        pixel_format = "MJPG"
        effort = "high"
        keep_open = true
        [video.controls]
        brightness = 1
        gain = 2
    "#;
    let Config { video, cameras, .. } = Config::parse(text, "device.toml").expect("fine");
    let controls =
        |all: &[(&str, i64)]| all.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let expected = Video {
        frame_rate: 15,
        pixel_format: Some(PixelFormat::Mjpg),
        effort: Effort::High,
        keep_open: true,
        controls: controls(&[("brightness", 1), ("gain", 2)]),
        ..Video::default()
    };
    assert_eq!(video, expected);
    let device = |name: &str| CameraDevice::Device(name.into());
    let camera = |name: &str, label: &str, video, microphone| Camera {
        name: name.into(),
        label: label.into(),
        video,
        microphone,
        led: (name == "2nd").then(|| "garden:red".into()),
    };
    let front = Video {
        device: device("usb-046d_0825-video-index0"),
        size: Size::new(320, 240),
        frame_rate: 5,
        controls: controls(&[("brightness", 9), ("gain", 2)]),
        ..video.clone()
    };
    let garden = Video {
        device: device("/dev/video2"),
        pixel_format: None,
        bitrate_bps: 900_000,
        effort: Effort::Low,
        keep_open: false,
        ..video.clone()
    };
    let any = Video {
        others: ["usb-046d_0825-video-index0", "/dev/video2"].map(String::from).into(),
        ..video.clone()
    };
    let pattern = Video { device: CameraDevice::Pattern, ..video };
    let microphone = Microphone::Device("plughw:CARD=C920,DEV=0".into());
    let expected = [
        camera("front-door", "Front door", front, None),
        camera("2nd", "Großmutters Garten", garden, Some(microphone)),
        camera("any", "Any", any, Some(Microphone::Off)),
        camera("p", "P", pattern.clone(), Some(Microphone::Tone)),
        camera("q", "Q", pattern, None),
    ];
    assert_eq!(cameras, expected);
}

#[test]
fn without_a_camera_section_there_is_one_camera_as_video_says() {
    for text in ["", "camera = []", "camera = []\n[video]\ndevice = \"pattern\"\nsize = \"320x240\""] {
        let Config { video, cameras, .. } = Config::parse(text, "device.toml").expect("fine");
        let only =
            Camera { name: "camera".into(), label: "Camera".into(), video, microphone: None, led: None };
        assert_eq!(cameras, [only], "{text:?}");
    }
}

#[test]
fn so_many_cameras_and_no_more() {
    let camera = |n| format!("[[camera]]\nname = \"c{n}\"\ndevice = \"/dev/video{n}\"\n");
    let cameras = |count| (1..=count).map(camera).collect::<String>();
    assert_eq!(Config::parse(&cameras(16), "device.toml").expect("fine").cameras.len(), 16);
    assert_eq!(says(&cameras(18)), "device.toml:49: camera: is one too many; allowed: at most 16 cameras");
}

#[test]
fn what_is_refused_and_how() {
    const SIZE: &str = "allowed: \"WIDTHxHEIGHT\" in even pixels, from 64x64 to 3840x2160";
    const SECTIONS: &str = "expected an array of sections; allowed: [[camera]] above each";
    const NAME: &str = "allowed: 1 to 32 characters from a-z, 0-9 and -, with a letter or digit at both ends, like \"front-door\"";
    const LABEL: &str =
        "allowed: 1 to 64 characters, without line breaks, invisible characters or text direction marks";
    refuses(&[
        ("[camera]\nname = \"a\"", &format!("1: camera: [camera] is a section, {SECTIONS}")),
        ("[camera.front]\nsize = \"640x480\"", &format!("1: camera: camera is a section, {SECTIONS}")),
        ("camera = \"/dev/video0\"", &format!("1: camera: \"/dev/video0\" is a string, {SECTIONS}")),
        (
            "[camera]\nname = \"a\"\n[camera]\nname = \"b\"",
            "3: camera: appears twice; write [[camera]] above each",
        ),
        (
            "[[camera]]\nname = \"a\"\n[camera]\nname = \"b\"",
            "3: camera: appears twice; write [[camera]] above each",
        ),
        (
            "[camera.controls]\ngain = 1\n[[camera]]\nname = \"b\"",
            "3: camera: appears twice; write [[camera]] above each",
        ),
        ("[[camera]]\nname = \"a\"\nname = \"b\"", "3: name: appears twice; remove one of the two"),
        (
            "[[camera]]\nname = \"a\"\nwidth = 3",
            "3: camera.width: unknown key (did you mean `size`?); allowed in [[camera]]: name, label, device, microphone, led, size, frame_rate, pixel_format, bitrate_kbps, effort, keep_open, controls",
        ),
        (
            "[[camera]]\nname = \"a\"\nsize = \"big\"",
            &format!("3: camera.size: \"big\" is not a size; {SIZE}"),
        ),
        (
            "[[camera]]\nname = \"a\"\n[camera.controls]\ngain = \"x\"",
            "4: camera.controls.gain: \"x\" is a string, expected an integer; allowed: -2147483648 to 4294967295",
        ),
        ("[[camera]]\nlabel = \"A\"", &format!("1: camera.name: is missing; each camera needs one; {NAME}")),
        (
            "[[camera]]\nname = \"Front Door\"",
            &format!(
                "2: camera.name: \"Front Door\" is not a camera name (did you mean \"front-door\"?); {NAME}"
            ),
        ),
        (
            "[[camera]]\nname = \"-a-\"",
            &format!("2: camera.name: \"-a-\" is not a camera name (did you mean \"a\"?); {NAME}"),
        ),
        ("[[camera]]\nname = \"奶\"", &format!("2: camera.name: \"奶\" is not a camera name; {NAME}")),
        ("[[camera]]\nname = \"\"", &format!("2: camera.name: \"\" is empty; {NAME}")),
        (
            "[[camera]]\nname = \"a23456789-b23456789-c23456789-d23\"",
            &format!(
                "2: camera.name: \"a23456789-b23456789-c23456789-d23\" is not a camera name (did you mean \"a23456789-b23456789-c23456789-d2\"?); {NAME}"
            ),
        ),
        (
            "[[camera]]\nname = \"a\"\n[[camera]]\nname = \"a\"\ndevice = \"pattern\"",
            "4: camera.name: is already used by another camera; each camera needs its own",
        ),
        ("[[camera]]\nname = \"a\"\nlabel = \" \"", &format!("3: camera.label: \" \" is empty; {LABEL}")),
        (
            "[[camera]]\nname = \"a\"\nlabel = \"a\\u202e\"",
            &format!("3: camera.label: \"a\\u202e\" has a character that can't be shown; {LABEL}"),
        ),
        (
            "[[camera]]\nname = \"a\"\ndevice = \"/dev/video0\"\n[[camera]]\nname = \"b\"\ndevice = \"/dev/video0\"",
            "6: camera.device: is already used by another camera; each camera needs its own",
        ),
        (
            "[[camera]]\nname = \"a\"\n[[camera]]\nname = \"b\"",
            "3: camera.device: is missing; the default, \"auto\", is already used by another camera; `peercam devices` prints device names",
        ),
        (
            "[[camera]]\nname = \"a\"\n[[camera]]\nname = \"b\"\ndevice = \"auto\"",
            "5: camera.device: is \"auto\", which only one camera can use; `peercam devices` prints device names",
        ),
        // Reported once: a refused device is not also missing.
        (
            "[[camera]]\nname = \"a\"\n[[camera]]\nname = \"b\"\ndevice = \"\"",
            "5: camera.device: \"\" is empty; allowed: \"auto\", \"pattern\", \"noise\", a path like \"/dev/video0\", or a name in /dev/v4l/by-id or /dev/v4l/by-path",
        ),
        (
            "[video]\ndevice = \"/dev/video0\"\n[[camera]]\nname = \"a\"",
            "2: video.device: is only for a single camera; set the device in each [[camera]] instead",
        ),
        (
            "[[camera]]\nname = \"a\"\nled = \"ACT\"\n[watching]\nled = \"ACT\"",
            "5: watching.led: is already used by a camera; choose another LED",
        ),
        (
            "[[camera]]\nname = \"a\"\nled = \"ACT\"\n[[camera]]\nname = \"b\"\ndevice = \"pattern\"\nled = \"ACT\"",
            "7: camera.led: is already used by another camera; each camera needs its own",
        ),
        (
            "[[camera]]\nname = \"a\"\nmicrophone = \"auto\"",
            "3: camera.microphone: \"auto\" is not allowed here (leave the key out instead); allowed: \"tone\", \"off\", or an ALSA name like \"default\" or \"plughw:CARD=C920,DEV=0\"",
        ),
    ]);
}
