//! The slots of all connections, as guards: dropping a [`Place`] frees its slot. [`places`] decides who gets one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::places::{self, NotKept, Phase, Places, Refusal};
use crate::memory;
use crate::net::Source;
use crate::viewer::Holder;

/// All connection slots of the server.
#[derive(Debug)]
pub(super) struct Connections {
    places: Mutex<Places<DropGuard>>,
    left: Notify,
}

impl Connections {
    /// Creates as many slots as `limits` allow.
    pub(super) fn new(limits: places::Limits) -> Arc<Self> {
        Arc::new(Self { places: Mutex::new(Places::new(limits)), left: Notify::new() })
    }

    fn places(&self) -> MutexGuard<'_, Places<DropGuard>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot.
    ///
    /// # Errors
    /// If there is no slot for this source.
    pub(super) fn take(self: &Arc<Self>, source: Source, phase: Phase) -> Result<Place, Refusal> {
        let end = CancellationToken::new();
        let guard = end.clone().drop_guard();
        let (number, _ended) = self.places().take(source, phase, Instant::now(), guard)?;
        Ok(Place { seats: self.clone(), number, end })
    }

    /// The number of taken slots.
    pub(super) fn count(&self) -> usize {
        self.places().count()
    }

    /// Waits until all slots are free.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }
}

/// A taken slot; dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    seats: Arc<Connections>,
    number: u64,
    /// Cancelled when the connection has to be closed for another one.
    pub end: CancellationToken,
}

impl Place {
    /// Notes that a request began (`busy`) or was answered.
    pub(super) fn progress(&self, busy: bool) {
        self.seats.places().progress(self.number, busy, Instant::now());
    }

    /// Notes the valid credential of a request, or that it had none.
    pub(super) fn known(&self, holder: Option<Holder>) {
        self.seats.places().known(self.number, holder, Instant::now());
    }

    /// Keeps the slot for a WebSocket of an authenticated user, whose client is at `source`; it is never closed for
    /// others. One credential may have `per_credential` WebSockets.
    ///
    /// # Errors
    /// If there are too many, or they are opened too fast.
    pub(super) fn keep(&self, holder: Holder, source: Source, per_credential: usize) -> Result<(), NotKept> {
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
