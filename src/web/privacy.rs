//! The privacy switch. It answers when the private devices are closed and nothing of them is still being sent.

use std::time::Duration;

use super::auth::{Auth, Error};
use crate::pipeline::camera::Cameras;
use crate::status::{State, Status};
use crate::viewer::Registry;

/// How long the answer waits for the devices: threads check their orders every 100 ms, and drivers take some time to
/// close. The owner gets an answer within 3 s, unless the disk is slower.
const CLOSED: Duration = Duration::from_secs(2);

/// The parts that the switch affects.
pub struct Of<'a> {
    /// Stores the switch.
    pub auth: &'a Auth,
    /// The viewers, which get nothing more.
    pub registry: &'a Registry,
    /// The cameras to close.
    pub cameras: &'a Cameras,
    /// Shows when they are closed.
    pub status: &'a Status,
}

impl Of<'_> {
    /// Turns privacy on or off, for one camera or all. Returns warnings for the owner, one sentence each.
    ///
    /// # Errors
    /// If there is no such camera, or like [`Auth::set_privacy`].
    pub async fn switch(&self, on: bool, camera: Option<&str>) -> Result<Vec<String>, Error> {
        let Self { auth, registry, cameras, .. } = self;
        if camera.is_some_and(|name| cameras.find(name).is_none()) {
            return Err(Error::Unknown("there is no camera with this name"));
        }
        auth.set_privacy(on, camera.map(str::to_owned)).await?;
        cameras.apply(&auth.state().privacy().borrow());
        let mut warnings = vec![];
        if on {
            let concealed = async {
                match camera {
                    Some(name) => registry.conceal_camera(name).await,
                    None => registry.conceal().await,
                }
            };
            let (sent, open) = tokio::join!(concealed, self.closed(camera));
            if !sent {
                warnings.push("some viewers may still receive video or sound from before".to_owned());
            }
            warnings.extend(open.into_iter().map(|device| {
                format!(
                    "nothing is sent any more, but the {device} is not closed yet: its driver does not answer"
                )
            }));
        }
        warnings.extend(auth.unwritten());
        Ok(warnings)
    }

    /// Waits until the devices are closed; returns those that were not in time. A camera's microphone may stay open for
    /// another camera; listeners of the private one hear nothing.
    async fn closed(&self, camera: Option<&str>) -> Vec<String> {
        let is_open = |state| !matches!(state, State::Private | State::Off);
        let open = || {
            let all = self.status.report().cameras;
            let several = all.len() > 1;
            let mut open = vec![];
            for of in all.iter().filter(|of| camera.is_none_or(|name| of.name == name)) {
                let which = if several { format!(" {}", of.name) } else { String::new() };
                if is_open(of.video.state) {
                    open.push(format!("camera{which}"));
                }
                if camera.is_none() && is_open(of.audio.state) {
                    open.push(format!("microphone{which}"));
                }
            }
            open
        };
        let mut changes = self.status.changes();
        let all = async { while !open().is_empty() && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(CLOSED, all).await; // devices that are still open are reported
        open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::testing::{self, Daemon};

    async fn switch(daemon: &Daemon, on: bool, camera: Option<&str>) -> Result<Vec<String>, Error> {
        let Daemon { context, .. } = daemon;
        let of = Of {
            auth: &context.auth,
            registry: &context.registry,
            cameras: &context.cameras,
            status: &context.status,
        };
        of.switch(on, camera).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_waits_for_both_devices_but_not_for_ever() {
        let daemon = std::sync::Arc::new(testing::context());
        let camera = daemon.status.cameras()[0].clone();
        camera.video.change(|v| v.state = State::Live);
        camera.audio.change(|a| a.state = State::Live);
        let answer = tokio::spawn({
            let daemon = daemon.clone();
            async move { switch(&daemon, true, None).await.unwrap() }
        });
        tokio::time::sleep(CLOSED / 4).await;
        camera.video.change(|v| v.state = State::Private);
        tokio::time::sleep(CLOSED / 4).await;
        assert!(!answer.is_finished(), "the microphone is open");
        camera.audio.change(|a| a.state = State::Private);
        assert_eq!(answer.await.unwrap(), [] as [String; 0]);

        camera.audio.change(|a| a.state = State::Live); // it hangs
        let began = tokio::time::Instant::now();
        let warnings = switch(&daemon, true, None).await.unwrap();
        assert!(
            warnings.len() == 1 && warnings[0].contains("the microphone is not closed yet"),
            "{warnings:?}"
        );
        assert!(began.elapsed() < CLOSED * 2);
        assert!(switch(&daemon, false, None).await.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_camera_neither_the_others_nor_a_shared_microphone_are_waited_for() {
        let daemon = testing::context_of(&["front", "back"]);
        for camera in daemon.status.cameras() {
            camera.video.change(|v| v.state = State::Live);
            camera.audio.change(|a| a.state = State::Live);
        }
        let warnings = switch(&daemon, true, Some("back")).await.unwrap();
        assert!(
            warnings.len() == 1 && warnings[0].contains("the camera back is not closed yet"),
            "{warnings:?}"
        );
        let back = &daemon.status.cameras()[1];
        back.video.change(|v| v.state = State::Private);
        assert!(switch(&daemon, true, Some("back")).await.unwrap().is_empty());
        let privacy = daemon.auth.state().privacy().borrow().clone();
        assert!(privacy.covers("back") && !privacy.covers("front"));
        let [front, back] = ["front", "back"].map(|name| daemon.cameras.find(name).unwrap());
        let is_heard =
            |of: &crate::pipeline::camera::Camera| std::sync::Arc::ptr_eq(&of.audio, &of.microphone);
        assert!(is_heard(&front) && !is_heard(&back));
        assert!(matches!(switch(&daemon, true, Some("attic")).await, Err(Error::Unknown(_))));
        assert!(switch(&daemon, false, Some("back")).await.unwrap().is_empty());
        assert!(is_heard(&daemon.cameras.find("back").unwrap()));
    }
}
