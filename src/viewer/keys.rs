//! How we learn the key that a viewer's reports are signed with: webrtc derives it and shows it to nobody.
//!
//! webrtc does all cryptography through a provider that the application may supply. Ours is webrtc's own, and looks at one
//! thing on its way: when the DTLS handshake is complete, webrtc derives the session keys of SRTP from a master key and a
//! salt for each direction (RFC 3711 section 4.3), ours first, then the viewer's. Each derivation begins with one AES block
//! under the master key that contains the salt alone, and ends with a cipher, which names the protection profile.
//!
//! `rtc` 0.21 has no way to ask for them. Once it has, this goes.

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
    /// What they are for.
    pub profile: ProtectionProfile,
    /// As long as the profile says.
    pub key: SecretVec,
    /// As long as the profile says.
    pub salt: SecretVec,
}

/// webrtc's provider of cryptography for one connection; calls `learned` once, with what the viewer signs with, in the
/// moment in which the handshake completes.
///
/// # Errors
/// webrtc has none.
pub fn provider(
    learned: impl Fn(Master) + Send + Sync + 'static,
) -> Result<Arc<dyn RTCCryptoProvider>, CryptoError> {
    let inner = rtc::crypto::default_provider()?;
    let crypto = Watched { inner: inner.clone(), seen: Mutex::default(), learned: Box::new(learned) };
    Ok(Arc::new(Provider { inner, crypto }))
}

struct Provider {
    inner: Arc<dyn RTCCryptoProvider>,
    crypto: Watched,
}

struct Watched {
    inner: Arc<dyn RTCCryptoProvider>,
    seen: Mutex<Seen>,
    learned: Box<dyn Fn(Master) + Send + Sync>,
}

/// Derivations so far.
#[derive(Default)]
struct Seen {
    /// Directions that have begun.
    directions: usize,
    key: Option<SecretVec>,
    /// The first block of the present direction, until its profile is known.
    first: Option<SecretVec>,
}

impl Seen {
    fn block(&mut self, key: &[u8], block: &[u8]) {
        if self.key.as_ref().is_none_or(|k| k.as_ref() != key) {
            self.directions += 1;
            self.key = Some(SecretVec::new(key.to_vec()));
            self.first = Some(SecretVec::new(block.to_vec()));
        }
    }

    /// A cipher was made. The viewer's direction is the second.
    fn cipher(&mut self, profile: ProtectionProfile) -> Option<Master> {
        let first = self.first.take()?;
        let salt = first.as_ref().get(..profile.salt_len())?;
        let key = self.key.as_ref().filter(|k| k.len() == profile.key_len())?;
        (self.directions == 2).then(|| Master {
            profile,
            key: key.clone(),
            salt: SecretVec::new(salt.to_vec()),
        })
    }
}

impl Watched {
    fn crypto(&self) -> &dyn RTCCrypto {
        self.inner.crypto()
    }

    fn cipher(&self, profile: ProtectionProfile) {
        let learned = self.seen.lock().unwrap_or_else(PoisonError::into_inner).cipher(profile);
        if let Some(master) = learned {
            (self.learned)(master);
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
            _ => {} // not of SRTP
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

    /// Derives the keys of both directions as webrtc does; what was learned.
    fn derive(profile: ProtectionProfile) -> Vec<Master> {
        let found = Arc::new(Mutex::new(vec![]));
        let seen = found.clone();
        let provider = provider(move |m| seen.lock().expect("not poisoned").push(m)).expect("a provider");
        // The record layer of DTLS has ciphers too, made before.
        provider.crypto().new_aead(AeadAlgorithm::Aes128Gcm, &[9; 16]).expect("a cipher");
        for n in [1, 2] {
            let (key, salt) = (vec![n; profile.key_len()], vec![n + 10; profile.salt_len()]);
            Context::new(&key, &salt, profile, None, None, provider.crypto()).expect("a context");
        }
        provider.crypto().new_aead(AeadAlgorithm::Aes128Gcm, &[9; 16]).expect("a cipher");
        drop(provider);
        Arc::into_inner(found).expect("no other").into_inner().expect("not poisoned")
    }

    #[test]
    fn the_viewers_direction_is_learned_once() {
        for profile in [
            ProtectionProfile::Aes128CmHmacSha1_80,
            ProtectionProfile::AeadAes128Gcm,
            ProtectionProfile::AeadAes256Gcm,
        ] {
            let learned = derive(profile);
            let [Master { profile: p, key, salt }] = &learned[..] else { panic!("once: {learned:?}") };
            assert_eq!(format!("{p:?}"), format!("{profile:?}"));
            assert_eq!(key.as_ref(), vec![2; profile.key_len()]);
            assert_eq!(salt.as_ref(), vec![12; profile.salt_len()]);
        }
    }
}
