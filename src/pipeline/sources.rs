//! Starts, changes and ends the threads of all cameras and microphones according to the configuration.
//!
//! A microphone is opened once, even if several cameras use it; [`wish`] says which one a camera uses.

use std::io;
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
use crate::capture::microphones::{self, Own};
use crate::capture::wish::{self, Wish};
use crate::capture::{self, names};
use crate::clock::Clocks;
use crate::config::{self, CameraDevice, Config, Microphone};
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

/// A running camera.
struct RunningCamera {
    config: config::Camera,
    threads: Video,
    change: watch::Sender<config::Video>,
    status: Arc<Source<status::Video>>,
    /// The device whose microphone was last looked up.
    looked_at: Option<String>,
    /// The microphone on the same USB device.
    own: Option<Own>,
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
            all.cameras.push(all.start_camera(camera, !config.has_camera_sections())?);
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
                None => match self.start_camera(camera, !config.has_camera_sections()) {
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

    /// The cameras whose microphones must be looked up ([`own_microphone`]), with their devices: those whose
    /// device has changed since the last look, or `all` that have one. The results go to [`Self::found`].
    fn unknown(&self, all: bool) -> Vec<(String, Option<String>)> {
        let unknown = self.cameras.iter().filter_map(|running| {
            let device = running.device();
            let due = device != running.looked_at || all && device.is_some();
            due.then(|| (running.config.name.clone(), device))
        });
        unknown.collect()
    }

    /// The microphone of the camera of that name was looked up at `device`, which may not be plugged in.
    fn found(&mut self, camera: &str, device: Option<String>, own: Result<Option<Own>, capture::Error>) {
        let running = self.cameras.iter_mut().find(|running| running.config.name == camera);
        // A reload may have changed the device meanwhile.
        let running = running.filter(|running| running.device() == device);
        // An unplugged camera keeps its microphone, which comes back with it.
        let (Some(running), Ok(own)) = (running, own) else { return };
        running.looked_at = device;
        if running.own != own {
            running.own = own;
            self.rewire();
        }
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
            looked_at: None,
            own: None,
            camera,
        })
    }

    /// Assigns each camera its microphone, ends unused microphones, and publishes the result.
    fn wire(&mut self) -> io::Result<()> {
        let wishes = self.wishes();
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
            let config = sound.wish.audio(&self.audio, &wishes);
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

    /// Which microphone each camera uses.
    fn wishes(&self) -> Vec<Wish> {
        let cameras = self.cameras.iter().map(|running| (&running.config, running.own.as_ref()));
        wish::of_cameras(cameras, &self.audio.device)
    }

    fn start_microphone(&self, wish: &Wish, wishes: &[Wish]) -> io::Result<RunningMicrophone> {
        let Common { status, clocks, privacy, hotplug, heartbeats, stop, .. } = &self.common;
        let (stream, source) = (Arc::<AudioStream>::default(), status.source());
        let change = watch::Sender::new(wish.audio(&self.audio, wishes));
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

/// Looks up, for ever, the own microphones of cameras: of those that are new or have moved, and of all when
/// something is plugged in or out, because the kernel may make a sound card later than the camera's node.
pub async fn follow(sources: Arc<Mutex<Sources>>) {
    let (mut changes, mut hotplug) = {
        let sources = lock(&sources);
        (sources.common.status.changes(), sources.common.hotplug.clone())
    };
    let mut plugged = true;
    loop {
        let unknown = lock(&sources).unknown(plugged);
        for (camera, device) in unknown {
            let at = device.clone();
            // This reads the kernel's directories, which may take time.
            let look = move || own_microphone(at.as_deref());
            let Ok(own) = tokio::task::spawn_blocking(look).await else { continue };
            lock(&sources).found(&camera, device, own);
        }
        plugged = tokio::select! {
            Ok(()) = hotplug.changed() => true,
            Ok(()) = changes.changed() => false,
            else => return,
        };
    }
}

/// The microphone on the same USB device as the camera `device`, if it has one. The test picture has no
/// device.
fn own_microphone(device: Option<&str>) -> Result<Option<Own>, capture::Error> {
    let node = device.map(names::resolve).transpose()?;
    Ok(node.and_then(|node| microphones::of_camera(&node)))
}

/// Ends threads on a separate thread: one that hangs in its driver would block the caller.
fn end(threads: impl Send + 'static) {
    tokio::task::spawn_blocking(move || drop(threads));
}

impl RunningCamera {
    /// The device that may have a microphone: the configured one, or the node that "auto" has found, even if
    /// it is unplugged now.
    fn device(&self) -> Option<String> {
        match &self.config.video.device {
            CameraDevice::Auto => self.status.now().device,
            CameraDevice::Pattern | CameraDevice::Noise => None,
            CameraDevice::Device(name) => Some(name.clone()),
        }
    }

    /// The same camera with a different section of the configuration. A different device has a different
    /// microphone.
    fn configured(mut self, config: &config::Camera) -> Self {
        let video = &config.video;
        if self.config.video.device != video.device {
            (self.looked_at, self.own) = (None, None);
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{AUDIO_HZ, RtpClock, VIDEO_HZ};

    /// Two cameras, whose devices stay closed; the first one is `device`.
    fn config(device: &str) -> Config {
        let front = format!("[[camera]]\nname = \"front\"\ndevice = \"{device}\"\n");
        let back = "[[camera]]\nname = \"back\"\ndevice = \"pattern\"\n";
        Config::parse(&(front + back), "device.toml").unwrap()
    }

    fn start(config: &Config, hotplug: watch::Receiver<u64>) -> Sources {
        let private = Privacy { all: true, ..Privacy::default() };
        let common = Common {
            status: Arc::default(),
            clocks: Clocks {
                video: RtpClock { hz: VIDEO_HZ, offset: 0 },
                audio: RtpClock { hz: AUDIO_HZ, offset: 0 },
            },
            privacy: watch::channel(private).1,
            hotplug,
            pressure: watch::channel(None).1,
            heartbeats: Arc::default(),
            stop: CancellationToken::new(),
        };
        Sources::start(config, Arc::default(), common).unwrap()
    }

    fn own() -> Option<Own> {
        Some(Own { alsa: "hw:CARD=C920,DEV=0".into(), card: 1 })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_camera_keeps_its_microphone_until_it_has_a_different_device() {
        let mut sources = start(&config("/dev/video998"), watch::channel(0).1);
        let video998 = || Some("/dev/video998".to_owned());
        let front = ("front".to_owned(), video998());
        let look = || own_microphone(Some("/dev/video998"));
        assert_eq!(sources.unknown(false), std::slice::from_ref(&front), "looked up before its first change");
        let microphone = |sources: &Sources| sources.wishes()[0].clone();
        // Not plugged in yet: it is looked up again after the next change.
        sources.found("front", video998(), look());
        assert_eq!(sources.unknown(false), std::slice::from_ref(&front));
        // The kernel makes the sound card after the node: it is found when it is plugged in.
        sources.found("front", video998(), Ok(None));
        assert_eq!((sources.unknown(false), sources.unknown(true)), (vec![], vec![front]));
        assert_eq!(microphone(&sources), Wish::Configured);
        sources.found("front", video998(), Ok(own()));
        assert_eq!(microphone(&sources), Wish::Own("hw:CARD=C920,DEV=0".into()));
        // Unplugged.
        sources.found("front", video998(), look());
        assert_eq!(microphone(&sources), Wish::Own("hw:CARD=C920,DEV=0".into()));
        // Nothing has changed: nothing is published.
        let changes = sources.told.changes();
        sources.found("front", video998(), Ok(own()));
        assert!(!changes.has_changed().unwrap());
        sources.configure(&config("pattern"));
        assert_eq!(microphone(&sources), Wish::Configured);
        assert!(sources.unknown(true).is_empty());
        // The result of a look that began before the reload.
        sources.found("front", video998(), Ok(own()));
        assert_eq!(microphone(&sources), Wish::Configured);
        // "auto" has found a camera, and then, after a change of the configuration, none.
        sources.configure(&config("auto"));
        sources.cameras[0].status.change(|v| v.device = video998());
        sources.found("front", video998(), Ok(own()));
        assert_eq!(microphone(&sources), Wish::Own("hw:CARD=C920,DEV=0".into()));
        sources.cameras[0].status.change(|v| v.device = None);
        assert_eq!(sources.unknown(false), [("front".to_owned(), None)]);
        sources.found("front", None, own_microphone(None));
        assert_eq!(microphone(&sources), Wish::Configured);
        assert!(sources.join().is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn microphones_are_looked_up_at_once_and_when_something_is_plugged_in() {
        let (plug, hotplug) = watch::channel(0);
        // It is there, but it is not a camera, and has no microphone.
        let mut sources = start(&config("/dev/null"), hotplug);
        sources.cameras[0].own = own();
        let sources = Arc::new(Mutex::new(sources));
        let following = tokio::spawn(follow(sources.clone()));
        for _ in 0..2 {
            let looked_up = async {
                while lock(&sources).cameras[0].own.is_some() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), looked_up).await.expect("looked up");
            lock(&sources).cameras[0].own = own();
            plug.send_modify(|n| *n += 1);
        }
        following.abort();
        assert!(lock(&sources).join().is_ok());
    }
}
