//! The JSON messages of [`super::signal`], as types.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::json::Expected;
use crate::clock::{Clocks, RtpClock};
use crate::config;
use crate::pipeline::quality::{Quality, Share};

/// Messages from the page. Unknown fields are ignored, so that a newer page works with this daemon.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum FromPage {
    /// Joins, or renegotiates.
    Offer {
        /// Session description.
        sdp: String,
        /// Whether the page plays sound; by default not, or as before.
        sound: Option<bool>,
        /// Wanted quality of cameras without one of their own; by default the best, or as before.
        quality: Option<Quality>,
        /// The camera of each video section; by default the first section is for the first camera.
        cameras: Option<Vec<Section>>,
        /// The camera whose sound the page plays; by default the first of `cameras`.
        listen: Option<String>,
    },
    /// An ICE candidate of the page.
    Candidate {
        /// `candidate:...`, or empty at the end of candidates.
        candidate: String,
        /// Media section.
        mid: Option<String>,
    },
    /// Asks for the daemon's clock.
    Clock {
        /// Returned unchanged.
        t0: Number,
    },
    /// Starts or stops to play sound.
    Sound {
        /// Whether the page plays sound.
        on: bool,
    },
    /// Changes the wanted quality.
    Quality {
        /// The wanted quality.
        quality: Quality,
        /// The media section; by default all.
        mid: Option<String>,
    },
    /// Changes the camera of a media section.
    Camera {
        /// The media section; by default the first.
        mid: Option<String>,
        /// The camera.
        camera: String,
    },
    /// Changes the camera whose sound is played.
    Listen {
        /// The camera.
        camera: String,
    },
    /// Pauses a media section that nobody sees, or resumes it.
    Pause {
        /// The media section.
        mid: String,
        /// Whether to pause.
        on: bool,
    },
    /// Takes over the viewer of a lost socket.
    Resume {
        /// The viewer's id, from the answer.
        viewer: String,
    },
    /// Ends the viewer.
    Bye,
}

/// A video section of an offer.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Section {
    /// The id of the media section.
    pub mid: String,
    /// The camera.
    pub camera: String,
    /// The wanted quality.
    pub quality: Option<Quality>,
}

impl Expected for FromPage {
    const LOOKS: &'static str =
        "an object whose \"type\" is that of a message, with its fields (src/web/signal.md)";
}

/// Messages to the page.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ToPage<'a> {
    /// The first message.
    Hello {
        /// The daemon's version.
        version: &'a str,
        /// The facts that may change.
        #[serde(flatten)]
        terms: Terms<'a>,
        /// The RTP clock of video.
        video_clock: Clock,
        /// The RTP clock of audio.
        audio_clock: Clock,
    },
    /// The facts of `hello` have changed.
    Update(Terms<'a>),
    /// The answer to an offer.
    Answer {
        /// The viewer's id.
        viewer: &'a str,
        /// Session description.
        sdp: &'a str,
    },
    /// An ICE candidate of the daemon.
    Candidate {
        /// `candidate:...`, or empty at the end of candidates.
        candidate: &'a str,
        /// Media section.
        mid: &'a str,
    },
    /// The daemon's clock.
    Clock {
        /// The value from the request.
        t0: Number,
        /// `CLOCK_MONOTONIC` now, microseconds.
        mono_us: u64,
    },
    /// The status.
    Status(Map<String, Value>),
    /// The media connection is up.
    Connected,
    /// The page should restart ICE.
    Restart {
        /// The reason, in one sentence.
        why: &'a str,
    },
    /// The viewer was taken over.
    Resumed,
    /// The viewer ended.
    Closed {
        /// The reason, in one sentence.
        reason: &'a str,
    },
    /// A message was refused.
    Error {
        /// An HTTP status code.
        status: u16,
        /// The reason, in one sentence.
        message: &'a str,
    },
}

/// `RTCIceServer` of the WebRTC API.
#[derive(Debug, Serialize)]
pub struct IceServer<'a> {
    urls: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
}

/// An RTP clock.
#[derive(Debug, Serialize)]
pub struct Clock {
    hz: u32,
    offset: u32,
}

impl From<RtpClock> for Clock {
    fn from(RtpClock { hz, offset }: RtpClock) -> Self {
        Self { hz, offset }
    }
}

/// The facts of `hello` that may change while a socket is open.
#[derive(Debug, Serialize)]
pub struct Terms<'a> {
    /// ICE servers for `RTCPeerConnection`.
    ice_servers: Vec<IceServer<'a>>,
    /// Whether there is sound.
    has_audio: bool,
    /// The media port.
    media_port: u16,
    /// Whether the media port accepts TCP.
    tcp: bool,
    /// The sizes of the first camera's rungs, from large to small.
    qualities: &'a [Share],
    /// All cameras that this principal may watch, in the order of the configuration.
    cameras: &'a [CameraTerms],
}

/// The facts of a camera that a page needs before its offer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct CameraTerms {
    /// The camera's name, which identifies it.
    pub name: String,
    /// The name for people.
    pub label: String,
    /// Whether there is sound.
    pub has_audio: bool,
    /// The sizes of its rungs, from large to small.
    pub qualities: Vec<Share>,
    /// Width of its full pictures in pixels, once it is known.
    pub width: Option<u32>,
    /// Their height.
    pub height: Option<u32>,
}

impl<'a> Terms<'a> {
    /// `servers` has what this viewer may know; `media` is the port, and whether it accepts TCP.
    pub fn new(servers: &'a [config::IceServer], media: (u16, bool), cameras: &'a [CameraTerms]) -> Self {
        let server = |s: &'a config::IceServer| IceServer {
            urls: &s.urls,
            username: s.username.as_deref(),
            credential: s.credential.as_deref(),
        };
        let ice_servers = servers.iter().map(server).collect();
        let (has_audio, qualities) =
            cameras.first().map_or((false, &[][..]), |c| (c.has_audio, &c.qualities));
        Self { ice_servers, has_audio, media_port: media.0, tcp: media.1, qualities, cameras }
    }
}

impl<'a> ToPage<'a> {
    /// The first message.
    pub fn hello(terms: Terms<'a>, clocks: Clocks) -> Self {
        Self::Hello {
            version: env!("CARGO_PKG_VERSION"),
            terms,
            video_clock: clocks.video.into(),
            audio_clock: clocks.audio.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Option<FromPage> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn what_a_page_sends() {
        assert_eq!(
            parse(r#"{"type":"offer","sdp":"v=0\r\n","sound":false}"#),
            Some(FromPage::Offer {
                sdp: "v=0\r\n".into(),
                sound: Some(false),
                quality: None,
                cameras: None,
                listen: None
            })
        );
        assert_eq!(
            parse(
                r#"{"sdp":"v=0","extra":[1,{"a":null}],"type":"offer","quality":"half","listen":"back",
                    "cameras":[{"mid":"0","camera":"front"},{"mid":"2","camera":"back","quality":"full"}]}"#
            ),
            Some(FromPage::Offer {
                sdp: "v=0".into(),
                sound: None,
                quality: Some(Quality::Half),
                cameras: Some(vec![
                    Section { mid: "0".into(), camera: "front".into(), quality: None },
                    Section { mid: "2".into(), camera: "back".into(), quality: Some(Quality::Full) },
                ]),
                listen: Some("back".into())
            })
        );
        assert_eq!(
            parse(r#"{"type":"candidate","candidate":"","mid":null}"#),
            Some(FromPage::Candidate { candidate: "".into(), mid: None })
        );
        assert_eq!(parse(r#"{"type":"bye","why":"tired"}"#), Some(FromPage::Bye));
        assert_eq!(parse(r#"{"type":"sound","on":true}"#), Some(FromPage::Sound { on: true }));
        assert_eq!(
            parse(r#"{"type":"quality","quality":"auto"}"#),
            Some(FromPage::Quality { quality: Quality::Auto, mid: None })
        );
        assert_eq!(
            parse(r#"{"type":"camera","mid":"1","camera":"back"}"#),
            Some(FromPage::Camera { mid: Some("1".into()), camera: "back".into() })
        );
        assert_eq!(
            parse(r#"{"type":"listen","camera":"back"}"#),
            Some(FromPage::Listen { camera: "back".into() })
        );
        assert_eq!(
            parse(r#"{"type":"pause","mid":"1","on":true}"#),
            Some(FromPage::Pause { mid: "1".into(), on: true })
        );
        assert_eq!(
            parse(r#"{"type":"resume","viewer":"abc"}"#),
            Some(FromPage::Resume { viewer: "abc".into() })
        );
    }

    #[test]
    fn garbage_is_no_message() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "null",
            "[]",
            "offer",
            "{}",
            r#"{"type":"offer"}"#,
            r#"{"type":"offer","sdp":5}"#,
            r#"{"type":"Offer","sdp":""}"#,
            r#"{"type":"stats"}"#,
            r#"{"type":["bye"]}"#,
            r#"{"type":"clock","t0":"5"}"#,
            r#"{"type":"clock","t0":1e999}"#,
            r#"{"type":"sound","on":1}"#,
            r#"{"type":"quality","quality":"best"}"#,
            r#"{"type":"quality"}"#,
            r#"{"type":"camera","mid":"1"}"#,
            r#"{"type":"listen"}"#,
            r#"{"type":"pause","on":true}"#,
            r#"{"type":"offer","sdp":"","cameras":["front"]}"#,
            r#"{"type":"bye"} {"type":"bye"}"#,
            r#"{"type":"bye""#,
            &format!(r#"{{"type":"bye","x":{deep}"#),
            "\u{0}",
        ] {
            assert_eq!(parse(text), None, "{text:.60}");
        }
    }

    #[test]
    fn t0_comes_back_as_it_is() {
        for t0 in ["0", "-5", "1234.5678", "18446744073709551615", "1763600000000.25"] {
            let Some(FromPage::Clock { t0: number }) = parse(&format!(r#"{{"type":"clock","t0":{t0}}}"#))
            else {
                panic!("{t0}");
            };
            let back = serde_json::to_string(&ToPage::Clock { t0: number, mono_us: 7 }).unwrap();
            assert_eq!(back, format!(r#"{{"type":"clock","t0":{t0},"mono_us":7}}"#));
        }
    }

    #[test]
    fn what_we_send() {
        let servers = [
            config::IceServer { urls: vec!["stun:a".into()], ..Default::default() },
            config::IceServer {
                urls: vec!["turn:b".into()],
                username: Some("u".into()),
                credential: Some("c".into()),
                ..Default::default()
            },
        ];
        let clocks =
            Clocks { video: RtpClock { hz: 90_000, offset: 1 }, audio: RtpClock { hz: 48_000, offset: 2 } };
        let value = |m: &ToPage| serde_json::to_value(m).unwrap();
        let cameras = [CameraTerms {
            name: "front".into(),
            label: "Front door".into(),
            has_audio: true,
            qualities: vec![Share::Full, Share::Half],
            width: Some(1280),
            height: None,
        }];
        assert_eq!(
            value(&ToPage::hello(Terms::new(&servers, (8189, true), &cameras), clocks)),
            json!({"type": "hello", "version": env!("CARGO_PKG_VERSION"),
                   "ice_servers": [{"urls": ["stun:a"]}, {"urls": ["turn:b"], "username": "u", "credential": "c"}],
                   "video_clock": {"hz": 90000, "offset": 1}, "audio_clock": {"hz": 48000, "offset": 2},
                   "has_audio": true, "media_port": 8189, "tcp": true, "qualities": ["full", "half"],
                   "cameras": [{"name": "front", "label": "Front door", "has_audio": true,
                                "qualities": ["full", "half"], "width": 1280, "height": null}]})
        );
        assert_eq!(
            value(&ToPage::Update(Terms::new(&[], (9000, false), &[]))),
            json!({"type": "update", "ice_servers": [], "has_audio": false, "media_port": 9000, "tcp": false,
                   "qualities": [], "cameras": []})
        );
        let mut facts = Map::new();
        facts.insert("uptime_s".into(), json!(3));
        assert_eq!(value(&ToPage::Status(facts)), json!({"type": "status", "uptime_s": 3}));
        assert_eq!(value(&ToPage::Restart { why: "moved" }), json!({"type": "restart", "why": "moved"}));
        assert_eq!(value(&ToPage::Connected), json!({"type": "connected"}));
        assert_eq!(
            value(&ToPage::Error { status: 406, message: "no" }),
            json!({"type": "error", "status": 406, "message": "no"})
        );
    }
}
