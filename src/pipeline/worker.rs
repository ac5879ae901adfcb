//! A named thread that ends with its owner.

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// No thread waits for a device longer than this before it looks at its orders: so soon a device is closed.
pub const TICK: Duration = Duration::from_millis(100);

/// A running thread that ends with a `T`. Dropping it tells the thread to stop and waits until it has.
pub struct Worker<T = ()> {
    stop: CancellationToken,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts `run` on a thread called `name`. It must return soon (200 ms) after its token is cancelled, which
    /// happens when `stop` is or when the worker is dropped.
    pub fn spawn(
        name: &str,
        stop: &CancellationToken,
        run: impl FnOnce(CancellationToken) -> T + Send + 'static,
    ) -> io::Result<Self> {
        let stop = stop.child_token();
        let theirs = stop.clone();
        let thread = Builder::new().name(name.into()).spawn(move || run(theirs))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops it and returns what it ended with; `None` if it panicked, which its hook has reported.
    pub fn join(mut self) -> Option<T> {
        self.end()
    }
}

impl<T> Worker<T> {
    fn end(&mut self) -> Option<T> {
        self.stop.cancel();
        self.thread.take()?.join().ok()
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_stops_this_one_only() {
        let all = CancellationToken::new();
        let (tx, rx) = std::sync::mpsc::channel();
        let worker = Worker::spawn("test", &all, move |stop| {
            while !stop.is_cancelled() {
                std::thread::yield_now();
            }
            let _ = tx.send(std::thread::current().name().map(str::to_owned));
        });
        drop(worker.expect("starts"));
        assert_eq!(rx.recv(), Ok(Some("test".into())));
        assert!(!all.is_cancelled());
    }
}
