//! The cameras of this machine: lists them and chooses one, with its modes.

use std::path::{Path, PathBuf};

use v4l::v4l_sys::*;

use super::Error;
use super::choice::Choice;
use super::modes::{self, FourCc, Offered, Wanted};
use super::names::{self, Names, resolve};
use super::v4l2::controls::{self, Control};
use super::v4l2::node::{self, Caps};
use super::v4l2::{self, Node};
use crate::config;
use crate::media::frame::{LARGEST, PixelFormat, Size};

/// A capture node and its abilities.
#[derive(Debug)]
pub struct Listing {
    /// Path of the node, such as "/dev/video0".
    pub path: PathBuf,
    /// Name of the device.
    pub name: String,
    /// Name of the driver, such as "uvcvideo".
    pub driver: String,
    /// Bus and port, such as "usb-0000:01:00.0-1.2".
    pub bus: String,
    /// Its persistent names; filled in for lists only.
    pub names: Names,
    /// Formats, sizes and frame rates.
    pub offered: Vec<Offered>,
    /// The camera's controls.
    pub controls: Vec<Control>,
    /// Why the node can't be used as a camera, in one sentence.
    pub unfit: Option<String>,
    /// Whether it can't be used because libcamera must process its data.
    pub is_sensor: bool,
}

/// Lists all capture nodes by number. Size ranges are listed with the frame rates near `size`. A node that
/// can't be opened is listed with the reason.
pub fn list(size: Size) -> Vec<Listing> {
    let mut names = names::all();
    let mut all: Vec<_> = node::all()
        .into_iter()
        .filter_map(|path| inspect(&path, size, true).transpose())
        .map(unopened_too)
        .collect();
    for listing in &mut all {
        listing.names = names.remove(&listing.path).unwrap_or_default();
    }
    all
}

fn unopened_too(listing: Result<Listing, (PathBuf, Error)>) -> Listing {
    listing.unwrap_or_else(|(path, error)| Listing {
        path,
        name: String::new(),
        driver: String::new(),
        bus: String::new(),
        names: Names::default(),
        offered: vec![],
        controls: vec![],
        unfit: Some(error.to_string()),
        is_sensor: false,
    })
}

/// Chooses the camera for `video` and the modes to try. The test picture is an error here.
pub fn choose(video: &config::Video) -> Result<Choice, Error> {
    match &video.device {
        config::CameraDevice::Pattern | config::CameraDevice::Noise => {
            Err(Error::None("the test picture is configured instead of a camera".into()))
        }
        config::CameraDevice::Auto => choose_auto(video),
        config::CameraDevice::Device(name) => {
            let path = resolve(name)?;
            let controls = !video.controls.is_empty();
            let found = inspect(&path, video.size, controls).map_err(|(_, e)| e)?;
            let listing = found.ok_or_else(|| Error::Unusable(format!("{name} does not capture video")))?;
            choice(listing, video, "it is set in the configuration".into())
        }
    }
}

/// Removes from `nodes` those that other cameras of the configuration name: "auto" must not take them.
pub fn unnamed(video: &config::Video, mut nodes: Vec<PathBuf>) -> Vec<PathBuf> {
    let named: Vec<_> = video.others.iter().filter_map(|name| resolve(name).ok()).collect();
    nodes.retain(|node| !named.contains(node));
    nodes
}

fn choose_auto(video: &config::Video) -> Result<Choice, Error> {
    let (controls, named) = (!video.controls.is_empty(), !video.others.is_empty());
    let (mut fit, mut unfit, mut closed) = (vec![], vec![], None);
    for path in unnamed(video, node::all()) {
        match inspect(&path, video.size, controls) {
            Ok(Some(listing)) if listing.unfit.is_some() => unfit.push(listing),
            Ok(Some(listing)) => fit.push(listing),
            Ok(None) => {}
            Err((_, error)) => closed = closed.or(Some(error)),
        }
    }
    let suits = |listing: &Listing| !modes::rank(&listing.offered, wanted(video)).is_empty();
    if fit.iter().any(suits) {
        fit.retain(suits);
    }
    fit.sort_by_key(preference);
    let count = fit.len();
    // A camera that another program uses comes last: if all are in use, the error on opening names the
    // program.
    let at = fit.iter().position(|listing| !is_busy(&listing.path)).unwrap_or(0);
    if at < count {
        let why = why_first(count, at, named);
        return choice(fit.swap_remove(at), video, why);
    }
    Err(closed.unwrap_or_else(|| no_camera(&unfit, named)))
}

/// Why the camera at position `at` of `count` was chosen; `named` says that the configuration names other
/// cameras.
fn why_first(count: usize, at: usize, named: bool) -> String {
    let unnamed = if named { " that no other [[camera]] names" } else { "" };
    match (count, at) {
        (1, _) => format!("it is the only camera{unnamed}"),
        (_, 0) => {
            format!("it is the first of {count} cameras{unnamed}, with USB and colour cameras first")
        }
        _ => {
            let and = if named { "and" } else { "that" };
            format!("it is the first of {count} cameras{unnamed} {and} no other program uses")
        }
    }
}

/// Why there is no camera. A sensor that needs libcamera is worth a message; codecs and the like are not.
fn no_camera(unfit: &[Listing], named: bool) -> Error {
    match unfit.iter().find(|listing| listing.is_sensor) {
        Some(Listing { unfit: Some(why), .. }) => Error::Unusable(why.clone()),
        _ if named => Error::None("no other camera is plugged in".into()),
        _ => Error::None("no camera is plugged in".into()),
    }
}

/// Sort key of a camera; the smallest is preferred.
fn preference(listing: &Listing) -> (bool, u8) {
    let colours =
        listing.offered.iter().filter_map(|o| o.format.pixel_format()).any(|f| f != PixelFormat::Grey);
    let place = match listing.driver.as_str() {
        _ if listing.bus.starts_with("usb-") => 0,
        "vivid" | "v4l2 loopback" => 2,
        _ => 1,
    };
    (!colours, place)
}

fn is_busy(path: &Path) -> bool {
    let Ok(node) = Node::open(path) else { return true };
    node.caps().ok().and_then(|caps| caps.capture_kind()).is_none_or(|kind| node.is_busy(kind))
}

fn wanted(video: &config::Video) -> Wanted {
    Wanted { size: video.size, fps: f64::from(video.frame_rate), format: video.pixel_format }
}

fn choice(listing: Listing, video: &config::Video, why: String) -> Result<Choice, Error> {
    let shown = format!("{} ({})", listing.path.display(), listing.name);
    if let Some(unfit) = listing.unfit {
        return Err(Error::Unusable(unfit));
    }
    let modes = modes::rank(&listing.offered, wanted(video));
    if modes.is_empty() {
        let format = video.pixel_format.map_or("any supported format", PixelFormat::fourcc);
        let is_read = |offer: &Offered| match (offer.format.pixel_format(), video.pixel_format) {
            (Some(format), Some(only)) => format == only,
            (format, _) => format.is_some(),
        };
        let why = if listing.offered.iter().any(is_read) {
            format!("offers only frames larger than {LARGEST}, which can't be encoded")
        } else {
            format!("does not offer {format}; it offers {}", formats(&listing.offered))
        };
        return Err(Error::Unusable(format!("{shown} {why}")));
    }
    let problems = controls::problems(&listing.controls, &video.controls);
    Ok(Choice {
        path: listing.path,
        name: listing.name,
        why,
        modes,
        controls: video.controls.clone(),
        problems,
    })
}

/// Queries a node, and its `controls` if asked; `None` if it doesn't capture video.
fn inspect(path: &Path, size: Size, controls: bool) -> Result<Option<Listing>, (PathBuf, Error)> {
    let node = v4l2::open(path).map_err(|e| (path.to_owned(), e))?;
    // Not a V4L2 node, or just unplugged.
    let Ok(caps) = node.caps() else { return Ok(None) };
    let Some(kind) = caps.capture_kind() else { return Ok(None) };
    // Nodes that are clearly not cameras are not queried further: a Raspberry Pi has a dozen of them, and a
    // daemon that waits for a camera looks every second.
    let nature = fitness_of(&caps);
    let offered = if nature.is_ok() { node.offered(kind, size) } else { vec![] };
    let unfit = nature.and_then(|()| fitness(&offered)).err();
    let why = unfit.map(|why| sentence(path, &caps, &offered, why));
    let Caps { driver, card, bus, .. } = caps;
    Ok(Some(Listing {
        path: path.to_owned(),
        name: card,
        driver,
        bus,
        names: Names::default(),
        offered,
        controls: if controls && why.is_none() { node.controls() } else { vec![] },
        unfit: why,
        is_sensor: unfit == Some(Unfit::Sensor),
    }))
}

/// Why a capture node can't be used as a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    /// A codec or converter that works on pictures from memory.
    Codec,
    /// It delivers raw sensor data, which libcamera must process.
    Sensor,
    /// It offers no supported format.
    Formats,
}

/// Image processors whose capture nodes look like cameras.
const PROCESSORS: [&str; 4] = ["bcm2835-isp", "bcm2835-codec", "pispbe", "rpivid"];

fn fitness_of(caps: &Caps) -> Result<(), Unfit> {
    let output = V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_VIDEO_OUTPUT_MPLANE;
    let codec = V4L2_CAP_VIDEO_M2M | V4L2_CAP_VIDEO_M2M_MPLANE;
    // A loopback passes pictures from one program to another, so here it counts as a camera.
    let loopback = caps.driver == "v4l2 loopback";
    if caps.flags & codec != 0
        || caps.flags & output != 0 && !loopback
        || PROCESSORS.contains(&caps.driver.as_str())
    {
        return Err(Unfit::Codec);
    }
    // Nodes of a pipeline list all possible formats, whichever sensor is attached.
    if caps.flags & V4L2_CAP_IO_MC != 0 {
        return Err(Unfit::Sensor);
    }
    Ok(())
}

fn fitness(offered: &[Offered]) -> Result<(), Unfit> {
    if offered.iter().any(|o| o.format.pixel_format().is_some()) {
        return Ok(());
    }
    let sensor = !offered.is_empty() && offered.iter().all(|o| o.format.is_raw_sensor());
    Err(if sensor { Unfit::Sensor } else { Unfit::Formats })
}

fn sentence(path: &Path, caps: &Caps, offered: &[Offered], why: Unfit) -> String {
    let shown = format!("{} ({})", path.display(), caps.card);
    match why {
        Unfit::Codec => format!("{shown} is a codec or image processor, not a camera"),
        Unfit::Sensor => format!(
            "{shown} delivers raw sensor data, which libcamera must process: \
             install libcamera's V4L2 layer (package libcamera-v4l2) and start with `libcamerify peercam`"
        ),
        Unfit::Formats => format!("{shown} offers no supported format, only {}", formats(offered)),
    }
}

/// The offered formats, without duplicates.
fn formats(offered: &[Offered]) -> String {
    let mut all: Vec<FourCc> = vec![];
    for offer in offered {
        if !all.contains(&offer.format) {
            all.push(offer.format);
        }
    }
    if all.is_empty() {
        return "none".into();
    }
    all.iter().map(FourCc::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
