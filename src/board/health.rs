//! Whether the board is too hot, or its power supply too weak, so that it slows itself down.
//!
//! Heat: the kernel's thermal zones (Documentation/driver-api/thermal/sysfs-api.rst) with their trip points. From a
//! *passive* one on the kernel itself slows the processor. Zones of the processor that have none, as on Raspberry Pis,
//! whose firmware slows them from 80 °C on, are held to `HOT`.
//!
//! Power: `in0_lcrit_alarm` of the Raspberry Pi's voltage sensor (`drivers/hwmon/raspberrypi-hwmon.c`, "rpi_volt"), which
//! says whether it was too low at any time within the last two seconds. Kernels before it (4.18) have `get_throttled`
//! instead, hexadecimal; newer ones have it too, but print a warning with a stack trace to whoever reads it, so it is
//! read only where there is nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::doctor::Finding;
use crate::clock::Pts;
use crate::hush::Hush;
use crate::pressure::Pressure;
use crate::status::{self, Status};

/// Between two looks: temperatures move slower.
const LOOK: Duration = Duration::from_secs(5);
/// For processors whose zone has no passive trip point, degrees Celsius.
const HOT: f64 = 80.0;
/// What was too hot is so until it is cooler by this: it does not go to and fro.
const COOLER: f64 = 5.0;
/// What was under voltage is so until it was well for this time.
const STEADY: Duration = Duration::from_secs(30);
/// Readings and trip points outside are none: sensors that are off, and limits that were never set.
const PLAUSIBLE: std::ops::Range<f64> = -40.0..150.0;
const PLAUSIBLE_LIMIT: std::ops::Range<f64> = 40.0..150.0;
/// The names of zones that are, or contain, the processor begin with or have in them one of these.
const PROCESSOR: [&str; 5] = ["cpu", "soc", "pkg", "bcm2835", "bcm2711"];

/// Bits of `get_throttled` that are about now.
mod throttled {
    pub const UNDER_VOLTAGE: u32 = 1 << 0;
    /// Capped, throttled, and at the soft limit.
    pub const HEAT: u32 = 1 << 1 | 1 << 2 | 1 << 3;
}

/// What there was to read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Reading {
    /// The hottest.
    temperature: Option<f64>,
    /// What it has in hand: how far it, or another zone, is below its limit.
    margin: Option<f64>,
    /// What the firmware says of heat.
    throttled: bool,
    /// `None`: nothing tells.
    under_voltage: Option<bool>,
}

impl Reading {
    /// Whether it is too hot, or has no more than so many degrees in hand.
    fn is_hot(&self, in_hand: f64) -> bool {
        self.throttled || self.margin.is_some_and(|margin| margin <= in_hand)
    }
}

/// Tells whether the board is under pressure, in `status` and to whoever asks, until `stop`; looks only while somebody
/// watches. Never fails: a board without sensors is never under pressure.
pub fn watch(
    status: Arc<Status>,
    watched: watch::Receiver<usize>,
    stop: CancellationToken,
) -> watch::Receiver<Option<Pressure>> {
    watch_below(PathBuf::from("/sys"), status, watched, stop)
}

fn watch_below(
    sys: PathBuf,
    status: Arc<Status>,
    watched: watch::Receiver<usize>,
    stop: CancellationToken,
) -> watch::Receiver<Option<Pressure>> {
    let (tell, told) = watch::channel(None);
    let health = Health { policy: Policy::default(), hush: Hush::faults(), status, tell };
    tokio::spawn(async move {
        stop.run_until_cancelled(health.follow(sys, watched)).await;
    });
    told
}

struct Health {
    policy: Policy,
    hush: Hush<&'static str>,
    status: Arc<Status>,
    tell: watch::Sender<Option<Pressure>>,
}

impl Health {
    async fn follow(mut self, sys: PathBuf, mut watched: watch::Receiver<usize>) {
        while watched.wait_for(|viewers| *viewers > 0).await.is_ok() {
            let sys = sys.clone();
            // On some boards a reading is a question to a firmware that takes its time.
            let Ok(reading) = tokio::task::spawn_blocking(move || read(&sys)).await else { return };
            self.look(reading, Pts::now());
            tokio::time::sleep(LOOK).await;
            if *watched.borrow_and_update() == 0 {
                // What isn't looked at isn't known.
                self.status.board(status::Board::default());
            }
        }
    }

    fn look(&mut self, reading: Reading, now: Pts) {
        let before = self.policy.pressure();
        self.policy.judge(reading, now);
        let pressure = self.policy.pressure();
        let temperature_c = reading.temperature.map(f64::round);
        self.status.board(status::Board { temperature_c, pressure });
        if pressure == before {
            return;
        }
        self.tell.send_replace(pressure);
        let degrees = temperature_c.map(|t| format!(" ({t} °C)")).unwrap_or_default();
        match pressure {
            Some(Pressure::Heat) => {
                if let Some(more) = self.hush.may_say("heat", now) {
                    warn!(
                        temperature_c,
                        "the board is too hot{degrees} and slows itself down: give it air{more}"
                    );
                }
            }
            Some(Pressure::UnderVoltage) => {
                if let Some(more) = self.hush.may_say("power", now) {
                    warn!(
                        "the board gets too little voltage and slows itself down: its power supply or cable is too weak{more}"
                    );
                }
            }
            None => {
                if let Some(more) = self.hush.may_say("well", now) {
                    info!(
                        temperature_c,
                        "the board is neither too hot nor short of power any more{degrees}{more}"
                    );
                }
            }
        }
    }
}

/// Judges readings, so that what is at a limit does not go to and fro.
#[derive(Debug, Default)]
struct Policy {
    hot: bool,
    under_voltage: Option<Pts>,
}

impl Policy {
    fn judge(&mut self, reading: Reading, now: Pts) {
        let in_hand = if self.hot { COOLER } else { 0.0 };
        self.hot = reading.is_hot(in_hand);
        if reading.under_voltage == Some(true) {
            self.under_voltage = Some(now);
        }
        self.under_voltage = self.under_voltage.filter(|last| now.since(*last) < STEADY);
    }

    /// Of the two the one that does more harm: under-voltage corrupts cards.
    fn pressure(&self) -> Option<Pressure> {
        let power = self.under_voltage.map(|_| Pressure::UnderVoltage);
        power.or(self.hot.then_some(Pressure::Heat))
    }
}

/// What `peercam doctor` tells of it; nothing where nothing is known.
pub fn look() -> Vec<Finding> {
    judge(read(Path::new("/sys")))
}

fn judge(reading: Reading) -> Vec<Finding> {
    let mut found = vec![];
    let says = |temperature: f64| format!("the board is at {temperature:.0} °C");
    match reading.temperature.map(says) {
        says if reading.is_hot(0.0) => found.push(Finding::warn(
            "heat",
            says.unwrap_or_else(|| "the board's firmware slows it down".into())
                + ", which is too hot: the picture gets smaller and slower",
            "give it air, a heat sink or a fan",
        )),
        Some(says) => found.push(Finding::ok("heat", says)),
        None => {}
    }
    match reading.under_voltage {
        Some(true) => found.push(Finding::warn(
            "power",
            "the board gets too little voltage: it slows itself down, and memory cards may take harm",
            "use the board maker's power supply and a short thick cable",
        )),
        Some(false) => found.push(Finding::ok("power", "the board's voltage is well")),
        None => {}
    }
    found
}

/// Everything there is below `/sys`.
fn read(sys: &Path) -> Reading {
    let mut reading = Reading::default();
    for zone in folders(&sys.join("class/thermal"), "thermal_zone") {
        let Some((temperature, limit)) = zone_of(&zone) else { continue };
        let margin = limit - temperature;
        reading.temperature = Some(reading.temperature.map_or(temperature, |t| t.max(temperature)));
        reading.margin = Some(reading.margin.map_or(margin, |m| m.min(margin)));
    }
    let sensors = folders(&sys.join("class/hwmon"), "hwmon");
    let volt = sensors.iter().find(|s| text(&s.join("name")).as_deref() == Some("rpi_volt"));
    if let Some(volt) = volt {
        reading.under_voltage = text(&volt.join("in0_lcrit_alarm")).map(|alarm| alarm != "0");
    } else if let Some(bits) = text(&sys.join("devices/platform/soc/soc:firmware/get_throttled"))
        && let Ok(bits) = u32::from_str_radix(bits.trim_start_matches("0x"), 16)
    {
        reading.under_voltage = Some(bits & throttled::UNDER_VOLTAGE != 0);
        reading.throttled = bits & throttled::HEAT != 0;
    }
    reading
}

/// Temperature and limit of a zone, if it is one of the processor, or the kernel slows the processor because of it.
fn zone_of(zone: &Path) -> Option<(f64, f64)> {
    let temperature = degrees(&zone.join("temp")).filter(|t| PLAUSIBLE.contains(t))?;
    let trip = |n: usize| Some((text(&zone.join(format!("trip_point_{n}_type")))?, n));
    let passive = (0..).map_while(trip).filter(|(kind, _)| kind == "passive");
    let limits = passive.filter_map(|(_, n)| degrees(&zone.join(format!("trip_point_{n}_temp"))));
    // The first of several is often where a fan begins or the kernel begins to pay attention.
    let limit = limits.filter(|l| PLAUSIBLE_LIMIT.contains(l)).max_by(f64::total_cmp);
    let kind = text(&zone.join("type")).unwrap_or_default().to_lowercase();
    let processor = PROCESSOR.iter().any(|name| kind.contains(name));
    Some((temperature, limit.or(processor.then_some(HOT))?))
}

/// A file of millidegrees.
fn degrees(file: &Path) -> Option<f64> {
    text(file)?.parse::<i32>().ok().map(|t| f64::from(t) / 1e3)
}

fn text(file: &Path) -> Option<String> {
    // Sensors that are asleep answer with errors; they are asked again.
    fs::read_to_string(file).ok().map(|t| t.trim().to_owned())
}

fn folders(class: &Path, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    let named = |e: &fs::DirEntry| e.file_name().to_str().is_some_and(|n| n.starts_with(name));
    entries.filter(named).map(|e| e.path()).collect()
}

#[cfg(test)]
mod tests;
