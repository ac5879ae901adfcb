//! A camera's controls (brightness, exposure, ...): lists, checks and sets them.

use std::collections::BTreeMap;
use std::fmt;

use v4l::v4l_sys::*;

use super::node::{raw_text, text};
use super::raw::{self, Node, zeroed};

/// Limit for the numbers of controls and of menu entries; no camera has more.
const MOST: usize = 512;

/// A control with a numeric value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `V4L2_CID_*`
    pub id: u32,
    /// Name as printed by `v4l2-ctl`, such as "exposure_time_absolute".
    pub name: String,
    /// The allowed values.
    pub allowed: Allowed,
    /// Default value.
    pub default: i64,
    /// Current value, if it can be read.
    pub value: Option<i64>,
    /// Whether it is read-only.
    pub read_only: bool,
    /// Whether another control disables it (as automatic exposure disables the exposure time).
    pub inactive: bool,
}

/// The allowed values of a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// From the first to the second, in steps of the third.
    Range(i64, i64, u64),
    /// 0 (off) or 1 (on).
    Switch,
    /// A list of values, each with its meaning.
    Menu(Vec<(i64, String)>),
    /// Any combination of these bits.
    Bits(i64),
}

impl Allowed {
    fn takes(&self, value: i64) -> bool {
        match self {
            Self::Range(min, max, step) => {
                (min..=max).contains(&&value) && value.abs_diff(*min).is_multiple_of((*step).max(1))
            }
            Self::Switch => matches!(value, 0 | 1),
            Self::Menu(entries) => entries.iter().any(|(n, _)| *n == value),
            Self::Bits(bits) => value & !bits == 0,
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(min, max, 0 | 1) => write!(f, "{min} to {max}"),
            Self::Range(min, max, step) => write!(f, "{min} to {max} in steps of {step}"),
            Self::Switch => f.write_str("0 (off) or 1 (on)"),
            Self::Menu(entries) => {
                let entries: Vec<_> = entries.iter().map(|(n, name)| format!("{n} ({name})")).collect();
                f.write_str(&entries.join(", "))
            }
            Self::Bits(bits) => write!(f, "bits of {bits:#x}"),
        }
    }
}

/// The problems with `wanted` for a camera with these controls, one sentence each; empty if there are none.
pub fn problems(controls: &[Control], wanted: &BTreeMap<String, i64>) -> Vec<String> {
    wanted.iter().filter_map(|(name, value)| find(controls, name, *value).err()).collect()
}

fn find<'a>(controls: &'a [Control], name: &str, value: i64) -> Result<&'a Control, String> {
    let Some(control) = controls.iter().find(|c| c.name == name) else {
        let settable: Vec<_> = controls.iter().filter(|c| !c.read_only).map(|c| c.name.as_str()).collect();
        return Err(if settable.is_empty() {
            format!("control {name}: this camera has no controls")
        } else {
            format!("control {name}: this camera does not have it; it has {}", settable.join(", "))
        });
    };
    if control.read_only {
        return Err(format!("control {name}: it is read-only"));
    }
    if !control.allowed.takes(value) {
        return Err(format!("control {name} = {value}: allowed: {}", control.allowed));
    }
    Ok(control)
}

impl Node {
    /// Lists all controls with values of at most 32 bits.
    pub fn controls(&self) -> Vec<Control> {
        let mut all = vec![];
        let mut query: v4l2_query_ext_ctrl = zeroed();
        for _ in 0..MOST {
            let last = query.id;
            query.id |= V4L2_CTRL_FLAG_NEXT_CTRL;
            if self.call(raw::QUERY_EXT_CTRL, &mut query).is_err() || query.id <= last {
                break;
            }
            all.extend(self.control(&query));
        }
        all
    }

    fn control(&self, query: &v4l2_query_ext_ctrl) -> Option<Control> {
        let allowed = match query.type_ {
            v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER => Allowed::Range(query.minimum, query.maximum, query.step),
            v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN => Allowed::Switch,
            v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU | v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU => {
                Allowed::Menu(self.menu(query))
            }
            v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK => Allowed::Bits(query.maximum),
            _ => return None,
        };
        if query.flags & V4L2_CTRL_FLAG_DISABLED != 0 || query.nr_of_dims > 0 {
            return None;
        }
        let is_bits = query.type_ == v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK;
        Some(Control {
            id: query.id,
            name: ctl_name(&raw_text(&query.name.map(|c| c.to_ne_bytes()[0]))),
            allowed,
            default: query.default_value,
            value: self
                .control_value(query.id)
                .map(|value| if is_bits { value & 0xffff_ffff } else { value }),
            read_only: query.flags & V4L2_CTRL_FLAG_READ_ONLY != 0,
            inactive: query.flags & V4L2_CTRL_FLAG_INACTIVE != 0,
        })
    }

    fn menu(&self, query: &v4l2_query_ext_ctrl) -> Vec<(i64, String)> {
        let numbers = (query.minimum..=query.maximum).take(MOST);
        numbers
            .filter_map(|number| {
                let mut entry: v4l2_querymenu = zeroed();
                (entry.id, entry.index) = (query.id, u32::try_from(number).ok()?);
                // Values between the smallest and the largest may have no meaning for this camera.
                self.call(raw::QUERYMENU, &mut entry).ok()?;
                // SAFETY: bytes and an integer; the control's type says which member is valid.
                let (name, value) = unsafe { (entry.__bindgen_anon_1.name, entry.__bindgen_anon_1.value) };
                let is_text = query.type_ == v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU;
                Some((number, if is_text { text(&name) } else { value.to_string() }))
            })
            .collect()
    }

    /// The current value of control `id`.
    pub fn control_value(&self, id: u32) -> Option<i64> {
        let mut control: v4l2_control = zeroed();
        control.id = id;
        self.call(raw::G_CTRL, &mut control).ok()?;
        Some(i64::from(control.value))
    }

    /// Sets the wanted controls and returns the problems, one sentence each.
    pub fn set_controls(&self, wanted: &BTreeMap<String, i64>) -> Vec<String> {
        if wanted.is_empty() {
            return vec![];
        }
        let controls = self.controls();
        let (mut problems, mut refused) = (vec![], vec![]);
        for (name, value) in wanted {
            match find(&controls, name, *value) {
                Ok(control) if self.set_control(control.id, *value).is_err() => {
                    refused.push((control, *value))
                }
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        // A control may have depended on another: an exposure time is refused until automatic exposure is
        // off.
        for (control, value) in refused {
            if let Err(e) = self.set_control(control.id, value) {
                problems.push(format!("control {} = {value}: the camera rejects it ({e})", control.name));
            }
        }
        problems
    }

    fn set_control(&self, id: u32, value: i64) -> std::io::Result<()> {
        let mut control: v4l2_control = zeroed();
        // The value was checked against the control's range, which is of 32 bits (unsigned for a bit mask).
        (control.id, control.value) = (id, value as i32);
        self.call(raw::S_CTRL, &mut control)
    }

    /// Why this camera may deliver fewer frames than negotiated: it exposes longer in the dark.
    pub fn rate_note(&self) -> Option<String> {
        const APERTURE_PRIORITY: i64 = v4l2_exposure_auto_type_V4L2_EXPOSURE_APERTURE_PRIORITY as i64;
        if self.control_value(V4L2_CID_EXPOSURE_AUTO_PRIORITY)? == 0 {
            return None;
        }
        // Manual mode never prolongs the exposure.
        if !matches!(self.control_value(V4L2_CID_EXPOSURE_AUTO), None | Some(0 | APERTURE_PRIORITY)) {
            return None;
        }
        let controls = self.controls();
        let name = controls.iter().find(|c| c.id == V4L2_CID_EXPOSURE_AUTO_PRIORITY).map(|c| c.name.as_str());
        let name = name.unwrap_or("exposure_dynamic_framerate");
        Some(format!(
            "low light: {name} is on, so the camera lowers its frame rate in the dark; set it to 0 to keep the rate"
        ))
    }
}

/// A control's name as `v4l2-ctl` writes it: in lower case, with an underscore for each run of other
/// characters.
fn ctl_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(name: &str, allowed: Allowed) -> Control {
        Control {
            id: 1,
            name: name.into(),
            allowed,
            default: 0,
            value: Some(0),
            read_only: false,
            inactive: false,
        }
    }

    fn camera() -> Vec<Control> {
        let power = Allowed::Menu(vec![(0, "Disabled".into()), (1, "50 Hz".into()), (2, "60 Hz".into())]);
        vec![
            control("brightness", Allowed::Range(-64, 64, 1)),
            control("focus_absolute", Allowed::Range(0, 250, 5)),
            control("power_line_frequency", power),
            control("white_balance_automatic", Allowed::Switch),
            Control { read_only: true, ..control("pixel_rate", Allowed::Range(0, 9, 1)) },
        ]
    }

    fn problem(name: &str, value: i64) -> Option<String> {
        problems(&camera(), &BTreeMap::from([(name.to_owned(), value)])).pop()
    }

    #[test]
    fn names_are_those_of_v4l2_ctl() {
        assert_eq!(ctl_name("Exposure Time, Absolute"), "exposure_time_absolute");
        assert_eq!(ctl_name("White Balance, Automatic"), "white_balance_automatic");
        assert_eq!(ctl_name("LED1 Mode (x)"), "led1_mode_x");
        assert_eq!(ctl_name(" Zoom"), "zoom");
    }

    #[test]
    fn what_fits_passes() {
        for (name, value) in [
            ("brightness", -64),
            ("focus_absolute", 250),
            ("power_line_frequency", 2),
            ("white_balance_automatic", 1),
        ] {
            assert_eq!(problem(name, value), None);
        }
    }

    #[test]
    fn what_does_not_is_told_what_does() {
        let says = |name, value, text: &str| {
            let problem = problem(name, value).expect("a problem");
            assert!(problem.contains(text), "{problem}");
        };
        says("brightness", 65, "allowed: -64 to 64");
        says("focus_absolute", 7, "in steps of 5");
        says("power_line_frequency", 3, "0 (Disabled), 1 (50 Hz), 2 (60 Hz)");
        says("white_balance_automatic", 2, "0 (off) or 1 (on)");
        says("brigthness", 0, "brightness, focus_absolute, power_line_frequency, white_balance_automatic");
        says("pixel_rate", 0, "read-only");
        assert!(problems(&[], &BTreeMap::from([("x".to_owned(), 1)]))[0].contains("no controls"));
    }
}
