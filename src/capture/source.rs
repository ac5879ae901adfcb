//! Which source of pictures to use now: the configured camera, the best of those found, or the test picture.

use std::time::Duration;

use tracing::info;

use super::cameras;
use super::pattern::Pattern;
use super::v4l2::Camera;
use super::{Error, VideoSource};
use crate::clock::Pts;
use crate::config;
use crate::status::{Mode, Status};

/// While the test picture stands in, a camera is looked for so often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Opens the right source, again and again.
pub struct Chooser {
    config: config::Video,
    /// Once "auto" has found a camera, its absence is a fault and no reason for the test picture.
    seen_camera: bool,
    /// The test picture is only a stand-in; since when nobody looked for a camera.
    stand_in: Option<Pts>,
}

impl Chooser {
    /// For `[video]`.
    pub fn new(config: &config::Video) -> Self {
        Self { config: config.clone(), seen_camera: false, stand_in: None }
    }

    /// Opens what is right now, and tells status and log what it is and why. Whether it delivers is for others to tell.
    pub fn open(&mut self, status: &std::sync::Arc<Status>) -> Result<Box<dyn VideoSource>, Error> {
        self.stand_in = None;
        if self.config.device == config::Camera::Pattern {
            return Ok(self.pattern(status, "configured: video.device = \"pattern\"".into()));
        }
        let choice = match cameras::choose(&self.config) {
            Err(Error::None(why)) if self.config.device == config::Camera::Auto && !self.seen_camera => {
                self.stand_in = Some(Pts::now());
                return Ok(self.pattern(status, why));
            }
            choice => choice?,
        };
        self.seen_camera = true;
        let camera = Camera::open(&choice, status)?;
        let device = Some(choice.path.display().to_string());
        let found = Found { source: "camera", name: choice.name, device, why: choice.why };
        self.tell(status, found, camera.mode());
        Ok(Box::new(camera))
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

    fn pattern(&self, status: &Status, why: String) -> Box<dyn VideoSource> {
        let pattern = Pattern::new(self.config.size, self.config.frame_rate);
        let found = Found { source: "pattern", name: "test picture".into(), device: None, why };
        self.tell(status, found, pattern.mode());
        Box::new(pattern)
    }

    fn tell(&self, status: &Status, found: Found, mode: Mode) {
        let Found { source, name, device, why } = found;
        let node = device.as_ref().map(|d| format!(" [{d}]")).unwrap_or_default();
        let format = mode.format.map_or("", |f| f.fourcc());
        info!("picture: {name}{node}, {} {format} at {} frames per second ({why})", mode.size, mode.fps);
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

struct Found {
    source: &'static str,
    name: String,
    device: Option<String>,
    why: String,
}
