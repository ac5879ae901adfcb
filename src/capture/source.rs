//! Which source of pictures to use now: the configured camera, the best of those found, or the test picture.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::cameras::{self, Choice};
use super::pattern::Pattern;
use super::v4l2::Camera;
use super::{Error, VideoSource};
use crate::clock::Pts;
use crate::config;
use crate::status::{Mode, Status};

/// While the test picture stands in, a camera is looked for so often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Chooses and opens the right source, again and again.
pub struct Chooser {
    config: config::Video,
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
        let config = config.clone();
        Self { config, seen_camera: false, stand_in: None, said: String::new(), warned: vec![] }
    }

    /// Opens what is right now and starts it, and tells status and log what it is and why. Whether it delivers is for
    /// others to tell.
    pub fn open(&mut self, status: &Arc<Status>) -> Result<Box<dyn VideoSource>, Error> {
        match self.choose()? {
            Chosen::Pattern(why) => {
                let pattern = Pattern::new(self.config.size, self.config.frame_rate);
                self.tell(status, Found::pattern(why), pattern.mode());
                Ok(Box::new(pattern))
            }
            Chosen::Camera(choice) => {
                let camera = Camera::open(&choice, status)?;
                self.warn(&choice.name, camera.warnings());
                self.tell(status, choice.into(), camera.mode());
                Ok(Box::new(camera))
            }
        }
    }

    /// Chooses what would be opened now and agrees with its driver on a mode, without starting it; tells it likewise.
    pub fn look(&mut self, status: &Arc<Status>) -> Result<Mode, Error> {
        let (found, mode) = match self.choose()? {
            Chosen::Pattern(why) => {
                (Found::pattern(why), Pattern::new(self.config.size, self.config.frame_rate).mode())
            }
            Chosen::Camera(choice) => {
                let mode = Camera::negotiate(&choice)?;
                (choice.into(), mode)
            }
        };
        self.tell(status, found, mode);
        Ok(mode)
    }

    fn choose(&mut self) -> Result<Chosen, Error> {
        self.stand_in = None;
        if self.config.device == config::Camera::Pattern {
            return Ok(Chosen::Pattern("configured: video.device = \"pattern\"".into()));
        }
        match cameras::choose(&self.config) {
            Err(Error::None(why)) if self.config.device == config::Camera::Auto && !self.seen_camera => {
                self.stand_in = Some(Pts::now());
                Ok(Chosen::Pattern(why))
            }
            choice => {
                let choice = choice?;
                self.seen_camera = true;
                Ok(Chosen::Camera(choice))
            }
        }
    }

    /// Whether the test picture stands in for a camera that is there by now.
    pub fn better_than_stand_in(&mut self) -> bool {
        let now = Pts::now();
        match self.stand_in {
            Some(looked) if now.since(looked) >= LOOK_AGAIN => {
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

    fn tell(&mut self, status: &Status, found: Found, mode: Mode) {
        let Found { source, name, device, why } = found;
        let node = device.as_ref().map(|d| format!(" [{d}]")).unwrap_or_default();
        let format = mode.format.map_or("", |f| f.fourcc());
        let says = format!("{name}{node}, {} {format} at {} frames per second ({why})", mode.size, mode.fps);
        if self.said != says {
            info!(camera = %name, "picture: {says}");
            self.said = says;
        }
        let config = &self.config;
        let wanted = Mode {
            size: config.size,
            fps: f64::from(config.frame_rate),
            format: config.pixel_format,
            range: None,
        };
        status.video(|v| {
            v.source = source;
            v.name = name;
            v.device = device;
            v.why = why;
            v.wanted = Some(wanted);
            v.negotiated = Some(mode);
        });
    }
}

enum Chosen {
    /// The test picture, and why.
    Pattern(String),
    Camera(Choice),
}

struct Found {
    source: &'static str,
    name: String,
    device: Option<String>,
    why: String,
}

impl Found {
    fn pattern(why: String) -> Self {
        Self { source: "pattern", name: "test picture".into(), device: None, why }
    }
}

impl From<Choice> for Found {
    fn from(choice: Choice) -> Self {
        let device = Some(choice.path.display().to_string());
        Self { source: "camera", name: choice.name, device, why: choice.why }
    }
}
