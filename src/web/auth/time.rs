//! The doorkeeper's clock.

use std::sync::Arc;
use std::time::Duration;

use super::principal::sweep;
use super::reckoning::{Look, Reckoning};
use super::{Auth, lock};
use crate::state::State;

/// Reads clocks, and keeps what lasts dated by them.
pub(super) struct Clock {
    clocks: fn() -> Look,
    pub(super) reckoning: Reckoning,
}

impl Clock {
    /// Takes up where the last run ended.
    pub(super) fn start(state: &State, clocks: fn() -> Look) -> Self {
        let (mut reckoning, correction) = state.read(|l| Reckoning::start(clocks(), l));
        let (now, _) = reckoning.look(clocks());
        state.redate(|l| {
            sweep(l, l.known_unix); // what had ended by then stays so, whatever the clock shows now
            correction.into_iter().for_each(|c| l.correct(c));
            l.settle(now);
            l.adrift_unix = reckoning.adrift();
        });
        Self { clocks, reckoning }
    }

    /// Seconds since 1970. If the clock has jumped, what lasts is corrected before anybody is judged by it.
    fn now(&mut self, state: &Arc<State>) -> u64 {
        let look = (self.clocks)();
        let reached = self.reckoning.reached(look);
        let (now, correction) = self.reckoning.look(look);
        if now < reached {
            // The clock was set back: that revives nothing.
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
    /// What time it is, as far as anybody knows: since 1970.
    pub fn now(&self) -> Duration {
        Duration::from_secs(self.time())
    }

    pub(super) fn time(&self) -> u64 {
        lock(&self.clock).now(&self.state)
    }

    /// For how long the board has been running, whatever happens to the time.
    pub(super) fn running(&self) -> Duration {
        (lock(&self.clock).clocks)().running
    }
}
