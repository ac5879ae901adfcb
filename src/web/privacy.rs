//! The privacy switch: its answer comes when camera and microphone are closed and nothing of them is on its way any more.

use std::time::Duration;

use super::auth::{Auth, Error};
use crate::status::{State, Status};
use crate::viewer::Registry;

/// How long the answer waits for the devices: a thread looks at its orders every 100 ms, and drivers take some time to
/// close. The owner has an answer within 3 s, if the disk is not slower.
const CLOSED: Duration = Duration::from_secs(2);

/// Switches privacy on or off. Returns warnings for the owner, a sentence each.
///
/// # Errors
/// As [`Auth::set_privacy`].
pub async fn switch(
    on: bool,
    auth: &Auth,
    registry: &Registry,
    status: &Status,
) -> Result<Vec<String>, Error> {
    auth.set_privacy(on).await?;
    let mut warnings = vec![];
    if on {
        let (sent, open) = tokio::join!(registry.conceal(), closed(status));
        if !sent {
            warnings.push("some viewers may still receive what was recorded before".to_owned());
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

/// Waits until both devices are closed; those that were not in time.
async fn closed(status: &Status) -> Vec<&'static str> {
    let open = || {
        let report = status.report();
        let states = [("camera", report.video.state), ("microphone", report.audio.state)];
        let open = states.into_iter().filter(|(_, state)| !matches!(state, State::Private | State::Off));
        open.map(|(device, _)| device).collect::<Vec<_>>()
    };
    let mut changes = status.changes();
    let all = async { while !open().is_empty() && changes.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(CLOSED, all).await; // what is open then is told
    open()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::web::testing;

    #[tokio::test(start_paused = true)]
    async fn the_answer_waits_for_both_devices_but_not_for_ever() {
        let daemon = testing::context();
        let (status, context) = (daemon.status.clone(), daemon.context.clone());
        status.video(|v| v.state = State::Live);
        status.audio(|a| a.state = State::Live);
        let answer = tokio::spawn(async move {
            switch(true, &context.auth, &context.registry, &context.status).await.unwrap()
        });
        tokio::time::sleep(CLOSED / 4).await;
        status.video(|v| v.state = State::Private);
        tokio::time::sleep(CLOSED / 4).await;
        assert!(!answer.is_finished(), "the microphone is open");
        status.audio(|a| a.state = State::Private);
        assert_eq!(answer.await.unwrap(), [] as [String; 0]);

        status.audio(|a| a.state = State::Live); // it hangs
        let began = tokio::time::Instant::now();
        let warnings = switch(true, &daemon.auth, &daemon.registry, &daemon.status).await.unwrap();
        assert!(
            warnings.len() == 1 && warnings[0].contains("the microphone is not closed yet"),
            "{warnings:?}"
        );
        assert!(began.elapsed() < CLOSED * 2);
        assert!(switch(false, &daemon.auth, &daemon.registry, &daemon.status).await.unwrap().is_empty());
        drop(Arc::clone(&daemon.context));
    }
}
