//! `device.toml` to a typed [`Config`]; every range is checked while parsing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::media::frame::{PixelFormat, Size};

/// The whole file. `Config::default()` is what an empty file means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[video]`
    pub video: Video,
    /// `[audio]`
    pub audio: Audio,
    /// `[web]`
    pub web: Web,
    /// `[ice]`
    pub ice: Ice,
}

/// Which camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Camera {
    /// The first that works, or else the test picture.
    #[default]
    Auto,
    /// The built-in test picture.
    Pattern,
    /// A node ("/dev/video0", "/dev/v4l/by-id/...") or a name below `/dev/v4l/by-id`.
    Device(String),
}

/// How hard the encoder works for its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// Least CPU.
    #[default]
    Low,
    /// Between.
    Medium,
    /// Best picture for the bits.
    High,
}

/// `[video]`
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// `device`
    pub device: Camera,
    /// `size`; the camera's nearest is taken.
    pub size: Size,
    /// `frame_rate`, frames per second.
    pub frame_rate: u32,
    /// `pixel_format`; `None` is "auto".
    pub pixel_format: Option<PixelFormat>,
    /// `bitrate_kbps`, here in bits per second.
    pub bitrate_bps: u32,
    /// `effort`
    pub effort: Effort,
    /// `[video.controls]`: V4L2 controls by the name that `v4l2-ctl -l` and `peercam devices` print.
    pub controls: BTreeMap<String, i64>,
}

impl Default for Video {
    fn default() -> Self {
        Self {
            device: Camera::Auto,
            size: Size::new(1280, 720),
            frame_rate: 30,
            pixel_format: None,
            bitrate_bps: 2_000_000,
            effort: Effort::Low,
            controls: BTreeMap::new(),
        }
    }
}

/// Which microphone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Microphone {
    /// The first that works, or else the tone.
    #[default]
    Auto,
    /// The built-in test tone.
    Tone,
    /// No sound at all.
    Off,
    /// An ALSA PCM name ("hw:1,0", "plughw:CARD=C920,DEV=0", "default").
    Device(String),
}

/// `[audio]`
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// `device`
    pub device: Microphone,
    /// `channels`, 1 or 2.
    pub channels: u32,
    /// `bitrate_kbps`, here in bits per second.
    pub bitrate_bps: u32,
    /// `dtx`: send nothing in silence.
    pub dtx: bool,
}

impl Default for Audio {
    fn default() -> Self {
        Self { device: Microphone::Auto, channels: 1, bitrate_bps: 48_000, dtx: false }
    }
}

/// `[web]`
#[derive(Clone, Debug, PartialEq)]
pub struct Web {
    /// `address` to listen on.
    pub address: IpAddr,
    /// `port` to listen on; 0 lets the kernel choose.
    pub port: u16,
    /// `hosts`: names by which browsers may address the device, besides its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// `origins`: pages of other origins that may use WHEP ("https://example.org").
    pub origins: Vec<String>,
    /// `max_viewers`
    pub max_viewers: usize,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            hosts: vec![],
            origins: vec![],
            max_viewers: 50,
        }
    }
}

/// `[ice]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ice {
    /// `[[ice.servers]]`, handed to browsers.
    pub servers: Vec<IceServer>,
}

/// One STUN or TURN server (RFC 7064, RFC 7065).
#[derive(Clone, Debug, PartialEq)]
pub struct IceServer {
    /// `urls`
    pub urls: Vec<String>,
    /// `username`, for TURN.
    pub username: Option<String>,
    /// `credential`, for TURN.
    pub credential: Option<String>,
}
