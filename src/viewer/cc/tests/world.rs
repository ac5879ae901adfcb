//! Senders, receivers and the links between them, on virtual time in steps of one millisecond, the resolution
//! of timers.

use super::cubic::{Cubic, SEGMENT};
use super::encoder::Encoder;
use super::gcc::Gcc;
use super::link::Link;
use super::receiver::{Packet, Receiver, Says};
use super::scenario::{Scenario, Steered};
use super::sender::{Fixed, Sender};
use super::{Estimator, Limits};

const TURN: f64 = 0.001;
/// Headers of IP, TCP and RFC 4571 framing, in bytes.
const TCP_HEADERS: usize = 42;

enum Load {
    Media(usize, Packet, f64),
    Segment(u64),
    /// A TCP segment that carries media (ICE-TCP).
    Carried(u64, Packet, f64),
}

enum Back {
    Says(usize, Says),
    Ack(u64),
    CarriedAck(u64),
}

pub(super) struct World {
    pub now: f64,
    pub scenario: Scenario,
    pub senders: Vec<Sender>,
    pub receivers: Vec<Receiver>,
    down: Link<Load>,
    up: Link<Back>,
    download: Cubic<()>,
    pub downloaded: Vec<f64>,
    socket: Cubic<(Packet, f64)>,
    ordered: std::collections::BTreeMap<u64, (Packet, f64)>,
    in_order: u64,
    /// Queueing delay every 5 ms, including what waits in the TCP socket.
    pub queue: Vec<(f64, f64)>,
    /// Media datagrams pushed and dropped, in each second.
    pub pushed: Vec<(f64, f64)>,
}

impl World {
    pub(super) fn run(scenario: &Scenario, steered: Steered, seed: u64) -> Self {
        let mut world = Self::new(scenario.clone(), steered, seed);
        while world.now < world.scenario.seconds {
            world.turn();
        }
        world
    }

    pub(super) fn new(scenario: Scenario, steered: Steered, seed: u64) -> Self {
        let limits = Limits { least_bps: 60e3, start_bps: 1e6, wanted_bps: scenario.source_bps };
        let capacity = scenario.down.rate.first().map_or(1e6, |(_, rate)| *rate);
        let senders = scenario.viewers.iter().enumerate().map(|(n, (begins, ends))| {
            let brain: Box<dyn super::sender::Brain> = match steered {
                Steered::Ours => Box::new(Estimator::new(limits)),
                Steered::Fixed => Box::new(Fixed(1.1 * capacity.min(scenario.source_bps))),
                Steered::Gcc => Box::new(Gcc::new(1e6)),
            };
            let encoder = Encoder::new(scenario.scene.clone(), seed * 77 + n as u64);
            Sender::new(brain, encoder, scenario.source_bps, *begins, *ends)
        });
        let receivers = scenario.viewers.iter().map(|_| Receiver::new(scenario.reports, scenario.drift));
        Self {
            now: 0.0,
            senders: senders.collect(),
            receivers: receivers.collect(),
            down: Link::new(scenario.down.clone(), seed * 2 + 1),
            up: Link::new(scenario.up.clone(), seed * 2 + 100_000),
            download: Cubic::default(),
            downloaded: vec![],
            socket: Cubic::default(),
            ordered: Default::default(),
            in_order: 0,
            queue: vec![],
            pushed: vec![],
            scenario,
        }
    }

    /// Prints the current state, for tuning.
    pub(super) fn print(&mut self) {
        let now = self.now;
        print!("{now:7.2} C {:5.0} q {:4.0}", self.capacity(now) / 1e3, self.down.queue_s(now) * 1e3);
        for (n, sender) in self.senders.iter_mut().enumerate() {
            let pace = sender.brain.drive(now).pace_bps / 1e3;
            let f = sender.brain.figures(now);
            let bins = &sender.firsts;
            let used = bins.iter().rev().take(2).next_back().copied().unwrap_or(0.0) * 80.0 / 1e3;
            let shown = self.receivers[n].shown.last().map_or(0.0, |(at, _)| now - at);
            print!(
                " | {:?} est {:5.0} pace {pace:5.0} sent {used:5.0} q {:4.0} loss {:.3} rtt {:4.0} wait {:6} shown {:4.0} idr {}",
                f.state,
                f.estimate_bps / 1e3,
                f.queue_ms,
                f.loss,
                f.rtt_ms,
                sender.waiting(),
                shown * 1e3,
                sender.idrs
            );
        }
        println!();
    }

    pub(super) fn turn(&mut self) {
        let now = self.now;
        self.up.advance(now);
        while let Some((_, back)) = self.up.pop(now) {
            match back {
                Back::Says(n, says) => self.senders[n].hears(&says, now),
                Back::Ack(number) => self.download.acked(number, now),
                Back::CarriedAck(number) => self.socket.acked(number, now),
            }
        }
        self.down.advance(now);
        while let Some((at, load)) = self.down.pop(now) {
            match load {
                Load::Media(n, packet, sent) => self.receivers[n].arrived(&packet, sent, at),
                Load::Segment(number) => {
                    let second = now as usize;
                    if self.downloaded.len() <= second {
                        self.downloaded.resize(second + 1, 0.0);
                    }
                    self.downloaded[second] += SEGMENT as f64;
                    self.up.push(52, Back::Ack(number), now);
                }
                Load::Carried(number, packet, sent) => {
                    if number >= self.in_order {
                        self.ordered.insert(number, (packet, sent));
                    }
                    while let Some((packet, sent)) = self.ordered.remove(&self.in_order) {
                        self.in_order += 1;
                        self.receivers[0].arrived(&packet, sent, at);
                    }
                    self.up.push(52, Back::CarriedAck(number), now);
                }
            }
        }
        let (mut pushed, mut dropped) = (0.0, 0.0);
        for n in 0..self.senders.len() {
            let (down, socket) = (&mut self.down, &mut self.socket);
            let tcp = self.scenario.tcp;
            if tcp {
                self.senders[n].brain.unsent(socket.waiting_bytes + socket.flying_bytes);
            }
            self.senders[n].turn(now, |packet| {
                if tcp {
                    socket.write(packet.size + TCP_HEADERS - 28, (packet, now));
                } else {
                    pushed += 1.0;
                    dropped += f64::from(u8::from(!down.push(packet.size, Load::Media(n, packet, now), now)));
                }
            });
        }
        if pushed > 0.0 {
            let second = now as usize;
            if self.pushed.len() <= second {
                self.pushed.resize(second + 1, (0.0, 0.0));
            }
            self.pushed[second].0 += pushed;
            self.pushed[second].1 += dropped;
        }
        if self.scenario.tcp {
            while let Some((number, size, (packet, sent))) = self.socket.send(now) {
                self.down.push(size, Load::Carried(number, packet, sent), now);
            }
        }
        if let Some((from, to)) = self.scenario.download
            && (from..to).contains(&now)
        {
            while self.download.waiting_bytes < 20 * SEGMENT {
                self.download.write(SEGMENT, ());
            }
            while let Some((number, size, ())) = self.download.send(now) {
                self.down.push(size, Load::Segment(number), now);
                while self.download.waiting_bytes < 20 * SEGMENT {
                    self.download.write(SEGMENT, ());
                }
            }
        }
        let mut says = vec![];
        for (n, receiver) in self.receivers.iter_mut().enumerate() {
            receiver.says(now, &mut says);
            for says in says.drain(..) {
                let size = match &says {
                    Says::Wide(reports) => 28 + 14 + 20 + reports.len() * 5 / 4,
                    Says::Nack(numbers) => 28 + 14 + 12 + 4 * numbers.len(),
                    _ => 28 + 14 + 32,
                };
                self.up.push(size, Back::Says(n, says), now);
            }
        }
        if ((now / TURN).round() as u64).is_multiple_of(5) {
            let mut queue = self.down.queue_s(now);
            if self.scenario.tcp {
                queue += self.socket.waiting_bytes as f64 * 8.0 / self.down.rate(now);
            }
            self.queue.push((now, queue));
        }
        self.now = ((now / TURN).round() + 1.0) * TURN;
    }

    pub(super) fn capacity(&self, at: f64) -> f64 {
        self.down.rate(at)
    }
}
