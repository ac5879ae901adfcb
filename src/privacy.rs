//! For which cameras there is privacy: they are closed, whoever watches, and nothing of them is sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// Which cameras are private.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// All of them, and the microphones.
    pub all: bool,
    /// Those of these names, whether there are such now or not.
    pub cameras: BTreeSet<String>,
}

impl Privacy {
    /// Whether this camera is private.
    pub fn covers(&self, camera: &str) -> bool {
        self.all || self.cameras.contains(camera)
    }
}

/// Whether one source is to be closed for privacy: a camera that is private, or a microphone of which all cameras are.
#[derive(Clone, Debug)]
pub struct Private {
    privacy: watch::Receiver<Privacy>,
    /// The cameras that use the source. A reload may change a microphone's.
    cameras: watch::Receiver<Arc<[String]>>,
}

impl Private {
    /// By `privacy`, for a source that these cameras use.
    pub fn new(privacy: watch::Receiver<Privacy>, cameras: watch::Receiver<Arc<[String]>>) -> Self {
        Self { privacy, cameras }
    }

    /// For the camera of that name.
    pub fn of(privacy: watch::Receiver<Privacy>, camera: &str) -> Self {
        Self { privacy, cameras: watch::channel(Arc::from([camera.to_owned()])).1 }
    }

    /// Whether it is to be closed now.
    pub fn is_on(&self) -> bool {
        let (privacy, cameras) = (self.privacy.borrow(), self.cameras.borrow());
        privacy.all || (!cameras.is_empty() && cameras.iter().all(|camera| privacy.covers(camera)))
    }

    /// The same; [`Self::changed`] waits for what comes after it.
    pub fn look(&mut self) -> bool {
        self.privacy.mark_unchanged();
        self.cameras.mark_unchanged();
        self.is_on()
    }

    /// Waits until it may be another. Never returns where nothing can change any more.
    pub async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.privacy.changed() => {}
            Ok(()) = self.cameras.changed() => {}
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_microphone_is_closed_when_all_of_its_cameras_are_private() {
        let (privacy, cameras) = (watch::Sender::default(), watch::Sender::new(Arc::from([])));
        let mut private = Private::new(privacy.subscribe(), cameras.subscribe());
        let set = |all, names: &[&str]| {
            let cameras = names.iter().map(|name| (*name).to_owned()).collect();
            privacy.send_replace(Privacy { all, cameras });
        };
        assert!(!private.is_on(), "no camera uses it, and nobody asked for privacy");
        set(true, &[]);
        assert!(private.look());
        cameras.send_replace(Arc::from(["front".to_owned(), "back".to_owned()]));
        for (names, on) in [(&["front"][..], false), (&["back", "front"], true), (&["front", "attic"], false)]
        {
            set(false, names);
            assert_eq!(private.is_on(), on, "{names:?}");
        }
        cameras.send_replace(Arc::from(["front".to_owned()]));
        assert!(private.is_on(), "the other camera uses it no more");
        assert!(Private::of(privacy.subscribe(), "attic").is_on());
        assert!(!Private::of(privacy.subscribe(), "back").is_on());
    }
}
