//! What an offer must have, and the offer that webrtc gets to see: only what we can send.
//!
//! webrtc matches codecs loosely (it answers an offer of packetization-mode 0 and sends mode 1), refuses an offer
//! for one candidate or format it cannot read, and echoes the offerer's format parameters. So the choice is made
//! here, and what remains of the offer is one H.264 format with its RTX, and Opus. The answer then echoes *our*
//! parameters, by construction.

use std::net::IpAddr;

use super::Error;
use crate::media::h264::ProfileLevelId;

/// Candidates of one offer that are used; each is pinged from each of our sockets.
const MOST_CANDIDATES: usize = 16;

/// An offer we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playable {
    /// The offer, reduced to what we take.
    pub offer: String,
    /// The H.264 format taken.
    pub video: Video,
    /// The Opus format taken, if sound is wanted.
    pub audio: Option<Audio>,
    /// Whether the offer has a BUNDLE group; if not, the answer must not (RFC 9143 section 7.3).
    bundled: bool,
}

/// One H.264 format of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// Payload type.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588), if offered.
    pub rtx: Option<u8>,
    /// Format parameters of our answer.
    pub fmtp: String,
}

/// One Opus format of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Payload type.
    pub payload_type: u8,
    /// Format parameters of our answer.
    pub fmtp: String,
}

/// Reads an offer; `own` is what the encoder emits.
pub fn check(sdp: &str, own: ProfileLevelId) -> Result<Playable, Error> {
    let (session, sections) = split(sdp)?;
    let find = |kind| sections.iter().position(|s| s.kind == kind && s.wants_media());
    if !sections.iter().any(|s| s.kind == "video") {
        return Err(not_playable("the offer has no video section, and this device sends video"));
    }
    let Some(v) = find("video") else {
        return Err(not_playable(
            "the offer does not ask to receive video (its video section is not recvonly or sendrecv)",
        ));
    };
    let video = choose_video(&sections[v], own)?;
    let audio_at = find("audio");
    let audio = audio_at.and_then(|a| choose_audio(&sections[a]));
    let bundle = value(&session, "group").filter(|g| g.starts_with("BUNDLE"));
    if bundle.is_none() && sections.len() > 1 {
        return Err(not_playable(
            "the offer does not bundle its media sections (a=group:BUNDLE), and this device sends all over one connection",
        ));
    }
    for (name, what) in [
        ("ice-ufrag", "ICE credentials"),
        ("ice-pwd", "ICE credentials"),
        ("fingerprint", "certificate fingerprint"),
    ] {
        if value(&session, name).is_none() && sections.iter().all(|s| s.value(name).is_none()) {
            return Err(bad(format!("the offer has no {what} (a={name})")));
        }
    }
    let mut offer = vec![];
    offer.extend(session.iter().map(|l| (*l).to_owned()));
    if bundle.is_none() {
        offer.push(format!("a=group:BUNDLE {}", sections[v].mid()?));
    }
    for (at, section) in sections.iter().enumerate() {
        section.mid()?;
        match &audio {
            _ if at == v => section.reduce(&video.formats(), &mut offer),
            Some(audio) if Some(at) == audio_at => section.reduce(&audio.formats(), &mut offer),
            _ => section.keep(&mut offer),
        }
    }
    drop_candidates(&mut offer);
    offer.push(String::new());
    Ok(Playable { offer: offer.join("\r\n"), video, audio, bundled: bundle.is_some() })
}

impl Playable {
    /// The offer with the credentials and candidates of a restarted ICE session (RFC 8840 section 9), as if the viewer had
    /// offered anew.
    pub fn restarted(&self, ufrag: &str, pwd: &str, candidates: &[(String, String)]) -> Result<Self, Error> {
        Ok(Self { offer: restarted(&self.offer, ufrag, pwd, candidates)?, ..self.clone() })
    }

    /// Our answer as it goes out: with our candidates instead of webrtc's, which are placeholders, in the first section for
    /// all (RFC 9143 section 7.3.4); `complete` if there will be no more. It says that candidates may trickle in (RFC 8838
    /// section 4.1.1).
    pub fn answer(&self, sdp: &str, candidates: &[String], complete: bool) -> String {
        let mut answer: Vec<String> = vec![];
        let mut sections = 0;
        let end = |answer: &mut Vec<String>| {
            answer.extend(candidates.iter().map(|c| format!("a={c}")));
            answer.extend(complete.then(|| "a=end-of-candidates".to_owned()));
        };
        for line in sdp.lines() {
            if line.starts_with("m=") {
                match sections {
                    0 => answer.push("a=ice-options:trickle".into()),
                    1 => end(&mut answer),
                    _ => {}
                }
                sections += 1;
            }
            let bundle = !self.bundled && line.starts_with("a=group:BUNDLE");
            let theirs = line.starts_with("a=candidate:") || line == "a=end-of-candidates";
            if !theirs && !bundle {
                answer.push(line.to_owned());
            }
        }
        if sections == 1 {
            end(&mut answer);
        }
        answer.push(String::new());
        answer.join("\r\n")
    }
}

fn restarted(offer: &str, ufrag: &str, pwd: &str, candidates: &[(String, String)]) -> Result<String, Error> {
    // ice-char of RFC 8839 section 5.4: anything else could smuggle lines into the description.
    let clean = |s: &str| {
        (4..=256).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    };
    if !clean(ufrag) || !clean(pwd) {
        return Err(bad("the new ICE credentials are malformed (RFC 8839 section 5.4)"));
    }
    let mut lines = vec![];
    let mut sections = 0;
    for line in offer.lines() {
        let name = line.strip_prefix("a=").unwrap_or("");
        match name.split(':').next().unwrap_or("") {
            "ice-ufrag" => lines.push(format!("a=ice-ufrag:{ufrag}")),
            "ice-pwd" => lines.push(format!("a=ice-pwd:{pwd}")),
            "candidate" | "end-of-candidates" => {}
            _ => lines.push(line.to_owned()),
        }
        sections += usize::from(line.starts_with("m="));
        if line.starts_with("m=") && sections == 1 {
            let usable = candidates.iter().filter_map(|(_, c)| usable_candidate(c)).take(MOST_CANDIDATES);
            lines.extend(usable.map(|c| format!("a={c}")));
        }
    }
    lines.push(String::new());
    Ok(lines.join("\r\n"))
}

/// The offer in effect with the new ICE session of a later offer, which must otherwise want the same: webrtc has no way
/// back from an offer that it has half applied, so it gets to see nothing that it has not taken before.
pub fn renewed(in_effect: &Playable, offer: &Playable) -> Result<Playable, Error> {
    let (session, sections) = split(&offer.offer)?;
    let (session_before, sections_before) = split(&in_effect.offer)?;
    let shape = |sections: &[Section]| {
        sections.iter().map(|s| (s.kind.to_owned(), s.value("mid").map(str::to_owned))).collect::<Vec<_>>()
    };
    let certificate = |session: &[&str], sections: &[Section]| {
        let first = sections.iter().find_map(|s| s.value("fingerprint"));
        value(session, "fingerprint").or(first).map(str::to_ascii_lowercase)
    };
    if shape(&sections) != shape(&sections_before)
        || (&offer.video, &offer.audio) != (&in_effect.video, &in_effect.audio)
    {
        return Err(bad("a later offer may restart ICE, but must have the same media sections and formats"));
    }
    if certificate(&session, &sections) != certificate(&session_before, &sections_before) {
        return Err(bad("a later offer may restart ICE, but must have the same certificate fingerprint"));
    }
    let get = |name| sections.iter().find_map(|s| s.value(name)).or_else(|| value(&session, name));
    let (Some(ufrag), Some(pwd)) = (get("ice-ufrag"), get("ice-pwd")) else {
        return Err(bad("the offer has no ICE credentials"));
    };
    let candidates = sections.iter().flat_map(|s| &s.lines).filter(|l| l.starts_with("a=candidate:"));
    let candidates: Vec<_> = candidates.map(|l| (String::new(), l["a=".len()..].to_owned())).collect();
    in_effect.restarted(ufrag, pwd, &candidates)
}

/// A remote candidate (`candidate:...`) if pinging it makes sense: UDP, our only component, and an address. Names
/// (`.local`, RFC 8828) we do not resolve: such a browser pings us first and is known by that.
pub fn usable_candidate(candidate: &str) -> Option<&str> {
    let candidate = candidate.trim();
    let mut words = candidate.strip_prefix("candidate:")?.split_ascii_whitespace().skip(1);
    let (component, transport, _priority, address) =
        (words.next()?, words.next()?, words.next()?, words.next()?);
    let port: u16 = words.next()?.parse().ok()?;
    let address: IpAddr = address.parse().ok()?;
    let known = words.next()? == "typ" && matches!(words.next()?, "host" | "srflx" | "prflx" | "relay");
    let plain = candidate.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let usable = component == "1"
        && transport.eq_ignore_ascii_case("udp")
        && port != 0
        && !address.is_unspecified()
        && !address.is_multicast();
    (known && plain && usable).then_some(candidate)
}

/// ICE credentials and candidates of our own answer: of its first section, which carries them for all.
pub fn ice_of(answer: &str) -> Option<super::Fragment> {
    let (session, sections) = split(answer).ok()?;
    let first = sections.first()?;
    let get = |name| first.value(name).or_else(|| value(&session, name)).map(str::to_owned);
    let mid = first.mid().ok()?;
    let candidates = first.lines.iter().filter(|l| l.starts_with("a=candidate:"));
    Some(super::Fragment {
        ufrag: get("ice-ufrag")?,
        pwd: get("ice-pwd")?,
        mid: mid.to_owned(),
        candidates: candidates.map(|l| (mid.to_owned(), l["a=".len()..].to_owned())).collect(),
    })
}

/// One media section, from its `m=` line on.
struct Section<'a> {
    kind: &'a str,
    /// Payload types, where it is RTP.
    formats: Vec<&'a str>,
    lines: Vec<&'a str>,
}

/// Session lines and media sections.
fn split(sdp: &str) -> Result<(Vec<&str>, Vec<Section<'_>>), Error> {
    let mut lines = sdp.lines().map(str::trim_end).filter(|l| !l.is_empty()).peekable();
    if lines.peek() != Some(&"v=0") {
        return Err(bad("this is no session description: it does not begin with v=0"));
    }
    let mut session = vec![];
    let mut sections: Vec<Section> = vec![];
    for line in lines {
        let bytes = line.as_bytes();
        if bytes.len() < 2
            || bytes[1] != b'='
            || !bytes[0].is_ascii_lowercase()
            || line.chars().any(char::is_control)
        {
            return Err(bad("this is no session description: a line is not of the form x=value"));
        }
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split_ascii_whitespace();
            let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
                return Err(bad("a media line (m=) lacks its port or protocol"));
            };
            let rtp = protocol.contains("RTP");
            if matches!(kind, "audio" | "video") && !(rtp && protocol.contains("TLS")) {
                return Err(bad("a media section is not encrypted (UDP/TLS/RTP/SAVPF is needed)"));
            }
            if port.split('/').next().and_then(|p| p.parse::<u16>().ok()).is_none() {
                return Err(bad("a media line (m=) has no valid port"));
            }
            let formats = if rtp { words.collect() } else { vec![] };
            sections.push(Section { kind, formats, lines: vec![line] });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        } else {
            session.push(line);
        }
    }
    if sections.is_empty() {
        return Err(bad("the session description has no media section"));
    }
    Ok((session, sections))
}

fn value<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|l| l.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

impl<'a> Section<'a> {
    fn value(&self, name: &str) -> Option<&'a str> {
        value(&self.lines, name)
    }

    fn mid(&self) -> Result<&'a str, Error> {
        self.value("mid").filter(|m| !m.is_empty()).ok_or_else(|| bad("a media section has no a=mid"))
    }

    fn direction(&self) -> Option<&'a str> {
        self.lines
            .iter()
            .filter_map(|l| l.strip_prefix("a="))
            .find(|l| matches!(*l, "sendrecv" | "recvonly" | "sendonly" | "inactive"))
    }

    /// Whether it would receive. No direction means sendrecv (RFC 8866 section 6.7).
    fn wants_media(&self) -> bool {
        matches!(self.direction(), None | Some("sendrecv" | "recvonly"))
    }

    /// An attribute about payload type `pt`: `a=name:pt content`.
    fn about(&self, name: &str, pt: &str) -> Option<&'a str> {
        self.lines.iter().find_map(|l| {
            let (about, content) =
                l.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')?.split_once(' ')?;
            (about == pt).then_some(content)
        })
    }

    /// Payload types of codec `name` ("H264/90000"), in the offerer's order.
    fn payload_types(&self, name: &str) -> impl Iterator<Item = (u8, &'a str)> {
        self.formats.iter().filter_map(move |pt| {
            let codec = self.about("rtpmap", pt)?;
            let same = codec.get(..name.len())?.eq_ignore_ascii_case(name)
                && codec[name.len()..].trim_start_matches("/2").is_empty();
            Some((pt.parse().ok().filter(|pt| *pt < 128 && same)?, self.about("fmtp", pt).unwrap_or("")))
        })
    }

    /// Everything but the formats that we do not take, with our parameters for those that we do.
    fn reduce(&self, formats: &[(u8, String)], out: &mut Vec<String>) {
        let taken = |pt: &str| pt == "*" || formats.iter().any(|(f, _)| pt.parse() == Ok(*f));
        for line in &self.lines {
            if line.starts_with("m=") {
                let head: Vec<&str> = line.split_ascii_whitespace().take(3).collect();
                let pts: Vec<String> = formats.iter().map(|(pt, _)| pt.to_string()).collect();
                out.push(format!("{} {}", head.join(" "), pts.join(" ")));
                continue;
            }
            let about = ["rtpmap:", "rtcp-fb:", "fmtp:"]
                .iter()
                .find_map(|n| line.strip_prefix("a=")?.strip_prefix(n));
            let pt = about.map(|a| a.split(' ').next().unwrap_or(""));
            if pt.is_none_or(taken) && !line.starts_with("a=fmtp:") {
                out.push((*line).to_owned());
            }
        }
        out.extend(formats.iter().map(|(pt, fmtp)| format!("a=fmtp:{pt} {fmtp}")));
        if self.direction().is_none() {
            out.push("a=sendrecv".into());
        }
    }

    fn keep(&self, out: &mut Vec<String>) {
        out.extend(self.lines.iter().map(|l| (*l).to_owned()));
    }
}

impl Video {
    fn formats(&self) -> Vec<(u8, String)> {
        let rtx = self.rtx.map(|pt| (pt, format!("apt={}", self.payload_type)));
        std::iter::once((self.payload_type, self.fmtp.clone())).chain(rtx).collect()
    }
}

impl Audio {
    fn formats(&self) -> Vec<(u8, String)> {
        vec![(self.payload_type, self.fmtp.clone())]
    }
}

/// The offered H.264 format nearest to what we send, which is constrained baseline: every profile's decoder plays it.
fn choose_video(section: &Section, own: ProfileLevelId) -> Result<Video, Error> {
    let h264: Vec<_> = section.payload_types("H264/90000").collect();
    if h264.is_empty() {
        return Err(not_playable(
            "this browser or player does not offer H.264, the only video format this device sends",
        ));
    }
    let (payload_type, offered) = h264
        .iter()
        .filter(|(_, fmtp)| parameter(fmtp, "packetization-mode") == Some("1"))
        .map(|(pt, fmtp)| (*pt, profile(fmtp)))
        .min_by_key(|(_, profile)| rank(*profile))
        .ok_or_else(|| not_playable("this browser or player offers H.264 only in packetization-mode 0, and this device sends mode 1"))?;
    let rtx = section
        .payload_types("rtx/90000")
        .find(|(_, fmtp)| parameter(fmtp, "apt") == Some(&payload_type.to_string()))
        .map(|(pt, _)| pt);
    // The profile must be the offered one, the level may be ours (RFC 6184 section 8.2.2).
    let id = if rank(offered) == 0 { own } else { ProfileLevelId([offered[0], offered[1], own.0[2]]) };
    let fmtp = format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={id}");
    Ok(Video { payload_type, rtx, fmtp })
}

fn choose_audio(section: &Section) -> Option<Audio> {
    let (payload_type, offered) = section.payload_types("opus/48000").next()?;
    let stereo = if parameter(offered, "stereo") == Some("1") { ";stereo=1;sprop-stereo=1" } else { "" };
    Some(Audio { payload_type, fmtp: format!("minptime=10;useinbandfec=1{stereo}") })
}

/// A parameter of a format (`a=fmtp`).
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';')
        .filter_map(|p| p.trim().split_once('='))
        .find_map(|(n, v)| n.eq_ignore_ascii_case(name).then_some(v.trim()))
}

/// The two bytes that name the profile; without them it is baseline (RFC 6184 section 8.1).
fn profile(fmtp: &str) -> [u8; 2] {
    let id = parameter(fmtp, "profile-level-id").filter(|id| id.len() == 6 && id.is_ascii());
    match id.and_then(|id| u32::from_str_radix(id, 16).ok()) {
        Some(id) => [(id >> 16) as u8, (id >> 8) as u8],
        None => [0x42, 0],
    }
}

/// Nearness to constrained baseline, which is 0 (profile_idc 66 with constraint_set1_flag, ITU-T H.264 annex A.2.1.1).
fn rank([profile_idc, constraints]: [u8; 2]) -> u8 {
    match profile_idc {
        0x42 if constraints & 0x40 != 0 => 0,
        0x42 => 1,
        0x4d => 2,
        0x64 => 3,
        _ => 4,
    }
}

/// Drops the offer's candidates that are no use, and those of all sections but the first: one transport is bundled.
fn drop_candidates(offer: &mut Vec<String>) {
    let (mut sections, mut kept) = (0, 0);
    offer.retain(|line| {
        sections += usize::from(line.starts_with("m="));
        if line == "a=end-of-candidates" {
            return sections == 1;
        }
        if !line.starts_with("a=candidate:") {
            return true;
        }
        let keep = sections == 1 && kept < MOST_CANDIDATES && usable_candidate(&line["a=".len()..]).is_some();
        kept += usize::from(keep);
        keep
    });
}

fn bad(why: impl Into<String>) -> Error {
    Error::BadOffer(why.into())
}

fn not_playable(why: &str) -> Error {
    Error::NotPlayable(why.to_owned())
}

#[cfg(test)]
#[path = "sdp_tests.rs"]
mod tests;
