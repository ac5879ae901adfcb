//! The scenarios.

use std::collections::{BTreeMap, HashMap, HashSet};

use rtc::interceptor::Packet;
use rtc::rtcp::sender_report::SenderReport;

use super::*;
use crate::pipeline::quality::Share;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// The RTP packets among those that arrived: pictures, sounds, retransmissions.
fn rtp(arrived: Vec<(Instant, Packet)>) -> impl Iterator<Item = (Instant, rtc::rtp::Packet)> {
    arrived.into_iter().filter_map(|(at, packet)| match packet {
        Packet::Rtp(packet) => Some((at, packet)),
        _ => None,
    })
}

/// The longest time between the ends of two pictures.
fn longest_gap(arrived: Vec<(Instant, Packet)>) -> Duration {
    let ends: Vec<_> = rtp(arrived).filter(|(_, p)| p.header.marker).map(|(at, _)| at).collect();
    ends.windows(2).map(|pair| pair[1] - pair[0]).max().expect("pictures")
}

/// The times that joining takes over links that lose this share, sorted.
fn joins(part: f64, times: u64) -> Vec<Duration> {
    let mut took: Vec<_> = (0..times).map(|seed| World::new(losing(part), seed).connect()).collect();
    took.sort();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!("{part} lost: joined after {:?}, p95 {:?}, at most {:?}", at(0.5), at(0.95), at(1.0));
    took
}

#[test]
fn joining_over_good_and_bad_links() {
    // Four and a half round trips of 25 ms: checks in both directions, and three for DTLS.
    let good = joins(0.0, 100);
    assert!(good[99] < Duration::from_millis(120), "{good:?}");
    let bad = joins(0.05, 500);
    assert!(bad[250] < Duration::from_millis(200) && bad[475] < Duration::from_millis(600), "{bad:?}");
    let worse = joins(0.2, 500);
    assert!(worse[250] < Duration::from_millis(500) && worse[475] < seconds(2), "{worse:?}");
    assert!(worse[499] < seconds(8), "{worse:?}");
}

#[test]
fn joining_over_links_that_fail_for_moments() {
    for seed in 0..40 {
        let bursts = Properties { loss: Loss::Bursty(0.02, 0.3), jitter: Duration::from_millis(15), ..GOOD };
        let took = World::new(bursts, seed).connect();
        assert!(took < seconds(15), "{seed}: {took:?}");
    }
}

#[test]
fn what_arrives_is_numbered_without_gaps_whatever_was_dropped_before() {
    let mut world = World::new(GOOD, 1);
    world.connect();
    world.run(seconds(3)); // until it is known what the link carries
    world.peer.arrived();
    world.dropped = Some(3);
    let before = world.sent;
    world.run(seconds(20));
    let (mut numbers, mut wide): (HashMap<u32, Vec<u16>>, Vec<u16>) = (HashMap::new(), vec![]);
    let mut timestamps: HashMap<u32, Vec<u32>> = HashMap::new();
    for (_, packet) in rtp(world.peer.arrived()) {
        let h = &packet.header;
        numbers.entry(h.ssrc).or_default().push(h.sequence_number);
        timestamps.entry(h.ssrc).or_default().push(h.timestamp);
        let id = world.session.offer().video_extension(sdp::TRANSPORT_CC).expect("negotiated");
        let number = h.get_extension(id).expect("each has one");
        wide.push(u16::from_be_bytes([number[0], number[1]]));
    }
    assert_eq!(numbers.len(), 2, "picture and sound; nothing was retransmitted");
    for (ssrc, numbers) in &numbers {
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{ssrc}");
    }
    assert!(timestamps.values().all(|t| t.windows(2).all(|pair| pair[0] <= pair[1])));
    assert!(
        wide.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)),
        "one sequence of numbers for all"
    );
    let on_its_way = (world.sent - before) - wide.len() as u64;
    assert!(on_its_way <= 6, "{on_its_way} did not arrive");
}

#[test]
fn what_is_lost_comes_again_once_in_a_round_trip() {
    let mut world = World::new(losing(0.05), 3);
    world.connect();
    world.run(seconds(3)); // until it is known what the link carries, for which copies are sent
    world.peer.arrived();
    let before = world.down.lost;
    world.run(seconds(30));
    let lost = world.down.lost - before;
    world.down.properties.loss = Loss::Random(0.0);
    world.playing = false;
    world.run(seconds(1));
    let mut parts: BTreeMap<u32, HashSet<u16>> = BTreeMap::new();
    let mut again: HashMap<u16, Vec<Instant>> = HashMap::new();
    let (mut media, mut repeated) = (0, 0);
    let video = world.session.offer().video.clone();
    for (at, packet) in rtp(world.peer.arrived()) {
        let (h, size) = (&packet.header, packet.payload.len());
        if h.payload_type == video.payload_type {
            parts.entry(h.timestamp).or_default().insert(h.sequence_number);
            media += size;
        } else if Some(h.payload_type) == video.rtx {
            let number = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
            parts.entry(h.timestamp).or_default().insert(number);
            again.entry(number).or_default().push(at);
            repeated += size;
        } else {
            assert_eq!(h.payload_type, OPUS);
        }
    }
    assert!(lost > 200 && again.len() > 150, "{lost} lost, {} came again", again.len());
    let (whole, all) = (parts.values().filter(|p| p.len() == PARTS).count(), parts.len());
    assert!(whole >= all - all / 100 - 2, "{whole} of {all} pictures are whole");
    // Once, and then, because that was lost too, two copies together. The link keeps the order, so what was sent at
    // different times arrives at different times.
    for (number, times) in &again {
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let together = |gap: &Duration| *gap < Duration::from_millis(20);
        assert!(!gaps.windows(2).any(|pair| pair.iter().all(together)), "{number}: {times:?}");
        assert!(
            gaps.iter().all(|gap| !together(gap) || *gap < Duration::from_millis(5)),
            "{number}: {times:?}"
        );
    }
    assert!(repeated <= media / 4 + 40_000, "{repeated} of {media}");
    assert!(world.is_up());
}

/// The link's queue, every 10 ms for this many seconds, sorted; and the bits that arrive in each second.
fn watched(world: &mut World, for_s: u64) -> (Vec<Duration>, f64) {
    world.peer.arrived();
    let mut queue = vec![];
    for _ in 0..for_s * 100 {
        world.run(Duration::from_millis(10));
        queue.push(world.down.queue(world.now));
    }
    queue.sort_unstable();
    let bytes: usize = rtp(world.peer.arrived()).map(|(_, p)| p.payload.len() + 64).sum();
    (queue, bytes as f64 * 8.0 / for_s as f64)
}

#[test]
fn pictures_follow_a_link_down_and_up_without_a_queue() {
    for seed in 0..4 {
        let mut world = World::new(Properties { rate: 4e6, ..GOOD }, seed);
        world.follows = Some(3e6);
        world.connect();
        world.run(seconds(4));
        let (_, used) = watched(&mut world, 5);
        assert!(used > 0.85 * 3e6, "{seed}: {used} of what the source has");
        world.down.properties.rate = 800e3;
        world.run(seconds(3));
        let lost = world.down.lost;
        let (queue, used) = watched(&mut world, 15);
        let p95 = queue[queue.len() * 95 / 100];
        assert!(p95 < Duration::from_millis(80), "{seed}: {p95:?}");
        assert!((0.75..1.01).contains(&(used / 800e3)), "{seed}: {used}");
        assert!(world.down.lost - lost < 5, "{seed}");
        assert!(!world.session.is_broken(0));
        world.down.properties.rate = 4e6;
        world.run(seconds(8));
        let (_, used) = watched(&mut world, 5);
        assert!(used > 0.8 * 3e6, "{seed}: {used}");
    }
}

#[test]
fn what_is_sent_stays_within_the_upload_that_is_allowed() {
    let mut world = World::new(Properties { rate: 20e6, ..GOOD }, 1);
    world.follows = Some(3e6);
    world.connect();
    world.session.limit(Some(700e3));
    world.run(seconds(3));
    for second in 0..10 {
        let (_, used) = watched(&mut world, 1);
        assert!((0.75..1.03).contains(&(used / 700e3)), "{second}: {used}");
    }
    world.session.limit(None);
    world.run(seconds(6));
    let (_, used) = watched(&mut world, 5);
    assert!(used > 0.85 * 3e6, "{used}");
    assert!(world.session.useful_bps() > 3e6, "with headers and sound");
}

#[test]
fn reports_count_what_was_sent() {
    let mut world = World::new(losing(0.03), 4);
    world.connect();
    world.run(seconds(10));
    let (mut last, mut first) = (HashMap::new(), HashMap::new());
    for (_, packet) in world.peer.arrived() {
        match packet {
            Packet::Rtp(p) => {
                let n = u64::from(p.header.sequence_number);
                let (low, high) = first.entry(p.header.ssrc).or_insert((n, n));
                (*low, *high) = ((*low).min(n), (*high).max(n));
            }
            Packet::Rtcp(packets) => {
                for report in packets.iter().filter_map(|p| p.as_any().downcast_ref::<SenderReport>()) {
                    let (_, newest) = first.get(&report.ssrc).copied().unwrap_or_default();
                    last.insert(report.ssrc, (report.clone(), newest));
                }
            }
            _ => {}
        }
    }
    assert_eq!(last.len(), 2, "both streams report");
    for (ssrc, (report, newest)) in last {
        let (low, _) = first[&ssrc];
        let sent = newest - low + 1;
        assert!(u64::from(report.packet_count).abs_diff(sent) <= 12, "{}: {sent}", report.packet_count);
        let size = if report.octet_count / report.packet_count > 100 { 805 } else { 80 };
        assert_eq!(report.octet_count, report.packet_count * size);
        // The timestamp is the newest one, and the time is that of its capture.
        let clock = if size == 80 { AUDIO } else { VIDEO };
        let captured =
            clock.pts(report.rtp_time, Pts::from_micros(1_000_000_000) + (world.now - world.start));
        assert!(NtpClock::now().ntp(captured).abs_diff(report.ntp_time) < 1 << 22, "within a millisecond");
    }
}

/// A picture of a rung: the kind of its NAL unit, and the rung.
fn rung_picture(pts: Pts, idr: bool, share: Share) -> VideoUnit {
    let payload = [&[if idr { 0x65 } else { 0x41 }, share.index() as u8][..], &[7; 800]].concat();
    let rtp_time = VIDEO.ticks(pts);
    VideoUnit { payloads: vec![payload.into(); PARTS], ..VideoUnit::bare(pts, rtp_time, idr) }
}

#[test]
fn a_walk_over_the_rungs_is_one_stream_also_where_packets_are_lost() {
    for seed in 0..4 {
        let mut world = World::new(losing(0.03), seed);
        let rungs = Rungs::new(seed, rung_picture, None, PICTURE / 3);
        // The viewer requests a different rung after every 20 pictures.
        world.studio = Some(Studio::new(vec![rungs], |studio, pictures| {
            if pictures.is_multiple_of(20) {
                studio.wishes.sections[0].quality = studio.cameras[0].wish();
                studio.tune();
            }
        }));
        world.connect();
        world.run(seconds(150));
        world.playing = false;
        world.run(seconds(1));
        let video = world.session.offer().video.clone();
        // By number: the timestamp, whether it belongs to an IDR, the rung, and whether it ends a picture.
        let mut packets: BTreeMap<u16, (u32, bool, u8, bool)> = BTreeMap::new();
        let mut first = None;
        for (_, packet) in rtp(world.peer.arrived()) {
            let (h, p) = (&packet.header, &packet.payload);
            let (number, content) = match h.payload_type {
                t if t == video.payload_type => (h.sequence_number, &p[..]),
                t if Some(t) == video.rtx => (u16::from_be_bytes([p[0], p[1]]), &p[2..]),
                _ => continue,
            };
            let number = number.wrapping_sub(*first.get_or_insert(number));
            packets.insert(number, (h.timestamp, content[0] == 0x65, content[1], h.marker));
        }
        let all: Vec<_> = packets.keys().copied().collect();
        let missing = all.windows(2).map(|pair| usize::from(pair[1] - pair[0] - 1)).sum::<usize>();
        assert!(missing <= all.len() / 500, "{seed}: {missing} of {} never came", all.len());
        // For pictures whose first packet never arrived, the others give the same facts.
        let mut pictures: Vec<(u32, bool, u8)> =
            packets.values().map(|(t, idr, rung, _)| (*t, *idr, *rung)).collect();
        pictures.dedup();
        let (mut walked, mut idrs) = (0, 0);
        for pair in pictures.windows(2) {
            let [(before, _, old), (after, idr, new)] = pair else { unreachable!() };
            let ticks = after.wrapping_sub(*before);
            let intervals = f64::from(ticks) / f64::from(VIDEO_HZ) / PICTURE.as_secs_f64();
            assert!((0.9..2.1).contains(&intervals), "{seed}: {intervals} pictures from one to the next");
            assert!(old == new || *idr, "{seed}: a rung begins without an IDR");
            walked += usize::from(old != new);
            idrs += usize::from(*idr);
        }
        assert!(walked > 100, "{seed}: {walked} changes of the rung");
        assert!(idrs < walked * 2, "{seed}: {idrs} IDRs for {walked} changes");
        println!(
            "{seed}: {walked} changes, {idrs} IDRs, {} pictures, {missing} packets never came",
            pictures.len()
        );
    }
}

/// A picture of the camera with this number.
fn camera_picture<const CAMERA: u8>(pts: Pts, idr: bool, share: Share) -> VideoUnit {
    let payload = [&[if idr { 0x65 } else { 0x41 }, CAMERA][..], &[7; 800]].concat();
    VideoUnit { payloads: vec![payload.into(); PARTS], ..rung_picture(pts, idr, share) }
}

/// A viewer has one of two cameras in each of two sections of one connection, exchanges them, and pauses the
/// second for a while; all over a bad link.
#[test]
fn two_cameras_on_one_connection_exchanged_paused_and_repaired() {
    for seed in 0..4 {
        let mut world = World::with(losing(0.03), seed, 2);
        let time = PICTURE / 3;
        let front = Rungs::of("front", seed, camera_picture::<0>, None, time);
        let back = Rungs::of("back", seed + 50, camera_picture::<1>, None, time);
        // After every 150 pictures the cameras are exchanged; the second section is paused for the last 50 of
        // them.
        world.studio = Some(Studio::new(vec![front, back], |studio, pictures| {
            let [first, second] = &mut studio.wishes.sections[..] else { unreachable!() };
            match pictures % 150 {
                0 => {
                    std::mem::swap(&mut first.camera, &mut second.camera);
                    second.paused = false;
                }
                100 => second.paused = true,
                _ => return,
            }
            studio.tune();
        }));
        world.connect();
        world.run(PICTURE * 1430);
        world.playing = false;
        world.run(seconds(1));
        let video = world.session.offer().video.clone();
        // By source and number: the timestamp, whether it belongs to an IDR, the camera, and when the first
        // copy arrived.
        type Packets = BTreeMap<u16, (u32, bool, u8, Instant)>;
        let mut streams: HashMap<u32, Packets> = HashMap::new();
        let mut firsts: HashMap<u32, u16> = HashMap::new();
        let mut repeated: HashMap<u32, u32> = HashMap::new();
        for (at, packet) in rtp(world.peer.arrived()) {
            let (h, p) = (&packet.header, &packet.payload);
            let (source, number, content) = match h.payload_type {
                t if t == video.payload_type => (h.ssrc, h.sequence_number, &p[..]),
                t if Some(t) == video.rtx => {
                    let source = h.ssrc.wrapping_sub(1); // our sources are consecutive
                    *repeated.entry(source).or_default() += 1;
                    (source, u16::from_be_bytes([p[0], p[1]]), &p[2..])
                }
                _ => continue,
            };
            let number = number.wrapping_sub(*firsts.entry(source).or_insert(number));
            let packets = streams.entry(source).or_default();
            packets.entry(number).or_insert((h.timestamp, content[0] == 0x65, content[1], at));
        }
        assert_eq!((streams.len(), repeated.len()), (2, 2), "{seed}: {repeated:?}");
        let mut paused_sections = vec![];
        for (source, packets) in &streams {
            let all: Vec<_> = packets.keys().copied().collect();
            let missing = all.windows(2).map(|pair| usize::from(pair[1] - pair[0] - 1)).sum::<usize>();
            assert!(repeated[source] > 50 && missing <= all.len() / 300, "{seed}: {missing} never came");
            let mut pictures: Vec<_> = packets.values().copied().collect();
            pictures.dedup_by_key(|(timestamp, ..)| *timestamp);
            let (mut exchanged, mut still) = (0, 0);
            for pair in pictures.windows(2) {
                let [(before, _, old, then), (after, idr, new, now)] = pair else { unreachable!() };
                let ticks = after.wrapping_sub(*before) as i32;
                assert!(ticks > 0, "{seed}: time goes back");
                assert!(old == new || *idr, "{seed}: a camera begins without an IDR");
                exchanged += usize::from(old != new);
                let paused = *now - *then > PICTURE * 40;
                still += usize::from(paused);
                assert!(!paused || *idr, "{seed}: it continues without an IDR");
                // Retransmissions and a change of the camera take a moment.
                let gap = f64::from(ticks) / f64::from(VIDEO_HZ) / PICTURE.as_secs_f64();
                assert!(paused || gap < 4.1, "{seed}: {gap} pictures left out");
            }
            assert_eq!(exchanged, 9, "{seed}");
            paused_sections.push(still);
        }
        paused_sections.sort_unstable();
        assert_eq!(paused_sections, [0, 9], "{seed}: only in one section, and each time");
        assert!(world.is_up() && world.strange == 0);
    }
}

#[test]
fn an_ice_restart_interrupts_nothing() {
    for seed in 0..10 {
        let mut world = World::new(losing(if seed % 2 == 0 { 0.0 } else { 0.05 }), seed);
        world.connect();
        world.run(seconds(2));
        world.peer.arrived();
        let sent = world.sent;
        world.restart();
        world.run(seconds(5));
        assert!(world.is_up());
        assert_eq!(world.sent - sent, 5 * (30 * PARTS as u64 + 50), "all was sent, {seed}");
        assert!(longest_gap(world.peer.arrived()) < Duration::from_millis(200), "{seed}");
    }
}

#[test]
fn a_viewer_whose_address_changes_is_followed() {
    for seed in 0..10 {
        let mut world = World::new(losing(0.01), seed);
        world.connect();
        world.run(seconds(2));
        world.peer.arrived();
        // Its NAT gives it a new port, which the viewer itself does not know.
        world.peer.address = ([198, 51, 100, 7], 50_123).into();
        world.run(seconds(12));
        assert!(world.is_up(), "{seed}: {:?}", world.state);
        let gap = longest_gap(world.peer.arrived());
        assert!(gap < seconds(4), "{seed}: {gap:?}");
    }
}

#[test]
fn a_goodbye_is_heard_at_once_both_ways() {
    let mut world = World::new(GOOD, 5);
    world.connect();
    world.run(seconds(1));
    for (to, bytes) in world.peer.close() {
        world.up.send(world.now, Parcel { from: world.peer.address, to, bytes });
    }
    assert!(world.until(Duration::from_millis(50), |w| w.goodbye), "theirs");

    let mut world = World::new(GOOD, 6);
    world.connect();
    world.run(seconds(1));
    world.playing = false;
    world.session.close();
    world.control();
    assert!(world.until(Duration::from_millis(50), |w| w.peer.heard_goodbye()), "ours");
}

#[test]
fn one_that_goes_without_a_word_is_noticed() {
    let mut world = World::new(GOOD, 7);
    world.connect();
    world.run(seconds(3));
    world.up.properties.loss = Loss::Random(1.0);
    let disconnected = RTCPeerConnectionState::Disconnected;
    assert!(world.until(seconds(8), |w| w.state == disconnected), "{:?}", world.state);
    let failed = RTCPeerConnectionState::Failed;
    assert!(world.until(seconds(30), |w| w.state == failed), "{:?}", world.state);
}

#[test]
fn webrtc_puts_out_no_media_beside_us() {
    let mut world = World::new(losing(0.02), 8);
    world.connect();
    world.run(seconds(60));
    // Two sealers with the same keys would use each number twice.
    assert_eq!(world.strange, 0);
    assert!(world.is_up());
}

#[test]
fn a_calm_connection_wakes_up_seldom() {
    let mut world = World::new(GOOD, 9);
    world.connect();
    world.playing = false;
    world.run(seconds(5));
    let mut turns = 0;
    let from = world.now;
    while world.now < from + seconds(60) {
        let next = [world.session.due(), world.up.due()].into_iter().flatten().min().expect("due");
        turns += u32::from(next <= world.now);
        world.run(Duration::from_millis(10));
    }
    assert!(turns < 60 * 12, "{turns} in a minute");
}

#[test]
fn what_was_learned_of_a_viewer_is_forgotten_with_it() {
    let mut world = World::new(losing(0.02), 10);
    world.connect();
    world.peer.address = ([198, 51, 100, 7], 50_123).into();
    world.run(seconds(5));
    world.restart();
    world.run(seconds(5));
    assert!(world.demux.entries() > 3);
    world.demux.close(world.line);
    assert_eq!(world.demux.entries(), 0);
}
