//! Several cameras on one connection, over real sockets: each in its section; exchanged, paused, and hidden
//! separately.

use std::collections::HashMap;
use std::time::Duration;

use peercam::config;
use peercam::pipeline::quality::{Quality, Share};
use peercam::viewer::{Signaling, ViewerId, Wanted};
use rtc::interceptor::Packet;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use super::client::{self, Client, OPUS};
use super::viewer::{House, house_of, until, video};

/// The cameras, and the size of the first packet of their pictures, by which they are distinguished.
const CAMERAS: [(&str, usize); 2] = [("front", 900), ("back", 1000)];

/// A viewer of some cameras, each in a section.
struct Viewer {
    client: Client,
    id: ViewerId,
    /// The answer to its first offer.
    answer: String,
}

impl Viewer {
    /// The next picture: its source, its camera, its packet's number, and whether it is an IDR.
    async fn picture(&mut self) -> (u32, &'static str, u16, bool) {
        self.client.next("a picture", first).await
    }

    /// The source of each camera, once each was seen.
    async fn sources(&mut self) -> HashMap<&'static str, u32> {
        let mut sources = HashMap::new();
        while sources.len() < CAMERAS.len() {
            let (source, camera, ..) = self.picture().await;
            sources.insert(camera, source);
        }
        sources
    }

    /// Waits until each of these sources shows this camera, starting with an IDR.
    async fn show(&mut self, expected: &[(u32, &str)]) {
        let mut waiting = expected.to_vec();
        while !waiting.is_empty() {
            let (source, camera, _, idr) = self.picture().await;
            let there = waiting.iter().position(|expected| *expected == (source, camera));
            if let Some(there) = there {
                waiting.remove(there);
                assert!(idr, "{camera} begins with an IDR");
            }
        }
    }
}

fn house() -> House {
    house_of(&CAMERAS, 5, config::Ice { port: 0, ..Default::default() })
}

/// A viewer of these cameras, and the names of its sections.
async fn watch_cameras<const N: usize>(house: &House, cameras: [&str; N]) -> (Viewer, [String; N]) {
    let mut client = Client::watching(N, true).await;
    let sdp = client.offer().await;
    let mids: [String; N] = mids(&sdp).try_into().expect("as many sections");
    let sections: Vec<_> = mids.iter().map(String::as_str).zip(cameras).collect();
    let from = "127.0.0.1:5000".parse().expect("an address");
    let mut offer = client::offer(sdp, from, Signaling::Page, &house.cameras);
    offer.cameras = wanted(house, &sections);
    let answer = house.registry.join(offer).await.expect("accepted");
    client.accept(&answer.sdp).await;
    client.until(Connected).await;
    (Viewer { client, id: answer.id, answer: answer.sdp }, mids)
}

/// Requests for these cameras in these sections.
fn wanted(house: &House, sections: &[(&str, &str)]) -> Vec<Wanted> {
    let wanted = |(mid, camera): &(&str, &str)| Wanted {
        mid: Some((*mid).to_owned()),
        camera: house.cameras.find(camera).expect("there"),
        quality: Quality::Auto,
    };
    sections.iter().map(wanted).collect()
}

/// Viewers that receive video and sound of each camera.
fn demand(house: &House) -> [(usize, usize); 2] {
    CAMERAS.map(|(name, _)| {
        let camera = house.cameras.find(name).expect("there");
        (camera.video.demand.wants().borrow().viewers, camera.audio.demand.wants().borrow().viewers)
    })
}

/// The names of an offer's video sections.
fn mids(sdp: &str) -> Vec<String> {
    let video = sdp.split("\r\nm=").filter(|section| section.starts_with("video"));
    let mid = |section: &str| section.lines().find_map(|line| line.strip_prefix("a=mid:")).map(str::to_owned);
    video.map(|section| mid(section).expect("a name")).collect()
}

/// The first packet of a picture.
fn first(packet: Packet) -> Option<(u32, &'static str, u16, bool)> {
    let packet = video(packet)?;
    let (name, _) = CAMERAS.into_iter().find(|(_, size)| packet.payload.len() == *size)?;
    Some((packet.header.ssrc, name, packet.header.sequence_number, packet.payload[0] == 0x65))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cameras_are_seen_exchanged_and_paused() {
    let house = house();
    let (mut viewer, [first, second]) = watch_cameras(&house, ["front", "back"]).await;
    let sources = viewer.sources().await;
    assert_ne!(sources["front"], sources["back"]);
    viewer
        .client
        .next("sound", |p| matches!(p, Packet::Rtp(p) if p.header.payload_type == OPUS).then_some(()))
        .await;
    assert_eq!(demand(&house), [(1, 1), (1, 0)]);
    let rungs = || {
        let facts = house.registry.list().remove(0).cameras;
        facts.into_iter().map(|facts| (facts.camera, facts.rung)).collect::<Vec<_>>()
    };
    let full = |camera: &str| (camera.to_owned(), Some(Share::Full));
    let soon = Duration::from_secs(5);
    until("what it gets is known", soon, || rungs() == [full("front"), full("back")]).await;

    for (mid, camera) in [(&first, "back"), (&second, "front")] {
        house.registry.set_camera(&viewer.id, Some(mid), camera).await.expect("there");
    }
    viewer.show(&[(sources["front"], "back"), (sources["back"], "front")]).await;
    until("what it gets is known", soon, || rungs() == [full("back"), full("front")]).await;
    assert_eq!(demand(&house), [(1, 1), (1, 0)], "nothing more of the cameras that it has left");
    assert_eq!(house.registry.cameras_of(&viewer.id).expect("there"), ["back", "front"]);

    house.registry.listen(&viewer.id, "back").await.expect("there");
    house.registry.set_paused(&viewer.id, &second, true).await.expect("there");
    until("nothing is wanted of it", soon, || demand(&house) == [(0, 0), (1, 1)]).await;
    // What was on its way arrives first.
    let (mut pictures, mut in_a_row) = (0, 0);
    while in_a_row < 30 {
        let (source, ..) = viewer.picture().await;
        in_a_row = if source == sources["front"] { in_a_row + 1 } else { 0 };
        pictures += 1;
        assert!(pictures < 300, "it is not paused");
    }
    house.registry.set_paused(&viewer.id, &second, false).await.expect("there");
    viewer.show(&[(sources["back"], "front")]).await;
    assert_eq!(demand(&house), [(1, 0), (1, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hidden_camera_had_captured_is_not_sent_again() {
    let house = house();
    let (mut viewer, _) = watch_cameras(&house, ["front", "back"]).await;
    let sources = viewer.sources().await;
    let mut numbers: HashMap<u32, Vec<u16>> = HashMap::new();
    while numbers.values().map(Vec::len).min().unwrap_or_default() < 10 || numbers.len() < 2 {
        let (source, _, number, _) = viewer.picture().await;
        numbers.entry(source).or_default().push(number);
    }
    assert!(house.registry.conceal_camera("back").await);
    // What was sent before has arrived once a later request is answered.
    let nack = |source: u32| -> Box<dyn rtc::rtcp::Packet> {
        let nacks = nack_pairs_from_sequence_numbers(&numbers[&source]);
        Box::new(TransportLayerNack { sender_ssrc: 1, media_ssrc: source, nacks })
    };
    viewer.client.send_rtcp(vec![nack(sources["back"]), nack(sources["front"])]).await;
    let mut again = vec![];
    let mut expected: Vec<_> = numbers[&sources["front"]].iter().map(|number| (900, *number)).collect();
    while again.len() < expected.len() {
        let repeated = viewer.client.next("a repetition", |packet| {
            let Packet::Rtp(packet) = packet else { return None };
            if sources.values().any(|source| *source == packet.header.ssrc) {
                return None; // sent for the first time
            }
            let [high, low, rest @ ..] = &packet.payload[..] else { return None };
            let (_, size) = CAMERAS.iter().find(|(_, size)| rest.len() == *size)?;
            Some((*size, u16::from_be_bytes([*high, *low])))
        });
        let repeated = repeated.await;
        if !again.contains(&repeated) {
            again.push(repeated); // late ones come twice
        }
    }
    again.sort_unstable();
    expected.sort_unstable();
    assert_eq!(again, expected, "packets of the other camera only");
    while viewer.picture().await.0 != sources["back"] {} // it goes on, as a slate would
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_offer_adds_a_section_and_rests_another() {
    let house = house();
    let (mut viewer, [first_mid]) = watch_cameras(&house, ["front"]).await;
    let soon = Duration::from_secs(5);
    let (front, camera, mut last, _) = viewer.picture().await;
    assert_eq!((camera, demand(&house)), ("front", [(1, 1), (0, 0)]));

    // A second camera, while the first one's packets continue without a gap in their numbers.
    viewer.client.add_picture().await;
    let sdp = viewer.client.offer_again().await;
    let [_, second_mid] = &<[String; 2]>::try_from(mids(&sdp)).expect("two");
    let both = wanted(&house, &[(&first_mid, "front"), (second_mid, "back")]);
    let again = house.registry.renegotiate(&viewer.id, &sdp, Some(both)).await.expect("answered");
    viewer.client.accept(&again).await;
    let ufrag = |sdp: &str| sdp.lines().find(|line| line.starts_with("a=ice-ufrag")).map(str::to_owned);
    assert_eq!(ufrag(&viewer.answer), ufrag(&again), "no ICE restart");
    let back = loop {
        let (source, camera, number, idr) = viewer.picture().await;
        if camera == "back" {
            assert!(idr && source != front, "it begins with an IDR, from a source of its own");
            break source;
        }
        assert_eq!((source, number.wrapping_sub(last) < 20), (front, true), "the first one continues");
        last = number;
    };
    until("both are wanted", soon, || demand(&house) == [(1, 1), (1, 0)]).await;
    assert!(again.contains(&format!("a=ssrc:{back} msid:peercam-2 picture-2")), "{again}");

    // The first one's section becomes inactive.
    let rests = |sdp: &str| {
        let name = format!("\r\na=mid:{first_mid}\r\n");
        let section = |section: &str| match section.contains(&name) {
            true => section.replace("a=recvonly", "a=inactive"),
            false => section.to_owned(),
        };
        sdp.split("\r\nm=").map(section).collect::<Vec<_>>().join("\r\nm=")
    };
    let resting = rests(&sdp);
    let one = wanted(&house, &[(second_mid, "back")]);
    house.registry.renegotiate(&viewer.id, &resting, Some(one)).await.expect("answered");
    until("nothing is wanted of it", soon, || demand(&house)[0].0 == 0 && demand(&house)[1].0 == 1).await;
    let facts = || house.registry.list().remove(0).cameras.into_iter().map(|c| c.camera).collect::<Vec<_>>();
    assert_eq!(facts(), ["back"]);
    let named = house.registry.set_camera(&viewer.id, Some("no-such"), "back").await;
    assert!(named.is_err());
    // The camera comes back into the same section with a new source: Chromium shows nothing of a source that
    // it has seen end.
    let both = wanted(&house, &[(&first_mid, "front"), (second_mid, "back")]);
    let sdp = viewer.client.offer_again().await;
    let again = house.registry.renegotiate(&viewer.id, &sdp, Some(both)).await.expect("answered");
    let source = again.lines().find_map(|line| line.strip_prefix("a=ssrc-group:FID ")?.split(' ').next());
    let new = source.and_then(|source| source.parse().ok()).expect("a source");
    assert!(new != front && new != back, "{again}");
    viewer.client.accept(&again).await;
    viewer.show(&[(new, "front")]).await;
    assert_eq!(facts(), ["front", "back"]);
    // A request that can't be accepted changes nothing.
    let unknown = wanted(&house, &[(&first_mid, "front"), ("no-such", "back")]);
    house.registry.renegotiate(&viewer.id, &sdp, Some(unknown)).await.expect_err("no such section");
    assert_eq!(facts(), ["front", "back"]);
    viewer.picture().await;
}
