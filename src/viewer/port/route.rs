//! The way of one viewer's media, remembered from one picture to the next, so that sending takes no lock that all viewers share.

use std::net::{IpAddr, SocketAddr};

use super::demux::Via;
use super::udp::{Able, Udp};
use super::{Line, tcp};
use crate::viewer::wire::{Batch, Run};

/// The way, as far as it is known; asked for anew when it may be another.
#[derive(Default)]
pub struct Route(Option<Known>);

enum Known {
    Udp { to: SocketAddr, from: Option<IpAddr>, able: Able },
    Tcp(tcp::Sender),
}

impl Line {
    /// Sends media. What can't be sent is lost, as on any network.
    pub fn send_media(&self, route: &mut Route, batch: &Batch) {
        let mut dropped = 0;
        for run in batch.runs() {
            dropped += self.send_run(route, run);
        }
        if dropped > 0 {
            self.port.status.counters.datagrams_dropped.add(dropped);
        }
    }

    /// How many datagrams were dropped.
    fn send_run(&self, route: &mut Route, run: Run<'_>) -> u64 {
        let holds = match &route.0 {
            Some(Known::Udp { to, able, .. }) => self.port.udp(*to).is_some_and(|udp| udp.is_current(able)),
            Some(Known::Tcp(_)) => true,
            None => false,
        };
        if self.mailbox.rerouted() || !holds {
            route.0 = self.route();
        }
        match &route.0 {
            Some(Known::Udp { to, from, able }) => {
                let single = run.content.len() <= run.segment;
                let send = |udp: &Udp| {
                    udp.send(able, *to, *from, run.content, (!single).then_some(run.segment), &self.share)
                };
                if self.port.udp(*to).is_some_and(send) { 0 } else { run.datagrams().count() as u64 }
            }
            Some(Known::Tcp(connection)) => {
                run.datagrams().map(|datagram| u64::from(!connection.send(datagram))).sum()
            }
            None => run.datagrams().count() as u64,
        }
    }

    fn route(&self) -> Option<Known> {
        let (to, via) = self.port.demux().media(self.id)?;
        match via {
            Via::Udp(from) => Some(Known::Udp { to, from, able: self.port.udp(to)?.able() }),
            Via::Tcp(connection) => Some(Known::Tcp(connection)),
        }
    }
}
