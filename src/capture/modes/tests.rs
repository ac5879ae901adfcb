use super::*;

const VGA: Size = Size::new(640, 480);
const HD: Size = Size::new(1280, 720);
const FULL_HD: Size = Size::new(1920, 1080);

fn rates(fps: &[f64]) -> Rates {
    Rates::List(fps.iter().map(|f| Interval { num: 10_000_000, den: (f * 1e7) as u32 }).collect())
}

fn offer(format: &[u8; 4], size: Size, fps: &[f64]) -> Offered {
    Offered { format: FourCc::new(format), sizes: Sizes::One(size), rates: rates(fps) }
}

fn wanted(size: Size, fps: f64) -> Wanted {
    Wanted { size, fps, format: None }
}

/// The chosen mode as text, such as "YUYV 1280x720 10.00".
fn picked(offered: &[Offered], wanted: Wanted) -> String {
    let mode = pick(offered, wanted).expect("a mode");
    format!("{} {} {:.2}", mode.fourcc, mode.size, mode.interval.fps())
}

/// Logitech C920 on USB 2, as `v4l2-ctl --list-formats-ext` shows it (shortened).
fn c920() -> Vec<Offered> {
    let all = [30.0, 24.0, 20.0, 15.0, 10.0, 7.5, 5.0];
    vec![
        offer(b"YUYV", VGA, &all),
        offer(b"YUYV", Size::new(160, 90), &all),
        offer(b"YUYV", Size::new(800, 600), &all[1..]),
        offer(b"YUYV", Size::new(864, 480), &all[1..]),
        offer(b"YUYV", HD, &all[4..]),
        offer(b"YUYV", FULL_HD, &all[6..]),
        offer(b"YUYV", Size::new(2304, 1536), &[2.0]),
        offer(b"H264", HD, &all),
        offer(b"MJPG", VGA, &all),
        offer(b"MJPG", Size::new(800, 600), &all),
        offer(b"MJPG", HD, &all),
        offer(b"MJPG", FULL_HD, &all),
    ]
}

/// vivid as a webcam: each format in each size, larger sizes with lower rates.
fn vivid() -> Vec<Offered> {
    let mut all = vec![];
    for format in [b"YUYV", b"UYVY", b"NV12", b"NV21", b"YU12", b"GREY", b"RGB3", b"BA81"] {
        for (size, fps) in [
            (Size::new(320, 180), vec![1.0, 2.0, 4.0, 5.0, 10.0, 15.0, 25.0, 30.0, 40.0, 50.0, 60.0]),
            (Size::new(640, 360), vec![1.0, 2.0, 4.0, 5.0, 10.0, 15.0, 25.0, 30.0, 40.0, 50.0]),
            (HD, vec![1.0, 2.0, 4.0, 5.0, 10.0, 15.0, 25.0, 30.0]),
            (FULL_HD, vec![1.0, 2.0, 4.0, 5.0, 10.0, 15.0]),
        ] {
            all.push(offer(format, size, &fps));
        }
    }
    all
}

#[test]
fn raw_is_taken_where_it_is_quick_enough() {
    assert_eq!(picked(&c920(), wanted(VGA, 30.0)), "YUYV 640x480 30.00");
    assert_eq!(picked(&c920(), wanted(HD, 10.0)), "YUYV 1280x720 10.00");
    assert_eq!(picked(&vivid(), wanted(HD, 30.0)), "YU12 1280x720 30.00");
}

#[test]
fn mjpeg_where_only_it_gives_the_rate() {
    assert_eq!(picked(&c920(), wanted(HD, 30.0)), "MJPG 1280x720 30.00");
    assert_eq!(picked(&c920(), wanted(FULL_HD, 30.0)), "MJPG 1920x1080 30.00");
}

#[test]
fn a_wanted_format_is_kept_to() {
    let only = |format| Wanted { format: Some(format), ..wanted(HD, 30.0) };
    // At 10 frames per second in full size, YUYV would stutter: the smaller size has nearly the wanted rate.
    assert_eq!(picked(&c920(), only(PixelFormat::Yuyv)), "YUYV 800x600 24.00");
    assert_eq!(picked(&vivid(), only(PixelFormat::Nv21)), "NV21 1280x720 30.00");
    assert_eq!(pick(&c920(), only(PixelFormat::Nv12)), None);
}

#[test]
fn the_nearest_size_and_rather_a_smaller_one() {
    assert_eq!(picked(&c920(), wanted(Size::new(960, 720), 30.0)), "MJPG 800x600 30.00");
    let two = [offer(b"MJPG", VGA, &[30.0]), offer(b"MJPG", FULL_HD, &[30.0])];
    assert_eq!(picked(&two, wanted(HD, 30.0)), "MJPG 640x480 30.00");
    let taller = [offer(b"MJPG", VGA, &[30.0]), offer(b"MJPG", Size::new(1280, 960), &[30.0])];
    assert_eq!(picked(&taller, wanted(HD, 30.0)), "MJPG 1280x960 30.00");
}

#[test]
fn the_nearest_rate_and_rather_a_higher_one() {
    let rate = |fps: &[f64]| picked(&[offer(b"MJPG", HD, fps)], wanted(HD, 30.0));
    assert_eq!(rate(&[60.0, 29.97, 15.0]), "MJPG 1280x720 29.97");
    assert_eq!(rate(&[60.0, 25.0]), "MJPG 1280x720 25.00");
    assert_eq!(rate(&[60.0, 15.0]), "MJPG 1280x720 60.00");
    // NTSC's 29.97 is as good as 30, so the cheaper layout wins.
    let close = [offer(b"MJPG", HD, &[30.0]), offer(b"YUYV", HD, &[29.97])];
    assert_eq!(picked(&close, wanted(HD, 30.0)), "YUYV 1280x720 29.97");
}

#[test]
fn colours_before_anything_else() {
    let infrared = [offer(b"GREY", HD, &[30.0]), offer(b"MJPG", Size::new(320, 240), &[5.0])];
    assert_eq!(picked(&infrared, wanted(HD, 30.0)), "MJPG 320x240 5.00");
    assert_eq!(picked(&infrared[..1], wanted(HD, 30.0)), "GREY 1280x720 30.00");
}

#[test]
fn ranges_of_sizes_and_rates() {
    let range = |step, max| Sizes::Range { min: Size::new(32, 32), max, step };
    let any = Rates::Range { fastest: Interval::of_rate(90), slowest: Interval { num: 1, den: 1 } };
    // bcm2835-v4l2, the legacy camera stack of the Raspberry Pi.
    let legacy = |rates: &Rates| {
        let sizes = range(Size::new(2, 2), Size::new(2592, 1944));
        vec![
            Offered { format: FourCc::new(b"YU12"), sizes, rates: rates.clone() },
            Offered { format: FourCc::new(b"MJPG"), sizes, rates: rates.clone() },
        ]
    };
    assert_eq!(picked(&legacy(&any), wanted(HD, 30.0)), "YU12 1280x720 30.00");
    assert_eq!(picked(&legacy(&any), wanted(Size::new(4000, 3001), 120.0)), "YU12 2592x1944 90.00");
    assert_eq!(picked(&legacy(&any), wanted(HD, 0.5)), "YU12 1280x720 1.00");
    assert_eq!(picked(&legacy(&Rates::Unknown), wanted(HD, 30.0)), "YU12 1280x720 30.00");
    assert_eq!(range(Size::new(16, 16), FULL_HD).nearest(Size::new(1000, 700)), Size::new(992, 688));
    assert_eq!(range(Size::new(1, 1), FULL_HD).nearest(Size::new(10, 2000)), Size::new(32, 1080));
}

#[test]
fn nonsense_from_drivers_is_no_mode() {
    assert_eq!(pick(&[], wanted(HD, 30.0)), None);
    assert_eq!(pick(&[offer(b"YUYV", Size::new(0, 0), &[30.0])], wanted(HD, 30.0)), None);
    assert_eq!(pick(&[offer(b"YUYV", HD, &[])], wanted(HD, 30.0)), None);
    let backwards = Sizes::Range { min: HD, max: VGA, step: Size::new(0, 0) };
    assert_eq!(backwards.nearest(FULL_HD), HD);
}

#[test]
fn every_layout_is_ranked_once() {
    let order: Vec<_> = rank(&c920(), wanted(HD, 30.0)).iter().map(|m| m.format).collect();
    assert_eq!(order, [PixelFormat::Mjpg, PixelFormat::Yuyv]);
}

#[test]
fn sensor_formats() {
    for raw in [b"BA81", b"pBAA", b"pgCC", b"BG10", b"RG12", b"GB16", b"BYR2", b"Y10P", b"Y12 ", b"pREE"] {
        assert!(FourCc::new(raw).is_raw_sensor(), "{}", FourCc::new(raw));
    }
    for made in
        [b"YUYV", b"NV12", b"MJPG", b"GREY", b"RGB3", b"BGR3", b"BGR4", b"H264", b"YV12", b"Z16 ", b"pjpg"]
    {
        assert!(!FourCc::new(made).is_raw_sensor(), "{}", FourCc::new(made));
    }
}

#[test]
fn codes_and_rates_are_printed_for_people() {
    assert_eq!(FourCc::new(b"Z16 ").to_string(), "Z16");
    assert_eq!(FourCc(0x0102_0304).to_string(), "????");
    assert_eq!(rates(&[30.0, 7.5]).to_string(), "30, 7.5 fps");
}
