//! A whole connection from an offer: it is created, answered, restarted and closed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use peercam::config;
use peercam::pipeline::camera::{Camera, Cameras};
use peercam::pipeline::quality::Quality;
use peercam::status::Status;
use peercam::viewer::{Credential, Holder, Offer, Port, Registry, Signaling, Wanted};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Time within which any offer is answered or refused.
const PATIENCE: Duration = Duration::from_secs(5);

struct House {
    runtime: Runtime,
    registry: Arc<Registry>,
    cameras: Arc<Cameras>,
}

static JOINS: AtomicU64 = AtomicU64::new(0);
static HOUSE: OnceLock<House> = OnceLock::new();

fn house() -> House {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let inside = runtime.enter();
    let (status, (_, addresses)) = (Arc::new(Status::default()), watch::channel(vec![]));
    let ice = config::Ice { port: 0, ..Default::default() };
    let port = Port::open(&ice, addresses, status.clone()).expect("a free port");
    let cameras = Cameras::new(["front", "back", "garage"].map(|name| Camera::new(name, name)));
    let registry = Registry::new(cameras.clone(), status, port, 100);
    drop(inside);
    House { runtime, registry, cameras }
}

/// The offer is the part before the first NUL, the restart the part after it.
pub fn join(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (offer, restart) = text.split_once('\0').unwrap_or((text, text));
    let House { runtime, registry, cameras } = HOUSE.get_or_init(house);
    let wanted = |camera: &Arc<Camera>| Wanted { mid: None, camera: camera.clone(), quality: Quality::Auto };
    let whole = async {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        // Each with its own credential: joins are rate-limited for each.
        let joins = JOINS.fetch_add(1, Ordering::Relaxed);
        let mut credential = [0; 32];
        credential[..8].copy_from_slice(&joins.to_be_bytes());
        let holder = Holder { credential: Credential::new(credential), owner: false, household: false };
        let offer = Offer {
            sdp: offer.to_owned(),
            from,
            to: None,
            who: "fuzz".into(),
            holder,
            via: Signaling::Page,
            sound: false,
            cameras: cameras.all().iter().map(wanted).collect(),
            listen: None,
        };
        let Ok(answer) = registry.join(offer).await else { return };
        for line in text.lines().filter_map(|l| l.strip_prefix("a=candidate:")) {
            let _ = registry.add_candidate(&answer.id, &format!("candidate:{line}"), None).await;
        }
        let _ = registry.renegotiate(&answer.id, restart, None).await;
        let _ = registry.leave(&answer.id, "fuzzed").await;
    };
    let joined = runtime.block_on(async { tokio::time::timeout(PATIENCE, whole).await });
    assert!(joined.is_ok(), "not answered within {PATIENCE:?}");
}
