//! The route of a viewer's media, remembered between pictures, so that sending takes no lock that all viewers
//! share.

use std::net::{IpAddr, SocketAddr};

use super::Line;
use super::connection::Connection;
use super::demux::Via;
use super::udp::Able;
use crate::viewer::wire::{Batch, Run};

/// The route if known; looked up again when it may have changed.
#[derive(Default)]
pub struct Route(Option<Known>);

enum Known {
    Udp { to: SocketAddr, from: Option<IpAddr>, able: Able },
    Tcp(Connection),
}

impl Route {
    /// Number of bytes that a TCP connection to the viewer holds; `None` over UDP.
    pub fn unsent(&self) -> Option<usize> {
        match &self.0 {
            Some(Known::Tcp(connection)) => Some(connection.unsent()),
            _ => None,
        }
    }
}

impl Line {
    /// Sends media. What can't be sent is lost, as on any network.
    pub fn send_media(&self, route: &mut Route, batch: &Batch) {
        let holds = match &route.0 {
            Some(Known::Udp { to, able, .. }) => self.port.udp(*to).is_some_and(|udp| udp.is_current(able)),
            Some(Known::Tcp(_)) => true,
            None => false,
        };
        if self.mailbox.rerouted() || !holds {
            route.0 = self.route();
        }
        let dropped: usize = match &route.0 {
            Some(Known::Udp { to, from, able }) => {
                let Some(udp) = self.port.udp(*to) else { return };
                let send =
                    |content: &[u8], segment| udp.send(able, *to, *from, content, segment, &self.share);
                batch.runs(able.segments()).map(|run| send_run(run, || able.segments(), &send)).sum()
            }
            Some(Known::Tcp(connection)) => {
                batch.runs(1).filter(|datagram| !connection.send(datagram.content)).count()
            }
            None => batch.runs(1).count(),
        };
        if dropped > 0 {
            self.port.status.counters.datagrams_dropped.add(dropped as u64);
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

/// Number of datagrams of a run that were dropped.
fn send_run(
    run: Run<'_>,
    segments: impl Fn() -> usize,
    send: &impl Fn(&[u8], Option<usize>) -> bool,
) -> usize {
    let single = run.content.len() <= run.segment;
    if send(run.content, (!single).then_some(run.segment)) {
        return 0;
    }
    // Whether an interface supports GSO may be known only once it is used.
    if !single && segments() == 1 {
        return run.datagrams().filter(|datagram| !send(datagram, None)).count();
    }
    run.datagrams().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interface_can_t_cut_is_cut_for_it() {
        let run = Run { content: &[7; 250], segment: 100 };
        let whole = |_: &[u8], segment: Option<usize>| segment == Some(100);
        assert_eq!(send_run(run, || 64, &whole), 0);
        let cut = |datagram: &[u8], segment: Option<usize>| segment.is_none() && datagram.len() <= 100;
        assert_eq!(send_run(run, || 1, &cut), 0, "each datagram separately");
        assert_eq!(send_run(run, || 64, &cut), 3, "it failed for a different reason");
        assert_eq!(send_run(run, || 1, &|_: &[u8], _| false), 3);
    }
}
