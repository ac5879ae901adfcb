//! Chooses the payload types of an offer: one H.264 format with its retransmissions, and Opus.
//!
//! webrtc matches codecs loosely (it accepts an offer of packetization-mode 0 and sends mode 1) and echoes
//! the offerer's format parameters, so the choice is made here.

use super::parse::{Format, Section, values};
use super::{Error, not_playable};
use crate::media::h264::ProfileLevelId;

/// Feedback about single packets, which needs transport-wide numbers.
const SINGLE: &str = "transport-cc";
/// The viewer's own estimate (draft-alvestrand-rmcat-remb-03).
const ESTIMATE: &str = "goog-remb";
/// RTCP feedback that we handle.
const VIDEO_FEEDBACK: [&str; 5] = ["ccm fir", "nack", "nack pli", SINGLE, ESTIMATE];
const AUDIO_FEEDBACK: [&str; 1] = [SINGLE];

/// An H.264 format of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// Payload type.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588), if offered.
    pub rtx: Option<u8>,
    /// Format parameters of our answer.
    pub fmtp: String,
    /// Offered feedback that we handle (`a=rtcp-fb`).
    pub feedback: Vec<&'static str>,
}

/// An Opus format of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Payload type.
    pub payload_type: u8,
    /// Format parameters of our answer.
    pub fmtp: String,
    /// Offered feedback that we handle (`a=rtcp-fb`).
    pub feedback: Vec<&'static str>,
}

impl Video {
    /// The offered H.264 format nearest to constrained baseline, which we send and every profile's decoder
    /// plays. `own` is the profile that the encoder emits.
    pub fn choose(section: &Section, own: ProfileLevelId) -> Result<Self, Error> {
        let offered = section.payload_types();
        let h264: Vec<_> = offered.iter().filter(|(_, f)| f.is("H264", "90000", &["1"])).collect();
        if h264.is_empty() {
            return Err(not_playable(
                "this browser or player does not offer H.264, the only video format this device sends",
            ));
        }
        let (payload_type, profile) = h264
            .iter()
            .filter(|(_, f)| parameter(f.parameters, "packetization-mode") == Some("1"))
            .map(|(pt, f)| (*pt, profile(f.parameters)))
            .min_by_key(|(_, profile)| rank(*profile))
            .ok_or_else(|| {
                not_playable(
                    "this browser or player offers H.264 only in packetization-mode 0, \
                     but this device sends mode 1",
                )
            })?;
        let apt = payload_type.to_string();
        let rtx = offered
            .iter()
            .filter(|(pt, f)| *pt != payload_type && f.is("rtx", "90000", &["1"]))
            .find(|(_, f)| parameter(f.parameters, "apt") == Some(&apt))
            .map(|(pt, _)| *pt);
        // The profile must be the offered one; the level may be ours (RFC 6184 section 8.2.2).
        let id = if rank(profile) == 0 { own } else { ProfileLevelId([profile[0], profile[1], own.0[2]]) };
        let fmtp = format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={id}");
        let feedback = feedback(section, payload_type, &VIDEO_FEEDBACK);
        Ok(Self { payload_type, rtx, fmtp, feedback })
    }

    /// Whether the viewer can report single packets.
    pub fn reports(&self) -> bool {
        self.feedback.contains(&SINGLE)
    }

    /// Keeps one kind of feedback about the link: about single packets if they are `numbered`, else the viewer's own
    /// estimate.
    pub fn numbered(&mut self, numbered: bool) {
        let other = if numbered { ESTIMATE } else { SINGLE };
        self.feedback.retain(|feedback| *feedback != other);
    }

    /// Its payload types.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> {
        std::iter::once(self.payload_type).chain(self.rtx)
    }

    /// Its `rtpmap`, `fmtp` and `rtcp-fb` attributes.
    pub fn attributes(&self) -> Vec<String> {
        let mut lines = attributes(self.payload_type, "H264/90000", &self.fmtp, &self.feedback);
        if let Some(rtx) = self.rtx {
            lines.extend(attributes(rtx, "rtx/90000", &format!("apt={}", self.payload_type), &[]));
        }
        lines
    }
}

impl Audio {
    /// The first Opus format whose payload type `taken` does not use: bundled sections share the payload
    /// types (RFC 9143 section 9.1).
    pub fn choose(section: &Section, taken: &Video) -> Option<Self> {
        let (payload_type, offered) = section
            .payload_types()
            .into_iter()
            .filter(|(pt, _)| taken.payload_types().all(|t| t != *pt))
            .find(|(_, f)| f.is("opus", "48000", &["2"]))?;
        let stereo = match parameter(offered.parameters, "stereo") {
            Some("1") => ";stereo=1;sprop-stereo=1",
            _ => "",
        };
        let fmtp = format!("minptime=10;useinbandfec=1{stereo}");
        Some(Self { payload_type, fmtp, feedback: feedback(section, payload_type, &AUDIO_FEEDBACK) })
    }

    /// Its `rtpmap`, `fmtp` and `rtcp-fb` attributes.
    pub fn attributes(&self) -> Vec<String> {
        attributes(self.payload_type, "opus/48000/2", &self.fmtp, &self.feedback)
    }
}

impl Format<'_> {
    /// Whether it is this codec (case does not matter, RFC 8866 section 6.6), without parameters other than
    /// `channels`.
    fn is(&self, name: &str, clock_rate: &str, channels: &[&str]) -> bool {
        let mut words = self.codec.trim().split('/');
        words.next().is_some_and(|w| w.eq_ignore_ascii_case(name))
            && words.next() == Some(clock_rate)
            && words.next().is_none_or(|w| channels.contains(&w))
    }
}

fn attributes(payload_type: u8, codec: &str, fmtp: &str, feedback: &[&str]) -> Vec<String> {
    let mut lines = vec![format!("a=rtpmap:{payload_type} {codec}"), format!("a=fmtp:{payload_type} {fmtp}")];
    lines.extend(feedback.iter().map(|f| format!("a=rtcp-fb:{payload_type} {f}")));
    lines
}

/// The feedback in `known` that is offered for a payload type, or for all (RFC 4585 section 4.2).
fn feedback(section: &Section, payload_type: u8, known: &[&'static str]) -> Vec<&'static str> {
    let payload_type = payload_type.to_string();
    let offered: Vec<&str> = values(&section.lines, "rtcp-fb")
        .filter_map(|v| v.split_once(' '))
        .filter(|(pt, _)| *pt == "*" || *pt == payload_type)
        .map(|(_, feedback)| feedback.trim())
        .collect();
    known.iter().filter(|f| offered.contains(f)).copied().collect()
}

/// A parameter of a format (`a=fmtp`).
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';')
        .filter_map(|p| p.trim().split_once('='))
        .find_map(|(n, v)| n.eq_ignore_ascii_case(name).then_some(v.trim()))
}

/// The two bytes of the profile; without them it is baseline (RFC 6184 section 8.1).
fn profile(fmtp: &str) -> [u8; 2] {
    let id = parameter(fmtp, "profile-level-id").filter(|id| id.len() == 6 && id.is_ascii());
    match id.and_then(|id| u32::from_str_radix(id, 16).ok()) {
        Some(id) => [(id >> 16) as u8, (id >> 8) as u8],
        None => [0x42, 0],
    }
}

/// Distance from constrained baseline, which is 0 (profile_idc 66 with constraint_set1_flag, ITU-T H.264
/// annex A.2.1.1).
fn rank([profile_idc, constraints]: [u8; 2]) -> u8 {
    match profile_idc {
        0x42 if constraints & 0x40 != 0 => 0,
        0x42 => 1,
        0x4d => 2,
        0x64 => 3,
        _ => 4,
    }
}
