//! What we read from and write into a viewer's RTCP: an interceptor in webrtc's chain.
//!
//! Inbound, PLI and FIR become a wish for a keyframe; by itself webrtc keeps them from the application. NACKs are answered
//! by [`Resend`], which also learns the round trip from here. Outbound, sender reports get the *capture* time of the RTP
//! timestamp they name. webrtc pairs the timestamp with the time its packet passed, so video would seem late against sound
//! by however much longer its encoding takes, and browsers would "correct" lip sync by that.
//!
//! The price: a round trip computed from the NTP time in our reports (LSR and DLSR, RFC 3550 section 6.4.1) comes out too
//! long by the age of the timestamp. So we remember when each report really went out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rtc::interceptor::{Attribute, AttributedPacket, Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::sansio::Protocol;
use tokio::sync::Notify;

use super::resend::{Resend, Rtx};
use crate::clock::{Clocks, Pts, RtpClock};

/// Nearer to the wire than [`Slot::SenderReport`], whose reports it rewrites on their way out; and than
/// [`Slot::TwccSender`], so that a packet that is sent again without RTX has the transport-wide number that it had. With
/// another one, two different packets would be sealed under one nonce, and AES-GCM gives its authentication key away then
/// (RFC 7714 section 8.4, RFC 5116 section 5.1.1).
pub const SLOT: Slot = Slot::Custom(1_500);

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
    /// What was sent of the video, once it is negotiated.
    resend: Option<Resend>,
    /// Set when that is to be forgotten.
    forget: Arc<AtomicBool>,
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
            resend: None,
            forget: Arc::default(),
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    /// Setting it has all forgotten that was sent before, so that nothing of it is sent again.
    pub fn forget(&self) -> Arc<AtomicBool> {
        self.forget.clone()
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

    /// What a viewer reports about our video: lost packets are sent again, and the round trip is learned.
    fn heard(&mut self, packet: &dyn rtc::rtcp::Packet, now: Instant) {
        let (packet, video) = (packet.as_any(), self.video_ssrc);
        let Some(resend) = &mut self.resend else { return };
        if let Some(nack) = packet.downcast_ref::<TransportLayerNack>().filter(|n| n.media_ssrc == video) {
            if self.forget.swap(false, Ordering::Relaxed) {
                resend.forget();
            }
            for packet in resend.lost(nack.nacks.iter().flat_map(|pair| *pair), now) {
                let message = AttributedPacket::new(Packet::Rtp(packet)).with(Attribute::Retransmission);
                self.outbound.push_back(TaggedPacket { now, transport: Default::default(), message });
            }
        }
        let receiver = packet.downcast_ref::<ReceiverReport>().map(|r| &r.reports);
        let reports = receiver.or_else(|| packet.downcast_ref::<SenderReport>().map(|r| &r.reports));
        for report in reports.into_iter().flatten().filter(|r| r.ssrc == video) {
            resend.answered(report.last_sender_report, report.delay, now);
        }
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
        if let Packet::Rtcp(packets) = &msg.message.packet {
            for packet in packets {
                if wants_keyframe(packet.as_ref()) {
                    self.wish.notify_one();
                }
                self.heard(packet.as_ref(), msg.now);
            }
        }
        self.inbound.push_back(msg);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, mut msg: TaggedPacket) -> Result<(), Self::Error> {
        match &mut msg.message.packet {
            Packet::Rtcp(packets) => {
                for packet in packets {
                    if let Some(report) = packet.as_any().downcast_ref::<SenderReport>()
                        && let Some(dated) = self.date(report, Pts::now())
                    {
                        if let Some(resend) = self.resend.as_mut().filter(|_| dated.ssrc == self.video_ssrc) {
                            resend.reported(dated.ntp_time, msg.now);
                        }
                        *packet = Box::new(dated);
                    }
                }
            }
            Packet::Rtp(packet) if packet.header.ssrc == self.video_ssrc => {
                if let Some(resend) = &mut self.resend {
                    resend.sent(packet);
                }
            }
            _ => {}
        }
        self.outbound.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }
}

impl Interceptor for Rtcp {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        let nack = |f: &rtc::interceptor::RTCPFeedback| f.typ == "nack" && f.parameter.is_empty();
        if info.ssrc == self.video_ssrc && info.rtcp_feedback.iter().any(nack) && self.resend.is_none() {
            let rtx = info.ssrc_rtx.zip(info.payload_type_rtx);
            self.resend = Some(Resend::new(rtx.map(|(ssrc, payload_type)| Rtx { ssrc, payload_type })));
        }
    }
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use rtc::interceptor::{RTCPFeedback, RTPHeaderExtension, Registry, TwccSenderBuilder};
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;

    use super::*;

    const TRANSPORT_CC_URI: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

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
    fn without_rtx_a_packet_is_sent_again_to_the_bit() {
        let rtcp = interceptor(NtpClock { zero_us: 0 });
        let mut chain =
            Registry::new().with(SLOT, rtcp).with(Slot::TwccSender, TwccSenderBuilder::new().build()).build();
        chain.bind_local_stream(&StreamInfo {
            ssrc: 1,
            rtcp_feedback: vec![RTCPFeedback { typ: "nack".into(), parameter: String::new() }],
            rtp_header_extensions: vec![RTPHeaderExtension { uri: TRANSPORT_CC_URI.into(), id: 3 }],
            ..Default::default()
        });
        let now = Instant::now();
        let tagged = |packet| TaggedPacket {
            now,
            transport: Default::default(),
            message: AttributedPacket::new(packet),
        };
        let header =
            rtc::rtp::header::Header { version: 2, ssrc: 1, sequence_number: 7, ..Default::default() };
        let packet = rtc::rtp::Packet { header, payload: bytes::Bytes::from_static(&[9; 100]) };
        let mut sent = vec![];
        let mut take = |chain: &mut dyn FnMut() -> Option<TaggedPacket>| {
            while let Some(tagged) = chain() {
                if let Packet::Rtp(packet) = tagged.message.packet {
                    sent.push(packet);
                }
            }
        };
        chain.handle_write(tagged(Packet::Rtp(packet))).expect("taken");
        take(&mut || chain.poll_write());
        let lost = TransportLayerNack { sender_ssrc: 5, media_ssrc: 1, nacks: vec![NackPair::new(7)] };
        chain.handle_read(tagged(Packet::Rtcp(vec![Box::new(lost)]))).expect("taken");
        take(&mut || chain.poll_write());
        assert_eq!(sent.len(), 2);
        assert!(sent[0].header.extension && sent[0] == sent[1], "{sent:?}");
    }

    #[test]
    fn only_pli_and_fir_are_wishes() {
        assert!(wants_keyframe(&PictureLossIndication::default()));
        assert!(wants_keyframe(&FullIntraRequest::default()));
        assert!(!wants_keyframe(&SenderReport::default()));
    }
}
