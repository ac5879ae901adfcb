//! Offers of real browsers, and what is made of them.

use super::*;

const OWN: ProfileLevelId = ProfileLevelId([0x42, 0xc0, 0x1f]);
const CHROMIUM: &str = include_str!("../../tests/data/offer-chromium-156.sdp");
const CHROMIUM_MDNS: &str = include_str!("../../tests/data/offer-chromium-156-video-mdns.sdp");
const FIREFOX: &str = include_str!("../../tests/data/offer-firefox-153.sdp");
const SAFARI: &str = include_str!("../../tests/data/offer-safari-like.sdp");

fn lines(sdp: &str, prefix: &str) -> Vec<String> {
    sdp.lines().filter(|l| l.starts_with(prefix)).map(str::to_owned).collect()
}

fn refused(sdp: &str) -> String {
    check(sdp, OWN).expect_err("refused").to_string()
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
        assert!(p.offer.contains(&fmtp), "{}", p.offer);
        let media = lines(&p.offer, "m=")
            .iter()
            .map(|m| m.split(' ').skip(3).map(str::to_owned).collect())
            .collect::<Vec<Vec<_>>>();
        assert!(
            media.contains(&vec![video.to_string(), rtx.to_string()])
                && media.contains(&vec![audio.to_string()])
        );
        assert_eq!(lines(&p.offer, "a=rtpmap").len(), 3);
        assert!(check(&p.offer, OWN).is_ok_and(|again| again.video == p.video && again.audio == p.audio));
    }
}

#[test]
fn firefox_wants_stereo_and_gets_it() {
    let fmtp = check(FIREFOX, OWN).expect("playable").audio.expect("audio").fmtp;
    assert_eq!(fmtp, "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1");
}

#[test]
fn candidates_without_use_are_dropped_and_none_is_fine() {
    let kept = |offer| lines(&check(offer, OWN).expect("playable").offer, "a=candidate");
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
    assert!(refused(&CHROMIUM.replace("a=group:BUNDLE", "a=x-group:")).contains("bundle"));
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
        (CHROMIUM.replace("a=mid:1", "a=x"), "mid"),
        (CHROMIUM.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "not encrypted"),
    ] {
        assert!(matches!(check(&offer, OWN), Err(Error::BadOffer(s)) if s.contains(why)), "{why}");
    }
}

#[test]
fn one_section_needs_no_bundle_and_gets_none_back() {
    let offer = CHROMIUM_MDNS.replace("a=group:BUNDLE 0\r\n", "").replace("a=recvonly\r\n", "");
    let p = check(&offer, OWN).expect("playable");
    assert!(p.offer.contains("a=group:BUNDLE 0\r\n") && p.offer.contains("a=sendrecv\r\n"));
    assert!(!p.answer("v=0\r\na=group:BUNDLE 0\r\nm=video 9\r\n", &[], true).contains("BUNDLE"));
    assert!(
        check(CHROMIUM_MDNS, OWN)
            .expect("playable")
            .answer("v=0\r\na=group:BUNDLE 0\r\n", &[], true)
            .contains("BUNDLE")
    );
}

#[test]
fn our_candidates_stand_in_the_first_section() {
    let p = check(CHROMIUM, OWN).expect("playable");
    let theirs = "v=0\r\nm=audio 9\r\na=candidate:1 1 udp 1 127.0.0.1 4000 typ host\r\na=mid:0\r\na=end-of-candidates\r\nm=video 9\r\na=candidate:1 1 udp 1 127.0.0.1 4000 typ host\r\na=mid:1\r\n";
    let answer = p.answer(theirs, &["candidate:ours".into()], true);
    assert_eq!(
        answer,
        "v=0\r\na=ice-options:trickle\r\nm=audio 9\r\na=mid:0\r\na=candidate:ours\r\na=end-of-candidates\r\nm=video 9\r\na=mid:1\r\n"
    );
    assert!(!p.answer(theirs, &[], false).contains("end-of"));
}

#[test]
fn a_later_offer_may_change_only_its_ice_session() {
    let first = check(CHROMIUM, OWN).expect("playable");
    let later = |change: &dyn Fn(String) -> String| {
        let offer = change(CHROMIUM.replace("a=ice-ufrag:", "a=ice-ufrag:New"));
        renewed(&first, &check(&offer, OWN).expect("playable"))
    };
    let renewed = later(&|o| o).expect("the same but for ICE");
    assert!(lines(&renewed.offer, "a=ice-ufrag:").iter().all(|l| l.starts_with("a=ice-ufrag:New")));
    assert_eq!(lines(&renewed.offer, "m="), lines(&first.offer, "m="));
    for (from, to, why) in [
        ("a=mid:1", "a=mid:7", "media sections"),
        ("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 AA:", "fingerprint"),
    ] {
        let error = later(&|o| o.replace(from, to).replace("BUNDLE 0 1", "BUNDLE 0 7"));
        assert!(error.expect_err("refused").to_string().contains(why), "{why}");
    }
}

#[test]
fn a_restart_replaces_credentials_and_candidates() {
    let new = [("0".to_owned(), "candidate:1 1 udp 2113937151 192.0.2.7 4000 typ host".to_owned())];
    let offer = restarted(
        &check(FIREFOX, OWN).expect("playable").offer,
        "newufrag",
        "newpwdnewpwdnewpwdnewpwd",
        &new,
    )
    .expect("clean");
    assert_eq!(lines(&offer, "a=ice-ufrag"), ["a=ice-ufrag:newufrag"; 2]);
    assert_eq!(lines(&offer, "a=candidate"), ["a=candidate:1 1 udp 2113937151 192.0.2.7 4000 typ host"]);
    assert!(check(&offer, OWN).is_ok());
    assert!(restarted(FIREFOX, "x\r\na=inactive", "newpwdnewpwdnewpwdnewpwd", &[]).is_err());
}

#[test]
fn only_udp_addresses_are_candidates() {
    let ok = |c| usable_candidate(c).is_some();
    assert!(ok("candidate:1 1 udp 2113937151 192.0.2.7 4000 typ host generation 0"));
    assert!(ok("candidate:1 1 UDP 1 2001:db8::1 4000 typ srflx raddr 0.0.0.0 rport 0"));
    for c in [
        "",
        "candidate:",
        "candidate:1 2 udp 1 192.0.2.7 4000 typ host",
        "candidate:1 1 tcp 1 192.0.2.7 9 typ host tcptype active",
        "candidate:1 1 udp 1 d8b46c57.local 4000 typ host",
        "candidate:1 1 udp 1 0.0.0.0 4000 typ host",
        "candidate:1 1 udp 1 192.0.2.7 99999 typ host",
        "candidate:1 1 udp 1 192.0.2.7 4000 typ\r\na=x",
    ] {
        assert!(!ok(c), "{c}");
    }
}

#[test]
fn our_ice_session_is_read_from_our_answer() {
    let sdp = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=candidate:1 1 udp 1 192.0.2.7 4000 typ host\r\n";
    let f = ice_of(sdp).expect("has one");
    assert_eq!((f.ufrag.as_str(), f.pwd.as_str()), ("u", "p"));
    assert_eq!(f.candidates, [("v".to_owned(), "candidate:1 1 udp 1 192.0.2.7 4000 typ host".to_owned())]);
}
