//! One port for all media: every viewer over one UDP port and, where no UDP gets through, the same port over TCP.
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
//! The candidates that a browser gets are not webrtc's, which knows nothing of this port, but ours (`candidates`).
//!
//! Everybody can send to the port, at any rate. What is not a viewer's costs a look at a few bytes and in a table; what
//! comes from a viewer's address, which can be forged, reaches its task only if it is something that it needs ([`gate`]).

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
mod reports;
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

/// The largest datagram of a browser: an Ethernet frame's worth.
const LARGEST: usize = 1500;

/// The port. Closed when it is dropped.
pub struct Port {
    inner: Arc<Inner>,
    addresses: watch::Receiver<Addresses>,
    /// As it holds now.
    ice: watch::Sender<config::Ice>,
    /// Ends the TCP listeners, while there are any.
    tcp: Mutex<Option<DropGuard>>,
    reflexive: Reflexive,
    retired: CancellationToken,
    _stop: DropGuard,
}

/// Another `[ice]` for a port of the same number, all that can fail done.
pub struct Change {
    ice: config::Ice,
    /// Those to listen at from now on.
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
    /// Answers of STUN servers, to whoever asked them.
    mapped: mpsc::Sender<(TransactionId, SocketAddr)>,
    stop: CancellationToken,
}

impl Port {
    /// Takes the port that `ice` names. `addresses` are this machine's, now and later. Needs a tokio runtime.
    ///
    /// # Errors
    /// When another program has the port, or it may not be taken.
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

    /// Takes what `ice` needs besides the port, which is to be the same.
    ///
    /// # Errors
    /// TCP is to be taken from now on, but another program has the port there.
    pub fn prepare(&self, ice: &config::Ice) -> Result<Change, Error> {
        let tcp = if ice.tcp && !self.has_tcp() { listen::tcp(self.inner.number)? } else { vec![] };
        Ok(Change { ice: ice.clone(), tcp })
    }

    /// From now on that holds, for new viewers and new paths. Where other addresses are told, viewers are asked to look
    /// for new paths; connections over TCP stay when no more are taken.
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

    /// Viewers are to leave it for another.
    pub fn retire(&self) {
        self.retired.cancel();
    }

    /// Cancelled when they are; of one's own, so that waiting for it takes no lock that all share.
    pub fn retired(&self) -> CancellationToken {
        self.retired.child_token()
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.inner.number
    }

    /// Whether it takes TCP.
    pub fn has_tcp(&self) -> bool {
        self.tcp_guard().is_some()
    }

    /// Whom a connection from `address` is counted for.
    pub fn source(&self, address: IpAddr) -> Source {
        self.inner.links.source(address)
    }

    /// A new viewer's line.
    pub fn line(&self) -> Line {
        let mailbox = Arc::new(Mailbox::default());
        let id = self.inner.demux().open(mailbox.clone());
        Line { port: self.inner.clone(), id, mailbox, share: Arc::default() }
    }

    /// Our candidates for a viewer that came from `from` to our address `to`, without those that only servers know.
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

    /// What servers told about our address outside, asked anew if that is long ago. `None` if there are none to ask.
    fn reflexive(&self) -> Option<watch::Receiver<Found>> {
        self.reflexive.wanted()
    }

    /// Waits for a change of those of our addresses that viewers are told. Pending for ever when there can be none.
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

    /// What it holds for viewers and strangers now; all is 0 when nobody is there.
    pub fn usage(&self) -> Usage {
        Usage { entries: self.inner.demux().entries(), tcp_connections: self.inner.guests.count() }
    }
}

/// What the port holds at one moment, for status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Entries of all tables: viewers, their addresses, and requests that wait for an answer.
    pub entries: usize,
    /// TCP connections, of viewers and of strangers.
    pub tcp_connections: usize,
}

/// One viewer's line through the port, open as long as it is held.
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
    /// What comes for the viewer.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Whether the port has IPv4, and IPv6.
    pub fn families(&self) -> [bool; 2] {
        [self.port.v4.is_some(), self.port.v6.is_some()]
    }

    /// Hears whoever knows these, and nobody else from now on: our side of a (restarted) ICE session.
    pub fn credentials(&self, ufrag: &str, password: &str) {
        self.port.demux().credentials(self.id, ufrag, password);
    }

    /// ICE has chosen a path: media goes to this address.
    pub fn select(&self, to: SocketAddr) {
        self.port.demux().select(self.id, to);
    }

    /// How far the viewer has come since then.
    pub fn progress(&self) -> Progress {
        self.port.demux().progress(self.id)
    }

    /// Drops what waits for the viewer. When this returns nothing of it is on its way through this port any more.
    pub async fn conceal(&self) {
        for udp in [&self.port.v4, &self.port.v6].into_iter().flatten() {
            udp.drop_waiting(&self.share);
        }
        let connections = self.port.demux().connections(self.id);
        for connection in connections {
            connection.conceal().await;
        }
    }

    /// Sends a datagram of ICE or DTLS that the core means for `to`.
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
    /// Those of our addresses at which the port is there.
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

    /// Takes a batch from a socket: `room` holds one message in each part.
    fn take(&self, metas: &[RecvMeta], room: &[u8]) {
        let (now, part) = (Instant::now(), udp::MESSAGE);
        let datagrams = metas.iter().zip(room.chunks(part)).flat_map(|(meta, message)| {
            message[..meta.len.min(part)].chunks(meta.stride.max(1)).map(move |datagram| (meta, datagram))
        });
        // Whose all are, under one lock; what then costs a signature is done without it.
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

    /// False if it is nothing that the viewer's connection needs.
    fn deliver(&self, now: Instant, mailbox: &Mailbox, label: SocketAddr, datagram: &[u8]) -> bool {
        let delivered = mailbox.deliver(now, label, datagram);
        if delivered == Delivered::Dropped {
            self.status.counters.datagrams_dropped.count();
        }
        delivered != Delivered::Refused
    }
}
