//! What the convert thread passes to the rungs' threads: a shared picture, and how to encode it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::Pts;
use crate::config::Effort;
use crate::encode::governor::Spent;
use crate::media::frame::Size;
use crate::media::i420::I420;
use crate::pipeline::quality::Share;

/// Number of pictures kept for reuse: two rungs use one each while another is being converted.
const KEPT: usize = 4;
/// Largest number of finished pictures that nobody has collected yet.
const FINISHED: usize = 8;

/// How pictures are encoded: the same for all rungs, except for their share of the size.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Size of full pictures; even.
    pub size: Size,
    /// Pictures per second.
    pub fps: f64,
    /// The frame rate for which encoders are created and their level is chosen; lower rates need no new
    /// encoder.
    pub most_fps: f64,
    /// Bitrate for full pictures, in bits per second.
    pub bitrate_bps: u32,
    /// How much CPU time to spend on quality.
    pub effort: Effort,
    /// `level_idc` of all rungs; known once the full rung's encoder exists.
    pub level: Arc<OnceLock<u8>>,
}

impl Plan {
    /// Whether encoders for one plan can be used for the other.
    pub(super) fn fits(&self, other: &Self) -> bool {
        (self.size, self.effort) == (other.size, other.effort) && other.fps <= self.most_fps
    }
}

/// A job for a rung's thread. Only the newest waits.
pub(super) struct Job {
    pub plan: Plan,
    /// The picture to encode; `None` only ensures that there is an encoder.
    pub picture: Option<Arc<Picture>>,
    /// Whether the picture is to become an IDR.
    pub idr: bool,
}

/// A converted picture. Its memory is reused once the last rung has dropped it.
pub(super) struct Picture {
    pub image: I420,
    pub pts: Pts,
    /// When the conversion of its frame began.
    pub taken: Pts,
    /// Since when there was a frame to take.
    pub put: Pts,
    pub converted: Pts,
    /// Whether it was captured, as opposed to drawn by us.
    pub captured: bool,
    /// Size of the full picture.
    pub size: Size,
    /// The rungs that have encoded it, one bit each.
    encoded: AtomicU8,
    /// The longest time that any of their threads waited for a CPU core, in microseconds.
    waited_us: AtomicU64,
    pool: Arc<Pool>,
}

impl Picture {
    /// Records that this rung has encoded it, and how long its thread waited for a CPU core meanwhile.
    pub(super) fn encoded(&self, share: Share, waited: Duration) {
        self.encoded.fetch_or(1 << share.index(), Ordering::Relaxed);
        self.waited_us.fetch_max(waited.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        let (encoded, waited) = (*self.encoded.get_mut(), Duration::from_micros(*self.waited_us.get_mut()));
        let shares = Share::ALL.into_iter().filter(|share| encoded & 1 << share.index() != 0);
        let Self { put, converted, captured, size, .. } = *self;
        let share = shares.map(Share::pixels).sum();
        let finished = Finished { put, converted, ready: Pts::now(), waited, share, size };
        let mut pool = self.pool.lock();
        pool.keep(std::mem::replace(&mut self.image, I420::new(Size::new(0, 0))));
        if captured && encoded != 0 && pool.finished.len() < FINISHED {
            pool.finished.push(finished);
        }
    }
}

/// A picture that went through all of its rungs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished {
    put: Pts,
    converted: Pts,
    /// When the last rung had encoded it.
    pub ready: Pts,
    /// The longest time that any of their threads waited for a CPU core.
    waited: Duration,
    /// The encoded pixels as a share of a full picture's.
    share: f64,
    /// Size of the full picture.
    pub size: Size,
}

impl Finished {
    /// The time that it took, if the previous picture was ready at `before`. The measure is whether it is
    /// encoded before the next one arrives. So the time starts when it, or a frame that it replaced, was put
    /// into the slot, or when the previous picture was done, and includes waiting for the CPU.
    pub(super) fn spent(&self, before: Pts) -> Spent {
        let begun = self.put.max(before);
        let encoding = self.ready.since(begun.max(self.converted));
        let fixed = self.ready.since(begun).saturating_sub(encoding);
        Spent { fixed, encoding, waited: self.waited.min(encoding), share: self.share }
    }
}

/// Memory for pictures, and the results of those that came back.
#[derive(Default)]
pub(super) struct Pool(Mutex<Returned>);

#[derive(Default)]
struct Returned {
    images: Vec<I420>,
    finished: Vec<Finished>,
}

impl Returned {
    fn keep(&mut self, image: I420) {
        if self.images.len() < KEPT {
            self.images.push(image);
        }
    }
}

impl Pool {
    /// Memory for a picture of the (even) `size`; its contents are undefined.
    pub(super) fn image(&self, size: Size) -> I420 {
        let mut pool = self.lock();
        pool.images.retain(|image| image.size() == size);
        let image = pool.images.pop();
        drop(pool);
        image.unwrap_or_else(|| I420::new(size))
    }

    /// Takes back unused memory.
    pub(super) fn keep(&self, image: I420) {
        self.lock().keep(image);
    }

    /// The pictures that came back since the previous call, in order.
    pub(super) fn finished(&self) -> Vec<Finished> {
        std::mem::take(&mut self.lock().finished)
    }

    /// Creates a picture from memory of this pool.
    pub(super) fn picture(
        self: &Arc<Self>,
        image: I420,
        pts: Pts,
        times: [Pts; 3],
        captured: bool,
        size: Size,
    ) -> Picture {
        let ([put, taken, converted], pool) = (times, self.clone());
        let (encoded, waited_us) = (AtomicU8::new(0), AtomicU64::new(0));
        Picture { image, pts, taken, put, converted, captured, size, encoded, waited_us, pool }
    }

    fn lock(&self) -> MutexGuard<'_, Returned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size::new(64, 48);

    fn picture(pool: &Arc<Pool>, at: u64, captured: bool) -> Picture {
        let at = Pts::from_micros(at);
        pool.picture(pool.image(SIZE), at, [at; 3], captured, SIZE)
    }

    #[test]
    fn memory_comes_back_with_the_last_rung_and_tells_what_was_encoded() {
        let pool = Arc::new(Pool::default());
        let shared = Arc::new(picture(&pool, 5, true));
        let (full, half) = (shared.clone(), shared.clone());
        let memory = shared.image.planes().0.as_ptr();
        drop(shared);
        full.encoded(Share::Full, Duration::from_millis(3));
        drop(full);
        assert!(pool.finished().is_empty(), "the half rung is still encoding");
        half.encoded(Share::Half, Duration::from_millis(2));
        drop(half);
        let [finished] = pool.finished()[..] else { panic!("one") };
        assert_eq!((finished.share, finished.size), (1.25, SIZE));
        assert_eq!(finished.waited, Duration::from_millis(3));
        assert!(pool.finished().is_empty());
        let image = pool.image(SIZE);
        assert_eq!(image.planes().0.as_ptr(), memory);
        pool.keep(image);
        assert_eq!(pool.image(Size::new(96, 48)).size(), Size::new(96, 48));
    }

    #[test]
    fn what_nobody_encoded_or_captured_is_no_measure() {
        let pool = Arc::new(Pool::default());
        drop(picture(&pool, 1, true));
        let slate = picture(&pool, 2, false);
        slate.encoded(Share::Full, Duration::ZERO);
        drop(slate);
        assert!(pool.finished().is_empty());
        for n in 0..100 {
            let picture = picture(&pool, n, true);
            picture.encoded(Share::Full, Duration::ZERO);
        }
        assert_eq!(pool.finished().len(), FINISHED, "bounded even if nobody collects them");
    }

    #[test]
    fn time_runs_from_when_there_was_a_frame_or_the_one_before_was_ready() {
        let at = |ms: u64| Pts::from_micros(1_000_000 + ms * 1_000);
        let spent = |put, converted, ready, before| {
            let (put, converted, ready) = (at(put), at(converted), at(ready));
            let waited = Duration::ZERO;
            let finished = Finished { put, converted, ready, waited, share: 1.0, size: SIZE };
            let Spent { fixed, encoding, .. } = finished.spent(at(before));
            [fixed, encoding].map(|d| d.as_millis())
        };
        assert_eq!(spent(100, 104, 120, 90), [4, 16]);
        assert_eq!(spent(100, 104, 120, 102), [2, 16]);
        assert_eq!(spent(100, 104, 140, 120), [0, 20], "converted while the one before was encoded");
        assert_eq!(spent(100, 104, 140, 150), [0, 0], "ready before the one before");
        assert_eq!(Duration::ZERO, Spent::default().fixed);
    }
}
