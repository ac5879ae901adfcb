//! A named thread that ends with its owner.

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{Span, info_span};

/// Longest time that a thread waits for a device before it looks at its orders; a device is closed within
/// this time.
pub const TICK: Duration = Duration::from_millis(100);

/// The owner of threads, used in their names and log lines.
#[derive(Clone, Debug)]
pub enum Threads {
    /// The only camera, or the only microphone.
    Only,
    /// The camera of that name.
    Camera(String),
    /// The microphone of that name.
    Microphone(String),
}

impl Threads {
    /// The name of the thread that does `part` ("video-capture"); for a camera called "front" it is
    /// "capture-front". The kernel keeps the first 15 bytes.
    pub fn name(&self, part: &str) -> String {
        match self {
            Self::Only => part.to_owned(),
            Self::Camera(of) | Self::Microphone(of) => {
                format!("{}-{of}", part.strip_prefix("video-").unwrap_or(part))
            }
        }
    }

    fn span(&self) -> Span {
        match self {
            Self::Only => Span::none(),
            Self::Camera(of) => info_span!("camera", camera = of),
            Self::Microphone(of) => info_span!("microphone", microphone = of),
        }
    }
}

/// A running thread that returns a `T`. Dropping it tells the thread to stop and waits until it has.
pub struct Worker<T = ()> {
    stop: CancellationToken,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts `run` on the thread of `threads` that does `part`. It must return soon (within 200 ms) after
    /// its token is cancelled, which happens when `stop` is cancelled or the worker is dropped.
    pub fn spawn(
        threads: &Threads,
        part: &str,
        stop: &CancellationToken,
        run: impl FnOnce(CancellationToken) -> T + Send + 'static,
    ) -> io::Result<Self> {
        let stop = stop.child_token();
        let theirs = stop.clone();
        let (name, span) = (threads.name(part), threads.span());
        let thread = Builder::new().name(name).spawn(move || span.in_scope(|| run(theirs)))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops the thread and returns its result; `None` if it panicked, which the panic hook has reported.
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
        let worker = Worker::spawn(&Threads::Camera("front".into()), "video-capture", &all, move |stop| {
            while !stop.is_cancelled() {
                std::thread::yield_now();
            }
            let _ = tx.send(std::thread::current().name().map(str::to_owned));
        });
        drop(worker.expect("starts"));
        assert_eq!(rx.recv(), Ok(Some("capture-front".into())));
        assert!(!all.is_cancelled());
    }
}
