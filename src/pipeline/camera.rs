//! The cameras that viewers may watch.

use std::sync::Arc;

use tokio::sync::watch;

use super::demand::Demand;
use super::snapshot::Snapshots;
use super::stream::{AudioStream, VideoStream};
use crate::privacy::Privacy;

/// A camera, as viewers find it.
#[derive(Clone)]
pub struct Camera {
    /// Its identity, by configuration: a to z, 0 to 9 and hyphens.
    pub name: String,
    /// What people read.
    pub label: String,
    /// Its pictures.
    pub video: Arc<VideoStream>,
    /// The microphone that belongs to it.
    pub microphone: Arc<AudioStream>,
    /// The sound that its viewers hear: that of its microphone, or none while the camera is private. Another one after a
    /// reload, or when another microphone is found to belong to it.
    pub audio: Arc<AudioStream>,
    /// Its single pictures.
    pub snapshots: Arc<Snapshots>,
    /// Whether it is private.
    private: Arc<watch::Sender<bool>>,
}

impl Camera {
    /// One of that name, with nothing in its streams yet.
    pub fn new(name: &str, label: &str) -> Self {
        let video = Arc::<VideoStream>::default();
        let snapshots = Arc::new(Snapshots::new(video.demand.clone()));
        let (name, label, audio) = (name.to_owned(), label.to_owned(), Arc::<AudioStream>::default());
        let private = Arc::new(watch::Sender::new(false));
        Self { name, label, video, microphone: audio.clone(), audio, snapshots, private }
    }

    /// Whether it is private, at every change.
    pub fn private(&self) -> watch::Receiver<bool> {
        self.private.subscribe()
    }

    /// There is privacy: what waits in any of its queues goes no further.
    pub fn conceal(&self) {
        self.video.conceal();
        self.microphone.hub.conceal();
    }

    /// With the sound of its microphone, or without.
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

/// The cameras that there are now. A reload adds, changes and removes some.
pub struct Cameras {
    list: watch::Sender<List>,
    /// Whether all are private.
    hidden: watch::Sender<bool>,
    /// Who watches, whichever of them: a viewer of several counts once.
    pub audience: Arc<Demand>,
}

impl Cameras {
    /// These.
    pub fn new(cameras: impl IntoIterator<Item = Camera>) -> Arc<Self> {
        Self::with(cameras, Arc::default())
    }

    /// These, and who watches them.
    pub fn with(cameras: impl IntoIterator<Item = Camera>, audience: Arc<Demand>) -> Arc<Self> {
        let list = watch::Sender::new(cameras.into_iter().map(Arc::new).collect());
        Arc::new(Self { list, hidden: watch::Sender::new(false), audience })
    }

    /// All.
    pub fn all(&self) -> List {
        self.list.borrow().clone()
    }

    /// The one of that name.
    pub fn find(&self, name: &str) -> Option<Arc<Camera>> {
        self.list.borrow().iter().find(|camera| camera.name == name).cloned()
    }

    /// From now on these.
    pub fn set(&self, cameras: List) {
        self.list.send_replace(cameras);
    }

    /// From now on these, of which those that are private are not heard.
    pub fn set_private(&self, cameras: impl IntoIterator<Item = Camera>, privacy: &Privacy) {
        let heard = |camera: Camera| Arc::new(camera.heard(privacy.covers(&camera.name)));
        let list: List = cameras.into_iter().map(heard).collect();
        let hidden = privacy.all || list.iter().all(|camera| privacy.covers(&camera.name));
        self.set(list);
        set(&self.hidden, hidden);
    }

    /// Whether nobody sees anything, because all are private.
    pub fn hidden(&self) -> watch::Receiver<bool> {
        self.hidden.subscribe()
    }

    /// Viewers of a private camera hear nothing more of it, also where another camera still uses its microphone.
    pub fn follow(&self, privacy: &Privacy) {
        let all = self.all();
        self.set_private(all.iter().map(|camera| Camera::clone(camera)), privacy);
    }

    /// Their names, for people.
    pub fn names(&self) -> String {
        let all = self.all();
        let names: Vec<_> = all.iter().map(|camera| camera.name.as_str()).collect();
        names.join(", ")
    }

    /// Wakes its receiver when there are others.
    pub fn changes(&self) -> watch::Receiver<List> {
        self.list.subscribe()
    }
}

/// Wakes receivers where it is news.
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
        cameras.follow(&privacy);
        let private = |name: &str| *cameras.find(name).expect("a camera").private().borrow();
        assert!(hears("front") && !hears("back") && changes.has_changed().expect("alive"));
        assert!(!*cameras.hidden().borrow() && !private("front") && private("back"), "front is seen");
        cameras.follow(&Privacy { all: true, ..privacy });
        assert!(*cameras.hidden().borrow() && !hears("front") && private("front"));
        cameras.follow(&Privacy::default());
        assert!(hears("back") && !*cameras.hidden().borrow() && !private("back"));
        assert!(cameras.find("attic").is_none());
    }
}
