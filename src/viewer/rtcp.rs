//! What we read from and write into a viewer's RTCP: an interceptor in webrtc's chain.
//!
//! Inbound, PLI and FIR become a wish for a keyframe; by itself webrtc keeps them from the application. Outbound,
//! sender reports get the *capture* time of the RTP timestamp they name. webrtc pairs the timestamp with the time
//! its packet passed, so video would seem late against sound by however much longer its encoding takes, and
//! browsers would "correct" lip sync by that.
//!
//! The price: a round-trip time computed from our reports (LSR and DLSR, RFC 3550 section 6.4.1) comes out too long
//! by the age of the report's timestamp. Nothing here uses it; the page reads ICE's own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;
use tokio::sync::Notify;

use crate::clock::{Clocks, Pts, RtpClock};

/// Nearer to the wire than [`Slot::SenderReport`], whose reports it rewrites on their way out.
pub fn slot() -> Slot {
    Slot::from(10_500)
}

/// Seconds from the NTP epoch of 1900 to the Unix epoch (RFC 5905 section 6).
const NTP_UNIX_S: u64 = 2_208_988_800;

/// The wall clock that sender reports speak of: capture time plus a difference fixed when the process starts. A
/// stepped system clock must not move sound against picture.
#[derive(Clone, Copy, Debug)]
pub struct NtpClock {
    /// Of monotonic zero, microseconds since 1900.
    zero_us: u64,
}

impl NtpClock {
    /// By the wall clock of this moment.
    pub fn now() -> Self {
        let now = Pts::now();
        let unix_us = now.unix().as_micros() as u64;
        Self { zero_us: (NTP_UNIX_S * 1_000_000 + unix_us).saturating_sub(now.as_micros()) }
    }

    /// 32 bits of seconds and 32 of fraction, modulo 2^32 s (RFC 5905 section 6).
    pub fn ntp(self, pts: Pts) -> u64 {
        let us = self.zero_us + pts.as_micros();
        let fraction = ((us % 1_000_000) << 32) / 1_000_000;
        (us / 1_000_000) << 32 | fraction
    }
}

/// The interceptor of one connection.
pub struct Rtcp {
    video_ssrc: u32,
    audio_ssrc: u32,
    clocks: Clocks,
    ntp: NtpClock,
    /// A permit waits in it while a keyframe is wished for: many wishes are one, and nothing can overflow.
    wish: Arc<Notify>,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl Rtcp {
    /// For a connection that sends video and audio under these SSRCs.
    pub fn new(video_ssrc: u32, audio_ssrc: u32, clocks: Clocks, ntp: NtpClock, wish: Arc<Notify>) -> Self {
        Self {
            video_ssrc,
            audio_ssrc,
            clocks,
            ntp,
            wish,
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    fn clock(&self, ssrc: u32) -> Option<RtpClock> {
        match ssrc {
            s if s == self.video_ssrc => Some(self.clocks.video),
            s if s == self.audio_ssrc => Some(self.clocks.audio),
            _ => None,
        }
    }

    /// The report with the capture time of its RTP timestamp, given that this is `now`.
    fn date(&self, report: &SenderReport, now: Pts) -> Option<SenderReport> {
        let captured = self.clock(report.ssrc)?.pts(report.rtp_time, now);
        Some(SenderReport { ntp_time: self.ntp.ntp(captured), ..report.clone() })
    }
}

/// Whether a viewer says with this that it needs a keyframe (RFC 4585 section 6.3.1, RFC 5104 section 4.3.1).
fn wants_keyframe(packet: &dyn rtc::rtcp::Packet) -> bool {
    let packet = packet.as_any();
    packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>()
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Rtcp {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtcp(packets) = &msg.message.packet
            && packets.iter().any(|p| wants_keyframe(p.as_ref()))
        {
            self.wish.notify_one();
        }
        self.inbound.push_back(msg);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, mut msg: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtcp(packets) = &mut msg.message.packet {
            for packet in packets {
                if let Some(report) = packet.as_any().downcast_ref::<SenderReport>()
                    && let Some(dated) = self.date(report, Pts::now())
                {
                    *packet = Box::new(dated);
                }
            }
        }
        self.outbound.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }
}

impl Interceptor for Rtcp {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    fn interceptor(ntp: NtpClock) -> Rtcp {
        let clocks = Clocks {
            video: RtpClock { hz: 90_000, offset: 4_294_900_000 },
            audio: RtpClock { hz: 48_000, offset: 77 },
        };
        Rtcp::new(1, 2, clocks, ntp, Arc::default())
    }

    #[test]
    fn ntp_time_is_the_wall_clock() {
        let ntp = NtpClock::now().ntp(Pts::now());
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        assert!((ntp >> 32).abs_diff(unix.as_secs() + NTP_UNIX_S) <= 1);
        let half = NtpClock { zero_us: 0 }.ntp(Pts::from_micros(3_500_000));
        assert_eq!(half, 3 << 32 | 1 << 31);
    }

    #[test]
    fn reports_of_both_streams_name_capture_time() {
        let rtcp = interceptor(NtpClock { zero_us: 1_000_000_000 });
        let now = Pts::from_micros(5_000_000_000);
        let captured = now - Duration::from_millis(120);
        for (ssrc, clock) in [(1, rtcp.clocks.video), (2, rtcp.clocks.audio)] {
            let report =
                SenderReport { ssrc, rtp_time: clock.ticks(captured), packet_count: 9, ..Default::default() };
            let dated = rtcp.date(&report, now).expect("our stream");
            let error = dated.ntp_time.abs_diff(rtcp.ntp.ntp(captured));
            assert!(error < (1 << 32) / 40_000, "within 25 us: {error}");
            assert_eq!((dated.rtp_time, dated.packet_count), (report.rtp_time, 9));
        }
        assert!(rtcp.date(&SenderReport { ssrc: 3, ..Default::default() }, now).is_none());
    }

    #[test]
    fn only_pli_and_fir_are_wishes() {
        assert!(wants_keyframe(&PictureLossIndication::default()));
        assert!(wants_keyframe(&FullIntraRequest::default()));
        assert!(!wants_keyframe(&SenderReport::default()));
    }
}
