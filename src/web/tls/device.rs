//! The device's own certificate authority, and the certificates that it issues for the device.
//!
//! The owner may trust the authority once; then browsers show no warning. A trusted authority can be stolen with the
//! board, so it is restricted as far as possible: to servers (extended key usage), without further authorities (path
//! length 0), and to names of local networks, the host's own name and those of `web.hosts` (critical name constraints,
//! which Chromium from version 113 on, Firefox, Apple's and OpenSSL's verifiers also check for trusted roots). So its
//! key can't be used to impersonate other sites. Addresses are not constrained: the device's change with its network,
//! and hardly anything but devices is used by address.
//!
//! That is why a new name in `web.hosts` needs a new authority, which must be trusted again. A changed host name does
//! not, because DHCP may change it: its `.local` name is always covered.
//!
//! The certificate is kept with its key (`certificate.pem`). It is replaced only if it lacks a name or address or is
//! about to expire, because users who have not trusted the authority have made their browser accept exactly this
//! certificate.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Error;
use super::files::{self, Pair};
use super::names::{self, Here, Name};
use crate::wall::{self, DAY, Unix, believed};

/// Validity of the authority, days: longer than any board lives.
const CA_DAYS: i64 = 25 * 365;
/// Validity of a certificate, days. Apple's systems refuse more than 825 days, even from authorities that the owner
/// trusts (support.apple.com/103769); a year leaves room for wrong clocks.
const LEAF_DAYS: i64 = 397;
/// Days before its end at which a certificate is renewed: a device that is switched on once a month still serves a
/// valid one.
const RENEW_DAYS: i64 = 60;
/// Days before now from which a certificate is valid, for browsers whose clock is behind.
const BACKDATED_DAYS: i64 = 2;

/// The device's certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
    /// The encoded name of the authority.
    subject: Vec<u8>,
    /// The domains that it may certify.
    domains: Vec<String>,
    not_before: Unix,
    not_after: Unix,
}

impl Authority {
    /// Loads the authority in `dir`, or creates it. An existing one that can't be used is an error and never replaced,
    /// because the owner may have trusted it.
    pub fn open(dir: &Path, here: &Here, hosts: &[String], clock: Unix) -> Result<Self, Error> {
        let (pem, key) = paths(dir);
        let authority = match fs::metadata(&pem) {
            Ok(_) => Self::load(&pem, &key)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                tracing::info!("creating this device's own certificate authority: {}", pem.display());
                return Self::make(dir, here, hosts, clock);
            }
            Err(e) => return Err(Error::io("read", &pem, e)),
        };
        let foreign: Vec<&String> = hosts
            .iter()
            .filter(
                |h| matches!(Name::parse(h), Some(Name::Dns(n)) if !names::permits(&authority.domains, &n)),
            )
            .collect();
        let now = believed(clock, None);
        if !foreign.is_empty() {
            tracing::warn!(
                "the certificate authority of this device may not certify {foreign:?} in web.hosts: creating a new \
                 one, which browsers have to trust again"
            );
        } else if now >= authority.not_after - LEAF_DAYS * DAY {
            tracing::warn!("the certificate authority of this device is about to expire: creating a new one");
        } else {
            return Ok(authority);
        }
        Self::make(dir, here, hosts, clock)
    }

    fn make(dir: &Path, here: &Here, hosts: &[String], at: Unix) -> Result<Self, Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let domains = names::domains(here, hosts);
        let mut params = CertificateParams::default();
        let label = here.hostname.as_deref().and_then(|h| h.split('.').next()).unwrap_or("device");
        // The common name may have 64 characters (RFC 5280 appendix A.1, ub-common-name).
        let label: String = label.chars().take(32).collect();
        // Two authorities must not share a name: browsers would take certificates of one for forgeries of the other.
        let tag: String = random::<4>()?.iter().map(|b| format!("{b:02x}")).collect();
        params.distinguished_name = name(&format!("peercam {label} authority {tag}"));
        params.serial_number = Some(serial()?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut permitted: Vec<_> = domains.iter().cloned().map(GeneralSubtree::DnsName).collect();
        permitted.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
        permitted.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: vec![] });
        // Valid from the program's release on, so that a clock that is ahead now and corrected later does no harm.
        params.not_before = date(wall::RELEASED - BACKDATED_DAYS * DAY)?;
        params.not_after = date(believed(at, None) + CA_DAYS * DAY)?;
        let pem = params.self_signed(&key)?.pem();
        let (pem_path, key_path) = paths(dir);
        // The certificate is written last: without it there is no authority yet.
        let _ = fs::remove_file(&pem_path);
        let _ = fs::remove_file(leaf_path(dir));
        files::write(&key_path, 0o600, key.serialize_pem().as_bytes())
            .map_err(|e| Error::io("write", &key_path, e))?;
        files::write(&pem_path, 0o644, pem.as_bytes()).map_err(|e| Error::io("write", &pem_path, e))?;
        Self::load(&pem_path, &key_path)
    }

    fn load(pem_path: &Path, key_path: &Path) -> Result<Self, Error> {
        let broken = |path: &Path, what: &str| {
            Error::Broken(format!(
                "{}: {what}. Restore a good copy, or remove {} to create a new authority, which browsers that trust \
                 this one will have to trust instead",
                path.display(),
                pem_path.display()
            ))
        };
        let pem = files::read(pem_path).map_err(|e| Error::io("read", pem_path, e))?;
        let pem = String::from_utf8(pem).map_err(|_| broken(pem_path, "not a PEM file"))?;
        let key = files::read(key_path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => broken(key_path, "the certificate authority's key is missing"),
            _ => Error::io("read", key_path, e),
        })?;
        // This also checks that the certificate and the key belong together.
        Pair::new(pem.as_bytes(), &key, &pem_path.display().to_string(), &key_path.display().to_string())
            .map_err(|what| broken(pem_path, &what))?;
        let key = String::from_utf8_lossy(&key);
        let key = KeyPair::from_pem(&key).map_err(|_| broken(key_path, "this key can't be used"))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| broken(pem_path, "not a certificate"))?;
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        let (subject, domains, not_before, not_after) = {
            let (_, x509) = X509Certificate::from_der(&der).map_err(|_| broken(pem_path, "can't be read"))?;
            let constraints = x509.name_constraints().ok().flatten();
            let permitted = constraints.and_then(|c| c.value.permitted_subtrees.as_ref());
            let domains = permitted.into_iter().flatten().filter_map(|s| match s.base {
                GeneralName::DNSName(name) => Some(name.to_owned()),
                _ => None,
            });
            let validity = x509.validity();
            (
                x509.subject().as_raw().to_vec(),
                domains.collect(),
                validity.not_before.timestamp(),
                validity.not_after.timestamp(),
            )
        };
        Ok(Self { issuer, pem, der, subject, domains, not_before, not_after })
    }

    /// The certificate that the owner may trust, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The fingerprint by which the owner recognises it.
    pub fn fingerprint(&self) -> String {
        files::fingerprint(&self.der)
    }

    /// The names of `wanted` that it may certify.
    pub fn permitted(&self, wanted: &[Name]) -> Vec<Name> {
        let permits = |name: &&Name| match name {
            Name::Dns(name) => names::permits(&self.domains, name),
            Name::Ip(_) => true,
        };
        wanted.iter().filter(permits).cloned().collect()
    }

    /// Issues a certificate for `names` and keeps it in `dir`.
    pub fn issue(&self, dir: &Path, names: &[Name], now: Unix) -> Result<Pair, Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        // The common name is not used anymore; it must not look like a host name, which constraints could refuse.
        params.distinguished_name = name("peercam device");
        params.serial_number = Some(serial()?);
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = names.iter().map(san).collect::<Result<_, _>>()?;
        params.not_before = date((now - BACKDATED_DAYS * DAY).max(self.not_before))?;
        params.not_after = date((now + LEAF_DAYS * DAY).min(self.not_after))?;
        let leaf = params.signed_by(&key, &self.issuer)?.pem();
        let (chain, key) = (format!("{leaf}{}", self.pem), key.serialize_pem());
        let path = leaf_path(dir);
        files::write(&path, 0o600, format!("{chain}{key}").as_bytes())
            .map_err(|e| Error::io("write", &path, e))?;
        let shown = path.display().to_string();
        Pair::new(chain.as_bytes(), key.as_bytes(), &shown, &shown).map_err(Error::Broken)
    }

    /// The certificate issued last, if this authority issued it and it is readable; otherwise a new one is needed.
    pub fn last_issued(&self, dir: &Path) -> Option<Pair> {
        let path = leaf_path(dir);
        let file = files::read(&path).ok()?;
        let shown = path.display().to_string();
        Pair::new(&file, &file, &shown, &shown).ok().filter(|p| p.issuer == self.subject)
    }
}

/// When a certificate of the device's was created.
pub fn made(leaf: &Pair) -> Unix {
    leaf.not_after - LEAF_DAYS * DAY
}

/// Why `leaf` has to be replaced, if so. An extra name is no reason, because addresses may return.
pub fn renewal(leaf: &Pair, wanted: &[Name], clock: Unix) -> Option<String> {
    if let Some(missing) = wanted.iter().find(|n| !leaf.names.contains(n)) {
        return Some(format!("{missing} is new"));
    }
    let now = believed(clock, Some(made(leaf)));
    if now >= leaf.not_after - RENEW_DAYS * DAY {
        return Some(format!("the last one ends on {}", wall::date(leaf.not_after)));
    }
    // It was created while the clock was ahead.
    (now < leaf.not_before).then(|| format!("the last one is dated {}", wall::date(leaf.not_before)))
}

fn paths(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("ca.pem"), dir.join("ca.key"))
}

fn leaf_path(dir: &Path) -> PathBuf {
    dir.join("certificate.pem")
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn san(name: &Name) -> Result<SanType, rcgen::Error> {
    Ok(match name {
        Name::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        Name::Ip(ip) => SanType::IpAddress(*ip),
    })
}

fn date(at: Unix) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(at).map_err(|e| Error::Broken(format!("no date: {e}")))
}

/// A random serial number: Firefox refuses two certificates of one issuer with the same number.
fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x7f | 0x40; // positive, and of constant length
    Ok(SerialNumber::from_slice(&bytes))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Error::Broken(format!("no random numbers: {e}")))?;
    Ok(bytes)
}
