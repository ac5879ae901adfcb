//! RTP header extensions (RFC 8285): those of an offer that we use.
//!
//! We write one-byte headers, whose ids are 1 to 14. An offer may have other ids: up to 255 for two-byte
//! headers, and above 4095 if there are more extensions than ids (RFC 8285 section 6). An extension with such
//! an id is not used: the answer leaves it out, so that the viewer does not expect it.

use super::super::delay;
use super::parse::{Description, Section, values};

/// Numbers all packets, for feedback about the arrival of each.
pub const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// When a packet was sent, for the estimates of viewers that get no such numbers (draft-alvestrand-rmcat-remb-03
/// section 2.3).
pub const SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
/// Ids of one-byte headers.
const ONE_BYTE: std::ops::RangeInclusive<u32> = 1..=14;

/// An extension of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    /// Its id in packets.
    pub id: u8,
    /// Its URI in SDP.
    pub uri: &'static str,
    /// Whether it was offered for one direction only, which the answer must repeat.
    one_way: bool,
}

/// The extensions of both tracks, and a sentence for each one that is wanted but can't be used.
#[derive(Default)]
pub(super) struct Chosen {
    /// The extensions of the video section.
    pub video: Vec<Extension>,
    /// The extensions of the audio section.
    pub audio: Vec<Extension>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// The value of `a=extmap`: `id[/direction] URI [attributes]`. An id that is too large for a number is
/// `None`.
struct Offered {
    id: Option<u32>,
    one_way: bool,
}

impl Extension {
    /// The attribute for webrtc's offer.
    pub(super) fn offered(&self) -> String {
        format!("a=extmap:{} {}", self.id, self.uri)
    }

    /// The attribute for our answer.
    pub(super) fn answered(&self) -> String {
        let direction = if self.one_way { "/sendonly" } else { "" };
        format!("a=extmap:{}{direction} {}", self.id, self.uri)
    }
}

impl Chosen {
    /// Chooses from the offer's video section and, if accepted, its audio section; `reports` is whether the viewer can
    /// report single packets.
    pub(super) fn of(offer: &Description, video: &Section, audio: Option<&Section>, reports: bool) -> Self {
        let mut chosen = Self::default();
        let delay = chosen.take(offer, video, "playout-delay", delay::URI);
        chosen.video.extend(delay);
        if reports {
            let numbers = chosen.take(offer, video, "transport-cc", TRANSPORT_CC);
            chosen.video.extend(numbers);
        }
        if !chosen.numbered() {
            let times = chosen.take(offer, video, "abs-send-time", SEND_TIME);
            chosen.video.extend(times);
        } else if let Some(audio) = audio {
            let numbers = chosen.take(offer, audio, "transport-cc", TRANSPORT_CC);
            chosen.audio.extend(numbers);
        }
        chosen
    }

    /// Whether packets have transport-wide numbers.
    pub(super) fn numbered(&self) -> bool {
        self.video.iter().any(|extension| extension.uri == TRANSPORT_CC)
    }

    fn take(
        &mut self,
        offer: &Description,
        section: &Section,
        name: &str,
        uri: &'static str,
    ) -> Option<Extension> {
        let offered = find(&section.lines, uri).or_else(|| find(&offer.session, uri))?;
        let id = offered.id.filter(|id| ONE_BYTE.contains(id)).and_then(|id| u8::try_from(id).ok());
        let Some(id) = id else {
            let id = offered.id.map_or("out of range".into(), |id| id.to_string());
            self.left_out.push(format!(
                "the header extension {name} of the {} section: its id is {id}, and only 1 to 14 are supported",
                section.kind
            ));
            return None;
        };
        // An id stands for one extension throughout a bundle (RFC 9143 section 9.2).
        let others = self.video.iter().chain(&self.audio);
        if others.clone().any(|o| (o.id == id) != (o.uri == uri)) {
            self.left_out.push(format!(
                "the header extension {name} of the {} section: its id {id} conflicts with another section or extension",
                section.kind
            ));
            return None;
        }
        Some(Extension { id, uri, one_way: offered.one_way })
    }
}

/// Whether a section offers an extension that equals the one accepted in a different section.
pub(super) fn offers(offer: &Description, section: &Section, taken: &Extension) -> bool {
    let offered = find(&section.lines, taken.uri).or_else(|| find(&offer.session, taken.uri));
    offered.is_some_and(|o| o.id == Some(u32::from(taken.id)) && o.one_way == taken.one_way)
}

/// The first offer of an extension that we may send; one that only the viewer would send does not count.
fn find(lines: &[&str], uri: &str) -> Option<Offered> {
    values(lines, "extmap").find_map(|value| {
        let mut words = value.split_ascii_whitespace();
        let (id, name) = (words.next()?, words.next()?);
        let (id, direction) = id.split_once('/').unwrap_or((id, "sendrecv"));
        (name == uri && matches!(direction, "sendrecv" | "recvonly"))
            .then(|| Offered { id: id.parse().ok(), one_way: direction == "recvonly" })
    })
}
