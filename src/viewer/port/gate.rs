//! What of all that comes from a viewer's addresses gets to its connection: see [`records`] and `reports`. webrtc has
//! no bounds of its own. Pure, with the time as an argument.
//!
//! An address can be forged, so what is kept here for a viewer can be filled by strangers only where it does no harm.

use std::time::Instant;

use bytes::Bytes;

use super::records::{self, Handshake};
use super::reports::Reports;
use crate::net::{Bucket, Rate};
use crate::viewer::keys::Master;

/// DTLS datagrams in a second, and at once, once the handshake is complete: a goodbye, or a last flight that was lost.
const AFTERWARDS: Rate = Rate { per_second: 10.0, burst: 20.0 };

/// What a handshake failed by, as the side that noticed says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Whether we did.
    pub ours: bool,
    /// RFC 5246 section 7.2.
    pub description: u8,
    /// When.
    pub at: Instant,
}

/// What is let in.
#[derive(Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is of ICE.
    Stun,
    /// It is of DTLS; [`Gate::reduce`] says what of it webrtc gets.
    Dtls,
    /// A compound RTCP packet that the viewer has signed, opened.
    Report(Bytes),
}

/// The gate of one viewer.
pub struct Gate {
    /// The rest is refused when the handshake is complete.
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
    /// The handshake is complete; the viewer signs its reports with this.
    pub fn secure(&mut self, master: Master) {
        self.reports = Some(Reports::signed_with(master));
        self.failed = None;
    }

    /// What of a datagram that has arrived is worth a place in the queue.
    pub fn admit(&mut self, now: Instant, datagram: &[u8]) -> Option<Admitted> {
        match (datagram.first()?, &mut self.reports) {
            (0..4, _) => Some(Admitted::Stun), // it was looked at by its address table
            (20..64, None) => Some(Admitted::Dtls),
            (20..64, Some(_)) => {
                (records::speaks(datagram) && self.afterwards.take(1.0, now)).then_some(Admitted::Dtls)
            }
            (128..192, Some(reports)) => reports.admit(now, datagram).map(Admitted::Report),
            _ => None,
        }
    }

    /// Of a DTLS datagram from the queue, what webrtc gets.
    pub fn reduce(&mut self, now: Instant, datagram: Bytes) -> Option<Bytes> {
        if self.reports.is_some() {
            return records::established(datagram);
        }
        self.note(now, false, &datagram);
        self.handshake.reduce(datagram)
    }

    /// webrtc sends this DTLS datagram.
    pub fn sends(&mut self, now: Instant, datagram: &[u8]) {
        if self.reports.is_none() {
            self.note(now, true, datagram);
        }
    }

    /// Why the handshake does not come to an end, if a side has said so.
    pub fn failed(&self) -> Option<Alert> {
        self.failed
    }

    /// The first says most: the other side answers it.
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
        assert_eq!(gate.reduce(now, hello.into()), None, "flight.rs has seen it");
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
