//! The JSON messages of [`super::signal`], as types.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::json::Expected;
use crate::clock::{Clocks, RtpClock};
use crate::config;
use crate::pipeline::quality::{Quality, Share};

/// What a page sends. Fields that we don't know are ignored, so that a newer page works with us.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum FromPage {
    /// Joins, or renegotiates.
    Offer {
        /// Session description.
        sdp: String,
        /// Whether it plays the sound; by default not, or as before.
        sound: Option<bool>,
        /// Which pictures it wishes for, of cameras that name no other; by default whatever is best, or as before.
        quality: Option<Quality>,
        /// Which camera each of its video sections is for; by default the first one is for the first camera.
        cameras: Option<Vec<Section>>,
        /// The camera whose sound it hears; by default the first of those.
        listen: Option<String>,
    },
    /// One more of its candidates.
    Candidate {
        /// `candidate:...`, or empty: no more will come.
        candidate: String,
        /// Media section.
        mid: Option<String>,
    },
    /// Asks for our clock.
    Clock {
        /// Comes back as it is.
        t0: Number,
    },
    /// Plays the sound from now on, or no longer.
    Sound {
        /// Whether.
        on: bool,
    },
    /// Wishes for other pictures.
    Quality {
        /// Which.
        quality: Quality,
        /// Of this media section; by default of all.
        mid: Option<String>,
    },
    /// Wishes for another camera in a media section.
    Camera {
        /// Which section; by default the first.
        mid: Option<String>,
        /// Which camera.
        camera: String,
    },
    /// Hears the sound of another camera.
    Listen {
        /// Which.
        camera: String,
    },
    /// What it shows of a media section nobody sees now, or somebody does again.
    Pause {
        /// Which section.
        mid: String,
        /// Nobody does.
        on: bool,
    },
    /// Takes over a viewer of a socket that is gone.
    Resume {
        /// Its name, from the answer.
        viewer: String,
    },
    /// Leaves.
    Bye,
}

/// A video section of an offer.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Section {
    /// Its name.
    pub mid: String,
    /// The camera that it is for.
    pub camera: String,
    /// Which pictures it wishes for.
    pub quality: Option<Quality>,
}

impl Expected for FromPage {
    const LOOKS: &'static str =
        "an object whose \"type\" is that of a message, with its fields (src/web/signal.md)";
}

/// What we send.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ToPage<'a> {
    /// First of all.
    Hello {
        /// Ours.
        version: &'a str,
        /// What may change.
        #[serde(flatten)]
        terms: Terms<'a>,
        /// What RTP timestamps of video mean.
        video_clock: Clock,
        /// What RTP timestamps of audio mean.
        audio_clock: Clock,
    },
    /// Some of what `hello` told is another now.
    Update(Terms<'a>),
    /// To an offer.
    Answer {
        /// The viewer's name.
        viewer: &'a str,
        /// Session description.
        sdp: &'a str,
    },
    /// One more of our candidates.
    Candidate {
        /// `candidate:...`, or empty: no more will come.
        candidate: &'a str,
        /// Media section.
        mid: &'a str,
    },
    /// Our clock.
    Clock {
        /// As it came.
        t0: Number,
        /// `CLOCK_MONOTONIC` now, microseconds.
        mono_us: u64,
    },
    /// What each part is doing.
    Status(Map<String, Value>),
    /// Media flows.
    Connected,
    /// The page should restart ICE.
    Restart {
        /// Why, in one sentence.
        why: &'a str,
    },
    /// The viewer was taken over.
    Resumed,
    /// The viewer ended.
    Closed {
        /// Why, in one sentence.
        reason: &'a str,
    },
    /// Something was refused.
    Error {
        /// As in HTTP.
        status: u16,
        /// Why, in one sentence.
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

/// The part of `hello` that may change while a socket is open.
#[derive(Debug, Serialize)]
pub struct Terms<'a> {
    /// For `RTCPeerConnection`.
    ice_servers: Vec<IceServer<'a>>,
    /// Whether there is sound.
    has_audio: bool,
    /// The port of all media.
    media_port: u16,
    /// Whether it takes TCP.
    tcp: bool,
    /// The sizes of the first camera's pictures, from large to small.
    qualities: &'a [Share],
    /// All cameras that this person may watch, in the order of the configuration.
    cameras: &'a [CameraTerms],
}

/// What a page has to know of a camera before it offers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct CameraTerms {
    /// Its identity.
    pub name: String,
    /// What people read.
    pub label: String,
    /// Whether there is sound.
    pub has_audio: bool,
    /// The sizes of its pictures, from large to small.
    pub qualities: Vec<Share>,
}

impl<'a> Terms<'a> {
    /// `servers` are as this viewer may know them; `media` is the port, and whether it takes TCP.
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
        }];
        assert_eq!(
            value(&ToPage::hello(Terms::new(&servers, (8189, true), &cameras), clocks)),
            json!({"type": "hello", "version": env!("CARGO_PKG_VERSION"),
                   "ice_servers": [{"urls": ["stun:a"]}, {"urls": ["turn:b"], "username": "u", "credential": "c"}],
                   "video_clock": {"hz": 90000, "offset": 1}, "audio_clock": {"hz": 48000, "offset": 2},
                   "has_audio": true, "media_port": 8189, "tcp": true, "qualities": ["full", "half"],
                   "cameras": [{"name": "front", "label": "Front door", "has_audio": true,
                                "qualities": ["full", "half"]}]})
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
