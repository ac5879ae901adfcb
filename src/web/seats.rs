//! The places of all connections as guards: one is taken until it is dropped. Who gets one is decided by [`places`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::places::{self, NotKept, Phase, Places, Refusal};
use crate::memory;
use crate::net::Source;
use crate::viewer::Holder;

/// All places of the server.
#[derive(Debug)]
pub struct Seats {
    places: Mutex<Places<DropGuard>>,
    left: Notify,
}

impl Seats {
    /// As many as `limits` allow.
    pub fn new(limits: places::Limits) -> Arc<Self> {
        Arc::new(Self { places: Mutex::new(Places::new(limits)), left: Notify::new() })
    }

    fn places(&self) -> MutexGuard<'_, Places<DropGuard>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one.
    ///
    /// # Errors
    /// There is none for that source.
    pub fn take(self: &Arc<Self>, source: Source, phase: Phase) -> Result<Place, Refusal> {
        let end = CancellationToken::new();
        let guard = end.clone().drop_guard();
        let (number, _ended) = self.places().take(source, phase, Instant::now(), guard)?;
        Ok(Place { seats: self.clone(), number, end })
    }

    /// How many are taken.
    pub fn count(&self) -> usize {
        self.places().count()
    }

    /// Waits until all have left.
    pub async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }
}

/// One place, until dropped.
#[derive(Debug)]
pub struct Place {
    seats: Arc<Seats>,
    number: u64,
    /// Cancelled when it has to make room.
    pub end: CancellationToken,
}

impl Place {
    /// A request began (`busy`) or was answered.
    pub fn progress(&self, busy: bool) {
        self.seats.places().progress(self.number, busy, Instant::now());
    }

    /// A request on it showed a credential that is good, or none.
    pub fn known(&self, holder: Option<Holder>) {
        self.seats.places().known(self.number, holder, Instant::now());
    }

    /// Keeps it for a WebSocket of somebody who was let in, whose client is at `source`: it never makes room for others.
    /// One credential may have `per_credential`.
    ///
    /// # Errors
    /// There are too many, or they come too fast.
    pub fn keep(&self, holder: Holder, source: Source, per_credential: usize) -> Result<(), NotKept> {
        self.seats.places().keep(self.number, holder, source, per_credential, Instant::now())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seats.places().leave(self.number);
        self.seats.left.notify_one();
        memory::freed();
    }
}
