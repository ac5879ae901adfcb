//! Lists the differences between two configurations, key by key, for the log.

use std::fmt;

use super::{Audio, Camera, Config, Effort, Ice, Microphone, Public, Tls, Video, Watching, Web};

/// A key whose value changed, or a camera that was added or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The full key ("video.size", "camera.front.size"; "camera.front" for the camera as a whole).
    pub key: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// The old and the new value.
    Values(String, String),
    /// The values are not shown, because they may contain a secret.
    Secret,
    Added,
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.what {
            What::Values(before, after) => write!(f, "{key} {before} -> {after}"),
            What::Secret => f.write_str(key),
            What::Added => write!(f, "{key} added"),
            What::Removed => write!(f, "{key} removed"),
        }
    }
}

/// Keys with their values, written roughly as in the file.
type Written = Vec<(String, String)>;

/// Keys whose values are not logged: they contain passwords, or URLs that are as secret as passwords.
const SECRET: [&str; 2] = ["ice.servers", "watching.webhook"];

impl Config {
    /// The keys whose values differ in `new`, in the order of the file. Changes of `[video]` are listed under `video`
    /// if there are no `[[camera]]` sections, otherwise under each camera that they affect.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let mut changes = match (self.has_camera_sections(), new.has_camera_sections()) {
            (false, false) => differing(video("video", &self.video), video("video", &new.video)),
            _ => cameras(&self.cameras, &new.cameras),
        };
        changes.extend(differing(self.written(), new.written()));
        changes
    }

    /// Whether there are `[[camera]]` sections (other than a single one that changes nothing). Without any,
    /// messages and threads need no camera's name.
    pub(crate) fn has_camera_sections(&self) -> bool {
        self.cameras != [Camera::only(self.video.clone())]
    }

    /// Every key except those of the cameras. Fields are destructured one by one, so that none is forgotten.
    pub(super) fn written(&self) -> Written {
        let Self { video: _, cameras: _, audio, web, ice, watching } = self;
        let mut all = vec![];
        let Audio { device, others: _, channels, bitrate_bps, dtx, keep_open } = audio;
        all.extend([
            ("audio.device", microphone(device).to_owned()),
            ("audio.channels", channels.to_string()),
            ("audio.bitrate_kbps", (bitrate_bps / 1000).to_string()),
            ("audio.dtx", dtx.to_string()),
            ("audio.keep_open", keep_open.to_string()),
        ]);
        let Web {
            address,
            port,
            http_port,
            tls,
            trusted_proxies,
            proxy_header,
            announce,
            hosts,
            origins,
            max_viewers,
            max_upload_bps,
        } = web;
        let (tls, certificate, key) = match tls {
            Tls::Auto => ("auto", None, None),
            Tls::Files { certificate, key } => ("files", Some(certificate), Some(key)),
            Tls::Off => ("off", None, None),
        };
        let path = |p: Option<&std::path::PathBuf>| or_empty(p.map(|p| p.display().to_string()));
        all.extend([
            ("web.address", address.to_string()),
            ("web.port", port.to_string()),
            ("web.http_port", http_port.to_string()),
            ("web.tls", tls.to_owned()),
            ("web.certificate", path(certificate)),
            ("web.key", path(key)),
            ("web.trusted_proxies", list(trusted_proxies.iter().map(ToString::to_string))),
            ("web.proxy_header", proxy_header.as_str().to_owned()),
            ("web.announce", announce.to_string()),
            ("web.hosts", list(hosts.iter().cloned())),
            ("web.origins", list(origins.iter().cloned())),
            ("web.max_viewers", max_viewers.to_string()),
            ("web.max_upload_kbps", or_empty(max_upload_bps.map(|bps| (bps / 1000).to_string()))),
        ]);
        let Ice { port, tcp, interfaces, exclude_interfaces, public_addresses, servers } = ice;
        let public = |p: &Public| match p.port {
            Some(port) => std::net::SocketAddr::new(p.ip, port).to_string(),
            None => p.ip.to_string(),
        };
        all.extend([
            ("ice.port", port.to_string()),
            ("ice.tcp", tcp.to_string()),
            ("ice.interfaces", list(interfaces.iter().cloned())),
            ("ice.exclude_interfaces", list(exclude_interfaces.iter().cloned())),
            ("ice.public_addresses", list(public_addresses.iter().map(public))),
            ("ice.servers", format!("{servers:?}")),
        ]);
        let Watching { privacy, led, on_first, on_last, webhook } = watching;
        all.extend([
            ("watching.privacy", privacy.to_string()),
            ("watching.led", or_empty(led.clone())),
            ("watching.on_first", format!("{on_first:?}")),
            ("watching.on_last", format!("{on_last:?}")),
            ("watching.webhook", or_empty(webhook.as_ref().map(ToString::to_string))),
        ]);
        named("", all)
    }
}

impl Camera {
    /// Every key except `name`.
    pub(super) fn written(&self) -> Written {
        let Self { name, label, video: picture, microphone: own, led } = self;
        let section = format!("camera.{name}");
        let microphone = own.as_ref().map_or("none given", microphone);
        let mut all = named(
            &section,
            vec![
                ("label", label.clone()),
                ("microphone", microphone.to_owned()),
                ("led", or_empty(led.clone())),
            ],
        );
        all.extend(video(&section, picture));
        all
    }
}

/// The keys of `[video]`, listed under `section`.
fn video(section: &str, video: &Video) -> Written {
    let Video { device, others: _, size, frame_rate, pixel_format, bitrate_bps, effort, keep_open, controls } =
        video;
    let effort = match effort {
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
    };
    let all = vec![
        ("device", device.name().to_owned()),
        ("size", size.to_string()),
        ("frame_rate", frame_rate.to_string()),
        ("pixel_format", pixel_format.map_or("auto", |f| f.fourcc()).to_owned()),
        ("bitrate_kbps", (bitrate_bps / 1000).to_string()),
        ("effort", effort.to_owned()),
        ("keep_open", keep_open.to_string()),
        ("controls", list(controls.iter().map(|(name, value)| format!("{name} = {value}")))),
    ];
    named(section, all)
}

fn microphone(device: &Microphone) -> &str {
    match device {
        Microphone::Auto => "auto",
        Microphone::Tone => "tone",
        Microphone::Off => "off",
        Microphone::Device(name) => name,
    }
}

fn named(section: &str, keys: Vec<(&str, String)>) -> Written {
    let dot = if section.is_empty() { "" } else { "." };
    keys.into_iter().map(|(key, value)| (format!("{section}{dot}{key}"), value)).collect()
}

fn differing(before: Written, after: Written) -> Vec<Change> {
    let pairs = before.into_iter().zip(after).filter(|(before, after)| before != after);
    let what = |key: &str, before, after| match SECRET.contains(&key) {
        true => What::Secret,
        false => What::Values(before, after),
    };
    pairs.map(|((key, before), (_, after))| Change { what: what(&key, before, after), key }).collect()
}

fn cameras(before: &[Camera], after: &[Camera]) -> Vec<Change> {
    let find = |all: &[Camera], name: &str| all.iter().position(|camera| camera.name == name);
    let whole = |camera: &Camera, what| Change { key: format!("camera.{}", camera.name), what };
    let mut changes = vec![];
    for camera in after {
        match find(before, &camera.name) {
            Some(at) => changes.extend(differing(before[at].written(), camera.written())),
            None => changes.push(whole(camera, What::Added)),
        }
    }
    let gone = before.iter().filter(|camera| find(after, &camera.name).is_none());
    changes.extend(gone.map(|camera| whole(camera, What::Removed)));
    let names = |all: &[Camera], other: &[Camera]| {
        let lasting = all.iter().filter(|camera| find(other, &camera.name).is_some());
        list(lasting.map(|camera| camera.name.clone()))
    };
    let order = [names(before, after), names(after, before)].map(|names| vec![("camera".to_owned(), names)]);
    let [before, after] = order;
    changes.extend(differing(before, after));
    changes
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn or_empty(text: Option<String>) -> String {
    text.unwrap_or_else(|| "\"\"".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(text, "device.toml").expect("right")
    }

    #[test]
    fn what_changed_is_told_without_secrets() {
        let before =
            parse("[video]\nsize = \"640x480\"\n[watching]\nwebhook = \"https://example.org/secret\"");
        let after = parse(
            "[video]\nbitrate_kbps = 3000\n[web]\nhosts = [\"door\"]\n[[ice.servers]]\nurls = [\"turn:t\"]\nsecret = \"s\"",
        );
        let told: Vec<_> = before.changes(&after).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "video.size 640x480 -> 1280x720",
                "video.bitrate_kbps 2000 -> 3000",
                "web.hosts [] -> [door]",
                "ice.servers",
                "watching.webhook",
            ]
        );
        assert_eq!(after.changes(&after), []);
    }

    fn told(before: &str, after: &str) -> String {
        let changes = parse(before).changes(&parse(after));
        changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_changed_in_cameras_is_told_by_their_names_and_once() {
        let (front, back) =
            ("[[camera]]\nname = \"front\"\n", "[[camera]]\nname = \"back\"\ndevice = \"pattern\"\n");
        let both = format!("{front}{back}");
        let small = "[video]\nsize = \"640x480\"\n";
        // Without sections.
        assert_eq!(told(small, ""), "video.size 640x480 -> 1280x720");
        // With sections, changes of [video] are listed under each camera that they affect.
        let effect = "camera.front.size 640x480 -> 1280x720, camera.back.size 640x480 -> 1280x720";
        assert_eq!(told(&format!("{small}{both}"), &both), effect);
        let own = format!("{small}{front}size = \"320x240\"\n");
        assert_eq!(told(&own, &own.replace("640x480", "1280x720")), "");
        // Cameras are added, removed (also the only one) and reordered.
        assert_eq!(told(front, &both), "camera.back added");
        assert_eq!(told(&both, front), "camera.back removed");
        assert_eq!(told("", front), "camera.front added, camera.camera removed");
        assert_eq!(told(&both, &format!("{back}{front}")), "camera [front, back] -> [back, front]");
        let third = "[[camera]]\nname = \"third\"\ndevice = \"pattern\"\n";
        assert_eq!(told(&both, &format!("{third}{both}")), "camera.third added");
        // The only camera, with or without a section.
        let only = "[[camera]]\nname = \"camera\"\n";
        assert_eq!(told("", only), "");
        assert!(!parse("").has_camera_sections() && !parse(only).has_camera_sections());
        assert!(parse(front).has_camera_sections() && parse(&both).has_camera_sections());
        let label = format!("{only}label = \"Hall\"\nmicrophone = \"off\"\n");
        let all = "camera.camera.label Camera -> Hall, camera.camera.microphone none given -> off";
        assert_eq!(told("", &label), all);
    }
}
