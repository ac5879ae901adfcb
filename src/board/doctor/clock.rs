//! Checks the clock, which certificates, sessions and guest links depend on.

use super::Finding;

const ABOUT: &str = "clock";

/// Checks the clock. `plausible`: whether its time can be right; `shows`: its date.
pub fn look(plausible: bool, shows: &str) -> Finding {
    judge(plausible, shows, synchronised())
}

fn judge(plausible: bool, shows: &str, synchronised: bool) -> Finding {
    const REMEDY: &str =
        "let the device reach a time server (run `timedatectl set-ntp true`, then check with `timedatectl`)";
    match (plausible, synchronised) {
        (false, _) => Finding::bad(ABOUT, format!("shows {shows}, which can't be right"), REMEDY),
        (true, true) => Finding::ok(ABOUT, format!("{shows}, synchronized with a time server")),
        (true, false) => Finding::warn(
            ABOUT,
            format!("{shows}, but not synchronized with a time server, according to the kernel"),
            REMEDY,
        ),
    }
}

/// Whether the clock is synchronized (NTP), according to the kernel: adjtimex(2).
fn synchronised() -> bool {
    // SAFETY: a timex consists of numbers, so zeros are valid; with modes 0 the call changes nothing.
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
        assert_eq!((bad.level, bad.says.as_str()), (Level::Bad, "shows 1970-01-01, which can't be right"));
        let _ = synchronised(); // the result depends on this machine
    }
}
