//! Negotiation: decides what the media sections of an offer play, and writes the offer for webrtc and the
//! answer.
//!
//! Offers vary: they have sections that want nothing from us, data channels, and formats, numbers and
//! profiles that webrtc refuses or misinterprets. So webrtc sees none of that. The choice is made here: a
//! section for each picture that is wanted, all in one format, and at most one for the sound, on one
//! transport. An offer with one picture and the sound is written for webrtc, with our own mids and parameters
//! and no line of the viewer's ([`Playable::offer`]), and its answer is expanded to the sections that were
//! really offered ([`Playable::answer`]): each in its place, unused ones rejected.
//!
//! A later offer may restart ICE, add sections for pictures, and leave others without a picture
//! ([`Playable::later`]). A picture keeps its number for as long as the connection lasts; webrtc sees only
//! the new ICE session.
//!
//! ```text
//!  offer ─► parse ─► formats, extmap, transport ─► Playable ─► webrtc ─► answer ─► viewer
//! ```

mod answer;
mod extmap;
mod formats;
pub mod fragment;
mod parse;
mod pictures;
mod transport;

pub use extmap::{SEND_TIME, TRANSPORT_CC};
pub use formats::{Audio, Video};
pub use transport::{count_candidates, usable_candidate};

use answer::{Part, Place};
use extmap::{Chosen, Extension};
use parse::{Description, Section, value};
use pictures::First;
use transport::{Dtls, Ice, Speakers};

use super::Error;
use crate::media::h264::ProfileLevelId;

/// Profiles that offers use for DTLS-SRTP (RFC 9429 section 5.1.3); the answer repeats them.
const PROTOCOLS: [&str; 8] = [
    "UDP/TLS/RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "TCP/DTLS/RTP/SAVPF",
    "TCP/DTLS/RTP/SAVP",
    "RTP/SAVPF",
    "RTP/SAVP",
    "RTP/AVPF",
    "RTP/AVP",
];

/// Most video sections of a connection, including those without a picture: more than any change of cameras
/// needs, because browsers reuse sections.
const MOST_PICTURES: usize = 32;

/// The kind of a media section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The picture.
    Video,
    /// The sound.
    Audio,
}

/// An offer that we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playable {
    /// The chosen H.264 format, for all pictures.
    pub video: Video,
    /// The accepted video sections, in the order of the offer, followed by those that later offers have
    /// added; at least one.
    pub pictures: Vec<Picture>,
    /// The chosen Opus format, if sound is wanted.
    pub audio: Option<Audio>,
    /// What was wanted of the offer but can't be used, a phrase each.
    pub left_out: Vec<String>,
    video_extensions: Vec<Extension>,
    audio_extensions: Vec<Extension>,
    /// The profile that the encoders emit.
    own: ProfileLevelId,
    ice: Ice,
    dtls: Dtls,
    /// All media sections of the offer, in order.
    places: Vec<Place>,
    /// The section that carries the transport; if nothing is sent in it, it is kept as inactive.
    carrier: usize,
    /// Mids of the accepted sections, in the order of the offer's BUNDLE group; `None` if it has no group,
    /// because then the answer must not have one either (RFC 9143 section 7.3).
    bundle: Option<Vec<String>>,
}

/// A video section that is or was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its name (`a=mid`), if it has one.
    pub mid: Option<String>,
    /// Index of the wanted picture; `None` if a later offer has removed it.
    pub wanted: Option<usize>,
    /// The number of its source. A section that begins again gets a new one: Chromium shows nothing of a
    /// source that it has seen end.
    pub source: usize,
}

/// Reads an offer; `own` is the profile that the encoders emit, and `wanted` has an entry for each picture:
/// the name of its section, or `None` for the next section without another entry.
pub fn check(sdp: &str, own: ProfileLevelId, wanted: &[Option<&str>]) -> Result<Playable, Error> {
    read(sdp, own, wanted, &[])
}

/// The same for a viewer that had the pictures `before`.
fn read(
    sdp: &str,
    own: ProfileLevelId,
    wanted: &[Option<&str>],
    before: &[Picture],
) -> Result<Playable, Error> {
    let offer = Description::parse(sdp)?;
    let mut mids: Vec<_> = offer.sections.iter().filter_map(Section::mid).collect();
    mids.sort_unstable();
    if mids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(bad("two media sections of the offer have the same name (a=mid)"));
    }
    let named = pictures::named(&offer, wanted)?;
    let (v, mut video) = pictures::first(&offer, own, &named)?;
    let group = offer.bundled_with(v);
    let mut left_out = vec![];
    let mut sound = choose_audio(&offer, &video, group.as_deref(), &mut left_out);
    let audio_section = sound.as_ref().map(|(a, _)| &offer.sections[*a]);
    let mut extensions = Chosen::of(&offer, &offer.sections[v], audio_section, video.reports());
    left_out.append(&mut extensions.left_out);
    let bundled = group.clone().unwrap_or_else(|| vec![v]);
    let first = First { at: v, video: &video, extensions: &extensions.video, bundled: &bundled };
    let chosen = pictures::all(&offer, own, &named, &first, &mut left_out);
    video.numbered(extensions.numbered());
    if let Some((_, audio)) = sound.as_mut().filter(|_| extensions.audio.is_empty()) {
        audio.feedback.clear();
    }
    let (pictures, numbers) = pictures::numbered(&offer, &chosen, before);
    let part = |at: usize| match (&sound, numbers.iter().find(|(picture, _)| *picture == at)) {
        (_, Some((_, number))) => Part::Picture(*number),
        (Some((a, _)), _) if at == *a => Part::Sound,
        _ if bundled.contains(&at) && pictures::rests(&offer.sections[at], before) => Part::Rest,
        _ => Part::None,
    };
    let kept =
        |at: &usize| part(*at) != Part::None || (*at == bundled[0] && holds_transport(&offer, &bundled));
    let accepted: Vec<usize> = bundled.iter().copied().filter(kept).collect();
    let carrier = accepted.first().copied().unwrap_or(v);
    let speakers = Speakers::new(&offer, carrier, &bundled);
    let (ice, dtls) = (Ice::of(&speakers)?, Dtls::of(&speakers)?);
    let shared = answer::shared(&bundled.iter().map(|at| &offer.sections[*at]).collect::<Vec<_>>());
    let mut in_bundle = vec![false; offer.sections.len()];
    bundled.iter().for_each(|at| in_bundle[*at] = true);
    let mids = accepted.iter().filter_map(|at| offer.sections[*at].mid()).map(str::to_owned);
    Ok(Playable {
        bundle: group.is_some().then(|| mids.collect()),
        places: offer
            .sections
            .iter()
            .enumerate()
            .map(|(at, s)| Place::of(s, if in_bundle[at] { &shared } else { &[] }, part(at)))
            .collect(),
        pictures,
        audio: sound.map(|(_, audio)| audio),
        video_extensions: extensions.video,
        audio_extensions: extensions.audio,
        video,
        left_out,
        own,
        ice,
        dtls,
        carrier,
    })
}

impl Playable {
    /// The offer for webrtc: one picture, however many there are, and the sound.
    pub fn offer(&self) -> String {
        let kinds = if self.audio.is_some() { &[Kind::Video, Kind::Audio][..] } else { &[Kind::Video] };
        let mids: String = (0..kinds.len()).map(|mid| format!(" {mid}")).collect();
        let mut offer = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"].map(String::from).to_vec();
        offer.extend(self.ice.lite.then(|| "a=ice-lite".into()));
        offer.push(format!("a=group:BUNDLE{mids}"));
        for (mid, kind) in kinds.iter().copied().enumerate() {
            let (media, attributes) = match (kind, &self.audio) {
                (Kind::Audio, Some(audio)) => {
                    (format!("audio 9 {} {}", PROTOCOLS[0], audio.payload_type), audio.attributes())
                }
                _ => {
                    let formats: String = self.video.payload_types().map(|pt| format!(" {pt}")).collect();
                    (format!("video 9 {}{formats}", PROTOCOLS[0]), self.video.attributes())
                }
            };
            offer.push(format!("m={media}"));
            offer.push("c=IN IP4 0.0.0.0".into());
            offer.push(format!("a=ice-ufrag:{}", self.ice.ufrag));
            offer.push(format!("a=ice-pwd:{}", self.ice.pwd));
            offer.push("a=ice-options:trickle".into());
            offer.push(format!("a=fingerprint:sha-256 {}", self.dtls.fingerprint));
            offer.push(format!("a=setup:{}", self.dtls.offered()));
            offer.push(format!("a=mid:{mid}"));
            offer.extend(["a=recvonly", "a=rtcp-mux", "a=rtcp-rsize"].map(String::from));
            offer.extend(attributes);
            offer.extend(self.extensions(kind).iter().map(Extension::offered));
            if mid == 0 {
                offer.extend(self.ice.candidates.iter().map(|c| format!("a={c}")));
            }
        }
        offer.push(String::new());
        offer.join("\r\n")
    }

    /// The id of a header extension in the video section, if it is used.
    pub fn video_extension(&self, uri: &str) -> Option<u8> {
        self.video_extensions.iter().find(|e| e.uri == uri).map(|e| e.id)
    }

    /// The id of a header extension in the audio section, if it is used.
    pub fn audio_extension(&self, uri: &str) -> Option<u8> {
        self.audio_extensions.iter().find(|e| e.uri == uri).map(|e| e.id)
    }

    fn extensions(&self, kind: Kind) -> &[Extension] {
        match kind {
            Kind::Video => &self.video_extensions,
            Kind::Audio => &self.audio_extensions,
        }
    }

    /// Reads a later offer of the viewer. It may restart ICE, and have different video sections if it says
    /// which are `wanted`, as in [`check`]; everything else must stay the same.
    pub fn later(&self, sdp: &str, wanted: Option<&[Option<&str>]>) -> Result<Self, Error> {
        let same = || self.pictures.iter().filter(|p| p.wanted.is_some()).map(|p| p.mid.as_deref());
        let wanted = wanted.map_or_else(|| same().collect(), <[_]>::to_vec);
        if wanted.is_empty() {
            return Err(bad("a later offer must have at least one video section"));
        }
        let later = read(sdp, self.own, &wanted, &self.pictures)?;
        let taken = later.pictures.iter().filter(|p| p.wanted.is_some()).count();
        if taken < wanted.len() {
            let why = later.left_out.join("; ");
            return Err(bad(format!(
                "a later offer must have room for everything that is requested; missing: {why}"
            )));
        }
        renewed(self, later)
    }

    /// Whether this offer restarts the current ICE session.
    pub fn restarts(&self, in_effect: &Self) -> bool {
        (&self.ice.ufrag, &self.ice.pwd) != (&in_effect.ice.ufrag, &in_effect.ice.pwd)
    }

    /// The offer with the credentials and candidates of a restarted ICE session (RFC 8840 section 9), as if
    /// the viewer had sent a new offer.
    pub fn restarted(&self, ufrag: &str, pwd: &str, candidates: &[(String, String)]) -> Result<Self, Error> {
        let ice = Ice { lite: self.ice.lite, ..Ice::new(ufrag, pwd, candidates)? };
        Ok(Self { ice, ..self.clone() })
    }
}

/// The current offer with the sections and the ICE session of a later one, which must otherwise be equal:
/// webrtc can't undo a half-applied offer, so it sees nothing that it has not accepted before.
fn renewed(in_effect: &Playable, later: Playable) -> Result<Playable, Error> {
    let wants = |p: &Playable| {
        let sound = p.places.iter().find(|place| place.part == Part::Sound).map(|place| place.mid.clone());
        let audio = p.audio.as_ref().map(|a| a.payload_type);
        (sound, p.video.payload_type, p.video.rtx, audio)
    };
    if wants(&later) != wants(in_effect) {
        return Err(bad("a later offer must have the same media section for sound, and the same formats"));
    }
    let goes_on = |p: &Picture| in_effect.pictures.iter().any(|before| before.source == p.source);
    if !later.pictures.iter().all(goes_on) && later.video_extensions != in_effect.video_extensions {
        return Err(bad("a later offer must have the same header extensions"));
    }
    if later.pictures.len() > MOST_PICTURES {
        return Err(bad("too many media sections have been added; connect again"));
    }
    if later.dtls.fingerprint != in_effect.dtls.fingerprint {
        return Err(bad("a later offer must have the same certificate fingerprint"));
    }
    // DTLS continues, and so do its roles (RFC 8842 section 5.5).
    let Playable { ice, places, carrier, bundle, pictures, left_out, .. } = later;
    Ok(Playable { ice, places, carrier, bundle, pictures, left_out, ..in_effect.clone() })
}

/// The section for the sound: the first suitable one on the picture's transport.
fn choose_audio(
    offer: &Description,
    video: &Video,
    group: Option<&[usize]>,
    left_out: &mut Vec<String>,
) -> Option<(usize, Audio)> {
    let playable = |(at, section): (usize, &Section)| {
        let wanted =
            section.kind == "audio" && PROTOCOLS.contains(&section.protocol) && receives(offer, at, section);
        Some((at, Audio::choose(section, video).filter(|_| wanted)?))
    };
    let mut apart = false;
    for (at, audio) in offer.sections.iter().enumerate().filter_map(playable) {
        if group.is_some_and(|g| g.contains(&at)) {
            return Some((at, audio));
        }
        apart = true;
    }
    if apart {
        left_out.push(
            "the sound: the offer does not bundle it with the video (a=group:BUNDLE), \
             and this device sends everything over one connection"
                .into(),
        );
    }
    None
}

/// Whether the first section of a bundle must be kept as `inactive` although nothing is sent in it. With the
/// policy "max-bundle" the offerer has a single transport, that of the first section: Chromium refuses an
/// answer in which this section is rejected but others are not, and GStreamer finds no path after one.
/// Neither marks the other sections as bundle-only. Such an offer has candidates only in the first section;
/// attributes that only full WebRTC stacks send distinguish it from offers of simpler clients, which want the
/// section rejected.
fn holds_transport(offer: &Description, bundle: &[usize]) -> bool {
    let Some((first, others)) = bundle.split_first() else { return false };
    let first = &offer.sections[*first];
    let stack = value(&offer.session, "msid-semantic").is_some() || first.has("rtcp-mux-only");
    stack
        && matches!(first.kind, "audio" | "video")
        && PROTOCOLS.contains(&first.protocol)
        && first.port != 0
        && !first.formats.is_empty()
        && others.iter().all(|at| offer.sections[*at].value("candidate").is_none())
}

/// Whether a section would receive. No direction means sendrecv, and the session's direction applies to all
/// (RFC 8866 section 6.7). Port 0 is a refusal, unless the section exists only within its bundle (RFC 9143
/// section 6).
fn receives(offer: &Description, at: usize, section: &Section) -> bool {
    let direction = |lines: &[&str]| {
        let names = lines.iter().filter_map(|l| l.strip_prefix("a="));
        names
            .filter(|n| matches!(*n, "sendrecv" | "recvonly" | "sendonly" | "inactive"))
            .map(str::to_owned)
            .next()
    };
    let direction = direction(&section.lines).or_else(|| direction(&offer.session));
    let open = section.port != 0 || (section.has("bundle-only") && offer.bundled_with(at).is_some());
    open && matches!(direction.as_deref(), None | Some("sendrecv" | "recvonly"))
}

fn bad(why: impl Into<String>) -> Error {
    Error::BadOffer(why.into())
}

fn not_playable(why: &str) -> Error {
    Error::NotPlayable(why.to_owned())
}

#[cfg(test)]
mod tests;
