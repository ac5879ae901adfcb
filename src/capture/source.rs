//! Chooses the video source: the configured camera, the best camera found, or the test picture.

use std::time::Duration;

use tracing::{info, warn};

use super::cameras;
use super::choice::Choice;
use super::fallback::{Device, Failure, Fallback};
use super::pattern::Pattern;
use super::v4l2::Camera;
use super::{Error, VideoSource};
use crate::clock::Pts;
use crate::config;
use crate::media::frame::PixelFormat;
use crate::media::mode::Mode;

/// How often to look for a camera while the test picture replaces it.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Chooses and opens the video source, each time that one is needed.
pub struct Chooser {
    config: config::Video,
    /// Name of the source that was last opened or looked at.
    last: Option<String>,
    fallback: Fallback,
    /// The layouts to try, in this order; empty while there is no camera.
    tried: Vec<PixelFormat>,
    /// Once "auto" has found a camera, its absence is a fault, and the test picture no longer replaces it.
    seen_camera: bool,
    /// Set while the test picture replaces a camera: when a camera was last looked for.
    stand_in: Option<Pts>,
    /// The last message that was logged.
    said: String,
    warned: Vec<String>,
}

impl Chooser {
    /// Creates a chooser for `[video]`.
    pub fn new(config: &config::Video) -> Self {
        Self {
            config: config.clone(),
            last: None,
            fallback: Fallback::default(),
            tried: vec![],
            seen_camera: false,
            stand_in: None,
            said: String::new(),
            warned: vec![],
        }
    }

    /// The configuration in use.
    pub fn config(&self) -> &config::Video {
        &self.config
    }

    /// Changes the configuration. Returns whether this may require a different device or mode. If not, and
    /// `open` is the source that [`Chooser::open`] returned, its controls are set without reopening it.
    pub fn configure(&mut self, config: config::Video, open: Option<&mut dyn VideoSource>) -> bool {
        let old = std::mem::replace(&mut self.config, config);
        let new = &self.config;
        if (&old.device, &old.others, old.size, old.frame_rate, old.pixel_format)
            != (&new.device, &new.others, new.size, new.frame_rate, new.pixel_format)
        {
            self.fallback = Fallback::default();
            self.seen_camera &= old.device == new.device;
            return true;
        }
        if let (Some(open), Some(last), true) = (open, &self.last, old.controls != new.controls) {
            let (name, warnings) = (last.clone(), open.set_controls(&new.controls));
            self.warn(&name, &warnings);
        }
        false
    }

    /// Opens and starts the source to use now, and logs what it is and why. Whether it delivers frames is not
    /// checked here.
    pub fn open(&mut self) -> Result<(Box<dyn VideoSource>, Found), Error> {
        match self.choose()? {
            Chosen::Pattern(why) => {
                let pattern = self.pattern();
                let found = self.found(Found::pattern(why, pattern.mode()));
                Ok((Box::new(pattern), found))
            }
            Chosen::Camera(choice) => {
                let camera = Camera::open(&choice)?;
                self.warn(&choice.name, camera.warnings());
                let found = self.found(Found::camera(choice, camera.mode()));
                Ok((Box::new(camera), found))
            }
        }
    }

    /// Chooses the source to use now and negotiates a mode with its driver, without starting it; logs it like
    /// [`Chooser::open`].
    pub fn look(&mut self) -> Result<Found, Error> {
        let found = match self.choose()? {
            Chosen::Pattern(why) => Found::pattern(why, self.pattern().mode()),
            Chosen::Camera(choice) => {
                let mode = Camera::negotiate(&choice)?;
                Found::camera(choice, mode)
            }
        };
        Ok(self.found(found))
    }

    /// Records that the source opened last failed with `error` before it had worked for a while. If its mode
    /// is to blame, and not for the first time, the next mode is tried at the next opening.
    pub fn failed(&mut self, error: &Error) {
        let Some(how) = Failure::of(error) else { return };
        if let [failed, next, ..] = self.tried[..]
            && let Some(times) = self.fallback.failed(&self.tried, how)
        {
            warn!(
                "camera: {failed} failed {times} times, most recently: {error}; trying {next} \
                 (to use it from the start, set `pixel_format = \"{next}\"`)"
            );
        }
    }

    /// Records that the source opened last works.
    pub fn worked(&mut self) {
        self.fallback.worked();
    }

    /// Name of the source that was last opened or looked at.
    pub fn name(&self) -> &str {
        self.last.as_deref().unwrap_or_default()
    }

    fn choose(&mut self) -> Result<Chosen, Error> {
        self.stand_in = None;
        self.tried.clear();
        if self.config.device.is_built_in() {
            let name = self.config.device.name();
            return Ok(Chosen::Pattern(format!("configured: device = \"{name}\"")));
        }
        match cameras::choose(&self.config) {
            Err(Error::None(why))
                if self.config.device == config::CameraDevice::Auto && !self.seen_camera =>
            {
                self.stand_in = Some(Pts::now());
                Ok(Chosen::Pattern(why))
            }
            choice => {
                let mut choice = choice?;
                self.seen_camera = true;
                self.fallback.about(Device::at(&choice.path));
                let given_up = self.fallback.order(&mut choice.modes);
                self.tried = choice.modes.iter().map(|mode| mode.format).collect();
                if let (Some(best), Some(used)) = (given_up, self.tried.first()) {
                    choice.why += &format!(
                        "; {best} does not work with this camera, so {used} is used \
                         (to use it from the start, set `pixel_format = \"{used}\"`)"
                    );
                }
                Ok(Chosen::Camera(choice))
            }
        }
    }

    fn pattern(&self) -> Pattern {
        let pattern = Pattern::new(self.config.size, self.config.frame_rate);
        if self.config.device == config::CameraDevice::Noise { pattern.with_noise() } else { pattern }
    }

    /// Whether the test picture replaces a camera that is now available. Looks for a camera now and then, or
    /// immediately if `at_once`.
    pub fn better_than_stand_in(&mut self, at_once: bool) -> bool {
        let now = Pts::now();
        match self.stand_in {
            Some(looked) if at_once || now.since(looked) >= LOOK_AGAIN => {
                self.stand_in = Some(now);
                cameras::choose(&self.config).is_ok()
            }
            _ => false,
        }
    }

    /// Logs warnings that are new: a camera may be opened for each viewer.
    fn warn(&mut self, name: &str, warnings: &[String]) {
        if self.warned != warnings {
            self.warned = warnings.to_vec();
            for warning in warnings {
                warn!("{name}: {warning}");
            }
        }
    }

    /// Remembers what was found, and logs it if it changed.
    fn found(&mut self, found: Found) -> Found {
        let Found { name, node, why, mode, .. } = &found;
        self.last = Some(name.clone());
        let node = node.as_ref().map(|d| format!(" [{d}]")).unwrap_or_default();
        let format = mode.format.map_or("", |f| f.fourcc());
        let says = format!("{name}{node}, {} {format} at {} frames per second ({why})", mode.size, mode.fps);
        if self.said != says {
            info!(device = %name, "video: {says}");
            self.said = says;
        }
        found
    }
}

enum Chosen {
    /// The test picture, and why it is used.
    Pattern(String),
    Camera(Choice),
}

/// The chosen source and its mode.
pub struct Found {
    /// "camera" or "pattern".
    pub source: &'static str,
    /// Name of the device.
    pub name: String,
    /// Path of its node, if it has one.
    pub node: Option<String>,
    /// Why it was chosen, in one sentence.
    pub why: String,
    /// Its mode, as far as the driver reports it.
    pub mode: Mode,
}

impl Found {
    fn pattern(why: String, mode: Mode) -> Self {
        Self { source: "pattern", name: "test picture".into(), node: None, why, mode }
    }

    fn camera(choice: Choice, mode: Mode) -> Self {
        let Choice { path, name, why, .. } = choice;
        Self { source: "camera", name, node: Some(path.display().to_string()), why, mode }
    }
}
