use super::*;
use crate::board::doctor::Level;

/// A folder that stands in for `/sys`.
struct Sys(PathBuf);

impl Sys {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("peercam-health-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let this = Self(path);
        for (file, text) in files {
            this.write(file, text);
        }
        this
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Sys {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PI_4: [(&str, &str); 6] = [
    ("class/thermal/thermal_zone0/type", "cpu-thermal\n"),
    ("class/thermal/thermal_zone0/temp", "48686\n"),
    ("class/thermal/thermal_zone0/trip_point_0_type", "critical\n"),
    ("class/thermal/thermal_zone0/trip_point_0_temp", "110000\n"),
    ("class/hwmon/hwmon1/name", "rpi_volt\n"),
    ("class/hwmon/hwmon1/in0_lcrit_alarm", "0\n"),
];

#[test]
fn a_raspberry_pi_4_tells_heat_by_its_zone_and_power_by_its_sensor() {
    let sys = Sys::new("pi4", &PI_4);
    // Reading this would make the kernel log a warning, so it must not be read.
    sys.write("devices/platform/soc/soc:firmware/get_throttled", "50005\n");
    let read = || read(&sys.0);
    let calm = Reading {
        temperature: Some(48.686),
        margin: Some(HOT - 48.686),
        throttled: false,
        under_voltage: Some(false),
    };
    assert_eq!(read(), calm);
    sys.write("class/thermal/thermal_zone0/temp", "82300\n");
    sys.write("class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
    assert_eq!((read().temperature, read().under_voltage), (Some(82.3), Some(true)));
    assert!(read().margin.unwrap() < 0.0);
}

#[test]
fn a_raspberry_pi_of_old_tells_both_by_its_firmware() {
    let file = "devices/platform/soc/soc:firmware/get_throttled";
    let sys = Sys::new("pi-old", &[("class/thermal/thermal_zone0/type", "bcm2835_thermal\n"), (file, "0\n")]);
    for (bits, heat, power) in [
        ("0\n", false, false),
        ("1\n", false, true),
        ("50005\n", true, true),
        ("e0008\n", true, false),
        ("f0000\n", false, false), // all of it occurred in the past, nothing applies now
    ] {
        sys.write(file, bits);
        let reading = read(&sys.0);
        assert_eq!((reading.throttled, reading.under_voltage), (heat, Some(power)), "{bits}");
        assert_eq!(reading.temperature, None);
    }
    sys.write(file, "what?\n");
    assert_eq!(read(&sys.0), Reading::default());
}

#[test]
fn zones_are_held_to_their_highest_passive_trip_point() {
    // The zones of an RK3399.
    let sys = Sys::new(
        "rk3399",
        &[
            ("class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("class/thermal/thermal_zone0/temp", "61111\n"),
            ("class/thermal/thermal_zone0/trip_point_0_type", "passive\n"),
            ("class/thermal/thermal_zone0/trip_point_0_temp", "70000\n"),
            ("class/thermal/thermal_zone0/trip_point_1_type", "passive\n"),
            ("class/thermal/thermal_zone0/trip_point_1_temp", "75000\n"),
            ("class/thermal/thermal_zone0/trip_point_2_type", "critical\n"),
            ("class/thermal/thermal_zone0/trip_point_2_temp", "95000\n"),
            ("class/thermal/thermal_zone1/type", "gpu-thermal\n"),
            ("class/thermal/thermal_zone1/temp", "66000\n"),
            ("class/thermal/thermal_zone1/trip_point_0_type", "passive\n"),
            ("class/thermal/thermal_zone1/trip_point_0_temp", "100000\n"),
        ],
    );
    let reading = read(&sys.0);
    assert_eq!(reading.temperature, Some(66.0));
    assert!((reading.margin.unwrap() - (75.0 - 61.111)).abs() < 1e-9, "{reading:?}");
    assert_eq!(reading.under_voltage, None);
    // The zones of computers: limits that were never set, sensors that are off, and parts that may be hot.
    let sys = Sys::new(
        "pc",
        &[
            ("class/thermal/thermal_zone0/type", "acpitz\n"),
            ("class/thermal/thermal_zone0/temp", "99000\n"),
            ("class/thermal/thermal_zone0/trip_point_0_type", "passive\n"),
            ("class/thermal/thermal_zone0/trip_point_0_temp", "-274000\n"),
            ("class/thermal/thermal_zone1/type", "iwlwifi_1\n"),
            ("class/thermal/thermal_zone1/temp", "91000\n"),
            ("class/thermal/thermal_zone2/type", "x86_pkg_temp\n"),
            ("class/thermal/thermal_zone2/temp", "52000\n"),
            ("class/thermal/thermal_zone2/trip_point_0_type", "passive\n"),
            ("class/thermal/thermal_zone2/trip_point_0_temp", "0\n"),
            ("class/thermal/thermal_zone3/type", "cpu-off\n"),
            ("class/thermal/thermal_zone3/temp", "-273000\n"),
            ("class/hwmon/hwmon0/name", "nvme\n"),
        ],
    );
    let reading = read(&sys.0);
    assert_eq!((reading.temperature, reading.margin), (Some(52.0), Some(28.0)));
    assert_eq!(read(Path::new("/nonexistent")), Reading::default());
}

#[test]
fn what_is_at_a_limit_does_not_go_to_and_fro() {
    let at = |s: u64| Pts::from_micros(9_000_000 + s * 1_000_000);
    let mut policy = Policy::default();
    let mut heat = |s, margin| {
        policy.judge(Reading { margin: Some(margin), ..Reading::default() }, at(s));
        policy.pressure().is_some()
    };
    assert_eq!(
        [3.0, 0.5, 0.0, 0.5, 4.9, 5.1, 0.1].map(|m| heat(0, m)),
        [false, false, true, true, true, false, false]
    );
    let mut policy = Policy::default();
    let mut power = |s, low| {
        policy.judge(Reading { under_voltage: Some(low), margin: Some(-1.0), ..Reading::default() }, at(s));
        policy.pressure()
    };
    assert_eq!(power(0, false), Some(Pressure::Heat));
    assert_eq!(power(5, true), Some(Pressure::UnderVoltage));
    assert_eq!(power(30, false), Some(Pressure::UnderVoltage));
    assert_eq!(power(35, false), Some(Pressure::Heat));
}

#[tokio::test(start_paused = true)]
async fn it_looks_while_somebody_watches() {
    let sys = Sys::new("watch", &PI_4);
    let status = Arc::new(Status::default());
    let (watch, watched) = watch::channel(0);
    let stop = CancellationToken::new();
    let mut told = watch_below(sys.0.clone(), status.clone(), watched, stop.clone());
    let board = || serde_json::to_value(status.report()).unwrap()["board"].clone();
    tokio::time::sleep(LOOK * 3).await;
    assert_eq!(board()["temperature_c"], serde_json::Value::Null);
    sys.write("class/thermal/thermal_zone0/temp", "84400\n");
    watch.send_replace(2);
    told.changed().await.unwrap();
    assert_eq!(*told.borrow(), Some(Pressure::Heat));
    assert_eq!(board(), serde_json::json!({"temperature_c": 84.0, "pressure": "heat"}));
    sys.write("class/thermal/thermal_zone0/temp", "60000\n");
    told.changed().await.unwrap();
    assert_eq!(*told.borrow(), None);
    watch.send_replace(0);
    tokio::time::sleep(LOOK * 2).await;
    assert_eq!(board()["temperature_c"], serde_json::Value::Null);
    stop.cancel();
}

#[test]
fn the_doctor_says_what_to_do() {
    assert_eq!(judge(Reading::default()), []);
    let well =
        Reading { temperature: Some(50.0), margin: Some(30.0), under_voltage: Some(false), throttled: false };
    assert!(judge(well).iter().all(|f| f.level == Level::Ok));
    let ill =
        Reading { temperature: Some(81.0), margin: Some(-1.0), under_voltage: Some(true), throttled: false };
    let found = judge(ill);
    assert_eq!(found.iter().map(|f| f.level).collect::<Vec<_>>(), [Level::Warn; 2]);
    assert!(found[0].says.starts_with("the board is at 81 °C, which is too hot"), "{}", found[0].says);
}
