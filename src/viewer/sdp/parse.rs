//! Parses a session description (RFC 8866): session lines, media sections and their attributes.

use std::collections::HashMap;

use super::{Error, bad};

/// An offer or answer by its lines.
pub(super) struct Description<'a> {
    /// Lines before the first section.
    pub session: Vec<&'a str>,
    /// Media sections in order.
    pub sections: Vec<Section<'a>>,
    /// The bundles: sections by index, each in at most one.
    groups: Vec<Vec<usize>>,
}

/// Most media sections of a description. Browsers with many tracks have dozens.
const MOST_SECTIONS: usize = 256;

/// A media section.
pub struct Section<'a> {
    /// "video", "audio", "application" and others.
    pub kind: &'a str,
    /// 0 if the offerer does not want it, unless it is bundle-only.
    pub port: u16,
    /// "UDP/TLS/RTP/SAVPF" and others.
    pub protocol: &'a str,
    /// Payload types, if it is RTP.
    pub formats: Vec<&'a str>,
    /// Lines after the `m=` line.
    pub lines: Vec<&'a str>,
}

/// The attributes of a payload type.
#[derive(Clone, Copy, Default)]
pub struct Format<'a> {
    /// `a=rtpmap`, such as "H264/90000"; empty if there is none.
    pub codec: &'a str,
    /// `a=fmtp`; empty if there is none.
    pub parameters: &'a str,
}

impl<'a> Description<'a> {
    /// Parses a description. Only what every description has is checked.
    pub(super) fn parse(sdp: &'a str) -> Result<Self, Error> {
        let mut lines = sdp.lines().map(str::trim_end).filter(|l| !l.is_empty()).peekable();
        if lines.peek() != Some(&"v=0") {
            return Err(bad("this is not a session description (SDP): it does not begin with v=0"));
        }
        let (mut session, mut sections): (_, Vec<Section>) = (vec![], vec![]);
        for line in lines {
            let bytes = line.as_bytes();
            if bytes.len() < 2
                || bytes[1] != b'='
                || !bytes[0].is_ascii_lowercase()
                || line.chars().any(char::is_control)
            {
                return Err(bad(
                    "this is not a session description (SDP): a line does not have the form x=value",
                ));
            }
            match (line.strip_prefix("m="), sections.last_mut()) {
                (Some(media), _) => sections.push(Section::new(media)?),
                (None, Some(section)) => section.lines.push(line),
                (None, None) => session.push(line),
            }
        }
        if sections.is_empty() {
            return Err(bad("the session description has no media section"));
        }
        if sections.len() > MOST_SECTIONS {
            return Err(bad("the session description has too many media sections"));
        }
        let groups = groups(&session, &sections);
        Ok(Self { session, sections, groups })
    }

    /// The sections that are bundled with section `at`, by index and in the group's order (RFC 9143 section 7.2); `None` if
    /// no group contains it.
    pub(super) fn bundled_with(&self, at: usize) -> Option<Vec<usize>> {
        self.groups.iter().find(|group| group.contains(&at)).cloned()
    }
}

/// The bundles, each a list of sections without duplicates. A section belongs to the first group that names
/// it; if two sections have the same name, it means the last.
fn groups(session: &[&str], sections: &[Section<'_>]) -> Vec<Vec<usize>> {
    let by_mid: HashMap<_, _> =
        sections.iter().enumerate().filter_map(|(at, s)| Some((s.mid()?, at))).collect();
    let mut groups: Vec<Vec<usize>> = vec![];
    let mut seen = vec![false; sections.len()];
    for line in session.iter().filter_map(|l| l.strip_prefix("a=group:BUNDLE ")) {
        let members = line.split_ascii_whitespace().filter_map(|mid| by_mid.get(mid).copied());
        let members: Vec<_> = members.filter(|at| !std::mem::replace(&mut seen[*at], true)).collect();
        if !members.is_empty() {
            groups.push(members);
        }
    }
    groups
}

impl<'a> Section<'a> {
    fn new(media: &'a str) -> Result<Self, Error> {
        let mut words = media.split_ascii_whitespace();
        let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return Err(bad("a media line (m=) has no port or protocol"));
        };
        let port = port.split('/').next().and_then(|p| p.parse().ok());
        let port = port.ok_or_else(|| bad("a media line (m=) has no valid port"))?;
        Ok(Self { kind, port, protocol, formats: words.collect(), lines: vec![] })
    }

    /// The value of the first attribute of this name.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        value(&self.lines, name)
    }

    /// Whether it has an attribute without a value.
    pub fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|l| l.strip_prefix("a=") == Some(name))
    }

    /// Its name (RFC 5888), if it has one.
    pub fn mid(&self) -> Option<&'a str> {
        self.value("mid").filter(|m| !m.is_empty())
    }

    /// Its payload types in the offerer's order, with their attributes.
    pub fn payload_types(&self) -> Vec<(u8, Format<'a>)> {
        let mut said: HashMap<&str, Format> = HashMap::new();
        for line in &self.lines {
            let Some((name, (payload_type, content))) = line
                .strip_prefix("a=")
                .and_then(|a| a.split_once(':'))
                .and_then(|(n, v)| Some((n, v.split_once(' ')?)))
            else {
                continue;
            };
            match name {
                "rtpmap" => said.entry(payload_type).or_default().codec = content,
                "fmtp" => said.entry(payload_type).or_default().parameters = content,
                _ => {}
            }
        }
        let known = |pt: &&'a str| {
            let number = pt.parse().ok().filter(|pt| *pt < 128)?;
            Some((number, said.get(*pt).copied().unwrap_or_default()))
        };
        self.formats.iter().filter_map(known).collect()
    }
}

/// The value of the first attribute of this name among `lines`.
pub(super) fn value<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    values(lines, name).next()
}

/// The values of all attributes of this name among `lines`.
pub(super) fn values<'a>(lines: &[&'a str], name: &str) -> impl Iterator<Item = &'a str> {
    lines.iter().filter_map(move |l| l.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}
