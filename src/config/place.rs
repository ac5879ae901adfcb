//! Finds and loads the configuration file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf, absolute};

use super::{Config, Error, Problem};

/// The files that are tried, in order, if the user names none. The first that exists is read.
const USUAL_FILES: [&str; 2] = ["device.toml", "/etc/peercam/device.toml"];

impl Config {
    /// Reads `file`, or else the first of the usual files that exists; without one, returns the defaults. Also returns
    /// a description of the source.
    pub fn find(file: Option<&Path>) -> Result<(Self, String), Error> {
        // If it can't be determined whether a file exists, `load` reports why.
        let usual = || USUAL_FILES.map(PathBuf::from).into_iter().find(|f| f.try_exists().unwrap_or(true));
        match file.map(PathBuf::from).or_else(usual) {
            Some(file) => Ok((Self::load(&file)?, full(&file).display().to_string())),
            None => Ok((Self::default(), format!("the defaults; not found: {}", usual_files(", ")))),
        }
    }

    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::Missing(missing(&full(path))),
            _ => Error::Read { path: full(path), source: e },
        })?;
        let name = path.display().to_string();
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&text, &name),
            Err(e) => {
                let bad = e.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(e.as_bytes());
                let says = "this is not UTF-8 text; save the file as UTF-8".into();
                Err(Error::Refused(vec![Problem::new(&name, &text, bad..bad, "", says)]))
            }
        }
    }
}

/// Says that the file at `path` is missing, and which files are tried if the user names none.
fn missing(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.exists());
    let folder = folder.map(|f| format!(" (and no folder {})", f.display())).unwrap_or_default();
    let usual = usual_files(", then ");
    format!("{}: no such file{folder}; without --config, peercam looks for {usual}", path.display())
}

/// The full paths of the usual files, joined by `between`.
fn usual_files(between: &str) -> String {
    USUAL_FILES.map(|file| full(Path::new(file)).display().to_string()).join(between)
}

/// The absolute path, or `path` itself if the current folder is gone.
fn full(path: &Path) -> PathBuf {
    absolute(path).unwrap_or_else(|_| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_names_the_folders_that_were_looked_in() {
        let here = std::env::current_dir().expect("a folder");
        let says = |path: &str| Config::find(Some(Path::new(path))).expect_err("missing").to_string();
        let usual = format!("{}/device.toml, then /etc/peercam/device.toml", here.display());
        let tail = format!("without --config, peercam looks for {usual}");
        assert_eq!(says("gone.toml"), format!("{}/gone.toml: no such file; {tail}", here.display()));
        assert_eq!(
            says("/nowhere/device.toml"),
            format!("/nowhere/device.toml: no such file (and no folder /nowhere); {tail}")
        );
        assert_eq!(says("/"), "can't read /: Is a directory");
    }

    #[test]
    fn the_source_is_named_in_full() {
        let dir = std::env::temp_dir().join(format!("peercam-place-of-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("made");
        let file = dir.join("device.toml");
        fs::write(&file, "[video]\nframe_rate = 15\n").expect("written");
        let (config, source) = Config::find(Some(&file)).expect("fine");
        assert_eq!((config.video.frame_rate, source), (15, file.display().to_string()));
        fs::write(&file, b"[video]\n# caf\xe9\n").expect("written");
        let latin1 = Config::load(&file).expect_err("not UTF-8").to_string();
        let expected = format!("{}:2:6: this is not UTF-8 text; save the file as UTF-8\n", file.display());
        assert!(latin1.starts_with(&expected), "{latin1}");
        fs::remove_dir_all(&dir).expect("removed");
    }
}
