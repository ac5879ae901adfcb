//! Which sections, formats and attributes of an offer are accepted.

use super::*;

mod answer;
mod pictures;

const OWN: ProfileLevelId = ProfileLevelId([0x42, 0xc0, 0x1f]);
const CHROMIUM: &str = include_str!("../../../tests/data/offer-chromium-156.sdp");
const CHROMIUM_MDNS: &str = include_str!("../../../tests/data/offer-chromium-156-video-mdns.sdp");
const FIREFOX: &str = include_str!("../../../tests/data/offer-firefox-153.sdp");
const SAFARI: &str = include_str!("../../../tests/data/offer-safari-like.sdp");

/// Checks an offer from which one picture is wanted.
fn check(sdp: &str, own: ProfileLevelId) -> Result<Playable, Error> {
    super::check(sdp, own, &[None])
}

fn lines(sdp: &str, prefix: &str) -> Vec<String> {
    sdp.lines().filter(|l| l.starts_with(prefix)).map(str::to_owned).collect()
}

fn refused(sdp: &str) -> String {
    check(sdp, OWN).expect_err("refused").to_string()
}

/// Without numbers that it can report, the viewer's own estimate is the only one.
#[test]
fn a_viewer_estimates_itself_only_where_it_reports_no_single_packets() {
    const AIORTC: &str = include_str!("../../../tests/data/offer-aiortc-1.16.0-two-way-sound.sdp");
    let without = |what: &str| {
        let lines = CHROMIUM.lines().filter(|line| !line.contains(what));
        lines.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    let (numbers, reports) = (without(TRANSPORT_CC), without(" transport-cc"));
    let id =
        lines(CHROMIUM, "a=extmap").into_iter().find(|line| line.ends_with(TRANSPORT_CC)).expect("offered");
    let large = CHROMIUM.replace(&id, &format!("a=extmap:20 {TRANSPORT_CC}"));
    for (offer, remb) in [
        (CHROMIUM, false),
        (FIREFOX, false),
        (AIORTC, true),
        (&numbers, true),
        (&reports, true),
        (&large, true),
    ] {
        let playable = check(offer, OWN).expect("playable");
        let feedback = &playable.video.feedback;
        assert_eq!([feedback.contains(&"goog-remb"), feedback.contains(&"transport-cc")], [remb, !remb]);
        assert!(feedback.contains(&"nack pli"), "{feedback:?}");
        assert_eq!(
            [SEND_TIME, TRANSPORT_CC].map(|uri| playable.video_extension(uri).is_some()),
            [remb, !remb],
            "what it can use is sent"
        );
        let audio = playable.audio.as_ref().expect("sound");
        assert!(!remb || audio.feedback.is_empty(), "{audio:?}");
    }
}

#[test]
fn browsers_get_constrained_baseline_with_rtx_and_opus() {
    for (offer, video, rtx, audio) in
        [(CHROMIUM, 108, 109, 111), (FIREFOX, 126, 127, 109), (SAFARI, 98, 99, 111)]
    {
        let p = check(offer, OWN).expect("playable");
        assert_eq!((p.video.payload_type, p.video.rtx), (video, Some(rtx)));
        assert_eq!(p.audio.as_ref().map(|a| a.payload_type), Some(audio));
        let fmtp =
            format!("a=fmtp:{video} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42c01f");
        let offer = p.offer();
        assert!(offer.contains(&fmtp), "{offer}");
        let mut media = lines(&offer, "m=");
        media.sort();
        let formats = [format!("{audio}"), format!("{video} {rtx}")];
        assert!(media.iter().zip(&formats).all(|(m, f)| m.ends_with(&format!("SAVPF {f}"))), "{offer}");
        assert_eq!(lines(&offer, "a=rtpmap").len(), 3);
        assert!(check(&offer, OWN).is_ok_and(|again| again.video == p.video && again.audio == p.audio));
    }
}

#[test]
fn firefox_wants_stereo_and_gets_it() {
    let fmtp = check(FIREFOX, OWN).expect("playable").audio.expect("audio").fmtp;
    assert_eq!(fmtp, "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1");
}

#[test]
fn candidates_without_use_are_dropped_and_none_is_fine() {
    let kept = |offer| lines(&check(offer, OWN).expect("playable").offer(), "a=candidate");
    assert_eq!(kept(CHROMIUM), [""; 0]);
    assert!(CHROMIUM_MDNS.contains(".local"));
    assert_eq!(kept(CHROMIUM_MDNS), [""; 0]);
    let firefox = kept(FIREFOX);
    assert_eq!(firefox.len(), 2, "UDP, first component, of the first section: {firefox:?}");
}

#[test]
fn a_profile_other_than_ours_is_kept_with_our_level() {
    let of = |id: &str| {
        let offer = CHROMIUM
            .lines()
            .filter(|l| !l.contains("H264") || l.contains(":102 "))
            .collect::<Vec<_>>()
            .join("\n");
        let offer = offer.replace("profile-level-id=42001f", &format!("profile-level-id={id}"));
        check(&offer, ProfileLevelId([0x42, 0xc0, 0x28])).expect("playable").video.fmtp[64..].to_owned()
    };
    assert_eq!(
        [of("42001f"), of("42e01f"), of("4d001f"), of("640032")],
        ["420028", "42c028", "4d0028", "640028"]
    );
}

#[test]
fn what_cannot_play_is_told_why() {
    let vp8: String = CHROMIUM.replace("H264/90000", "H265/90000");
    assert!(matches!(check(&vp8, OWN), Err(Error::NotPlayable(s)) if s.contains("does not offer H.264")));
    let mode0 = CHROMIUM.replace("packetization-mode=1", "packetization-mode=0");
    assert!(matches!(check(&mode0, OWN), Err(Error::NotPlayable(s)) if s.contains("packetization-mode 0")));
    let absent = CHROMIUM.replace(";packetization-mode=1", "");
    assert!(refused(&absent).contains("packetization-mode 0"), "absent means 0 (RFC 6184 section 8.1)");
    assert!(refused(&CHROMIUM.replace("m=video", "m=text")).contains("no video section"));
    assert!(refused(&CHROMIUM.replace("a=recvonly", "a=inactive")).contains("does not ask to receive"));
}

#[test]
fn what_is_malformed_is_told_why() {
    for (offer, why) in [
        (String::new(), "v=0"),
        ("{\"type\":\"offer\"}".into(), "v=0"),
        ("v=0\r\n".into(), "no media section"),
        ("v=0\r\nrubbish\r\n".into(), "x=value"),
        (CHROMIUM.replace("a=ice-ufrag", "a=x"), "ice-ufrag"),
        (CHROMIUM.replace("a=ice-pwd", "a=x"), "ice-pwd"),
        (CHROMIUM.replace("a=fingerprint", "a=x"), "fingerprint"),
        (CHROMIUM.replace("a=mid:1", "a=mid:0"), "same name"),
        (CHROMIUM.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP").replace("a=fingerprint", "a=x"), "unencrypted"),
        (CHROMIUM.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVPX"), "protocol"),
        (CHROMIUM.replace("m=video 9 ", "m=video 99999 "), "no valid port"),
        (CHROMIUM.replace("a=ice-ufrag:", "a=ice-ufrag:a b"), "credentials are malformed"),
    ] {
        assert!(matches!(check(&offer, OWN), Err(Error::BadOffer(s)) if s.contains(why)), "{why}");
    }
}

#[test]
fn a_later_offer_may_change_only_its_ice_session() {
    let first = check(CHROMIUM, OWN).expect("playable");
    let later = |change: &dyn Fn(String) -> String| {
        first.later(&change(CHROMIUM.replace("a=ice-ufrag:", "a=ice-ufrag:New")), None)
    };
    let renewed = later(&|o| o).expect("the same except for ICE").offer();
    assert!(lines(&renewed, "a=ice-ufrag:").iter().all(|l| l.starts_with("a=ice-ufrag:New")));
    assert_eq!(lines(&renewed, "m="), lines(&first.offer(), "m="));
    for (from, to, why) in [
        ("a=mid:1", "a=mid:7", "media section"),
        ("a=fingerprint:sha-256 C6:2C", "a=fingerprint:sha-256 00:00", "fingerprint"),
    ] {
        let error = later(&|o| o.replace(from, to)).expect_err("refused");
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
    // The DTLS roles stay, whatever a later offer says.
    let other = later(&|o| o.replace("a=setup:actpass", "a=setup:active")).expect("only the role differs");
    assert_eq!(lines(&other.offer(), "a=setup"), lines(&first.offer(), "a=setup"));
}

#[test]
fn a_restart_replaces_credentials_and_candidates() {
    let new = [("0".to_owned(), "candidate:1 1 udp 2113937151 192.0.2.7 4000 typ host".to_owned())];
    let first = check(FIREFOX, OWN).expect("playable");
    let offer = first.restarted("newufrag", "newpwdnewpwdnewpwdnewpwd", &new).expect("clean").offer();
    assert_eq!(lines(&offer, "a=ice-ufrag"), ["a=ice-ufrag:newufrag"; 2]);
    assert_eq!(lines(&offer, "a=candidate"), ["a=candidate:1 1 udp 2113937151 192.0.2.7 4000 typ host"]);
    assert!(check(&offer, OWN).is_ok());
    assert!(first.restarted("x\r\na=inactive", "newpwdnewpwdnewpwdnewpwd", &[]).is_err());
}

#[test]
fn only_udp_addresses_are_candidates() {
    let plain = |c: &str| usable_candidate(c).unwrap_or_default();
    assert_eq!(
        plain("candidate:1 1 udp 2113937151 192.0.2.7 4000 typ host generation 0 network-cost 999"),
        "candidate:1 1 udp 2113937151 192.0.2.7 4000 typ host"
    );
    assert_eq!(
        plain("candidate:1 1 UDP 1 2001:db8::1 4000 typ srflx raddr 0.0.0.0 rport 999999"),
        "candidate:1 1 udp 1 2001:db8::1 4000 typ srflx raddr 0.0.0.0 rport 0"
    );
    for c in [
        "",
        "candidate:",
        "candidate:1 2 udp 1 192.0.2.7 4000 typ host",
        "candidate:1 1 tcp 1 192.0.2.7 9 typ host tcptype active",
        "candidate:1 1 udp 1 d8b46c57.local 4000 typ host",
        "candidate:1 1 udp 1 0.0.0.0 4000 typ host",
        "candidate:1 1 udp 1 192.0.2.7 99999 typ host",
        "candidate:1 1 udp 99999999999 192.0.2.7 4000 typ host",
        "candidate:1 1 udp -1 192.0.2.7 4000 typ host",
        "candidate:1 1 udp 1 192.0.2.7 4000 typ elsewhere",
        "candidate:1 1 udp 1 192.0.2.7 4000 typ host\r\na=x",
    ] {
        assert_eq!(usable_candidate(c), None, "{c}");
    }
}

#[test]
fn the_hash_that_can_be_checked_is_used_wherever_it_stands() {
    const A: &str =
        "19:CF:6A:61:0E:0B:76:34:B4:94:7C:68:FF:5D:D9:E2:40:D1:0F:67:2F:90:81:42:4E:D9:E9:69:A2:7D:32:2E";
    let sha512 = format!("{A}:{A}");
    let offer = |session: &[String], section: &[String]| {
        let of =
            |lines: &[String]| lines.iter().map(|l| format!("a=fingerprint:{l}\r\n")).collect::<String>();
        let bare: String = CHROMIUM_MDNS
            .lines()
            .filter(|l| !l.starts_with("a=fingerprint"))
            .flat_map(|l| [l, "\r\n"])
            .collect();
        let bare = bare.replacen("m=video", &format!("{}m=video", of(session)), 1);
        bare.replacen("a=recvonly\r\n", &format!("a=recvonly\r\n{}", of(section)), 1)
    };
    let good = format!("sha-256 {A}");
    for (session, section) in [
        (vec![], vec![good.clone()]),
        (vec![good.clone()], vec![]),
        (vec![], vec![format!("SHA-256 {}", A.to_lowercase())]),
        (vec![format!("SHA-256 {A}")], vec![]),
        (vec![], vec![format!("sha-512 {sha512}"), format!("sha-1 {}", &A[..59]), good.clone()]),
        (vec![format!("sha-512 {sha512}")], vec![good.clone()]),
        (vec![good.clone()], vec![format!("sha-512 {sha512}")]),
        (vec![good.replace("19:CF", "AA:AA")], vec![good.clone()]),
        (vec![], vec!["sha-256".into(), "sha-256 AB".into(), "sha-256 zz:zz".into(), good.clone()]),
    ] {
        let offer = offer(&session, &section);
        let playable = check(&offer, OWN).expect("a supported hash");
        assert_eq!(
            lines(&playable.offer(), "a=fingerprint"),
            [format!("a=fingerprint:sha-256 {A}")],
            "{offer}"
        );
    }
    for useless in [
        format!("sha-1 {}", &A[..59]),
        format!("md5 {}", &A[..47]),
        format!("sha-512 {sha512}"),
        format!("sha-256 {}", &A[..59]),
    ] {
        for offer in [offer(std::slice::from_ref(&useless), &[]), offer(&[], std::slice::from_ref(&useless))]
        {
            assert!(matches!(check(&offer, OWN), Err(Error::NotPlayable(s)) if s.contains("sha-256")));
        }
    }
    assert!(matches!(check(&offer(&[], &[]), OWN), Err(Error::BadOffer(s)) if s.contains("no certificate")));
}

#[test]
fn whoever_offers_to_begin_dtls_does() {
    for (setup, answered) in [
        ("a=setup:actpass", "active"),
        ("a=setup:passive", "active"),
        ("a=setup:active", "passive"),
        ("a=setup:nonsense", "passive"),
        ("a=x", "passive"),
    ] {
        let p = check(&CHROMIUM.replace("a=setup:actpass", setup), OWN).expect("playable");
        assert_eq!(p.dtls.answered(), answered, "{setup}");
    }
    let lite = CHROMIUM.replace("t=0 0", "t=0 0\r\na=ice-lite");
    assert_eq!(check(&lite, OWN).expect("playable").dtls.answered(), "passive");
}

#[test]
fn extensions_with_ids_that_we_cannot_write_are_left_out() {
    let uri = super::super::delay::URI;
    let with = |extmap: &str| {
        let kept = CHROMIUM.lines().filter(|l| !l.starts_with("a=extmap:"));
        let bare = kept.flat_map(|l| [l, "\r\n"]).collect::<String>();
        check(&bare.replace("a=mid:0", &format!("a=mid:0\r\na=extmap:{extmap}")), OWN).expect("playable")
    };
    for id in [1, 9, 14] {
        assert_eq!(with(&format!("{id} {uri}")).video_extension(uri), Some(id));
        let twice = format!(
            "{id} http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\na=extmap:{id} {uri}"
        );
        assert_eq!(with(&twice).left_out.len(), 1, "one id for two extensions");
    }
    assert_eq!(with(&format!("14/recvonly {uri} and more")).video_extension(uri), Some(14));
    assert_eq!(with(&format!("14/sendonly {uri}")).video_extension(uri), None);
    for id in [
        "0",
        "15",
        "16",
        "20",
        "255",
        "256",
        "300",
        "4096",
        "65535",
        "65536",
        "99999999999999999999",
        "-1",
        "x",
        "",
    ] {
        let offer = with(&format!("{id} {uri}"));
        assert_eq!(offer.video_extension(uri), None, "{id}");
        assert!(!offer.offer().contains(uri), "{id}");
        let said = offer.left_out.iter().filter(|l| l.contains("playout-delay")).count();
        assert_eq!(said, usize::from(!id.is_empty()), "{id}: {:?}", offer.left_out);
        assert!(offer.left_out.iter().all(|l| !l.contains("parse")));
    }
}

#[test]
fn each_track_has_the_first_section_that_can_play_it() {
    let of = |p: &Playable| p.places.iter().map(|p| p.part).collect::<Vec<_>>();
    let [none, video, audio] = [Part::None, Part::Picture(0), Part::Sound];
    let section = |kind: &str, port: &str, mid: &str, rest: &str| {
        let formats = if kind == "video" {
            "96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f"
        } else {
            "111\r\na=rtpmap:111 opus/48000/2"
        };
        format!("m={kind} {port} UDP/TLS/RTP/SAVPF {formats}\r\na=mid:{mid}\r\na=rtcp-mux\r\n{rest}\r\n")
    };
    let offer = |group: &str, sections: &[String]| {
        let facts = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=setup:actpass";
        let fingerprint = format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":"));
        format!("v=0\r\n{group}{facts}\r\n{fingerprint}\r\n{}", sections.concat())
    };
    let v = |port, mid, rest| section("video", port, mid, rest);
    let a = |port, mid, rest| section("audio", port, mid, rest);
    for (group, sections, taken, carrier) in [
        (
            "a=group:BUNDLE 0 1",
            vec![v("9", "0", "a=sendonly"), v("9", "1", "a=recvonly")],
            vec![none, video],
            1,
        ),
        (
            "a=group:BUNDLE 0 1",
            vec![v("9", "0", "a=inactive"), v("9", "1", "a=sendrecv")],
            vec![none, video],
            1,
        ),
        ("a=group:BUNDLE 0 1", vec![v("9", "0", ""), v("9", "1", "")], vec![video, none], 0),
        ("a=group:BUNDLE 1", vec![v("0", "0", ""), v("9", "1", "")], vec![none, video], 1),
        (
            "a=group:BUNDLE 0 1 2",
            vec![a("9", "0", "a=sendonly"), v("9", "1", ""), a("9", "2", "a=recvonly")],
            vec![none, video, audio],
            1,
        ),
        ("a=group:BUNDLE 1 0", vec![v("9", "0", ""), a("9", "1", "")], vec![video, audio], 1),
        ("a=group:BUNDLE 0 1", vec![v("9", "0", ""), a("0", "1", "a=bundle-only")], vec![video, audio], 0),
        ("a=group:BUNDLE 0 1", vec![v("9", "0", ""), a("0", "1", "")], vec![video, none], 0),
        ("a=x", vec![v("9", "0", ""), a("0", "1", "a=bundle-only")], vec![video, none], 0),
        ("a=x", vec![v("9", "0", ""), a("9", "1", "")], vec![video, none], 0),
        ("a=group:BUNDLE 1", vec![v("9", "0", ""), a("9", "1", "")], vec![video, none], 0),
        (
            "a=group:BUNDLE 0\r\na=group:BUNDLE 1 2",
            vec![a("9", "0", ""), v("9", "1", ""), a("9", "2", "")],
            vec![none, video, audio],
            1,
        ),
        (
            "a=sendonly\r\na=group:BUNDLE 0 1",
            vec![v("9", "0", ""), v("9", "1", "a=recvonly")],
            vec![none, video],
            1,
        ),
        (
            "a=group:BUNDLE 0",
            vec![v("9", "0", "").replace("H264", "VP8"), v("9", "1", "")],
            vec![none, video],
            1,
        ),
    ] {
        let offer = offer(&format!("{group}\r\n"), &sections);
        let p = check(&offer, OWN).unwrap_or_else(|e| panic!("{e}: {offer}"));
        assert_eq!((of(&p), p.carrier), (taken, carrier), "{offer}");
        let apart = !group.contains("BUNDLE 0 1")
            && sections.len() == 2
            && sections[1].starts_with("m=audio 9")
            && group != "a=group:BUNDLE 1 0";
        assert_eq!(p.left_out.len(), usize::from(apart), "{:?} of {offer}", p.left_out);
    }
}

#[test]
fn an_offer_of_many_formats_is_read_once() {
    let formats: String = (0..9000).map(|n| format!(" {}", n % 128)).collect();
    let maps = "a=rtpmap:96 H264/90000\r\n".repeat(1500);
    let offer = format!("v=0\r\nm=video 9 RTP/AVP{formats}\r\n{maps}");
    let start = std::time::Instant::now();
    assert!(check(&offer, OWN).is_err());
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "{:?}", start.elapsed());
}
