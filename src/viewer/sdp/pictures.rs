//! Assigns the wanted pictures to video sections of an offer.
//!
//! The section of the first picture decides: all others are sent in its format, with its header extensions
//! and over its transport. Browsers and players offer the same in all of their sections; a section that
//! differs is left out.

use super::extmap::{self, Extension};
use super::formats::Video;
use super::parse::{Description, Section};
use super::{Error, PROTOCOLS, Picture, bad, not_playable, receives};
use crate::media::h264::ProfileLevelId;

/// The section of the first picture, and what was chosen from it.
pub(super) struct First<'a> {
    /// Index of the section.
    pub at: usize,
    /// The format.
    pub video: &'a Video,
    /// The header extensions.
    pub extensions: &'a [Extension],
    /// The sections bundled with it, by index.
    pub bundled: &'a [usize],
}

/// The section that each picture names, by index.
pub(super) fn named(offer: &Description, wanted: &[Option<&str>]) -> Result<Vec<Option<usize>>, Error> {
    let mut named = vec![];
    for mid in wanted {
        let find = |mid: &str| {
            let found = offer.sections.iter().position(|s| s.kind == "video" && s.mid() == Some(mid));
            found.ok_or_else(|| bad(format!("the offer has no video section named {mid:?}")))
        };
        let at = mid.map(find).transpose()?;
        if at.is_some() && named.contains(&at) {
            return Err(bad("two cameras are requested in the same media section"));
        }
        named.push(at);
    }
    Ok(named)
}

/// The section of the first picture: the one that it names, or the first suitable one.
pub(super) fn first(
    offer: &Description,
    own: ProfileLevelId,
    named: &[Option<usize>],
) -> Result<(usize, Video), Error> {
    let wanted = named.first().copied().flatten();
    let may = |at: usize| wanted.map_or_else(|| !named.contains(&Some(at)), |wanted| wanted == at);
    let sections = offer.sections.iter().enumerate();
    let video = sections.filter(|(at, s)| s.kind == "video" && may(*at)).collect::<Vec<_>>();
    if video.is_empty() {
        return Err(not_playable("the offer has no video section, but this device sends video"));
    }
    let mut first_fault = None;
    for (at, section) in video.into_iter().filter(|(at, s)| receives(offer, *at, s)) {
        match choose(section, own) {
            Ok(video) => return Ok((at, video)),
            Err(fault) => first_fault = first_fault.or(Some(fault)),
        }
    }
    Err(first_fault.unwrap_or_else(|| {
        not_playable(
            "the offer does not ask to receive video (its video section is not recvonly or sendrecv, or has port 0)",
        )
    }))
}

/// The sections of all pictures, by index and in order, each with the index of the wanted picture.
pub(super) fn all(
    offer: &Description,
    own: ProfileLevelId,
    named: &[Option<usize>],
    first: &First,
    left_out: &mut Vec<String>,
) -> Vec<(usize, usize)> {
    let mut taken = vec![(first.at, 0)];
    let free = |at: &usize| {
        let section = &offer.sections[*at];
        // An unnamed first picture has skipped sections that are not suitable.
        let passed = named.first() == Some(&None) && *at < first.at;
        !passed
            && *at != first.at
            && section.kind == "video"
            && !named.contains(&Some(*at))
            && receives(offer, *at, section)
    };
    let mut next = (0..offer.sections.len()).filter(free);
    for (wanted, named) in named.iter().enumerate().skip(1) {
        let Some(at) = named.or_else(|| next.next()) else {
            left_out.push("one of the cameras: the offer has no further video section".into());
            continue;
        };
        match first.fault_of(offer, at, own) {
            None => taken.push((at, wanted)),
            Some(why) => {
                let name = offer.sections[at].mid().unwrap_or("without a name");
                left_out.push(format!("the video section {name}: {why}"));
            }
        }
    }
    taken.sort_unstable();
    taken
}

/// The present pictures, and the number of each section that has one: those that were there `before` keep
/// theirs.
pub(super) fn numbered(
    offer: &Description,
    chosen: &[(usize, usize)],
    before: &[Picture],
) -> (Vec<Picture>, Vec<(usize, usize)>) {
    let mut pictures: Vec<_> = before.iter().map(|p| Picture { wanted: None, ..p.clone() }).collect();
    let mut sources = before.iter().map(|p| p.source + 1).max().unwrap_or_default()..;
    let mut number = |(at, wanted): &(usize, usize)| {
        let (mid, wanted) = (offer.sections[*at].mid().map(str::to_owned), Some(*wanted));
        let known = pictures.iter().position(|p| p.mid == mid && p.wanted.is_none());
        let number = known.unwrap_or(pictures.len());
        let goes_on = before.get(number).filter(|p| p.wanted.is_some()).map(|p| p.source);
        let source = goes_on.or_else(|| sources.next()).unwrap_or_default();
        let picture = Picture { mid, wanted, source };
        match known {
            Some(number) => pictures[number] = picture,
            None => pictures.push(picture),
        }
        (*at, number)
    };
    let numbers = chosen.iter().map(&mut number).collect();
    (pictures, numbers)
}

/// Whether a section without a picture had one `before` and may have one again.
pub(super) fn rests(section: &Section, before: &[Picture]) -> bool {
    let mid = section.mid();
    section.kind == "video"
        && PROTOCOLS.contains(&section.protocol)
        && (section.port != 0 || section.has("bundle-only"))
        && mid.is_some()
        && before.iter().any(|picture| picture.mid.as_deref() == mid)
}

impl First<'_> {
    /// Why a different section can't be sent like this one.
    fn fault_of(&self, offer: &Description, at: usize, own: ProfileLevelId) -> Option<String> {
        let section = &offer.sections[at];
        if !receives(offer, at, section) {
            return Some("it does not ask to receive video".into());
        }
        if !self.bundled.contains(&at) {
            return Some(
                "the offer does not bundle it with the first video section (a=group:BUNDLE), \
                 and this device sends everything over one connection"
                    .into(),
            );
        }
        match choose(section, own) {
            Err(fault) => Some(fault.to_string()),
            Ok(video) if video != *self.video => {
                Some("its H.264 format differs from that of the first video section".into())
            }
            Ok(_) if !self.extensions.iter().all(|e| extmap::offers(offer, section, e)) => {
                Some("its header extensions differ from those of the first video section".into())
            }
            Ok(_) => None,
        }
    }
}

fn choose(section: &Section, own: ProfileLevelId) -> Result<Video, Error> {
    if PROTOCOLS.contains(&section.protocol) {
        return Video::choose(section, own);
    }
    Err(bad("the video section's protocol is not one of WebRTC's (such as UDP/TLS/RTP/SAVPF)"))
}
