//! All cameras and microphones: their threads are started, changed and ended as the configuration says.
//!
//! A microphone is opened once, however many cameras it is heard with. Which one a camera has: the one that it names; else,
//! where `[audio]` leaves the choice to us and there are several cameras, that of the same USB device; else that of `[audio]`.

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
    /// Told of every change.
    pub status: Arc<Status>,
    /// RTP time of all streams.
    pub clocks: Clocks,
    /// Which cameras stay closed, whoever watches.
    pub privacy: watch::Receiver<Privacy>,
    /// Counts what is plugged in and out.
    pub hotplug: watch::Receiver<u64>,
    /// Whether the board is slowing itself down.
    pub pressure: watch::Receiver<Option<Pressure>>,
    /// Where the threads tell that they are alive.
    pub heartbeats: Arc<Heartbeats>,
    /// Ends all.
    pub stop: CancellationToken,
}

/// All that run.
pub struct Sources {
    common: Common,
    budget: Arc<Budget>,
    audio: config::Audio,
    cameras: Vec<Film>,
    microphones: Vec<Sound>,
    told: Arc<Cameras>,
}

/// Which microphone a camera has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// That of `[audio]`.
    Configured,
    /// The one that the camera names.
    Named(Microphone),
    /// The one on its USB device, by its ALSA name.
    Own(String),
}

/// A camera that runs.
struct Film {
    config: config::Camera,
    threads: Video,
    change: watch::Sender<config::Video>,
    status: Arc<Source<status::Video>>,
    /// The node that it was found at last, and the microphone on the same USB device.
    own: (Option<String>, Option<String>),
    camera: Camera,
}

/// A microphone that runs.
struct Sound {
    /// What it was started for.
    wish: Wish,
    change: watch::Sender<config::Audio>,
    /// Those that it is heard with.
    cameras: watch::Sender<Arc<[String]>>,
    status: Arc<Source<status::Audio>>,
    stream: Arc<AudioStream>,
    _thread: Worker,
}

impl Sources {
    /// Starts all that `config` names, within a runtime. `audience` is who watches any of them.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(config: &Config, audience: Arc<Demand>, common: Common) -> io::Result<Self> {
        let (audio, told) = (config.audio.clone(), Cameras::with([], audience));
        let budget = Arc::default();
        let mut all = Self { common, budget, audio, cameras: vec![], microphones: vec![], told };
        for camera in &config.cameras {
            all.cameras.push(all.film(camera, only(config))?);
        }
        all.wire()?;
        Ok(all)
    }

    /// The cameras, as viewers find them.
    pub fn cameras(&self) -> Arc<Cameras> {
        self.told.clone()
    }

    /// From now on `config` holds. Cameras that stay go on; what can't be started is told in the log.
    pub fn configure(&mut self, config: &Config) {
        self.audio = config.audio.clone();
        let before = std::mem::take(&mut self.cameras);
        let (mut kept, gone): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|film| config.cameras.iter().any(|c| c.name == film.config.name));
        end(gone);
        for camera in &config.cameras {
            let at = kept.iter().position(|film| film.config.name == camera.name);
            let film = match at.map(|at| kept.swap_remove(at)) {
                Some(film) => film.configured(camera),
                None => match self.film(camera, only(config)) {
                    Ok(film) => film,
                    Err(e) => {
                        error!("the camera {} can't be started: {e}", camera.name);
                        continue;
                    }
                },
            };
            self.cameras.push(film);
        }
        self.rewire();
    }

    fn rewire(&mut self) {
        if let Err(e) = self.wire() {
            error!("a microphone can't be started: {e}");
        }
    }

    /// The nodes of cameras that are at another one than when they were looked at last: which microphone belongs to them is to
    /// be looked up ([`microphones::of_camera`]), and told by [`Self::found`].
    fn moved(&self) -> Vec<(String, Option<String>)> {
        let moved = self.cameras.iter().filter_map(|film| {
            let node = film.status.now().device;
            // One that is unplugged keeps its microphone: that comes back with it.
            (node.is_some() && node != film.own.0).then(|| (film.config.name.clone(), node))
        });
        moved.collect()
    }

    /// The camera of that name is at `node`, and this microphone is on the same USB device.
    fn found(&mut self, camera: &str, node: Option<String>, microphone: Option<String>) {
        if let Some(film) = self.cameras.iter_mut().find(|film| film.config.name == camera) {
            film.own = (node, microphone);
        }
        self.rewire();
    }

    /// Ends all, and says whether encoding had become impossible.
    ///
    /// # Errors
    /// The failure of the last encoder that there was to try.
    pub fn join(&mut self) -> Result<(), Error> {
        self.common.stop.cancel(); // all begin to end before any is waited for
        self.microphones.clear();
        let results: Vec<_> = self.cameras.drain(..).map(|film| film.threads.join()).collect();
        results.into_iter().collect()
    }

    /// Starts a camera. The `only` one gives its threads no name.
    fn film(&self, config: &config::Camera, only: bool) -> io::Result<Film> {
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
        Ok(Film { config: config.clone(), threads, change, status: source, own: (None, None), camera })
    }

    /// Gives each camera its microphone, ends those that none has any more, and tells of all.
    fn wire(&mut self) -> io::Result<()> {
        let wishes: Vec<_> = self.cameras.iter().map(|film| self.wish(film)).collect();
        let before = std::mem::take(&mut self.microphones);
        let (kept, gone): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|sound| wishes.contains(&sound.wish));
        self.microphones = kept;
        end(gone);
        let mut started = Ok(());
        for wish in &wishes {
            if !self.microphones.iter().any(|sound| sound.wish == *wish) {
                match self.sound(wish, &wishes) {
                    Ok(sound) => self.microphones.push(sound),
                    Err(e) => started = Err(e),
                }
            }
        }
        for sound in &self.microphones {
            let with = self.cameras.iter().zip(&wishes).filter(|(_, wish)| **wish == sound.wish);
            let names: Arc<[String]> = with.map(|(film, _)| film.config.name.clone()).collect();
            sound.cameras.send_if_modified(|now| std::mem::replace(now, names.clone()) != names);
            let config = self.audio(&sound.wish, &wishes);
            sound.change.send_if_modified(|now| std::mem::replace(now, config.clone()) != config);
        }
        let mut told = vec![];
        for (film, wish) in self.cameras.iter_mut().zip(&wishes) {
            let Some(sound) = self.microphones.iter().find(|sound| sound.wish == *wish) else { continue };
            film.camera.microphone = sound.stream.clone();
            told.push(status::Camera {
                name: film.config.name.clone(),
                label: film.config.label.clone(),
                video: film.status.clone(),
                audio: sound.status.clone(),
            });
        }
        self.common.status.set_cameras(told);
        let cameras = self.cameras.iter().map(|film| film.camera.clone());
        self.told.set_private(cameras, &self.common.privacy.borrow());
        started
    }

    fn wish(&self, film: &Film) -> Wish {
        match &film.config.microphone {
            Some(device) if *device != self.audio.device => Wish::Named(device.clone()),
            None if self.audio.device == Microphone::Auto && self.cameras.len() > 1 => {
                film.own.1.clone().map_or(Wish::Configured, Wish::Own)
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

    fn sound(&self, wish: &Wish, wishes: &[Wish]) -> io::Result<Sound> {
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
        Ok(Sound { wish: wish.clone(), change, cameras, status: source, stream, _thread: thread })
    }
}

/// Whether there is one camera, without a section of its own: its threads and lines in the log need no name.
fn only(config: &Config) -> bool {
    config.cameras[..] == [config::Camera::only(config.video.clone())]
}

/// Looks up, for ever, which microphones belong to cameras that were found or have moved.
pub async fn follow(sources: Arc<Mutex<Sources>>) {
    let mut changes = lock(&sources).common.status.changes();
    while changes.changed().await.is_ok() {
        let moved = lock(&sources).moved();
        for (camera, node) in moved {
            let at = node.clone();
            // A look into the kernel's folders, which may take its time.
            let look = move || at.as_deref().and_then(|node| microphones::of_camera(Path::new(node)));
            let own = tokio::task::spawn_blocking(look).await.unwrap_or_default();
            lock(&sources).found(&camera, node, own);
        }
    }
}

/// Ends threads elsewhere: one that hangs in its driver would hold us up.
fn end(threads: impl Send + 'static) {
    tokio::task::spawn_blocking(move || drop(threads));
}

impl Wish {
    /// The ALSA name of one that belongs to a single camera.
    fn alsa(&self) -> Option<String> {
        match self {
            Self::Named(Microphone::Device(alsa)) | Self::Own(alsa) => Some(alsa.clone()),
            _ => None,
        }
    }
}

impl Film {
    /// The same camera, by another section of the configuration.
    fn configured(mut self, config: &config::Camera) -> Self {
        let video = &config.video;
        self.change.send_if_modified(|now| std::mem::replace(now, video.clone()) != *video);
        self.camera.label.clone_from(&config.label);
        self.config = config.clone();
        self
    }
}

/// The sources, for whoever changes them.
pub fn lock(sources: &Mutex<Sources>) -> MutexGuard<'_, Sources> {
    sources.lock().unwrap_or_else(PoisonError::into_inner)
}
