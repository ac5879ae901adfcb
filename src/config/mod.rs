//! Parses `device.toml` into a typed [`Config`]; every range is checked while parsing.
//!
//! All mistakes in the file are reported at once, each with file, line, key and the allowed values. The shipped
//! `device.toml` is the reference of all keys: tests compare it with this module.

mod cameras;
mod changes;
mod error;
mod file;
mod network;
mod place;
mod synonyms;
mod syntax;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use crate::media::frame::{PixelFormat, Size};

pub use changes::Change;
pub use error::{Error, Problem};
use file::{File, Section, boolean, integer, list, one_of, text};
pub use network::Network;

/// The whole file. `Config::default()` is the meaning of an empty file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[video]`: the only camera, or the defaults for `[[camera]]` sections.
    pub video: Video,
    /// `[[camera]]` sections in the order of the file, or the only camera; never empty.
    pub cameras: Vec<Camera>,
    /// `[audio]`
    pub audio: Audio,
    /// `[web]`
    pub web: Web,
    /// `[ice]`
    pub ice: Ice,
    /// `[watching]`
    pub watching: Watching,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            video: Video::default(),
            cameras: vec![Camera::default()],
            audio: Audio::default(),
            web: Web::default(),
            ice: Ice::default(),
            watching: Watching::default(),
        }
    }
}

/// `[[camera]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// `name`, its identity: 1 to 32 characters, a to z, 0 to 9 and hyphens.
    pub name: String,
    /// `label`, its name for people.
    pub label: String,
    /// The keys that `[video]` has too; keys that the section leaves out have the values of `[video]`.
    pub video: Video,
    /// `microphone`, never [`Microphone::Auto`]; `None` if the section names none.
    pub microphone: Option<Microphone>,
    /// `led`, a name in `/sys/class/leds`.
    pub led: Option<String>,
}

impl Camera {
    /// The only camera of a file without `[[camera]]` sections.
    pub fn only(video: Video) -> Self {
        Self { name: "camera".into(), label: "Camera".into(), video, microphone: None, led: None }
    }
}

impl Default for Camera {
    fn default() -> Self {
        Self::only(Video::default())
    }
}

/// The camera to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CameraDevice {
    /// The first camera that works and that no other section names, or else the test picture.
    #[default]
    Auto,
    /// The built-in test picture.
    Pattern,
    /// The same with noise in it, which needs all of the bitrate.
    Noise,
    /// A node ("/dev/video0", "/dev/v4l/by-id/...") or a name below `/dev/v4l/by-id` or `/dev/v4l/by-path`.
    Device(String),
}

impl CameraDevice {
    /// Its value in the configuration.
    pub fn name(&self) -> &str {
        match self {
            Self::Auto => "auto",
            Self::Pattern => "pattern",
            Self::Noise => "noise",
            Self::Device(name) => name,
        }
    }

    /// Whether it is the test picture, with noise or without.
    pub fn is_built_in(&self) -> bool {
        matches!(self, Self::Pattern | Self::Noise)
    }
}

/// How much CPU time the encoder spends on quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// Least CPU time.
    #[default]
    Low,
    /// Between low and high.
    Medium,
    /// Best picture at a given bitrate.
    High,
}

/// `[video]`
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// `device`
    pub device: CameraDevice,
    /// Not a key: the devices that other `[[camera]]` sections name, which [`CameraDevice::Auto`] does not take.
    pub others: Vec<String>,
    /// `size`; the nearest size that the camera has is used.
    pub size: Size,
    /// `frame_rate`, frames per second.
    pub frame_rate: u32,
    /// `pixel_format`; `None` is "auto".
    pub pixel_format: Option<PixelFormat>,
    /// `bitrate_kbps`, here in bits per second.
    pub bitrate_bps: u32,
    /// `effort`
    pub effort: Effort,
    /// `keep_open`: keep the device open even while nobody watches.
    pub keep_open: bool,
    /// `[video.controls]`: V4L2 controls by the name that `v4l2-ctl -l` and `peercam devices` print.
    pub controls: BTreeMap<String, i64>,
}

impl Default for Video {
    fn default() -> Self {
        Self {
            device: CameraDevice::Auto,
            others: vec![],
            size: Size::new(1280, 720),
            frame_rate: 30,
            pixel_format: None,
            bitrate_bps: 2_000_000,
            effort: Effort::Low,
            keep_open: false,
            controls: BTreeMap::new(),
        }
    }
}

/// The microphone to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Microphone {
    /// The first microphone that works, or else the test tone.
    #[default]
    Auto,
    /// The built-in test tone.
    Tone,
    /// No sound.
    Off,
    /// An ALSA PCM name ("hw:1,0", "plughw:CARD=C920,DEV=0", "default").
    Device(String),
}

/// `[audio]`
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// `device`
    pub device: Microphone,
    /// Not a key: ALSA names of microphones that belong to single cameras, which "auto" does not take.
    pub others: Vec<String>,
    /// `channels`, 1 or 2.
    pub channels: u32,
    /// `bitrate_kbps`, here in bits per second.
    pub bitrate_bps: u32,
    /// `dtx`: send nothing during silence.
    pub dtx: bool,
    /// `keep_open`: keep the device open even while nobody watches.
    pub keep_open: bool,
}

impl Default for Audio {
    fn default() -> Self {
        Self {
            device: Microphone::Auto,
            others: vec![],
            channels: 1,
            bitrate_bps: 48_000,
            dtx: false,
            keep_open: false,
        }
    }
}

/// The certificate that the page is served with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// A certificate that the device makes for itself.
    #[default]
    Auto,
    /// The owner's own certificate.
    Files {
        /// `certificate`: PEM, the certificate first, then the intermediate certificates.
        certificate: PathBuf,
        /// `key`: PEM.
        key: PathBuf,
    },
    /// Plain HTTP without a certificate, for use behind a proxy.
    Off,
}

/// The headers in which a reverse proxy describes its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Prefix`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ProxyHeader {
    /// All variants, with their names in the file.
    const ALL: [(&str, Self); 2] = [("x-forwarded", Self::XForwarded), ("forwarded", Self::Forwarded)];

    /// The name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::XForwarded => "x-forwarded",
            Self::Forwarded => "forwarded",
        }
    }
}

/// `[web]`
#[derive(Clone, Debug, PartialEq)]
pub struct Web {
    /// `address` to listen on.
    pub address: IpAddr,
    /// `port` to listen on; 0 lets the kernel choose.
    pub port: u16,
    /// `http_port`, on which plain HTTP is redirected to HTTPS; 0 turns that off.
    pub http_port: u16,
    /// `tls`, and with "files" also `certificate` and `key`.
    pub tls: Tls,
    /// `trusted_proxies`: proxies that are trusted to report a client's address and scheme.
    pub trusted_proxies: Vec<Network>,
    /// `proxy_header`: the headers that are read from them; all others are ignored.
    pub proxy_header: ProxyHeader,
    /// `announce`: announce this device on the local network by mDNS.
    pub announce: bool,
    /// `hosts`: names by which browsers may address the device, besides its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// `origins`: pages of other origins that may use WHEP (`https://example.org`).
    pub origins: Vec<String>,
    /// `max_viewers`
    pub max_viewers: usize,
    /// `max_upload_kbps` for all viewers together, in bits per second; `None`: no limit.
    pub max_upload_bps: Option<u32>,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            port: 8443,
            http_port: 8080,
            tls: Tls::Auto,
            trusted_proxies: vec![],
            proxy_header: ProxyHeader::XForwarded,
            announce: false,
            hosts: vec![],
            origins: vec![],
            max_viewers: 50,
            max_upload_bps: None,
        }
    }
}

/// `[ice]`
#[derive(Clone, Debug, PartialEq)]
pub struct Ice {
    /// `port` of all media, UDP and TCP; 0 lets the kernel choose.
    pub port: u16,
    /// `tcp`: whether media may also use TCP.
    pub tcp: bool,
    /// `interfaces`: patterns of the interfaces whose addresses are offered; empty: all useful interfaces.
    pub interfaces: Vec<String>,
    /// `exclude_interfaces`: patterns of the interfaces whose addresses are not offered.
    pub exclude_interfaces: Vec<String>,
    /// `public_addresses`: outside addresses from which a NAT forwards to this device.
    pub public_addresses: Vec<Public>,
    /// `[[ice.servers]]`, passed to browsers; the device itself uses the `stun:` servers too.
    pub servers: Vec<IceServer>,
}

impl Default for Ice {
    fn default() -> Self {
        Self {
            port: 8189,
            tcp: true,
            interfaces: vec![],
            exclude_interfaces: vec![],
            public_addresses: vec![],
            servers: vec![],
        }
    }
}

/// An outside address of a NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Public {
    /// The address.
    pub ip: IpAddr,
    /// The port, if it differs from `ice.port`.
    pub port: Option<u16>,
}

/// One STUN or TURN server (RFC 7064, RFC 7065).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IceServer {
    /// `urls`
    pub urls: Vec<String>,
    /// `username`, for TURN.
    pub username: Option<String>,
    /// `credential`, for TURN.
    pub credential: Option<String>,
    /// `secret`, for TURN with credentials that expire, instead of `username` and `credential`.
    pub secret: Option<String>,
    /// `for_guests`: `username` and `credential` are also given to guests.
    pub for_guests: bool,
}

/// `[watching]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watching {
    /// `privacy`: true turns privacy on, regardless of the switch.
    pub privacy: bool,
    /// `led`, a name in `/sys/class/leds`.
    pub led: Option<String>,
    /// `on_first`: a program and its arguments; empty for none.
    pub on_first: Vec<String>,
    /// `on_last`: a program and its arguments; empty for none.
    pub on_last: Vec<String>,
    /// `webhook`, the URL that events are posted to.
    pub webhook: Option<http::Uri>,
}

impl Config {
    /// The microphone of each camera: its own, or the one of `[audio]`.
    pub fn microphones(&self) -> impl Iterator<Item = &Microphone> {
        self.cameras.iter().map(|camera| camera.microphone.as_ref().unwrap_or(&self.audio.device))
    }

    /// Parses and checks `text`; `name` is the file's name in errors.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        File::read(name, text, &config)
    }
}

/// Lowest and highest Opus bitrate, kbit/s (RFC 6716 section 2.1.1).
const OPUS_KBPS: (i64, i64) = (6, 510);
/// Upper limit of `max_viewers`; each viewer takes about half a megabyte.
const MOST_VIEWERS: i64 = 1000;
/// Lowest and highest `max_upload_kbps`: one viewer gets sound and a small picture; no board sends more.
const UPLOAD_KBPS: (i64, i64) = (100, 1_000_000);

fn config(root: &mut Section<'_, '_>) -> Config {
    let alone = !root.has_sections("camera");
    let video = root.section("video", |section| cameras::video(section, alone)).unwrap_or_default();
    let cameras = cameras::cameras(root, &video);
    Config {
        video,
        audio: root.section("audio", audio).unwrap_or_default(),
        web: root.section("web", web).unwrap_or_default(),
        ice: root.section("ice", ice).unwrap_or_default(),
        watching: root.section("watching", |section| watching(section, &cameras)).unwrap_or_default(),
        cameras,
    }
}

fn audio(section: &mut Section<'_, '_>) -> Audio {
    let default = Audio::default();
    Audio {
        device: section.get("device", text(values::MICROPHONE, values::microphone)).unwrap_or(default.device),
        others: vec![],
        channels: section.get("channels", integer(1, 2)).map_or(default.channels, |n| n as u32),
        bitrate_bps: section.get("bitrate_kbps", bps(OPUS_KBPS)).unwrap_or(default.bitrate_bps),
        dtx: section.get("dtx", boolean).unwrap_or(default.dtx),
        keep_open: section.get("keep_open", boolean).unwrap_or(default.keep_open),
    }
}

fn web(section: &mut Section<'_, '_>) -> Web {
    let default = Web::default();
    let address = section.get("address", text(values::ADDRESS, values::address)).unwrap_or(default.address);
    let port = section.get("port", integer(0, 65535)).map_or(default.port, |n| n as u16);
    let http_port = section.get("http_port", integer(0, 65535)).map_or(default.http_port, |n| n as u16);
    let tls = tls(section);
    if tls != Tls::Off && http_port == port && port != 0 {
        section
            .lacks("http_port", "is the same as port; HTTP and HTTPS need different ports; 0 turns HTTP off");
    }
    Web {
        address,
        port,
        http_port,
        tls,
        trusted_proxies: section
            .get("trusted_proxies", list(values::NETWORKS, text(values::NETWORK, Network::parse)))
            .unwrap_or_default(),
        proxy_header: section.get("proxy_header", one_of(&ProxyHeader::ALL)).unwrap_or(default.proxy_header),
        announce: section.get("announce", boolean).unwrap_or(default.announce),
        hosts: section
            .get("hosts", list(values::HOSTS, text(values::HOST, values::host)))
            .unwrap_or_default(),
        origins: section
            .get("origins", list(values::ORIGINS, text(values::ORIGIN, values::origin)))
            .unwrap_or_default(),
        max_viewers: section
            .get("max_viewers", integer(1, MOST_VIEWERS))
            .map_or(default.max_viewers, |n| n as usize),
        max_upload_bps: section.get("max_upload_kbps", bps(UPLOAD_KBPS)),
    }
}

fn tls(section: &mut Section<'_, '_>) -> Tls {
    let files = Tls::Files { certificate: PathBuf::new(), key: PathBuf::new() };
    let kinds = [("auto", Tls::Auto), ("files", files.clone()), ("off", Tls::Off)];
    let kind = section.get("tls", one_of(&kinds)).unwrap_or_default();
    let mut path = |key| section.get(key, text(values::FILE, values::file)).flatten();
    let (certificate, key) = (path("certificate"), path("key"));
    let given = [("certificate", certificate.is_some()), ("key", key.is_some())];
    for (key, given) in given {
        if given != (kind == files) {
            let says =
                if given { "is only for tls = \"files\"" } else { "is missing; tls = \"files\" needs it" };
            section.lacks(key, says);
        }
    }
    match (kind, certificate, key) {
        (Tls::Files { .. }, Some(certificate), Some(key)) => Tls::Files { certificate, key },
        (kind, ..) => kind,
    }
}

fn ice(section: &mut Section<'_, '_>) -> Ice {
    let default = Ice::default();
    Ice {
        port: section.get("port", integer(0, 65535)).map_or(default.port, |n| n as u16),
        tcp: section.get("tcp", boolean).unwrap_or(default.tcp),
        interfaces: interfaces(section, "interfaces"),
        exclude_interfaces: interfaces(section, "exclude_interfaces"),
        public_addresses: section
            .get("public_addresses", list(values::PUBLICS, text(values::PUBLIC, values::public)))
            .unwrap_or_default(),
        servers: section.sections("servers", |section, _| ice_server(section)),
    }
}

fn interfaces(section: &mut Section<'_, '_>, key: &'static str) -> Vec<String> {
    section.get(key, list(values::INTERFACES, text(values::INTERFACE, values::interface))).unwrap_or_default()
}

fn ice_server(section: &mut Section<'_, '_>) -> IceServer {
    let urls = section.get("urls", list(values::ICE_URLS, text(values::ICE_URL, values::ice_url)));
    let mut given = |key| section.get(key, text("a string that is not empty", values::not_empty));
    let (username, credential, secret) = (given("username"), given("credential"), given("secret"));
    match &urls {
        None if !section.has("urls") => section.lacks("urls", "is missing; a server needs at least one"),
        Some(urls) if urls.is_empty() => section.lacks("urls", "is empty; a server needs at least one"),
        _ => (),
    }
    // RFC 8656 section 5: TURN servers require long-term credentials; browsers refuse a turn: URL without them.
    let turn = urls.iter().flatten().any(|url| url.starts_with("turn"));
    if section.has("secret") {
        for key in ["username", "credential"] {
            if section.has(key) {
                section.lacks(key, "can't be combined with secret; both are derived from it");
            }
        }
    } else {
        for (key, other) in [("username", "credential"), ("credential", "username")] {
            if !section.has(key) && (turn || section.has(other)) {
                let why = if turn {
                    "a turn: or turns: server needs username and credential, or secret"
                } else {
                    "username and credential go together"
                };
                section.lacks(key, &format!("is missing; {why}"));
            }
        }
    }
    let for_guests = section.get("for_guests", boolean).unwrap_or_default();
    IceServer { urls: urls.unwrap_or_default(), username, credential, secret, for_guests }
}

fn watching(section: &mut Section<'_, '_>, cameras: &[Camera]) -> Watching {
    let default = Watching::default();
    let mut command = |key| {
        let words = list(values::COMMAND, text(values::WORD, values::word));
        let words = section.get(key, words).unwrap_or_default();
        if words.first().is_some_and(|program| !program.starts_with('/')) {
            section.lacks(
                key,
                "does not begin with a full path; allowed: the full path of a program, then its arguments",
            );
        }
        words
    };
    let (on_first, on_last) = (command("on_first"), command("on_last"));
    let privacy = section.get("privacy", boolean).unwrap_or(default.privacy);
    let led = section.get("led", text(values::LED, values::led)).flatten();
    if led.is_some() && cameras.iter().any(|camera| camera.led == led) {
        section.lacks("led", "is already used by a camera; choose another LED");
    }
    Watching {
        privacy,
        led,
        on_first,
        on_last,
        webhook: section.get("webhook", text(values::WEBHOOK, values::webhook)).unwrap_or_default(),
    }
}

/// Reads a bitrate in kbit/s and returns it in bit/s.
fn bps((least, most): (i64, i64)) -> impl Fn(&file::Value<'_>) -> Result<u32, file::Refusal> {
    let kbps = integer(least, most);
    move |value| kbps(value).map(|n| n as u32 * 1000)
}

#[cfg(test)]
mod tests;
