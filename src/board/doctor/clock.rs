//! Whether the clock is right: certificates, sessions and guest links go by it.

use super::Finding;

const ABOUT: &str = "clock";

/// Looks at it. `plausible`: whether what it shows may be right at all; `shows`: that, as a date.
pub fn look(plausible: bool, shows: &str) -> Finding {
    judge(plausible, shows, synchronised())
}

fn judge(plausible: bool, shows: &str, synchronised: bool) -> Finding {
    const REMEDY: &str =
        "let the device reach a time server (`timedatectl set-ntp true`, then `timedatectl` shows it)";
    match (plausible, synchronised) {
        (false, _) => Finding::bad(ABOUT, format!("it shows {shows}, which can't be right"), REMEDY),
        (true, true) => Finding::ok(ABOUT, format!("{shows}, kept right by a time server")),
        (true, false) => Finding::warn(
            ABOUT,
            format!("{shows}, but nothing keeps it right, as far as the kernel knows"),
            REMEDY,
        ),
    }
}

/// Whether something (NTP) has told the kernel that the clock is right: adjtimex(2).
fn synchronised() -> bool {
    // SAFETY: a timex is plain numbers, for which zero is a value; with modes 0 nothing is set.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    state >= 0 && state != libc::TIME_ERROR
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_clock_is_right_or_not_or_nobody_knows() {
        assert_eq!(judge(true, "2027-01-01", true).level, Level::Ok);
        assert_eq!(judge(true, "2027-01-01", false).level, Level::Warn);
        let bad = judge(false, "1970-01-01", true);
        assert_eq!((bad.level, bad.says.as_str()), (Level::Bad, "it shows 1970-01-01, which can't be right"));
        let _ = synchronised(); // whatever it says of this machine
    }
}
