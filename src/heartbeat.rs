//! Detects threads that hang. Each thread sets a deadline for its next sign of life, or says that it sleeps on purpose;
//! [`Heartbeats::silent`] returns the threads that missed their deadline. A thread that hangs in a driver's system call
//! or in an endless loop can't be stopped from within the process, so the supervisor's watchdog has to restart the
//! process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Pts;

/// Deadline for work that normally takes milliseconds.
pub const WORK: Duration = Duration::from_secs(10);
/// Deadline for opening and closing a device, which may be slow in some drivers.
pub const DEVICE: Duration = Duration::from_secs(30);

/// No deadline: the thread sleeps on purpose.
const ASLEEP: u64 = u64::MAX;

/// All monitored threads.
#[derive(Debug, Default)]
pub struct Heartbeats(Mutex<Vec<Arc<Thread>>>);

#[derive(Debug)]
struct Thread {
    name: Arc<str>,
    /// The deadline, microseconds of the monotonic clock.
    due: AtomicU64,
}

/// The heartbeat of one thread; dropping it ends the monitoring.
#[derive(Debug)]
pub struct Heartbeat {
    thread: Arc<Thread>,
    all: Arc<Heartbeats>,
}

impl Heartbeats {
    /// Monitors a thread called `name`, which counts as asleep at first.
    pub fn thread(self: &Arc<Self>, name: &str) -> Heartbeat {
        let thread = Arc::new(Thread { name: name.into(), due: AtomicU64::new(ASLEEP) });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thread.clone());
        Heartbeat { thread, all: self.clone() }
    }

    /// The threads that have missed their deadline at `now`, and by how much.
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
    /// Sets the deadline for the next sign of life: [`WORK`] or [`DEVICE`] from now.
    pub fn within(&self, time: Duration) {
        self.thread.due.store((Pts::now() + time).as_micros(), Ordering::Relaxed);
    }

    /// Says that the thread sleeps until something wakes it.
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
