//! Whether the threads that must not stand still do what they should. Each says by when it will be heard of again, or
//! that it sleeps on purpose; who asks [`Heartbeats::silent`] learns of those that missed it. A thread that hangs in a
//! driver's system call, or in an endless loop, can't be ended from within: the process has to be started anew, by the
//! watchdog of whoever supervises it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Pts;

/// For what takes milliseconds, if anything goes right.
pub const WORK: Duration = Duration::from_secs(10);
/// For opening and closing a device, which a driver may take its time for.
pub const DEVICE: Duration = Duration::from_secs(30);

/// Due never: asleep on purpose.
const ASLEEP: u64 = u64::MAX;

/// All threads that are followed.
#[derive(Debug, Default)]
pub struct Heartbeats(Mutex<Vec<Arc<Thread>>>);

#[derive(Debug)]
struct Thread {
    name: Arc<str>,
    /// Microseconds of the monotonic clock.
    due: AtomicU64,
}

/// One thread's own; dropping it ends being followed.
#[derive(Debug)]
pub struct Heartbeat {
    thread: Arc<Thread>,
    all: Arc<Heartbeats>,
}

impl Heartbeats {
    /// For a thread called `name`; it sleeps until it says otherwise.
    pub fn thread(self: &Arc<Self>, name: &str) -> Heartbeat {
        let thread = Arc::new(Thread { name: name.into(), due: AtomicU64::new(ASLEEP) });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thread.clone());
        Heartbeat { thread, all: self.clone() }
    }

    /// The threads that should have been heard of by `now`, and for how long they are overdue.
    pub fn silent(&self, now: Pts) -> Vec<(Arc<str>, Duration)> {
        let threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = |t: &Arc<Thread>| {
            let due = Pts::from_micros(t.due.load(Ordering::Relaxed));
            (due < now).then(|| (t.name.clone(), now.since(due)))
        };
        threads.iter().filter_map(overdue).collect()
    }
}

impl Heartbeat {
    /// It will be heard of again within `time`: [`WORK`] or [`DEVICE`].
    pub fn within(&self, time: Duration) {
        self.thread.due.store((Pts::now() + time).as_micros(), Ordering::Relaxed);
    }

    /// It sleeps until somebody wakes it.
    pub fn asleep(&self) {
        self.thread.due.store(ASLEEP, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        let mut threads = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|t| !Arc::ptr_eq(t, &self.thread));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_missed_its_time_is_named_and_who_sleeps_or_ended_is_not() {
        let all = Arc::new(Heartbeats::default());
        let (works, sleeps, ended) = (all.thread("works"), all.thread("sleeps"), all.thread("ended"));
        for heartbeat in [&works, &sleeps, &ended] {
            heartbeat.within(WORK);
        }
        sleeps.asleep();
        drop(ended);
        let now = Pts::now();
        assert_eq!(all.silent(now), []);
        let silent = all.silent(now + WORK + Duration::from_secs(1));
        assert_eq!(silent.len(), 1, "{silent:?}");
        assert_eq!(&*silent[0].0, "works");
        assert!(silent[0].1 >= Duration::from_secs(1), "{silent:?}");
        works.within(WORK + DEVICE);
        assert_eq!(all.silent(now + WORK + Duration::from_secs(1)), []);
    }
}
