//! SDP fragments (RFC 8840 section 9, `application/trickle-ice-sdpfrag`): the body of WHEP's PATCH requests.
//!
//! A fragment contains ICE attributes only. Before the first `m=` line they apply to all media sections,
//! after it to the section that its `a=mid` names. Other lines are ignored, as RFC 8840 requires for unknown
//! attributes.

use std::fmt::Write;

/// Most candidates in one fragment. No player has more addresses, and each costs us checks.
const MAX_CANDIDATES: usize = 64;

/// User name fragment and password of an ICE session (RFC 8839 section 5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `ice-ufrag`
    pub ufrag: String,
    /// `ice-pwd`
    pub pwd: String,
}

/// An `a=candidate` or `a=end-of-candidates` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Media section, if the fragment names one.
    pub mid: Option<String>,
    /// `candidate:...` (RFC 8839 section 5.1); empty for the end of candidates.
    pub value: String,
}

/// The contents of a fragment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The sender's credentials, if given: they identify the ICE session.
    pub credentials: Option<Credentials>,
    /// Candidates in order.
    pub candidates: Vec<Candidate>,
}

impl Fragment {
    /// Parses a request's body. The error is a sentence for the client.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut fragment = Self::default();
        let mut attributes = Attributes::default();
        let mut mid: Option<String> = None;
        let mut pending = 0; // candidates of this section that precede its a=mid
        let mut lines = 0;
        for line in text.split('\n').map(|l| l.strip_suffix('\r').unwrap_or(l)).filter(|l| !l.is_empty()) {
            lines += 1;
            if line.bytes().any(|b| b.is_ascii_control() && b != b'\t')
                || line.as_bytes().get(1) != Some(&b'=')
            {
                return Err("a line of the fragment does not have the form x=value");
            }
            if line.starts_with("m=") {
                attributes.end_section()?;
                (mid, pending) = (None, 0);
                continue;
            }
            let Some(attribute) = line.strip_prefix("a=") else { continue };
            let value = if attribute.starts_with("candidate:") {
                candidate(attribute)?;
                attribute
            } else if attribute == "end-of-candidates" {
                ""
            } else if let Some(name) = attribute.strip_prefix("mid:") {
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err("a=mid is not a token");
                }
                mid = Some(name.into());
                let first = fragment.candidates.len() - pending;
                fragment.candidates[first..].iter_mut().for_each(|c| c.mid.clone_from(&mid));
                continue;
            } else {
                attributes.take(attribute)?;
                continue;
            };
            if fragment.candidates.len() == MAX_CANDIDATES {
                return Err("too many candidates in one fragment");
            }
            pending += 1;
            fragment.candidates.push(Candidate { mid: mid.clone(), value: value.into() });
        }
        attributes.end_section()?;
        if lines == 0 {
            return Err("the fragment is empty");
        }
        fragment.credentials = attributes.credentials;
        Ok(fragment)
    }
}

/// Collects `ice-ufrag` and `ice-pwd` of the session and of each section: with everything bundled there is
/// one ICE session, so they must agree.
#[derive(Default)]
struct Attributes {
    ufrag: Option<String>,
    pwd: Option<String>,
    credentials: Option<Credentials>,
}

impl Attributes {
    fn take(&mut self, attribute: &str) -> Result<(), &'static str> {
        if let Some(ufrag) = attribute.strip_prefix("ice-ufrag:") {
            self.ufrag =
                Some(ice_chars(ufrag, 4).ok_or("a=ice-ufrag must be 4 to 256 letters, digits, + or /")?);
        } else if let Some(pwd) = attribute.strip_prefix("ice-pwd:") {
            self.pwd = Some(ice_chars(pwd, 22).ok_or("a=ice-pwd must be 22 to 256 letters, digits, + or /")?);
        }
        Ok(())
    }

    fn end_section(&mut self) -> Result<(), &'static str> {
        let given = match (self.ufrag.take(), self.pwd.take()) {
            (None, None) => return Ok(()),
            (Some(ufrag), Some(pwd)) => Credentials { ufrag, pwd },
            _ => return Err("a=ice-ufrag and a=ice-pwd must come together"),
        };
        match &self.credentials {
            Some(known) if *known != given => Err("the sections' ICE credentials differ; bundle them"),
            _ => {
                self.credentials = Some(given);
                Ok(())
            }
        }
    }
}

fn ice_chars(text: &str, least: usize) -> Option<String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    ((least..=256).contains(&text.len()) && text.bytes().all(fine)).then(|| text.into())
}

/// Checks the syntax of a candidate attribute; ICE decides whether it is usable.
fn candidate(attribute: &str) -> Result<(), &'static str> {
    let mut words = attribute.split(' ');
    let mut next = || words.next().filter(|w| !w.is_empty());
    let fine = next().is_some_and(|w| w.len() > "candidate:".len())
        && next().is_some_and(|component| component.parse::<u8>().is_ok())
        && next().is_some() // transport
        && next().is_some_and(|priority| priority.parse::<u32>().is_ok())
        && next().is_some() // address
        && next().is_some_and(|port| port.parse::<u16>().is_ok())
        && next() == Some("typ")
        && next().is_some();
    if fine { Ok(()) } else { Err("a=candidate does not follow RFC 8839") }
}

/// The parts of our answer that an ICE restart does not change, repeated in the fragment that answers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skeleton {
    /// `a=ice-lite`, `a=ice-options`, `a=ice-pacing` and the bundle group.
    session: Vec<String>,
    /// The `m=` line of the section that carries the transport.
    media: String,
    /// Name of that section.
    mid: String,
}

impl Skeleton {
    /// Takes them from an answer.
    pub fn of(answer: &str) -> Self {
        let mut session: Vec<String> = vec![];
        let mut sections: Vec<(&str, &str)> = vec![];
        for line in answer.lines().map(str::trim_end) {
            let once = ["a=ice-lite", "a=ice-options:", "a=ice-pacing:", "a=group:BUNDLE"];
            if line.starts_with("m=") {
                sections.push((line, ""));
            } else if once.iter().any(|p| line.starts_with(p)) && !session.iter().any(|l| l == line) {
                session.push(line.into());
            } else if let (Some(mid), Some((_, name))) = (line.strip_prefix("a=mid:"), sections.last_mut()) {
                *name = mid;
            }
        }
        // A rejected section (port 0, not bundle-only) carries nothing. The bundle's first section carries
        // the transport for all.
        let group = session.iter().find_map(|l| l.strip_prefix("a=group:BUNDLE "));
        let first = group.and_then(|g| g.split(' ').next());
        let mut taken = sections.into_iter().filter(|(media, _)| media.split(' ').nth(1) != Some("0"));
        let (media, mid) = match first {
            Some(first) => taken.find(|(_, mid)| *mid == first).unwrap_or_default(),
            None => taken.next().unwrap_or_default(),
        };
        Self { media: media.into(), mid: mid.into(), session }
    }

    /// The section that carries the transport.
    pub fn mid(&self) -> &str {
        &self.mid
    }

    /// The fragment that describes our new ICE session.
    pub fn fragment(&self, credentials: &Credentials, candidates: &[&str]) -> String {
        let mut text = String::new();
        for line in self.session.iter().chain([&self.media]) {
            let _ = write!(text, "{line}\r\n"); // into a String: can't fail
        }
        let Credentials { ufrag, pwd } = credentials;
        if !self.mid.is_empty() {
            let _ = write!(text, "a=mid:{}\r\n", self.mid);
        }
        let _ = write!(text, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
        for candidate in candidates {
            let _ = write!(text, "a={candidate}\r\n");
        }
        text + "a=end-of-candidates\r\n"
    }
}

/// The ICE credentials of a whole session description, if all sections share them.
pub fn credentials(sdp: &str) -> Option<Credentials> {
    let mut attributes = Attributes::default();
    for line in sdp.lines().map(str::trim_end) {
        if line.starts_with("m=") {
            attributes.end_section().ok()?;
        } else if let Some(attribute) = line.strip_prefix("a=") {
            attributes.take(attribute).ok()?;
        }
    }
    attributes.end_section().ok()?;
    attributes.credentials
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRICKLE: &str = "a=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=mid:0\r\n\
        a=ice-ufrag:EsAw\r\n\
        a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw\r\n\
        a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0\r\n\
        a=end-of-candidates\r\n";

    fn esaw() -> Credentials {
        Credentials { ufrag: "EsAw".into(), pwd: "P2uYro0UCOQ4zxjKXaWCBui1".into() }
    }

    #[test]
    fn a_trickle_fragment() {
        let fragment = Fragment::parse(TRICKLE).expect("right");
        assert_eq!(fragment.credentials, Some(esaw()));
        assert!(fragment.candidates.iter().all(|c| c.mid.as_deref() == Some("0")));
        let values: Vec<_> = fragment.candidates.iter().map(|c| c.value.as_str()).collect();
        assert!(values[0].starts_with("candidate:1387637174 1 udp") && values[0].ends_with("ufrag EsAw"));
        assert!(values[1].starts_with("candidate:473322822"));
        assert_eq!(values[2..], [""]);
        assert_eq!(Fragment::parse(&TRICKLE.replace("\r\n", "\n")).expect("right"), fragment);
    }

    #[test]
    fn credentials_may_stand_before_the_sections_and_mid_after_the_candidates() {
        let fragment = Fragment::parse(
            "a=ice-options:trickle ice2\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\na=ice-ufrag:EsAw\n\
             m=video 9 RTP/AVP 0\na=candidate:1 1 UDP 1 198.51.100.1 1 typ host\na=mid:v\na=x-new:thing\n\
             m=audio 9 RTP/AVP 0\na=candidate:2 1 UDP 1 a.local 2 typ host\n",
        )
        .expect("right");
        assert_eq!(fragment.credentials, Some(esaw()));
        let mids: Vec<_> = fragment.candidates.iter().map(|c| c.mid.as_deref()).collect();
        assert_eq!(mids, [Some("v"), None]);
    }

    #[test]
    fn malformed_fragments_are_refused_with_a_sentence() {
        let many = "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\n".repeat(MAX_CANDIDATES + 1);
        for bad in [
            "",
            "\r\n\r\n",
            "{}",
            "hello",
            "a",
            "a=mid:",
            "a=mid:0 1",
            "a=ice-ufrag:EsAw",
            "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            "a=ice-ufrag:Es\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            "a=ice-ufrag:EsAw\na=ice-pwd:short",
            "a=ice-ufrag:Es-w\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            "a=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\nm=audio 9 RTP/AVP 0\n\
             a=ice-ufrag:EsAx\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            "a=candidate:",
            "a=candidate:1 1 udp",
            "a=candidate:1 1 udp x 192.0.2.1 1 typ host",
            "a=candidate:1 1 udp 1 192.0.2.1 70000 typ host",
            "a=candidate:1 1 udp 1 192.0.2.1 1 type host",
            "a=candidate: 1 udp 1 192.0.2.1 1 typ host",
            "a=mid:0\0",
            "a=mid:0\rm=audio",
            &many,
        ] {
            assert!(Fragment::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_cut_or_changed_byte_makes_it_panic() {
        for end in 0..TRICKLE.len() {
            let _ = Fragment::parse(&TRICKLE[..end]);
        }
        for at in 0..TRICKLE.len() {
            for byte in [0, b'\n', b' ', b'=', b':', b'a', 0x7f] {
                let mut bytes = TRICKLE.as_bytes().to_vec();
                bytes[at] = byte;
                let _ = Fragment::parse(&String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn the_answer_to_a_restart_repeats_what_stays() {
        let answer = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
            a=ice-options:trickle ice2\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:9\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=ice-options:trickle ice2\r\na=mid:0\r\na=sendonly\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\n";
        let text = Skeleton::of(answer)
            .fragment(&esaw(), &["candidate:1 1 udp 2130706431 198.51.100.1 39132 typ host"]);
        assert_eq!(
            text,
            "a=group:BUNDLE 0 1\r\na=ice-options:trickle ice2\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:0\r\n\
             a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
             a=candidate:1 1 udp 2130706431 198.51.100.1 39132 typ host\r\na=end-of-candidates\r\n"
        );
        assert_eq!(Fragment::parse(&text).expect("right").credentials, Some(esaw()));
    }

    #[test]
    fn the_first_of_the_bundle_carries_the_transport() {
        let answer = |group: &str| {
            format!(
                "v=0\r\n{group}m=audio 0 X 0\r\na=mid:0\r\nm=video 9 X 1\r\na=mid:1\r\nm=audio 9 X 2\r\na=mid:2\r\n"
            )
        };
        assert_eq!(Skeleton::of(&answer("a=group:BUNDLE 2 1\r\n")).mid(), "2");
        assert_eq!(Skeleton::of(&answer("a=group:BUNDLE 1 2\r\n")).mid(), "1");
        assert_eq!(Skeleton::of(&answer("")).mid(), "1");
        let unnamed = Skeleton::of("v=0\r\nm=video 9 X 1\r\n").fragment(&esaw(), &[]);
        assert!(
            !unnamed.contains("a=mid") && unnamed.starts_with("m=video 9 X 1\r\na=ice-ufrag:"),
            "{unnamed}"
        );
    }

    #[test]
    fn credentials_of_an_offer() {
        assert_eq!(credentials(TRICKLE), Some(esaw()));
        assert_eq!(credentials("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\n"), None);
    }
}
