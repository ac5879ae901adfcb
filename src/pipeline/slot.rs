//! A place for one waiting frame: a newer one replaces it, so that the delay is bounded.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A place for one `T` between one producer and one consumer.
#[derive(Debug)]
pub struct Slot<T> {
    place: Mutex<Option<T>>,
    filled: Notify,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { place: Mutex::new(None), filled: Notify::new() }
    }
}

impl<T> Slot<T> {
    /// Puts `value` in, and returns the one that nobody took.
    pub fn put(&self, value: T) -> Option<T> {
        self.put_after(|_| value)
    }

    /// Like [`put`](Self::put), with a value that may depend on the one that nobody took.
    pub fn put_after(&self, value: impl FnOnce(Option<&T>) -> T) -> Option<T> {
        let mut place = self.lock();
        let value = value(place.as_ref());
        let old = place.replace(value);
        drop(place);
        self.filled.notify_one();
        old
    }

    /// Looks at the value.
    pub fn look<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
        look(self.lock().as_ref())
    }

    /// Takes the value, if there is one.
    pub fn try_take(&self) -> Option<T> {
        self.lock().take()
    }

    /// Takes the newest value, waiting until there is one. Dropping the future loses nothing.
    pub async fn take(&self) -> T {
        loop {
            if let Some(value) = self.try_take() {
                return value;
            }
            self.filled.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn the_newest_wins() {
        let slot = Arc::new(Slot::default());
        assert_eq!(slot.put(1), None);
        assert!(slot.look(|value| value == Some(&1)));
        assert_eq!(slot.put(2), Some(1));
        assert_eq!(slot.put_after(|old| old.map_or(0, |old| old * 10)), Some(2));
        assert_eq!(slot.take().await, 20);
        assert_eq!(slot.try_take(), None);
        let taker = tokio::spawn({
            let slot = slot.clone();
            async move { slot.take().await }
        });
        tokio::task::yield_now().await;
        slot.put(3);
        assert_eq!(taker.await.expect("no panic"), 3);
    }
}
