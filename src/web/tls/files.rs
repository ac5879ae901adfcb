//! Reads and writes PEM files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::names::Name;
use crate::wall::Unix;

/// Largest file that is read, bytes: far more than certificate files have.
const LARGEST: u64 = 256 * 1024;

/// A certificate with its key, and the facts of the certificate.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The chain, and the key that signs.
    pub certified: Arc<CertifiedKey>,
    /// Names of the first certificate.
    pub names: Vec<Name>,
    /// Begin of validity.
    pub not_before: Unix,
    /// End of validity.
    pub not_after: Unix,
    /// The encoded name of the issuer.
    pub issuer: Vec<u8>,
}

impl Pair {
    /// Combines a certificate (PEM, followed by its chain) and its key (PEM). Errors name the files by
    /// `certificate_name` and `key_name`.
    pub fn new(
        certificate: &[u8],
        key: &[u8],
        certificate_name: &str,
        key_name: &str,
    ) -> Result<Self, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("{certificate_name} is not a PEM file of certificates, or is damaged"))?;
        let first = chain.first().ok_or_else(|| {
            format!("{certificate_name} has no certificate (no \"-----BEGIN CERTIFICATE-----\")")
        })?;
        let facts =
            facts(first).ok_or_else(|| format!("{certificate_name}: its certificate can't be read"))?;
        let encrypted = String::from_utf8_lossy(key).contains("ENCRYPTED");
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| match encrypted {
            true => format!("{key_name} is encrypted, and peercam can't ask for its password"),
            false => format!("{key_name} has no private key (PEM), or a damaged one"),
        })?;
        let key = ring::sign::any_supported_type(&key)
            .map_err(|_| format!("{key_name} has an unsupported type; supported: RSA, ECDSA, Ed25519"))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| {
            format!("{key_name} is not the key of the certificate that comes first in {certificate_name}")
        })?;
        let (names, not_before, not_after, issuer) = facts;
        Ok(Self { certified: Arc::new(certified), names, not_before, not_after, issuer })
    }

    /// SHA-256 of the certificate, as browsers show it: `AB:CD:...`.
    pub fn fingerprint(&self) -> String {
        self.certified.cert.first().map(|c| fingerprint(c)).unwrap_or_default()
    }
}

fn facts(der: &CertificateDer<'_>) -> Option<(Vec<Name>, Unix, Unix, Vec<u8>)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|n| n.value.general_names.iter().filter_map(name).collect()).unwrap_or_default();
    let (from, to) = (certificate.validity().not_before, certificate.validity().not_after);
    Some((names, from.timestamp(), to.timestamp(), certificate.issuer().as_raw().to_vec()))
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(name) => Some(Name::Dns(name.to_ascii_lowercase())),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(Into::into);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(Into::into)).ok().map(Name::Ip)
        }
        _ => None,
    }
}

/// SHA-256 as browsers and openssl show it.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = ::ring::digest::digest(&::ring::digest::SHA256, der);
    digest.as_ref().iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
}

/// Reads the whole file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > LARGEST {
        return Err(io::Error::other(format!(
            "is larger than {LARGEST} bytes, too large for a certificate or key"
        )));
    }
    fs::read(path)
}

/// Replaces the whole file. A power cut leaves either the old or the new one.
pub fn write(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = dir.join(name);
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => (),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

/// Identifies the content of a file: replacing the file changes its inode, and writing to it changes its time or
/// length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64, u64, i64, i64);

impl Stamp {
    /// The current stamp of a file; `None` if there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let m = fs::metadata(path).ok()?;
        Some(Self(m.ino(), m.len(), m.mtime(), m.mtime_nsec()))
    }
}
