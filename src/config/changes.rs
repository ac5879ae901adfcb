//! What differs between two configurations, key by key, for people.

use std::fmt;

use super::{Audio, Camera, Config, Effort, Ice, Microphone, Public, Tls, Video, Watching, Web};

/// One key that has another value now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its full name ("video.size").
    pub key: &'static str,
    /// Its values; `None` where it may hold a secret.
    values: Option<(String, String)>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values {
            Some((before, after)) => write!(f, "{} {before} -> {after}", self.key),
            None => f.write_str(self.key),
        }
    }
}

/// Keys whose values are not for the log: passwords are in them, and URLs that are as good as passwords.
const SECRET: [&str; 2] = ["ice.servers", "watching.webhook"];

impl Config {
    /// The keys that `new` gives another value, in the order of the file.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let pairs = self.written().into_iter().zip(new.written());
        let changed = pairs.filter(|(before, after)| before != after);
        changed
            .map(|((key, before), (_, after))| Change {
                key,
                values: (!SECRET.contains(&key)).then_some((before, after)),
            })
            .collect()
    }

    /// Every key with its value, about as the file has it. Nothing is left out: fields are named one by one.
    pub(super) fn written(&self) -> Vec<(&'static str, String)> {
        let Self { video, audio, web, ice, watching } = self;
        let mut all = vec![];
        let Video { device, size, frame_rate, pixel_format, bitrate_bps, effort, keep_open, controls } =
            video;
        let device = match device {
            Camera::Auto => "auto",
            Camera::Pattern => "pattern",
            Camera::Device(name) => name.as_str(),
        };
        let effort = match effort {
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
        };
        all.extend([
            ("video.device", device.to_owned()),
            ("video.size", size.to_string()),
            ("video.frame_rate", frame_rate.to_string()),
            ("video.pixel_format", pixel_format.map_or("auto", |f| f.fourcc()).to_owned()),
            ("video.bitrate_kbps", (bitrate_bps / 1000).to_string()),
            ("video.effort", effort.to_owned()),
            ("video.keep_open", keep_open.to_string()),
            ("video.controls", list(controls.iter().map(|(name, value)| format!("{name} = {value}")))),
        ]);
        let Audio { device, channels, bitrate_bps, dtx, keep_open } = audio;
        let device = match device {
            Microphone::Auto => "auto",
            Microphone::Tone => "tone",
            Microphone::Off => "off",
            Microphone::Device(name) => name.as_str(),
        };
        all.extend([
            ("audio.device", device.to_owned()),
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
        all
    }
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
}
