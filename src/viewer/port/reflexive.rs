//! Finds our outside address with STUN servers, from the port that media uses (RFC 8489, RFC 8445 section
//! 5.1.1.2).
//!
//! Nothing is sent unless servers are configured, and then only while there are viewers or new ones arrive:
//! the answer is kept, and requested again before a NAT forgets the mapping.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep_until, timeout};

use super::Inner;
use crate::config;
use crate::net::stun::{self, TransactionId};

/// Most answers that wait to be processed; further ones are dropped.
pub(super) const ANSWERS: usize = 32;
/// How long an answer is used without a new request: NATs keep a UDP mapping for at least 30 s (RFC 4787
/// REQ-5 requires two minutes, but many don't comply).
const FRESH: Duration = Duration::from_secs(20);
/// Times for repeating a request, from the first one on (RFC 8489 section 6.2.1, without its long tail), and
/// for giving up.
const REPEAT: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(250), Duration::from_millis(750), Duration::from_millis(1500)];
const GIVE_UP: Duration = Duration::from_millis(2500);
/// Time limit for resolving a server's name.
const RESOLVE: Duration = Duration::from_secs(2);
/// Default port of `stun:` URLs (RFC 7064 section 3.2).
const PORT: u16 = 3478;

/// The answers of the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Our outside addresses, without duplicates.
    pub addresses: Vec<SocketAddr>,
    /// Whether all requests are finished.
    pub done: bool,
}

/// The answers, kept.
pub(super) struct Reflexive {
    ice: watch::Receiver<config::Ice>,
    wish: Arc<Notify>,
    answer: Answer,
}

/// The last answers, and their time.
#[derive(Clone, Default)]
struct Answer {
    found: Arc<watch::Sender<Found>>,
    at: Arc<Mutex<Option<Instant>>>,
}

impl Answer {
    fn at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        *self.at() = None;
        self.found.send_modify(|f| f.addresses.clear());
    }
}

impl Reflexive {
    /// Starts without sending anything. The servers are in `ice`, which may change.
    pub(super) fn start(
        port: Arc<Inner>,
        ice: watch::Receiver<config::Ice>,
        answers: mpsc::Receiver<(TransactionId, SocketAddr)>,
    ) -> Self {
        let this = Self { ice: ice.clone(), wish: Arc::default(), answer: Answer::default() };
        let stop = port.stop.clone();
        let keep = keep(port, ice, answers, this.answer.clone(), this.wish.clone());
        tokio::spawn(stop.run_until_cancelled_owned(keep));
        this
    }

    /// The addresses are needed: `None` if there are no servers.
    pub(super) fn wanted(&self) -> Option<watch::Receiver<Found>> {
        if servers(&self.ice.borrow()).is_empty() {
            return None;
        }
        let at = *self.answer.at();
        if at.is_none_or(|at| at.elapsed() > FRESH) {
            self.answer.found.send_modify(|f| f.done = false);
            self.wish.notify_one();
        }
        Some(self.answer.found.subscribe())
    }

    /// Discards the answers, because our addresses have changed.
    pub(super) fn forget(&self) {
        self.answer.forget();
    }
}

fn servers(ice: &config::Ice) -> Vec<String> {
    ice.servers.iter().flat_map(|s| &s.urls).filter_map(|u| server(u)).collect()
}

/// Host and port of a `stun:` URL.
fn server(url: &str) -> Option<String> {
    let authority = url.strip_prefix("stun:")?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    Some(if has_port { authority.to_owned() } else { format!("{authority}:{PORT}") })
}

async fn keep(
    port: Arc<Inner>,
    mut ice: watch::Receiver<config::Ice>,
    mut answers: mpsc::Receiver<(TransactionId, SocketAddr)>,
    answer: Answer,
    wish: Arc<Notify>,
) {
    let mut asked = servers(&ice.borrow_and_update());
    loop {
        let wished = timeout(FRESH, wish.notified());
        let wished = tokio::select! {
            changed = ice.changed() => {
                if changed.is_err() {
                    return; // the port is gone
                }
                let now = servers(&ice.borrow_and_update());
                if std::mem::replace(&mut asked, now) != asked {
                    answer.forget();
                }
                continue;
            }
            wished = wished, if !asked.is_empty() => wished.is_ok(),
        };
        if !wished && port.demux().lines() == 0 {
            continue; // nobody is waiting
        }
        let addresses = ask(&port, &asked, &mut answers).await;
        *answer.at() = Some(Instant::now());
        answer.found.send_if_modified(|f| {
            let now = Found { addresses, done: true };
            let changed = *f != now;
            *f = now;
            changed
        });
    }
}

/// Asks all servers, over each address family that both sides have.
async fn ask(
    port: &Inner,
    servers: &[String],
    answers: &mut mpsc::Receiver<(TransactionId, SocketAddr)>,
) -> Vec<SocketAddr> {
    while answers.try_recv().is_ok() {} // answers to earlier requests
    let mut open: Vec<(TransactionId, SocketAddr)> = vec![];
    for server in servers {
        let Ok(Ok(resolved)) = timeout(RESOLVE, tokio::net::lookup_host(server)).await else {
            tracing::debug!(server, "the STUN server's name is unknown");
            continue;
        };
        let resolved: Vec<_> = resolved.filter(|a| port.udp(*a).is_some()).collect();
        for v4 in [true, false] {
            let mut id = TransactionId::default();
            if let Some(address) = resolved.iter().find(|a| a.is_ipv4() == v4)
                && getrandom::fill(&mut id).is_ok()
            {
                port.demux().ask(id);
                open.push((id, *address));
            }
        }
    }
    let all: Vec<TransactionId> = open.iter().map(|(id, _)| *id).collect();
    let (begun, share) = (tokio::time::Instant::now(), Arc::default());
    let mut found: Vec<SocketAddr> = vec![];
    let mut repeats = 0;
    while !open.is_empty() {
        let wake = REPEAT.get(repeats).copied();
        tokio::select! {
            () = sleep_until(begun + wake.unwrap_or(GIVE_UP)) => {
                if wake.is_none() {
                    break;
                }
                repeats += 1;
                for (id, to) in &open {
                    if let Some(udp) = port.udp(*to) {
                        udp.send(&udp.able(), *to, None, &stun::binding_request(*id), None, &share);
                    }
                }
            }
            Some((id, mapped)) = answers.recv() => {
                open.retain(|(asked, _)| *asked != id);
                if !found.contains(&mapped) {
                    found.push(mapped);
                }
            }
        }
    }
    if !open.is_empty() {
        let silent: Vec<_> = open.iter().map(|(_, to)| to.to_string()).collect();
        tracing::debug!("no answer from STUN server {}", silent.join(", "));
    }
    let mut demux = port.demux();
    all.iter().for_each(|id| demux.asked(id));
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stun_urls_are_asked_at_their_port() {
        for (url, expected) in [
            ("stun:stun.example.org", Some("stun.example.org:3478")),
            ("stun:stun.example.org:19302", Some("stun.example.org:19302")),
            ("stun:[2001:db8::1]", Some("[2001:db8::1]:3478")),
            ("stun:[2001:db8::1]:99", Some("[2001:db8::1]:99")),
            ("stuns:stun.example.org", None),
            ("turn:turn.example.org", None),
        ] {
            assert_eq!(server(url).as_deref(), expected, "{url}");
        }
    }
}
