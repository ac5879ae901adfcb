//! The microphones of this machine: lists them and chooses one.

use std::fs;
use std::path::{Path, PathBuf};

use alsa::Direction;
use alsa::card;
use alsa::ctl::{Ctl, DeviceIter};
use alsa::pcm::HwParams;

use super::Error;
use super::alsa::{self as capture, Microphone};
use crate::config;
use crate::text::shown;

/// What a microphone is attached to, the most likely choice first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A USB device that is also a camera.
    Camera,
    /// Any other USB device.
    Usb,
    /// The board or its bus.
    Board,
    /// Software: the kernel's loopback and dummy cards.
    Virtual,
}

/// What a microphone supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// The usual rates that it supports, in hertz; the first is preferred.
    pub rates_hz: Vec<u32>,
    /// Smallest and largest number of channels.
    pub channels: (u32, u32),
    /// The supported sample formats that it offers, in ALSA's notation; the first is preferred.
    pub formats: Vec<String>,
}

/// A capture device of a sound card.
#[derive(Debug)]
pub struct Found {
    /// The name for the configuration; it does not change when other cards come and go.
    pub alsa: String,
    /// Name of the device.
    pub name: String,
    /// What it is attached to.
    pub place: Place,
    /// Number of its card.
    pub card: u32,
}

impl Found {
    /// Whether `name` is an ALSA name of this microphone.
    pub fn is_called(&self, name: &str) -> bool {
        is_called(name, &self.alsa, self.card)
    }

    /// Whether this is one of the microphones `others`, which belong to single cameras.
    pub fn is_claimed(&self, others: &[String]) -> bool {
        others.iter().any(|name| self.is_called(name))
    }
}

/// A camera's own microphone: the one on the same USB device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The name for the configuration.
    pub alsa: String,
    /// Number of its card.
    pub card: u32,
}

impl Own {
    /// Whether `name` is an ALSA name of this microphone.
    pub fn is_called(&self, name: &str) -> bool {
        is_called(name, &self.alsa, self.card)
    }
}

/// The reason given for a microphone that the configuration names.
pub const NAMED: &str = "it is named in the configuration";

/// The chosen microphone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its ALSA name; `None` for the tone.
    pub alsa: Option<String>,
    /// Name of the device.
    pub name: String,
    /// Why it was chosen, in one sentence.
    pub why: String,
}

/// All microphones, the preferred one first.
pub fn list() -> Vec<Found> {
    capture::keep_quiet();
    let mut found: Vec<Found> = card::Iter::new().flatten().flat_map(|card| of_card(&card)).collect();
    found.sort_by_key(|f| f.place); // stable: otherwise in the kernel's order
    found
}

/// The microphone on the same USB device as a camera's node ("/dev/video0"), if there is one.
pub fn of_camera(node: &Path) -> Option<Own> {
    of_camera_below(Path::new("/sys/class"), node)
}

fn of_camera_below(class: &Path, node: &Path) -> Option<Own> {
    let usb = usb_device(&class.join("video4linux").join(node.file_name()?).join("device"))?;
    let mut cards: Vec<_> =
        fs::read_dir(class.join("sound")).ok()?.flatten().map(|card| card.path()).collect();
    cards.sort();
    let card = cards.into_iter().find(|card| usb_device(&card.join("device")).as_ref() == Some(&usb))?;
    let id = fs::read_to_string(card.join("id")).ok()?;
    let number = card.file_name()?.to_str()?.strip_prefix("card")?.parse().ok()?;
    Some(Own { alsa: format!("hw:CARD={},DEV=0", id.trim()), card: number })
}

/// Kinds of ALSA names that mean a device of a sound card, which their arguments name.
const OF_CARDS: [&str; 6] = ["hw", "plughw", "default", "dsnoop", "front", "sysdefault"];

/// The card (its number or id) and the device that an ALSA name means, as in "hw:1,0" or
/// "plughw:CARD=C920,DEV=0".
fn address(name: &str) -> Option<(&str, &str)> {
    let (_, arguments) = name.split_once(':').filter(|(kind, _)| OF_CARDS.contains(kind))?;
    let argument = |at: usize, key: &str| {
        let named = arguments.split(',').find_map(|a| a.strip_prefix(key)?.strip_prefix('='));
        named.or_else(|| arguments.split(',').nth(at).filter(|a| !a.contains('=')))
    };
    Some((argument(0, "CARD")?, argument(1, "DEV").unwrap_or("0")))
}

/// Whether `name` means the microphone that is listed as `alsa`, on the card with the number `card`.
fn is_called(name: &str, alsa: &str, card: u32) -> bool {
    let same = match (address(name), address(alsa)) {
        (Some((by, device)), Some((id, listed))) => {
            device == listed && (by == id || by.parse::<u32>() == Ok(card))
        }
        _ => false,
    };
    same || name == alsa
}

/// The USB device that owns the interface at the sysfs path `device`.
fn usb_device(device: &Path) -> Option<PathBuf> {
    let interface = device.canonicalize().ok()?;
    let on_usb = fs::read_link(interface.join("subsystem")).is_ok_and(|s| s.ends_with("usb"));
    interface.parent().filter(|_| on_usb).map(Path::to_owned)
}

/// Whether the kernel has any capture device; costs reading one small file.
pub fn any() -> bool {
    fs::read_to_string("/proc/asound/pcm").is_ok_and(|pcms| pcms.contains(": capture"))
}

/// Queries what a microphone supports; it must not be in use.
pub fn abilities(alsa: &str) -> Result<Abilities, Error> {
    let pcm = capture::open_pcm(alsa)?;
    let unusable = |e: alsa::Error| Error::Unusable(format!("{alsa}: {e}"));
    let hw = HwParams::any(&pcm).map_err(unusable)?;
    Ok(Abilities {
        rates_hz: capture::rates(&hw).collect(),
        channels: (hw.get_channels_min().map_err(unusable)?, hw.get_channels_max().map_err(unusable)?),
        formats: capture::formats(&hw).map(|(f, _)| f.to_string()).collect(),
    })
}

/// Opens the configured microphone; `None` beside the choice means the tone. "auto" takes the first
/// microphone that opens, or the tone, and never fails. "off" is not handled here. `why` is the reason to
/// report for a named device.
pub fn open(config: &config::Audio, why: &str) -> Result<(Choice, Option<Microphone>), Error> {
    match &config.device {
        config::Microphone::Device(alsa) => {
            let microphone = Microphone::open(alsa, config.channels)?;
            let name = microphone.card().unwrap_or_else(|| alsa.clone());
            Ok((Choice { alsa: Some(alsa.clone()), name, why: why.into() }, Some(microphone)))
        }
        config::Microphone::Auto => Ok(first_that_opens(unclaimed(list(), &config.others), |f| {
            Microphone::open(&f.alsa, config.channels)
        })),
        config::Microphone::Tone | config::Microphone::Off => {
            Ok((tone("it is set in the configuration".into()), None))
        }
    }
}

/// Removes microphones that belong to single cameras: `others` are their names.
fn unclaimed(mut found: Vec<Found>, others: &[String]) -> Vec<Found> {
    found.retain(|f| !f.is_claimed(others));
    found
}

fn first_that_opens<M>(found: Vec<Found>, open: impl Fn(&Found) -> Result<M, Error>) -> (Choice, Option<M>) {
    let many = found.len() > 1;
    let mut refused = vec![];
    for f in found {
        match open(&f) {
            Ok(microphone) => {
                let mut why = match f.place {
                    _ if !many => "it is the only microphone".to_owned(),
                    Place::Camera => "it is part of a camera".into(),
                    Place::Usb => "it is the first microphone on USB".into(),
                    Place::Board => "it is the first microphone found".into(),
                    Place::Virtual => "there is no hardware microphone".into(),
                };
                for reason in refused {
                    why = format!("{why}; {reason}");
                }
                return (Choice { alsa: Some(f.alsa), name: f.name, why }, Some(microphone));
            }
            Err(e) => refused.push(e.to_string()),
        }
    }
    let why = if refused.is_empty() { "there is no microphone".into() } else { refused.join("; ") };
    (tone(why), None)
}

fn tone(why: String) -> Choice {
    Choice { alsa: None, name: "test tone".into(), why }
}

fn of_card(card: &alsa::Card) -> Vec<Found> {
    // Non-blocking. A card that is unplugged meanwhile has no microphones.
    let Ok(ctl) = Ctl::from_card(card, true) else { return vec![] };
    let Ok(info) = ctl.card_info() else { return vec![] };
    let (Ok(id), Ok(driver)) = (info.get_id(), info.get_driver()) else { return vec![] };
    let Ok(number) = u32::try_from(card.get_index()) else { return vec![] };
    let place = place(driver, &PathBuf::from(format!("/sys/class/sound/card{number}/device")));
    let mut found: Vec<(u32, Found)> = DeviceIter::new(&ctl)
        .filter_map(|device| {
            let device = u32::try_from(device).ok()?;
            let pcm = ctl.pcm_info(device, 0, Direction::Capture).ok()?;
            let card_name = info.get_name().unwrap_or(id);
            let name = match pcm.get_name() {
                Ok(name) if !name.is_empty() && name != card_name => format!("{card_name}, {name}"),
                _ => card_name.to_owned(),
            };
            let alsa = format!("hw:CARD={id},DEV={device}");
            Some((device, Found { alsa, name: shown(&name), place, card: number }))
        })
        .collect();
    if driver == "Loopback" {
        // By default, programs play to the card's first device; what they play is captured on its second.
        found.sort_by_key(|(device, _)| std::cmp::Reverse(*device));
    }
    found.into_iter().map(|(_, f)| f).collect()
}

/// Decides by the driver's name and the sysfs path of the card's device, which on USB is one of the
/// interfaces.
fn place(driver: &str, device: &Path) -> Place {
    if matches!(driver, "Loopback" | "Dummy") {
        return Place::Virtual;
    }
    let Some(usb_device) = usb_device(device) else { return Place::Board };
    let films = fs::read_dir(usb_device)
        .is_ok_and(|all| all.flatten().any(|s| s.path().join("video4linux").is_dir()));
    if films { Place::Camera } else { Place::Usb }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[(&str, Place)]) -> Vec<Found> {
        (0..)
            .zip(names)
            .map(|(card, (n, place))| Found {
                alsa: format!("hw:{n}"),
                name: (*n).into(),
                place: *place,
                card,
            })
            .collect()
    }

    #[test]
    fn the_first_that_opens_is_taken_and_the_reason_told() {
        let all = found(&[("C920", Place::Camera), ("Yeti", Place::Usb), ("Loopback", Place::Virtual)]);
        let (choice, opened) = first_that_opens(all, |f| Ok(f.name.clone()));
        assert_eq!((opened.as_deref(), choice.alsa.as_deref()), (Some("C920"), Some("hw:C920")));
        assert_eq!(choice.why, "it is part of a camera");

        let all = found(&[("C920", Place::Camera), ("Yeti", Place::Usb)]);
        let busy = |f: &Found| if f.name == "C920" { Err(Error::busy(&f.alsa)) } else { Ok(()) };
        let (choice, _) = first_that_opens(all, busy);
        assert_eq!(choice.name, "Yeti");
        assert_eq!(choice.why, "it is the first microphone on USB; hw:C920 is in use by another program");
    }

    #[test]
    fn the_microphone_of_a_single_camera_is_left_to_it() {
        let all = || found(&[("CARD=C920,DEV=0", Place::Camera), ("CARD=Yeti,DEV=0", Place::Usb)]);
        let names = |others: &[&str]| {
            let others: Vec<_> = others.iter().map(|name| (*name).to_owned()).collect();
            unclaimed(all(), &others).into_iter().map(|f| f.alsa).collect::<Vec<_>>()
        };
        assert_eq!(names(&["hw:CARD=C920,DEV=0"]), ["hw:CARD=Yeti,DEV=0"]);
        assert_eq!(names(&["plughw:CARD=Yeti,DEV=0", "default"]), ["hw:CARD=C920,DEV=0"]);
        assert_eq!(names(&["hw:1"]), ["hw:CARD=C920,DEV=0"]);
    }

    #[test]
    fn a_microphone_has_many_names() {
        let own = Own { alsa: "hw:CARD=C920,DEV=0".into(), card: 1 };
        let same = [
            "hw:CARD=C920,DEV=0",
            "plughw:CARD=C920,DEV=0",
            "plughw:DEV=0,CARD=C920",
            "hw:C920",
            "hw:C920,DEV=0",
            "hw:1",
            "plughw:1,0,0",
            "sysdefault:CARD=C920",
        ];
        let other =
            ["hw:CARD=C920,DEV=1", "hw:1,1", "hw:0,0", "hw:10", "hw:CARD=C9", "hw", "default", "x:1,0"];
        for (names, expected) in [(&same[..], true), (&other[..], false)] {
            for name in names {
                assert_eq!(own.is_called(name), expected, "{name}");
            }
        }
        // Not a name of a card: only the same name means the same.
        let default = Own { alsa: "default".into(), card: 1 };
        assert!(default.is_called("default") && !default.is_called("hw:1"));
    }

    #[test]
    fn where_none_opens_it_is_the_tone() {
        let (choice, opened) = first_that_opens(vec![], |_| Ok(()));
        assert_eq!((choice.alsa, opened, choice.why.as_str()), (None, None, "there is no microphone"));
        let denied = |f: &Found| Err::<(), _>(Error::denied(&f.alsa));
        let (choice, _) = first_that_opens(found(&[("C920", Place::Camera)]), denied);
        assert_eq!((choice.alsa, choice.why.as_str()), (None, "no permission to open hw:C920"));
    }

    #[test]
    fn places_are_told_from_sysfs() {
        let root = std::env::temp_dir().join(format!("peercam-place-{}", std::process::id()));
        let usb = root.join("devices/usb1/1-1");
        let bus = root.join("bus/usb");
        fs::create_dir_all(&bus).expect("bus");
        for interface in ["1-1:1.0", "1-1:1.2"] {
            fs::create_dir_all(usb.join(interface)).expect("interface");
            std::os::unix::fs::symlink(&bus, usb.join(interface).join("subsystem")).expect("link");
        }
        let sound = usb.join("1-1:1.2");
        assert_eq!(place("USB-Audio", &sound), Place::Usb);
        fs::create_dir_all(usb.join("1-1:1.0/video4linux/video0")).expect("camera");
        let class = root.join("class");
        for (of, name, device) in [
            ("sound", "card0", "nothing"),
            ("sound", "card1", "1-1:1.2"),
            ("video4linux", "video0", "1-1:1.0"),
        ] {
            let at = class.join(of).join(name);
            fs::create_dir_all(&at).expect("class");
            fs::write(at.join("id"), "C920\n").expect("id");
            std::os::unix::fs::symlink(usb.join(device), at.join("device")).expect("link");
        }
        let found = |node: &str| of_camera_below(&class, Path::new(node));
        let own = Own { alsa: "hw:CARD=C920,DEV=0".into(), card: 1 };
        assert_eq!(found("/dev/video0"), Some(own));
        assert_eq!((found("/dev/video1"), found("pattern")), (None, None));
        assert_eq!(place("USB-Audio", &sound), Place::Camera);
        assert_eq!(place("Loopback", &sound), Place::Virtual);
        assert_eq!(place("simple-card", &root.join("devices")), Place::Board);
        assert_eq!(place("simple-card", &root.join("nothing")), Place::Board);
        fs::remove_dir_all(root).expect("cleaned");
    }
}
