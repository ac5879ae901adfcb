//! Capture times of frames and periods, and their RTP timestamps.
//!
//! All capture times use one clock, the kernel's `CLOCK_MONOTONIC`, like V4L2 and ALSA. The RTP timestamps of both
//! streams are a fixed affine function of it, so a viewer that knows the offset can calculate the capture time of any
//! picture that it shows (see `web::signal`), and lip sync needs nothing more.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Capture time: microseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pts(u64);

impl Pts {
    /// The current time.
    pub fn now() -> Self {
        let ts = read(libc::CLOCK_MONOTONIC);
        Self(ts.tv_sec as u64 * 1_000_000 + ts.tv_nsec as u64 / 1_000)
    }

    /// A time given in microseconds of `CLOCK_MONOTONIC`.
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds of `CLOCK_MONOTONIC`.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The wall clock (Unix time) at this moment, by the current relation of the two clocks.
    pub fn unix(self) -> Duration {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Self::now();
        if self <= now { wall.saturating_sub(now.since(self)) } else { wall + self.since(now) }
    }
}

impl std::ops::Add<Duration> for Pts {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0 + d.as_micros() as u64)
    }
}

impl std::ops::Sub<Duration> for Pts {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(d.as_micros() as u64))
    }
}

/// Measures how long a thread waits for a processor while it works.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    began: Pts,
    ran: Duration,
}

impl Work {
    /// Begins the measurement for this thread.
    pub fn begin() -> Self {
        Self { began: Pts::now(), ran: ran() }
    }

    /// How long the thread has waited for a processor since then, if it waited for nothing else.
    pub fn waited(self) -> Duration {
        Pts::now().since(self.began).saturating_sub(ran().saturating_sub(self.ran))
    }
}

/// How long this thread has run.
fn ran() -> Duration {
    let ts = read(libc::CLOCK_THREAD_CPUTIME_ID);
    Duration::new(ts.tv_sec as u64, ts.tv_nsec as u32)
}

/// Time since the board started, including sleep (`CLOCK_BOOTTIME`).
pub fn running() -> Duration {
    let ts = read(libc::CLOCK_BOOTTIME);
    Duration::new(ts.tv_sec as u64, ts.tv_nsec as u32)
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid timespec for the kernel to fill; the clocks used here always exist on Linux.
    unsafe { libc::clock_gettime(clock, &mut ts) };
    ts
}

/// RTP clock rate of video, Hz (RFC 6184 section 8.2.1).
pub const VIDEO_HZ: u32 = 90_000;
/// RTP clock rate of Opus, Hz (RFC 7587 section 4.1).
pub const AUDIO_HZ: u32 = 48_000;

/// The fixed relation between capture times and the RTP timestamps of a stream.
#[derive(Clone, Copy, Debug)]
pub struct RtpClock {
    /// Ticks per second.
    pub hz: u32,
    /// RTP timestamp at monotonic time zero; random (RFC 3550 section 5.1).
    pub offset: u32,
}

impl RtpClock {
    /// The RTP timestamp of capture time `pts` (modulo 2^32).
    pub fn ticks(self, pts: Pts) -> u32 {
        let ticks = u128::from(pts.0) * u128::from(self.hz) / 1_000_000;
        self.offset.wrapping_add(ticks as u32)
    }

    /// The capture time of RTP timestamp `ticks`: the one nearest to `near`, within 2^31 ticks.
    pub fn pts(self, ticks: u32, near: Pts) -> Pts {
        let ahead = ticks.wrapping_sub(self.ticks(near)) as i32;
        let us = i64::from(ahead) * 1_000_000 / i64::from(self.hz);
        Pts(near.0.saturating_add_signed(us))
    }
}

/// The RTP clocks of this process. All viewers share them, because units are packetized once.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Video, [`VIDEO_HZ`].
    pub video: RtpClock,
    /// Audio, [`AUDIO_HZ`].
    pub audio: RtpClock,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_wrap_and_come_back() {
        let clock = RtpClock { hz: VIDEO_HZ, offset: u32::MAX - 10 };
        let pts = Pts::from_micros(86_400_000_000 * 400);
        let later = pts + Duration::from_millis(1500);
        assert_eq!(clock.ticks(later).wrapping_sub(clock.ticks(pts)), 135_000);
        let back = clock.pts(clock.ticks(pts), later);
        assert!(pts.since(back).max(back.since(pts)) <= Duration::from_micros(12));
    }

    #[test]
    fn unix_of_now_is_now() {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        assert!(Pts::now().unix().abs_diff(wall) < Duration::from_secs(1));
    }
}
