//! What each part is doing now, and counters. The page, `/api/status` and the log all read it from here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::Pts;
use crate::media::frame::Size;
use crate::media::mode::Mode;
use crate::pressure::Pressure;

/// Whether a source delivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being opened, or not looked at yet.
    #[default]
    Opening,
    /// Open, but nothing has come yet: some cameras take 5 s to their first picture.
    Starting,
    /// Open and delivering.
    Live,
    /// Closed, because nobody watches; the rest is what was last known.
    Idle,
    /// Not there; `reason` says why. It is tried again every second while somebody watches.
    Gone,
    /// Closed, because privacy is on.
    Private,
    /// Switched off in the configuration.
    Off,
}

/// The picture's side.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Video {
    /// Whether it delivers.
    pub state: State,
    /// Why not, in one sentence for the viewer.
    pub reason: Option<String>,
    /// "camera" or "pattern".
    pub source: &'static str,
    /// What the device calls itself.
    pub name: String,
    /// Its node, if it has one.
    pub device: Option<String>,
    /// Why this one was chosen.
    pub why: String,
    /// By configuration.
    pub wanted: Option<Mode>,
    /// By the driver.
    pub negotiated: Option<Mode>,
    /// Measured at capture, frames per second.
    pub delivered_fps: Option<f64>,
    /// Why delivered differs from negotiated, where we know ("light: exposure_dynamic_framerate is on").
    pub rate_note: Option<String>,
    /// The encoder, e.g. "OpenH264".
    pub encoder: &'static str,
    /// `profile-level-id` of the SPS in use, six hexadecimal digits.
    pub profile_level_id: String,
    /// Configured bitrate.
    pub bitrate_bps: u32,
    /// What the picture is reduced to, because the board does not carry more.
    pub reduced: Option<Reduced>,
}

/// A picture smaller or slower than agreed with the camera, so that its delay does not grow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reduced {
    /// At most so large.
    #[serde(flatten)]
    pub size: Size,
    /// At most so many frames per second.
    pub fps: f64,
    /// In one sentence for the viewer.
    pub why: String,
}

/// The sound's side.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audio {
    /// Whether it delivers.
    pub state: State,
    /// Why not, in one sentence for the viewer.
    pub reason: Option<String>,
    /// "microphone", "tone" or "off".
    pub source: &'static str,
    /// What the device calls itself.
    pub name: String,
    /// Its ALSA name, if it has one.
    pub device: Option<String>,
    /// Why this one was chosen.
    pub why: String,
    /// What the device runs at.
    pub rate_hz: u32,
    /// What the device delivers.
    pub device_channels: u32,
    /// Sample format of the device, as ALSA writes it.
    pub format: String,
    /// What is encoded.
    pub channels: u32,
    /// Device clock against the monotonic clock, parts per million; positive: the device runs fast.
    pub drift_ppm: Option<f64>,
    /// Rest of the correction: how far sample time is from capture time now, milliseconds.
    pub offset_ms: Option<f64>,
}

/// The machine around us.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Board {
    /// The hottest part, degrees Celsius; `None` where nothing tells.
    pub temperature_c: Option<f64>,
    /// Why it is slower than it could be now, if it is.
    pub pressure: Option<Pressure>,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// The file, or what else.
    pub source: String,
    /// Why what is there now was refused at the last reload, a sentence for each mistake; empty: it holds.
    pub refused: Vec<String>,
}

impl Video {
    /// It was closed and is being opened. One that was gone is so until it delivers.
    pub fn opening(&mut self) {
        self.state.opening(&mut self.reason);
    }

    /// It is not closed for privacy any more, though it may not be opened either.
    pub fn uncovered(&mut self) {
        if self.state == State::Private {
            self.opening();
        }
    }
}

impl Audio {
    /// As [`Video::opening`].
    pub fn opening(&mut self) {
        self.state.opening(&mut self.reason);
    }

    /// As [`Video::uncovered`].
    pub fn uncovered(&mut self) {
        if self.state == State::Private {
            self.opening();
        }
    }
}

impl State {
    /// As JSON has it.
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
    /// One more.
    pub fn count(&self) {
        self.add(1);
    }
    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// So far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Everything counted since the start.
    Counters {
        /// Frames dequeued from the camera.
        captured,
        /// Frames the driver itself says it lost (gaps in its sequence numbers).
        sequence_gaps,
        /// Buffers the driver flagged as damaged.
        error_buffers,
        /// MJPEG frames that did not decode.
        damaged_jpeg,
        /// Frames replaced in the slot by a newer one before they were taken.
        superseded,
        /// Access units published.
        encoded,
        /// Bytes of access units published.
        encoded_bytes,
        /// IDRs among them.
        keyframes,
        /// Encoder failures that led to a new encoder.
        encoder_errors,
        /// Times the camera was lost.
        camera_lost,
        /// ALSA periods read.
        periods,
        /// ALSA overruns recovered.
        xruns,
        /// Times a microphone lost samples without telling, or time jumped, and its timeline was begun anew.
        sound_jumps,
        /// Times the microphone was lost.
        microphone_lost,
        /// Opus packets published.
        opus_packets,
        /// Viewers that ever connected.
        viewers_joined,
        /// Offers refused.
        offers_refused,
        /// Times a viewer fell behind and skipped to a keyframe.
        viewer_lags,
        /// RTP packets sent to viewers, repetitions not counted.
        rtp_packets,
        /// Datagrams and frames to the media port that were no viewer's, and TCP connections that were too many.
        stray_datagrams,
        /// Datagrams of viewers that were dropped, in either direction, because a queue was full or the system refused them.
        datagrams_dropped,
    }
}

/// Shared by all parts; cheap to write, read once a second or on change.
pub struct Status {
    started: Pts,
    cameras: Mutex<Vec<Camera>>,
    board: Mutex<Board>,
    configuration: Mutex<Configuration>,
    /// Counters, written without a lock.
    pub counters: Arc<Counters>,
    changed: Arc<watch::Sender<u64>>,
}

/// A camera, and the microphone that is heard with it.
#[derive(Clone)]
pub struct Camera {
    /// By configuration.
    pub name: String,
    /// What people read.
    pub label: String,
    /// Its pictures.
    pub video: Arc<Source<Video>>,
    /// The sound. Several cameras may have the same.
    pub audio: Arc<Source<Audio>>,
}

/// What one source is doing: its thread writes it, everybody reads it.
pub struct Source<T> {
    facts: Mutex<T>,
    /// Those of all sources.
    pub counters: Arc<Counters>,
    changed: Arc<watch::Sender<u64>>,
}

impl<T: Clone> Source<T> {
    /// Changes the facts and tells whoever watches them.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        self.measured(change);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Changes measured figures (rates, drift) without waking anybody: they are read when somebody looks.
    pub fn measured(&self, change: impl FnOnce(&mut T)) {
        change(&mut lock(&self.facts));
    }

    /// Them now.
    pub fn now(&self) -> T {
        lock(&self.facts).clone()
    }
}

/// All of it at one moment, as `/api/status` tells it (without the viewers, which their registry knows).
#[derive(Serialize)]
pub struct Report<'a> {
    version: &'static str,
    uptime_s: u64,
    /// All cameras, in the order of the configuration; at least one, unless the daemon has just begun.
    pub cameras: Vec<CameraReport>,
    board: Board,
    /// Where the configuration comes from.
    pub configuration: Configuration,
    counters: &'a Counters,
}

/// A camera at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct CameraReport {
    /// By configuration.
    pub name: String,
    /// What people read.
    pub label: String,
    /// The picture's side.
    pub video: Video,
    /// The sound's side.
    pub audio: Audio,
}

/// What the daemon costs its machine.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Memory held (VmRSS).
    resident_bytes: u64,
    /// Operating system threads.
    threads: u64,
    /// Open file descriptors.
    descriptors: usize,
    /// Tasks of the asynchronous runtime.
    tasks: usize,
}

impl Process {
    /// Read from `/proc` at each call: for those who ask, not for every push.
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
    /// A new source, nothing of which is known yet. It is told of once it is a [`Camera`]'s.
    pub fn source<T: Default>(&self) -> Arc<Source<T>> {
        let (counters, changed) = (self.counters.clone(), self.changed.clone());
        Arc::new(Source { facts: Mutex::default(), counters, changed })
    }

    /// From now on these are told of.
    pub fn set_cameras(&self, cameras: Vec<Camera>) {
        *lock(&self.cameras) = cameras;
        self.changed.send_modify(|n| *n += 1);
    }

    /// Those that are told of.
    pub fn cameras(&self) -> Vec<Camera> {
        lock(&self.cameras).clone()
    }

    /// Changes what is known of the board and tells whoever watches, if it is news.
    pub fn board(&self, now: Board) {
        let mut board = lock(&self.board);
        if *board != now {
            *board = now;
            drop(board);
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Tells where the configuration comes from, and whether it holds.
    pub fn configuration(&self, now: Configuration) {
        *lock(&self.configuration) = now;
        self.changed.send_modify(|n| *n += 1);
    }

    /// Wakes its receiver on every change of state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Everything now.
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
