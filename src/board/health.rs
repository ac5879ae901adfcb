//! Detects a board that runs slower because it is too hot or its power supply is too weak.
//!
//! Heat: the kernel's thermal zones (Documentation/driver-api/thermal/sysfs-api.rst) and their trip points. Above a
//! *passive* trip point, the kernel itself slows the processor. Zones of the processor without one, as on Raspberry
//! Pis, whose firmware slows the processor from 80 °C on, are compared with `HOT`.
//!
//! Power: `in0_lcrit_alarm` of the Raspberry Pi's voltage sensor (`drivers/hwmon/raspberrypi-hwmon.c`, "rpi_volt"),
//! which is set if the voltage was too low at any time within the last two seconds. Kernels before it (4.18) have
//! `get_throttled` instead, in hexadecimal. Newer kernels have that too, but log a warning with a stack trace when it
//! is read, so it is read only if there is no sensor.

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

/// Time between two readings; temperatures change slower than that.
const LOOK: Duration = Duration::from_secs(5);
/// Heat limit for processors whose zone has no passive trip point, degrees Celsius.
const HOT: f64 = 80.0;
/// Hysteresis: the heat warning ends this far below the limit, degrees Celsius.
const COOLER: f64 = 5.0;
/// How long the voltage must be normal until the warning ends.
const STEADY: Duration = Duration::from_secs(30);
/// Believable readings and trip points, degrees Celsius. Others come from sensors that are off and limits that were
/// never set.
const PLAUSIBLE: std::ops::Range<f64> = -40.0..150.0;
const PLAUSIBLE_LIMIT: std::ops::Range<f64> = 40.0..150.0;
/// Zones that measure the processor have one of these in their names.
const PROCESSOR: [&str; 5] = ["cpu", "soc", "pkg", "bcm2835", "bcm2711"];

/// Bits of `get_throttled` that describe the current state.
mod throttled {
    pub(super) const UNDER_VOLTAGE: u32 = 1 << 0;
    /// Frequency capped, throttled, or at the soft temperature limit.
    pub(super) const HEAT: u32 = 1 << 1 | 1 << 2 | 1 << 3;
}

/// The readings at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Reading {
    /// The highest temperature, degrees Celsius.
    temperature: Option<f64>,
    /// The smallest distance of a zone to its limit, degrees Celsius.
    margin: Option<f64>,
    /// Whether the firmware slows the processor because of heat.
    throttled: bool,
    /// Whether the voltage is too low; `None` if unknown.
    under_voltage: Option<bool>,
}

impl Reading {
    /// Whether the board is too hot, or not more than `in_hand` degrees below its limit.
    fn is_hot(&self, in_hand: f64) -> bool {
        self.throttled || self.margin.is_some_and(|margin| margin <= in_hand)
    }
}

/// Watches whether the board is under pressure until `stop`, and reports it in `status` and on the returned channel.
/// Reads the sensors only while somebody watches. Never fails: a board without sensors is never under pressure.
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
            // On some boards a reading is slow, because the firmware has to answer.
            let Ok(reading) = tokio::task::spawn_blocking(move || read(&sys)).await else { return };
            self.look(reading, Pts::now());
            tokio::time::sleep(LOOK).await;
            if *watched.borrow_and_update() == 0 {
                // Without readings the state is unknown.
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
                        "the board is too hot{degrees} and runs slower: improve its cooling{more}"
                    );
                }
            }
            Some(Pressure::UnderVoltage) => {
                if let Some(more) = self.hush.may_say("power", now) {
                    warn!(
                        "the board's voltage is too low and it runs slower: use a stronger power supply or a better cable{more}"
                    );
                }
            }
            None => {
                if let Some(more) = self.hush.may_say("well", now) {
                    info!(
                        temperature_c,
                        "the board's temperature and voltage are back to normal{degrees}{more}"
                    );
                }
            }
        }
    }
}

/// Judges readings, with hysteresis.
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

    /// The current pressure. Under-voltage comes first, because it can corrupt memory cards.
    fn pressure(&self) -> Option<Pressure> {
        let power = self.under_voltage.map(|_| Pressure::UnderVoltage);
        power.or(self.hot.then_some(Pressure::Heat))
    }
}

/// Findings for `peercam doctor`; none without sensors.
pub fn look() -> Vec<Finding> {
    judge(read(Path::new("/sys")))
}

fn judge(reading: Reading) -> Vec<Finding> {
    let mut found = vec![];
    let says = |temperature: f64| format!("the board is at {temperature:.0} °C");
    match reading.temperature.map(says) {
        says if reading.is_hot(0.0) => found.push(Finding::warn(
            "heat",
            says.unwrap_or_else(|| "the board's firmware slows the processor".into())
                + ", which is too hot: resolution and frame rate are reduced",
            "improve its cooling: more air, a heat sink or a fan",
        )),
        Some(says) => found.push(Finding::ok("heat", says)),
        None => {}
    }
    match reading.under_voltage {
        Some(true) => found.push(Finding::warn(
            "power",
            "the board's voltage is too low: it runs slower, and memory cards may be damaged",
            "use the board maker's power supply and a short thick cable",
        )),
        Some(false) => found.push(Finding::ok("power", "the board's voltage is fine")),
        None => {}
    }
    found
}

/// Reads all sensors in `sys`.
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

/// Temperature and limit of a zone, if it measures the processor, or the kernel slows the processor because of it.
fn zone_of(zone: &Path) -> Option<(f64, f64)> {
    let temperature = degrees(&zone.join("temp")).filter(|t| PLAUSIBLE.contains(t))?;
    let trip = |n: usize| Some((text(&zone.join(format!("trip_point_{n}_type")))?, n));
    let passive = (0..).map_while(trip).filter(|(kind, _)| kind == "passive");
    let limits = passive.filter_map(|(_, n)| degrees(&zone.join(format!("trip_point_{n}_temp"))));
    // Of several, the first is often only where a fan starts or the kernel polls more often.
    let limit = limits.filter(|l| PLAUSIBLE_LIMIT.contains(l)).max_by(f64::total_cmp);
    let kind = text(&zone.join("type")).unwrap_or_default().to_lowercase();
    let processor = PROCESSOR.iter().any(|name| kind.contains(name));
    Some((temperature, limit.or(processor.then_some(HOT))?))
}

/// Reads a file that holds millidegrees Celsius.
fn degrees(file: &Path) -> Option<f64> {
    text(file)?.parse::<i32>().ok().map(|t| f64::from(t) / 1e3)
}

fn text(file: &Path) -> Option<String> {
    // Sleeping sensors return errors; they are read again next time.
    fs::read_to_string(file).ok().map(|t| t.trim().to_owned())
}

fn folders(class: &Path, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    let named = |e: &fs::DirEntry| e.file_name().to_str().is_some_and(|n| n.starts_with(name));
    entries.filter(named).map(|e| e.path()).collect()
}

#[cfg(test)]
mod tests;
