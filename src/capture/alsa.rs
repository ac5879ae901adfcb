//! A microphone, read through ALSA in periods of about 10 ms, with the driver's timestamp for each period.
//! The hardware's own settings are used as far as possible.
//!
//! The device is opened non-blocking, and each wait has a limit, so that the thread can always be stopped.
//! While nobody is listening the stream is stopped, not drained: this costs nothing, and after a start only
//! new sound arrives.

use std::ffi::CString;
use std::io;
use std::time::Duration;

use alsa::card::Card;
use alsa::pcm::{self, Access, HwParams, PCM, State, TstampType};
use alsa::{Direction, Output, ValueOr};

use super::Error;
use crate::clock::{AUDIO_HZ, Pts};
use crate::media::pcm::Format;
use crate::text::shown;

/// The device's name in error messages, as in "microphone unplugged".
const WHAT: &str = "microphone";
/// Sample formats in order of preference. 16 bits come first: their 98 dB are more than a room offers, and on
/// USB 2 the camera needs the bandwidth.
const FORMATS: [(Format, pcm::Format); 5] = [
    (Format::S16, pcm::Format::S16LE),
    (Format::S24In3, pcm::Format::S243LE),
    (Format::S24, pcm::Format::S24LE),
    (Format::S32, pcm::Format::S32LE),
    (Format::Float, pcm::Format::FloatLE),
];
/// Sample rates in order of preference: our own first, then those with the best ratio of quality to cost.
const RATES: [u32; 12] =
    [AUDIO_HZ, 44_100, 96_000, 88_200, 192_000, 176_400, 32_000, 24_000, 22_050, 16_000, 11_025, 8_000];
/// Wanted period. A short period keeps the delay low, and 100 wakeups a second cost next to no CPU time.
const PERIOD: Duration = Duration::from_millis(10);
/// Wanted size of the driver's buffer: what may pile up while the thread is delayed. A longer buffer would
/// only keep sound that is too old to be sent.
const BUFFER: Duration = Duration::from_millis(200);
/// A device that delivers nothing for this long is considered stalled.
const STALLED: Duration = Duration::from_secs(2);
/// A driver's timestamp older than this is considered invalid.
const OLDEST_TIMESTAMP: Duration = Duration::from_secs(1);

/// The settings that the device accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Samples per second, by the device's own clock.
    pub rate_hz: u32,
    /// Number of channels.
    pub channels: u32,
    /// Sample format.
    pub format: Format,
    /// Time between deliveries.
    pub period: Duration,
    /// Length of the driver's buffer.
    pub buffer: Duration,
}

/// An open microphone.
pub struct Microphone {
    pcm: PCM,
    spec: Spec,
    running: bool,
    /// When data last arrived, or the stream was started.
    alive: Pts,
    bytes: Vec<u8>,
}

/// The result of waiting for a period.
#[derive(Debug)]
pub enum Read<'a> {
    /// No data yet.
    Nothing,
    /// All samples that were waiting.
    Samples {
        /// Interleaved samples, in the format of [`Spec`].
        bytes: &'a [u8],
        /// How many samples, counted from the first of these, had been captured at the time `at`.
        captured: u64,
        /// The time that belongs to `captured`.
        at: Pts,
    },
    /// The stream was started, or restarted after an interruption: samples count from zero.
    Started {
        /// Whether samples were lost, because they were not read in time or the system slept.
        lost: bool,
    },
}

impl Microphone {
    /// Opens the PCM called `name`. Asks for `channels`, but takes what the device offers.
    pub fn open(name: &str, channels: u32) -> Result<Self, Error> {
        let pcm = open_pcm(name)?;
        let spec = configure(&pcm, name, channels)?;
        let frame = spec.format.bytes() * spec.channels as usize;
        let frames = (spec.buffer.as_secs_f64() * f64::from(spec.rate_hz)).ceil() as usize;
        Ok(Self { pcm, spec, running: false, alive: Pts::now(), bytes: vec![0; frames * frame] })
    }

    /// The name of the card; `None` if the PCM belongs to no card (a sound server, for example).
    pub fn card(&self) -> Option<String> {
        let card = self.pcm.info().ok()?.get_card();
        (card >= 0).then(|| Card::new(card).get_name().ok()).flatten().map(|name| shown(&name))
    }

    /// The settings that the device accepted.
    pub fn spec(&self) -> Spec {
        self.spec
    }

    /// Returns the next samples, and waits for them at most `timeout`. Starts the stream if it is stopped.
    pub fn read(&mut self, timeout: Duration) -> Result<Read<'_>, Error> {
        if !self.running {
            return self.start(false);
        }
        match self.pcm.wait(Some(timeout.as_millis() as u32)) {
            Ok(true) => {}
            Ok(false) => return self.nothing(),
            Err(e) => return self.recover(e),
        }
        let status = match self.pcm.status() {
            Ok(status) => status,
            Err(e) => return self.recover(e),
        };
        let now = Pts::now();
        // `delay` reaches back to the converter, `avail` only to the driver's buffer; not every driver fills
        // in `delay`.
        let (avail, delay) = (status.get_avail().max(0) as u64, status.get_delay().max(0) as u64);
        let captured =
            if (avail..avail + u64::from(self.spec.rate_hz)).contains(&delay) { delay } else { avail };
        let stamp = status.get_htstamp();
        let stamp = dated(stamp.tv_sec as u64, stamp.tv_nsec as u64);
        let at = if stamp <= now && now.since(stamp) < OLDEST_TIMESTAMP { stamp } else { now };

        let read = self.pcm.io_bytes().readi(&mut self.bytes);
        match read {
            Ok(0) => self.nothing(),
            Ok(frames) => {
                self.alive = now;
                let bytes = frames * self.spec.format.bytes() * self.spec.channels as usize;
                Ok(Read::Samples { bytes: &self.bytes[..bytes], captured, at })
            }
            Err(e) => self.recover(e),
        }
    }

    /// Stops the stream until the next [`read`](Self::read). Call it now and then while nobody is listening:
    /// it also notices when the device is gone.
    pub fn rest(&mut self) -> Result<(), Error> {
        if self.running {
            self.running = false;
            self.pcm.drop().map_err(broken)?;
        }
        if self.unplugged() { Err(Error::unplugged(WHAT)) } else { Ok(()) }
    }

    fn unplugged(&self) -> bool {
        self.pcm.state_raw() == State::Disconnected as i32
    }

    fn start(&mut self, lost: bool) -> Result<Read<'_>, Error> {
        self.pcm.prepare().and_then(|()| self.pcm.start()).map_err(broken)?;
        self.running = true;
        self.alive = Pts::now();
        Ok(Read::Started { lost })
    }

    fn nothing(&self) -> Result<Read<'_>, Error> {
        if Pts::now().since(self.alive) > STALLED { Err(Error::Stalled(WHAT)) } else { Ok(Read::Nothing) }
    }

    /// Restarts the stream after an overrun or a suspend; returns any other error.
    fn recover(&mut self, e: alsa::Error) -> Result<Read<'_>, Error> {
        match e.errno().abs() {
            libc::EAGAIN => {
                // The device was reported ready, but was not. Don't spin on a driver that does this all the
                // time:
                std::thread::sleep(Duration::from_millis(1));
                self.nothing()
            }
            libc::EINTR => self.nothing(),
            libc::EPIPE => self.start(true),
            // Few drivers can resume, and it is not needed: sound from before the sleep is not wanted.
            libc::ESTRPIPE => self.start(true),
            _ => {
                // While a card is being unplugged, the first error is EIO; the state changes a little later.
                std::thread::sleep(Duration::from_millis(50));
                if self.unplugged() { Err(Error::unplugged(WHAT)) } else { Err(broken(e)) }
            }
        }
    }
}

/// On 32-bit ARM the same package runs with two versions of alsa-lib: Debian 12 and older write a timespec of
/// 8 bytes, Debian 13 writes one of 16 bytes (64-bit time). A zeroed buffer of 16 bytes makes the call safe
/// with both, and the shorter layout is then recognised in it. For this, `.cargo/config.toml` makes alsa-sys
/// use the longer type, whatever version it finds.
#[cfg(all(target_arch = "arm", target_env = "gnu"))]
const _: () = assert!(size_of::<alsa::timespec>() == 16, "build with RUSTFLAGS='--cfg alsa_sys_time64'");

/// Converts a timespec of alsa-lib. Where the shorter layout was written into the longer one, its nanoseconds
/// are in the upper half of the seconds, and the field for nanoseconds is zero; seconds never need more than
/// 32 bits.
fn dated(sec: u64, nsec: u64) -> Pts {
    let (sec, nsec) = if sec >> 32 == 0 { (sec, nsec) } else { (sec & u64::from(u32::MAX), sec >> 32) };
    Pts::from_micros(sec * 1_000_000 + nsec / 1_000)
}

/// Opens a PCM for capture, without waiting for a program that has it open.
pub(super) fn open_pcm(name: &str) -> Result<PCM, Error> {
    keep_quiet();
    let c_name =
        CString::new(name).map_err(|_| Error::Unusable(format!("{name:?} is not a valid ALSA name")))?;
    PCM::open(&c_name, Direction::Capture, true).map_err(|e| match e.errno().abs() {
        libc::EBUSY | libc::EAGAIN => Error::busy(name),
        libc::EACCES | libc::EPERM => {
            Error::denied(format_args!("{name} (add this user to the group `audio` and log in again)"))
        }
        libc::ENOENT | libc::ENODEV | libc::ENXIO => {
            Error::None(format!("there is no microphone {name}; `peercam devices` lists all microphones"))
        }
        libc::EINVAL => Error::Unusable(format!("{name:?} is not a valid ALSA name for a microphone")),
        errno => Error::io(format_args!("opening {name}"), &io::Error::from_raw_os_error(errno)),
    })
}

/// The supported formats among those that `hw` allows, in order of preference.
pub(super) fn formats(hw: &HwParams<'_>) -> impl Iterator<Item = (Format, pcm::Format)> {
    FORMATS.into_iter().filter(|(_, f)| hw.test_format(*f).is_ok())
}

/// The usual rates among those that `hw` allows, in order of preference.
pub(super) fn rates(hw: &HwParams<'_>) -> impl Iterator<Item = u32> {
    RATES.into_iter().filter(|r| hw.test_rate(*r).is_ok())
}

/// Discards alsa-lib's own messages, which go to stderr at every attempt to open a device; what matters comes
/// back as an error. This applies to the calling thread; calling it again discards what was collected.
pub(super) fn keep_quiet() {
    let _ = Output::local_error_handler();
}

/// Configures the device with as little conversion by alsa-lib as its name allows.
fn configure(pcm: &PCM, name: &str, channels: u32) -> Result<Spec, Error> {
    let failed = |what: &str| {
        let (device, what) = (name.to_owned(), format!("configuring {what} of {name}"));
        move |e: alsa::Error| match e.errno().abs() {
            libc::ENODEV => Error::unplugged(WHAT),
            libc::EBUSY => Error::busy(device),
            errno => Error::io(what, &io::Error::from_raw_os_error(errno)),
        }
    };
    let advice = if name.starts_with("hw:") { format!("; plug{name} may work") } else { String::new() };
    let unusable = |why: &str| Error::Unusable(format!("{name} {why}{advice}"));

    let hw = HwParams::any(pcm).map_err(failed("the hardware parameters"))?;
    let _ = hw.set_rate_resample(false); // our resampler is better than the one in alsa-lib's "plug"
    hw.set_access(Access::RWInterleaved).map_err(|_| unusable("does not support interleaved channels"))?;
    let (format, alsa_format) =
        formats(&hw).next().ok_or_else(|| unusable("has no sample format that peercam supports"))?;
    hw.set_format(alsa_format).map_err(failed("the format"))?;
    match [channels, 1, 2].into_iter().find(|c| hw.test_channels(*c).is_ok()) {
        Some(c) => hw.set_channels(c).map_err(failed("the number of channels"))?,
        None => drop(hw.set_channels_near(channels).map_err(failed("the number of channels"))?),
    }
    let rate = rates(&hw).next().unwrap_or(AUDIO_HZ);
    hw.set_rate_near(rate, ValueOr::Nearest).map_err(failed("the rate"))?;
    hw.set_period_time_near(PERIOD.as_micros() as u32, ValueOr::Nearest).map_err(failed("the period"))?;
    hw.set_buffer_time_near(BUFFER.as_micros() as u32, ValueOr::Nearest).map_err(failed("the buffer"))?;
    pcm.hw_params(&hw).map_err(failed("the hardware parameters"))?;

    let period = hw.get_period_size().map_err(failed("the period"))?;
    let buffer = hw.get_buffer_size().map_err(failed("the buffer"))?;
    let sw = pcm.sw_params_current().map_err(failed("the software parameters"))?;
    sw.set_avail_min(period).map_err(failed("the period"))?;
    let _ = sw.set_tstamp_mode(true); // PCMs without hardware may refuse these two calls;
    let _ = sw.set_tstamp_type(TstampType::Monotonic); // the time of reading is used then
    pcm.sw_params(&sw).map_err(failed("the software parameters"))?;

    let rate_hz = hw.get_rate().map_err(failed("the rate"))?;
    let span =
        |frames: pcm::Frames| Duration::from_secs_f64(frames.max(0) as f64 / f64::from(rate_hz.max(1)));
    let channels = hw.get_channels().map_err(failed("the number of channels"))?;
    Ok(Spec { rate_hz, channels, format, period: span(period), buffer: span(buffer) })
}

/// Converts an error of a running stream.
fn broken(e: alsa::Error) -> Error {
    match e.errno().abs() {
        libc::ENODEV | libc::ENXIO | libc::EBADFD => Error::unplugged(WHAT),
        errno => Error::io(format_args!("reading from the {WHAT}"), &io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `bytes` as alsa-lib would. The two layouts of a timespec, little-endian, are (i32, i32) and
    /// (i64, i32, padding).
    fn written(bytes: &[u8]) -> Pts {
        let mut room = [0; 16];
        room[..bytes.len()].copy_from_slice(bytes);
        let word =
            |at: usize| <[u8; 4]>::try_from(&room[at..at + 4]).map(u32::from_le_bytes).expect("4 bytes");
        dated(u64::from(word(0)) | u64::from(word(4)) << 32, word(8).into())
    }

    #[test]
    fn both_timespecs_of_32_bit_arm_are_understood() {
        for (sec, nsec) in [(0_u32, 0_u32), (0, 999_999_999), (7, 0), (4_000_000, 123_456_789)] {
            let expected = Pts::from_micros(u64::from(sec) * 1_000_000 + u64::from(nsec) / 1_000);
            let short = [sec.to_le_bytes(), nsec.to_le_bytes()].concat();
            let long = [sec.to_le_bytes(), [0; 4], nsec.to_le_bytes(), [0; 4]].concat();
            assert_eq!(written(&short), expected);
            assert_eq!(written(&long), expected);
        }
        // Invalid values must not overflow.
        let nonsense = dated(u64::MAX, u64::MAX);
        assert!(nonsense > Pts::from_micros(1 << 50));
    }

    #[test]
    fn the_library_of_this_machine_dates_as_it_is_read() {
        let mut null = Microphone::open("null", 1).expect("part of alsa-lib");
        let before = Pts::now();
        assert!(matches!(null.read(Duration::ZERO), Ok(Read::Started { lost: false })));
        let stamp = null.pcm.status().expect("a status").get_htstamp();
        let at = dated(stamp.tv_sec as u64, stamp.tv_nsec as u64);
        assert!(at >= before && at <= Pts::now(), "{before:?} {at:?} {stamp:?}");
    }
}
