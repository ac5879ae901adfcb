//! What all cameras of a board give up together where its processors are too few: first the smaller rungs of all of them, then
//! frames, then size. No camera stands more than one tier above what another needs.
//!
//! Each camera's [governor](super::governor) tells where it stands and what it needs, and asks what the others do. A camera that
//! is slow by itself, because a single picture takes too long for its thread, needs nothing of the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Pts;

/// What is given up, from nothing on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Nothing.
    #[default]
    All,
    /// The smaller rungs.
    Rungs,
    /// And frames.
    Frames,
    /// And size.
    Size,
}

impl Tier {
    /// What another camera gives up that must not stand more than one tier above this one.
    pub fn above(self) -> Self {
        match self {
            Self::All | Self::Rungs => Self::All,
            Self::Frames => Self::Rungs,
            Self::Size => Self::Frames,
        }
    }
}

/// Where a camera stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// What it gives up.
    pub at: Tier,
    /// What it has to, because the board's processors are too few, or too hot.
    pub needs: Tier,
    /// When it gave up or took back something for the last time.
    pub changed: Option<Pts>,
}

/// The other cameras that are being encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    /// What the one gives up that gives the least.
    pub least: Tier,
    /// What the one needs that needs the most.
    pub needs: Tier,
    /// When any of them gave up or took back something for the last time.
    pub changed: Option<Pts>,
}

impl Others {
    /// There are none.
    pub const NONE: Self = Self { least: Tier::Size, needs: Tier::All, changed: None };
}

/// All cameras of a board.
#[derive(Debug, Default)]
pub struct Budget(Mutex<Cameras>);

#[derive(Debug, Default)]
struct Cameras {
    /// How many there ever were: the next one's number.
    count: u64,
    /// Those that are being encoded.
    encoded: Vec<(u64, Stand)>,
}

/// A camera among all. Dropped, it needs nothing any more.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    number: u64,
}

impl Budget {
    /// One more camera. It is not being encoded yet.
    pub fn open(self: &Arc<Self>) -> Account {
        let mut cameras = self.lock();
        cameras.count += 1;
        Account { budget: self.clone(), number: cameras.count }
    }

    fn lock(&self) -> MutexGuard<'_, Cameras> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// It is being encoded, and stands there.
    pub fn tell(&self, stand: Stand) {
        let encoded = &mut self.budget.lock().encoded;
        match encoded.iter_mut().find(|(number, _)| *number == self.number) {
            Some((_, known)) => *known = stand,
            None => encoded.push((self.number, stand)),
        }
    }

    /// It is not being encoded now.
    pub fn rest(&self) {
        self.budget.lock().encoded.retain(|(number, _)| *number != self.number);
    }

    /// The others.
    pub fn others(&self) -> Others {
        let cameras = self.budget.lock();
        let others = cameras.encoded.iter().filter(|(number, _)| *number != self.number);
        others.fold(Others::NONE, |all, (_, stand)| Others {
            least: all.least.min(stand.at),
            needs: all.needs.max(stand.needs),
            changed: all.changed.max(stand.changed),
        })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_those_that_are_encoded_now() {
        let budget = Arc::<Budget>::default();
        let [front, back, yard] = [(); 3].map(|()| budget.open());
        assert_eq!(front.others(), Others::NONE);
        let at = |us| Some(Pts::from_micros(us));
        back.tell(Stand { at: Tier::Rungs, needs: Tier::Rungs, changed: at(7) });
        yard.tell(Stand { at: Tier::Size, needs: Tier::All, changed: at(5) });
        assert_eq!(front.others(), Others { least: Tier::Rungs, needs: Tier::Rungs, changed: at(7) });
        assert_eq!(back.others(), Others { least: Tier::Size, needs: Tier::All, changed: at(5) });
        back.tell(Stand { at: Tier::All, needs: Tier::Frames, changed: at(8) });
        assert_eq!(front.others(), Others { least: Tier::All, needs: Tier::Frames, changed: at(8) });
        back.rest();
        drop(yard);
        assert_eq!(front.others(), Others::NONE);
    }
}
