//! HTTPS: which certificate is served, and its renewal without a restart.
//!
//! HSTS is not used. After `Strict-Transport-Security`, a browser offers no way past a certificate that it does not
//! trust: an owner with a self-made one would be locked out for a year, and so would an owner who changes to
//! `tls = "off"` behind a proxy, or who later reaches a different device by the same name or address. The purpose of
//! HSTS is achieved in other ways: session cookies are `Secure` and `__Host-`, so they are never sent over plain HTTP,
//! which serves only redirects.

pub mod device;
pub mod files;
pub mod names;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warp::reply;

use self::device::{Authority, made, renewal};
use self::files::{Pair, Stamp};
use self::names::{Here, Name, wanted};
use super::machine;
use super::problem::Problem;
use crate::config;
use crate::wall::{Unix, believed, clock, date, plausible};

/// Time between checks of the owner's files, which are loaded when two checks in a row find them the same.
const LOOK_AT_FILES: Duration = Duration::from_secs(10);
/// Time between checks of facts that must be polled: the host name, and the clock, which may jump by years.
const LOOK_AROUND: Duration = Duration::from_secs(60);

/// Why HTTPS is not possible.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read or written.
    #[error("can't {what} {}: {source}", path.display())]
    Io {
        /// "read" or "write".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file has unusable content; the sentence says what to do.
    #[error("{0}")]
    Broken(String),
    /// Creating a certificate failed.
    #[error("creating a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The TLS library refused its own defaults.
    #[error("setting up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Error {
    fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }
}

/// The kind of certificate that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A certificate that the device has made for itself.
    Device,
    /// The owner's certificate, from files.
    Files,
}

impl Kind {
    /// The certificate whose fingerprint is shown to people.
    pub fn fingerprint_of(self) -> &'static str {
        match self {
            Self::Device => "this device's authority",
            Self::Files => "the certificate",
        }
    }
}

/// Facts of the current certificate, for people.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The kind of certificate.
    pub kind: Kind,
    /// SHA-256 of the authority for the device's own certificate, otherwise of the certificate.
    pub fingerprint: String,
    /// The names in the certificate.
    pub names: Vec<String>,
    /// Begin of validity, seconds since 1970.
    pub not_before: Unix,
    /// End of validity, seconds since 1970.
    pub not_after: Unix,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
}

/// A notice for people before their browser shows the page for the first time; `certificate` is [`Facts`] as JSON, or
/// null.
pub fn warning(certificate: &serde_json::Value) -> &'static str {
    match certificate["kind"].as_str() {
        Some("device") => {
            "Your browser will warn once, because the device made its own certificate: choose Advanced, then Continue.\n"
        }
        _ => "",
    }
}

/// The current certificate and its source.
pub struct Tls {
    source: Source,
    served: Arc<Served>,
    config: Arc<ServerConfig>,
    hosts: Vec<String>,
    announced: watch::Receiver<Option<String>>,
}

enum Source {
    Device { authority: Box<Authority>, dir: PathBuf },
    Files(Box<Files>),
}

/// The owner's two files.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    seen: Mutex<Seen>,
}

/// Stamps of the owner's two files: of the ones that are served or were refused, and of the last check.
struct Seen {
    taken: [Option<Stamp>; 2],
    last: [Option<Stamp>; 2],
    problem: Option<String>,
}

impl Tls {
    /// Prepares the certificate for `web.tls`; `None` for "off". The device's own authority is stored in `dir`.
    /// `announced` is the name announced by mDNS, if any.
    pub fn open(
        web: &config::Web,
        dir: &Path,
        announced: watch::Receiver<Option<String>>,
    ) -> Result<Option<Arc<Self>>, Error> {
        let now = clock();
        let (source, pair) = match &web.tls {
            config::Tls::Off => return Ok(None),
            config::Tls::Auto => {
                let here = here(&announced);
                let authority = Authority::open(dir, &here, &web.hosts, now)?;
                let pair = current(&authority, dir, &here, &web.hosts, now)?;
                (Source::Device { authority: Box::new(authority), dir: dir.into() }, pair)
            }
            config::Tls::Files { certificate, key } => {
                let stamps = [Stamp::of(certificate), Stamp::of(key)];
                let pair = owners(certificate, key)?;
                if plausible(now) && now >= pair.not_after {
                    tracing::warn!("{}: expired on {}", certificate.display(), date(pair.not_after));
                }
                let seen = Mutex::new(Seen { taken: stamps, last: stamps, problem: None });
                let files = Files { certificate: certificate.clone(), key: key.clone(), seen };
                (Source::Files(Box::new(files)), pair)
            }
        };
        let served = Arc::new(Served(RwLock::new(pair)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(served.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Arc::new(Self {
            source,
            served,
            config: Arc::new(config),
            hosts: web.hosts.clone(),
            announced,
        })))
    }

    /// The configuration for the listener, which always serves the current certificate.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The device's own authority, PEM; `None` if the owner's files are served.
    pub fn authority_pem(&self) -> Option<&str> {
        match &self.source {
            Source::Device { authority, .. } => Some(authority.pem()),
            Source::Files(_) => None,
        }
    }

    /// Facts of the current certificate.
    pub fn facts(&self) -> Facts {
        let pair = self.served.now();
        let (kind, fingerprint, problem) = match &self.source {
            Source::Device { authority, .. } => (Kind::Device, authority.fingerprint(), None),
            Source::Files(files) => {
                let problem = files.seen.lock().unwrap_or_else(PoisonError::into_inner).problem.clone();
                (Kind::Files, pair.fingerprint(), problem)
            }
        };
        let now = believed(clock(), None);
        let expired = (now >= pair.not_after).then(|| format!("it expired on {}", date(pair.not_after)));
        Facts {
            kind,
            fingerprint,
            names: pair.names.iter().map(ToString::to_string).collect(),
            not_before: pair.not_before,
            not_after: pair.not_after,
            problem: problem.or(expired),
        }
    }

    /// Keeps the certificate current until `stop`; a change of this machine's `addresses` is checked at once.
    pub async fn keep_current(
        self: Arc<Self>,
        mut addresses: watch::Receiver<Vec<(String, IpAddr)>>,
        stop: CancellationToken,
    ) {
        let mut look = tokio::time::interval(match self.source {
            Source::Device { .. } => LOOK_AROUND,
            Source::Files(_) => LOOK_AT_FILES,
        });
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut announced = self.announced.clone();
        let mut said = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => {}
                Ok(()) = announced.changed() => {}
                Ok(()) = addresses.changed() => {}
            }
            let tls = self.clone();
            let looked = tokio::task::spawn_blocking(move || tls.look(clock())).await;
            let problem = looked.ok().and_then(Result::err).map(|e| e.to_string());
            if let Some(problem) = problem.as_ref().filter(|p| said.as_ref() != Some(*p)) {
                tracing::error!("keeping the current certificate: {problem}");
            }
            said = problem;
        }
    }

    /// Checks once whether the certificate is current.
    fn look(&self, now: Unix) -> Result<(), Error> {
        match &self.source {
            Source::Device { authority, dir } => {
                let names = authority.permitted(&wanted(&here(&self.announced), &self.hosts));
                let served = self.served.now();
                if let Some(why) = renewal(&served, &names, now) {
                    let pair = authority.issue(dir, &names, believed(now, Some(made(&served))))?;
                    tracing::info!("new certificate, valid until {}: {why}", date(pair.not_after));
                    self.served.put(pair);
                }
            }
            Source::Files(files) => {
                let Files { certificate, key, seen } = &**files;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let stamps = [Stamp::of(certificate), Stamp::of(key)];
                // The two files are rarely replaced at the same moment, so they are loaded once they are stable.
                let settled = stamps == seen.last;
                seen.last = stamps;
                if stamps == seen.taken || !settled {
                    return Ok(());
                }
                seen.taken = stamps;
                match owners(certificate, key) {
                    Ok(pair) => {
                        tracing::info!(
                            "serving the new certificate of {}, until {}",
                            certificate.display(),
                            date(pair.not_after)
                        );
                        self.served.put(pair);
                        seen.problem = None;
                    }
                    Err(e) => {
                        tracing::error!(
                            "the certificate files changed but can't be used, keeping the old ones: {e}"
                        );
                        seen.problem =
                            Some(format!("its files changed but can't be used, keeping the old ones: {e}"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// `GET /api/ca.pem`: the authority that browsers and phones can trust. Systems recognise it by this type and file
/// name.
pub fn authority(tls: Option<&Tls>) -> reply::Response {
    let Some(pem) = tls.and_then(Tls::authority_pem) else {
        return Problem::new(StatusCode::NOT_FOUND, "this device has no certificate authority of its own")
            .response();
    };
    let mut response = Response::new(pem.to_owned().into());
    for (name, value) in [
        (CONTENT_TYPE, "application/x-x509-ca-cert"),
        (CONTENT_DISPOSITION, "attachment; filename=\"peercam-ca.crt\""),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn here(announced: &watch::Receiver<Option<String>>) -> Here {
    Here {
        hostname: machine::hostname(),
        announced: announced.borrow().clone(),
        addresses: machine::addresses(),
    }
}

/// The certificate issued last if it is still current, or else a new one.
fn current(
    authority: &Authority,
    dir: &Path,
    here: &Here,
    hosts: &[String],
    now: Unix,
) -> Result<Pair, Error> {
    let names: Vec<Name> = authority.permitted(&wanted(here, hosts));
    let last = authority.last_issued(dir);
    match &last {
        Some(last) if renewal(last, &names, now).is_none() => Ok(last.clone()),
        _ => authority.issue(dir, &names, believed(now, last.as_ref().map(made))),
    }
}

/// Loads the owner's files, if they can be served.
pub fn owners(certificate: &Path, key: &Path) -> Result<Pair, Error> {
    let read = |path: &Path| files::read(path).map_err(|e| Error::io("read", path, e));
    let (certificate_pem, key_pem) = (read(certificate)?, read(key)?);
    let names = (certificate.display().to_string(), key.display().to_string());
    Pair::new(&certificate_pem, &key_pem, &names.0, &names.1).map_err(Error::Broken)
}

/// The certificate that every handshake uses.
struct Served(RwLock<Pair>);

impl Served {
    fn now(&self) -> Pair {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, pair: Pair) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Served")
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).certified.clone())
    }
}
