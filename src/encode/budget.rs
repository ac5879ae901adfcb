//! Shares the load among all cameras of a board where its CPU is too slow: first the smaller rungs of all
//! cameras are stopped, then frame rates are reduced, then sizes. No camera stays more than one tier above
//! what another one needs.
//!
//! Each camera's [governor](super::governor) reports its tier and what it needs, and asks for the state of
//! the others. A camera that is slow by itself, because a single picture takes too long on its thread, needs
//! nothing from the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Pts;

/// What a camera gives up; each tier includes the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Nothing is given up.
    #[default]
    All,
    /// The smaller rungs are stopped.
    Rungs,
    /// The frame rate is reduced.
    Frames,
    /// The size is reduced.
    Size,
}

impl Tier {
    /// The least that every other camera must give up while one camera needs this tier.
    pub fn above(self) -> Self {
        match self {
            Self::All | Self::Rungs => Self::All,
            Self::Frames => Self::Rungs,
            Self::Size => Self::Frames,
        }
    }
}

/// The state of a camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// The current tier.
    pub at: Tier,
    /// The tier that it needs because the board's CPU is too slow, or too hot.
    pub needs: Tier,
    /// When the tier last changed.
    pub changed: Option<Pts>,
}

/// The state of the other cameras that are being encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    /// The lowest tier of any of them.
    pub least: Tier,
    /// The highest tier that any of them needs.
    pub needs: Tier,
    /// When the tier of any of them last changed.
    pub changed: Option<Pts>,
}

impl Others {
    /// There are no other cameras.
    pub const NONE: Self = Self { least: Tier::Size, needs: Tier::All, changed: None };
}

/// The state of all cameras of a board.
#[derive(Debug, Default)]
pub struct Budget(Mutex<Cameras>);

#[derive(Debug, Default)]
struct Cameras {
    /// Number of cameras ever opened; the number of the next one.
    count: u64,
    /// The cameras that are being encoded.
    encoded: Vec<(u64, Stand)>,
}

/// One camera's account; dropping it removes the camera.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    number: u64,
}

impl Budget {
    /// Adds a camera, which is not being encoded yet.
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
    /// Reports that this camera is being encoded, and its state.
    pub fn report(&self, stand: Stand) {
        let encoded = &mut self.budget.lock().encoded;
        match encoded.iter_mut().find(|(number, _)| *number == self.number) {
            Some((_, known)) => *known = stand,
            None => encoded.push((self.number, stand)),
        }
    }

    /// Reports that this camera is not being encoded now.
    pub fn rest(&self) {
        self.budget.lock().encoded.retain(|(number, _)| *number != self.number);
    }

    /// The state of the other cameras.
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
        back.report(Stand { at: Tier::Rungs, needs: Tier::Rungs, changed: at(7) });
        yard.report(Stand { at: Tier::Size, needs: Tier::All, changed: at(5) });
        assert_eq!(front.others(), Others { least: Tier::Rungs, needs: Tier::Rungs, changed: at(7) });
        assert_eq!(back.others(), Others { least: Tier::Size, needs: Tier::All, changed: at(5) });
        back.report(Stand { at: Tier::All, needs: Tier::Frames, changed: at(8) });
        assert_eq!(front.others(), Others { least: Tier::All, needs: Tier::Frames, changed: at(8) });
        back.rest();
        drop(yard);
        assert_eq!(front.others(), Others::NONE);
    }
}
