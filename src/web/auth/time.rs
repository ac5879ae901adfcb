//! The clock of the authentication.

use std::sync::Arc;
use std::time::Duration;

use super::principal::sweep;
use super::reckoning::{Look, Reckoning};
use super::{Auth, lock};
use crate::state::State;

/// Reads the clocks, and keeps the dates in the state consistent with them.
pub(super) struct Clock {
    clocks: fn() -> Look,
    pub(super) reckoning: Reckoning,
}

impl Clock {
    /// Continues from the end of the last run.
    pub(super) fn start(state: &State, clocks: fn() -> Look) -> Self {
        let (mut reckoning, correction) = state.read(|l| Reckoning::start(clocks(), l));
        let (now, _) = reckoning.look(clocks());
        state.redate(|l| {
            sweep(l, l.known_unix); // credentials that had expired by then stay so, regardless of the clock now
            correction.into_iter().for_each(|c| l.correct(c));
            l.settle(now);
            l.adrift_unix = reckoning.adrift();
        });
        Self { clocks, reckoning }
    }

    /// Seconds since 1970. If the clock has jumped, dates in the state are corrected first.
    fn now(&mut self, state: &Arc<State>) -> u64 {
        let look = (self.clocks)();
        let reached = self.reckoning.reached(look);
        let (now, correction) = self.reckoning.look(look);
        if now < reached {
            // The clock was set back, which must not revive expired credentials.
            state.redate(|l| sweep(l, reached));
        }
        if let Some(correction) = correction {
            tracing::info!("the clock was set; sessions and links created before keep their remaining time");
            state.redate(|l| {
                l.correct(correction);
                (l.known_unix, l.adrift_unix) = (now, None);
            });
        }
        now
    }
}

impl Auth {
    /// The best estimate of the time, since 1970.
    pub fn now(&self) -> Duration {
        Duration::from_secs(self.time())
    }

    pub(super) fn time(&self) -> u64 {
        lock(&self.clock).now(&self.state)
    }

    /// Time since the board started, independent of the clock.
    pub(super) fn running(&self) -> Duration {
        (lock(&self.clock).clocks)().running
    }
}
