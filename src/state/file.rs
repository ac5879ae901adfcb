//! How the state's files are read and replaced. None of them is ever reached through a link, and a file is replaced as a
//! whole: written beside, flushed to the disk, renamed over the old one, and the rename flushed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Error;

/// Far more than full lists take (some 60 kB).
pub const MAX_BYTES: u64 = 1 << 20;

/// The content of the file at `path`; `None` if nothing is there. A link, also one that leads nowhere, is not nothing.
pub fn read(path: &Path, remedy: &'static str) -> Result<Option<Vec<u8>>, Error> {
    let broken = |why: String| Error::Broken { path: path.to_owned(), why, remedy };
    let reading = |source| Error::Io { path: path.to_owned(), doing: "reading what must last", source };
    // O_NONBLOCK: a pipe must not keep us waiting for somebody who writes.
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
        return Err(broken(format!("it has {} bytes, more than we ever write", facts.len())));
    }
    let mut bytes = vec![];
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(reading)?;
    Ok(Some(bytes))
}

/// Replaces `name` in `dir`. A power cut at any moment leaves the old file or the new one.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = beside(dir, name);
    let written = write_new(&new, bytes, true).and_then(|()| fs::rename(&new, dir.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&new); // half a file would only take up room
    }
    written?;
    File::open(dir)?.sync_all()
}

/// Whether these bytes could be written now; changes nothing.
pub fn probe(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
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

/// Writes a file that was not there: what a crash left behind, or somebody planted, is removed and never opened.
fn write_new(path: &Path, bytes: &[u8], flush: bool) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => (),
    }
    // O_EXCL follows no link either.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if flush { file.sync_all() } else { Ok(()) }
}
