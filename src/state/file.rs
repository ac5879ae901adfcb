//! Reads and replaces the state's files. Links are never followed, and a file is replaced as a whole: a new file is
//! written beside it, flushed to the disk and renamed over the old one, and the rename is flushed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Error;

/// Largest file that is read, bytes: far more than full lists take (some 60 kB).
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// The content of the file at `path`; `None` if there is none. A link is an error, even if its target is missing.
pub(super) fn read(path: &Path, remedy: &'static str) -> Result<Option<Vec<u8>>, Error> {
    let broken = |why: String| Error::Broken { path: path.to_owned(), why, remedy };
    let reading = |source| Error::Io { path: path.to_owned(), doing: "reading the state", source };
    // O_NONBLOCK: opening a pipe must not wait for a writer.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
            return Err(broken(
                "it is a symbolic link (use --state-dir to keep the folder elsewhere)".into(),
            ));
        }
        opened => opened.map_err(reading)?,
    };
    let facts = file.metadata().map_err(reading)?;
    if !facts.is_file() {
        return Err(reading(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    if facts.len() > MAX_BYTES {
        return Err(broken(format!("it has {} bytes, more than peercam ever writes", facts.len())));
    }
    let mut bytes = vec![];
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(reading)?;
    Ok(Some(bytes))
}

/// Replaces `name` in `dir`. A power cut at any moment leaves either the old or the new file.
pub(super) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = beside(dir, name);
    let written = write_new(&new, bytes, true).and_then(|()| fs::rename(&new, dir.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&new); // a partial file would only use space
    }
    written?;
    File::open(dir)?.sync_all()
}

/// Checks whether these bytes could be written now; changes nothing.
pub(super) fn probe(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = beside(dir, name);
    let written = write_new(&new, bytes, false);
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => written.and(Err(e)),
        _ => written,
    }
}

fn beside(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.new"))
}

/// Creates and writes a file. An existing one, left behind by a crash or planted by somebody, is removed and never
/// opened.
fn write_new(path: &Path, bytes: &[u8], flush: bool) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => (),
    }
    // O_EXCL does not follow links either.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if flush { file.sync_all() } else { Ok(()) }
}
