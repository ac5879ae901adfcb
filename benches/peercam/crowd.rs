//! Measures the cost of each further viewer, compared with a fan-out by pion (`tests/peers/pion/fanout.go`) of the same
//! units to the same receivers in the same run. Video units of two rates at 30 frames per second and Opus packets go
//! through the hub and the viewers' connections; the viewers run in a separate process. Nothing is encoded.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use peercam::board::addresses;
use peercam::clock::{AUDIO_HZ, Clocks, Pts, RtpClock, VIDEO_HZ};
use peercam::config;
use peercam::media::unit::{AudioUnit, VideoUnit};
use peercam::memory;
use peercam::net::Links;
use peercam::pipeline::camera::{Camera, Cameras};
use peercam::pipeline::quality::Share;
use peercam::state::State;
use peercam::status::Status;
use peercam::viewer::{Port, Registry};
use peercam::web;
use peercam::web::auth::Auth;
use rtc::interceptor::Packet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::process::{Dir, Process};
use crate::{cpu, door, place, quantile, row};

const CLOCKS: Clocks =
    Clocks { video: RtpClock { hz: VIDEO_HZ, offset: 7 }, audio: RtpClock { hz: AUDIO_HZ, offset: 7 } };
/// Rates, each with payloads per frame and bytes per payload, at 30 frames per second.
const RATES: [(&str, usize, usize); 2] = [("0.5 Mbit/s", 2, 1_000), ("2 Mbit/s", 7, 1_170)];
/// Numbers of viewers at the lower rate, and at the higher, where two cores can't receive for more.
const VIEWERS: [&[usize]; 2] = [&[1, 10, 50, 200], &[1, 10, 50]];
const WINDOW: Duration = Duration::from_secs(10);
/// How long viewers that left without a message are kept.
const GONE: Duration = Duration::from_secs(14);
/// Time until memory has been returned to the kernel.
const MINUTE: Duration = Duration::from_secs(60);

/// Counts the allocations of this process.
pub(crate) struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// A viewer over WHEP. It receives until it is dropped, and notes the age of the received units.
pub(crate) async fn join(
    address: SocketAddr,
    ages: Option<Arc<Mutex<Vec<f64>>>>,
) -> tokio::task::JoinHandle<()> {
    let mut client = Client::new(true).await;
    client.join(address).await;
    tokio::spawn(async move {
        while let Some(packet) = client.packets.recv().await {
            let Some(ages) = &ages else { continue };
            if let Packet::Rtp(packet) = packet
                && let Some(at) = packet.payload.get(1..9).and_then(|t| t.try_into().ok())
            {
                let age = Pts::now().since(Pts::from_micros(u64::from_be_bytes(at)));
                ages.lock().expect("not poisoned").push(age.as_secs_f64() * 1e3);
            }
        }
    })
}

/// The viewers' process: joins `viewers`, reports that, and receives until its input ends. For each input line it
/// prints the age of the packets received since the last line.
pub(crate) fn watch(address: &str, viewers: usize) {
    let address = address.parse().expect("an address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ages = Arc::new(Mutex::new(vec![]));
    let join = || runtime.block_on(join(address, Some(ages.clone())));
    let _viewers: Vec<_> = (0..viewers).map(|_| join()).collect();
    println!("all there");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let mut ages = std::mem::take(&mut *ages.lock().expect("not poisoned"));
        if line == "ages" && !ages.is_empty() {
            let of = |ages: &mut Vec<f64>, part| quantile(ages, part);
            println!("ages {:.2} {:.2} {}", of(&mut ages, 0.5), of(&mut ages, 0.99), ages.len());
        }
    }
}

/// A server that sends to the viewers.
trait Server {
    fn address(&self) -> SocketAddr;
    /// Used CPU time.
    fn cpu(&self) -> Duration;
    /// Resident memory in MB.
    fn resident(&self) -> f64;
    fn allocations(&self) -> Option<u64>;
}

/// Measures both rates, each with peercam and with pion.
pub(crate) fn measure() {
    for ((rate, parts, size), viewers) in RATES.into_iter().zip(VIEWERS) {
        let ours = Ours::start(parts, size);
        let before = anonymous();
        crowd("peercam", rate, viewers, parts, &ours);
        std::thread::sleep(MINUTE - GONE);
        row(
            &format!("peercam, {rate}, memory without that of files"),
            &format!("{before:.1} MB before, {:.1} a minute after", anonymous()),
        );
        drop(ours);
        let pion = Pion::start(parts, size);
        crowd("pion", rate, viewers, parts, &pion);
    }
}

/// The figures for one number of viewers.
struct Figures {
    cpu_us: f64,
    packets: f64,
    allocations: Option<f64>,
}

fn crowd(who: &str, rate: &str, counts: &[usize], parts: usize, server: &dyn Server) {
    let mut few: Option<Figures> = None;
    for &viewers in counts {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["crowd", &server.address().to_string(), &viewers.to_string()]).envs(door::keys());
        let mut crowd = Process::start("crowd", &mut command);
        crowd.said("all there", Duration::from_secs(180));
        std::thread::sleep(Duration::from_secs(2));
        crowd.tell("begin");
        let (used, allocated) = (server.cpu(), server.allocations());
        std::thread::sleep(WINDOW);
        let used = server.cpu() - used;
        let resident = server.resident();
        crowd.tell("ages");
        let ages = crowd.said("ages ", Duration::from_secs(30));
        let words: Vec<f64> = ages.split(' ').skip(1).filter_map(|w| w.parse().ok()).collect();
        let now = Figures {
            cpu_us: used.as_secs_f64() * 1e6,
            packets: WINDOW.as_secs_f64() * (30 * parts + 50) as f64 * viewers as f64,
            allocations: server.allocations().zip(allocated).map(|(b, a)| (b - a) as f64),
        };
        let share = now.cpu_us / WINDOW.as_secs_f64() / 1e4;
        let each = few.as_ref().map_or(String::new(), |few| {
            let packets = now.packets - few.packets;
            let us = (now.cpu_us - few.cpu_us) / packets;
            let allocations = now.allocations.zip(few.allocations);
            let allocations =
                allocations.map(|(now, few)| format!(" and {:.2} allocations", (now - few) / packets));
            format!("; {us:.1} us{} for each further packet", allocations.unwrap_or_default())
        });
        row(
            &format!("{who}, {rate}, {viewers} viewers"),
            &format!(
                "{share:.1} % of a core, {resident:.1} MB{each}; age p50 {:.2}, p99 {:.2} ms, {:.0} % came",
                words[0],
                words[1],
                100.0 * words[2] / now.packets
            ),
        );
        few = few.or(Some(now));
        drop(crowd);
        std::thread::sleep(GONE);
    }
}

/// peercam, in this process.
struct Ours {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    stop: CancellationToken,
    _runtime: tokio::runtime::Runtime,
    _door: web::Open,
    _dir: Dir,
}

impl Ours {
    fn start(parts: usize, size: usize) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let inside = runtime.enter();
        tokio::spawn(memory::give_back());
        let (cameras, status) =
            (Cameras::new([Camera::new("camera", "Camera")]), Arc::new(Status::default()));
        let camera = cameras.all()[0].clone();
        let web = config::Web {
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            tls: config::Tls::Off,
            max_viewers: 300,
            ..Default::default()
        };
        let ice = config::Ice { port: 0, ..Default::default() };
        let (_, addresses) = watch::channel(addresses::now());
        let links = Links::new(addresses.clone());
        let port = Port::open(&ice, addresses, status.clone()).expect("a free port");
        let registry = Registry::new(cameras.clone(), status.clone(), port, 300);
        let listener = web::bind((web.address, 0).into(), &[]).expect("a port");
        let address = listener.local_addr().expect("an address");
        let door = web::Listener { listener, speaks: web::Speaks::Plain };
        let dir = Dir::new();
        door::furnish(dir.path());
        let auth = Auth::new(State::open(dir.path()).expect("a state"));
        let (clocks, announced) = (CLOCKS, watch::channel(None).1);
        let settings = watch::channel(Arc::new(web::Settings { web, ice, tls: None, address })).1;
        let context = web::Context { registry, cameras, status, auth, settings, clocks, links, announced };
        let stop = CancellationToken::new();
        let server = web::Server::new(Arc::new(context), stop.clone());
        let _door = server.open(door).expect("a listener");
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        std::thread::spawn(move || {
            let (pictures, sounds) = (camera.video.hub(Share::Full), &camera.audio.hub);
            publish(parts, size, &until, |unit| match unit {
                Unit::Audio(unit) => sounds.publish(&unit.into()),
                Unit::Video(unit) => {
                    let idr = pictures.begin(unit.pts, false, unit.pts);
                    pictures.publish(&VideoUnit { idr, ..unit }.into());
                }
            });
        });
        drop(inside);
        Self { address, over, stop, _runtime: runtime, _door, _dir: dir }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }
}

impl Server for Ours {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn cpu(&self) -> Duration {
        cpu(std::process::id())
    }

    fn resident(&self) -> f64 {
        resident(std::process::id())
    }

    fn allocations(&self) -> Option<u64> {
        Some(ALLOCATIONS.load(Ordering::Relaxed))
    }
}

/// The fan-out by pion, in a separate process.
struct Pion {
    child: Child,
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Pion {
    fn start(parts: usize, size: usize) -> Self {
        let mut command = Command::new(place("PEERCAM_PION"));
        command.args(["fanout", "127.0.0.1:0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("pion");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let address = line.trim().rsplit(' ').next().and_then(|a| a.parse().ok()).expect("an address");
        let mut stdin = child.stdin.take().expect("piped");
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        std::thread::spawn(move || publish(parts, size, &until, |unit| feed(&mut stdin, &unit)));
        Self { child, address, over }
    }
}

/// Writes a unit in the format that the fan-out reads.
fn feed(to: &mut ChildStdin, unit: &Unit) {
    let (kind, time, payloads) = match unit {
        Unit::Audio(unit) => (0, unit.rtp_time, std::slice::from_ref(&unit.payload)),
        Unit::Video(unit) => (1, unit.rtp_time, &unit.payloads[..]),
    };
    let mut out = vec![kind];
    out.extend(time.to_be_bytes());
    out.extend((payloads.len() as u16).to_be_bytes());
    for payload in payloads {
        out.extend((payload.len() as u16).to_be_bytes());
        out.extend_from_slice(payload);
    }
    let _ = to.write_all(&out); // it has ended
}

impl Drop for Pion {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server for Pion {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    fn resident(&self) -> f64 {
        resident(self.child.id())
    }

    fn allocations(&self) -> Option<u64> {
        None
    }
}

enum Unit {
    Audio(AudioUnit),
    Video(VideoUnit),
}

/// Publishes units in real time until `over`. Each has its time of publication from its second byte on.
fn publish(parts: usize, size: usize, over: &AtomicBool, mut hand_out: impl FnMut(Unit)) {
    let start = Pts::now();
    for n in 0u64.. {
        let due = start + Duration::from_millis(n * 20);
        std::thread::sleep(due.since(Pts::now()));
        if over.load(Ordering::Relaxed) {
            return;
        }
        let payload = |size: usize| {
            let mut bytes = vec![0x41; size];
            bytes[1..9].copy_from_slice(&Pts::now().as_micros().to_be_bytes());
            Bytes::from(bytes)
        };
        hand_out(Unit::Audio(AudioUnit {
            pts: due,
            rtp_time: CLOCKS.audio.ticks(due),
            payload: payload(120),
        }));
        // 30 frames per second on a grid of 50 sound packets: three of five.
        if [0, 2, 4].contains(&(n % 5)) {
            let (rtp_time, payloads) = (CLOCKS.video.ticks(due), vec![payload(size); parts]);
            hand_out(Unit::Video(VideoUnit {
                pts: due,
                taken: due,
                ready: due,
                rtp_time,
                idr: false,
                disposable: false,
                payloads,
            }));
        }
    }
}

/// Resident memory of this process in MB, without file pages such as the program's code, which need not be returned.
fn anonymous() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("kilobytes") * 1024.0 / 1e6
}

fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("statm");
    let pages: f64 = text.split(' ').nth(1).and_then(|p| p.parse().ok()).expect("pages");
    pages * 4096.0 / 1e6
}
