//! Seals (encrypts and authenticates) outgoing SRTP and SRTCP (RFC 3711; RFC 7714 for AES-GCM): each packet
//! is sealed in place, in the buffer that goes to the kernel.
//!
//! `rtc_srtp` would need two copies, an allocation and two hash tables for each packet. Keys are derived and
//! ciphers run by webrtc's cryptography provider; the tests compare each byte with `rtc_srtp`.

use rtc::crypto::{
    AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CryptoError, HmacAlgorithm, Mac, RTCCrypto, SecretVec,
    StreamCipher, StreamCipherAlgorithm,
};
use rtc::srtp::protection_profile::ProtectionProfile;

use crate::viewer::keys::Master;

/// Labels of derived keys (RFC 3711 sections 4.3.1 and 4.3.2).
#[derive(Clone, Copy)]
#[repr(u8)]
enum Label {
    RtpKey = 0,
    RtpMac = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpMac = 4,
    RtcpSalt = 5,
}

/// Size of an AES block, in bytes.
const BLOCK: usize = 16;
/// Size of the key and of the output of HMAC-SHA1, in bytes (RFC 3711 section 8.2).
const MAC_KEY: usize = 20;
const MAC: usize = 20;
/// Size of the tag of AES-GCM, in bytes (RFC 7714 section 5.3).
const GCM_TAG: usize = 16;
/// Size of the unencrypted start of an RTCP packet, in bytes (RFC 3711 section 3.4).
const RTCP_CLEAR: usize = 8;
/// Flag beside the index of an encrypted RTCP packet.
const ENCRYPTED: u32 = 1 << 31;

/// Seals the packets for a viewer.
pub(super) struct Seal {
    rtp: Cipher,
    rtcp: Cipher,
    /// Size of the RTP tag where the MAC is not the cipher's own.
    tag: usize,
    /// Index of the next RTCP packet: 31 bits, with one count for everything that we send (RFC 3711 section
    /// 3.4).
    index: u32,
}

enum Cipher {
    /// AES in counter mode with HMAC-SHA1 (RFC 3711 sections 4.1.1 and 4.2.1).
    Counter { cipher: Box<dyn StreamCipher>, mac: Box<dyn Mac>, salt: Vec<u8> },
    /// AES-GCM (RFC 7714).
    Gcm { cipher: Box<dyn AeadCipher>, salt: Vec<u8> },
}

impl Seal {
    /// Creates a seal with our master key.
    ///
    /// # Errors
    /// The provider does not have the cipher.
    pub(super) fn new(master: &Master) -> Result<Self, CryptoError> {
        let provider = rtc::crypto::default_provider()?;
        let crypto = provider.crypto();
        let cipher = |key, mac, salt| Cipher::new(crypto, master, [key, mac, salt]);
        Ok(Self {
            rtp: cipher(Label::RtpKey, Label::RtpMac, Label::RtpSalt)?,
            rtcp: cipher(Label::RtcpKey, Label::RtcpMac, Label::RtcpSalt)?,
            tag: master.profile.rtp_auth_tag_len(),
            index: 0,
        })
    }

    /// Seals the RTP packet in `buffer` from `begin` on, with a header of `header` bytes. `index` is its
    /// number without wrapping (RFC 3711 section 3.3.1): two different packets of one SSRC must not have the
    /// same.
    ///
    /// # Errors
    /// The cipher fails; the contents of the buffer are invalid then.
    pub(super) fn rtp(
        &mut self,
        buffer: &mut Vec<u8>,
        begin: usize,
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), CryptoError> {
        let wraps = (index >> 16) as u32;
        match &mut self.rtp {
            Cipher::Counter { cipher, mac, salt } => {
                cipher.apply_keystream(&counter(salt, ssrc, index), &mut buffer[begin + header..])?;
                let mut tag = [0; MAC];
                mac.sign(&[&buffer[begin..], &wraps.to_be_bytes()], &mut tag)?;
                buffer.extend_from_slice(&tag[..self.tag]);
            }
            Cipher::Gcm { cipher, salt } => {
                let mut nonce = [0; 12];
                nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
                nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
                nonce.iter_mut().zip(salt).for_each(|(n, s)| *n ^= *s);
                let (clear, secret) = buffer[begin..].split_at_mut(header);
                let mut tag = [0; GCM_TAG];
                cipher.seal_in_place(&nonce, clear, secret, &mut tag)?;
                buffer.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// Seals the compound RTCP packet in `buffer` from `begin` on.
    ///
    /// # Errors
    /// The packet is too short, or the cipher fails; the contents of the buffer are invalid then.
    pub(super) fn rtcp(&mut self, buffer: &mut Vec<u8>, begin: usize) -> Result<(), CryptoError> {
        let Some(&ssrc) = buffer.get(begin + 4..).and_then(<[u8]>::first_chunk) else {
            return Err(CryptoError::OutputTooSmall { required: RTCP_CLEAR, actual: buffer.len() - begin });
        };
        let ssrc = u32::from_be_bytes(ssrc);
        let trailer = (self.index | ENCRYPTED).to_be_bytes();
        match &mut self.rtcp {
            Cipher::Counter { cipher, mac, salt } => {
                let counter = counter(salt, ssrc, self.index.into());
                cipher.apply_keystream(&counter, &mut buffer[begin + RTCP_CLEAR..])?;
                buffer.extend_from_slice(&trailer);
                let mut tag = [0; MAC];
                mac.sign(&[&buffer[begin..]], &mut tag)?;
                buffer.extend_from_slice(&tag[..10]); // 80 bits for all RTP profiles (RFC 3711 section 5.2)
            }
            Cipher::Gcm { cipher, salt } => {
                let mut nonce = [0; 12];
                nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
                nonce[8..].copy_from_slice(&self.index.to_be_bytes());
                nonce.iter_mut().zip(salt).for_each(|(n, s)| *n ^= *s);
                let (clear, secret) = buffer[begin..].split_at_mut(RTCP_CLEAR);
                let mut tag = [0; GCM_TAG];
                cipher.seal_in_place(&nonce, &[&*clear, &trailer].concat(), secret, &mut tag)?;
                buffer.extend_from_slice(&tag);
                buffer.extend_from_slice(&trailer);
            }
        }
        self.index += 1; // one in 500 ms: 34 years
        Ok(())
    }
}

impl Cipher {
    fn new(crypto: &dyn RTCCrypto, master: &Master, labels: [Label; 3]) -> Result<Self, CryptoError> {
        use ProtectionProfile::{AeadAes128Gcm, AeadAes256Gcm, Aes256CmHmacSha1_32, Aes256CmHmacSha1_80};
        let derive = |label, length| derive(crypto, master, label, length);
        let key = SecretVec::new(derive(labels[0], master.profile.key_len())?);
        let salt = derive(labels[2], master.profile.salt_len())?;
        let gcm = match master.profile {
            AeadAes128Gcm => Some(AeadAlgorithm::Aes128Gcm),
            AeadAes256Gcm => Some(AeadAlgorithm::Aes256Gcm),
            _ => None,
        };
        if let Some(gcm) = gcm {
            return Ok(Self::Gcm { cipher: crypto.new_aead(gcm, key.as_ref())?, salt });
        }
        let algorithm = match master.profile {
            Aes256CmHmacSha1_80 | Aes256CmHmacSha1_32 => StreamCipherAlgorithm::Aes256Ctr,
            _ => StreamCipherAlgorithm::Aes128Ctr,
        };
        let mac = SecretVec::new(derive(labels[1], MAC_KEY)?);
        Ok(Self::Counter {
            cipher: crypto.new_stream_cipher(algorithm, key.as_ref())?,
            mac: crypto.new_hmac(HmacAlgorithm::Sha1, mac.as_ref())?,
            salt,
        })
    }
}

/// Derives a session key or salt (RFC 3711 section 4.3, RFC 6188 for keys of 256 bits): AES in counter mode,
/// with a counter that starts with the salt and the label.
fn derive(
    crypto: &dyn RTCCrypto,
    master: &Master,
    label: Label,
    length: usize,
) -> Result<Vec<u8>, CryptoError> {
    let algorithm = match master.profile.key_len() {
        32 => BlockCipherAlgorithm::Aes256,
        _ => BlockCipherAlgorithm::Aes128,
    };
    let mut out = vec![];
    for n in 0..length.div_ceil(BLOCK) as u16 {
        let mut block = [0; BLOCK];
        block[..master.salt.len()].copy_from_slice(master.salt.as_ref());
        block[7] ^= label as u8;
        block[14..].copy_from_slice(&n.to_be_bytes());
        crypto.block_encrypt(algorithm, master.key.as_ref(), &mut block)?;
        out.extend_from_slice(&block);
    }
    out.truncate(length);
    Ok(out)
}

/// The initial counter of a packet's keystream (RFC 3711 section 4.1.1).
fn counter(salt: &[u8], ssrc: u32, index: u64) -> [u8; BLOCK] {
    let mut counter = [0; BLOCK];
    counter[4..8].copy_from_slice(&ssrc.to_be_bytes());
    counter[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
    counter.iter_mut().zip(salt).for_each(|(c, s)| *c ^= *s);
    counter
}

#[cfg(test)]
mod tests {
    use rtc::shared::marshal::Marshal;
    use rtc::srtp::context::Context;

    use super::*;

    const PROFILES: [ProtectionProfile; 4] = [
        ProtectionProfile::Aes128CmHmacSha1_80,
        ProtectionProfile::Aes128CmHmacSha1_32,
        ProtectionProfile::AeadAes128Gcm,
        ProtectionProfile::AeadAes256Gcm,
    ];

    fn master(profile: ProtectionProfile) -> Master {
        let bytes =
            |n: usize, from: u8| (0..n).map(|i| from.wrapping_mul(31).wrapping_add(i as u8 * 7)).collect();
        Master {
            profile,
            key: SecretVec::new(bytes(profile.key_len(), 5)),
            salt: SecretVec::new(bytes(profile.salt_len(), 9)),
        }
    }

    fn reference(master: &Master) -> Context {
        let provider = rtc::crypto::default_provider().expect("a provider");
        let (key, salt) = (master.key.as_ref(), master.salt.as_ref());
        Context::new(key, salt, master.profile, None, None, provider.crypto()).expect("a context")
    }

    #[test]
    fn rtp_is_sealed_as_rtc_does_it_and_over_wraps() {
        for profile in PROFILES {
            let master = master(profile);
            let (mut seal, mut reference) = (Seal::new(&master).expect("ciphers"), reference(&master));
            let mut buffer = b"something before".to_vec();
            for index in (0..200_000_u64).step_by(997) {
                for ssrc in [7, 0xfedc_ba98] {
                    let mut header = rtc::rtp::header::Header {
                        version: 2,
                        marker: index % 2 == 0,
                        payload_type: 96,
                        sequence_number: index as u16,
                        timestamp: 1 << 31,
                        ssrc,
                        ..Default::default()
                    };
                    if index % 3 == 0 {
                        header.set_extension(3, bytes::Bytes::from_static(&[1, 2])).expect("an id");
                    }
                    let payload = vec![index as u8; (index % 1200) as usize];
                    let packet = rtc::rtp::Packet { header, payload: payload.into() };
                    let plain = packet.marshal().expect("written");
                    let begin = buffer.len();
                    buffer.extend_from_slice(&plain);
                    let header = plain.len() - packet.payload.len();
                    seal.rtp(&mut buffer, begin, header, ssrc, index).expect("sealed");
                    let expected = reference.encrypt_rtp(&plain).expect("sealed");
                    assert_eq!(buffer[begin..], expected[..], "{profile:?}, {index}");
                }
                buffer.truncate(16);
            }
        }
    }

    #[test]
    fn rtcp_is_sealed_so_that_rtc_opens_it() {
        for profile in PROFILES {
            let master = master(profile);
            let (mut seal, mut reference) = (Seal::new(&master).expect("ciphers"), reference(&master));
            for n in 0..100_u8 {
                let plain = [&[0x80, 200, 0, 6][..], &u32::from(n % 2).to_be_bytes(), &[n; 20]].concat();
                let mut buffer = [&[9; 5][..], &plain].concat();
                seal.rtcp(&mut buffer, 5).expect("sealed");
                assert_ne!(buffer[13..20], plain[8..15], "encrypted");
                assert_eq!(
                    reference.decrypt_rtcp(&buffer[5..]).expect("genuine")[..],
                    plain[..],
                    "{profile:?}"
                );
            }
            assert!(seal.rtcp(&mut vec![0x80, 200, 0], 0).is_err());
        }
    }

    /// The test vectors of RFC 3711 appendix B.3.
    #[test]
    fn keys_are_derived_as_in_the_rfc() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
                .collect()
        };
        let master = Master {
            profile: ProtectionProfile::Aes128CmHmacSha1_80,
            key: SecretVec::new(hex("E1F97A0D3E018BE0D64FA32C06DE4139")),
            salt: SecretVec::new(hex("0EC675AD498AFEEBB6960B3AABE6")),
        };
        let provider = rtc::crypto::default_provider().expect("a provider");
        let derive = |label, length| derive(provider.crypto(), &master, label, length).expect("derived");
        assert_eq!(derive(Label::RtpKey, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derive(Label::RtpSalt, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(derive(Label::RtpMac, 20), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }
}
