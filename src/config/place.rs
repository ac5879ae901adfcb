//! Where the configuration is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf, absolute};

use super::{Config, Error, Problem};

/// Where it is looked for unless the user names a file: the first that exists is read.
const USUAL_FILES: [&str; 2] = ["device.toml", "/etc/peercam/device.toml"];

impl Config {
    /// Reads `file`, or else the first of the usual files, or else takes the defaults. Says which it was.
    pub fn find(file: Option<&Path>) -> Result<(Self, String), Error> {
        // One that exists but can't be looked at is for `load` to complain about.
        let usual = || USUAL_FILES.map(PathBuf::from).into_iter().find(|f| f.try_exists().unwrap_or(true));
        match file.map(PathBuf::from).or_else(usual) {
            Some(file) => Ok((Self::load(&file)?, full(&file).display().to_string())),
            None => Ok((
                Self::default(),
                format!("the defaults, because there is no {}", usual_files(" and no ")),
            )),
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

/// What there is not, and where it is looked for instead when the user names no file.
fn missing(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.exists());
    let folder = folder.map(|f| format!(" (and no folder {})", f.display())).unwrap_or_default();
    let usual = usual_files(", then ");
    format!("{}: there is no such file{folder}; without --config, peercam looks for {usual}", path.display())
}

/// The usual files with the folders that they are in.
fn usual_files(between: &str) -> String {
    USUAL_FILES.map(|file| full(Path::new(file)).display().to_string()).join(between)
}

/// The path from the root. It stays as it is where the current folder is gone.
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
        assert_eq!(says("gone.toml"), format!("{}/gone.toml: there is no such file; {tail}", here.display()));
        assert_eq!(
            says("/nowhere/device.toml"),
            format!("/nowhere/device.toml: there is no such file (and no folder /nowhere); {tail}")
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
