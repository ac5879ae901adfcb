//! Privacy: private cameras are closed regardless of viewers, and nothing of them is sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// Which cameras are private.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Whether all cameras and microphones are private.
    pub all: bool,
    /// Names of private cameras, which need not exist now.
    pub cameras: BTreeSet<String>,
}

impl Privacy {
    /// Whether `camera` is private.
    pub fn covers(&self, camera: &str) -> bool {
        self.all || self.cameras.contains(camera)
    }
}

/// Follows whether a source must be closed: a private camera, or a microphone whose cameras are all private.
#[derive(Clone, Debug)]
pub struct Private {
    privacy: watch::Receiver<Privacy>,
    /// The cameras that use the source. A reload may change those of a microphone.
    cameras: watch::Receiver<Arc<[String]>>,
}

impl Private {
    /// Follows `privacy` for a source that these cameras use.
    pub fn new(privacy: watch::Receiver<Privacy>, cameras: watch::Receiver<Arc<[String]>>) -> Self {
        Self { privacy, cameras }
    }

    /// Follows `privacy` for the camera with this name.
    pub fn of(privacy: watch::Receiver<Privacy>, camera: &str) -> Self {
        Self { privacy, cameras: watch::channel(Arc::from([camera.to_owned()])).1 }
    }

    /// Whether the source must be closed now.
    pub fn is_on(&self) -> bool {
        let (privacy, cameras) = (self.privacy.borrow(), self.cameras.borrow());
        privacy.all || (!cameras.is_empty() && cameras.iter().all(|camera| privacy.covers(camera)))
    }

    /// Like [`Self::is_on`]; [`Self::changed`] then waits for later changes.
    pub fn look(&mut self) -> bool {
        self.privacy.mark_unchanged();
        self.cameras.mark_unchanged();
        self.is_on()
    }

    /// Waits until the answer may have changed. Never returns if nothing can change anymore.
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
        assert!(!private.is_on(), "no camera uses it, and privacy is off");
        set(true, &[]);
        assert!(private.look());
        cameras.send_replace(Arc::from(["front".to_owned(), "back".to_owned()]));
        for (names, on) in [(&["front"][..], false), (&["back", "front"], true), (&["front", "attic"], false)]
        {
            set(false, names);
            assert_eq!(private.is_on(), on, "{names:?}");
        }
        cameras.send_replace(Arc::from(["front".to_owned()]));
        assert!(private.is_on(), "the other camera no longer uses it");
        assert!(Private::of(privacy.subscribe(), "attic").is_on());
        assert!(!Private::of(privacy.subscribe(), "back").is_on());
    }
}
