//! Tests with the modes of real cameras, read from `tests/data/cameras` (see its README.md), and the modes
//! expected for them.

use std::fs;
use std::path::Path;

use super::*;
use crate::capture::v4l2::controls::{Allowed, Control, problems};

/// The contents of one file.
struct Camera {
    name: String,
    offered: Vec<Offered>,
    controls: Vec<Control>,
    /// Configurations, each with the expected mode, such as "YUYV 640x480@7.5".
    wanted: Vec<(Wanted, String)>,
}

fn all() -> Vec<Camera> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cameras");
    let paths = fs::read_dir(dir).expect("the folder").map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "txt")).map(|path| read(&path)).collect()
}

fn read(path: &Path) -> Camera {
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let text = fs::read_to_string(path).expect("text");
    let mut camera = Camera { name, offered: vec![], controls: vec![], wanted: vec![] };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(' ').expect("two words") {
            ("control", control) => camera.controls.push(read_control(control)),
            ("wanted", line) => {
                let (wanted, mode) = line.split_once(" = ").expect("what is chosen");
                camera.wanted.push((read_wanted(wanted), mode.to_owned()));
            }
            (format, rest) => {
                let (sizes, rates) = rest.split_once(" : ").expect("rates");
                let format = FourCc::new(format.as_bytes().try_into().expect("four characters"));
                let rates = read_rates(rates);
                let offers =
                    sizes.split(' ').map(|s| Offered { format, sizes: read_sizes(s), rates: rates.clone() });
                camera.offered.extend(offers);
            }
        }
    }
    camera
}

fn read_size(text: &str) -> Size {
    let (width, height) = text.split_once('x').expect("a size");
    Size::new(width.parse().expect("a width"), height.parse().expect("a height"))
}

fn read_sizes(text: &str) -> Sizes {
    let Some((min, rest)) = text.split_once("..") else { return Sizes::One(read_size(text)) };
    let (max, step) = rest.split_once('/').expect("a step");
    Sizes::Range { min: read_size(min), max: read_size(max), step: read_size(&step.replace('/', "x")) }
}

/// Reads "7.5" as 10/75.
fn read_interval(fps: &str) -> Interval {
    Interval { num: 10, den: (fps.parse::<f64>().expect("a rate") * 10.0).round() as u32 }
}

fn read_rates(text: &str) -> Rates {
    match text.split_once('-') {
        Some((slowest, fastest)) => {
            Rates::Range { fastest: read_interval(fastest), slowest: read_interval(slowest) }
        }
        None => Rates::List(text.split(' ').map(read_interval).collect()),
    }
}

fn read_wanted(text: &str) -> Wanted {
    let mut words = text.split(' ');
    let (size, fps) = words.next().and_then(|word| word.split_once('@')).expect("a size and a rate");
    let format = words.next().map(|name| {
        let format = FourCc::new(name.as_bytes().try_into().expect("four characters"));
        format.pixel_format().expect("a layout that is read")
    });
    Wanted { size: read_size(size), fps: fps.parse().expect("a rate"), format }
}

fn read_control(text: &str) -> Control {
    let words: Vec<&str> = text.split(' ').collect();
    let numbers: Vec<i64> = words[2..].iter().map(|n| n.parse().expect("a number")).collect();
    let (allowed, default) = match (words[1], &numbers[..]) {
        ("int", [min, max, step, default]) => (Allowed::Range(*min, *max, *step as u64), *default),
        ("bool", [default]) => (Allowed::Switch, *default),
        ("menu", [default, values @ ..]) => {
            (Allowed::Menu(values.iter().map(|value| (*value, value.to_string())).collect()), *default)
        }
        _ => panic!("not a control: {text}"),
    };
    let name = words[0].to_owned();
    Control { id: 0, name, allowed, default, value: None, read_only: false, inactive: false }
}

fn text(mode: &Picked) -> String {
    format!("{} {}@{}", mode.fourcc, mode.size, mode.interval.fps())
}

#[test]
fn the_mode_that_a_real_camera_is_asked_for() {
    let cameras = all();
    assert!(cameras.len() >= 10 && cameras.iter().all(|c| c.wanted.len() >= 2), "{} cameras", cameras.len());
    let mut wrong = vec![];
    for Camera { name, offered, wanted, .. } in &cameras {
        for (wanted, expected) in wanted {
            let mode = pick(offered, *wanted).map(|mode| text(&mode));
            if mode.as_ref() != Some(expected) {
                wrong.push(format!("{name}: {} at {}: {mode:?}, not {expected}", wanted.size, wanted.fps));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// For every possible configuration, each real camera has a mode that it offers and that can be encoded.
#[test]
fn each_real_camera_has_a_mode_for_every_configuration() {
    let sizes =
        [(64, 64), (160, 120), (640, 480), (854, 480), (1280, 720), (1080, 1920), (1920, 1080), (3840, 2160)];
    for Camera { name, offered, .. } in all() {
        for (width, height) in sizes {
            for fps in [1.0, 5.0, 10.0, 15.0, 25.0, 30.0, 50.0, 60.0, 120.0] {
                let wanted = Wanted { size: Size::new(width, height), fps, format: None };
                let modes = rank(&offered, wanted);
                assert!(!modes.is_empty(), "{name}: {wanted:?}");
                for (n, mode) in modes.iter().enumerate() {
                    assert!(mode.size.fits(LARGEST), "{name}: {wanted:?}: {}", text(mode));
                    let alike = |offer: &Offered| {
                        offer.format == mode.fourcc && offer.sizes.nearest(mode.size) == mode.size
                    };
                    assert!(offered.iter().any(alike), "{name}: {wanted:?}: {}", text(mode));
                    assert!(modes[..n].iter().all(|before| before.format != mode.format), "{name}: twice");
                }
            }
        }
    }
}

#[test]
fn what_a_real_camera_has_by_default_is_allowed() {
    for Camera { name, controls, .. } in all() {
        let defaults = controls.iter().map(|control| (control.name.clone(), control.default)).collect();
        assert_eq!(problems(&controls, &defaults), Vec::<String>::new(), "{name}");
    }
}
