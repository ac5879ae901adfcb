//! Whether what must last can be written down.

use std::fs;
use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Finding;

const ABOUT: &str = "state";
/// Everything that lasts takes some 100 kB. Below the first a write may fail soon, below the second the next one will.
const ENOUGH: u64 = 20_000_000;
const LEAST: u64 = 500_000;

/// Looks at the folder `dir`.
pub fn look(dir: &Path) -> Finding {
    let shown = dir.display();
    match fs::metadata(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Finding::ok(ABOUT, format!("{shown} is not there yet; the first start makes it"));
        }
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return unseen(dir),
        Err(e) => return Finding::bad(ABOUT, format!("{shown}: {e}"), "choose another by --state-dir"),
        Ok(facts) if !facts.is_dir() => {
            return Finding::bad(ABOUT, format!("{shown} is no folder"), "choose another by --state-dir");
        }
        Ok(_) => (),
    }
    // Asked by doing it: mode bits don't know of a card that has turned read-only.
    let probe = dir.join(format!(".doctor-{}", std::process::id()));
    let written = fs::write(&probe, b"?").and_then(|()| fs::remove_file(&probe));
    match written.map_err(|e| (e.kind(), e)) {
        Err((io::ErrorKind::PermissionDenied, _)) => unseen(dir),
        Err((io::ErrorKind::ReadOnlyFilesystem, _)) => Finding::bad(
            ABOUT,
            format!("{shown} is on a read-only disk: passwords, tokens and certificates can't be kept"),
            "see `dmesg`: a failing SD card turns read-only; or choose another folder by --state-dir",
        ),
        Err((_, e)) => {
            Finding::bad(ABOUT, format!("{shown} can't be written to: {e}"), "make room, or repair the disk")
        }
        Ok(()) => room(dir),
    }
}

fn unseen(dir: &Path) -> Finding {
    let says = format!("only root and the daemon's user can look into {}", dir.display());
    Finding::warn(ABOUT, says, "run `sudo peercam doctor` to have it looked at")
}

fn room(dir: &Path) -> Finding {
    match statvfs(dir) {
        Err(e) => Finding::warn(ABOUT, format!("{}: free space unknown: {e}", dir.display()), "see `df`"),
        Ok(disk) => {
            #[allow(clippy::useless_conversion)] // both have 32 bits on armv7
            let (blocks, size) = (u64::from(disk.blocks_available()), u64::from(disk.fragment_size()));
            judge(&dir.display().to_string(), blocks.saturating_mul(size))
        }
    }
}

fn judge(dir: &str, free: u64) -> Finding {
    let says = format!("{dir} can be written to, {} MB are free", free / 1_000_000);
    match free {
        0..LEAST => Finding::bad(ABOUT, format!("the disk of {dir} is full"), "make room on it (`df -h`)"),
        LEAST..ENOUGH => Finding::warn(ABOUT, says, "make room on its disk (`df -h`)"),
        _ => Finding::ok(ABOUT, says),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn folders_are_fine_missing_or_full() {
        assert_eq!(look(&std::env::temp_dir()).level, Level::Ok);
        assert_eq!(look(Path::new("/nowhere/at/all")).level, Level::Ok);
        assert_eq!(look(Path::new("/proc/version")).level, Level::Bad);
        assert_eq!(look(Path::new("/proc")).level, Level::Bad);
        let levels = [0, LEAST, ENOUGH].map(|free| judge("/x", free).level);
        assert_eq!(levels, [Level::Bad, Level::Warn, Level::Ok]);
    }
}
