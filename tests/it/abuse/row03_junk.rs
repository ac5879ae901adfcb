//! Junk that looks like RTP, RTCP or DTLS, from a viewer or from a stranger who forges a viewer's address.

use std::time::{Duration, Instant};

use rtc::rtcp::receiver_report::ReceiverReport;

use super::peer::{Peer, Way};
use super::{Flat, Scene, block_on};
use crate::flood;
use crate::random::Random;

/// Duration of an attack.
const LASTS: Duration = Duration::from_secs(4);
/// Datagrams per second: at 200 bytes for each sender they would take 16 MB in that time.
const RATE: u32 = 20_000;

/// Sends junk with the bystander's address.
fn forged(what: &str, payload: fn(u32, &mut Random) -> Vec<u8>) {
    Scene::new().under(what, Flat::FromStart, |target| {
        let sent = flood::forge(target.media, target.victim.address, RATE, LASTS, payload);
        format!("{:.0} a second", f64::from(sent) / LASTS.as_secs_f64())
    });
}

/// RTCP that looks genuine except for its signature.
fn rtcp(_: u32, random: &mut Random) -> Vec<u8> {
    let mut report = [&[0x81, 201, 0, 7][..], &random.bytes(60)].concat();
    let flag = report.len() - 14;
    report[flag] |= 0x80; // encrypted
    report
}

/// RTCP marked as not encrypted, for which webrtc itself checks no signature.
fn open_rtcp(_: u32, random: &mut Random) -> Vec<u8> {
    let mut report = [&[0x80, 201, 0, 1][..], &random.bytes(4), &[0; 4], &random.bytes(10)].concat();
    report[11] = 1;
    report
}

fn rtp(_: u32, random: &mut Random) -> Vec<u8> {
    [&[0x80, 96][..], &random.bytes(200)].concat()
}

/// DTLS of an epoch that never comes, and fragments of handshake messages that never end.
fn dtls(n: u32, random: &mut Random) -> Vec<u8> {
    let (kind, epoch, body) = match n / 3 % 4 {
        0 => (22, 2, random.bytes(100)),
        1 => (23, 2, random.bytes(100)),
        2 => (23, 1, random.bytes(100)),
        _ => (22, 0, [&[11, 0, 1, 0][..], &random.bytes(2), &[0, 0, 0, 0, 0, 100], &[0; 100]].concat()),
    };
    let mut record = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 1];
    record.extend(random.bytes(4));
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

fn anything(n: u32, random: &mut Random) -> Vec<u8> {
    match n % 3 {
        0 => rtp(n, random),
        1 => open_rtcp(n, random),
        _ => dtls(n, random),
    }
}

#[test]
fn rtcp_in_a_viewers_name() {
    forged("junk: RTCP in a viewer's name", rtcp);
}

#[test]
fn everything_else_in_a_viewers_name() {
    forged("junk: RTP, open RTCP and DTLS in a viewer's name", anything);
}

/// From a viewer itself: genuine reports, each from a different sender, mixed with junk.
fn from_a_viewer(way: Way) {
    Scene::new().under(&format!("junk: from a viewer itself, {way:?}"), Flat::FromFirstRound, |target| {
        block_on(async {
            let mut peer = Peer::join(target, way).await;
            let (to, from) = (target.media, peer.address().await);
            let junk = tokio::task::spawn_blocking(move || flood::forge(to, from, RATE / 2, LASTS, anything));
            let (start, mut reports) = (Instant::now(), 0);
            while start.elapsed() < LASTS {
                peer.rtcp(vec![Box::new(ReceiverReport { ssrc: reports * 7, ..Default::default() })]).await;
                reports += 1;
                while peer.client.packets.try_recv().is_ok() {}
                if reports.is_multiple_of(20) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            let junk = junk.await.expect("no panic");
            peer.client.close().await;
            format!("{junk} datagrams of junk, {reports} reports of as many senders")
        })
    });
}

#[test]
fn junk_from_a_viewer_by_the_page() {
    from_a_viewer(Way::Page);
}

#[test]
fn junk_from_a_viewer_by_whep() {
    from_a_viewer(Way::Whep);
}
