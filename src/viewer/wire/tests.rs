//! Several pictures and a sound to one viewer.

use std::collections::HashMap;

use rtc::crypto::SecretVec;
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, SymbolTypeTcc, TransportLayerCc,
};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use rtc::shared::marshal::Unmarshal;
use rtc::srtp::protection_profile::ProtectionProfile;

use super::*;
use crate::clock::Pts;

const TRANSPORT_WIDE: u8 = 3;
/// Sources of two pictures, each with retransmissions, and of the sound.
const PICTURES: [(u32, u32); 2] = [(1_000, 1_001), (2_000, 2_001)];
const SOUND: u32 = 3_000;
const PARTS: usize = 3;
const MOMENT: Duration = Duration::from_millis(100);

fn wire(start: Instant) -> Wire {
    let extensions = Extensions { transport_wide: Some(TRANSPORT_WIDE), ..Default::default() };
    let picture = |(video, rtx)| Picture {
        video: Stream::new(video, 96, extensions),
        rtx: Some(Stream::new(rtx, 97, extensions)),
        repeats: true,
    };
    let audio = Some(Stream::new(SOUND, 111, extensions));
    let mut wire = Wire::new(audio, NtpClock::now(), false);
    for (number, sources) in PICTURES.into_iter().enumerate() {
        wire.begin(number, picture(sources), false);
    }
    let profile = ProtectionProfile::AeadAes128Gcm;
    let [key, salt] = [profile.key_len(), profile.salt_len()].map(|length| SecretVec::new(vec![7; length]));
    wire.secure(&Master { profile, key, salt }, 1e6, start).expect("keys");
    // A viewer that does not report single packets is assumed to have a link that carries all; its packets wait for
    // nothing from a moment after the start on.
    wire.share((1e9, 30.0), start).expect("keys");
    wire
}

fn picture(section: usize, n: u64) -> Unit {
    coded(section, n, false)
}

fn coded(section: usize, n: u64, idr: bool) -> Unit {
    let pts = Pts::from_micros(1_000_000 + n * 33_333);
    let (rtp_time, payloads) = (n as u32 * 3_000, vec![vec![n as u8; 900].into(); PARTS]);
    Unit::Video(section, Arc::new(VideoUnit { payloads, ..VideoUnit::bare(pts, rtp_time, idr) }))
}

fn sound(n: u64) -> Unit {
    let (pts, payload) = (Pts::from_micros(1_000_000 + n * 20_000), vec![1; 80].into());
    Unit::Audio(Arc::new(AudioUnit { pts, rtp_time: n as u32 * 960, payload }))
}

/// What was sent since the previous call: headers of RTP, which are not encrypted, and sources of reports.
fn out(wire: &mut Wire) -> (Vec<rtc::rtp::header::Header>, Vec<u32>) {
    let (mut headers, mut reports) = (vec![], vec![]);
    for run in wire.batch().runs(64) {
        for datagram in run.datagrams() {
            if (192..224).contains(&datagram[1]) {
                reports.push(u32::from_be_bytes(datagram[4..8].try_into().expect("four")));
            } else {
                headers.push(rtc::rtp::header::Header::unmarshal(&mut &datagram[..]).expect("a header"));
            }
        }
    }
    wire.batch().clear();
    (headers, reports)
}

fn said(packet: impl rtcp::Packet + 'static) -> Vec<u8> {
    rtcp::packet::marshal(&[Box::new(packet) as Box<dyn rtcp::Packet>]).expect("written").to_vec()
}

fn nack(media_ssrc: u32, numbers: &[u16]) -> Vec<u8> {
    said(TransportLayerNack { sender_ssrc: 9, media_ssrc, nacks: nack_pairs_from_sequence_numbers(numbers) })
}

/// The sections for which a report requests a keyframe.
fn wishes(wire: &mut Wire, compound: &[u8], now: Instant) -> Vec<usize> {
    let mut wishes = vec![];
    wire.feedback(compound, now, |section| wishes.push(section));
    wire.timeout(now);
    wishes
}

#[test]
fn each_picture_has_its_numbers_and_all_have_one_count() {
    let start = Instant::now();
    let (mut wire, now) = (wire(start), start + MOMENT);
    for n in 0..20 {
        for unit in [picture(0, n), sound(n), picture(1, n)] {
            wire.unit(&unit, false, now);
        }
    }
    wire.unit(&picture(2, 1), false, now); // there is no such section
    let (mut numbers, mut wide) = (HashMap::<u32, Vec<u16>>::new(), vec![]);
    for header in out(&mut wire).0 {
        let number = header.get_extension(TRANSPORT_WIDE).expect("each has one");
        wide.push(u16::from_be_bytes([number[0], number[1]]));
        numbers.entry(header.ssrc).or_default().push(header.sequence_number);
    }
    assert_eq!(wide, (0..20 * (2 * PARTS as u16 + 1)).collect::<Vec<_>>());
    let mut counts: Vec<_> = numbers.iter().map(|(ssrc, numbers)| (*ssrc, numbers.len())).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(1_000, 20 * PARTS), (2_000, 20 * PARTS), (SOUND, 20)]);
    for (ssrc, numbers) in numbers {
        assert_eq!(u32::from(numbers[0]), ssrc & 0x7fff);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ssrc}");
    }
}

#[test]
fn what_is_lost_of_a_picture_comes_again_in_its_own_stream() {
    let start = Instant::now();
    let (mut wire, now) = (wire(start), start + MOMENT);
    wire.unit(&picture(0, 1), false, now);
    wire.unit(&picture(1, 1), false, now);
    out(&mut wire);
    for (section, (video, rtx)) in PICTURES.into_iter().enumerate() {
        let first = video as u16 & 0x7fff;
        assert!(wishes(&mut wire, &nack(video, &[first, first + 2]), now).is_empty());
        let sources: Vec<_> = out(&mut wire).0.iter().map(|h| h.ssrc).collect();
        assert_eq!(sources, [rtx, rtx], "{section}");
    }
    // Numbers belong to the source that is named.
    wishes(&mut wire, &nack(PICTURES[0].0, &[PICTURES[1].0 as u16]), now);
    wishes(&mut wire, &nack(77, &[PICTURES[0].0 as u16 + 1]), now);
    assert!(out(&mut wire).0.is_empty());
    // What one section forgets, the other still has.
    wire.forget(0);
    for (video, comes) in [(PICTURES[0].0, 0), (PICTURES[1].0, 1)] {
        wishes(&mut wire, &nack(video, &[video as u16 + 1]), now);
        assert_eq!(out(&mut wire).0.len(), comes, "{video}");
    }
}

#[test]
fn a_wish_for_a_keyframe_is_that_of_its_section() {
    let now = Instant::now();
    let mut wire = wire(now);
    let pli = |media_ssrc| said(PictureLossIndication { sender_ssrc: 9, media_ssrc });
    assert_eq!(wishes(&mut wire, &pli(1_000), now), [0]);
    assert_eq!(wishes(&mut wire, &pli(2_000), now), [1]);
    assert_eq!(wishes(&mut wire, &pli(0), now), [0, 1], "a request without a source means any section");
}

#[test]
fn each_stream_that_was_sent_reports_and_measures_its_round_trip() {
    let start = Instant::now();
    let mut wire = wire(start);
    wire.unit(&picture(1, 1), false, start);
    wire.unit(&sound(1), false, start);
    out(&mut wire);
    wire.timeout(start);
    assert_eq!(out(&mut wire).1, [2_000, SOUND], "nothing was sent of the first picture");
    wire.unit(&picture(0, 1), false, start);
    wire.unit(&picture(1, 2), false, start);
    out(&mut wire);
    let later = start + REPORT_INTERVAL;
    wire.timeout(later);
    assert_eq!(out(&mut wire).1, [1_000, 2_000, SOUND]);
    let lsr = report::of(&wire.sections[1].video, wire.ntp).expect("sent").0 >> 16;
    let answered =
        ReceptionReport { ssrc: 2_000, last_sender_report: lsr as u32, delay: 0, ..Default::default() };
    let answer = said(ReceiverReport { ssrc: 9, reports: vec![answered], ..Default::default() });
    wire.feedback(&answer, later + Duration::from_millis(70), |_| ());
    let pauses: Vec<_> = wire.sections.iter().map(|s| s.resend.pause()).collect();
    assert_eq!(
        pauses,
        [Duration::from_millis(100), Duration::from_millis(70)],
        "the other section's round trip is not known"
    );
    // It is also the link's, where the viewer reports no single packets.
    let link = wire.link(later + Duration::from_millis(70)).expect("known");
    assert!((link.rtt_ms - 70.0).abs() < 1.0, "{link:?}");
}

#[test]
fn reports_of_arrivals_show_the_queueing_delay() {
    let start = Instant::now();
    let mut wire = wire(start);
    assert!(wire.link(start).is_some_and(|link| link.queue_ms == 0.0));
    // All packets are reported; from the second second on they arrive 200 ms later.
    let (mut number, mut queue) = (0_u16, 0.0);
    for n in 0..90 {
        let now = start + MOMENT + Duration::from_millis(33) * n;
        // After the sudden fall, only an IDR is of use.
        wire.unit(&coded(0, n.into(), wire.is_broken(0)), false, now);
        let count = out(&mut wire).0.len() as u16;
        if count == 0 {
            continue; // it waits, because there is a queue
        }
        let arrived = (33 * n + if n < 30 { 20 } else { 220 }) as i64;
        let deltas = (0..count).map(|part| RecvDelta {
            type_tcc_packet: SymbolTypeTcc::PacketReceivedLargeDelta,
            delta: if part == 0 { arrived % 64 * 1_000 } else { 0 },
        });
        let report = TransportLayerCc {
            sender_ssrc: 9,
            media_ssrc: 1_000,
            base_sequence_number: number,
            packet_status_count: count,
            reference_time: (arrived / 64) as u32,
            packet_chunks: vec![PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                packet_status_symbol: SymbolTypeTcc::PacketReceivedLargeDelta,
                run_length: count,
            })],
            recv_deltas: deltas.collect(),
            ..Default::default()
        };
        number += count;
        wire.feedback(&said(report), now + Duration::from_millis(50), |_| ());
        queue = wire.link(now).expect("known").queue_ms;
        assert!(n >= 30 || queue < 5.0, "{n}: {queue}");
    }
    assert!((190.0..210.0).contains(&queue), "{queue}");
}
