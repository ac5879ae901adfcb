//! Measures the cost of more cameras and of smaller rungs: CPU and memory of a daemon with test pictures of 1280x720,
//! which it draws itself, and viewers that watch all cameras over one connection each.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::client::Client;
use crate::daemon::Daemon;
use crate::{row, usage};

/// Measures 1, 2 and 4 cameras with 1 and 10 viewers, then one camera where half of the viewers take half the size.
pub(crate) fn measure() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for cameras in [1, 2, 4] {
        let daemon = Daemon::start(&config(cameras));
        let mut all = vec![];
        for viewers in [1, 10] {
            while all.len() < viewers {
                all.push(runtime.block_on(watch(daemon.address(), cameras, "full")));
            }
            tell(&daemon, &format!("{cameras} cameras, {viewers} viewers of each"));
        }
    }
    let daemon = Daemon::start(&config(1));
    let _full = runtime.block_on(watch(daemon.address(), 1, "full"));
    tell(&daemon, "1 camera, 1 rung, 1 viewer");
    let _half = runtime.block_on(watch(daemon.address(), 1, "half"));
    tell(&daemon, "1 camera, 2 rungs, 1 viewer of each");
}

fn tell(daemon: &Daemon, what: &str) {
    std::thread::sleep(Duration::from_secs(3));
    let encoded = |daemon: &Daemon| daemon.status()["counters"]["encoded"].as_f64().expect("a count");
    let before = encoded(daemon);
    let (cpu, resident) = usage(daemon, Duration::from_secs(10));
    // A board that is too slow encodes fewer.
    let pictures = (encoded(daemon) - before) / 10.0;
    row(
        &format!("{what}, 720p30 test pictures"),
        &format!("{cpu:.0} % of a core, {resident:.1} MB, {pictures:.0} pictures encoded a second"),
    );
}

fn config(cameras: usize) -> String {
    let camera = |n| format!("[[camera]]\nname = \"camera-{n}\"\ndevice = \"pattern\"\n");
    let cameras: String = (1..=cameras).map(camera).collect();
    format!("[video]\nsize = \"1280x720\"\n[audio]\ndevice = \"tone\"\n{cameras}")
}

/// A viewer of the first `cameras`, which reads everything it receives.
async fn watch(address: SocketAddr, cameras: usize, quality: &str) -> JoinHandle<()> {
    let mut client = Client::watching(cameras, true).await;
    let names: String = (1..=cameras).map(|n| format!("&camera=camera-{n}")).collect();
    client.join_for(address, &format!("?quality={quality}{names}")).await;
    tokio::spawn(async move { while client.packets.recv().await.is_some() {} })
}
