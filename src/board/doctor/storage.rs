//! Checks whether the state can be written.

use std::fs;
use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Finding;

const ABOUT: &str = "state";
/// Free space in bytes below which writes may fail soon (`ENOUGH`), or will fail next (`LEAST`). The state takes some
/// 100 kB.
const ENOUGH: u64 = 20_000_000;
const LEAST: u64 = 500_000;

/// Checks the folder `dir`.
pub fn look(dir: &Path) -> Finding {
    let shown = dir.display();
    match fs::metadata(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Finding::ok(ABOUT, format!("{shown} does not exist yet; the first start creates it"));
        }
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return unseen(dir),
        Err(e) => {
            return Finding::bad(ABOUT, format!("{shown}: {e}"), "choose another folder with --state-dir");
        }
        Ok(facts) if !facts.is_dir() => {
            return Finding::bad(
                ABOUT,
                format!("{shown} is not a folder"),
                "choose another folder with --state-dir",
            );
        }
        Ok(_) => (),
    }
    // Try to write: mode bits don't show that a card has become read-only.
    let probe = dir.join(format!(".doctor-{}", std::process::id()));
    let written = fs::write(&probe, b"?").and_then(|()| fs::remove_file(&probe));
    match written.map_err(|e| (e.kind(), e)) {
        Err((io::ErrorKind::PermissionDenied, _)) => unseen(dir),
        Err((io::ErrorKind::ReadOnlyFilesystem, _)) => Finding::bad(
            ABOUT,
            format!("{shown} is on a read-only disk: passwords, tokens and certificates can't be saved"),
            "check `dmesg`: a failing SD card becomes read-only; or choose another folder with --state-dir",
        ),
        Err((_, e)) => Finding::bad(
            ABOUT,
            format!("{shown} can't be written to: {e}"),
            "free some space, or repair the disk",
        ),
        Ok(()) => room(dir),
    }
}

fn unseen(dir: &Path) -> Finding {
    let says = format!("only root and the daemon's user can read {}", dir.display());
    Finding::warn(ABOUT, says, "run `sudo peercam doctor` to check it")
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
    let says = format!("{dir} is writable, {} MB are free", free / 1_000_000);
    match free {
        0..LEAST => {
            Finding::bad(ABOUT, format!("the disk of {dir} is full"), "free some space on it (see `df -h`)")
        }
        LEAST..ENOUGH => Finding::warn(ABOUT, says, "free some space on its disk (see `df -h`)"),
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
