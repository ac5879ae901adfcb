//! Our candidates for a viewer, as they become known.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;

use super::Port;
use super::candidates::Candidates;
use super::reflexive::Found;

/// The candidates that a viewer has been told, and those that may follow.
pub struct Gathered {
    candidates: Candidates,
    asked: Option<watch::Receiver<Found>>,
    found: Found,
}

impl Gathered {
    /// Gathers candidates for a viewer that came from `from` to our address `to`. Waits for STUN servers for
    /// as long as `patience`.
    pub async fn new(port: &Port, from: IpAddr, to: Option<IpAddr>, patience: Duration) -> Self {
        let mut asked = port.reflexive();
        let found = match &mut asked {
            None => Found { addresses: vec![], done: true },
            Some(asked) => {
                let _ = tokio::time::timeout(patience, asked.wait_for(|f| f.done)).await;
                asked.borrow_and_update().clone()
            }
        };
        Self { candidates: port.candidates(from, to), asked, found }
    }

    /// The candidates known so far.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.candidates.lines();
        lines.extend(self.candidates.reflexive(&self.found.addresses));
        lines
    }

    /// Whether there will be no more.
    pub fn complete(&self) -> bool {
        self.found.done
    }

    /// Candidates that become known later; an empty one means that there are no more. Pending for ever after
    /// that.
    pub async fn late(&mut self) -> Vec<String> {
        while let Some(asked) = self.asked.as_mut().filter(|_| !self.found.done) {
            if asked.changed().await.is_err() {
                break;
            }
            let found = asked.borrow_and_update().clone();
            let new = found.addresses.iter().filter(|a| !self.found.addresses.contains(a)).copied();
            let mut lines = self.candidates.reflexive(&new.collect::<Vec<SocketAddr>>());
            if found.done {
                lines.push(String::new());
            }
            self.found = found;
            if !lines.is_empty() {
                return lines;
            }
        }
        std::future::pending().await
    }
}
