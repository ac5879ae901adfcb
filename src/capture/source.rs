//! Which source of pictures to use now: the configured camera, the best of those found, or the test picture.

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

/// While the test picture stands in, a camera is looked for so often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Chooses and opens the right source, again and again.
pub struct Chooser {
    config: config::Video,
    /// What was opened or looked at last, as it calls itself.
    last: Option<String>,
    fallback: Fallback,
    /// The layouts that are tried, in this order; empty while there is no camera.
    tried: Vec<PixelFormat>,
    /// Once "auto" has found a camera, its absence is a fault and no reason for the test picture.
    seen_camera: bool,
    /// The test picture is only a stand-in; since when nobody looked for a camera.
    stand_in: Option<Pts>,
    /// What the log was told last.
    said: String,
    warned: Vec<String>,
}

impl Chooser {
    /// For `[video]`.
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

    /// What it goes by.
    pub fn config(&self) -> &config::Video {
        &self.config
    }

    /// Goes by another configuration. Says whether that may mean another device or mode. If not, and `open` is what
    /// [`Chooser::open`] gave, its controls are set: that needs no new opening.
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

    /// Opens what is right now and starts it; the log is told what it is and why. Whether it delivers is for others to tell.
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

    /// Chooses what would be opened now and agrees with its driver on a mode, without starting it; the log is told likewise.
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

    /// What was opened last failed with `error` before it had worked for a while. If that was the fault of its mode, and not
    /// for the first time, the next one is tried when it is opened again.
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

    /// What was opened last works.
    pub fn worked(&mut self) {
        self.fallback.worked();
    }

    /// What was opened or looked at last, as it calls itself.
    pub fn name(&self) -> &str {
        self.last.as_deref().unwrap_or_default()
    }

    fn choose(&mut self) -> Result<Chosen, Error> {
        self.stand_in = None;
        self.tried.clear();
        if self.config.device == config::CameraDevice::Pattern {
            return Ok(Chosen::Pattern("configured: device = \"pattern\"".into()));
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
                        "; {best} does not work with this camera, so {used} is used (to use it from the start, set `pixel_format = \"{used}\"`)"
                    );
                }
                Ok(Chosen::Camera(choice))
            }
        }
    }

    fn pattern(&self) -> Pattern {
        Pattern::new(self.config.size, self.config.frame_rate)
    }

    /// Whether the test picture stands in for a camera that is there by now. It is looked for now and then, or `at_once`.
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

    /// Tells the log what is new: a camera is opened for each viewer.
    fn warn(&mut self, name: &str, warnings: &[String]) {
        if self.warned != warnings {
            self.warned = warnings.to_vec();
            for warning in warnings {
                warn!("{name}: {warning}");
            }
        }
    }

    /// Takes note of what was found, and logs it if it is new.
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
    /// The test picture, and why.
    Pattern(String),
    Camera(Choice),
}

/// What was chosen, and how it delivers.
pub struct Found {
    /// "camera" or "pattern".
    pub source: &'static str,
    /// What it calls itself.
    pub name: String,
    /// Its node, if it has one.
    pub node: Option<String>,
    /// Why this one, in one sentence.
    pub why: String,
    /// What it delivers, as far as its driver says.
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
