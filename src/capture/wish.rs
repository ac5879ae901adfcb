//! Which microphone each camera uses. The daemon and its commands share this rule.

use super::microphones::Own;
use crate::config::{self, Camera, Microphone};

/// Which microphone a camera uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That of `[audio]`.
    Configured,
    /// The one that the camera names, or that another camera names although it is this camera's own.
    Named(Microphone),
    /// The one on its USB device, by its ALSA name.
    Own(String),
}

/// Which microphone each of all `cameras` uses, in their order; each is given with its own microphone, if it
/// has one. A camera uses the microphone that it names; otherwise, if `audio` (the device of `[audio]`) is
/// "auto" and there are several cameras, its own; otherwise that of `[audio]`.
///
/// If another camera names a camera's own microphone, both use it by that name, so that it is opened once.
pub fn of_cameras<'a>(
    cameras: impl IntoIterator<Item = (&'a Camera, Option<&'a Own>)>,
    audio: &Microphone,
) -> Vec<Wish> {
    let cameras: Vec<_> = cameras.into_iter().collect();
    let named = |own: &Own| {
        let mut names = cameras.iter().filter_map(|(camera, _)| camera.microphone.as_ref());
        names.find(|device| matches!(device, Microphone::Device(name) if own.is_called(name))).cloned()
    };
    let wish = |&(camera, own): &(&Camera, Option<&Own>)| match (&camera.microphone, own) {
        (Some(device), _) if device != audio => Wish::Named(device.clone()),
        (None, Some(own)) if *audio == Microphone::Auto && cameras.len() > 1 => {
            named(own).map_or_else(|| Wish::Own(own.alsa.clone()), Wish::Named)
        }
        _ => Wish::Configured,
    };
    cameras.iter().map(wish).collect()
}

impl Wish {
    /// `[audio]` for this microphone; `all` are the wishes of all cameras. "auto" takes none of theirs.
    pub fn audio(&self, audio: &config::Audio, all: &[Self]) -> config::Audio {
        let (device, others) = match self {
            Self::Configured => (audio.device.clone(), all.iter().filter_map(Self::alsa).collect()),
            Self::Named(device) => (device.clone(), vec![]),
            Self::Own(alsa) => (Microphone::Device(alsa.clone()), vec![]),
        };
        config::Audio { device, others, ..audio.clone() }
    }

    /// The ALSA name, if the microphone belongs to single cameras.
    fn alsa(&self) -> Option<String> {
        match self {
            Self::Named(Microphone::Device(alsa)) | Self::Own(alsa) => Some(alsa.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// The wishes of cameras with these microphones, the first of which has one of its own, and the
    /// microphones that "auto" then leaves alone.
    fn wishes(audio: &str, microphones: &[&str]) -> (Vec<Wish>, Vec<String>) {
        let mut text = format!("[audio]\ndevice = \"{audio}\"\n");
        for (n, microphone) in microphones.iter().enumerate() {
            text += &format!("[[camera]]\nname = \"c{n}\"\ndevice = \"/dev/video{n}\"\n{microphone}\n");
        }
        let config = Config::parse(&text, "device.toml").unwrap();
        let own = Own { alsa: "hw:CARD=C920,DEV=0".into(), card: 1 };
        let owns = std::iter::once(Some(&own)).chain(std::iter::repeat(None));
        let all = of_cameras(config.cameras.iter().zip(owns), &config.audio.device);
        let others = Wish::Configured.audio(&config.audio, &all).others;
        (all, others)
    }

    #[test]
    fn a_camera_has_its_own_microphone_if_nothing_else_is_configured() {
        let own = "hw:CARD=C920,DEV=0".to_owned();
        assert_eq!(wishes("auto", &["", ""]), (vec![Wish::Own(own.clone()), Wish::Configured], vec![own]));
        // A single camera leaves the choice to "auto".
        assert_eq!(wishes("auto", &[""]), (vec![Wish::Configured], vec![]));
        for audio in ["tone", "off", "default"] {
            assert_eq!(wishes(audio, &["", ""]), (vec![Wish::Configured, Wish::Configured], vec![]));
        }
        let named = Wish::Named(Microphone::Off);
        assert_eq!(wishes("auto", &["microphone = \"off\"", ""]), (vec![named, Wish::Configured], vec![]));
    }

    #[test]
    fn a_microphone_that_is_one_cameras_own_and_named_by_another_is_opened_once() {
        for name in ["hw:CARD=C920,DEV=0", "plughw:CARD=C920,DEV=0", "hw:1,0"] {
            let named = Wish::Named(Microphone::Device(name.into()));
            let (all, others) = wishes("auto", &["", &format!("microphone = \"{name}\""), ""]);
            assert_eq!(all, [named.clone(), named, Wish::Configured], "{name}");
            assert_eq!(others, [name, name]);
        }
        let (all, _) = wishes("auto", &["", "microphone = \"hw:2,0\""]);
        assert_eq!(all[0], Wish::Own("hw:CARD=C920,DEV=0".into()));
    }
}
