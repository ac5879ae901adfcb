//! An LED that is on while somebody watches, through the kernel's `/sys/class/leds`
//! (Documentation/leds/leds-class.rst).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Folder in which the kernel lists its LEDs.
pub const LEDS: &str = "/sys/class/leds";
/// Time between attempts to switch an LED that failed: it may be plugged in, or its permissions changed, later.
const RETRY: Duration = Duration::from_secs(10);

/// Keeps the LED of folder `led` on while there are `viewers` and privacy (`private`) is off, until `stop`. After that
/// it is off, or follows its previous trigger. `key` is its key in the configuration, for the log.
pub async fn follow(
    key: String,
    led: PathBuf,
    mut viewers: watch::Receiver<usize>,
    mut private: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let mut light = Light { trigger: None, folder: led };
    let mut told: Option<String> = None;
    while !stop.is_cancelled() {
        let on = *viewers.borrow_and_update() > 0 && !*private.borrow_and_update();
        let switched = light.switch(on).await;
        let retry = switched.is_err();
        match (switched, &told) {
            (Ok(()), Some(_)) => {
                info!("{key}: it works now");
                told = None;
            }
            (Err(says), last) if last.as_ref() != Some(&says) => {
                warn!("{key}: {says}; trying again every 10 s");
                told = Some(says);
            }
            _ => {}
        }
        tokio::select! {
            Ok(()) = viewers.changed() => {}
            Ok(()) = private.changed() => {}
            () = stop.cancelled() => {}
            () = tokio::time::sleep(RETRY), if retry => {}
        }
    }
    light.give_back().await;
}

struct Light {
    folder: PathBuf,
    /// The trigger that the LED had before.
    trigger: Option<String>,
}

impl Light {
    async fn switch(&mut self, on: bool) -> Result<(), String> {
        let path = self.folder.join("trigger");
        if let Ok(triggers) = fs::read_to_string(&path).await {
            let current = current(&triggers);
            if current != "none" {
                write(&path, "none").await?;
                self.trigger.get_or_insert(current.to_owned());
            }
        }
        let brightness = if on { self.brightest().await } else { "0".into() };
        write(&self.folder.join("brightness"), &brightness).await
    }

    async fn brightest(&self) -> String {
        let max = fs::read_to_string(self.folder.join("max_brightness")).await;
        max.ok().and_then(|m| m.trim().parse::<u32>().ok()).unwrap_or(1).to_string()
    }

    async fn give_back(self) {
        // Errors can't be helped here, and have been logged before.
        let _ = write(&self.folder.join("brightness"), "0").await;
        if let Some(trigger) = self.trigger {
            let _ = write(&self.folder.join("trigger"), &trigger).await;
        }
    }
}

/// The active trigger, which is in brackets: `none kbd-scrolllock [mmc0] heartbeat`.
fn current(triggers: &str) -> &str {
    triggers.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("none", |(name, _)| name)
}

/// Like `fs::write`, but never creates a file.
async fn write(path: &Path, text: &str) -> Result<(), String> {
    let written = async {
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path).await?;
        tokio::io::AsyncWriteExt::write_all(&mut file, text.as_bytes()).await?;
        tokio::io::AsyncWriteExt::flush(&mut file).await
    };
    written.await.map_err(|e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path).display();
            format!("there is no LED {folder}; `ls {LEDS}` lists the available ones")
        }
        io::ErrorKind::PermissionDenied => {
            format!("no permission to write {}; a udev rule can give it to peercam's user", path.display())
        }
        _ => format!("{}: {e}", path.display()),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::sync::watch;

    use super::*;

    pub(crate) struct Fake(pub PathBuf);

    impl Fake {
        pub(crate) fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("peercam-led-{name}-{}", std::process::id())))
        }

        pub(crate) fn plug(&self) {
            std::fs::create_dir_all(&self.0).expect("made");
            for (file, text) in
                [("brightness", "0\n"), ("max_brightness", "255\n"), ("trigger", "none [mmc0] timer\n")]
            {
                std::fs::write(self.0.join(file), text).expect("written");
            }
        }

        pub(crate) fn read(&self, file: &str) -> String {
            std::fs::read_to_string(self.0.join(file)).unwrap_or_default()
        }

        pub(crate) async fn becomes(&self, file: &str, text: &str) {
            for _ in 0..400 {
                if self.read(file) == text {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{file} is {:?}, not {text:?}", self.read(file));
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn it_shines_while_somebody_sees() {
        let fake = Fake::new("shines");
        fake.plug();
        let (viewers, seen) = watch::channel(0);
        let (private, hidden) = watch::channel(false);
        let stop = CancellationToken::new();
        let task = tokio::spawn(follow("watching.led".into(), fake.0.clone(), seen, hidden, stop.clone()));
        fake.becomes("trigger", "none").await;
        fake.becomes("brightness", "0").await;
        viewers.send_replace(2);
        fake.becomes("brightness", "255").await;
        private.send_replace(true);
        fake.becomes("brightness", "0").await;
        private.send_replace(false);
        fake.becomes("brightness", "255").await;
        stop.cancel();
        task.await.expect("no panic");
        assert_eq!((fake.read("brightness"), fake.read("trigger")), ("0".into(), "mmc0".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_missing_is_told_and_tried_again() {
        let fake = Fake::new("missing");
        let missing = Light { folder: fake.0.clone(), trigger: None }.switch(true).await;
        let says = missing.expect_err("it is not there");
        assert!(says.starts_with("there is no LED /") && says.contains("ls /sys/class/leds"), "{says}");
        assert!(!fake.0.exists(), "files must not be made");
        let (_viewers, seen) = watch::channel(1);
        let (_private, hidden) = watch::channel(false);
        let stop = CancellationToken::new();
        let task = tokio::spawn(follow("watching.led".into(), fake.0.clone(), seen, hidden, stop.clone()));
        tokio::time::sleep(RETRY * 3).await;
        fake.plug();
        tokio::time::sleep(RETRY * 3).await;
        fake.becomes("brightness", "255").await;
        stop.cancel();
        task.await.expect("no panic");
    }

    #[test]
    fn triggers_are_read_as_the_kernel_writes_them() {
        assert_eq!(current("none rfkill-any [heartbeat] mmc0\n"), "heartbeat");
        assert_eq!(current("[none] timer\n"), "none");
        assert_eq!(current(""), "none");
    }
}
