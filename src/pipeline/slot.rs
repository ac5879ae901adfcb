//! One waiting frame: a newer one replaces it, so that delay is bounded by construction.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A place for one `T` between a producing and a consuming thread.
#[derive(Debug)]
pub struct Slot<T> {
    place: Mutex<Option<T>>,
    filled: Condvar,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { place: Mutex::new(None), filled: Condvar::new() }
    }
}

impl<T> Slot<T> {
    /// Puts `value` in, and returns the one that nobody took.
    pub fn put(&self, value: T) -> Option<T> {
        let old = self.lock().replace(value);
        self.filled.notify_one();
        old
    }

    /// Takes the newest, waiting at most `timeout` for one.
    pub fn take(&self, timeout: Duration) -> Option<T> {
        let (mut place, _) = self
            .filled
            .wait_timeout_while(self.lock(), timeout, |p| p.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        place.take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins() {
        let slot = Slot::default();
        assert_eq!(slot.put(1), None);
        assert_eq!(slot.put(2), Some(1));
        assert_eq!(slot.take(Duration::ZERO), Some(2));
        assert_eq!(slot.take(Duration::ZERO), None);
    }
}
