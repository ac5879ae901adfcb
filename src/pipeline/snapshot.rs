//! Single JPEG pictures on request, made from a picture that is converted anyway.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::demand::Demand;
use super::orders::PRIVATE;

/// Largest number of requests that may wait at once; the same picture serves them all.
const WAITING: usize = 32;
/// How long a request waits: a closed camera has to be opened first, and a slow one takes 5 s to its first
/// frame.
const PATIENCE: Duration = Duration::from_secs(12);

/// Why there is no picture.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Too many requests are waiting.
    #[error("too many snapshots are requested at once; try again")]
    Busy,
    /// The camera delivered no picture in time.
    #[error("no picture arrived within 12 s")]
    Timeout,
    /// Privacy is on.
    #[error("{PRIVATE}")]
    Private,
    /// There is no camera picture; the text says why.
    #[error("{0}")]
    Gone(String),
}

type Reply = Result<Bytes, Error>;

/// The requests for pictures.
pub struct Snapshots {
    demand: Arc<Demand>,
    waiting: Mutex<Vec<oneshot::Sender<Reply>>>,
}

impl Snapshots {
    /// Creates an empty queue whose requests count as `demand`.
    pub fn new(demand: Arc<Demand>) -> Self {
        Self { demand, waiting: Mutex::default() }
    }

    /// Returns the next picture as JPEG.
    pub async fn take(&self) -> Reply {
        let (tx, rx) = oneshot::channel();
        {
            let mut waiting = self.lock();
            waiting.retain(|w| !w.is_closed());
            if waiting.len() >= WAITING {
                return Err(Error::Busy);
            }
            waiting.push(tx);
        }
        let _interest = self.demand.picture();
        match tokio::time::timeout(PATIENCE, rx).await {
            Ok(Ok(reply)) => reply,
            _ => Err(Error::Timeout),
        }
    }

    /// Answers all waiting requests with the result of `make`, which is called only if there are any.
    pub(super) fn serve(&self, make: impl FnOnce() -> Reply) {
        let waiting = std::mem::take(&mut *self.lock());
        if waiting.iter().any(|w| !w.is_closed()) {
            let reply = make();
            for w in waiting {
                let _ = w.send(reply.clone()); // the request may have gone
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Reply>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_picture_serves_all_who_wait_and_is_demand_until_then() {
        let demand = Arc::new(Demand::default());
        let desk = Arc::new(Snapshots::new(demand.clone()));
        desk.serve(|| panic!("nobody asked"));
        let asked: Vec<_> = (0..3)
            .map(|_| {
                tokio::spawn({
                    let d = desk.clone();
                    async move { d.take().await }
                })
            })
            .collect();
        while desk.lock().len() < 3 {
            tokio::task::yield_now().await;
        }
        assert!(demand.wants().borrow().capture());
        assert_eq!(*demand.viewers().borrow(), 0, "a snapshot does not count as a viewer");
        desk.serve(|| Ok(Bytes::from_static(b"jpeg")));
        for a in asked {
            assert_eq!(a.await.expect("no panic").expect("a picture"), "jpeg");
        }
        assert!(!demand.wants().borrow().capture());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_the_queue_is_bounded() {
        let desk = Arc::new(Snapshots::new(Arc::default()));
        let all: Vec<_> = (0..WAITING + 1)
            .map(|_| {
                tokio::spawn({
                    let d = desk.clone();
                    async move { d.take().await }
                })
            })
            .collect();
        let mut replies = vec![];
        for a in all {
            replies.push(a.await.expect("no panic"));
        }
        assert_eq!(replies.iter().filter(|r| matches!(r, Err(Error::Timeout))).count(), WAITING);
        assert_eq!(replies.iter().filter(|r| matches!(r, Err(Error::Busy))).count(), 1);
    }
}
