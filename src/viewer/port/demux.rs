//! Finds out to which viewer a datagram belongs: the tables behind the port that all viewers share. Pure,
//! with the time as an argument.
//!
//! | datagram | is recognised by |
//! |---|---|
//! | STUN request | the username fragment in it (ours), and its HMAC, which only the viewer can make |
//! | STUN response | its transaction id, which only a receiver of our request can know |
//! | anything else | the address that it comes from, learned from such a request; over TCP the connection |
//!
//! Only a genuine request adds an address, so a forger can neither take a viewer's place nor fill a table. A
//! datagram that is not recognised is a stray: it costs a look-up, and no memory.
//!
//! webrtc's agent knows neither our own addresses nor TCP: for it each viewer has one UDP socket per address
//! family, and everything from a viewer's browser arrives there, labelled with the address that it came from.
//! Which of our addresses it came to, and over which protocol, is recorded here, and replies take the same
//! way back.
//!
//! The agent also keeps the pair that was nominated first until ICE is restarted (`rtc_ice` 0.21). A browser
//! that changes networks, or whose NAT assigns a new port, nominates a new pair and sends from there. What
//! the agent sends to the old pair then goes to the new one, and the answers to its checks are labelled as it
//! expects: the path has moved without webrtc. Media takes the current path ([`Demux::media`]); its sender
//! remembers that path until its mailbox reports that it may have changed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::hmac;

use super::connection::Connection;
use super::mailbox::Mailbox;
use crate::net::stun::{self, Class, Message, TransactionId};
use crate::net::{Bucket, Rate};

/// Most addresses of a viewer's browser. It has a few: its interfaces, both families, TCP, each also as seen
/// through its NATs. The one that was silent for longest makes room for a new one.
const MOST_PATHS: usize = 16;
/// Rate of new addresses of a viewer's browser that webrtc sees in an ICE session. webrtc keeps each, checks
/// it seven times, and searches all at each packet. With several interfaces on both sides, each also with
/// TCP, there may be some dozens; later, each change of network adds one.
const NEW_ADDRESSES: Rate = Rate { per_second: 0.1, burst: 128.0 };
/// Requests of a viewer that wait for our answer, which follows within a millisecond; the oldest is
/// forgotten.
const MOST_ASKED: usize = 32;
/// Requests of ours that wait for a viewer's answer: all pairs of one round of checks. The oldest is
/// forgotten.
const MOST_SENT: usize = 128;
/// After this much silence on the chosen path, another proven path may replace it without being chosen: a NAT
/// may have dropped the path without the other side knowing. Browsers send reports every 100 ms.
const SILENT: Duration = Duration::from_millis(1500);
/// A path without datagrams for this long is dead: browsers check theirs at least every 15 s (RFC 8445
/// section 11).
const DEAD: Duration = Duration::from_secs(60);

/// Identifies a viewer's line through the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineId(u64);

/// The protocol to an address, and which of our addresses is used.
#[derive(Clone, Debug, PartialEq)]
pub enum Via {
    /// UDP; with `None` the kernel chooses our address.
    Udp(Option<IpAddr>),
    /// A TCP connection.
    Tcp(Connection),
}

/// The progress of a viewer's connection, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing genuine has arrived.
    #[default]
    Silent,
    /// Its checks arrive.
    Heard,
    /// It answers our checks.
    Answered,
    /// It has chosen a path.
    Nominated,
}

/// The destination of a datagram that has arrived.
pub enum Inbound {
    /// A viewer's mailbox, and the address that its agent should see.
    Line(LineId, Arc<Mailbox>, SocketAddr),
    /// The answer to our own STUN request for our address.
    Mapped(TransactionId, SocketAddr),
    /// No viewer.
    Stray,
}

/// All lines.
#[derive(Default)]
pub struct Demux {
    lines: HashMap<LineId, Line>,
    /// Lines by our username fragment.
    ufrags: HashMap<Box<[u8]>, LineId>,
    /// Lines by the other side's UDP address.
    remotes: HashMap<SocketAddr, LineId>,
    /// The senders of our requests.
    transactions: HashMap<TransactionId, Asker>,
    next: u64,
}

/// The sender of a transaction.
#[derive(Clone, Copy)]
enum Asker {
    Line(LineId),
    Us,
}

struct Line {
    mailbox: Arc<Mailbox>,
    credentials: Option<(Box<[u8]>, hmac::Key)>,
    paths: Vec<Path>,
    /// All addresses from which webrtc has seen requests in this ICE session.
    known: HashSet<SocketAddr>,
    new_addresses: Bucket,
    asked: VecDeque<(TransactionId, SocketAddr, Via)>,
    sent: VecDeque<Sent>,
    /// The address of the pair that the agent has chosen: media goes there.
    selected: Option<SocketAddr>,
    /// Where media goes instead.
    moved: Option<SocketAddr>,
    progress: Progress,
}

/// A proven address of the other side.
struct Path {
    remote: SocketAddr,
    via: Via,
    /// Whether the other side has ever chosen it.
    nominated: bool,
    /// Whether it has answered a check of ours, so that it really exists.
    answered: bool,
    /// Whether our address that it knew is gone, and it has not answered a check from a new one yet: it drops
    /// what we send.
    astray: bool,
    heard: Instant,
}

/// A request of ours.
struct Sent {
    id: TransactionId,
    /// Where the agent thinks it went.
    to: SocketAddr,
    /// Where it went.
    really: SocketAddr,
}

impl Demux {
    /// Opens a line, which receives nothing until it has credentials.
    pub fn open(&mut self, mailbox: Arc<Mailbox>) -> LineId {
        let id = LineId(self.next);
        self.next += 1;
        let line = Line {
            mailbox,
            credentials: None,
            paths: vec![],
            known: HashSet::new(),
            new_addresses: Bucket::full(NEW_ADDRESSES),
            asked: VecDeque::new(),
            sent: VecDeque::new(),
            selected: None,
            moved: None,
            progress: Progress::Silent,
        };
        self.lines.insert(id, line);
        id
    }

    /// Removes a line and everything learned for it.
    pub fn close(&mut self, id: LineId) {
        let Some(line) = self.lines.remove(&id) else { return };
        if let Some((ufrag, _)) = line.credentials {
            self.ufrags.remove(&ufrag);
        }
        for path in line.paths {
            forget_path(&mut self.remotes, &path, id);
        }
        for sent in line.sent {
            self.transactions.remove(&sent.id);
        }
    }

    /// Sets the credentials of a line's ICE session; earlier ones become invalid. After an ICE restart its
    /// progress starts over.
    pub fn credentials(&mut self, id: LineId, ufrag: &str, password: &str) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let ufrag: Box<[u8]> = ufrag.as_bytes().into();
        if let Some((before, _)) = line.credentials.replace((ufrag.clone(), stun::key(password))) {
            self.ufrags.remove(&before);
        }
        line.progress = Progress::Silent;
        // webrtc forgets the addresses of the session before.
        line.known.clear();
        line.new_addresses = Bucket::full(NEW_ADDRESSES);
        self.ufrags.insert(ufrag, id);
    }

    /// The progress of a line.
    pub fn progress(&self, id: LineId) -> Progress {
        self.lines.get(&id).map_or(Progress::Silent, |l| l.progress)
    }

    /// Number of lines.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Number of entries in all tables.
    pub fn entries(&self) -> usize {
        self.lines.len() + self.ufrags.len() + self.remotes.len() + self.transactions.len()
    }

    /// Our present addresses: what used an address that is gone now uses one that the kernel chooses.
    pub fn keep_addresses(&mut self, ours: &[IpAddr]) {
        for line in self.lines.values_mut() {
            for path in &mut line.paths {
                if matches!(path.via, Via::Udp(Some(ip)) if !ours.contains(&ip) && !ip.is_loopback()) {
                    (path.via, path.astray) = (Via::Udp(None), true);
                    line.mailbox.reroute();
                }
            }
        }
    }

    /// Registers a request for our own address.
    pub fn ask(&mut self, id: TransactionId) {
        self.transactions.insert(id, Asker::Us);
    }

    /// The request was answered, or will not be.
    pub fn asked(&mut self, id: &TransactionId) {
        self.transactions.remove(id);
    }

    /// The destination of a datagram that arrived over UDP at our address `to`; learns from it.
    pub fn udp(&mut self, now: Instant, from: SocketAddr, to: Option<IpAddr>, bytes: &[u8]) -> Inbound {
        match bytes.first() {
            Some(0..4) => self.stun(now, from, Via::Udp(to), None, bytes),
            Some(20..64 | 128..192) => match self.remotes.get(&from) {
                Some(&id) => self.along(now, id, from),
                None => Inbound::Stray,
            },
            _ => Inbound::Stray,
        }
    }

    /// Like [`Self::udp`], over TCP: a connection belongs to the line of its first genuine request.
    pub fn tcp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        connection: &Connection,
        line: Option<LineId>,
        bytes: &[u8],
    ) -> Inbound {
        match (bytes.first(), line) {
            (Some(0..4), _) => self.stun(now, from, Via::Tcp(connection.clone()), line, bytes),
            (Some(20..64 | 128..192), Some(line)) => self.along(now, line, from),
            _ => Inbound::Stray,
        }
    }

    fn stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        via: Via,
        only: Option<LineId>,
        bytes: &[u8],
    ) -> Inbound {
        let Some(message) = Message::parse(bytes) else { return Inbound::Stray };
        match message.class {
            Class::Request => self.request(now, from, via, only, message),
            Class::Response => self.response(now, from, message),
            Class::Indication => Inbound::Stray, // keeps a NAT open, and has done so
        }
    }

    fn request(
        &mut self,
        now: Instant,
        from: SocketAddr,
        via: Via,
        only: Option<LineId>,
        message: Message<'_>,
    ) -> Inbound {
        let id = message.ufrag().and_then(|ufrag| self.ufrags.get(ufrag)).copied();
        let Some(id) = id.filter(|id| only.is_none_or(|only| only == *id)) else { return Inbound::Stray };
        let Some(line) = self.lines.get_mut(&id) else { return Inbound::Stray };
        if !line.credentials.as_ref().is_some_and(|(_, key)| message.is_by(key)) {
            return Inbound::Stray;
        }
        if !line.known.contains(&from) {
            if !line.new_addresses.take(1.0, now) {
                return Inbound::Stray;
            }
            line.known.insert(from);
        }
        let path = match line.paths.iter().position(|p| p.remote == from) {
            Some(at) => &mut line.paths[at],
            None => {
                line.mailbox.reroute();
                line.make_room(&mut self.remotes, id, now);
                line.paths.push(Path {
                    remote: from,
                    via: via.clone(),
                    nominated: false,
                    answered: false,
                    astray: false,
                    heard: now,
                });
                line.paths.last_mut().expect("pushed in the line above")
            }
        };
        path.heard = now;
        // A browser may send checks to several of our addresses; media goes from the one that it chose.
        if (message.nominates() || !path.nominated) && path.via != via {
            path.via = via.clone();
            line.mailbox.reroute();
        }
        path.nominated |= message.nominates();
        let chosen = path.nominated && path.answered;
        if matches!(via, Via::Udp(_))
            && let Some(before) = self.remotes.insert(from, id).filter(|before| *before != id)
            && let Some(before) = self.lines.get_mut(&before)
        {
            // A NAT has reassigned the address of a viewer that left.
            before.paths.retain(|p| p.remote != from);
            before.mailbox.reroute();
        }
        let Some(line) = self.lines.get_mut(&id) else { return Inbound::Stray };
        line.progress = line.progress.max(if chosen { Progress::Nominated } else { Progress::Heard });
        if line.asked.len() == MOST_ASKED {
            line.asked.pop_front();
        }
        line.asked.push_back((message.id(), from, via));
        Inbound::Line(id, line.mailbox.clone(), from)
    }

    fn response(&mut self, now: Instant, from: SocketAddr, message: Message<'_>) -> Inbound {
        let transaction = message.id();
        match self.transactions.get(&transaction) {
            Some(Asker::Us) => match message.mapped_address() {
                Some(mapped) => Inbound::Mapped(transaction, mapped),
                None => Inbound::Stray,
            },
            Some(&Asker::Line(id)) => {
                self.transactions.remove(&transaction);
                let Some(line) = self.lines.get_mut(&id) else { return Inbound::Stray };
                let at = line.sent.iter().position(|s| s.id == transaction);
                let Some(sent) = at.and_then(|at| line.sent.remove(at)) else { return Inbound::Stray };
                let straight = sent.really == from;
                if straight && let Some(path) = line.paths.iter_mut().find(|p| p.remote == from) {
                    (path.answered, path.heard) = (true, now);
                    if std::mem::take(&mut path.astray) {
                        line.mailbox.mended();
                    }
                }
                line.progress = line.progress.max(Progress::Answered);
                Inbound::Line(id, line.mailbox.clone(), if straight { sent.to } else { from })
            }
            None => Inbound::Stray,
        }
    }

    fn along(&mut self, now: Instant, id: LineId, from: SocketAddr) -> Inbound {
        let Some(line) = self.lines.get_mut(&id) else { return Inbound::Stray };
        let Some(path) = line.paths.iter_mut().find(|p| p.remote == from) else { return Inbound::Stray };
        path.heard = now;
        let (chosen, proven) = (path.nominated, path.answered);
        let present = line.moved.or(line.selected);
        // A path that is nominated and used by the other side is chosen, whatever was chosen before.
        if proven && present.is_some_and(|p| p != from && (chosen || line.is_silent(p, now))) {
            line.moved = (line.selected != Some(from)).then_some(from);
            line.mailbox.reroute();
        }
        Inbound::Line(id, line.mailbox.clone(), from)
    }

    /// The agent of a line has chosen a pair, initially or after an ICE restart: media goes to this address
    /// until the viewer changes networks.
    pub fn select(&mut self, id: LineId, to: SocketAddr) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if line.selected != Some(to) {
            (line.selected, line.moved) = (Some(to), None);
            line.mailbox.reroute();
        }
    }

    /// The address and way of a line's media. They stay valid until the line's mailbox is told to reroute.
    pub fn media(&self, id: LineId) -> Option<(SocketAddr, Via)> {
        let line = self.lines.get(&id)?;
        let to = line.moved.or(line.selected)?;
        let path = line.paths.iter().find(|p| p.remote == to);
        Some((to, path.map_or(Via::Udp(None), |p| p.via.clone())))
    }

    /// The address and way of a datagram that a line's agent sends to `to`.
    pub fn outbound(&mut self, id: LineId, to: SocketAddr, bytes: &[u8]) -> Option<(SocketAddr, Via)> {
        let line = self.lines.get_mut(&id)?;
        let message = if matches!(bytes.first(), Some(0..4)) { Message::parse(bytes) } else { None };
        if let Some(message) = message
            && message.class == Class::Response
        {
            let transaction = message.id();
            let at = line.asked.iter().position(|(id, remote, _)| *id == transaction && *remote == to)?;
            return line.asked.remove(at).map(|(_, remote, via)| (remote, via));
        }
        let really = line.moved.filter(|_| line.selected == Some(to)).unwrap_or(to);
        if let Some(message) = message {
            if line.sent.len() == MOST_SENT
                && let Some(oldest) = line.sent.pop_front()
            {
                self.transactions.remove(&oldest.id);
            }
            line.sent.push_back(Sent { id: message.id(), to, really });
            self.transactions.insert(message.id(), Asker::Line(id));
        }
        let path = line.paths.iter().find(|p| p.remote == really);
        // A candidate from which nothing has arrived yet is checked over UDP.
        Some((really, path.map_or(Via::Udp(None), |p| p.via.clone())))
    }

    /// Whether there is such a line.
    pub fn has(&self, id: LineId) -> bool {
        self.lines.contains_key(&id)
    }

    /// The TCP connections of a line.
    pub fn connections(&self, id: LineId) -> Vec<Connection> {
        let paths = self.lines.get(&id).map_or(&[][..], |line| &line.paths);
        let connection = |p: &Path| if let Via::Tcp(c) = &p.via { Some(c.clone()) } else { None };
        paths.iter().filter_map(connection).collect()
    }

    /// A TCP connection has ended.
    pub fn closed(&mut self, id: LineId, connection: &Connection) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.paths.retain(|p| !matches!(&p.via, Via::Tcp(c) if c == connection));
            line.mailbox.reroute();
        }
    }
}

impl Line {
    fn is_silent(&self, remote: SocketAddr, now: Instant) -> bool {
        let heard = self.paths.iter().find(|p| p.remote == remote).map(|p| p.heard);
        heard.is_none_or(|heard| now.saturating_duration_since(heard) > SILENT)
    }

    /// Forgets dead paths, and one more if there are still too many.
    fn make_room(&mut self, remotes: &mut HashMap<SocketAddr, LineId>, id: LineId, now: Instant) {
        let needed = [self.selected, self.moved];
        let dead =
            |p: &Path| now.saturating_duration_since(p.heard) > DEAD && !needed.contains(&Some(p.remote));
        for path in self.paths.extract_if(.., |p| dead(p)) {
            forget_path(remotes, &path, id);
        }
        if self.paths.len() < MOST_PATHS {
            return;
        }
        let idle = self.paths.iter().enumerate().filter(|(_, p)| !needed.contains(&Some(p.remote)));
        if let Some((at, _)) = idle.min_by_key(|(_, p)| p.heard) {
            forget_path(remotes, &self.paths.swap_remove(at), id);
        }
    }
}

fn forget_path(remotes: &mut HashMap<SocketAddr, LineId>, path: &Path, id: LineId) {
    if let Via::Tcp(connection) = &path.via {
        connection.close();
    }
    if remotes.get(&path.remote) == Some(&id) {
        remotes.remove(&path.remote);
    }
}

#[cfg(test)]
mod tests;
