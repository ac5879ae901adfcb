//! The transport in an offer: the ICE session, the certificate's fingerprint and the DTLS roles.
//!
//! Everything is sent over one transport, that of the bundle's first accepted section (RFC 9143 section 7.3).
//! Attributes that this section lacks come from the session, or from the rest of its bundle.

use std::net::IpAddr;

use super::parse::{Description, Section, value, values};
use super::{Error, bad, not_playable};

/// Most candidates of an offer that are used; each is pinged from each of our sockets.
const MOST_CANDIDATES: usize = 16;
/// The certificate hash that webrtc can compute (RFC 8122 requires it from everybody), and its length in
/// bytes.
const HASH: (&str, usize) = ("sha-256", 32);

/// The viewer's side of an ICE session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ice {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub pwd: String,
    /// Whether it only answers checks (RFC 8445 section 2.5).
    pub lite: bool,
    /// Candidates worth a check.
    pub candidates: Vec<String>,
}

/// The viewer's side of DTLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dtls {
    /// Fingerprint of its certificate, in upper case.
    pub fingerprint: String,
    /// Whether the viewer begins the handshake, so that we answer `passive`.
    pub viewer_begins: bool,
}

/// The places in an offer that may describe the transport, the nearest first.
pub(super) struct Speakers<'a, 'b> {
    own: &'b Section<'a>,
    session: &'b [&'a str],
    bundle: Vec<&'b Section<'a>>,
}

impl<'a, 'b> Speakers<'a, 'b> {
    /// For section `at`, which carries the transport for all of `bundle`.
    pub(super) fn new(offer: &'b Description<'a>, at: usize, bundle: &[usize]) -> Self {
        let bundle = bundle.iter().filter(|b| **b != at).map(|b| &offer.sections[*b]).collect();
        Self { own: &offer.sections[at], session: &offer.session, bundle }
    }

    fn lines(&self) -> impl Iterator<Item = &[&'a str]> {
        let bundle = self.bundle.iter().map(|s| &s.lines[..]);
        [&self.own.lines[..], self.session].into_iter().chain(bundle)
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        self.lines().find_map(|lines| value(lines, name))
    }
}

impl Ice {
    /// Reads the ICE session from an offer.
    pub(super) fn of(speakers: &Speakers) -> Result<Self, Error> {
        let missing = |name| bad(format!("the offer has no ICE credentials (a={name})"));
        let ufrag = speakers.find("ice-ufrag").ok_or_else(|| missing("ice-ufrag"))?;
        let pwd = speakers.find("ice-pwd").ok_or_else(|| missing("ice-pwd"))?;
        let attributes = |lines: &[&str]| {
            let usable =
                values(lines, "candidate").filter_map(|c| usable_candidate(&format!("candidate:{c}")));
            let mut candidates: Vec<String> = usable.take(MOST_CANDIDATES).collect();
            candidates.dedup();
            candidates
        };
        // Candidates of a different section belong to a transport that may not exist after the answer: only
        // as a last resort.
        let candidates = speakers.lines().map(attributes).find(|c| !c.is_empty()).unwrap_or_default();
        let lite = speakers.session.contains(&"a=ice-lite");
        Ok(Self { lite, candidates, ..Self::new(ufrag, pwd, &[])? })
    }

    /// A full agent with these credentials and candidates (`candidate:...`).
    pub(super) fn new(ufrag: &str, pwd: &str, candidates: &[(String, String)]) -> Result<Self, Error> {
        // RFC 8839 section 5.4 allows fewer characters. Anything but a space is harmless, and occurs.
        let clean = |s: &str| (4..=256).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_graphic());
        if !clean(ufrag) || !clean(pwd) {
            return Err(bad("the ICE credentials are malformed (RFC 8839 section 5.4)"));
        }
        let candidates = candidates.iter().filter_map(|(_, c)| usable_candidate(c)).take(MOST_CANDIDATES);
        Ok(Self { ufrag: ufrag.into(), pwd: pwd.into(), lite: false, candidates: candidates.collect() })
    }
}

impl Dtls {
    /// Reads the DTLS attributes from an offer.
    pub(super) fn of(speakers: &Speakers) -> Result<Self, Error> {
        let mut fingerprints = speakers.lines().flat_map(|lines| values(lines, "fingerprint")).peekable();
        if fingerprints.peek().is_none() {
            return Err(bad(
                "the offer has no certificate fingerprint (a=fingerprint), but this device sends nothing unencrypted",
            ));
        }
        let fingerprint = fingerprints.find_map(fingerprint).ok_or_else(|| {
            not_playable(
                "the offer has no valid certificate fingerprint (a=fingerprint) with the hash sha-256, \
                 the only hash this device can check",
            )
        })?;
        let lite = speakers.session.contains(&"a=ice-lite");
        let viewer_begins = match speakers.find("setup") {
            Some("actpass") => lite, // such a viewer receives nothing before it has been checked
            Some("passive") => false,
            _ => true, // "active", which is also the default (RFC 4145 section 4)
        };
        Ok(Self { fingerprint, viewer_begins })
    }

    /// The role in our answer.
    pub(super) fn answered(&self) -> &'static str {
        if self.viewer_begins { "passive" } else { "active" }
    }

    /// The role in webrtc's offer: a choice of its own could differ from our answer.
    pub(super) fn offered(&self) -> &'static str {
        if self.viewer_begins { "active" } else { "passive" }
    }
}

/// The fingerprint in a value of `a=fingerprint`, if we can check it: names of hashes and digits may be upper
/// or lower case (RFC 8122 section 5).
fn fingerprint(value: &str) -> Option<String> {
    let (hash, fingerprint) = value.split_once(' ')?;
    let fingerprint = fingerprint.trim();
    let octet = |o: &str| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit());
    let whole = fingerprint.split(':').count() == HASH.1 && fingerprint.split(':').all(octet);
    (hash.eq_ignore_ascii_case(HASH.0) && whole).then(|| fingerprint.to_ascii_uppercase())
}

/// How many candidates an offer has, in all its sections, and to how many of them we can send.
pub fn count_candidates(sdp: &str) -> (usize, usize) {
    let candidates = sdp.lines().filter_map(|l| l.strip_prefix("a=")).filter(|l| l.starts_with("candidate:"));
    candidates.fold((0, 0), |(named, usable), candidate| {
        (named + 1, usable + usize::from(usable_candidate(candidate).is_some()))
    })
}

/// A remote candidate (`candidate:...`) in its simplest form, if pinging it makes sense: UDP, our only
/// component, and an IP address. Names (`.local`, RFC 8828) are not resolved: such a browser pings us first,
/// and we learn its address.
pub fn usable_candidate(candidate: &str) -> Option<String> {
    let mut words = candidate.trim().strip_prefix("candidate:")?.split_ascii_whitespace();
    let (foundation, component, transport) = (words.next()?, words.next()?, words.next()?);
    let priority: u32 = words.next()?.parse().ok()?;
    let address: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    let kind = words.next().filter(|w| *w == "typ").and(words.next())?;
    let usable = foundation.len() <= 64
        && foundation.bytes().all(|b| b.is_ascii_graphic())
        && component == "1"
        && transport.eq_ignore_ascii_case("udp")
        && port != 0
        && !address.is_unspecified()
        && !address.is_multicast()
        && !candidate.contains(['\r', '\n']);
    let related = match kind {
        "host" => "",
        "srflx" | "prflx" | "relay" => " raddr 0.0.0.0 rport 0",
        _ => return None,
    };
    usable.then(|| format!("candidate:{foundation} 1 udp {priority} {address} {port} typ {kind}{related}"))
}
