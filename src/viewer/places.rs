//! How many may watch: places that viewers take, as many as there are now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All places.
#[derive(Clone)]
pub struct Places(Arc<Mutex<Count>>);

struct Count {
    taken: usize,
    most: usize,
    closed: bool,
}

/// One that is taken, until dropped.
pub struct Place(Places);

impl Places {
    /// So many.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Count { taken: 0, most, closed: false })))
    }

    /// From now on there are so many. Who has one keeps it.
    pub fn set(&self, most: usize) {
        self.count().most = most;
    }

    /// From now on there are none.
    pub fn close(&self) {
        self.count().closed = true;
    }

    /// Takes one, or says how many there are.
    pub fn take(&self) -> Result<Place, usize> {
        let mut count = self.count();
        if count.closed || count.taken >= count.most {
            return Err(count.most);
        }
        count.taken += 1;
        Ok(Place(self.clone()))
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count().taken -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_places_take_nobodys_and_more_are_there_at_once() {
        let places = Places::new(2);
        let (first, _second) = (places.take().expect("free"), places.take().expect("free"));
        assert_eq!(places.take().err(), Some(2));
        places.set(1);
        drop(first);
        assert_eq!(places.take().err(), Some(1), "one is still there");
        places.set(2);
        let _third = places.take().expect("free");
        places.close();
        places.set(9);
        assert_eq!(places.take().err(), Some(9), "nobody comes any more");
    }
}
