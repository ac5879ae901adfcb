//! The local control socket: how `peercam pair`, `passwd`, `token`, `status`, `privacy`, `check` and `doctor` reach the
//! daemon.
//!
//! It is a Unix socket in the state folder or in systemd's runtime directory. A request is one line of JSON, and so is
//! the answer:
//!
//! ```json
//! {"do": "token_add", "name": "grafana", "role": "viewer"}
//! {"ok": {"token": "..."}}
//! {"error": "a token with this name already exists; revoke it first"}
//! ```
//!
//! Root, the daemon's user and the members of the socket's group, which is the daemon's, may connect. The kernel
//! enforces this by the socket's mode (0660). The credentials of the client are checked too, because a new socket has
//! the mode of the umask for a moment.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::state::{Role, runtime_dir};

/// File name of the socket.
const FILE: &str = "control.sock";
/// The runtime directory that systemd makes (`RuntimeDirectory=peercam`).
const RUNTIME: &str = "/run/peercam";
/// Longest request, bytes: many times a password and a name.
const LINE_BYTES: u64 = 16 * 1024;
/// Most requests at the same time; further ones are refused.
const AT_ONCE: usize = 8;
/// Time limit for receiving a request, and for sending its answer; both ends are on this machine.
const EXCHANGE: Duration = Duration::from_secs(5);
/// Time limit for executing a request: hashing a password takes a second on a slow board, and others may be waiting
/// too.
const WORK: Duration = Duration::from_secs(30);

/// A request to the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Creates a pairing link; the previous one becomes invalid.
    Pair,
    /// Sets a password. Without one, removes it, which is possible for the household's only.
    SetPassword {
        /// The role whose password is set.
        role: Role,
        /// The new password.
        password: Option<String>,
        /// Whether to keep guest links and tokens, which a new owner password ends otherwise.
        #[serde(default)]
        keep_links: bool,
        /// The cameras that the household may watch; an empty list means all, `None` means no change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cameras: Option<Vec<String>>,
    },
    /// Lists the names of all guest links and tokens.
    Issued,
    /// Creates a token.
    TokenAdd {
        /// The name of the token.
        name: String,
        /// What the token allows.
        role: Role,
        /// The cameras that the token allows; an empty list or `None` means all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cameras: Option<Vec<String>>,
    },
    /// Lists all tokens.
    TokenList,
    /// Revokes a token.
    TokenRevoke {
        /// The name of the token.
        name: String,
    },
    /// Returns the state of the daemon.
    Status,
    /// Closes cameras and microphones, or lets them be opened again.
    Privacy {
        /// Whether to close them.
        on: bool,
        /// Only this camera, with the microphones that no other camera uses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        camera: Option<String>,
    },
    /// Returns findings that `peercam doctor` can't make from outside the daemon.
    Doctor,
    /// Returns the ports and devices that the daemon uses.
    Holdings,
}

impl Request {
    /// The name for the log, without secrets.
    fn name(&self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::SetPassword { .. } => "passwd",
            Self::Issued => "passwd (list)",
            Self::TokenAdd { .. } => "token add",
            Self::TokenList => "token list",
            Self::TokenRevoke { .. } => "token revoke",
            Self::Status => "status",
            Self::Privacy { .. } => "privacy",
            Self::Doctor => "doctor",
            Self::Holdings => "check",
        }
    }
}

/// The answer: a value, or a sentence that says why there is none.
pub type Answer = Result<Value, String>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Ok(Value),
    Error(String),
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another peercam answers there.
    #[error("{}: another peercam answers there", .0.display())]
    InUse(PathBuf),
    /// The socket can't be created.
    #[error("can't create the control socket {}: {source}", path.display())]
    Io {
        /// Path of the socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The socket of a daemon with this state folder: in the directory that systemd made for it, or else in the state
/// folder.
pub fn path(state_dir: &Path) -> PathBuf {
    runtime_dir().unwrap_or_else(|| state_dir.into()).join(FILE)
}

/// A listening socket; dropping it removes its file.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens at `path`. Replaces a socket that a killed daemon has left behind.
    pub fn bind(path: PathBuf) -> Result<Self, Error> {
        if BlockingStream::connect(&path).is_ok() {
            return Err(Error::InUse(path));
        }
        let listen = || {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => (),
            }
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
            Ok(listener)
        };
        match listen() {
            Ok(listener) => Ok(Self { listener, path }),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Answers requests with `handler` until `stop`.
    pub async fn serve<H, F>(self, handler: H, stop: CancellationToken)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send,
    {
        let (handler, places) = (Arc::new(handler), Arc::new(Semaphore::new(AT_ONCE)));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    tracing::warn!("can't accept on the control socket: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (handler, place) = (handler.clone(), places.clone().try_acquire_owned());
            tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
                let told = match place {
                    Ok(_place) => exchange(stream, &*handler).await,
                    Err(_) => tell(stream, Err("too many requests at the same time; try again".into())).await,
                };
                if let Err(e) = told {
                    tracing::debug!("control socket: {e}");
                }
            }));
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // fails only if it is gone already
    }
}

async fn exchange<H, F>(mut stream: UnixStream, handler: &H) -> io::Result<()>
where
    H: Fn(Request) -> F,
    F: Future<Output = Answer>,
{
    let peer = stream.peer_cred()?;
    let (uid, gid) = (Uid::from_raw(peer.uid()), Gid::from_raw(peer.gid()));
    if !may(uid, gid) {
        tracing::warn!("refused a command from user {uid} on the control socket");
        return tell(stream, Err("only root and the daemon's user and group may do that".into())).await;
    }
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new((&mut stream).take(LINE_BYTES));
    let read = tokio::time::timeout(EXCHANGE, reader.read_line(&mut line)).await;
    let answer = match read {
        Err(_) => Err("no request arrived in time".into()),
        Ok(Err(e)) => Err(format!("the request can't be read: {e}")),
        Ok(Ok(_)) if !line.ends_with('\n') => {
            Err("a request must be one line of JSON of at most 16 KiB".into())
        }
        Ok(Ok(_)) => match serde_json::from_str::<Request>(&line) {
            Err(error) => {
                tracing::debug!(%error, "invalid request on the control socket");
                Err("the running daemon does not know this request; does its version match this command's?"
                    .into())
            }
            Ok(request) => {
                if !matches!(
                    request,
                    Request::Status
                        | Request::TokenList
                        | Request::Issued
                        | Request::Doctor
                        | Request::Holdings
                ) {
                    tracing::info!("`peercam {}` by user {uid}", request.name());
                }
                let worked = tokio::time::timeout(WORK, handler(request)).await;
                worked.unwrap_or_else(|_| Err("the request took too long; try again".into()))
            }
        },
    };
    tell(stream, answer).await
}

async fn tell(mut stream: UnixStream, answer: Answer) -> io::Result<()> {
    let mut line = serde_json::to_string(&answer.map_or_else(Reply::Error, Reply::Ok))?;
    line.push('\n');
    tokio::time::timeout(EXCHANGE, stream.write_all(line.as_bytes())).await?
}

/// Whether the client is root, the daemon's user, or a member of the daemon's group.
fn may(uid: Uid, gid: Gid) -> bool {
    let ours = Gid::effective();
    let member = || {
        let user = User::from_uid(uid).ok().flatten()?;
        let group = Group::from_gid(ours).ok().flatten()?;
        Some(user.gid == ours || group.mem.contains(&user.name))
    };
    uid.is_root() || uid == Uid::effective() || gid == ours || member().unwrap_or(false)
}

/// Why a command did not reach the daemon, or why the daemon refused it.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No daemon listens at any of these paths.
    #[error("peercam isn't running on this machine: nothing answers at {}", listed(.0))]
    NotRunning(Vec<PathBuf>),
    /// A daemon listens, but this user may not connect.
    #[error("no permission for {}: try again as root{}", path.display(), group.as_ref().map(|g| format!(", or join the group {g}")).unwrap_or_default())]
    Forbidden {
        /// Path of the socket.
        path: PathBuf,
        /// The group whose members may connect.
        group: Option<String>,
    },
    /// The connection failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The daemon refused the request, with this reason.
    #[error("{0}")]
    Refused(String),
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or ")
}

/// Asks the daemon with this state folder, or else the one that systemd started. Blocks until it answers.
pub fn ask(state_dir: &Path, request: &Request) -> Result<Value, AskError> {
    let mut paths = vec![state_dir.join(FILE)];
    if !paths.contains(&Path::new(RUNTIME).join(FILE)) {
        paths.push(Path::new(RUNTIME).join(FILE));
    }
    ask_at(paths, request)
}

fn ask_at(paths: Vec<PathBuf>, request: &Request) -> Result<Value, AskError> {
    let mut forbidden = None;
    for path in &paths {
        match BlockingStream::connect(path) {
            Ok(stream) => return converse(stream, path, request),
            // In a folder that can't be read there may be a socket or not.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                let group =
                    fs::metadata(path).ok().and_then(|m| Group::from_gid(Gid::from_raw(m.gid())).ok()?);
                let group = group.map(|g| g.name).filter(|g| g != "root");
                forbidden.get_or_insert(AskError::Forbidden { path: path.clone(), group });
            }
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
                    || e.raw_os_error() == Some(libc::ENOTDIR) => {}
            Err(source) => return Err(AskError::Io { path: path.clone(), source }),
        }
    }
    Err(forbidden.unwrap_or(AskError::NotRunning(paths)))
}

fn converse(mut stream: BlockingStream, path: &Path, request: &Request) -> Result<Value, AskError> {
    let mut exchange = || {
        stream.set_read_timeout(Some(WORK + EXCHANGE))?;
        stream.set_write_timeout(Some(EXCHANGE))?;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        line.clear();
        BufReader::new(&stream).read_line(&mut line)?;
        let no_answer = |_| io::Error::other("it ended before it answered, or has a different version");
        serde_json::from_str::<Reply>(&line).map_err(no_answer)
    };
    match exchange() {
        Ok(Reply::Ok(value)) => Ok(value),
        Ok(Reply::Error(why)) => Err(AskError::Refused(why)),
        Err(source) => Err(AskError::Io { path: path.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn socket(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("peercam-control-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir.join(FILE)
    }

    async fn asked(path: &Path, request: Request) -> Result<Value, AskError> {
        let paths = vec![path.to_owned()];
        tokio::task::spawn_blocking(move || ask_at(paths, &request)).await.unwrap()
    }

    async fn handler(request: Request) -> Answer {
        match request {
            Request::TokenRevoke { name } => Err(format!("there is no {name}")),
            other => Ok(json!(other.name())),
        }
    }

    #[tokio::test]
    async fn one_line_asks_and_one_answers() {
        let path = socket("answers");
        let control = Control::bind(path.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(control.serve(handler, stop.clone()));
        let password = Request::SetPassword {
            role: Role::Owner,
            password: Some("p\u{e4}ss\nword".into()),
            keep_links: false,
            cameras: None,
        };
        assert_eq!(asked(&path, password).await.unwrap(), json!("passwd"));
        let refused = asked(&path, Request::TokenRevoke { name: "x".into() }).await.unwrap_err();
        assert_eq!(refused.to_string(), "there is no x");
        assert!(matches!(Control::bind(path.clone()), Err(Error::InUse(_))));
        stop.cancel();
        serving.await.unwrap();
        assert!(!path.exists());
        let gone = asked(&path, Request::Status).await.unwrap_err().to_string();
        assert!(gone.starts_with("peercam isn't running on this machine: nothing answers at /"), "{gone}");
    }

    #[tokio::test]
    async fn nonsense_is_answered_and_does_no_harm() {
        let path = socket("nonsense");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(Control::bind(path.clone()).unwrap().serve(handler, stop.clone()));
        let long = "x".repeat(LINE_BYTES as usize); // without a line break
        for (line, says) in [
            ("\n", "does not know this request"),
            ("{\"do\":\"dance\"}\n", "does not know this request"),
            ("{\"do\":\"privacy\"}\n", "does not know this request"),
            ("\u{0}\n", "does not know this request"),
            (long.as_str(), "one line of JSON"),
        ] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let _ = stream.write_all(line.as_bytes()).await; // refused before all of it is read
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            assert!(answer.contains("\"error\"") && answer.contains(says), "{line:.20}: {answer}");
        }
        assert!(asked(&path, Request::Status).await.is_ok());
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn who_is_killed_leaves_a_socket_that_the_next_replaces() {
        let path = socket("killed");
        std::mem::forget(std::os::unix::net::UnixListener::bind(&path).map(drop));
        assert!(path.exists());
        drop(Control::bind(path.clone()).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn requests_are_written_as_documented() {
        let add = Request::TokenAdd { name: "grafana".into(), role: Role::Viewer, cameras: None };
        let text = r#"{"do":"token_add","name":"grafana","role":"viewer"}"#;
        assert_eq!(serde_json::to_string(&add).unwrap(), text);
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), add);
    }

    #[test]
    fn root_and_ourselves_may_ask() {
        assert!(may(Uid::from_raw(0), Gid::from_raw(0)));
        assert!(may(Uid::effective(), Gid::from_raw(65_534)));
        assert!(!may(Uid::from_raw(65_533), Gid::from_raw(65_533)));
    }
}
