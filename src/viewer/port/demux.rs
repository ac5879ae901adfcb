//! Whose a datagram is: the tables behind the one port that all viewers share. Pure, with the time as an argument.
//!
//! | what comes | is known by |
//! |---|---|
//! | STUN request | the username fragment in it, which must be ours, and its HMAC, which only the viewer can make |
//! | STUN response | its transaction id, which only whoever got our request can know |
//! | anything else | the address it comes from, learned from such a request; over TCP the connection |
//!
//! Only a genuine request teaches an address, so a forger can neither take a viewer's place nor fill a table. Whatever
//! is known by nothing is a stray: it costs a look-up, and no memory.
//!
//! webrtc's agent knows neither our own addresses nor TCP: to it each viewer has one UDP socket per address family, and
//! all that a viewer's browser sends comes in there, labelled with the address it came from. By which of our addresses,
//! and over what, it came is remembered here, and what goes out takes the same way back.
//!
//! The agent also keeps the pair that was nominated first until ICE is restarted (`rtc_ice` 0.21). A browser that walks to
//! another network, or whose NAT gives it another port, nominates another pair and sends from there. What the agent sends to
//! the pair of before then goes to the new one, and the answers to its checks come back labelled as it expects: the path
//! has moved, and webrtc needs to know nothing of it. Media takes the path that is in effect ([`Demux::media`]); whoever sends
//! it remembers that path until its mailbox says that it may be another.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::hmac;

use super::connection::Connection;
use super::mailbox::Mailbox;
use crate::net::stun::{self, Class, Message, TransactionId};
use crate::net::{Bucket, Rate};

/// Addresses of one viewer's browser. One has a few: its interfaces, both families, TCP, each also as its NATs show it.
/// The one that was silent for longest gives way to a new one.
const MOST_PATHS: usize = 16;
/// New addresses of one viewer's browser that webrtc gets to see in an ICE session: at once, and in a second. It keeps each,
/// asks it seven times, and looks through all at each packet. With several interfaces on both sides, each of which also
/// connects by TCP, there may be some dozens; later one comes with each change of network.
const NEW_ADDRESSES: Rate = Rate { per_second: 0.1, burst: 128.0 };
/// Requests of a viewer's that wait for our answer, which comes within a millisecond; the oldest is forgotten.
const MOST_ASKED: usize = 32;
/// Requests of ours that wait for a viewer's answer: all pairs of one round of checks. The oldest is forgotten.
const MOST_SENT: usize = 128;
/// Where nothing came from the chosen path for so long, another that has proven itself may take its place unchosen: a NAT has
/// forgotten it, and the other side does not know. Browsers report every 100 ms.
const SILENT: Duration = Duration::from_millis(1500);
/// A path from which nothing came for so long is dead: browsers check theirs every 15 s at least (RFC 8445 section 11).
const DEAD: Duration = Duration::from_secs(60);

/// One viewer's line through the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineId(u64);

/// What brings datagrams to an address, and which of ours it was sent to.
#[derive(Clone, Debug, PartialEq)]
pub enum Via {
    /// UDP; `None` lets the kernel choose our address.
    Udp(Option<IpAddr>),
    /// A TCP connection.
    Tcp(Connection),
}

/// How far a viewer's connection has come, in the order in which it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing genuine was heard.
    #[default]
    Silent,
    /// Its checks arrive.
    Heard,
    /// It answers ours.
    Answered,
    /// It has chosen a path.
    Nominated,
}

/// Where a datagram goes, as it came.
pub enum Inbound {
    /// To a viewer; from whom its agent shall think it is.
    Line(LineId, Arc<Mailbox>, SocketAddr),
    /// The answer to our own question for our address.
    Mapped(TransactionId, SocketAddr),
    /// Nobody's.
    Stray,
}

/// All lines.
#[derive(Default)]
pub struct Demux {
    lines: HashMap<LineId, Line>,
    /// By our username fragment.
    ufrags: HashMap<Box<[u8]>, LineId>,
    /// By the other side's UDP address.
    remotes: HashMap<SocketAddr, LineId>,
    /// By the requests that we sent.
    transactions: HashMap<TransactionId, Asker>,
    next: u64,
}

/// Whose a transaction is.
#[derive(Clone, Copy)]
enum Asker {
    Line(LineId),
    Us,
}

struct Line {
    mailbox: Arc<Mailbox>,
    credentials: Option<(Box<[u8]>, hmac::Key)>,
    paths: Vec<Path>,
    /// All addresses that webrtc has seen requests from in this ICE session.
    known: HashSet<SocketAddr>,
    new_addresses: Bucket,
    asked: VecDeque<(TransactionId, SocketAddr, Via)>,
    sent: VecDeque<Sent>,
    /// The pair that the agent has chosen: media goes there.
    selected: Option<SocketAddr>,
    /// Where it goes instead.
    moved: Option<SocketAddr>,
    progress: Progress,
}

/// One address of the other side that has proven itself.
struct Path {
    remote: SocketAddr,
    via: Via,
    /// The other side has chosen it, once.
    nominated: bool,
    /// It has answered a check of ours: it is really there.
    answered: bool,
    /// Our address that it knew is gone, and it has answered no check from another yet: it drops what we send.
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
    /// A new line, which hears nothing until it has credentials.
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

    /// Forgets a line and all that was learned for it.
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

    /// The credentials of a line's ICE session from now on; those of the one before are void. An ICE restart begins to
    /// count how far it comes anew.
    pub fn credentials(&mut self, id: LineId, ufrag: &str, password: &str) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let ufrag: Box<[u8]> = ufrag.as_bytes().into();
        if let Some((before, _)) = line.credentials.replace((ufrag.clone(), stun::key(password))) {
            self.ufrags.remove(&before);
        }
        line.progress = Progress::Silent;
        // webrtc forgets those of the session before.
        line.known.clear();
        line.new_addresses = Bucket::full(NEW_ADDRESSES);
        self.ufrags.insert(ufrag, id);
    }

    /// How far a line has come.
    pub fn progress(&self, id: LineId) -> Progress {
        self.lines.get(&id).map_or(Progress::Silent, |l| l.progress)
    }

    /// How many lines there are.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// All entries of all tables.
    pub fn entries(&self) -> usize {
        self.lines.len() + self.ufrags.len() + self.remotes.len() + self.transactions.len()
    }

    /// These of our addresses are left: what was sent from another one goes from where the kernel chooses now.
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

    /// We sent a request for our own address.
    pub fn ask(&mut self, id: TransactionId) {
        self.transactions.insert(id, Asker::Us);
    }

    /// It was answered, or will not be any more.
    pub fn asked(&mut self, id: &TransactionId) {
        self.transactions.remove(id);
    }

    /// Whose a datagram is that came over UDP, and what it teaches. `to` is our address.
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

    /// The same over TCP: a connection belongs to the line that its first genuine request was for.
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
        // The same browser may ask at several of our addresses; media goes from the one that it chose.
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
            // A NAT has given the address of somebody who left to another.
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
        // Whoever has nominated a path and sends by it has chosen it, whatever was chosen before.
        if proven && present.is_some_and(|p| p != from && (chosen || line.is_silent(p, now))) {
            line.moved = (line.selected != Some(from)).then_some(from);
            line.mailbox.reroute();
        }
        Inbound::Line(id, line.mailbox.clone(), from)
    }

    /// The agent of a line has chosen a pair, at first or after an ICE restart: media goes to this address, until the viewer
    /// moves.
    pub fn select(&mut self, id: LineId, to: SocketAddr) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if line.selected != Some(to) {
            (line.selected, line.moved) = (Some(to), None);
            line.mailbox.reroute();
        }
    }

    /// Which way a line's media goes: to which address, and by what. It holds until the line's mailbox is told to reroute.
    pub fn media(&self, id: LineId) -> Option<(SocketAddr, Via)> {
        let line = self.lines.get(&id)?;
        let to = line.moved.or(line.selected)?;
        let path = line.paths.iter().find(|p| p.remote == to);
        Some((to, path.map_or(Via::Udp(None), |p| p.via.clone())))
    }

    /// Which way a datagram of a line's agent goes out that is meant for `to`: to which address, and by what.
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
        // A candidate that has not been heard of yet is asked over UDP.
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

    /// A TCP connection is over.
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

    /// Forgets the dead paths, and one more if there are still too many.
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
#[path = "demux_tests.rs"]
mod tests;
