//! The doorkeeper's clock.

use std::sync::Arc;
use std::time::Duration;

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
        let settled = state.change(|l| {
            correction.into_iter().for_each(|c| l.correct(c));
            l.settle(now);
            l.adrift_unix = reckoning.adrift();
        });
        if let Err(error) = settled {
            tracing::warn!("{error}");
        }
        Self { clocks, reckoning }
    }

    /// Seconds since 1970. If the clock has jumped, what lasts is corrected before anybody is judged by it.
    fn now(&mut self, state: &Arc<State>) -> u64 {
        let (now, correction) = self.reckoning.look((self.clocks)());
        if let Some(correction) = correction {
            tracing::info!("the clock was set; sessions and links that were made meanwhile keep their time");
            let corrected = state.change(|l| {
                l.correct(correction);
                (l.known_unix, l.adrift_unix) = (now, None);
            });
            if let Err(error) = corrected {
                tracing::warn!("{error}");
            }
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
