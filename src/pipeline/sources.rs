//! Starts, changes and ends the threads of all cameras and microphones according to the configuration.
//!
//! A microphone is opened once, even if several cameras use it. A camera's microphone is the one that it
//! names; otherwise, if `[audio]` leaves the choice open and there are several cameras, the one on the same
//! USB device; otherwise that of `[audio]`.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::audio;
use super::camera::{Camera, Cameras};
use super::demand::Demand;
use super::stream::AudioStream;
use super::video::{self, Video};
use super::worker::{Threads, Worker};
use crate::capture::microphones;
use crate::clock::Clocks;
use crate::config::{self, Config, Microphone};
use crate::encode::budget::Budget;
use crate::encode::video::Error;
use crate::heartbeat::Heartbeats;
use crate::pressure::Pressure;
use crate::privacy::{Privacy, Private};
use crate::status::{self, Source, Status};

/// What all sources share.
pub struct Common {
    /// Receives every change of state.
    pub status: Arc<Status>,
    /// RTP clocks of all streams.
    pub clocks: Clocks,
    /// Which cameras stay closed, even with viewers.
    pub privacy: watch::Receiver<Privacy>,
    /// Counts devices that are plugged in or out.
    pub hotplug: watch::Receiver<u64>,
    /// Whether the board is throttling itself.
    pub pressure: watch::Receiver<Option<Pressure>>,
    /// Where the threads report that they are alive.
    pub heartbeats: Arc<Heartbeats>,
    /// Ends everything.
    pub stop: CancellationToken,
}

/// All running sources.
pub struct Sources {
    common: Common,
    budget: Arc<Budget>,
    audio: config::Audio,
    cameras: Vec<RunningCamera>,
    microphones: Vec<RunningMicrophone>,
    told: Arc<Cameras>,
}

/// Which microphone a camera uses.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// That of `[audio]`.
    Configured,
    /// The one that the camera names.
    Named(Microphone),
    /// The one on its USB device, by its ALSA name.
    Own(String),
}

/// A running camera.
struct RunningCamera {
    config: config::Camera,
    threads: Video,
    change: watch::Sender<config::Video>,
    status: Arc<Source<status::Video>>,
    /// The node at which it was last found, and the microphone on the same USB device.
    own: (Option<String>, Option<String>),
    camera: Camera,
}

/// A running microphone.
struct RunningMicrophone {
    /// What it was started for.
    wish: Wish,
    change: watch::Sender<config::Audio>,
    /// The names of the cameras that use it.
    cameras: watch::Sender<Arc<[String]>>,
    status: Arc<Source<status::Audio>>,
    stream: Arc<AudioStream>,
    _thread: Worker,
}

impl Sources {
    /// Starts all sources in `config`; call it in a runtime. `audience` is the demand for any of them.
    ///
    /// # Errors
    /// The system can't start more threads.
    pub fn start(config: &Config, audience: Arc<Demand>, common: Common) -> io::Result<Self> {
        let (audio, told) = (config.audio.clone(), Cameras::with([], audience));
        let budget = Arc::default();
        let mut all = Self { common, budget, audio, cameras: vec![], microphones: vec![], told };
        for camera in &config.cameras {
            all.cameras.push(all.start_camera(camera, only(config))?);
        }
        all.wire()?;
        Ok(all)
    }

    /// The cameras from the viewers' point of view.
    pub fn cameras(&self) -> Arc<Cameras> {
        self.told.clone()
    }

    /// Applies `config`. Cameras that remain keep running; what can't be started is logged.
    pub fn configure(&mut self, config: &Config) {
        self.audio = config.audio.clone();
        let before = std::mem::take(&mut self.cameras);
        let (mut kept, gone): (Vec<_>, Vec<_>) = before
            .into_iter()
            .partition(|running| config.cameras.iter().any(|c| c.name == running.config.name));
        end(gone);
        for camera in &config.cameras {
            let at = kept.iter().position(|running| running.config.name == camera.name);
            let running = match at.map(|at| kept.swap_remove(at)) {
                Some(running) => running.configured(camera),
                None => match self.start_camera(camera, only(config)) {
                    Ok(running) => running,
                    Err(e) => {
                        error!("the camera {} can't be started: {e}", camera.name);
                        continue;
                    }
                },
            };
            self.cameras.push(running);
        }
        self.rewire();
    }

    fn rewire(&mut self) {
        if let Err(e) = self.wire() {
            error!("a microphone can't be started: {e}");
        }
    }

    /// The cameras whose node has changed since the last look, and their nodes: the caller looks up their
    /// microphones ([`microphones::of_camera`]) and reports them to [`Self::found`].
    fn moved(&self) -> Vec<(String, Option<String>)> {
        let moved = self.cameras.iter().filter_map(|running| {
            let node = running.status.now().device;
            // An unplugged camera keeps its microphone, which comes back with it.
            (node.is_some() && node != running.own.0).then(|| (running.config.name.clone(), node))
        });
        moved.collect()
    }

    /// The camera of that name is at `node`, and `microphone` is on the same USB device.
    fn found(&mut self, camera: &str, node: Option<String>, microphone: Option<String>) {
        if let Some(running) = self.cameras.iter_mut().find(|running| running.config.name == camera) {
            running.own = (node, microphone);
        }
        self.rewire();
    }

    /// Ends everything, and reports whether encoding became impossible.
    ///
    /// # Errors
    /// The failure of the last encoder that was tried.
    pub fn join(&mut self) -> Result<(), Error> {
        self.common.stop.cancel(); // all begin to end before the first one is waited for
        self.microphones.clear();
        let results: Vec<_> = self.cameras.drain(..).map(|running| running.threads.join()).collect();
        results.into_iter().collect()
    }

    /// Starts a camera. An `only` camera gives its threads no name.
    fn start_camera(&self, config: &config::Camera, only: bool) -> io::Result<RunningCamera> {
        let Common { status, clocks, privacy, hotplug, pressure, heartbeats, stop } = &self.common;
        let (camera, source) = (Camera::new(&config.name, &config.label), status.source());
        let change = watch::Sender::new(config.video.clone());
        let threads = Video::spawn(video::Context {
            threads: if only { Threads::Only } else { Threads::Camera(config.name.clone()) },
            config: change.subscribe(),
            stream: camera.video.clone(),
            status: source.clone(),
            snapshots: camera.snapshots.clone(),
            clock: clocks.video,
            private: Private::of(privacy.clone(), &config.name),
            hotplug: hotplug.clone(),
            pressure: pressure.clone(),
            budget: self.budget.clone(),
            heartbeats: heartbeats.clone(),
            stop: stop.clone(),
        })?;
        Ok(RunningCamera {
            config: config.clone(),
            threads,
            change,
            status: source,
            own: (None, None),
            camera,
        })
    }

    /// Assigns each camera its microphone, ends unused microphones, and publishes the result.
    fn wire(&mut self) -> io::Result<()> {
        let wishes: Vec<_> = self.cameras.iter().map(|running| self.wish(running)).collect();
        let before = std::mem::take(&mut self.microphones);
        let (kept, gone): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|sound| wishes.contains(&sound.wish));
        self.microphones = kept;
        end(gone);
        let mut started = Ok(());
        for wish in &wishes {
            if !self.microphones.iter().any(|sound| sound.wish == *wish) {
                match self.start_microphone(wish, &wishes) {
                    Ok(sound) => self.microphones.push(sound),
                    Err(e) => started = Err(e),
                }
            }
        }
        for sound in &self.microphones {
            let with = self.cameras.iter().zip(&wishes).filter(|(_, wish)| **wish == sound.wish);
            let names: Arc<[String]> = with.map(|(running, _)| running.config.name.clone()).collect();
            sound.cameras.send_if_modified(|now| std::mem::replace(now, names.clone()) != names);
            let config = self.audio(&sound.wish, &wishes);
            sound.change.send_if_modified(|now| std::mem::replace(now, config.clone()) != config);
        }
        let mut told = vec![];
        for (running, wish) in self.cameras.iter_mut().zip(&wishes) {
            let Some(sound) = self.microphones.iter().find(|sound| sound.wish == *wish) else { continue };
            running.camera.microphone = sound.stream.clone();
            told.push(status::Camera {
                name: running.config.name.clone(),
                label: running.config.label.clone(),
                video: running.status.clone(),
                audio: sound.status.clone(),
            });
        }
        self.common.status.set_cameras(told);
        let cameras = self.cameras.iter().map(|running| running.camera.clone());
        self.told.set_private(cameras, &self.common.privacy.borrow());
        started
    }

    fn wish(&self, running: &RunningCamera) -> Wish {
        match &running.config.microphone {
            Some(device) if *device != self.audio.device => Wish::Named(device.clone()),
            None if self.audio.device == Microphone::Auto && self.cameras.len() > 1 => {
                running.own.1.clone().map_or(Wish::Configured, Wish::Own)
            }
            _ => Wish::Configured,
        }
    }

    /// `[audio]` for a microphone; `wishes` are those of all cameras.
    fn audio(&self, wish: &Wish, wishes: &[Wish]) -> config::Audio {
        let (device, others) = match wish {
            Wish::Configured => (self.audio.device.clone(), wishes.iter().filter_map(Wish::alsa).collect()),
            Wish::Named(device) => (device.clone(), vec![]),
            Wish::Own(alsa) => (Microphone::Device(alsa.clone()), vec![]),
        };
        config::Audio { device, others, ..self.audio.clone() }
    }

    fn start_microphone(&self, wish: &Wish, wishes: &[Wish]) -> io::Result<RunningMicrophone> {
        let Common { status, clocks, privacy, hotplug, heartbeats, stop, .. } = &self.common;
        let (stream, source) = (Arc::<AudioStream>::default(), status.source());
        let change = watch::Sender::new(self.audio(wish, wishes));
        let cameras = watch::Sender::new(Arc::from([]));
        let thread = audio::spawn(audio::Context {
            threads: match wish {
                Wish::Named(Microphone::Device(alsa)) | Wish::Own(alsa) => Threads::Microphone(alsa.clone()),
                _ => Threads::Only,
            },
            why: if matches!(wish, Wish::Own(_)) {
                "it is part of the camera's USB device"
            } else {
                microphones::NAMED
            },
            config: change.subscribe(),
            stream: stream.clone(),
            status: source.clone(),
            clocks: *clocks,
            private: Private::new(privacy.clone(), cameras.subscribe()),
            hotplug: hotplug.clone(),
            heartbeats: heartbeats.clone(),
            stop: stop.clone(),
        })?;
        Ok(RunningMicrophone { wish: wish.clone(), change, cameras, status: source, stream, _thread: thread })
    }
}

/// Whether there is one camera, without a section of its own: its threads and log lines then need no name.
fn only(config: &Config) -> bool {
    config.cameras[..] == [config::Camera::only(config.video.clone())]
}

/// Looks up, for ever, the microphones of cameras that were found or have moved.
pub async fn follow(sources: Arc<Mutex<Sources>>) {
    let mut changes = lock(&sources).common.status.changes();
    while changes.changed().await.is_ok() {
        let moved = lock(&sources).moved();
        for (camera, node) in moved {
            let at = node.clone();
            // This reads the kernel's directories, which may take time.
            let look = move || at.as_deref().and_then(|node| microphones::of_camera(Path::new(node)));
            let own = tokio::task::spawn_blocking(look).await.unwrap_or_default();
            lock(&sources).found(&camera, node, own);
        }
    }
}

/// Ends threads on a separate thread: one that hangs in its driver would block the caller.
fn end(threads: impl Send + 'static) {
    tokio::task::spawn_blocking(move || drop(threads));
}

impl Wish {
    /// The ALSA name, if the microphone belongs to a single camera.
    fn alsa(&self) -> Option<String> {
        match self {
            Self::Named(Microphone::Device(alsa)) | Self::Own(alsa) => Some(alsa.clone()),
            _ => None,
        }
    }
}

impl RunningCamera {
    /// The same camera with a different section of the configuration.
    fn configured(mut self, config: &config::Camera) -> Self {
        let video = &config.video;
        self.change.send_if_modified(|now| std::mem::replace(now, video.clone()) != *video);
        self.camera.label.clone_from(&config.label);
        self.config = config.clone();
        self
    }
}

/// Locks the sources for a change.
pub fn lock(sources: &Mutex<Sources>) -> MutexGuard<'_, Sources> {
    sources.lock().unwrap_or_else(PoisonError::into_inner)
}
