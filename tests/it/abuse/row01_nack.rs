//! Requests for retransmission (NACK) that cost a few bytes each and would bring back hundreds.

use std::time::{Duration, Instant};

use rtc::interceptor::Packet;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};

use super::peer::{Peer, Way};
use super::{Flat, Scene, block_on};

/// Shortest duration of an attack, so that others can be observed meanwhile.
const LASTS: Duration = Duration::from_secs(4);
/// Most bytes that may come back beyond a quarter of the media.
const BURST: usize = 64 * 1024;

/// Sends `datagrams` reports of what `lost` makes of the newest sequence number, at a rate, and checks what
/// comes back.
fn attack(what: &str, way: Way, datagrams: u32, per_second: u32, lost: fn(u16) -> Vec<NackPair>) {
    Scene::new().under(what, Flat::FromFirstRound, |target| {
        block_on(async {
            let mut peer = Peer::join(target, way).await;
            let (media_ssrc, mut newest) = (peer.first.header.ssrc, peer.first.header.sequence_number);
            let (mut media, mut again, mut sent) = (0, 0, 0);
            let start = Instant::now();
            for n in 0.. {
                let due = Duration::from_secs(1) * n / per_second;
                let rest = start.elapsed() > LASTS && n >= datagrams;
                while let Ok(packet) = peer.client.packets.try_recv() {
                    let Packet::Rtp(packet) = packet else { continue };
                    let bytes = 12 + packet.payload.len();
                    if packet.header.ssrc == media_ssrc {
                        (newest, media) = (packet.header.sequence_number, media + bytes);
                    } else {
                        again += bytes;
                    }
                }
                if rest {
                    break;
                }
                tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
                if n < datagrams {
                    // A NACK contains at most 253 entries; a compound packet has room for several.
                    let all: Vec<_> = lost(newest);
                    let one = |nacks: &[NackPair]| -> Box<dyn rtc::rtcp::Packet> {
                        Box::new(TransportLayerNack { sender_ssrc: 1, media_ssrc, nacks: nacks.to_vec() })
                    };
                    peer.rtcp(all.chunks(200).map(one).collect()).await;
                    sent += all.len() * 4 + 12;
                }
            }
            peer.client.close().await;
            assert!(again > 0, "{what}: nothing was ever retransmitted, so nothing was tested");
            assert!(again <= media / 4 + BURST, "{what}: {again} bytes again, {media} at first");
            format!("{sent} bytes sent; {again} came back, beside {media} of the picture")
        })
    });
}

/// The same 17 packets, 330 times.
fn same(newest: u16) -> Vec<NackPair> {
    vec![NackPair { packet_id: newest.wrapping_sub(20), lost_packets: 0xffff }; 330]
}

/// Everything that may still be kept.
fn everything(newest: u16) -> Vec<NackPair> {
    (0..60).map(|n| NackPair { packet_id: newest.wrapping_sub(n * 17), lost_packets: 0xffff }).collect()
}

/// What an honest browser on a bad line sends, without end.
fn ordinary(newest: u16) -> Vec<NackPair> {
    vec![NackPair { packet_id: newest.wrapping_sub(8), lost_packets: 0x7f }]
}

#[test]
fn the_same_packets_330_times_in_each_of_100_datagrams() {
    attack("NACK: the same 17 packets, by WHEP", Way::Whep, 100, 1000, same);
}

#[test]
fn everything_again_and_again() {
    attack("NACK: everything, by the page", Way::Page, 2000, 500, everything);
}

#[test]
fn ordinary_requests_without_end() {
    attack("NACK: ordinary ones, 344 a second, by the page", Way::Page, 1376, 344, ordinary);
}
