//! Admits RTCP packets: only those that the viewer has authenticated, from few senders, at a limited rate,
//! each packet once (RFC 3711 section 3.3.2).
//!
//! A context of `rtc_srtp` 0.21 creates state for each SSRC before it checks the authentication tag, and
//! keeps it for ever. It even accepts RTCP marked as not encrypted without checking the tag at all. So
//! anybody who knows a viewer's address could fill our memory, or forge reports.
//!
//! Here each packet is authenticated first, with a context that is discarded when it has seen too many
//! senders. A sender is recorded only after that. So strangers can't use up the viewer's limits: a shared
//! limit for new senders would be exhausted before the browser's second SSRC arrived.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use bytes::Bytes;

use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;

use crate::net::{Bucket, Rate};
use crate::viewer::cc::REMEMBERED;
use crate::viewer::keys::Master;

/// Rate of new senders of a viewer. A browser has one for each media section, and keeps them: at most sixteen
/// pictures and a sound.
const NEW: Rate = Rate { per_second: 4.0, burst: 20.0 };
/// Most senders of a viewer in its life; they take some 16 KB.
const SENDERS: usize = 327;
/// Rate of a viewer's RTCP in bytes. Browsers send some 50 packets of 100 bytes a second; where much is lost,
/// several times that.
const BYTES: Rate = Rate { per_second: 64.0 * 1024.0, burst: 64.0 * 1024.0 };
/// Number of senders after which a context is replaced.
const MOST_LOOKED_AT: usize = 64;
/// Size of the unencrypted start of a packet, which ends with the sender's SSRC (RFC 3550 section 6.1).
const HEADER: usize = 8;
/// How far behind the newest one a packet's number may be (RFC 3711 section 3.3.2).
const WINDOW: u32 = 64;
/// Most packets in one transport-wide feedback. Browsers send one every 50 to 250 ms, about one or two
/// hundred packets.
const MOST_STATUSES: u16 = REMEMBERED as u16;
/// Packet type and format of that feedback (RFC 4585 section 6.2,
/// draft-holmer-rmcat-transport-wide-cc-extensions-01).
pub(in crate::viewer) const TRANSPORT_FEEDBACK: u8 = 205;
pub(in crate::viewer) const TRANSPORT_WIDE: u8 = 15;
/// RTCP packet types: sender report to application-defined, feedback, and extended report (RFC 3550, 4585,
/// 3611).
const TYPES: std::ops::RangeInclusive<u8> = 200..=207;

/// Whether a datagram is RTCP, as opposed to RTP, which viewers never send (RFC 5761 section 4).
pub(super) fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[0] >> 6 == 2 && TYPES.contains(&datagram[1])
}

/// The reports of a viewer.
pub(super) struct Reports {
    signature: Signature,
    senders: Senders,
    bytes: Bucket,
}

impl Reports {
    /// Reports that are authenticated with this key.
    pub(super) fn signed_with(master: Master) -> Self {
        let bytes = Bucket::full(BYTES);
        Self { signature: Signature::new(master), senders: Senders::default(), bytes }
    }

    /// The decrypted contents of a datagram, if it is admitted.
    pub(super) fn admit(&mut self, now: Instant, datagram: &[u8]) -> Option<Bytes> {
        let opened = is_rtcp(datagram).then(|| self.signature.open(datagram))??;
        let admitted =
            self.senders.admit(now, opened.ssrc, opened.index) && self.bytes.take(datagram.len() as f64, now);
        admitted.then_some(opened.content)
    }
}

/// An authentic packet.
struct Opened {
    ssrc: u32,
    /// Its number.
    index: u32,
    content: Bytes,
}

/// Senders with authentic reports.
#[derive(Debug)]
struct Senders {
    known: HashMap<u32, Replay>,
    new: Bucket,
}

impl Default for Senders {
    fn default() -> Self {
        Self { known: HashMap::new(), new: Bucket::full(NEW) }
    }
}

impl Senders {
    /// Whether to admit a packet: a known sender stays known; a new one is added if the limits allow. Each
    /// packet is admitted once.
    fn admit(&mut self, now: Instant, ssrc: u32, index: u32) -> bool {
        if let Some(replay) = self.known.get_mut(&ssrc) {
            return replay.is_new(index);
        }
        let may = self.known.len() < SENDERS && self.new.take(1.0, now);
        may && self.known.insert(ssrc, Replay { newest: index, seen: 1 }).is_none()
    }
}

/// Tracks which packets of a sender have arrived.
#[derive(Debug)]
struct Replay {
    newest: u32,
    /// The packets up to [`WINDOW`] back, the newest in the lowest bit.
    seen: u64,
}

impl Replay {
    fn is_new(&mut self, index: u32) -> bool {
        if index > self.newest {
            self.seen = self.seen.checked_shl(index - self.newest).unwrap_or(0) | 1;
            self.newest = index;
            return true;
        }
        let back = self.newest - index;
        let new = back < WINDOW && self.seen >> back & 1 == 0;
        if new {
            self.seen |= 1 << back;
        }
        new
    }
}

/// Authenticates a viewer's packets.
struct Signature {
    master: Master,
    /// Created on demand, and replaced when it has seen too many senders.
    context: Option<Context>,
    seen: HashSet<u32>,
}

impl Signature {
    fn new(master: Master) -> Self {
        Self { master, context: None, seen: HashSet::new() }
    }

    /// Opens an RTCP packet if the viewer has authenticated it.
    fn open(&mut self, datagram: &[u8]) -> Option<Opened> {
        let index = index(datagram, self.master.profile)?;
        let ssrc = u32::from_be_bytes(datagram.get(4..HEADER)?.try_into().ok()?);
        if self.seen.len() >= MOST_LOOKED_AT && !self.seen.contains(&ssrc) {
            self.context = None;
            self.seen.clear();
        }
        self.seen.insert(ssrc);
        if self.context.is_none() {
            let Master { profile, key, salt } = &self.master;
            let provider = rtc::crypto::default_provider().ok()?;
            // Without replay protection, which we do ourselves.
            let context = Context::new(key.as_ref(), salt.as_ref(), *profile, None, None, provider.crypto());
            self.context = Some(context.ok()?);
        }
        let content = self.context.as_mut()?.decrypt_rtcp(datagram).ok()?.freeze();
        is_modest(&content).then_some(Opened { ssrc, index, content })
    }
}

/// Whether no transport-wide feedback in a compound packet claims too many packets: `rtc_rtcp` allocates as
/// many as the sender claims, 1 MB for 40 bytes, before it checks whether they are there.
fn is_modest(mut compound: &[u8]) -> bool {
    while compound.len() >= 4 {
        let size = 4 * (usize::from(u16::from_be_bytes([compound[2], compound[3]])) + 1);
        let feedback = compound[1] == TRANSPORT_FEEDBACK && compound[0] & 0x1f == TRANSPORT_WIDE;
        let claimed = compound.get(14..16).map(|count| u16::from_be_bytes([count[0], count[1]]));
        if feedback && claimed.is_none_or(|claimed| claimed > MOST_STATUSES) {
            return false;
        }
        let Some(rest) = compound.get(size..) else { return false };
        compound = rest;
    }
    true
}

/// The packet's number at its end, which for some profiles is followed by the authentication tag (RFC 3711
/// section 3.4, RFC 7714 section 9.2). In WebRTC everything after the header must be encrypted, as a flag
/// before the number says.
fn index(datagram: &[u8], profile: ProtectionProfile) -> Option<u32> {
    const ENCRYPTED: u32 = 1 << 31;
    let behind = 4 + profile.rtcp_auth_tag_len();
    let at = datagram.len().checked_sub(behind).filter(|at| *at >= HEADER)?;
    let word = u32::from_be_bytes(*datagram[at..].first_chunk()?);
    (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use rtc::crypto::SecretVec;

    use super::*;

    const PROFILES: [ProtectionProfile; 3] = [
        ProtectionProfile::Aes128CmHmacSha1_80,
        ProtectionProfile::AeadAes128Gcm,
        ProtectionProfile::AeadAes256Gcm,
    ];

    /// A key for a viewer's packets.
    pub(crate) fn master(profile: ProtectionProfile) -> Master {
        let (key, salt) = (vec![3; profile.key_len()], vec![4; profile.salt_len()]);
        Master { profile, key: SecretVec::new(key), salt: SecretVec::new(salt) }
    }

    /// A viewer that sends reports.
    pub(crate) struct Signer(Context);

    impl Signer {
        pub(crate) fn new(profile: ProtectionProfile) -> Self {
            let (m, provider) = (master(profile), rtc::crypto::default_provider().expect("a provider"));
            let context =
                Context::new(m.key.as_ref(), m.salt.as_ref(), profile, None, None, provider.crypto());
            Self(context.expect("a context"))
        }

        /// An empty receiver report.
        pub(crate) fn report(&mut self, ssrc: u32) -> Vec<u8> {
            self.0.encrypt_rtcp(&plain(ssrc)).expect("encrypted").to_vec()
        }
    }

    fn plain(ssrc: u32) -> Vec<u8> {
        let mut report = vec![0x80, 201, 0, 1];
        report.extend(ssrc.to_be_bytes());
        report
    }

    #[test]
    fn only_what_the_viewer_signed_gets_through() {
        let now = Instant::now();
        for profile in PROFILES {
            let (mut signer, mut reports) = (Signer::new(profile), Reports::signed_with(master(profile)));
            let genuine = signer.report(77);
            assert_eq!(reports.admit(now, &genuine).as_deref(), Some(&plain(77)[..]), "{profile:?}");
            assert!(reports.admit(now, &genuine).is_none(), "each packet is admitted once");
            assert!(reports.admit(now, &signer.report(77)).is_some());
            for at in 0..genuine.len() * 8 {
                let mut forged = genuine.clone();
                forged[at / 8] ^= 1 << (at % 8);
                // The lower bits of the first two bytes are authenticated as well, so no bit may change.
                assert!(reports.admit(now, &forged).is_none(), "{profile:?}, bit {at}");
            }
            for cut in 0..genuine.len() {
                assert!(reports.admit(now, &genuine[..cut]).is_none(), "{profile:?}, {cut}");
            }
            // Not encrypted, as RFC 3711 allows, with any tag.
            let behind = profile.rtcp_auth_tag_len();
            let open = [&plain(77)[..], &[0; 16], &[0, 0, 0, 9], &vec![0; behind]].concat();
            assert!(reports.admit(now, &open).is_none(), "{profile:?}");
            let another = [&plain(77)[..], &[0xff; 40]].concat();
            assert!(reports.admit(now, &another).is_none(), "{profile:?}");
        }
    }

    #[test]
    fn rtp_is_none_of_it() {
        for (datagram, rtcp) in [
            (&[0x80, 200, 0, 1, 0, 0, 0, 0][..], true),
            (&[0x8f, 207, 0, 1, 0, 0, 0, 0], true),
            (&[0x80, 96, 0, 1, 0, 0, 0, 0], false),
            (&[0x80, 0xe0, 0, 1, 0, 0, 0, 0], false),
            (&[0x80, 199, 0, 1, 0, 0, 0, 0], false),
            (&[0x80, 208, 0, 1, 0, 0, 0, 0], false),
            (&[0x40, 201, 0, 1, 0, 0, 0, 0], false),
            (&[0x80, 201, 0, 1, 0, 0, 0], false),
            (&[], false),
        ] {
            assert_eq!(is_rtcp(datagram), rtcp, "{datagram:?}");
        }
    }

    #[test]
    fn feedback_about_more_packets_than_anybody_sends_is_dropped() {
        let feedback = |count: u16| {
            let mut packet = vec![0x8f, 205, 0, 5];
            packet.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 7]); // sender, media, base
            packet.extend(count.to_be_bytes());
            packet.extend([0, 0, 1, 0, 0x3f, 0xff, 0x3f, 0xff]); // time, two runs
            packet
        };
        assert!(is_modest(&feedback(200)) && is_modest(&feedback(MOST_STATUSES)));
        assert!(!is_modest(&feedback(MOST_STATUSES + 1)) && !is_modest(&feedback(65_535)));
        assert!(!is_modest(&[&plain(1)[..], &feedback(65_535)].concat()), "after another packet");
        assert!(!is_modest(&feedback(200)[..14]), "cut off");
        assert!(is_modest(&plain(1)));
        let (now, profile) = (Instant::now(), PROFILES[1]);
        let (mut signer, mut reports) = (Signer::new(profile), Reports::signed_with(master(profile)));
        let mut signed = |count| signer.0.encrypt_rtcp(&feedback(count)).expect("encrypted").to_vec();
        let (large, usual) = (signed(65_535), signed(100));
        assert!(reports.admit(now, &large).is_none() && reports.admit(now, &usual).is_some());
    }

    #[test]
    fn strangers_use_up_nothing_that_the_viewer_has() {
        let (start, profile) = (Instant::now(), ProtectionProfile::Aes128CmHmacSha1_80);
        let (mut signer, mut reports) = (Signer::new(profile), Reports::signed_with(master(profile)));
        // From the start, 2000 forged senders a second; the browser's own packets arrive in between.
        for n in 0..20_000_u32 {
            let now = start + Duration::from_micros(u64::from(n) * 500);
            let forged = [&[0x80, 201, 0, 1][..], &(n * 3).to_be_bytes(), &[0xff; 24]].concat();
            assert!(reports.admit(now, &forged).is_none());
            assert!(reports.signature.seen.len() <= MOST_LOOKED_AT);
            if n % 1000 == 999 {
                let ssrc = 1_000_000 + n / 4000;
                assert!(reports.admit(now, &signer.report(ssrc)).is_some(), "{n}");
            }
        }
        assert_eq!(reports.senders.known.len(), 5);
    }

    #[test]
    fn a_viewer_has_few_senders_and_keeps_them() {
        let (start, mut senders) = (Instant::now(), Senders::default());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((0..1000).filter(|n| senders.admit(at(0), *n, 0)).count(), 20);
        assert_eq!((0..1000).filter(|n| senders.admit(at(1000), 5000 + *n, 0)).count(), 4);
        for second in 2..10_000 {
            for n in 0..10 {
                senders.admit(at(second * 1000), second as u32 * 100 + n, 0);
            }
        }
        assert_eq!(senders.known.len(), SENDERS);
        assert!(senders.known.keys().all(|n| *n < 100_000));
        assert!(
            senders.admit(at(10_000_000), 0, 1) && senders.admit(at(10_000_000), 19, 1),
            "known for good"
        );
        assert!(!senders.admit(at(20_000_000), 20, 1));
    }

    #[test]
    fn a_packet_may_come_late_but_not_twice() {
        let mut replay = Replay { newest: 100, seen: 1 };
        assert!(!replay.is_new(100) && replay.is_new(99) && !replay.is_new(99));
        assert!(replay.is_new(103) && !replay.is_new(100) && replay.is_new(101) && !replay.is_new(103));
        assert!(replay.is_new(40) && !replay.is_new(40) && !replay.is_new(39), "too late");
        assert!(replay.is_new(103 + 63) && !replay.is_new(103) && replay.is_new(104));
        assert!(replay.is_new(1000) && replay.is_new(937) && !replay.is_new(936));
    }

    #[test]
    fn reports_have_a_rate() {
        let (start, profile) = (Instant::now(), ProtectionProfile::AeadAes128Gcm);
        let (mut signer, mut reports) = (Signer::new(profile), Reports::signed_with(master(profile)));
        let mut admitted = 0;
        for n in 0..30_000_u64 {
            let report = signer.report(1);
            admitted +=
                reports.admit(start + Duration::from_micros(n * 100), &report).map_or(0, |_| report.len());
        }
        let most = BYTES.per_second as usize * 4;
        assert!(admitted <= most && admitted > most * 9 / 10, "{admitted}");
    }
}
