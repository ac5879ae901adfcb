//! What a viewer says in RTCP of what it gets. What says nothing that we use is passed over: which packets arrived when
//! (transport-wide feedback), for an estimator to come.

use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

/// One thing that a viewer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// It needs a keyframe (PLI, FIR; RFC 4585 section 6.3.1, RFC 5104 section 4.3.1).
    Keyframe,
    /// These packets of the picture are lost (NACK, RFC 4585 section 6.2.1). A number may be repeated.
    Lost(Vec<u16>),
    /// It had our sender report `lsr` for `dlsr` when it said so, in 1/65536 s (RFC 3550 section 6.4.1).
    Answered {
        /// The middle 32 bits of the NTP time in that report.
        lsr: u32,
        /// How long it had it.
        dlsr: u32,
    },
}

/// Reads a compound packet, opened; `video` is the source of the picture. Of one that is broken nothing is used.
pub fn read(mut compound: &[u8], video: u32) -> Vec<Feedback> {
    let packets = rtcp::packet::unmarshal(&mut compound).unwrap_or_default();
    packets.iter().flat_map(|packet| of(packet.as_ref(), video)).collect()
}

fn of(packet: &dyn rtcp::Packet, video: u32) -> Vec<Feedback> {
    let packet = packet.as_any();
    if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
        return vec![Feedback::Keyframe];
    }
    if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
        let lost = nack.nacks.iter().flat_map(|pair| *pair);
        return if nack.media_ssrc == video { vec![Feedback::Lost(lost.collect())] } else { vec![] };
    }
    let receiver = packet.downcast_ref::<ReceiverReport>().map(|r| &r.reports);
    let reports = receiver.or_else(|| packet.downcast_ref::<SenderReport>().map(|r| &r.reports));
    let about = reports.into_iter().flatten().filter(|r| r.ssrc == video);
    about.map(|r| Feedback::Answered { lsr: r.last_sender_report, dlsr: r.delay }).collect()
}

#[cfg(test)]
mod tests {
    use rtc::rtcp::payload_feedbacks::full_intra_request::FirEntry;
    use rtc::rtcp::reception_report::ReceptionReport;
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;

    use super::*;

    fn compound(packets: Vec<Box<dyn rtcp::Packet>>) -> Vec<u8> {
        rtcp::packet::marshal(&packets).expect("written").to_vec()
    }

    #[test]
    fn what_is_about_the_picture_is_heard() {
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
        let lost = Feedback::Lost(vec![65_535, 0, 2]);
        assert_eq!(read(&said, 1), [Feedback::Answered { lsr: 5, dlsr: 6 }, lost, Feedback::Keyframe]);
        let fir = vec![FirEntry { ssrc: 1, sequence_number: 3 }];
        let fir = compound(vec![Box::new(FullIntraRequest { sender_ssrc: 9, media_ssrc: 1, fir })]);
        assert_eq!(read(&fir, 1), [Feedback::Keyframe]);
        let theirs = SenderReport { ssrc: 9, reports: vec![about(1)], ..Default::default() };
        assert_eq!(read(&compound(vec![Box::new(theirs)]), 1), [Feedback::Answered { lsr: 5, dlsr: 6 }]);
        assert!(read(&said[..said.len() - 1], 1).is_empty(), "cut off");
        assert!(read(&[], 1).is_empty());
    }
}
