//! The current state of each part, and counters. The page, `/api/status` and the log all read them from here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::Pts;
use crate::media::frame::Size;
use crate::media::mode::Mode;
use crate::pressure::Pressure;

/// The state of a camera or microphone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being opened, or not tried yet.
    #[default]
    Opening,
    /// Open, but nothing has been received yet: some cameras take 5 s until their first picture.
    Starting,
    /// Open and delivering.
    Live,
    /// Closed, because nobody watches; the other facts are the last known ones.
    Idle,
    /// Not available; `reason` says why. It is tried again every second while somebody watches.
    Gone,
    /// Closed, because privacy is on.
    Private,
    /// Switched off in the configuration.
    Off,
}

/// The status of a camera's video.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Video {
    /// The state of the camera.
    pub state: State,
    /// Why it does not deliver, in one sentence for the viewer.
    pub reason: Option<String>,
    /// "camera" or "pattern".
    pub source: &'static str,
    /// The device's own name.
    pub name: String,
    /// The device node, if there is one.
    pub device: Option<String>,
    /// Why this device was chosen.
    pub why: String,
    /// The configured mode.
    pub wanted: Option<Mode>,
    /// The mode that the driver agreed to.
    pub negotiated: Option<Mode>,
    /// Frame rate measured at capture, frames per second.
    pub delivered_fps: Option<f64>,
    /// Why the delivered rate differs from the negotiated one, if known ("light: exposure_dynamic_framerate is on").
    pub rate_note: Option<String>,
    /// The encoder, e.g. "OpenH264".
    pub encoder: &'static str,
    /// `profile-level-id` of the SPS in use, six hexadecimal digits.
    pub profile_level_id: String,
    /// The configured bitrate.
    pub bitrate_bps: u32,
    /// The reduced size and rate, if the board can't handle more.
    pub reduced: Option<Reduced>,
}

/// A reduction of size or frame rate below what the camera delivers, so that the delay does not grow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reduced {
    /// Largest size.
    #[serde(flatten)]
    pub size: Size,
    /// Highest frame rate, frames per second.
    pub fps: f64,
    /// The reason, in one sentence for the viewer.
    pub why: String,
}

/// The status of a microphone.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audio {
    /// The state of the microphone.
    pub state: State,
    /// Why it does not deliver, in one sentence for the viewer.
    pub reason: Option<String>,
    /// "microphone", "tone" or "off".
    pub source: &'static str,
    /// The device's own name.
    pub name: String,
    /// The ALSA name, if there is one.
    pub device: Option<String>,
    /// Why this device was chosen.
    pub why: String,
    /// Sample rate of the device, Hz.
    pub rate_hz: u32,
    /// Channels of the device.
    pub device_channels: u32,
    /// Sample format of the device, as ALSA writes it.
    pub format: String,
    /// Encoded channels.
    pub channels: u32,
    /// Drift of the device clock against the monotonic clock, parts per million; positive: the device is fast.
    pub drift_ppm: Option<f64>,
    /// Remaining difference between sample time and capture time, milliseconds.
    pub offset_ms: Option<f64>,
}

/// The status of the board.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Board {
    /// Highest temperature, degrees Celsius; `None` if unknown.
    pub temperature_c: Option<f64>,
    /// Why the board is slower than it could be, if it is.
    pub pressure: Option<Pressure>,
}

/// The configuration's source, and whether the last reload was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// The file, or a description of the defaults.
    pub source: String,
    /// Why the last reload was refused, one sentence for each mistake; empty if it was not.
    pub refused: Vec<String>,
}

impl Video {
    /// Notes that the source is being opened. A source that was gone stays so until it delivers.
    pub fn opening(&mut self) {
        self.state.opening(&mut self.reason);
    }

    /// Notes that privacy no longer closes the source, although it may not be opened yet.
    pub fn uncovered(&mut self) {
        if self.state == State::Private {
            self.opening();
        }
    }
}

impl Audio {
    /// Like [`Video::opening`].
    pub fn opening(&mut self) {
        self.state.opening(&mut self.reason);
    }

    /// Like [`Video::uncovered`].
    pub fn uncovered(&mut self) {
        if self.state == State::Private {
            self.opening();
        }
    }
}

impl State {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Idle => "idle",
            Self::Gone => "gone",
            Self::Private => "private",
            Self::Off => "off",
        }
    }

    fn opening(&mut self, reason: &mut Option<String>) {
        if matches!(self, Self::Idle | Self::Private | Self::Off) {
            (*self, *reason) = (Self::Opening, None);
        }
    }
}

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: Counter),* }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = s.serialize_map(None)?;
                $(map.serialize_entry(stringify!($field), &self.$field.get())?;)*
                map.end()
            }
        }
    };
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.add(1);
    }
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Everything counted since the start.
    Counters {
        /// Frames dequeued from the camera.
        captured,
        /// Frames that the driver reports as lost (gaps in its sequence numbers).
        sequence_gaps,
        /// Buffers that the driver flagged as damaged.
        error_buffers,
        /// MJPEG frames that could not be decoded.
        damaged_jpeg,
        /// Frames that a newer one replaced in the slot before they were taken.
        superseded,
        /// Access units published.
        encoded,
        /// Bytes of access units published.
        encoded_bytes,
        /// Published IDRs.
        keyframes,
        /// Encoder failures that led to a new encoder.
        encoder_errors,
        /// Times the camera was lost.
        camera_lost,
        /// ALSA periods read.
        periods,
        /// ALSA overruns recovered.
        xruns,
        /// Times a microphone's timeline was restarted, because samples were lost unreported or time jumped.
        sound_jumps,
        /// Times the microphone was lost.
        microphone_lost,
        /// Opus packets published.
        opus_packets,
        /// Viewers that have connected.
        viewers_joined,
        /// Offers refused.
        offers_refused,
        /// Times a viewer fell behind and skipped to a keyframe.
        viewer_lags,
        /// RTP packets sent to viewers, without retransmissions.
        rtp_packets,
        /// Datagrams and frames to the media port that belong to no viewer, and TCP connections over the limit.
        stray_datagrams,
        /// Datagrams to or from viewers that were dropped because a queue was full or the system refused them.
        datagrams_dropped,
    }
}

/// The status of all parts, shared by them. It is cheap to write, and read once a second or on change.
pub struct Status {
    started: Pts,
    cameras: Mutex<Vec<Camera>>,
    board: Mutex<Board>,
    configuration: Mutex<Configuration>,
    /// Counters, written without a lock.
    pub counters: Arc<Counters>,
    changed: Arc<watch::Sender<u64>>,
}

/// A camera and its microphone.
#[derive(Clone)]
pub struct Camera {
    /// The configured name.
    pub name: String,
    /// The name for people.
    pub label: String,
    /// The video.
    pub video: Arc<Source<Video>>,
    /// The sound. Several cameras may share a microphone.
    pub audio: Arc<Source<Audio>>,
}

/// The status of one source: its thread writes it, all others read it.
pub struct Source<T> {
    facts: Mutex<T>,
    /// The counters of all sources.
    pub counters: Arc<Counters>,
    changed: Arc<watch::Sender<u64>>,
}

impl<T: Clone> Source<T> {
    /// Changes the facts and notifies those who follow them.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        self.measured(change);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Changes measured figures (rates, drift) without a notification.
    pub fn measured(&self, change: impl FnOnce(&mut T)) {
        change(&mut lock(&self.facts));
    }

    /// The current facts.
    pub fn now(&self) -> T {
        lock(&self.facts).clone()
    }
}

/// The whole status at one moment, as in `/api/status` (without the viewers, which are in the registry).
#[derive(Serialize)]
pub struct Report<'a> {
    version: &'static str,
    uptime_s: u64,
    /// All cameras in the order of the configuration; at least one, except right after the start.
    pub cameras: Vec<CameraReport>,
    board: Board,
    /// The configuration's source.
    pub configuration: Configuration,
    counters: &'a Counters,
}

/// The status of a camera at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct CameraReport {
    /// The configured name.
    pub name: String,
    /// The name for people.
    pub label: String,
    /// The video.
    pub video: Video,
    /// The sound.
    pub audio: Audio,
}

/// The resources that the daemon uses.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Resident memory (VmRSS), bytes.
    resident_bytes: u64,
    /// Operating system threads.
    threads: u64,
    /// Open file descriptors.
    descriptors: usize,
    /// Tasks of the asynchronous runtime.
    tasks: usize,
}

impl Process {
    /// Reads the figures from `/proc`, which is too slow for every status message.
    pub fn now() -> Self {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key))?;
            line.split_whitespace().find_map(|w| w.parse::<u64>().ok())
        };
        Self {
            resident_bytes: number("VmRSS:").unwrap_or(0) * 1024,
            threads: number("Threads:").unwrap_or(0),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, |d| d.count().saturating_sub(1)),
            tasks: Handle::try_current().map_or(0, |h| h.metrics().num_alive_tasks()),
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self {
            started: Pts::now(),
            cameras: Mutex::default(),
            board: Mutex::default(),
            configuration: Mutex::default(),
            counters: Arc::default(),
            changed: Arc::new(watch::channel(0).0),
        }
    }
}

impl Status {
    /// A new source without any facts. It is reported once it belongs to a [`Camera`].
    pub fn source<T: Default>(&self) -> Arc<Source<T>> {
        let (counters, changed) = (self.counters.clone(), self.changed.clone());
        Arc::new(Source { facts: Mutex::default(), counters, changed })
    }

    /// Sets the cameras to report.
    pub fn set_cameras(&self, cameras: Vec<Camera>) {
        *lock(&self.cameras) = cameras;
        self.changed.send_modify(|n| *n += 1);
    }

    /// The reported cameras.
    pub fn cameras(&self) -> Vec<Camera> {
        lock(&self.cameras).clone()
    }

    /// Sets the board's status, and notifies those who follow it if it has changed.
    pub fn board(&self, now: Board) {
        let mut board = lock(&self.board);
        if *board != now {
            *board = now;
            drop(board);
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Sets the configuration's source, and why the last reload was refused, if so.
    pub fn configuration(&self, now: Configuration) {
        *lock(&self.configuration) = now;
        self.changed.send_modify(|n| *n += 1);
    }

    /// Notifies its receiver of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The current status of everything.
    pub fn report(&self) -> Report<'_> {
        let camera = |camera: Camera| CameraReport {
            video: camera.video.now(),
            audio: camera.audio.now(),
            name: camera.name,
            label: camera.label,
        };
        Report {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: Pts::now().since(self.started).as_secs(),
            cameras: self.cameras().into_iter().map(camera).collect(),
            board: lock(&self.board).clone(),
            configuration: lock(&self.configuration).clone(),
            counters: &self.counters,
        }
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
