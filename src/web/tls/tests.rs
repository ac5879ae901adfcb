//! The authority and its certificates, checked by the verifier of rustls' clients; and the owner's files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::*;
use crate::wall::{DAY, RELEASED};

/// A temporary folder, which stays behind if a test fails.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("peercam-tls-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn door() -> Here {
    Here {
        hostname: Some("door".into()),
        announced: None,
        addresses: vec!["192.168.1.5".parse().unwrap(), "2001:db8::5".parse().unwrap()],
    }
}

const NOW: Unix = RELEASED + 100 * DAY;

/// The verdict on `pair` of a client that trusts only `authority` and connects to `name`.
fn shake(authority: &str, pair: &Pair, name: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let at = Arc::new(At(NOW + DAY));
    let client = ClientConfig::builder_with_details(provider.clone(), at)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Served(RwLock::new(pair.clone()))));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = vec![];
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().map_err(|e| e.to_string())?;
        let mut bytes = vec![];
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().map_err(|e| e.to_string())?;
    }
    Ok(())
}

#[derive(Debug)]
struct At(Unix);

impl rustls::time_provider::TimeProvider for At {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(self.0 as u64)))
    }
}

#[test]
fn who_trusts_the_authority_trusts_every_name_of_ours_and_no_other() {
    let dir = Dir::new("trusts");
    let hosts = ["cam.example.org".to_owned()];
    let authority = Authority::open(&dir.0, &door(), &hosts, NOW).unwrap();
    let pair = current(&authority, &dir.0, &door(), &hosts, NOW).unwrap();
    for name in [
        "door.local",
        "door",
        "localhost",
        "127.0.0.1",
        "::1",
        "192.168.1.5",
        "2001:db8::5",
        "cam.example.org",
    ] {
        assert_eq!(shake(authority.pem(), &pair, name), Ok(()), "{name}");
    }
    for name in ["garage.local", "192.168.1.6", "example.org"] {
        assert!(shake(authority.pem(), &pair, name).unwrap_err().contains("not valid for name"), "{name}");
    }
}

#[test]
fn whoever_steals_the_key_can_be_nobodys_bank() {
    let dir = Dir::new("steals");
    let authority = Authority::open(&dir.0, &door(), &[], NOW).unwrap();
    let pair = authority.issue(&dir.0, &[Name::Dns("bank.example".into())], NOW).unwrap();
    let refused = shake(authority.pem(), &pair, "bank.example").unwrap_err();
    assert!(refused.contains("NameConstraintViolation"), "{refused}");
}

#[test]
fn authority_and_certificate_outlast_a_restart() {
    let dir = Dir::new("restart");
    let first = Authority::open(&dir.0, &door(), &[], NOW).unwrap();
    let pair = current(&first, &dir.0, &door(), &[], NOW).unwrap();
    let again = Authority::open(&dir.0, &door(), &[], NOW).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_eq!(first.fingerprint().len(), 32 * 3 - 1);
    let later = NOW + 200 * DAY;
    assert_eq!(current(&again, &dir.0, &door(), &[], later).unwrap().fingerprint(), pair.fingerprint());
    let mode = |name: &str| fs::metadata(dir.0.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca.pem"), mode("ca.key"), mode("certificate.pem")), (0o644, 0o600, 0o600));
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 3, "no other files are left behind");
}

#[test]
fn a_certificate_is_replaced_when_something_is_missing_or_it_ends() {
    let dir = Dir::new("replaced");
    let authority = Authority::open(&dir.0, &door(), &[], NOW).unwrap();
    let names = authority.permitted(&wanted(&door(), &[]));
    let pair = authority.issue(&dir.0, &names, NOW).unwrap();
    assert_eq!(renewal(&pair, &names, NOW), None);
    let mut moved = door();
    moved.addresses = vec!["10.0.0.7".parse().unwrap()];
    let why = renewal(&pair, &wanted(&moved, &[]), NOW).unwrap();
    assert_eq!(why, "10.0.0.7 is new");
    moved.addresses = vec![];
    assert_eq!(renewal(&pair, &wanted(&moved, &[]), NOW), None, "an extra name does no harm");
    assert_eq!(renewal(&pair, &names, NOW + 336 * DAY), None);
    assert!(renewal(&pair, &names, NOW + 338 * DAY).unwrap().starts_with("the last one ends on"));
    // Browsers refuse more than 825 days.
    assert!(pair.not_after - pair.not_before < 825 * DAY);
}

#[test]
fn a_board_without_a_clock_serves_something_valid() {
    let dir = Dir::new("clock");
    // First start in 1970.
    let authority = Authority::open(&dir.0, &door(), &[], 1000).unwrap();
    let pair = current(&authority, &dir.0, &door(), &[], 1000).unwrap();
    assert!(pair.not_before < RELEASED && pair.not_after > RELEASED + 300 * DAY);
    // The time is known from the network.
    assert_eq!(shake(authority.pem(), &pair, "door.local"), Ok(()));
    assert!(renewal(&pair, &[], RELEASED + 390 * DAY).is_some());
    let pair = authority.issue(&dir.0, &[Name::Dns("door".into())], RELEASED + 390 * DAY).unwrap();
    // The next start is in 1970 again: a valid certificate stays.
    assert_eq!(renewal(&pair, &[], 1000), None);
    // A clock that was far ahead, and is corrected.
    let ahead = authority.issue(&dir.0, &[Name::Dns("door".into())], NOW + 3000 * DAY).unwrap();
    assert!(renewal(&ahead, &[], NOW).unwrap().starts_with("the last one is dated"));
}

#[test]
fn a_name_that_the_authority_may_not_speak_for_makes_a_new_one_only_if_the_owner_listed_it() {
    let dir = Dir::new("listed");
    let first = Authority::open(&dir.0, &door(), &[], NOW).unwrap();
    let renamed = Here { hostname: Some("garage.example.net".into()), ..door() };
    let same = Authority::open(&dir.0, &renamed, &["127.0.0.9".into(), "x.lan".into()], NOW).unwrap();
    assert_eq!(first.fingerprint(), same.fingerprint());
    let names = current(&same, &dir.0, &renamed, &[], NOW).unwrap().names;
    assert!(
        names.contains(&Name::Dns("garage.local".into())) && !names.contains(&Name::Dns("garage".into()))
    );
    let listed = Authority::open(&dir.0, &renamed, &["cam.example.org".into()], NOW).unwrap();
    assert_ne!(first.fingerprint(), listed.fingerprint());
    let pair = current(&listed, &dir.0, &renamed, &["cam.example.org".into()], NOW).unwrap();
    assert_eq!(shake(listed.pem(), &pair, "cam.example.org"), Ok(()));
    assert_eq!(shake(listed.pem(), &pair, "garage.example.net"), Ok(()));
    assert!(shake(first.pem(), &pair, "localhost").is_err());
}

#[test]
fn an_authority_that_cannot_be_used_is_never_replaced_silently() {
    let dir = Dir::new("broken");
    Authority::open(&dir.0, &door(), &[], NOW).unwrap();
    let (pem, key) = (dir.0.join("ca.pem"), dir.0.join("ca.key"));
    let good = fs::read(&key).unwrap();
    let said = || Authority::open(&dir.0, &door(), &[], NOW).err().unwrap().to_string();
    fs::remove_file(&key).unwrap();
    assert!(
        said().contains("ca.key: the certificate authority's key is missing. Restore a good copy"),
        "{}",
        said()
    );
    fs::write(&key, "").unwrap();
    assert!(said().contains("has no private key"), "{}", said());
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    fs::write(&key, other.serialize_pem()).unwrap();
    assert!(said().contains("is not the key of the certificate"), "{}", said());
    fs::write(&key, &good).unwrap();
    let whole = fs::read(&pem).unwrap();
    for broken in [&b""[..], &whole[..whole.len() / 2], b"\xff\xfe"] {
        fs::write(&pem, broken).unwrap();
        assert!(said().contains("or remove"), "{}", said());
    }
    // An incomplete authority is created again.
    fs::remove_file(&pem).unwrap();
    Authority::open(&dir.0, &door(), &[], NOW).unwrap();
    // A lost certificate does no harm.
    fs::write(dir.0.join("certificate.pem"), "nonsense").unwrap();
    let authority = Authority::open(&dir.0, &door(), &[], NOW).unwrap();
    assert!(current(&authority, &dir.0, &door(), &[], NOW).is_ok());
}

/// A certificate and key in `dir` for `name`.
fn owners_files(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

#[test]
fn the_owners_files_are_checked_with_clear_errors() {
    let dir = Dir::new("owners");
    let (certificate, key) = owners_files(&dir.0, "cam.example.org");
    let pair = owners(&certificate, &key).unwrap();
    assert_eq!(pair.names, [Name::Dns("cam.example.org".into())]);
    let says = |certificate: &Path, key: &Path| owners(certificate, key).unwrap_err().to_string();
    let missing = dir.0.join("missing.pem");
    assert_eq!(
        says(&missing, &key),
        format!("can't read {}: No such file or directory (os error 2)", missing.display())
    );
    assert_eq!(
        says(&key, &key),
        format!("{} has no certificate (no \"-----BEGIN CERTIFICATE-----\")", key.display())
    );
    assert!(says(&certificate, &certificate).contains("has no private key"));
    let locked = dir.0.join("locked.pem");
    fs::write(&locked, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
        .unwrap();
    assert!(says(&certificate, &locked).contains("is encrypted, and peercam can't ask"));
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    fs::write(&locked, other.serialize_pem()).unwrap();
    assert!(says(&certificate, &locked).contains("is not the key of the certificate that comes first in"));
    fs::write(&locked, vec![b'x'; 300_000]).unwrap();
    assert!(says(&certificate, &locked).contains("is larger than"));
}

#[test]
fn new_files_of_the_owner_are_taken_and_bad_ones_are_not() {
    let dir = Dir::new("reload");
    let (certificate, key) = owners_files(&dir.0, "one.example");
    let web = config::Web {
        tls: config::Tls::Files { certificate: certificate.clone(), key: key.clone() },
        ..Default::default()
    };
    let tls = Tls::open(&web, &dir.0, watch::channel(None).1).unwrap().unwrap();
    let served = || tls.facts().names;
    assert_eq!(
        (served(), tls.facts().kind, tls.authority_pem()),
        (vec!["one.example".into()], Kind::Files, None)
    );
    // Both files are replaced: noticed by the first check, loaded by the second.
    owners_files(&dir.0, "two.example");
    tls.look(NOW).unwrap();
    assert_eq!(served(), ["one.example"]);
    tls.look(NOW).unwrap();
    assert_eq!(served(), ["two.example"]);
    // A bad file is reported, and the old certificate stays.
    fs::write(&key, "oh").unwrap();
    for _ in 0..3 {
        tls.look(NOW).unwrap();
    }
    assert_eq!(served(), ["two.example"]);
    assert!(tls.facts().problem.unwrap().contains("has no private key"));
    fs::remove_file(&certificate).unwrap();
    tls.look(NOW).unwrap();
    tls.look(NOW).unwrap();
    assert!(tls.facts().problem.unwrap().contains("No such file"));
    owners_files(&dir.0, "three.example");
    tls.look(NOW).unwrap();
    tls.look(NOW).unwrap();
    assert_eq!((served(), tls.facts().problem), (vec!["three.example".into()], None));
}

#[test]
fn a_name_announced_later_is_in_the_certificate_at_the_next_look() {
    let dir = Dir::new("announced");
    let (announce, announced) = watch::channel(None);
    let tls = Tls::open(&config::Web::default(), &dir.0, announced).unwrap().unwrap();
    let before = tls.facts();
    assert!(before.names.contains(&"localhost".into()) && before.problem.is_none());
    assert!(tls.authority_pem().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    announce.send_replace(Some("peercam-door-2.local".into()));
    tls.look(clock()).unwrap();
    assert!(tls.facts().names.contains(&"peercam-door-2.local".into()));
    assert_eq!(tls.facts().fingerprint, before.fingerprint, "the authority's fingerprint");
    let off = config::Web { tls: config::Tls::Off, ..Default::default() };
    assert!(Tls::open(&off, &dir.0, watch::channel(None).1).unwrap().is_none());
}
