//! Chooses the encoder: the first of a list, and the next one when it fails repeatedly. Pure policy.

use std::time::Duration;

use super::openh264::OpenH264;
use super::video::{Error, Settings, VideoEncoder};
use crate::clock::Pts;

/// After this many failures within [`PATIENCE`], a new encoder of the same kind is not expected to help.
const FAILURES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);

/// Creates an encoder.
type Make = fn(Settings) -> Result<Box<dyn VideoEncoder>, Error>;

/// All kinds of encoders, best first.
const KINDS: &[Make] = &[|settings| Ok(Box::new(OpenH264::new(settings)?))];

/// The encoders that are left to try.
pub struct Candidates {
    kinds: &'static [Make],
    /// Recent failures of the first one, at most [`FAILURES`].
    failures: Vec<Pts>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self { kinds: KINDS, failures: Vec::new() }
    }
}

impl Candidates {
    /// Creates an encoder of the current kind.
    ///
    /// # Errors
    /// The encoder can't be created; call [`Self::failed`] then.
    pub fn make(&self, settings: Settings) -> Result<Box<dyn VideoEncoder>, Error> {
        match self.kinds.first() {
            Some(make) => make(settings),
            None => Err(Error::new("video", "no encoder works")),
        }
    }

    /// Records that an encoder failed or could not be created. After too many failures, the next kind is
    /// used.
    ///
    /// # Errors
    /// The failure, if no kind is left.
    pub fn failed(&mut self, error: Error, now: Pts) -> Result<(), Error> {
        self.failures.retain(|t| now.since(*t) < PATIENCE);
        self.failures.push(now);
        if self.failures.len() >= FAILURES {
            self.failures.clear();
            self.kinds = self.kinds.get(1..).unwrap_or_default();
        }
        if self.kinds.is_empty() { Err(error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Effort;
    use crate::media::frame::Size;

    const SETTINGS: Settings = Settings {
        size: Size::new(64, 64),
        fps: 30.0,
        bitrate_bps: 100_000,
        effort: Effort::Low,
        level: None,
    };

    fn at(seconds: u64) -> Pts {
        Pts::from_micros(seconds * 1_000_000)
    }

    /// The kind in use, identified by its error message.
    fn taken(candidates: &Candidates) -> String {
        candidates.make(SETTINGS).err().expect("no encoder is made here").to_string()
    }

    fn two() -> Candidates {
        let kinds: &[Make] = &[|_| Err(Error::new("first", "busy")), |_| Err(Error::new("second", "busy"))];
        Candidates { kinds, failures: Vec::new() }
    }

    #[test]
    fn five_failures_in_thirty_seconds_lead_to_the_next_and_five_in_forty_do_not() {
        let mut quick = two();
        for seconds in [0, 7, 14, 21] {
            quick.failed(Error::new("first", "broken"), at(seconds)).expect("one more attempt");
            assert_eq!(taken(&quick), "first: busy");
        }
        quick.failed(Error::new("first", "broken"), at(28)).expect("the next");
        assert_eq!(taken(&quick), "second: busy");
        let mut slow = two();
        for n in 0..20 {
            slow.failed(Error::new("first", "broken"), at(n * 10)).expect("one more attempt");
        }
        assert_eq!(taken(&slow), "first: busy");
    }

    #[test]
    fn the_next_has_all_its_tries_and_the_failure_of_the_last_is_told() {
        let mut candidates = two();
        let results: Vec<_> = (0..10)
            .map(|n| candidates.failed(Error::new("x", format!("failure {n}")), at(n)).err())
            .collect();
        assert!(results[..9].iter().all(Option::is_none), "{results:?}");
        assert_eq!(results[9].as_ref().map(ToString::to_string).as_deref(), Some("x: failure 9"));
        assert_eq!(taken(&candidates), "video: no encoder works");
    }

    #[test]
    fn the_list_of_this_device_makes_an_encoder() {
        assert_eq!(Candidates::default().make(SETTINGS).expect("an encoder").name(), "OpenH264");
    }
}
