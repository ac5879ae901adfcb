//! Decides which datagrams from a viewer's addresses reach its connection: see [`records`] and `reports`.
//! webrtc has no limits of its own. Pure, with the time as an argument.
//!
//! An address can be forged, so strangers may fill what is kept here for a viewer only where that does no
//! harm.

use std::time::Instant;

use bytes::Bytes;

use super::records::{self, Handshake};
use super::reports::Reports;
use crate::net::{Bucket, Rate};
use crate::viewer::keys::Master;

/// Rate of DTLS datagrams once the handshake is complete: a goodbye, or a last flight that was lost.
const AFTERWARDS: Rate = Rate { per_second: 10.0, burst: 20.0 };

/// An alert by which a handshake failed, sent by the side that noticed the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Whether we sent it.
    pub ours: bool,
    /// Alert description (RFC 5246 section 7.2).
    pub description: u8,
    /// Time of the alert.
    pub at: Instant,
}

/// What is admitted.
#[derive(Debug, PartialEq, Eq)]
pub enum Admitted {
    /// An ICE datagram.
    Stun,
    /// A DTLS datagram; [`Gate::reduce`] decides which parts webrtc receives.
    Dtls,
    /// A decrypted compound RTCP packet that the viewer has authenticated.
    Report(Bytes),
}

/// The gate of a viewer.
pub struct Gate {
    /// DTLS of the handshake; later records are refused when it is complete.
    handshake: Handshake,
    reports: Option<Reports>,
    afterwards: Bucket,
    failed: Option<Alert>,
}

impl Default for Gate {
    fn default() -> Self {
        let afterwards = Bucket::full(AFTERWARDS);
        Self { handshake: Handshake::default(), reports: None, afterwards, failed: None }
    }
}

impl Gate {
    /// The handshake is complete; the viewer authenticates its reports with this key.
    pub fn secure(&mut self, master: Master) {
        self.reports = Some(Reports::signed_with(master));
        self.failed = None;
    }

    /// The part of an arriving datagram that may enter the queue.
    pub fn admit(&mut self, now: Instant, datagram: &[u8]) -> Option<Admitted> {
        match (datagram.first()?, &mut self.reports) {
            (0..4, _) => Some(Admitted::Stun), // its address table has checked it
            (20..64, None) => Some(Admitted::Dtls),
            (20..64, Some(_)) => {
                (records::speaks(datagram) && self.afterwards.take(1.0, now)).then_some(Admitted::Dtls)
            }
            (128..192, Some(reports)) => reports.admit(now, datagram).map(Admitted::Report),
            _ => None,
        }
    }

    /// The part of a DTLS datagram from the queue that webrtc receives.
    pub fn reduce(&mut self, now: Instant, datagram: Bytes) -> Option<Bytes> {
        if self.reports.is_some() {
            return records::established(datagram);
        }
        self.note(now, false, &datagram);
        self.handshake.reduce(datagram)
    }

    /// Records a DTLS datagram that webrtc sends.
    pub fn sends(&mut self, now: Instant, datagram: &[u8]) {
        if self.reports.is_none() {
            self.note(now, true, datagram);
        }
    }

    /// Why the handshake does not complete, if a side has sent an alert.
    pub fn failed(&self) -> Option<Alert> {
        self.failed
    }

    /// Keeps the first alert, which says most: the other side's is an answer to it.
    fn note(&mut self, now: Instant, ours: bool, datagram: &[u8]) {
        const FATAL: u8 = 2;
        if let Some((FATAL, description)) = records::alert(datagram)
            && self.failed.is_none()
        {
            self.failed = Some(Alert { ours, description, at: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use rtc::srtp::protection_profile::ProtectionProfile;

    use super::super::records::tests::{message, record};
    use super::super::reports::tests::{Signer, master};
    use super::*;

    const PROFILE: ProtectionProfile = ProtectionProfile::AeadAes128Gcm;

    #[test]
    fn reports_come_when_there_are_keys_and_rtp_never() {
        let (now, mut gate, mut signer) = (Instant::now(), Gate::default(), Signer::new(PROFILE));
        let rtp = [&[0x80, 96][..], &[0; 40]].concat();
        assert_eq!(gate.admit(now, &[0, 1, 0, 0]), Some(Admitted::Stun));
        assert_eq!(gate.admit(now, &rtp), None);
        assert_eq!(gate.admit(now, &signer.report(1)), None);
        gate.secure(master(PROFILE));
        assert!(matches!(gate.admit(now, &signer.report(1)), Some(Admitted::Report(_))));
        assert!([&rtp[..], &[], &[70; 30]].iter().all(|d| gate.admit(now, d).is_none()));
    }

    #[test]
    fn after_the_handshake_there_is_little_to_say() {
        let (now, mut gate) = (Instant::now(), Gate::default());
        let (hello, goodbye) = (record(22, 0, &message(3)), record(21, 1, &[0; 24]));
        assert!((0..1000).all(|_| gate.admit(now, &hello).is_some()));
        assert_eq!(gate.reduce(now, hello.clone().into()), Some(hello.clone().into()));
        gate.secure(master(PROFILE));
        assert_eq!(gate.admit(now, &record(23, 1, &[0; 100])), None);
        assert_eq!(gate.admit(now, &record(22, 2, &[0; 100])), None);
        let mut come = |d: &[u8]| (0..1000).filter(|_| gate.admit(now, d).is_some()).count();
        assert_eq!(come(&goodbye) + come(&hello), 20);
        assert_eq!(gate.reduce(now, hello.into()), None, "already handled by flight.rs");
        assert_eq!(gate.reduce(now, goodbye.clone().into()), Some(goodbye.into()));
    }

    #[test]
    fn a_failure_is_known_until_there_is_none() {
        let (now, mut gate) = (Instant::now(), Gate::default());
        gate.sends(now, &record(21, 0, &[1, 0])); // a warning
        assert_eq!(gate.failed(), None);
        gate.sends(now, &record(21, 0, &[2, 42]));
        gate.reduce(now, record(21, 0, &[2, 40]).into());
        assert_eq!(gate.failed(), Some(Alert { ours: true, description: 42, at: now }));
        gate.secure(master(PROFILE));
        gate.sends(now, &record(21, 0, &[2, 42]));
        assert_eq!(gate.failed(), None);
    }
}
