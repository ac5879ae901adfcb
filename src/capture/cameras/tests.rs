use super::*;
use crate::capture::modes::{Interval, Rates, Sizes};

fn caps(driver: &str, flags: u32) -> Caps {
    Caps { driver: driver.into(), card: "Some Camera".into(), bus: "platform:x".into(), flags }
}

fn fitness(caps: &Caps, offered: &[Offered]) -> Result<(), Unfit> {
    fitness_of(caps).and_then(|()| super::fitness(offered))
}

fn offers(formats: &[&[u8; 4]]) -> Vec<Offered> {
    let one = |format: &&[u8; 4]| Offered {
        format: FourCc::new(format),
        sizes: Sizes::One(Size::new(1280, 720)),
        rates: Rates::List(vec![Interval::of_rate(30)]),
    };
    formats.iter().map(one).collect()
}

const CAPTURE: u32 = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;

#[test]
fn webcams_grabbers_and_loopbacks_are_cameras() {
    assert_eq!(fitness(&caps("uvcvideo", CAPTURE), &offers(&[b"YUYV", b"MJPG"])), Ok(()));
    assert_eq!(fitness(&caps("vivid", V4L2_CAP_VIDEO_CAPTURE_MPLANE), &offers(&[b"NM12", b"BA81"])), Ok(()));
    assert_eq!(fitness(&caps("v4l2 loopback", CAPTURE | V4L2_CAP_VIDEO_OUTPUT), &offers(&[b"YU12"])), Ok(()));
    // libcamerify's stand-in for a CSI camera.
    assert_eq!(fitness(&caps("libcamera", CAPTURE), &offers(&[b"NV12", b"YUYV"])), Ok(()));
}

#[test]
fn codecs_and_image_processors_are_not() {
    let m2m = V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING;
    assert_eq!(fitness(&caps("bcm2835-codec", m2m), &offers(&[b"YU12"])), Err(Unfit::Codec));
    assert_eq!(fitness(&caps("bcm2835-isp", CAPTURE), &offers(&[b"YUYV"])), Err(Unfit::Codec));
    assert_eq!(
        fitness(&caps("pispbe", V4L2_CAP_VIDEO_CAPTURE_MPLANE), &offers(&[b"NV12"])),
        Err(Unfit::Codec)
    );
    let old = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_OUTPUT;
    assert_eq!(fitness(&caps("s5p-g2d", old), &offers(&[b"NV12"])), Err(Unfit::Codec));
}

#[test]
fn sensors_are_told_apart() {
    let bayer = offers(&[b"pBAA", b"BG10", b"pgAA", b"GB10", b"BA81"]);
    assert_eq!(fitness(&caps("unicam", CAPTURE), &bayer), Err(Unfit::Sensor));
    // Pi 5: its pipeline lists every format there is.
    let pipeline = CAPTURE | V4L2_CAP_IO_MC;
    assert_eq!(fitness(&caps("rp1-cfe", pipeline), &offers(&[b"YUYV", b"pBAA"])), Err(Unfit::Sensor));
    let text = sentence(Path::new("/dev/video0"), &caps("unicam", CAPTURE), &bayer, Unfit::Sensor);
    assert!(text.contains("libcamerify peercam"), "{text}");
}

#[test]
fn formats_we_do_not_read_are_named() {
    let depth = offers(&[b"Z16 ", b"Z16 ", b"H264"]);
    assert_eq!(fitness(&caps("uvcvideo", CAPTURE), &depth), Err(Unfit::Formats));
    let text = sentence(Path::new("/dev/video2"), &caps("uvcvideo", CAPTURE), &depth, Unfit::Formats);
    assert!(text.ends_with("only Z16, H264"), "{text}");
}

fn listing(path: &str, driver: &str, bus: &str, formats: &[&[u8; 4]]) -> Listing {
    Listing {
        path: path.into(),
        name: "Cam".into(),
        driver: driver.into(),
        bus: bus.into(),
        names: Names::default(),
        offered: offers(formats),
        controls: vec![],
        unfit: None,
        is_sensor: false,
    }
}

#[test]
fn usb_and_colours_come_first() {
    let mut all = [
        listing("/dev/video0", "vivid", "platform:vivid-000", &[b"YUYV"]),
        listing("/dev/video1", "uvcvideo", "usb-1", &[b"GREY"]),
        listing("/dev/video2", "libcamera", "platform:csi", &[b"NV12"]),
        listing("/dev/video3", "uvcvideo", "usb-1", &[b"MJPG"]),
    ];
    all.sort_by_key(preference);
    let order: Vec<_> = all.iter().map(|l| l.path.to_str().expect("text")).collect();
    assert_eq!(order, ["/dev/video3", "/dev/video2", "/dev/video0", "/dev/video1"]);
}

#[test]
fn a_format_that_is_not_there_is_refused_with_those_that_are() {
    let video = config::Video { pixel_format: Some(PixelFormat::Nv12), ..config::Video::default() };
    let cam = listing("/dev/video0", "uvcvideo", "usb-1", &[b"YUYV", b"MJPG", b"H264"]);
    let error = choice(cam, &video, String::new()).expect_err("refused").to_string();
    assert_eq!(error, "/dev/video0 (Cam) does not offer NV12; it offers YUYV, MJPG, H264");
}

#[test]
fn a_camera_whose_pictures_are_too_large_is_told_apart_from_one_without_a_format() {
    let mut cam = listing("/dev/video0", "uvcvideo", "usb-1", &[b"NV12"]);
    cam.offered[0].sizes = Sizes::One(Size::new(4096, 2160));
    let error = choice(cam, &config::Video::default(), String::new()).expect_err("refused").to_string();
    assert_eq!(error, "/dev/video0 (Cam) offers only frames larger than 3840x2160, which can't be encoded");
}

#[test]
fn controls_it_has_not_are_problems_and_no_more() {
    let video = config::Video { controls: [("zoom".to_owned(), 3)].into(), ..config::Video::default() };
    let cam = listing("/dev/video0", "uvcvideo", "usb-1", &[b"YUYV"]);
    let choice = choice(cam, &video, String::new()).expect("a choice");
    assert_eq!(choice.problems.len(), 1);
}

#[test]
fn what_is_not_plugged_in_is_said_so() {
    let video = |device: &str| config::Video {
        device: config::CameraDevice::Device(device.into()),
        ..config::Video::default()
    };
    for name in ["usb-046d_HD_Pro_Webcam_C920_12345678-video-index0", "/dev/video987", "/dev/\0video"] {
        let error = choose(&video(name)).expect_err("not there");
        assert!(matches!(&error, Error::None(text) if text.contains("is not plugged in")), "{error}");
    }
    assert!(matches!(choose(&video("/dev/null")), Err(Error::Unusable(_))));
}

#[test]
fn auto_leaves_to_others_what_they_name() {
    let named = ["/dev/null", "/dev/video987"].map(String::from).into();
    let video = config::Video { others: named, ..config::Video::default() };
    let nodes = || ["/dev/null", "/dev/zero"].map(PathBuf::from).to_vec();
    assert_eq!(unnamed(&video, nodes()), [Path::new("/dev/zero")]);
    assert_eq!(unnamed(&config::Video::default(), nodes()), nodes());
}

#[test]
fn why_it_is_that_camera_is_said() {
    for (count, at, named, why) in [
        (1, 0, false, "only camera"),
        (1, 0, true, "only camera that no other [[camera]] names"),
        (3, 0, false, "first of 3 cameras, with USB and colour cameras first"),
        (3, 1, false, "first of 3 cameras that no other program uses"),
        (3, 1, true, "first of 3 cameras that no other [[camera]] names and no other program uses"),
    ] {
        assert_eq!(why_first(count, at, named), format!("it is the {why}"));
    }
    assert_eq!(no_camera(&[], false).to_string(), "no camera is plugged in");
    assert_eq!(no_camera(&[], true).to_string(), "no other camera is plugged in");
}
