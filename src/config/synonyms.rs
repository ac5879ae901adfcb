//! Words that people write instead of our keys and sections, often taken from other programs. Comparing letters would
//! not find our key.

/// A key and its synonyms.
type Words = (&'static str, &'static [&'static str]);

/// The keys of each section ("" is the top level) and their synonyms. Case, `_` and `-` are ignored.
const SYNONYMS: &[(&str, &[Words])] = &[
    (
        "",
        &[
            ("video", &["cam", "picture", "capture", "webcam", "v4l2"]),
            ("camera", &["cam", "cams", "cameras", "webcam", "webcams"]),
            ("audio", &["sound", "mic", "microphone", "alsa"]),
            ("web", &["server", "http", "https", "page", "network", "tls", "ssl"]),
            ("ice", &["webrtc", "rtc", "media", "stun", "turn", "nat"]),
            ("watching", &["privacy", "viewers", "hooks", "events", "notify", "led"]),
        ],
    ),
    (
        "video",
        &[
            ("device", &["camera", "cam", "source", "input", "node", "path", "webcam"]),
            ("size", &["resolution", "width", "height", "dimensions", "res"]),
            ("frame_rate", &["fps", "framerate", "rate", "framespersecond"]),
            ("pixel_format", &["format", "fourcc", "encoding", "pixelformat"]),
            ("bitrate_kbps", &["bitrate", "kbps", "bandwidth", "bitratebps"]),
            ("effort", &["quality", "preset", "speed", "complexity"]),
            ("keep_open", &["always", "alwayson", "ondemand", "keepalive"]),
            ("controls", &["v4l2", "settings", "brightness", "contrast", "saturation", "exposure", "gain"]),
        ],
    ),
    (
        "camera", // and the keys of [video]
        &[
            ("name", &["id", "identity", "identifier", "slug"]),
            ("label", &["title", "caption", "displayname", "description", "text"]),
            ("microphone", &["mic", "audio", "sound", "alsa", "audiodevice"]),
            ("led", &["light", "lamp", "indicator", "tally"]),
        ],
    ),
    (
        "audio",
        &[
            ("device", &["microphone", "mic", "source", "input", "card", "alsa", "enabled", "mute"]),
            ("channels", &["mono", "stereo"]),
            ("bitrate_kbps", &["bitrate", "kbps", "bandwidth", "bitratebps", "quality"]),
            ("dtx", &["silence", "vad"]),
            ("keep_open", &["always", "alwayson", "ondemand", "keepalive"]),
        ],
    ),
    (
        "web",
        &[
            ("address", &["listen", "bind", "host", "ip", "interface"]),
            ("port", &["httpsport", "listen", "listenport"]),
            ("tls", &["https", "ssl"]),
            ("certificate", &["cert", "certfile", "crt", "pem", "sslcertificate"]),
            ("key", &["privatekey", "keyfile", "certkey", "sslkey"]),
            ("trusted_proxies", &["proxy", "proxies", "trustedproxy"]),
            ("proxy_header", &["forwarded", "xforwardedfor", "realip"]),
            ("announce", &["mdns", "bonjour", "avahi", "zeroconf", "dnssd"]),
            ("hosts", &["host", "hostname", "hostnames", "servername", "domain", "domains", "name", "names"]),
            ("origins", &["cors", "allowedorigins", "alloworigin"]),
            (
                "max_upload_kbps",
                &["upload", "maxupload", "bandwidth", "maxbandwidth", "uplink", "maxbitrate"],
            ),
            ("max_viewers", &["maxclients", "clients", "viewers", "limit", "maxusers", "maxconnections"]),
        ],
    ),
    (
        "ice",
        &[
            ("port", &["udpport", "mediaport", "tcpport", "listen"]),
            ("interfaces", &["nic", "iface", "ifaces", "device"]),
            ("exclude_interfaces", &["exclude", "ignore", "ignoreinterfaces"]),
            ("public_addresses", &["publicip", "externalip", "natip", "nat1to1", "ip", "address", "host"]),
            ("servers", &["stun", "turn", "stunserver", "turnserver", "iceservers", "stunservers"]),
        ],
    ),
    (
        "ice.servers",
        &[
            ("urls", &["uri", "server", "host", "address", "stun", "turn"]),
            ("username", &["user", "login", "name"]),
            ("credential", &["password", "pass", "credentials"]),
            ("secret", &["sharedsecret", "staticauthsecret", "authsecret"]),
            ("for_guests", &["guests", "public"]),
        ],
    ),
    (
        "watching",
        &[
            ("privacy", &["private", "off", "closed"]),
            ("led", &["light", "lamp", "indicator", "tally"]),
            ("on_first", &["onstart", "start", "first", "onjoin", "onconnect"]),
            ("on_last", &["onstop", "stop", "last", "onleave", "ondisconnect", "onend"]),
            ("webhook", &["hook", "url", "post", "http", "callback"]),
        ],
    ),
];

/// The keys of `section` that `word` may mean. A camera also has the keys of `[video]`.
pub(super) fn of(section: &str, word: &str) -> Vec<&'static str> {
    let mut keys = own(section, word);
    if section == "camera" && keys.is_empty() {
        keys = own("video", word);
    }
    keys
}

fn own(section: &str, word: &str) -> Vec<&'static str> {
    let word: String = word.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let keys = SYNONYMS.iter().filter(|(name, _)| *name == section).flat_map(|(_, keys)| *keys);
    keys.filter(|(_, words)| words.contains(&word.as_str())).map(|(key, _)| *key).collect()
}

/// All sections and keys that `word` may mean.
pub(super) fn anywhere(word: &str) -> Vec<(&'static str, &'static str)> {
    let sections = SYNONYMS.iter().map(|(section, _)| *section).filter(|s| !s.is_empty());
    sections.flat_map(|section| own(section, word).into_iter().map(move |key| (section, key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::File;
    use crate::config::{Config, config};

    #[test]
    fn each_leads_to_a_key_that_is_there_and_none_is_a_key_itself() {
        let text = "[[camera]]\n[[ice.servers]]\nurls = [\"stun:a\"]";
        let (_, keys) = File::read_and_list("device.toml", text, &config);
        for (section, entries) in SYNONYMS {
            let path = |key: &str| if section.is_empty() { key.into() } else { format!("{section}.{key}") };
            for (key, words) in *entries {
                assert!(keys.contains(&path(key)), "{section} has no {key}");
                for word in *words {
                    assert!(!keys.contains(&path(word)), "{section}.{word} is a key");
                    assert!(of(section, word).contains(key), "{word} is not found in this spelling");
                }
            }
        }
    }

    #[test]
    fn case_and_separators_do_not_count() {
        for word in ["max_clients", "max-clients", "maxClients", "MaxClients"] {
            assert_eq!(of("web", word), ["max_viewers"], "{word}");
        }
        assert_eq!(of("web", "host"), ["address", "hosts"]);
        assert_eq!(of("web", "fps"), Vec::<&str>::new());
        assert_eq!(anywhere("fps"), [("video", "frame_rate")]);
    }

    #[test]
    fn words_of_other_programs_lead_to_the_key() {
        for (text, hint) in [
            ("[video]\nfps = 30", "`frame_rate`"),
            ("[video]\nframeRate = 30", "`frame_rate`"),
            ("[video]\nresolution = \"640x480\"", "`size`"),
            ("[video]\nwidth = 640", "`size`"),
            ("[video]\nheight = 480", "`size`"),
            ("[video]\nbitrate = 2000", "`bitrate_kbps`"),
            ("[video]\ncam = 0", "`device`"),
            ("[audio]\nmic = \"default\"", "`device`"),
            ("[web]\nlisten = \"::\"", "`address` or `port`"),
            ("[web]\nhost = \"door\"", "`address` or `hosts`"),
            ("[web]\nssl = true", "`tls`"),
            ("[ice]\nstun = \"stun:a\"", "`servers`"),
            ("[[ice.servers]]\nurls = [\"turn:a\"]\nsecret = \"s\"\npassword = \"x\"", "`credential`"),
            ("[watching]\nlight = \"ACT\"", "`led`"),
            ("[picture]\ndevice = \"auto\"", "[video]"),
            ("[[cameras]]\nname = \"front\"", "[[camera]]"),
            ("[cameras]\nname = \"front\"", "[[camera]]"),
            ("[cam]\n", "[video] or [[camera]]"),
            ("[[camera]]\nname = \"a\"\nid = \"b\"", "`name`"),
            ("[[camera]]\nname = \"a\"\ntitle = \"A\"", "`label`"),
            ("[[camera]]\nname = \"a\"\nmic = \"off\"", "`microphone`"),
            ("[[camera]]\nname = \"a\"\nfps = 30", "`frame_rate`"),
            ("[video]\ntitle = \"A\"", "`label` in [[camera]]"),
            ("[[camera]]\nname = \"a\"\nchannels = 2", "`channels` in [audio]"),
            ("[microphone]\n", "[audio]"),
            // A key of a different section, and keys before the first section.
            ("[video]\nprivacy = true", "`privacy` in [watching]"),
            ("[video]\nmax_clients = 3", "`max_viewers` in [web]"),
            ("fps = 30", "`frame_rate` in [video]"),
            ("port = 1", "`port` in [web] or `port` in [ice]"),
        ] {
            let said = Config::parse(text, "d").expect_err("unknown").to_string();
            assert!(said.contains(&format!("(did you mean {hint}?);")), "{text:?} says {said}");
        }
    }
}
