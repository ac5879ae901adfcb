//! Sender reports (RFC 3550 section 6.4.1), which pair an RTP timestamp with the time of its *capture*. With
//! the time of sending, video would seem late by the time that its encoding takes longer than that of sound,
//! and browsers would "correct" lip sync by that.
//!
//! The price: a round trip computed from the NTP time in our reports (LSR and DLSR) is too long by the age of
//! the timestamp. So the time at which each report was really sent is kept ([`super::resend`]).

use rtc::rtcp::sender_report::SenderReport;
use rtc::shared::marshal::Marshal;

use super::stream::Stream;
use crate::clock::Pts;

/// Seconds from the NTP epoch of 1900 to the Unix epoch (RFC 5905 section 6).
const NTP_UNIX_S: u64 = 2_208_988_800;

/// The wall clock of sender reports: capture time plus a difference fixed when the process starts. A step of
/// the system clock must not move sound against picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NtpClock {
    /// The wall clock at monotonic zero, in microseconds since 1900.
    zero_us: u64,
}

impl NtpClock {
    /// Creates the clock from the current wall clock.
    pub(crate) fn now() -> Self {
        let now = Pts::now();
        let unix_us = now.unix().as_micros() as u64;
        Self { zero_us: (NTP_UNIX_S * 1_000_000 + unix_us).saturating_sub(now.as_micros()) }
    }

    /// 32 bits of seconds and 32 of fraction, modulo 2^32 s (RFC 5905 section 6).
    pub(crate) fn ntp(self, pts: Pts) -> u64 {
        let us = self.zero_us + pts.as_micros();
        let fraction = ((us % 1_000_000) << 32) / 1_000_000;
        (us / 1_000_000) << 32 | fraction
    }
}

/// The NTP time and packet of a stream's report, if something was sent.
pub(super) fn of(stream: &Stream, ntp: NtpClock) -> Option<(u64, Vec<u8>)> {
    let sent = stream.sent()?;
    let ntp_time = ntp.ntp(sent.captured);
    let report = SenderReport {
        ssrc: stream.ssrc,
        ntp_time,
        rtp_time: sent.timestamp,
        packet_count: sent.packets,
        octet_count: sent.octets,
        ..Default::default()
    };
    Some((ntp_time, report.marshal().ok()?.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use rtc::shared::marshal::Unmarshal;

    use super::super::packet::Extensions;
    use super::*;

    #[test]
    fn ntp_time_is_the_wall_clock() {
        let ntp = NtpClock::now().ntp(Pts::now());
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        assert!((ntp >> 32).abs_diff(unix.as_secs() + NTP_UNIX_S) <= 1);
        let half = NtpClock { zero_us: 0 }.ntp(Pts::from_micros(3_500_000));
        assert_eq!(half, 3 << 32 | 1 << 31);
    }

    #[test]
    fn a_report_names_the_time_of_capture_and_what_was_sent() {
        let (ntp, captured) = (NtpClock { zero_us: 1_000_000_000 }, Pts::from_micros(5_000_000_000));
        let mut stream = Stream::new(7, 96, Extensions::default());
        assert!(of(&stream, ntp).is_none(), "nothing was sent");
        stream.count(1000, 90_000, captured);
        stream.count(200, 90_000, captured);
        let (ntp_time, bytes) = of(&stream, ntp).expect("a report");
        let report = SenderReport::unmarshal(&mut &bytes[..]).expect("a sender report");
        assert_eq!((report.ssrc, report.rtp_time), (7, 90_000));
        assert_eq!((report.ntp_time, report.ntp_time), (ntp_time, ntp.ntp(captured)));
        assert_eq!((report.packet_count, report.octet_count), (2, 1200));
    }
}
