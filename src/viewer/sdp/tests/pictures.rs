//! Which video sections are accepted when several pictures are wanted.

use super::super::*;
use crate::testing::Random;

const OWN: ProfileLevelId = ProfileLevelId([0x42, 0xc0, 0x1f]);
/// Sections: video 0, audio 1, video 2, audio 3, audio 4, video 5.
const THREE: &str = include_str!("../../../../tests/data/offer-chromium-156-three-of-each-max-bundle.sdp");

/// The accepted sections, each with the index of the wanted picture.
fn taken(offer: &str, wanted: &[Option<&str>]) -> (Vec<(String, usize)>, Vec<String>) {
    let playable = check(offer, OWN, wanted).unwrap_or_else(|e| panic!("{e}: {wanted:?}"));
    let places = playable.places.iter().filter(|p| matches!(p.part, Part::Picture(_)));
    assert_eq!(places.count(), playable.pictures.len());
    let pictures = playable.pictures.iter();
    let pictures = pictures.map(|p| (p.mid.clone().unwrap_or_default(), p.wanted.expect("for one of them")));
    (pictures.collect(), playable.left_out.clone())
}

fn refused(offer: &str, wanted: &[Option<&str>]) -> String {
    check(offer, OWN, wanted).expect_err("refused").to_string()
}

fn pairs(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
    expected.iter().map(|(mid, wanted)| ((*mid).to_owned(), *wanted)).collect()
}

/// The offer with a changed section of this name.
fn changed(mid: &str, change: impl Fn(&str) -> String) -> String {
    let mut sections: Vec<String> = THREE.split("\r\nm=").map(str::to_owned).collect();
    let name = format!("\r\na=mid:{mid}\r\n");
    let section = sections.iter_mut().find(|s| s.contains(&name)).expect("a section of that name");
    let before = section.clone();
    *section = change(&before);
    assert_ne!(*section, before);
    sections.join("\r\nm=")
}

#[test]
fn pictures_have_the_sections_that_they_name_and_the_others_in_order() {
    for (wanted, expected) in [
        (&[None][..], &[("0", 0)][..]),
        (&[Some("2")], &[("2", 0)]),
        (&[None, None], &[("0", 0), ("2", 1)]),
        (&[None, None, None], &[("0", 0), ("2", 1), ("5", 2)]),
        (&[Some("5"), Some("0")], &[("0", 1), ("5", 0)]),
        (&[Some("5"), None, None], &[("0", 1), ("2", 2), ("5", 0)]),
        (&[None, Some("0")], &[("0", 1), ("2", 0)]),
        (&[None, Some("2"), None], &[("0", 0), ("2", 1), ("5", 2)]),
    ] {
        let (pictures, left_out) = taken(THREE, wanted);
        assert_eq!((pictures, left_out), (pairs(expected), vec![]), "{wanted:?}");
    }
    let (pictures, left_out) = taken(THREE, &[None, None, None, None]);
    assert_eq!(pictures.len(), 3);
    assert!(left_out.len() == 1 && left_out[0].contains("no further video section"), "{left_out:?}");
    for (wanted, why) in [
        (&[Some("7")][..], "no video section named \"7\""),
        (&[Some("1")], "no video section named \"1\""),
        (&[None, Some("")], "no video section named \"\""),
        (&[Some("2"), Some("2")], "two cameras are requested"),
    ] {
        let told = refused(THREE, wanted);
        assert!(told.contains(why), "{wanted:?}: {told}");
    }
}

#[test]
fn webrtc_sees_one_picture_and_the_sound_whatever_there_are() {
    let [one, three] =
        [&[None][..], &[None, None, None]].map(|wanted| check(THREE, OWN, wanted).expect("playable"));
    let offer = three.offer();
    assert_eq!(offer, one.offer());
    let sections: Vec<_> = offer.split("\r\nm=").skip(1).collect();
    assert!(
        sections.len() == 2 && sections[0].starts_with("video") && sections[1].starts_with("audio"),
        "{offer}"
    );
    for (mid, section) in sections.iter().enumerate() {
        assert!(section.contains(&format!("\r\na=mid:{mid}\r\n")), "{offer}");
    }
}

#[test]
fn a_section_that_differs_is_left_out_and_named() {
    let without = |line: &'static str| {
        move |section: &str| section.lines().filter(|l| !l.starts_with(line)).collect::<Vec<_>>().join("\r\n")
    };
    let replaced = |from: &'static str, to: &'static str| move |section: &str| section.replace(from, to);
    type Changed = Box<dyn Fn(&str) -> String>;
    let cases: [(&str, Changed); 8] = [
        ("no H.264", Box::new(replaced("H264/90000", "H265/90000"))),
        ("another payload type", Box::new(|s| s.replace("108", "77").replace("apt=108", "apt=77"))),
        ("no repetitions", Box::new(replaced("apt=108", "apt=1"))),
        ("other feedback", Box::new(without("a=rtcp-fb:108 nack"))),
        ("no transport-wide numbers", Box::new(without("a=extmap:4 "))),
        ("another id", Box::new(replaced("a=extmap:5 ", "a=extmap:14 "))),
        ("it sends", Box::new(replaced("a=recvonly", "a=sendonly"))),
        ("another protocol", Box::new(replaced("UDP/TLS/RTP/SAVPF", "RTP/SAVPX"))),
    ];
    for (name, change) in &cases {
        let offer = changed("2", change);
        for wanted in [&[Some("0"), Some("2"), Some("5")][..], &[None, Some("2"), None]] {
            let (pictures, left_out) = taken(&offer, wanted);
            assert_eq!(pictures, pairs(&[("0", 0), ("5", 2)]), "{name}");
            let said = left_out.len() == 1 && left_out[0].starts_with("the video section 2: ");
            assert!(said, "{name}: {left_out:?}");
        }
    }
    // As the first section it is refused, as it would be as the only one.
    let offer = changed("0", &cases[0].1);
    let told = refused(&offer, &[Some("0"), Some("2")]);
    assert!(told.contains("does not offer H.264"), "{told}");
    assert_eq!(
        taken(&offer, &[None, None]).0,
        pairs(&[("2", 0), ("5", 1)]),
        "the unsuitable section is skipped"
    );
    let told = refused(&changed("0", &cases[6].1), &[Some("0"), Some("2")]);
    assert!(told.contains("does not ask to receive"), "{told}");
}

#[test]
fn all_pictures_go_over_one_transport() {
    let apart = THREE.replace("BUNDLE 0 1 2 3 4 5", "BUNDLE 0 1 3 4 5");
    let (pictures, left_out) = taken(&apart, &[None, None, None]);
    assert_eq!(pictures, pairs(&[("0", 0), ("5", 2)]));
    assert!(left_out.len() == 1 && left_out[0].contains("section 2: ") && left_out[0].contains("bundle"));
    let none = THREE.replace("a=group:BUNDLE 0 1 2 3 4 5", "a=x");
    let (pictures, left_out) = taken(&none, &[None, None]);
    assert_eq!(pictures, pairs(&[("0", 0)]));
    assert_eq!(left_out.len(), 2, "the sound, too: {left_out:?}");
}

/// The section of this name does not want anything any more.
fn without(mid: &str, offer: &str) -> String {
    let name = format!("\r\na=mid:{mid}\r\n");
    let sections = offer.split("\r\nm=").map(|section| match section.contains(&name) {
        true => section.replace("a=recvonly", "a=inactive"),
        false => section.to_owned(),
    });
    sections.collect::<Vec<_>>().join("\r\nm=")
}

#[test]
fn a_later_offer_keeps_its_sections() {
    let first = check(THREE, OWN, &[Some("5"), Some("0")]).expect("playable");
    let new = THREE.replace("a=ice-ufrag:", "a=ice-ufrag:New");
    let later = first.later(&new, None).expect("the same except for ICE");
    let mids =
        |p: &Playable| p.pictures.iter().map(|p| (p.mid.clone(), p.wanted.is_some())).collect::<Vec<_>>();
    assert_eq!((mids(&later), later.offer().matches("ufrag:New").count()), (mids(&first), 2));
    assert!(later.restarts(&first) && !first.later(THREE, None).expect("the same").restarts(&first));
    let told =
        first.later(&without("5", THREE), None).expect_err("it requests the same pictures").to_string();
    assert!(told.contains("section 5"), "{told}");
    assert!(first.later(&THREE.replace("a=mid:5", "a=mid:9"), None).is_err());
    let silent = without("1", &without("3", &without("4", THREE)));
    let told = first.later(&silent, None).expect_err("no sound").to_string();
    assert!(told.contains("the same media section for sound"), "{told}");
}

#[test]
fn a_later_offer_may_have_more_and_fewer_pictures() {
    let pictures = |playable: &Playable| {
        let all = playable.pictures.iter();
        all.map(|p| (p.mid.clone().unwrap_or_default(), p.wanted)).collect::<Vec<_>>()
    };
    let parts = |playable: &Playable| playable.places.iter().map(|place| place.part).collect::<Vec<_>>();
    let named = |all: &[(&str, Option<usize>)]| {
        all.iter().map(|(mid, wanted)| ((*mid).to_owned(), *wanted)).collect::<Vec<_>>()
    };
    // The last section of the first offer is accepted.
    let first = check(&without("0", &without("2", THREE)), OWN, &[Some("5")]).expect("playable");
    assert_eq!(pictures(&first), named(&[("5", Some(0))]));
    // A section before it is accepted as well: the first one keeps its number.
    let two = first.later(&without("2", THREE), Some(&[Some("0"), Some("5")])).expect("taken");
    assert_eq!(pictures(&two), named(&[("5", Some(1)), ("0", Some(0))]));
    let (none, sound) = (Part::None, Part::Sound);
    assert_eq!(parts(&two), [Part::Picture(1), sound, none, none, none, Part::Picture(0)]);
    assert_eq!(two.offer(), first.offer(), "webrtc sees no change");
    // It becomes inactive, and a different one begins.
    let other = two.later(&without("5", THREE), Some(&[Some("2"), Some("0")])).expect("taken");
    assert_eq!(pictures(&other), named(&[("5", None), ("0", Some(1)), ("2", Some(0))]));
    assert_eq!(parts(&other), [Part::Picture(1), sound, Part::Picture(2), none, none, Part::Rest]);
    assert_eq!(other.bundle, Some(["0", "1", "2", "5"].map(String::from).to_vec()));
    // An ICE restart leaves it inactive; then it begins again with its own number.
    let same = other.later(&without("5", THREE), None).expect("taken");
    assert_eq!(parts(&same), parts(&other));
    let again = other.later(THREE, Some(&[Some("5"), Some("0"), Some("2")])).expect("taken");
    assert_eq!(pictures(&again), named(&[("5", Some(0)), ("0", Some(1)), ("2", Some(2))]));
    let sources = |playable: &Playable| playable.pictures.iter().map(|p| p.source).collect::<Vec<_>>();
    assert_eq!((sources(&two), sources(&same), sources(&again)), (vec![0, 1], vec![0, 1, 2], vec![3, 1, 2]));
    // The first section of the bundle is inactive: it still carries the transport.
    let carried = again.later(&without("0", THREE), Some(&[Some("5"), Some("2")])).expect("taken");
    assert_eq!(parts(&carried)[0], Part::Rest);
    assert_eq!((carried.carrier, carried.bundle.as_ref().map(|b| &*b[0])), (0, Some("0")));
    // What can't be accepted is reported, and the current offer stays.
    let told =
        two.later(&without("2", THREE), Some(&[Some("0"), Some("2")])).expect_err("inactive").to_string();
    assert!(told.contains("section 2: it does not ask to receive video"), "{told}");
    let moved = THREE.replace("a=extmap:5 ", "a=extmap:14 ");
    let told =
        two.later(&moved, Some(&[Some("0"), Some("2"), Some("5")])).expect_err("another id").to_string();
    assert!(told.contains("the same header extensions"), "{told}");
    assert!(two.later(THREE, Some(&[])).is_err(), "nothing at all");
}

/// Cameras come and go in any order, in generated offers.
#[test]
fn whatever_is_wanted_of_later_offers_numbers_stay_and_sources_are_used_once() {
    const VIDEO: [&str; 3] = ["0", "2", "5"];
    for seed in 1..200 {
        let mut random = Random(seed);
        let mut subset = || loop {
            let bits = random.next();
            let mut wanted: Vec<_> = (0..3).filter(|n| bits & 1 << n != 0).map(|n| VIDEO[n]).collect();
            if bits & 8 != 0 {
                wanted.reverse();
            }
            if !wanted.is_empty() {
                return wanted;
            }
        };
        let offer = |wanted: &[&str]| {
            let resting = VIDEO.iter().filter(|mid| !wanted.contains(mid));
            resting.fold(THREE.to_owned(), |offer, mid| without(mid, &offer))
        };
        let named = |wanted: &[&'static str]| wanted.iter().map(|mid| Some(*mid)).collect::<Vec<_>>();
        let first = subset();
        let mut now = check(&offer(&first), OWN, &named(&first)).expect("playable");
        for _ in 0..20 {
            let wanted = subset();
            let later = now.later(&offer(&wanted), Some(&named(&wanted))).expect("taken");
            for (number, before) in now.pictures.iter().enumerate() {
                let after = &later.pictures[number];
                assert_eq!(before.mid, after.mid, "{seed}");
                let goes_on = before.wanted.is_some() && after.wanted.is_some();
                assert!(!goes_on || before.source == after.source, "{seed}: {number} continues");
                let begins = before.wanted.is_none() && after.wanted.is_some();
                let used = now.pictures.iter().any(|p| p.source == after.source);
                assert!(!begins || !used, "{seed}: {number} begins again");
            }
            for (n, mid) in wanted.iter().enumerate() {
                let shown = later.pictures.iter().find(|p| p.mid.as_deref() == Some(*mid)).expect("there");
                assert_eq!(shown.wanted, Some(n), "{seed}");
            }
            let shown = |p: &Playable| p.places.iter().filter(|p| matches!(p.part, Part::Picture(_))).count();
            assert_eq!((shown(&later), later.pictures.len() <= 3), (wanted.len(), true), "{seed}");
            assert_eq!(later.offer(), now.offer(), "webrtc sees no change");
            now = later;
        }
    }
}

#[test]
fn sections_do_not_grow_without_a_bound() {
    let mut now = check(THREE, OWN, &[Some("0")]).expect("playable");
    for n in 1.. {
        // The previous one is gone for good, as after a rollback.
        let renamed =
            THREE.replace("a=mid:5", &format!("a=mid:x{n}")).replace("4 5\r\n", &format!("4 x{n}\r\n"));
        let name = format!("x{n}");
        match now.later(&renamed, Some(&[Some("0"), Some(&name)])) {
            Ok(later) => now = later,
            Err(error) => {
                assert_eq!((n, error.to_string().contains("too many")), (MOST_PICTURES, true), "{error}");
                break;
            }
        }
    }
}
