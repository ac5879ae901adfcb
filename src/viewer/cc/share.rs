//! How much of the estimate the encoder may use, and how it should use it. Sound, retransmissions and headers
//! are subtracted first, and the pacer's backlog is made up for. At low bitrates there are fewer pictures and
//! smaller packets, so that no sound waits long behind a packet.

/// Part of the estimate that is planned for: no encoder meets its bitrate with every picture.
const PLANNED: f64 = 0.97;
/// Time in which the pacer's backlog should be gone, in seconds.
const CATCH_UP_S: f64 = 0.5;
/// Headers and authentication tag of a picture packet over IPv4, in bytes: IP and UDP 28, RTP 12, extensions
/// 8, AES-GCM 16.
const HEADERS: f64 = 64.0;
/// Maximum payload size, in bytes: usually, and on slow links.
pub(super) const PAYLOADS: (usize, usize) = (1_180, 500);
/// Below this estimate payloads are small, in bits per second: a packet of 1,180 bytes would take more than
/// 30 ms.
const SMALL_BPS: f64 = 300e3;
/// Minimum average size of a picture, in bits; at lower bitrates there are fewer pictures.
const PICTURE: f64 = 4_000.0;
/// Minimum number of pictures per second.
const LEAST_FPS: f64 = 6.0;
/// No new picture is encoded while the backlog would take longer than this, in seconds.
const PAUSE_S: f64 = 0.20;
/// Minimum bitrate for an encoder, in bits per second.
const LEAST_BPS: f64 = 24e3;
/// Increases of less than this part are not applied.
const STEP: f64 = 0.03;
/// Minimum time between two increases, in seconds.
const INCREASE_S: f64 = 0.10;

/// The settings for an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    /// Bitrate of the encoded pictures, in bits per second.
    pub video_bps: f64,
    /// Maximum number of pictures per second.
    pub fps: f64,
    /// Maximum payload size, in bytes.
    pub payload: usize,
    /// Whether to skip the next picture, because enough are waiting.
    pub pause: bool,
}

impl Share {
    /// Computes the share from an estimate. `sound_bps` and `repeats_bps` are the bitrates of sound and
    /// retransmissions with their headers, `waiting` the number of waiting bytes of pictures, and `most_fps`
    /// the frame rate of the camera.
    pub(crate) fn of(
        estimate_bps: f64,
        sound_bps: f64,
        repeats_bps: f64,
        waiting: f64,
        most_fps: f64,
    ) -> Self {
        let carried = (PLANNED * estimate_bps - sound_bps - repeats_bps).max(0.0);
        // One picture always waits.
        let late = (waiting - carried / 8.0 / most_fps.max(1.0)).max(0.0);
        let left = (carried - late * 8.0 / CATCH_UP_S).max(0.3 * carried);
        let payload = if estimate_bps < SMALL_BPS { PAYLOADS.1 } else { PAYLOADS.0 };
        let fps = (left / (PICTURE + HEADERS * 8.0)).clamp(LEAST_FPS.min(most_fps), most_fps);
        // Sizes vary, so half a packet more than for the average picture is planned.
        let packets = (left / 8.0 / fps / (payload as f64 + HEADERS) + 0.5).max(1.0);
        let video_bps = (left - packets * HEADERS * 8.0 * fps).max(LEAST_BPS);
        let pause = waiting * 8.0 > PAUSE_S * estimate_bps.max(1.0);
        Self { video_bps, fps, payload, pause }
    }
}

/// The bitrate that an encoder is set to: decreases are applied at once, increases in steps that are worth
/// it.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    at: Option<(f64, f64)>,
}

impl Applied {
    /// The bitrate to set now.
    pub(crate) fn follow(&mut self, video_bps: f64, now_s: f64) -> f64 {
        let applied = match self.at {
            Some((_, before)) if video_bps <= before => (now_s, video_bps),
            Some((at, before)) if video_bps > before * (1.0 + STEP) && now_s - at >= INCREASE_S => {
                (now_s, video_bps)
            }
            Some(same) => same,
            None => (now_s, video_bps),
        };
        self.at = Some(applied);
        applied.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_sound_and_headers_fit_the_estimate() {
        for estimate in [100e3, 200e3, 400e3, 1e6, 4e6] {
            let share = Share::of(estimate, 41e3, 0.0, 0.0, 30.0);
            let packets = (share.video_bps / 8.0 / share.fps / share.payload as f64).max(1.0) * share.fps;
            let all = share.video_bps + packets * HEADERS * 8.0 + 41e3;
            assert!(all <= estimate && all > 0.88 * estimate, "{estimate}: {all} {share:?}");
            assert!(share.fps >= 6.0);
        }
    }

    #[test]
    fn the_backlog_is_made_up_for() {
        let calm = Share::of(1e6, 60e3, 0.0, 3_000.0, 30.0);
        let late = Share::of(1e6, 60e3, 0.0, 20_000.0, 30.0);
        assert!(late.video_bps < 0.8 * calm.video_bps && !late.pause);
        assert!(Share::of(1e6, 60e3, 0.0, 30_000.0, 30.0).pause);
    }

    #[test]
    fn decreases_are_applied_at_once_and_increases_in_steps() {
        let mut applied = Applied::default();
        assert_eq!(applied.follow(1e6, 0.0), 1e6);
        assert_eq!(applied.follow(0.99e6, 0.01), 0.99e6);
        assert_eq!(applied.follow(1.0e6, 1.0), 0.99e6);
        assert_eq!(applied.follow(1.1e6, 1.1), 1.1e6);
    }
}
