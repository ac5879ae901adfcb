//! The answers to real and odd offers: each goes through webrtc, and the answer is checked against the rules.

use super::super::parse::{Description, Section, value, values};
use crate::media::h264::ProfileLevelId;
use crate::pipeline::quality::Quality;
use crate::viewer::testing::House;
use crate::viewer::{Answer, Error};
use std::collections::HashSet;

macro_rules! offers {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../../tests/data/offer-", $name, ".sdp")))),*]
    };
}

/// The offers in tests/data, by the end of their names.
const OFFERS: &[(&str, &str)] = &offers![
    "aiortc-1.16.0-two-way-sound"
    "audio-sendonly-first"
    "chromium-156"
    "chromium-156-all-extensions"
    "chromium-156-microphone-first-max-bundle"
    "chromium-156-three-of-each-max-bundle"
    "chromium-156-two-way-max-bundle"
    "chromium-156-video-mdns"
    "chromium-microphone-first"
    "data-dtls-sctp-5000"
    "extension-id-15"
    "extension-id-300"
    "fingerprint-sha-512-for-session"
    "fingerprints-three-hashes"
    "firefox-153"
    "firefox-153-data"
    "firefox-153-microphone-first-max-bundle"
    "go2rtc-1.9.14-data"
    "go2rtc-1.9.14-talkback"
    "go2rtc-1.9.14-whep"
    "gstreamer-1.22-data"
    "gstreamer-1.22-microphone-first"
    "gstreamer-1.22-not-bundled"
    "mediamtx-1.20.1-whep"
    "no-mid"
    "node-datachannel-0.33.4"
    "node-datachannel-0.33.4-data"
    "pion-4.2.26-microphone-and-data"
    "pion-4.2.26-two-way-sound"
    "protocol-rtp-savpf"
    "safari-like"
    "setup-active"
    "text-section"
    "werift-0.24.4-data"
    "werift-0.24.4-microphone-first"
];

fn named(name: &str) -> &'static str {
    OFFERS.iter().find(|(n, _)| *n == name).map(|(_, offer)| *offer).expect("an offer of that name")
}

/// Joins with this many cameras.
async fn join(house: &House, offer: &str, pictures: usize) -> Result<Answer, Error> {
    let all = house.cameras.all();
    let wanted = all.iter().take(pictures).map(|camera| house.wanted(None, &camera.name, Quality::Auto));
    house.join(offer, wanted.collect(), None).await
}

async fn answer(house: &House, offer: &str) -> String {
    join(house, offer, 1).await.unwrap_or_else(|e| panic!("{e}: {offer}")).sdp
}

fn direction<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let names = lines.iter().filter_map(|l| l.strip_prefix("a="));
    names.filter(|n| ["sendrecv", "sendonly", "recvonly", "inactive"].contains(n)).collect()
}

/// Payload types that the attributes of a section are about.
fn about<'a>(section: &Section<'a>) -> Vec<&'a str> {
    let names = ["rtpmap", "fmtp", "rtcp-fb"];
    names.iter().flat_map(|n| values(&section.lines, n)).filter_map(|v| v.split(' ').next()).collect()
}

/// The rules of RFC 3264, 8285, 8829, 8842 and 9143 that apply here.
fn assert_answers(name: &str, offer_text: &str, answer_text: &str) {
    assert_answers_for(1, name, offer_text, answer_text);
}

/// The same where at most `most` pictures were wanted.
fn assert_answers_for(most: usize, name: &str, offer_text: &str, answer_text: &str) {
    let fault = format!("{name}:\n{offer_text}\nanswered by\n{answer_text}");
    assert!(
        answer_text.ends_with("\r\n") && answer_text.lines().count() == answer_text.matches("\r\n").count(),
        "{fault}"
    );
    let (offer, answer) = (
        Description::parse(offer_text).expect("an offer"),
        Description::parse(answer_text).expect("an answer"),
    );
    assert_eq!(offer.sections.len(), answer.sections.len(), "{fault}");
    let mut taken = vec![];
    let mut carriers = vec![];
    for (theirs, ours) in offer.sections.iter().zip(&answer.sections) {
        assert_eq!(
            (theirs.kind, theirs.protocol, theirs.mid()),
            (ours.kind, ours.protocol, ours.mid()),
            "{fault}"
        );
        assert!(!ours.formats.is_empty(), "{fault}");
        let offered: HashSet<_> = theirs.formats.iter().copied().collect();
        assert!(ours.formats.iter().all(|f| offered.contains(f)), "{fault}");
        assert!(about(ours).iter().all(|pt| ours.formats.contains(pt)), "{fault}");
        if !values(&ours.lines, "candidate").collect::<Vec<_>>().is_empty() {
            carriers.push(ours.mid());
        }
        // Useless in a rejected section, but players require them.
        assert!(ours.value("ice-ufrag").is_some() && ours.value("ice-pwd").is_some(), "{fault}");
        if ours.port == 0 {
            assert!(ours.value("msid").is_none() && ours.value("ssrc").is_none(), "{fault}");
            assert!(["inactive", ""].contains(&&*direction(&ours.lines).concat()), "{fault}");
            continue;
        }
        if direction(&ours.lines) == ["inactive"] {
            // Kept for its transport alone.
            assert_eq!(carriers, [ours.mid()], "{fault}");
            assert!(ours.value("msid").is_none() && ours.mid().is_some(), "{fault}");
            continue;
        }
        taken.push(ours.kind);
        let wants = direction(&theirs.lines).first().or(direction(&offer.session).first()).copied();
        assert!(matches!(wants, None | Some("recvonly" | "sendrecv")), "{fault}");
        assert_eq!(direction(&ours.lines), ["sendonly"], "{fault}");
        for name in ["rtcp-mux", "rtcp-rsize"] {
            assert!(!ours.has(name) || theirs.has(name) || theirs.has("bundle-only"), "{name}: {fault}");
        }
        let setup = ours.value("setup").expect("a role");
        let asked = theirs.value("setup").or(value(&offer.session, "setup")).unwrap_or("active");
        assert!(
            matches!(
                (asked, setup),
                ("actpass", "active" | "passive") | ("active", "passive") | ("passive", "active")
            ),
            "{fault}"
        );
        let mut ids = HashSet::new();
        for extension in values(&ours.lines, "extmap") {
            let (id, uri) = extension.split_once(' ').expect("an extension");
            let (id, direction) = id.split_once('/').unwrap_or((id, ""));
            assert!(ids.insert(id), "{fault}");
            let mut offered = values(&theirs.lines, "extmap").chain(values(&offer.session, "extmap"));
            let same = |o: &str| {
                let mut words = o.split(' ');
                let first = words.next().unwrap_or("");
                let (number, offered) = first.split_once('/').unwrap_or((first, ""));
                number == id
                    && words.next() == Some(uri)
                    && (offered == "recvonly") == (direction == "sendonly")
            };
            assert!(offered.any(same), "{extension}: {fault}");
        }
        let pictures = taken.iter().filter(|kind| **kind == "video").count();
        let msid = match (ours.kind, pictures) {
            ("video", 1) => "peercam picture".to_owned(),
            ("video", n) => format!("peercam-{n} picture-{n}"),
            _ => "peercam sound".to_owned(),
        };
        assert_eq!(ours.value("msid"), Some(&*msid), "{fault}");
    }
    let pictures = taken.iter().filter(|kind| **kind == "video").count();
    assert!((1..=most).contains(&pictures) && taken.len() <= pictures + 1, "{fault}");
    let groups: Vec<_> = answer.session.iter().filter(|l| l.starts_with("a=group:")).collect();
    let accepted: Vec<_> =
        answer.sections.iter().enumerate().filter(|(_, s)| s.port != 0).map(|(at, _)| at).collect();
    match offer.bundled_with(accepted[0]) {
        None => assert!(groups.is_empty() && accepted.len() == 1 && carriers.len() == 1, "{fault}"),
        Some(group) => {
            let mids: Vec<_> = group
                .iter()
                .filter(|at| accepted.contains(at))
                .filter_map(|at| offer.sections[*at].mid())
                .collect();
            assert_eq!(groups, [&&*format!("a=group:BUNDLE {}", mids.join(" "))], "{fault}");
            assert_eq!(mids.len(), accepted.len(), "{fault}");
            assert_eq!(carriers, [Some(mids[0])], "{fault}");
        }
    }
    assert!(value(&answer.session, "fingerprint").is_some(), "{fault}");
}

#[tokio::test]
async fn every_known_offer_is_answered_by_the_rules() {
    let house = House::new(1000);
    for (name, offer) in OFFERS {
        // webrtc sees nothing that it could open except one or two tracks.
        let reduced = super::super::check(offer, ProfileLevelId([0x42, 0xc0, 0x1f]), &[None]);
        let reduced = reduced.expect("playable").offer();
        let kinds: Vec<_> =
            Description::parse(&reduced).expect("an offer").sections.iter().map(|s| s.kind).collect();
        assert!(
            kinds.contains(&"video") && kinds.len() <= 2 && !kinds.contains(&"application"),
            "{name}: {reduced}"
        );
        assert_answers(name, offer, &answer(&house, offer).await);
        // Lines may also end without a carriage return.
        let bare = offer.replace("\r\n", "\n");
        assert_answers(name, &bare, &answer(&house, &bare).await);
    }
}

#[tokio::test]
async fn a_later_offer_is_answered_by_the_same_rules() {
    let house = House::new(1000);
    for (name, offer) in OFFERS {
        let answer = join(&house, offer, 1).await.expect("answered");
        let later = offer.replace("a=ice-ufrag:", "a=ice-ufrag:New").replace("a=ice-pwd:", "a=ice-pwd:New");
        let again = house
            .registry
            .renegotiate(&answer.id, &later, None)
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_answers(name, &later, &again);
        let credentials = |sdp: &str| sdp.lines().find(|l| l.starts_with("a=ice-ufrag")).map(str::to_owned);
        assert_ne!(credentials(&answer.sdp), credentials(&again), "{name}: {again}");
        let shape = |sdp: &str| {
            sdp.lines()
                .filter(|l| l.starts_with("m=") || l.starts_with("a=setup"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(shape(&answer.sdp), shape(&again), "{name}");
    }
}

/// Whether something is sent in each section.
fn taken(answer: &str) -> Vec<bool> {
    Description::parse(answer)
        .expect("an answer")
        .sections
        .iter()
        .map(|s| direction(&s.lines) == ["sendonly"])
        .collect()
}

#[tokio::test]
async fn the_only_transport_is_kept_where_nothing_else_would_do() {
    let house = House::new(1000);
    for (name, kept) in [
        ("audio-sendonly-first", false),
        ("chromium-microphone-first", false),
        ("werift-0.24.4-microphone-first", false),
        ("chromium-156-microphone-first-max-bundle", true),
        ("gstreamer-1.22-microphone-first", true),
    ] {
        let answer = answer(&house, named(name)).await;
        let first = answer.lines().find(|l| l.starts_with("m=")).expect("a section");
        assert_eq!(!first.starts_with("m=audio 0 "), kept, "{name}: {answer}");
    }
}

#[tokio::test]
async fn several_pictures_are_answered_each_in_its_section() {
    let (house, three) = (House::new(1000), named("chromium-156-three-of-each-max-bundle"));
    for (pictures, sections) in [
        (1, [true, true, false, false, false, false]),
        (2, [true, true, true, false, false, false]),
        (3, [true, true, true, false, false, true]),
    ] {
        let joined = join(&house, three, pictures).await.expect("answered");
        assert_answers_for(pictures, "three of each", three, &joined.sdp);
        assert_eq!(taken(&joined.sdp), sections);
        let later = three.replace("a=ice-ufrag:", "a=ice-ufrag:New").replace("a=ice-pwd:", "a=ice-pwd:New");
        let again = house.registry.renegotiate(&joined.id, &later, None).await.expect("answered");
        assert_answers_for(pictures, "three of each, later", &later, &again);
        assert_eq!(taken(&again), sections);
        // Each picture and its retransmissions have their own sources, and the sound has one.
        let answer = Description::parse(&joined.sdp).expect("an answer");
        let lines = answer.sections.iter().flat_map(|s| values(&s.lines, "ssrc"));
        let sources: HashSet<_> = lines.filter_map(|l| l.split(' ').next()).collect();
        assert_eq!(sources.len(), 2 * pictures + 1);
        let pairs = answer.sections.iter().flat_map(|s| values(&s.lines, "ssrc-group")).count();
        assert_eq!(pairs, pictures);
    }
    // Every other known offer has one video section, or several of one kind: never are more accepted than
    // were wanted.
    for (name, offer) in OFFERS {
        let joined = join(&house, offer, 3).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_answers_for(3, name, offer, &joined.sdp);
    }
}

#[tokio::test]
async fn what_is_not_taken_is_rejected_in_place() {
    let house = House::new(1000);
    for (name, sections) in [
        ("chromium-microphone-first", &[false, true, true][..]),
        ("audio-sendonly-first", &[false, true]),
        ("data-dtls-sctp-5000", &[true, false]),
        ("text-section", &[true, false]),
        ("firefox-153-microphone-first-max-bundle", &[false, true, true]),
        ("firefox-153-data", &[true, true, false]),
        ("chromium-156-three-of-each-max-bundle", &[true, true, false, false, false, false]),
        ("gstreamer-1.22-not-bundled", &[true, false]),
        ("gstreamer-1.22-data", &[true, true, false]),
        ("pion-4.2.26-microphone-and-data", &[false, true, true, false]),
        ("go2rtc-1.9.14-talkback", &[true, true, false]),
        ("no-mid", &[true]),
        ("protocol-rtp-savpf", &[true, true]),
        ("fingerprint-sha-512-for-session", &[true, true]),
    ] {
        assert_eq!(taken(&answer(&house, named(name)).await), sections, "{name}");
    }
    let data = answer(&house, named("data-dtls-sctp-5000")).await;
    assert!(data.contains("\r\nm=application 0 DTLS/SCTP 5000\r\n"), "{data}");
    let text = answer(&house, named("text-section")).await;
    assert!(text.contains("\r\nm=text 0 UDP/TLS/RTP/SAVPF 101\r\n"), "{text}");
}

#[tokio::test]
async fn odd_offers_are_answered_by_the_rules() {
    let (house, chromium) = (House::new(1000), named("chromium-156"));
    let fingerprint = "a=fingerprint:sha-256 ";
    let long = "a-name-of-more-than-sixteen-characters";
    let each = |from: &str, to: &str| chromium.replace(from, to);
    let without = |starts: &[&str]| {
        let kept = chromium.lines().filter(|l| !starts.iter().any(|s| l.starts_with(s)));
        kept.flat_map(|l| [l, "\r\n"]).collect::<String>()
    };
    let mut odd = vec![
        ("upper-case hash", each(fingerprint, "a=fingerprint:SHA-256 ")),
        ("no role", each("a=setup:actpass", "a=x")),
        ("the offerer waits", each("a=setup:actpass", "a=setup:passive")),
        ("no bundle", each("a=group:BUNDLE 0 1", "a=x")),
        ("no names", without(&["a=mid", "a=group"])),
        ("no names, but a bundle", without(&["a=mid"])),
        ("one name missing", each("a=mid:0\r\n", "")),
        (
            "long names",
            each("a=mid:", &format!("a=mid:{long}"))
                .replace("BUNDLE 0 1", &format!("BUNDLE {long}0 {long}1")),
        ),
        ("bundle in another order", each("BUNDLE 0 1", "BUNDLE 1 0")),
        ("bundle with a stranger", each("BUNDLE 0 1", "BUNDLE 7 0 1")),
        ("no multiplexing", without(&["a=rtcp-mux", "a=rtcp-rsize"])),
        ("no direction", without(&["a=recvonly"])),
        ("both directions", each("a=recvonly", "a=sendrecv")),
        ("direction of the session", without(&["a=recvonly"]).replace("t=0 0", "t=0 0\r\na=recvonly")),
        ("ports with counts", each("m=video 9 ", "m=video 9/2 ")),
        ("a lite agent", each("t=0 0", "t=0 0\r\na=ice-lite")),
        (
            "rubbish",
            each("t=0 0", "t=x\r\nb=AS:99999999999999999999\r\nk=x\r\nz=x\r\na=ssrc:99999999999 cname:x"),
        ),
        (
            "rubbish in a section",
            each(
                "a=rtcp-mux",
                "a=rtcp-mux\r\na=ssrc-group:FID 99999999999 x\r\na=rid:x\r\na=simulcast:x\r\na=rtpmap:999 x/x\r\na=fmtp:x\r\na=rtcp-fb:\r\na=sctp-port:99999999\r\nc=x\r\nb=x:99999999999999",
            ),
        ),
        (
            "candidates of rubbish",
            each(
                "a=rtcp-mux",
                "a=rtcp-mux\r\na=candidate:1 1 udp 99999999999 192.0.2.1 1 typ host\r\na=candidate:x\r\na=candidate:1 1 udp 1 192.0.2.1 70000 typ host\r\na=candidate:1 1 udp 1 192.0.2.1 1 typ srflx raddr x",
            ),
        ),
        ("formats of rubbish", each("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVPF * 300 x 99999999999")),
        (
            "a picture that is sent before",
            each("m=video 9 ", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=sendonly\r\nm=video 9 "),
        ),
        ("a fax", each("m=audio", "m=image 9 udptl t38\r\na=mid:i\r\nm=audio")),
        ("only PCMU", each("opus/48000/2", "L16/48000/2")),
    ];
    for id in ["0", "15", "20", "255", "256", "4096", "65535", "65536", "x"] {
        odd.push((
            "an extension's id",
            each(
                "a=extmap:",
                &format!(
                    "a=extmap:{id} http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\r\na=extmap:"
                ),
            ),
        ));
    }
    for protocol in super::super::PROTOCOLS.into_iter().skip(1) {
        odd.push((protocol, each("UDP/TLS/RTP/SAVPF", protocol)));
    }
    for (name, offer) in &odd {
        assert_ne!(offer, chromium, "{name}");
        assert_answers(name, offer, &answer(&house, offer).await);
    }
    let taken = |name: &'static str| taken_of(&house, &odd, name);
    assert_eq!(taken("no bundle").await, [true, false]);
    assert_eq!(taken("no names, but a bundle").await, [true, false]);
    assert_eq!(taken("a picture that is sent before").await, [false, true, true]);
    assert_eq!(taken("only PCMU").await, [true, false]);
}

async fn taken_of(house: &House, offers: &[(&str, String)], name: &str) -> Vec<bool> {
    let (_, offer) = offers.iter().find(|(n, _)| *n == name).expect("an offer of that name");
    taken(&answer(house, offer).await)
}

#[tokio::test]
async fn what_a_person_is_told_names_the_offer_and_no_parser() {
    let house = House::new(1000);
    for (from, to) in [
        ("m=video 9", "m=video 99999"),
        ("m=video 9", "m=video -1"),
        ("a=fingerprint:sha-256", "a=fingerprint:md5"),
        ("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 zz"),
        ("H264/90000", "H264/99999999999"),
        ("packetization-mode=1", "packetization-mode=99999999999"),
        ("a=ice-pwd:", "a=ice-pwd: "),
    ] {
        let offer = named("chromium-156").replace(from, to);
        let told =
            join(&house, &offer, 1).await.err().unwrap_or_else(|| panic!("{to}: answered")).to_string();
        for parser in ["parse", "too large", "invalid digit", "Err", "expected"] {
            assert!(!told.contains(parser), "{told}");
        }
    }
}
