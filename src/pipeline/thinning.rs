//! Which pictures are encoded where the links carry fewer a second than there are.

use std::time::Duration;

use crate::clock::Pts;

/// Chooses pictures so that on average there are as many as wanted.
#[derive(Debug)]
pub struct Thinning {
    /// When the next picture is due.
    next: Pts,
}

impl Default for Thinning {
    fn default() -> Self {
        Self { next: Pts::from_micros(0) }
    }
}

impl Thinning {
    /// Whether the picture of this time is one of `fps` a second. Call it once for each picture.
    pub fn is_due(&mut self, pts: Pts, fps: f32) -> bool {
        let interval = Duration::from_secs_f32(1.0 / fps.max(1.0));
        // A quarter of an interval early is in time: pictures do not come at exact times.
        if pts + interval / 4 < self.next {
            return false;
        }
        // After a pause, nothing is made up for.
        let due = if pts > self.next + interval { pts } else { self.next };
        self.next = due + interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_wanted() {
        for fps in [1_u64, 6, 11, 16, 20, 24, 29, 30, 60] {
            let mut thinning = Thinning::default();
            // 30 a second for 10 s, some of them 4 ms late.
            let times = (0..300).map(|n| Pts::from_micros(1_000_000_000 + n * 33_333 + n % 3 * 2_000));
            let count = times.filter(|pts| thinning.is_due(*pts, fps as f32)).count() as u64;
            assert!(count.abs_diff(10 * fps.min(30)) <= 2, "{count} at {fps} a second");
        }
    }

    #[test]
    fn after_a_pause_nothing_is_made_up_for() {
        let mut thinning = Thinning::default();
        let at = |ms: u64| Pts::from_micros(ms * 1_000);
        assert!(thinning.is_due(at(1_000), 10.0));
        assert!(thinning.is_due(at(60_000), 10.0), "after a pause");
        assert!(!thinning.is_due(at(60_033), 10.0));
        assert!(thinning.is_due(at(60_100), 10.0));
    }
}
