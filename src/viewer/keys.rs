//! Obtains the SRTP keys of both directions, which webrtc derives but does not expose.
//!
//! webrtc does all cryptography through a provider that the application may supply. Ours is webrtc's own and
//! observes one thing: when the DTLS handshake is complete, webrtc derives the session keys of SRTP from a
//! master key and a salt for each direction (RFC 3711 section 4.3), ours first, then the viewer's. Each
//! derivation begins with an AES block under the master key that contains only the salt, and ends with a
//! cipher, which identifies the protection profile.
//!
//! `rtc` 0.21 has no API for the keys. Once it has one, this module goes.

use std::sync::{Arc, Mutex, PoisonError};

use rtc::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher,
    CryptoAlgorithm, CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey,
    RTCCrypto, RTCCryptoProvider, RTCRandom, SecretVec, SignatureScheme, SigningKey, StreamCipher,
    StreamCipherAlgorithm,
};
use rtc::srtp::protection_profile::ProtectionProfile;

/// The master key and salt of one direction.
#[derive(Debug)]
pub struct Master {
    /// Protection profile.
    pub profile: ProtectionProfile,
    /// Master key; its length depends on the profile.
    pub key: SecretVec,
    /// Master salt; its length depends on the profile.
    pub salt: SecretVec,
}

/// The keys of both directions.
#[derive(Debug)]
pub(super) struct Keys {
    /// The keys for packets to the viewer.
    pub ours: Master,
    /// The keys of packets from the viewer.
    pub theirs: Master,
}

/// The keys of a connection, once they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned(Arc<Mutex<Option<Keys>>>);

impl Learned {
    /// Takes the keys, which are available once the handshake is complete.
    pub(super) fn take(&self) -> Option<Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// webrtc's cryptography provider for one connection, and the keys that will be learned from it.
///
/// # Errors
/// webrtc has no provider.
pub(super) fn provider() -> Result<(Arc<dyn RTCCryptoProvider>, Learned), CryptoError> {
    let (inner, learned) = (rtc::crypto::default_provider()?, Learned::default());
    let crypto = Watched { inner: inner.clone(), seen: Mutex::default(), learned: learned.clone() };
    Ok((Arc::new(Provider { inner, crypto }), learned))
}

struct Provider {
    inner: Arc<dyn RTCCryptoProvider>,
    crypto: Watched,
}

struct Watched {
    inner: Arc<dyn RTCCryptoProvider>,
    seen: Mutex<Seen>,
    learned: Learned,
}

/// The derivations so far.
#[derive(Default)]
struct Seen {
    key: Option<SecretVec>,
    /// The first block of the current direction, until its profile is known.
    first: Option<SecretVec>,
    /// The keys of the first direction.
    ours: Option<Master>,
}

impl Seen {
    fn block(&mut self, key: &[u8], block: &[u8]) {
        if self.key.as_ref().is_none_or(|k| k.as_ref() != key) {
            self.key = Some(SecretVec::new(key.to_vec()));
            self.first = Some(SecretVec::new(block.to_vec()));
        }
    }

    /// A cipher was created. The second direction is the viewer's.
    fn cipher(&mut self, profile: ProtectionProfile) -> Option<Keys> {
        let first = self.first.take()?;
        let salt = SecretVec::new(first.as_ref().get(..profile.salt_len())?.to_vec());
        let key = self.key.as_ref().filter(|k| k.len() == profile.key_len())?.clone();
        let master = Master { profile, key, salt };
        match self.ours.take() {
            Some(ours) => Some(Keys { ours, theirs: master }),
            None => {
                self.ours = Some(master);
                None
            }
        }
    }
}

impl Watched {
    fn crypto(&self) -> &dyn RTCCrypto {
        self.inner.crypto()
    }

    fn cipher(&self, profile: ProtectionProfile) {
        let keys = self.seen.lock().unwrap_or_else(PoisonError::into_inner).cipher(profile);
        if keys.is_some() {
            *self.learned.0.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }
}

impl RTCCryptoProvider for Provider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        &self.crypto
    }

    fn random(&self) -> &dyn RTCRandom {
        self.inner.random()
    }
}

impl RTCCrypto for Watched {
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.crypto().hash(algorithm, data)
    }

    fn block_encrypt(
        &self,
        algorithm: BlockCipherAlgorithm,
        key: &[u8],
        block: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).block(key, block);
        self.crypto().block_encrypt(algorithm, key, block)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.crypto().new_hmac(algorithm, key)
    }

    fn new_stream_cipher(
        &self,
        algorithm: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.cipher(match algorithm {
            StreamCipherAlgorithm::Aes256Ctr => ProtectionProfile::Aes256CmHmacSha1_80,
            _ => ProtectionProfile::Aes128CmHmacSha1_80,
        });
        self.crypto().new_stream_cipher(algorithm, key)
    }

    fn new_aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadCipher>, CryptoError> {
        match algorithm {
            AeadAlgorithm::Aes128Gcm => self.cipher(ProtectionProfile::AeadAes128Gcm),
            AeadAlgorithm::Aes256Gcm => self.cipher(ProtectionProfile::AeadAes256Gcm),
            _ => {} // not SRTP
        }
        self.crypto().new_aead(algorithm, key)
    }

    fn new_cbc(&self, algorithm: CbcAlgorithm, key: &[u8]) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.crypto().new_cbc(algorithm, key)
    }

    fn start_key_exchange(
        &self,
        algorithm: KeyExchangeAlgorithm,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.crypto().start_key_exchange(algorithm)
    }

    fn generate_signing_key(&self, scheme: SignatureScheme) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.crypto().generate_signing_key(scheme)
    }

    fn import_signing_key(
        &self,
        scheme: SignatureScheme,
        pkcs8_der: &[u8],
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.crypto().import_signing_key(scheme, pkcs8_der)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.crypto().verify_signature(scheme, public_key, message, signature)
    }
}

#[cfg(test)]
mod tests {
    use rtc::srtp::context::Context;

    use super::*;

    /// Derives the keys of both directions as webrtc does; returns what was learned.
    fn derive(profile: ProtectionProfile) -> Learned {
        let (provider, learned) = provider().expect("a provider");
        // DTLS records also use ciphers, created earlier.
        provider.crypto().new_aead(AeadAlgorithm::Aes128Gcm, &[9; 16]).expect("a cipher");
        for n in [1, 2] {
            assert!(learned.take().is_none());
            let (key, salt) = (vec![n; profile.key_len()], vec![n + 10; profile.salt_len()]);
            Context::new(&key, &salt, profile, None, None, provider.crypto()).expect("a context");
        }
        provider.crypto().new_aead(AeadAlgorithm::Aes128Gcm, &[9; 16]).expect("a cipher");
        learned
    }

    #[test]
    fn both_directions_are_learned_once() {
        for profile in [
            ProtectionProfile::Aes128CmHmacSha1_80,
            ProtectionProfile::AeadAes128Gcm,
            ProtectionProfile::AeadAes256Gcm,
        ] {
            let learned = derive(profile);
            let Keys { ours, theirs } = learned.take().expect("keys");
            for (n, Master { profile: p, key, salt }) in [(1, ours), (2, theirs)] {
                assert_eq!(format!("{p:?}"), format!("{profile:?}"));
                assert_eq!(key.as_ref(), vec![n; profile.key_len()]);
                assert_eq!(salt.as_ref(), vec![n + 10; profile.salt_len()]);
            }
            assert!(learned.take().is_none());
        }
    }
}
