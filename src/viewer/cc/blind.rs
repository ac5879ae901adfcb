//! Congestion control for viewers that do not report individual packets. Receiver reports (RFC 3550 section
//! 6.4.1) give loss and the round trip time; REMB (draft-alvestrand-rmcat-remb-03) gives the receiver's own
//! estimate. This is slower and coarser than transport-wide feedback, but safe.

/// A round trip time this far above the minimum means that there is a queue, in seconds.
const QUEUE_S: f64 = 0.060;
/// How long the minimum round trip time is remembered, in seconds.
const KEPT_S: f64 = 30.0;
/// Growth of the estimate per second, as a part of it.
const INCREASE: f64 = 0.05;
/// Factor on the estimate where there is a queue. It falls with the queueing delay beyond [`QUEUE_S`], by 1
/// for each [`FULL_S`], but not below [`LEAST_PART`].
const DECREASE: f64 = 0.90;
/// See [`DECREASE`]; in seconds.
const FULL_S: f64 = 0.8;
/// See [`DECREASE`].
const LEAST_PART: f64 = 0.5;
/// Loss up to this is ignored. Above it, the estimate is reduced by half of the loss (libwebrtc's
/// `send_side_bandwidth_estimation`).
const LOSS: f64 = 0.10;
/// Part of the receiver's estimate that is used.
const OF_REMB: f64 = 0.95;
/// How long a REMB is valid, in seconds.
const REMB_S: f64 = 6.0;

/// What a viewer reports about its link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// The round trip time, in seconds.
    pub rtt_s: Option<f64>,
    /// The part of packets lost since the last report.
    pub loss: Option<f64>,
    /// The receiver's estimate, in bits per second.
    pub remb_bps: Option<f64>,
}

/// Computes an estimate from such reports alone.
#[derive(Debug, Default)]
pub(super) struct Blind {
    least: Option<(f64, f64)>,
    second: Option<(f64, f64)>,
    queue_s: f64,
    loss: f64,
    rtt_s: Option<f64>,
    remb: Option<(f64, f64)>,
    updated_s: Option<f64>,
    cut_s: f64,
}

impl Blind {
    /// Processes a report; returns the new estimate. `sent_bps` is the bitrate sent recently.
    pub(super) fn said(
        &mut self,
        said: Said,
        estimate_bps: f64,
        sent_bps: f64,
        limited: bool,
        now_s: f64,
    ) -> f64 {
        let mut estimate = estimate_bps;
        let dt = self.updated_s.map_or(0.0, |at| (now_s - at).clamp(0.0, 1.0));
        self.updated_s = Some(now_s);
        if let Some(remb) = said.remb_bps {
            self.remb = Some((now_s, remb));
        }
        if let Some(rtt) = said.rtt_s {
            self.queue_s = rtt - self.least(rtt, now_s);
            self.rtt_s = Some(rtt);
        }
        if let Some(loss) = said.loss {
            self.loss = loss;
        }
        let loss = said.loss.unwrap_or(0.0);
        if self.queue_s > QUEUE_S || loss > LOSS {
            if said.rtt_s.is_some() && now_s - self.cut_s > 0.3 {
                let by_loss = if loss > LOSS { 1.0 - 0.5 * loss } else { 1.0 };
                let part = (DECREASE - (self.queue_s - QUEUE_S) / FULL_S).clamp(LEAST_PART, DECREASE);
                let by_queue = if self.queue_s > QUEUE_S { part } else { 1.0 };
                estimate = estimate.min(estimate_bps.min(1.1 * sent_bps) * by_loss.min(by_queue));
                self.cut_s = now_s;
            }
        } else if !limited {
            estimate *= 1.0 + INCREASE * dt;
        }
        match self.remb.filter(|(at, _)| now_s - at < REMB_S) {
            // A receiver raises its estimate with the bitrate that it receives, so REMB alone lets the
            // estimate rise.
            Some((_, remb)) if self.queue_s <= QUEUE_S && !limited => {
                (OF_REMB * remb).min(estimate_bps * (1.0 + dt))
            }
            Some((_, remb)) => estimate.min(OF_REMB * remb),
            None => estimate,
        }
    }

    /// The minimum round trip time of about the last half minute.
    fn least(&mut self, rtt: f64, now_s: f64) -> f64 {
        let (since, least) = *self.least.get_or_insert((now_s, rtt));
        if now_s - since > KEPT_S / 2.0 {
            (self.second, self.least) = (self.least, Some((now_s, rtt)));
        } else {
            self.least = Some((since, least.min(rtt)));
        }
        let both = [self.least, self.second];
        both.iter().flatten().map(|(_, least)| *least).fold(rtt, f64::min)
    }

    /// The queueing delay in seconds, the part of packets that was lost, and the round trip time in seconds, if known.
    pub(super) fn seen(&self) -> (f64, f64, Option<f64>) {
        (self.queue_s, self.loss, self.rtt_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_falls_with_delay_and_loss_and_rises_otherwise() {
        let mut blind = Blind::default();
        let said = |rtt_s, loss| Said { rtt_s: Some(rtt_s), loss: Some(loss), remb_bps: None };
        let mut estimate = 1e6;
        for n in 0..10 {
            estimate = blind.said(said(0.05, 0.0), estimate, 1e6, false, f64::from(n));
        }
        assert!((1.3e6..1.8e6).contains(&estimate), "{estimate}");
        let less = blind.said(said(0.25, 0.0), estimate, estimate, false, 10.0);
        assert!(less < 0.9 * estimate);
        let lossy = blind.said(said(0.05, 0.3), less, less, false, 11.0);
        assert!(lossy < 0.9 * less);
    }

    #[test]
    fn the_receivers_estimate_is_the_limit() {
        let mut blind = Blind::default();
        let remb = Said { rtt_s: Some(0.05), loss: Some(0.0), remb_bps: Some(700e3) };
        assert_eq!(blind.said(remb, 1e6, 1e6, false, 0.0), 665e3);
    }
}
