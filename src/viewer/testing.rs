//! A registry of viewers for unit tests, with three cameras that deliver nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;

use super::{Answer, Credential, Error, Holder, Offer, Port, Registry, Signaling, Wanted};
use crate::config;
use crate::pipeline::camera::{Camera, Cameras};
use crate::pipeline::quality::Quality;
use crate::status::Status;

/// A registry, with the cameras "front", "back" and "garage".
pub(super) struct House {
    /// The registry of viewers.
    pub registry: Arc<Registry>,
    /// The cameras.
    pub cameras: Arc<Cameras>,
}

impl House {
    /// Creates one with room for `most` viewers.
    pub(super) fn new(most: usize) -> Self {
        let status = Arc::new(Status::default());
        let addresses = watch::channel(vec![("lo".to_owned(), Ipv4Addr::LOCALHOST.into())]).1;
        let ice = config::Ice { port: 0, ..Default::default() };
        let port = Port::open(&ice, addresses, status.clone()).expect("a free port");
        let cameras = Cameras::new(["front", "back", "garage"].map(|name| Camera::new(name, name)));
        Self { registry: Registry::new(cameras.clone(), status, port, most), cameras }
    }

    /// A request for a camera, for the named video section or for the next unnamed one.
    pub(super) fn wanted(&self, mid: Option<&str>, camera: &str, quality: Quality) -> Wanted {
        Wanted { mid: mid.map(str::to_owned), camera: self.cameras.find(camera).expect("there"), quality }
    }

    /// Joins with an offer of the owner's page.
    pub(super) async fn join(
        &self,
        sdp: &str,
        cameras: Vec<Wanted>,
        listen: Option<&str>,
    ) -> Result<Answer, Error> {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let holder = Holder { credential: Credential::new([0; 32]), owner: true, household: false };
        let (sdp, who, listen) = (sdp.to_owned(), "test".into(), listen.map(str::to_owned));
        let (to, via, sound) = (None, Signaling::Page, false);
        self.registry.join(Offer { sdp, from, to, who, holder, via, sound, cameras, listen }).await
    }
}
