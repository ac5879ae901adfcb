//! The cameras that viewers may watch.

use std::sync::Arc;

use tokio::sync::watch;

use super::demand::Demand;
use super::snapshot::Snapshots;
use super::stream::{AudioStream, VideoStream};
use crate::privacy::Privacy;

/// A camera from the viewers' point of view.
#[derive(Clone)]
pub struct Camera {
    /// Its identity, from the configuration: a to z, 0 to 9 and hyphens.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// Its video.
    pub video: Arc<VideoStream>,
    /// The microphone that belongs to it.
    pub microphone: Arc<AudioStream>,
    /// The sound for its viewers: that of its microphone, or none while the camera is private. It changes
    /// when a reload, or a camera found on the same USB device, assigns a different microphone.
    pub audio: Arc<AudioStream>,
    /// Its snapshots.
    pub snapshots: Arc<Snapshots>,
    /// Whether it is private.
    private: Arc<watch::Sender<bool>>,
}

impl Camera {
    /// Creates a camera of that name, with empty streams.
    pub fn new(name: &str, label: &str) -> Self {
        let video = Arc::<VideoStream>::default();
        let snapshots = Arc::new(Snapshots::new(video.demand.clone()));
        let (name, label, audio) = (name.to_owned(), label.to_owned(), Arc::<AudioStream>::default());
        let private = Arc::new(watch::Sender::new(false));
        Self { name, label, video, microphone: audio.clone(), audio, snapshots, private }
    }

    /// Watches whether it is private.
    pub fn private(&self) -> watch::Receiver<bool> {
        self.private.subscribe()
    }

    /// Discards everything in its queues; call it when privacy is switched on.
    pub fn conceal(&self) {
        self.video.conceal();
        self.microphone.conceal();
    }

    /// The same camera with the sound of its microphone, or without sound if `private`.
    fn heard(&self, private: bool) -> Self {
        set(&self.private, private);
        let silent = !Arc::ptr_eq(&self.audio, &self.microphone);
        let audio = match private {
            false => self.microphone.clone(),
            true if silent => self.audio.clone(),
            true => Arc::default(),
        };
        Self { audio, ..self.clone() }
    }
}

/// All cameras, in the order of the configuration; at least one.
pub type List = Arc<[Arc<Camera>]>;

/// The current cameras. A reload adds, changes and removes some.
pub struct Cameras {
    list: watch::Sender<List>,
    /// Whether all are private.
    hidden: watch::Sender<bool>,
    /// The demand of all viewers of any camera: a viewer of several counts once.
    pub audience: Arc<Demand>,
}

impl Cameras {
    /// Creates a list of these cameras.
    pub fn new(cameras: impl IntoIterator<Item = Camera>) -> Arc<Self> {
        Self::with(cameras, Arc::default())
    }

    /// Creates a list of these cameras with an existing audience.
    pub fn with(cameras: impl IntoIterator<Item = Camera>, audience: Arc<Demand>) -> Arc<Self> {
        let list = watch::Sender::new(cameras.into_iter().map(Arc::new).collect());
        Arc::new(Self { list, hidden: watch::Sender::new(false), audience })
    }

    /// All cameras.
    pub fn all(&self) -> List {
        self.list.borrow().clone()
    }

    /// The camera of that name.
    pub fn find(&self, name: &str) -> Option<Arc<Camera>> {
        self.list.borrow().iter().find(|camera| camera.name == name).cloned()
    }

    /// Replaces the list.
    pub fn set(&self, cameras: List) {
        self.list.send_replace(cameras);
    }

    /// Replaces the list; cameras that are private have no sound.
    pub fn set_private(&self, cameras: impl IntoIterator<Item = Camera>, privacy: &Privacy) {
        self.change(|_| cameras.into_iter().collect(), privacy);
    }

    /// Watches whether all cameras are private, so that nobody sees anything.
    pub fn hidden(&self) -> watch::Receiver<bool> {
        self.hidden.subscribe()
    }

    /// Applies a change of privacy: viewers of a private camera don't hear it any more, even where another
    /// camera still uses its microphone.
    pub fn apply(&self, privacy: &Privacy) {
        self.change(|list| list.iter().map(|camera| Camera::clone(camera)).collect(), privacy);
    }

    /// Applies every change of privacy, for ever. A change takes effect before it is on the disk, and even if
    /// whoever asked for it is gone by then.
    pub async fn follow(&self, mut privacy: watch::Receiver<Privacy>) {
        while privacy.changed().await.is_ok() {
            self.apply(&privacy.borrow_and_update());
        }
    }

    /// Replaces the list in one step: a reload and a change of privacy may come at once.
    fn change(&self, cameras: impl FnOnce(&List) -> Vec<Camera>, privacy: &Privacy) {
        let heard = |camera: Camera| Arc::new(camera.heard(privacy.covers(&camera.name)));
        self.list.send_modify(|list| {
            *list = cameras(list).into_iter().map(heard).collect();
            set(&self.hidden, privacy.all || list.iter().all(|camera| privacy.covers(&camera.name)));
        });
    }

    /// The names of all cameras, for people.
    pub fn names(&self) -> String {
        let all = self.all();
        let names: Vec<_> = all.iter().map(|camera| camera.name.as_str()).collect();
        names.join(", ")
    }

    /// Wakes its receiver when the list changes.
    pub fn changes(&self) -> watch::Receiver<List> {
        self.list.subscribe()
    }
}

/// Sets the flag, and wakes its receivers if it changed.
fn set(flag: &watch::Sender<bool>, new: bool) {
    flag.send_if_modified(|now| std::mem::replace(now, new) != new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_camera_is_not_heard_though_its_microphone_stays_open_for_another() {
        let (mut front, mut back) = (Camera::new("front", "Front"), Camera::new("back", "Back"));
        back.microphone = front.microphone.clone();
        front.audio = front.microphone.clone();
        let cameras = Cameras::new([]);
        let mut changes = cameras.changes();
        cameras.set_private([front.clone(), back], &Privacy::default());
        let hears = |name: &str| Arc::ptr_eq(&cameras.find(name).expect("a camera").audio, &front.microphone);
        assert!(hears("front") && hears("back") && changes.has_changed().expect("alive"));
        changes.mark_unchanged();
        let privacy = Privacy { all: false, cameras: ["back".to_owned()].into() };
        cameras.apply(&privacy);
        let private = |name: &str| *cameras.find(name).expect("a camera").private().borrow();
        assert!(hears("front") && !hears("back") && changes.has_changed().expect("alive"));
        assert!(!*cameras.hidden().borrow() && !private("front") && private("back"), "front is seen");
        cameras.apply(&Privacy { all: true, ..privacy });
        assert!(*cameras.hidden().borrow() && !hears("front") && private("front"));
        cameras.apply(&Privacy::default());
        assert!(hears("back") && !*cameras.hidden().borrow() && !private("back"));
        assert!(cameras.find("attic").is_none());
    }

    #[tokio::test]
    async fn a_change_of_privacy_needs_nobody_who_waits_for_it() {
        let cameras = Cameras::new([Camera::new("front", "Front")]);
        let privacy = watch::Sender::new(Privacy::default());
        let follow = tokio::spawn({
            let (cameras, privacy) = (cameras.clone(), privacy.subscribe());
            async move { cameras.follow(privacy).await }
        });
        privacy.send_modify(|privacy| privacy.all = true);
        cameras.hidden().wait_for(|hidden| *hidden).await.expect("alive");
        let front = cameras.find("front").expect("a camera");
        assert!(!Arc::ptr_eq(&front.audio, &front.microphone));
        drop(privacy);
        follow.await.expect("it ends with the switch");
    }
}
