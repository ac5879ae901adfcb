//! The bitrate of packets over about half a second.

/// Time over which it is averaged, in seconds.
const OVER_S: f64 = 0.5;

/// An exponentially averaged bitrate.
#[derive(Debug, Default)]
pub(super) struct Rate {
    bps: f64,
    at_s: f64,
}

impl Rate {
    /// Adds a packet of this many bytes.
    pub(super) fn add(&mut self, bytes: usize, now_s: f64) {
        self.bps = self.bps(now_s) + bytes as f64 * 8.0 / OVER_S;
        self.at_s = now_s;
    }

    /// Bits per second.
    pub(super) fn bps(&self, now_s: f64) -> f64 {
        self.bps * (-(now_s - self.at_s).max(0.0) / OVER_S).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_what_is_sent_and_falls_to_nothing() {
        let mut rate = Rate::default();
        for n in 0..200 {
            rate.add(250, f64::from(n) * 0.02);
        }
        assert!((95e3..105e3).contains(&rate.bps(4.0)), "{rate:?}");
        assert!(rate.bps(7.0) < 1e3);
    }
}
