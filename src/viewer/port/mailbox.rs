//! What has arrived for a viewer and waits for its task. [`Gate`] decides what gets in; a sender can displace
//! only what is of the same kind.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use super::gate::{Admitted, Gate};

/// Most STUN and DTLS datagrams that wait; further ones are dropped. A browser sends a few a second, and a
/// DTLS flight has five.
const DATAGRAMS: usize = 64;
/// Most reports that wait. A browser sends some 50 a second; where much is lost, several times that.
const REPORTS: usize = 128;

/// A message for a viewer's task.
#[derive(Debug, PartialEq, Eq)]
pub enum Mail {
    /// A STUN datagram, with the address that the core should see.
    Stun(SocketAddr, Bytes),
    /// A DTLS datagram, with the address that the core should see.
    Dtls(SocketAddr, Bytes),
    /// A decrypted compound RTCP packet.
    Report(Bytes),
    /// The viewer receives our packets again, after our address has changed.
    Mended,
}

/// A viewer's mailbox.
#[derive(Default)]
pub struct Mailbox {
    waiting: Mutex<Waiting>,
    gate: Mutex<Gate>,
    /// Has a permit while something waits.
    arrived: Notify,
    rerouted: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    mail: VecDeque<Mail>,
    /// Number of messages of each kind, in the order of [`Mail`].
    counts: [usize; 4],
}

/// The result for a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It waits for the task.
    Taken,
    /// There was no room.
    Dropped,
    /// The viewer's connection does not need it.
    Refused,
}

impl Mail {
    /// Its kind, and how many of that kind may wait.
    fn kind(&self) -> (usize, usize) {
        match self {
            Self::Stun(..) => (0, DATAGRAMS),
            Self::Dtls(..) => (1, DATAGRAMS),
            Self::Report(_) => (2, REPORTS),
            Self::Mended => (3, 1),
        }
    }
}

impl Mailbox {
    /// Delivers a datagram of the viewer; its core should see it as from `label`.
    pub fn deliver(&self, now: Instant, label: SocketAddr, datagram: &[u8]) -> Delivered {
        let mail = match self.gate().admit(now, datagram) {
            Some(Admitted::Stun) => Mail::Stun(label, Bytes::copy_from_slice(datagram)),
            Some(Admitted::Dtls) => Mail::Dtls(label, Bytes::copy_from_slice(datagram)),
            Some(Admitted::Report(opened)) => Mail::Report(opened),
            None => return Delivered::Refused,
        };
        if self.post(mail) { Delivered::Taken } else { Delivered::Dropped }
    }

    /// The viewer receives our packets again.
    pub fn mended(&self) {
        self.post(Mail::Mended); // one is enough
    }

    fn post(&self, mail: Mail) -> bool {
        let mut waiting = self.waiting();
        let (kind, most) = mail.kind();
        if waiting.counts[kind] == most {
            return false;
        }
        waiting.counts[kind] += 1;
        waiting.mail.push_back(mail);
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// Waits until there is something.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes everything, in order.
    pub fn take(&self) -> VecDeque<Mail> {
        std::mem::take(&mut *self.waiting()).mail
    }

    /// Decides what gets in, and what webrtc receives.
    pub fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Media may have to take a different way from now on.
    pub fn reroute(&self) {
        self.rerouted.store(true, Ordering::Release);
    }

    /// Whether that has happened since the previous call.
    pub fn rerouted(&self) -> bool {
        // A plain load first: the flag is false for nearly every picture, and the load does not disturb other
        // cores.
        self.rerouted.load(Ordering::Relaxed) && self.rerouted.swap(false, Ordering::AcqRel)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_displaces_nothing_else() {
        let (mailbox, now) = (Mailbox::default(), Instant::now());
        let label = SocketAddr::from(([192, 0, 2, 1], 1));
        let stun = |n: u8| mailbox.deliver(now, label, &[0, n, 0]);
        assert!((0..DATAGRAMS).all(|n| stun(n as u8) == Delivered::Taken));
        assert_eq!(stun(0), Delivered::Dropped);
        let hello = super::super::records::tests::record(22, 0, &super::super::records::tests::message(0));
        assert_eq!(mailbox.deliver(now, label, &hello), Delivered::Taken);
        assert_eq!(mailbox.deliver(now, label, &[128, 96]), Delivered::Refused, "RTP");
        mailbox.mended();
        mailbox.mended();
        let mail = Vec::from(mailbox.take());
        assert_eq!(mail.len(), DATAGRAMS + 2);
        assert_eq!(mail[3], Mail::Stun(label, Bytes::from_static(&[0, 3, 0])));
        assert_eq!(mail[DATAGRAMS..], [Mail::Dtls(label, hello.into()), Mail::Mended]);
        assert!(mailbox.take().is_empty());
        assert_eq!(stun(0), Delivered::Taken, "there is room again");
    }

    #[test]
    fn another_way_is_told_once() {
        let mailbox = Mailbox::default();
        assert!(!mailbox.rerouted());
        mailbox.reroute();
        mailbox.reroute();
        assert!(mailbox.rerouted() && !mailbox.rerouted());
    }
}
