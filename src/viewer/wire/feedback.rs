//! Parses a viewer's RTCP feedback, except transport-wide feedback ([`super::arrivals`]). What is not used is
//! skipped.

use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

/// A piece of feedback.
#[derive(Clone, Debug, PartialEq)]
pub enum Feedback {
    /// A keyframe of this source is requested (PLI, FIR; RFC 4585 section 6.3.1, RFC 5104 section 4.3.1).
    Keyframe(u32),
    /// These packets of this source are lost (NACK, RFC 4585 section 6.2.1). A number may be repeated.
    Lost(u32, Vec<u16>),
    /// The viewer answered our sender report `lsr`, `dlsr` after receiving it (RFC 3550 section 6.4.1).
    Answered {
        /// Source of the report.
        ssrc: u32,
        /// The middle 32 bits of the report's NTP time.
        lsr: u32,
        /// Time from receiving the report to answering it, in 1/65536 s.
        dlsr: u32,
        /// Part of the source's packets lost since the last report, in 1/256.
        lost: u8,
    },
    /// The viewer's own estimate of what its link carries, in bits per second (REMB;
    /// draft-alvestrand-rmcat-remb-03).
    Estimate(f32),
}

/// Parses a decrypted compound packet. An invalid one yields nothing.
pub fn read(mut compound: &[u8]) -> Vec<Feedback> {
    let packets = rtcp::packet::unmarshal(&mut compound).unwrap_or_default();
    packets.iter().flat_map(|packet| of(packet.as_ref())).collect()
}

fn of(packet: &dyn rtcp::Packet) -> Vec<Feedback> {
    let packet = packet.as_any();
    if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
        return vec![Feedback::Keyframe(pli.media_ssrc)];
    }
    if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
        // The SSRC before its entries means nothing (RFC 5104 section 4.3.1.2).
        return fir.fir.iter().map(|entry| Feedback::Keyframe(entry.ssrc)).collect();
    }
    if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
        let lost = nack.nacks.iter().flat_map(|pair| *pair);
        return vec![Feedback::Lost(nack.media_ssrc, lost.collect())];
    }
    if let Some(remb) = packet.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
        return vec![Feedback::Estimate(remb.bitrate)];
    }
    let receiver = packet.downcast_ref::<ReceiverReport>().map(|r| &r.reports);
    let reports = receiver.or_else(|| packet.downcast_ref::<SenderReport>().map(|r| &r.reports));
    let answered = |r: &ReceptionReport| Feedback::Answered {
        ssrc: r.ssrc,
        lsr: r.last_sender_report,
        dlsr: r.delay,
        lost: r.fraction_lost,
    };
    reports.into_iter().flatten().map(answered).collect()
}

#[cfg(test)]
mod tests {
    use rtc::rtcp::payload_feedbacks::full_intra_request::FirEntry;
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;

    use super::*;

    fn compound(packets: Vec<Box<dyn rtcp::Packet>>) -> Vec<u8> {
        rtcp::packet::marshal(&packets).expect("written").to_vec()
    }

    #[test]
    fn all_that_is_used_is_heard_with_its_source() {
        let about = |ssrc| ReceptionReport { ssrc, last_sender_report: 5, delay: 6, ..Default::default() };
        let nack = |media_ssrc| {
            let nacks = vec![NackPair { packet_id: 65_535, lost_packets: 0b101 }];
            Box::new(TransportLayerNack { sender_ssrc: 9, media_ssrc, nacks })
        };
        let said = compound(vec![
            Box::new(ReceiverReport { ssrc: 9, reports: vec![about(1), about(2)], ..Default::default() }),
            nack(1),
            nack(2),
            Box::new(PictureLossIndication { sender_ssrc: 9, media_ssrc: 1 }),
        ]);
        let lost = vec![65_535, 0, 2];
        let answered = |ssrc| Feedback::Answered { ssrc, lsr: 5, dlsr: 6, lost: 0 };
        assert_eq!(
            read(&said),
            [
                answered(1),
                answered(2),
                Feedback::Lost(1, lost.clone()),
                Feedback::Lost(2, lost),
                Feedback::Keyframe(1)
            ]
        );
        let fir = [1, 2].map(|ssrc| FirEntry { ssrc, sequence_number: 3 }).to_vec();
        let fir = compound(vec![Box::new(FullIntraRequest { sender_ssrc: 9, media_ssrc: 0, fir })]);
        assert_eq!(read(&fir), [Feedback::Keyframe(1), Feedback::Keyframe(2)]);
        let theirs = SenderReport { ssrc: 9, reports: vec![about(1)], ..Default::default() };
        assert_eq!(read(&compound(vec![Box::new(theirs)])), [answered(1)]);
        assert!(read(&said[..said.len() - 1]).is_empty(), "cut off");
        assert!(read(&[]).is_empty());
    }
}
