//! Our answer: every media section of the offer in its place (RFC 3264 section 6), accepted ones as webrtc
//! answered them, the others rejected.

use super::parse::{Description, Section};
use super::{Error, Kind, Playable};
use crate::viewer::Fragment;
use crate::viewer::sources::{Source, Sources};

/// A media section of the offer, as far as the answer repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// "video", "audio", "application" and others.
    kind: String,
    /// The answer must repeat the offer's protocol (RFC 9429 section 5.1.3).
    protocol: String,
    /// Its name (`a=mid`), if it has one.
    pub mid: Option<String>,
    /// The first format offered, which a rejected section repeats because it must have one.
    format: String,
    /// The attributes of that format, or of the data channel: players read them even in a rejected section.
    about: Option<String>,
    /// The attributes of [`MULTIPLEXING`] that were offered.
    offered: Vec<&'static str>,
    /// What we send in it.
    pub part: Part,
}

/// What we send in a media section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The picture with this number.
    Picture(usize),
    /// The sound.
    Sound,
    /// Nothing now, where there was a picture before: it is inactive.
    Rest,
    /// Nothing: it is rejected.
    None,
}

/// The stream of the first picture and the sound: browsers synchronise tracks of one stream. Each further
/// picture has a stream of its own.
const STREAM: &str = "peercam";

/// Attributes that may be answered only if they were offered.
const MULTIPLEXING: [&str; 2] = ["rtcp-mux", "rtcp-rsize"];

/// The attributes of [`MULTIPLEXING`] that any section of the bundle has.
pub(super) fn shared(bundle: &[&Section]) -> Vec<&'static str> {
    MULTIPLEXING.into_iter().filter(|n| bundle.iter().any(|s| s.has(n))).collect()
}

impl Place {
    /// The place of an offered section; `shared` are the attributes of its bundle, from [`shared`].
    pub(super) fn of(section: &Section, shared: &[&str], part: Part) -> Self {
        let format = section.formats.first().copied().unwrap_or("0");
        let mut about = section.lines.iter().filter(|l| {
            let rtpmap = l.strip_prefix("a=rtpmap:").and_then(|l| l.strip_prefix(format));
            rtpmap.is_some_and(|l| l.starts_with(' '))
                || l.starts_with("a=sctp-port:")
                || l.starts_with("a=sctpmap:")
        });
        // A section that exists only within its bundle leaves these to the first section (RFC 9143 section
        // 7.1.3).
        let inherits = if section.has("bundle-only") { shared } else { &[] };
        let offers = |name| section.has(name) || inherits.contains(&name);
        // RFC 8858: the offerer supports only multiplexing.
        let only = section.has("rtcp-mux-only");
        let offered = MULTIPLEXING.into_iter().filter(|n| offers(n) || (only && *n == "rtcp-mux"));
        Self {
            kind: section.kind.into(),
            protocol: section.protocol.into(),
            mid: section.mid().map(str::to_owned),
            format: format.into(),
            about: about.next().map(|l| (*l).to_owned()),
            offered: offered.collect(),
            part,
        }
    }

    /// Writes the section without sending anything in it: with port 0 it is rejected, with a different port
    /// kept as inactive. A rejected section needs only its `m=` line, and nobody uses the rest. But GStreamer
    /// and aiortc refuse an answer in which a section lacks the attributes of the `transport`, Firefox one
    /// without the `c=` line, pion one without the `rtpmap`, and werift one without the port of a data
    /// channel.
    fn leave(&self, port: u16, transport: &[String], out: &mut Vec<String>) {
        out.push(format!("m={} {port} {} {}", self.kind, self.protocol, self.format));
        out.push("c=IN IP4 0.0.0.0".into());
        out.extend(self.about.iter().chain(transport).cloned());
        out.extend(self.mid.iter().map(|mid| format!("a=mid:{mid}")));
        out.extend(self.offered.iter().map(|name| format!("a={name}")));
        if self.protocol.contains("RTP/") {
            out.push("a=inactive".into());
        }
    }

    /// Writes the section as webrtc has answered one of its kind in `section`, sent from `sources`.
    fn take(&self, section: &Section, playable: &Playable, sources: &Sources, out: &mut Vec<String>) {
        out.push(format!("m={} 9 {} {}", self.kind, self.protocol, section.formats.join(" ")));
        for line in &section.lines {
            let attribute = line.strip_prefix("a=").unwrap_or("");
            let kept = match attribute.split(':').next().unwrap_or("") {
                // Written below, or by the caller that knows our candidates.
                "mid" | "setup" | "extmap" | "candidate" | "end-of-candidates" => false,
                "msid" | "ssrc" | "ssrc-group" => false,
                "sendrecv" | "sendonly" | "recvonly" | "inactive" => false,
                name if MULTIPLEXING.contains(&name) => self.offered.contains(&name),
                _ => true,
            };
            if kept {
                out.push((*line).to_owned());
            }
        }
        out.extend(self.mid.iter().map(|mid| format!("a=mid:{mid}")));
        out.push(format!("a=setup:{}", playable.dtls.answered()));
        let direction = if self.part == Part::Rest { "inactive" } else { "sendonly" };
        out.push(format!("a={direction}"));
        out.extend(self.part.sources(playable, sources));
        let kind = if self.part == Part::Sound { Kind::Audio } else { Kind::Video };
        out.extend(playable.extensions(kind).iter().map(|e| e.answered()));
    }
}

impl Part {
    /// The sources from which we send it (RFC 5576, RFC 8830).
    fn sources(self, playable: &Playable, sources: &Sources) -> Vec<String> {
        let named = |name: &str, n: usize| if n == 0 { name.to_owned() } else { format!("{name}-{}", n + 1) };
        let (stream, track, ssrcs) = match self {
            Self::Picture(n) => {
                let Source { video, rtx } = sources.picture(playable.pictures[n].source);
                let ssrcs = [Some(video), playable.video.rtx.map(|_| rtx)];
                (named(STREAM, n), named("picture", n), ssrcs)
            }
            Self::Sound => (STREAM.to_owned(), "sound".to_owned(), [Some(sources.audio()), None]),
            Self::Rest | Self::None => return vec![],
        };
        let mut lines = vec![format!("a=msid:{stream} {track}")];
        if let [Some(video), Some(rtx)] = ssrcs {
            lines.push(format!("a=ssrc-group:FID {video} {rtx}"));
        }
        for ssrc in ssrcs.into_iter().flatten() {
            lines.push(format!("a=ssrc:{ssrc} cname:{stream}"));
            lines.push(format!("a=ssrc:{ssrc} msid:{stream} {track}"));
        }
        lines
    }
}

impl Playable {
    /// Our final answer, made from webrtc's answer to [`Playable::offer`], with our sources, and with our
    /// candidates instead of webrtc's placeholders; `complete` if there will be no more. It announces trickle
    /// ICE (RFC 8838 section 4.1.1).
    pub fn answer(
        &self,
        webrtc: &str,
        sources: &Sources,
        candidates: &[String],
        complete: bool,
    ) -> Result<String, Error> {
        let lost = |what: &str| Error::Internal(format!("webrtc's answer {what}"));
        let theirs = Description::parse(webrtc).map_err(|_| lost("is not a session description"))?;
        let taken = |kind| theirs.sections.iter().find(|s| s.kind == kind && s.port != 0);
        let repeated = |l: &&&str| !l.starts_with("a=group:") && !l.starts_with("a=ice-options:");
        let mut answer: Vec<String> =
            theirs.session.iter().filter(repeated).map(|l| (*l).to_owned()).collect();
        if let Some(bundle) = &self.bundle {
            answer.push(format!("a=group:BUNDLE {}", bundle.join(" ")));
        }
        answer.push("a=ice-options:trickle".into());
        let ice = theirs.sections[0]
            .lines
            .iter()
            .filter(|l| l.starts_with("a=ice-ufrag:") || l.starts_with("a=ice-pwd:"));
        let mut transport: Vec<String> = ice.map(|l| (*l).to_owned()).collect();
        transport.push(format!("a=setup:{}", self.dtls.answered()));
        for (at, place) in self.places.iter().enumerate() {
            match (place.part, taken(&place.kind)) {
                (Part::None, _) => {
                    place.leave(if at == self.carrier { 9 } else { 0 }, &transport, &mut answer);
                }
                (_, Some(section)) => place.take(section, self, sources, &mut answer),
                (_, None) => return Err(lost("does not accept what was offered")),
            }
            if at == self.carrier {
                answer.extend(candidates.iter().map(|c| format!("a={c}")));
                answer.extend(complete.then(|| "a=end-of-candidates".to_owned()));
            }
        }
        answer.push(String::new());
        Ok(answer.join("\r\n"))
    }

    /// ICE credentials and candidates of our own answer: those of the section that carries the transport.
    pub fn ice_of(&self, answer: &str) -> Option<Fragment> {
        let answer = Description::parse(answer).ok()?;
        let carrier = answer.sections.get(self.carrier)?;
        let mid = carrier.mid().unwrap_or_default();
        let candidates = carrier.lines.iter().filter(|l| l.starts_with("a=candidate:"));
        Some(Fragment {
            ufrag: carrier.value("ice-ufrag")?.to_owned(),
            pwd: carrier.value("ice-pwd")?.to_owned(),
            mid: mid.to_owned(),
            candidates: candidates.map(|l| (mid.to_owned(), l["a=".len()..].to_owned())).collect(),
        })
    }
}
