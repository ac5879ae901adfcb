//! HTTPS: whose certificate is served, and keeping it current without a restart.
//!
//! There is no HSTS. A browser that has once been told `Strict-Transport-Security` offers no way past a certificate
//! that it does not trust: the owner of a self-made one would be locked out for a year, and so would whoever switches
//! to `tls = "off"` behind a proxy, or reaches another device by the same name or address later. What HSTS is for is
//! done otherwise: session cookies are `Secure` and `__Host-`, so they never travel by plain HTTP, and nothing but a
//! redirect is served there.

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

/// Between two looks at the owner's files, which are taken at the second look that finds them the same.
const LOOK_AT_FILES: Duration = Duration::from_secs(10);
/// Between two looks at what nobody tells of: the host's name, and the clock, which may jump by years.
const LOOK_AROUND: Duration = Duration::from_secs(60);

/// Why there is no HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("can't {what} {}: {source}", path.display())]
    Io {
        /// "read" or "write".
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file is there, but not what it should be; the sentence says what to do.
    #[error("{0}")]
    Broken(String),
    /// Making a certificate failed.
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

/// Whose certificate is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One that the device made for itself.
    Device,
    /// The owner's, from files.
    Files,
}

impl Kind {
    /// Whose fingerprint people are told.
    pub fn fingerprint_of(self) -> &'static str {
        match self {
            Self::Device => "this device's authority",
            Self::Files => "the certificate",
        }
    }
}

/// What is served now, for people.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Whose it is.
    pub kind: Kind,
    /// SHA-256 of the authority, for the device's own; of the certificate, for the owner's.
    pub fingerprint: String,
    /// For whom.
    pub names: Vec<String>,
    /// From when, seconds since 1970.
    pub not_before: Unix,
    /// Until when, seconds since 1970.
    pub not_after: Unix,
    /// What is wrong with it, if anything is.
    pub problem: Option<String>,
}

/// What people are told before a browser shows the page for the first time; `certificate` is [`Facts`] as JSON, or
/// null.
pub fn warning(certificate: &serde_json::Value) -> &'static str {
    match certificate["kind"].as_str() {
        Some("device") => {
            "Your browser will warn once, because the device made its own certificate: choose Advanced, then Continue.\n"
        }
        _ => "",
    }
}

/// The certificate being served, and where it comes from.
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

/// Stamps of the owner's two files: those that are served or were refused, and those of the last look.
struct Seen {
    taken: [Option<Stamp>; 2],
    last: [Option<Stamp>; 2],
    problem: Option<String>,
}

impl Tls {
    /// Prepares what `web.tls` asks for; `None` for "off". The device's own authority is kept in `dir`. `announced` is
    /// the name that mDNS announces, if any.
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

    /// For the listener. What it serves changes by itself.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The device's own authority, PEM; `None` where the owner's files are served.
    pub fn authority_pem(&self) -> Option<&str> {
        match &self.source {
            Source::Device { authority, .. } => Some(authority.pem()),
            Source::Files(_) => None,
        }
    }

    /// What is served now.
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

    /// Keeps what is served current until `stop`; a change of this machine's `addresses` is looked into at once.
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

    /// One look around.
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
                // The two are rarely replaced in the same moment: taken when they have been the same for one look.
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

/// `GET /api/ca.pem`: what the owner may tell browsers and phones to trust. Systems install what they know by this type
/// and ending.
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

/// The certificate issued last if it still does, or else a new one.
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

/// The owner's files, if they can be served.
pub fn owners(certificate: &Path, key: &Path) -> Result<Pair, Error> {
    let read = |path: &Path| files::read(path).map_err(|e| Error::io("read", path, e));
    let (certificate_pem, key_pem) = (read(certificate)?, read(key)?);
    let names = (certificate.display().to_string(), key.display().to_string());
    Pair::new(&certificate_pem, &key_pem, &names.0, &names.1).map_err(Error::Broken)
}

/// What every handshake asks.
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
