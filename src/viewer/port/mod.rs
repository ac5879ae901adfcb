//! One port for all media: every viewer uses the same UDP port or, where UDP is blocked, the same port over
//! TCP.
//!
//! ```text
//!   browsers ══UDP══ udp ──┐            ┌─► gate ─► mailbox ─► the viewer's task
//!   browsers ══TCP══ tcp ──┴─► demux ───┤                        │      │
//!                   ▲         (whose?)  └─► reflexive (our own   │      │
//!                   │                       STUN questions)      │      │
//!                   ├── Line::send (STUN, DTLS: asks demux) ◄────┘      │
//!                   └── Line::send_media (by its route) ◄───────────────┘
//! ```
//!
//! The candidates that a browser gets are ours (`candidates`); webrtc knows nothing about this port.
//!
//! Anybody can send to the port, at any rate. A datagram that belongs to no viewer costs a look at a few
//! bytes and a table; one from a viewer's address, which can be forged, reaches its task only if the
//! connection needs it ([`gate`]).

mod candidates;
mod connection;
pub mod demux;
mod flight;
pub mod gate;
mod gathered;
mod guests;
mod listen;
pub mod mailbox;
mod offered;
pub mod records;
mod reflexive;
pub(super) mod reports;
mod route;
mod tcp;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quinn_udp::RecvMeta;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::candidates::{Candidates, Filter};
use self::demux::Via;
use self::mailbox::Delivered;
use self::reflexive::{Found, Reflexive};
use self::udp::{Share, Udp};
use crate::config;
use crate::net::stun::TransactionId;
use crate::net::{Addresses, Links, Source, descriptors};
use crate::status::Status;

pub use self::demux::{Demux, Inbound, LineId, Progress};
pub use self::flight::Flight;
pub use self::gate::Alert;
pub use self::gathered::Gathered;
pub use self::listen::Error;
pub use self::mailbox::{Mail, Mailbox};
pub use self::records::is_dtls;
pub use self::route::Route;

/// The largest datagram of a browser, in bytes: that of an Ethernet frame.
const LARGEST: usize = 1500;

/// The media port; dropping it closes it.
pub struct Port {
    inner: Arc<Inner>,
    addresses: watch::Receiver<Addresses>,
    /// The current configuration.
    ice: watch::Sender<config::Ice>,
    /// Ends the TCP listeners, while there are any.
    tcp: Mutex<Option<DropGuard>>,
    reflexive: Reflexive,
    retired: CancellationToken,
    _stop: DropGuard,
}

/// A prepared change of `[ice]` for a port with the same number; applying it can't fail.
pub struct Change {
    ice: config::Ice,
    /// The new TCP listeners.
    tcp: Vec<TcpListener>,
}

/// What the tasks of the port share.
struct Inner {
    v4: Option<Udp>,
    v6: Option<Udp>,
    number: u16,
    demux: Mutex<Demux>,
    guests: Arc<guests::Guests>,
    links: Links,
    status: Arc<Status>,
    /// Receives the answers of STUN servers.
    mapped: mpsc::Sender<(TransactionId, SocketAddr)>,
    stop: CancellationToken,
}

impl Port {
    /// Opens the port in `ice`. `addresses` are this machine's, now and later. Needs a tokio runtime.
    ///
    /// # Errors
    /// Another program has the port, or this process may not open it.
    pub fn open(
        ice: &config::Ice,
        addresses: watch::Receiver<Addresses>,
        status: Arc<Status>,
    ) -> Result<Arc<Self>, Error> {
        let listen::Listening { number, v4, v6, tcp } = listen::listen(ice.port, ice.tcp)?;
        let stop = CancellationToken::new();
        let (mapped, answers) = mpsc::channel(reflexive::ANSWERS);
        let inner = Arc::new(Inner {
            v4,
            v6,
            number,
            demux: Mutex::default(),
            guests: Arc::new(guests::Guests::new(guests::Limits::STANDARD.within(descriptors::limit()))),
            links: Links::new(addresses.clone()),
            status,
            mapped,
            stop: stop.clone(),
        });
        for v6 in [false, true] {
            let (one, other) = (inner.clone(), inner.clone());
            let task = async move {
                if let Some(udp) = if v6 { &one.v6 } else { &one.v4 } {
                    udp.receive(&one).await;
                }
            };
            tokio::spawn(stop.clone().run_until_cancelled_owned(task));
            let task = async move {
                if let Some(udp) = if v6 { &other.v6 } else { &other.v4 } {
                    udp.drain().await;
                }
            };
            tokio::spawn(stop.clone().run_until_cancelled_owned(task));
        }
        let retired = CancellationToken::new();
        let current = watch::Sender::new(ice.clone());
        let telling = offered::tell(inner.clone(), addresses.clone(), current.subscribe());
        tokio::spawn(stop.clone().run_until_cancelled_owned(telling));
        let reflexive = Reflexive::start(inner.clone(), current.subscribe(), answers);
        let port = Self {
            inner,
            addresses,
            ice: current,
            tcp: Mutex::default(),
            reflexive,
            retired,
            _stop: stop.drop_guard(),
        };
        port.listen(tcp);
        Ok(Arc::new(port))
    }

    /// Prepares the change to `ice`, whose port must be the same.
    ///
    /// # Errors
    /// TCP is to be accepted from now on, but another program has that port.
    pub fn prepare(&self, ice: &config::Ice) -> Result<Change, Error> {
        let tcp = if ice.tcp && !self.has_tcp() { listen::tcp(self.inner.number)? } else { vec![] };
        Ok(Change { ice: ice.clone(), tcp })
    }

    /// Applies a change for new viewers and new paths. Where the addresses for viewers change, viewers are
    /// asked for an ICE restart; existing TCP connections stay even if no new ones are accepted.
    pub fn apply(&self, change: Change) {
        let Change { ice, tcp } = change;
        if !ice.tcp {
            drop(self.tcp_guard().take());
        }
        self.listen(tcp);
        self.ice.send_if_modified(|now| std::mem::replace(now, ice.clone()) != ice);
    }

    fn listen(&self, listeners: Vec<TcpListener>) {
        if listeners.is_empty() {
            return;
        }
        let open = self.inner.stop.child_token();
        for listener in listeners {
            tokio::spawn(open.clone().run_until_cancelled_owned(tcp::accept(self.inner.clone(), listener)));
        }
        *self.tcp_guard() = Some(open.drop_guard());
    }

    fn tcp_guard(&self) -> MutexGuard<'_, Option<DropGuard>> {
        self.tcp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks viewers to leave this port for a different one.
    pub fn retire(&self) {
        self.retired.cancel();
    }

    /// Cancelled when viewers must leave; a token for each caller, so that waiting takes no shared lock.
    pub fn retired(&self) -> CancellationToken {
        self.retired.child_token()
    }

    /// Port number.
    pub fn number(&self) -> u16 {
        self.inner.number
    }

    /// Whether it accepts TCP.
    pub fn has_tcp(&self) -> bool {
        self.tcp_guard().is_some()
    }

    /// The source by which a connection from `address` is counted.
    pub fn source(&self, address: IpAddr) -> Source {
        self.inner.links.source(address)
    }

    /// Whether the path to this address is probably fast.
    pub fn is_near(&self, address: IpAddr) -> bool {
        self.inner.links.is_near(address)
    }

    /// Opens a line for a new viewer.
    pub fn line(&self) -> Line {
        let mailbox = Arc::new(Mailbox::default());
        let id = self.inner.demux().open(mailbox.clone());
        Line { port: self.inner.clone(), id, mailbox, share: Arc::default() }
    }

    /// Our candidates for a viewer that came from `from` to our address `to`, without those that only STUN
    /// servers know.
    fn candidates(&self, from: IpAddr, to: Option<IpAddr>) -> Candidates {
        let ice = self.ice.borrow();
        let addresses = self.inner.listening(&self.addresses.borrow());
        Candidates {
            addresses: Filter::of(&ice).choose(&addresses, from, to),
            v4: self.inner.v4.is_some(),
            v6: self.inner.v6.is_some(),
            port: self.inner.number,
            tcp: self.has_tcp(),
            public: ice.public_addresses.clone(),
        }
    }

    /// Our outside address according to STUN servers, which are asked again if the answer is old. `None` if
    /// there are none to ask.
    fn reflexive(&self) -> Option<watch::Receiver<Found>> {
        self.reflexive.wanted()
    }

    /// Waits for a change of the addresses that viewers are offered. Pending for ever if there can be none.
    pub async fn changed(&self) {
        let (mut addresses, mut ice) = (self.addresses.clone(), self.ice.subscribe());
        let chosen =
            |a: &Addresses, ice: &config::Ice| (Filter::of(ice).useful(a), ice.public_addresses.clone());
        let before = chosen(&addresses.borrow_and_update(), &ice.borrow_and_update());
        loop {
            tokio::select! {
                Ok(()) = addresses.changed() => {}
                Ok(()) = ice.changed() => {}
            }
            let now = addresses.borrow_and_update().clone();
            let ours: Vec<_> = now.iter().map(|(_, ip)| *ip).collect();
            self.inner.demux().keep_addresses(&ours);
            if chosen(&now, &ice.borrow_and_update()) != before {
                self.reflexive.forget();
                return;
            }
        }
    }

    /// What the port holds for viewers and strangers now; everything is 0 without any.
    pub fn usage(&self) -> Usage {
        Usage { entries: self.inner.demux().entries(), tcp_connections: self.inner.guests.count() }
    }
}

/// What the port holds, for status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Entries of all tables: viewers, their addresses, and requests that wait for an answer.
    pub entries: usize,
    /// TCP connections of viewers and strangers.
    pub tcp_connections: usize,
}

/// A viewer's line through the port; dropping it closes it.
pub struct Line {
    port: Arc<Inner>,
    id: LineId,
    mailbox: Arc<Mailbox>,
    share: Arc<Share>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.port.demux().close(self.id);
    }
}

impl Line {
    /// The mailbox of the viewer.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Whether the port has IPv4, and IPv6.
    pub fn families(&self) -> [bool; 2] {
        [self.port.v4.is_some(), self.port.v6.is_some()]
    }

    /// Sets the credentials of our side of a (restarted) ICE session: from now on only senders that know them
    /// are accepted.
    pub fn credentials(&self, ufrag: &str, password: &str) {
        self.port.demux().credentials(self.id, ufrag, password);
    }

    /// ICE has chosen a path: media goes to this address.
    pub fn select(&self, to: SocketAddr) {
        self.port.demux().select(self.id, to);
    }

    /// The viewer's progress since then.
    pub fn progress(&self) -> Progress {
        self.port.demux().progress(self.id)
    }

    /// Discards what waits for the viewer. Returns when nothing of it is on its way through this port any
    /// more.
    pub async fn conceal(&self) {
        for udp in [&self.port.v4, &self.port.v6].into_iter().flatten() {
            udp.drop_waiting(&self.share);
        }
        let connections = self.port.demux().connections(self.id);
        for connection in connections {
            connection.conceal().await;
        }
    }

    /// Sends an ICE or DTLS datagram that the core addressed to `to`.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) {
        let Some((to, via)) = self.port.demux().outbound(self.id, to, datagram) else { return };
        let sent = match via {
            Via::Udp(from) => {
                self.port.udp(to).is_some_and(|u| u.send(&u.able(), to, from, datagram, None, &self.share))
            }
            Via::Tcp(connection) => connection.send(datagram),
        };
        if !sent {
            self.port.status.counters.datagrams_dropped.count();
        }
    }
}

impl Inner {
    /// Our addresses at which the port is open.
    fn listening(&self, addresses: &Addresses) -> Addresses {
        let has = |ip: IpAddr| if ip.is_ipv4() { self.v4.is_some() } else { self.v6.is_some() };
        addresses.iter().filter(|(_, ip)| has(*ip)).cloned().collect()
    }

    fn demux(&self) -> MutexGuard<'_, Demux> {
        self.demux.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn udp(&self, to: SocketAddr) -> Option<&Udp> {
        if to.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    /// Processes a batch from a socket: each part of `room` contains one message.
    fn take(&self, metas: &[RecvMeta], room: &[u8]) {
        let (now, part) = (Instant::now(), udp::MESSAGE);
        let datagrams = metas.iter().zip(room.chunks(part)).flat_map(|(meta, message)| {
            message[..meta.len.min(part)].chunks(meta.stride.max(1)).map(move |datagram| (meta, datagram))
        });
        // Finds the viewers of all datagrams under one lock; checking signatures is done without it.
        let mut demux = self.demux();
        let whose: Vec<_> = datagrams
            .map(|(meta, datagram)| match datagram.len() {
                1..=LARGEST => (demux.udp(now, meta.addr, meta.dst_ip, datagram), datagram),
                _ => (Inbound::Stray, datagram),
            })
            .collect();
        drop(demux);
        let mut strays = 0;
        for (whose, datagram) in whose {
            match whose {
                Inbound::Line(_, mailbox, label) => {
                    strays += u64::from(!self.deliver(now, &mailbox, label, datagram));
                }
                Inbound::Mapped(id, address) => {
                    let _ = self.mapped.try_send((id, address)); // full: nobody has so many servers
                }
                Inbound::Stray => strays += 1,
            }
        }
        if strays > 0 {
            self.status.counters.stray_datagrams.add(strays);
        }
    }

    /// Returns false if the viewer's connection does not need it.
    fn deliver(&self, now: Instant, mailbox: &Mailbox, label: SocketAddr, datagram: &[u8]) -> bool {
        let delivered = mailbox.deliver(now, label, datagram);
        if delivered == Delivered::Dropped {
            self.status.counters.datagrams_dropped.count();
        }
        delivered != Delivered::Refused
    }
}
