//! A rung's thread: takes the newest picture, scales it to the rung's size, and encodes and packetizes it
//! once for all its viewers.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::picture::{Job, Picture, Plan};
use super::{Context, STALL};
use crate::clock::{Pts, Work};
use crate::encode::candidates::Candidates;
use crate::encode::video::{Error, Settings, VideoEncoder};
use crate::heartbeat::{Heartbeat, WORK};
use crate::media::frame::Size;
use crate::media::h264::ProfileLevelId;
use crate::media::i420::I420;
use crate::media::packetize::{MAX_PAYLOAD, packetize};
use crate::media::scale::scale;
use crate::media::unit::VideoUnit;
use crate::memory;
use crate::pipeline::hub::{Capacity, Hub};
use crate::pipeline::orders;
use crate::pipeline::quality::Share;
use crate::pipeline::slot::Slot;
use crate::pipeline::thinning::Thinning;

/// Below this bitrate, in bits per second, packets are small: a large one would hold up sound for 30 ms.
const SLOW_BPS: u32 = 300_000;
/// Their payload, in bytes.
const SMALL_PAYLOAD: usize = 500;

/// The thread's name.
pub(super) const fn name(share: Share) -> &'static str {
    match share {
        Share::Full => "video-full",
        Share::Half => "video-half",
        Share::Quarter => "video-quarter",
    }
}

/// The state of the thread.
pub(super) struct Rung<'a> {
    share: Share,
    context: &'a Context,
    jobs: &'a Slot<Job>,
    hub: &'a Hub<VideoUnit>,
    heartbeat: Heartbeat,
    candidates: Candidates,
    encoder: Option<Box<dyn VideoEncoder>>,
    /// The last reported profile and bitrate of the encoder.
    told: Option<(ProfileLevelId, u32)>,
    /// Memory for scaled pictures.
    scaled: I420,
    thinning: Thinning,
}

impl<'a> Rung<'a> {
    pub(super) fn new(context: &'a Context, jobs: &'a Slot<Job>, share: Share) -> Self {
        Self {
            share,
            context,
            jobs,
            hub: context.stream.hub(share),
            heartbeat: context.heartbeats.thread(&context.threads.name(name(share))),
            candidates: Candidates::default(),
            encoder: None,
            told: None,
            scaled: I420::new(Size::new(0, 0)),
            thinning: Thinning::default(),
        }
    }

    /// Runs until `stop`; returns an error when no encoder works any more.
    pub(super) fn run(mut self, runtime: &Handle, stop: &CancellationToken) -> Result<(), Error> {
        while !stop.is_cancelled() {
            // The heartbeat continues while pictures are wanted: a thread that hangs is noticed even while it
            // waits.
            let wanted = self.hub.subscribers() > 0;
            let rest = match &self.encoder {
                _ if wanted => Some(STALL),
                Some(_) => Some(orders::LINGER),
                None => None,
            };
            match rest {
                Some(rest) if wanted => self.heartbeat.within(rest + WORK),
                _ => self.heartbeat.asleep(),
            }
            let job = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    job = self.jobs.take() => Some(job),
                    () = orders::sleep(rest) => None,
                }
            });
            self.heartbeat.within(WORK);
            match job {
                Some(job) => self.work(job)?,
                None if wanted => {}
                // Frees what nobody has used for as long as devices linger.
                None => {
                    (self.encoder, self.scaled) = (None, I420::new(Size::new(0, 0)));
                    memory::freed();
                }
            }
        }
        Ok(())
    }

    fn work(&mut self, Job { plan, picture, idr }: Job) -> Result<(), Error> {
        let capacity = self.hub.capacity();
        let result = match self.prepare(&plan, capacity.unwrap_or(Capacity::UNKNOWN)) {
            Ok(true) => match picture.zip(capacity) {
                Some((picture, capacity)) => self.encode(&picture, idr, capacity),
                None => Ok(false), // or those who wanted it have left meanwhile
            },
            Ok(false) => Ok(false),
            Err(e) => Err(e),
        };
        if idr && !matches!(result, Ok(true)) {
            self.hub.missed();
        }
        let Err(e) = result else { return Ok(()) };
        self.context.status.counters.encoder_errors.count();
        self.encoder = None;
        warn!("{}: {e}; starting a new encoder", name(self.share));
        self.candidates.failed(e, Pts::now())
    }

    /// Ensures that there is an encoder for this plan, with the rates that the best link carries. Returns false if
    /// its level is not known yet, which takes the full rung a moment: the next picture will have one.
    fn prepare(&mut self, plan: &Plan, capacity: Capacity) -> Result<bool, Error> {
        let level = match (self.share, plan.level.get()) {
            (Share::Full, _) => None,
            (_, None) => return Ok(false),
            (_, level) => level.copied(),
        };
        let settings = Settings {
            size: self.share.of(plan.size),
            fps: plan.most_fps as f32,
            bitrate_bps: self.share.bitrate_bps(plan.bitrate_bps),
            effort: plan.effort,
            level,
        };
        let rates = (settings.bitrate_bps.min(capacity.bitrate_bps), (plan.fps as f32).min(capacity.fps));
        let mut known = self.encoder.take().filter(|encoder| serves(&**encoder, settings));
        let aims = known.as_mut().is_some_and(|encoder| aim(&mut **encoder, rates).is_ok());
        let encoder = match known {
            Some(encoder) if aims => encoder,
            _ => {
                let mut encoder = self.candidates.make(settings)?;
                aim(&mut *encoder, rates)?;
                encoder
            }
        };
        if self.share == Share::Full {
            self.report(&*encoder, settings.bitrate_bps);
            let _ = plan.level.set(encoder.profile().0[2]); // usually set by an earlier job of this plan
        }
        self.encoder = Some(encoder);
        Ok(true)
    }

    /// Reports the encoder whose profile goes into answers, and its bitrate for a good link, if they have changed.
    fn report(&mut self, encoder: &dyn VideoEncoder, bitrate_bps: u32) {
        let profile = encoder.profile();
        if self.told == Some((profile, bitrate_bps)) {
            return;
        }
        self.told = Some((profile, bitrate_bps));
        self.context.stream.set_profile(profile);
        self.context.status.change(|v| {
            v.encoder = encoder.name();
            v.profile_level_id = profile.to_string();
            v.bitrate_bps = bitrate_bps;
        });
    }

    /// Encodes a picture and publishes it, unless no link carries it. Returns whether it became an IDR.
    fn encode(&mut self, picture: &Arc<Picture>, idr: bool, capacity: Capacity) -> Result<bool, Error> {
        let Context { status, clock, private, .. } = self.context;
        if !idr && (capacity.pause || !self.thinning.is_due(picture.pts, capacity.fps)) {
            return Ok(false);
        }
        let Some(encoder) = &mut self.encoder else { return Ok(false) };
        let (Settings { size, bitrate_bps, .. }, work) = (encoder.settings(), Work::begin());
        let payload = if bitrate_bps < SLOW_BPS { SMALL_PAYLOAD } else { MAX_PAYLOAD };
        let image = if picture.image.size() == size {
            &picture.image
        } else {
            if self.scaled.size() != size {
                self.scaled = I420::new(size);
            }
            scale(&picture.image, &mut self.scaled);
            &self.scaled
        };
        let coded = encoder.encode(image, picture.pts, idr)?;
        let (idr, disposable) = (coded.idr, coded.disposable);
        let payloads = packetize(&coded.nals, payload);
        let counters = &status.counters;
        counters.encoded.count();
        counters.encoded_bytes.add(payloads.iter().map(|p| p.len() as u64).sum());
        counters.keyframes.add(idr.into());
        picture.encoded(self.share, work.waited());
        let (pts, taken) = (picture.pts, picture.taken);
        let (ready, rtp_time) = (Pts::now(), clock.ticks(pts));
        let unit = Arc::new(VideoUnit { pts, taken, ready, rtp_time, idr, disposable, payloads });
        if picture.captured {
            self.hub.publish_captured(&unit, private);
        } else {
            self.hub.publish(&unit);
        }
        Ok(idr)
    }
}

/// Whether an encoder has these settings, apart from its rates.
fn serves(encoder: &dyn VideoEncoder, settings: Settings) -> bool {
    let now = encoder.settings();
    Settings { bitrate_bps: now.bitrate_bps, fps: now.fps, ..settings } == now
}

/// Sets an encoder's bitrate and frame rate.
fn aim(encoder: &mut dyn VideoEncoder, (bitrate_bps, fps): (u32, f32)) -> Result<(), Error> {
    let now = encoder.settings();
    if (now.bitrate_bps, now.fps) == (bitrate_bps, fps) {
        Ok(())
    } else {
        encoder.set_rates(bitrate_bps, fps)
    }
}

#[cfg(test)]
mod tests {
    use openh264::decoder::Decoder;
    use openh264::formats::YUVSource;

    use super::*;
    use crate::capture::VideoSource as _;
    use crate::capture::pattern::Pattern;
    use crate::config::Effort;
    use crate::media::convert::Converter;

    const FULL: Size = Size::new(640, 360);

    /// Settings of a rung, as its thread creates them.
    fn settings(share: Share, level: Option<u8>) -> Settings {
        let bitrate_bps = share.bitrate_bps(1_000_000);
        Settings { size: share.of(FULL), fps: 60.0, bitrate_bps, effort: Effort::Low, level }
    }

    /// A viewer may move from one rung to another and back: a single decoder decodes the whole stream, and
    /// shows the captured pictures in the size of the rung.
    #[test]
    fn one_decoder_shows_a_walk_over_two_rungs() {
        let candidates = Candidates::default();
        let full = candidates.make(settings(Share::Full, None)).expect("an encoder");
        let level = full.profile().0[2];
        let half = candidates.make(settings(Share::Half, Some(level))).expect("an encoder");
        assert_eq!(full.profile(), half.profile(), "one answer for both");
        let (mut encoders, mut decoder) = ([full, half], Decoder::new().expect("a decoder"));
        let (mut pattern, mut converter) = (Pattern::new(FULL, 60), Converter::default());
        let (mut image, mut scaled) = (I420::new(FULL), I420::new(Share::Half.of(FULL)));
        let (mut run, mut left) = (0, 0);
        for n in 0..180 {
            let frame = pattern.next(std::time::Duration::from_secs(1)).expect("no error").expect("a frame");
            converter.convert(&frame, &mut image).expect("converted");
            scale(&image, &mut scaled);
            // Runs of 1 to 9 pictures, each starting with an IDR.
            let begins = left == 0;
            if begins {
                run += 1;
                left = run * 5 % 9 + 1;
            }
            left -= 1;
            let (at, shown) = if run % 2 == 0 { (0, &image) } else { (1, &scaled) };
            let unit = encoders[at].encode(shown, frame.pts, begins).expect("encoded");
            assert_eq!(unit.idr, begins, "picture {n}");
            let stream: Vec<u8> =
                unit.nals.iter().flat_map(|nal| [&[0, 0, 0, 1][..], nal].concat()).collect();
            let decoded = decoder.decode(&stream).expect("decodes").expect("a picture");
            let (width, height) = decoded.dimensions();
            assert_eq!(Size::new(width as u32, height as u32), shown.size(), "picture {n}");
            let stride = decoded.strides().0;
            let rows = decoded.y().chunks(stride).zip(shown.planes().0.chunks(width)).take(height);
            let error: u64 =
                rows.flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            let mean = error as f64 / (width * height) as f64;
            assert!(mean < 6.0, "picture {n} is off by {mean} on average");
        }
    }
}
