//! The server's side of a WebSocket's opening handshake (RFC 6455 section 4.2), and the socket with buffers that fit
//! what a page sends.
//!
//! warp 0.4 has a filter for this too, but its buffers can't be set: each socket takes 128 KiB for reading before anything is
//! read, which let one guest take all the memory of a small board. This module goes when warp lets them be set.
//!
//! What is read is limited in bytes for each second, too ([`BYTES`]): frames that are not yet a message, such as empty
//! pieces of one that never ends, cost time like any other, and no message ever comes of them that could be counted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use warp::reply;

use crate::net::{Bucket, Rate};

/// Read and write buffer of each socket: a status fits. What is larger is read and written in pieces.
const BUFFER: usize = 4 * 1024;
/// The largest message that we write: a status with a thousand viewers. It is allocated only where there is one.
const LARGEST_WRITTEN: usize = 1024 * 1024;
/// What a page may send: at once twice as much as is read of the largest message, and then a page's worth of candidates.
const BYTES: Rate = Rate { per_second: 32.0 * 1024.0, burst: 256.0 * 1024.0 };

/// While fewer bytes than this may be read, reading waits.
const WORTH_A_LOOK: f64 = 1024.0;

/// A WebSocket of a page.
pub type WebSocket = WebSocketStream<Paced<TokioIo<Upgraded>>>;

/// A request that asks for one.
pub struct Opening {
    key: HeaderValue,
    upgrade: OnUpgrade,
}

impl Opening {
    /// Of a GET request; `None` if it asks for no WebSocket of the version that there is.
    pub fn of(headers: &HeaderMap, upgrade: Option<OnUpgrade>) -> Option<Self> {
        let says = |name, token: &str| {
            let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
            values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(token))
        };
        let asks =
            says(CONNECTION, "upgrade") && says(UPGRADE, "websocket") && says(SEC_WEBSOCKET_VERSION, "13");
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asks)?.clone();
        Some(Self { key, upgrade: upgrade? })
    }

    /// Answers, and hands the socket to `talk` once the answer is sent. A message of more than `message_bytes` is an
    /// error.
    pub fn accept<F>(
        self,
        message_bytes: usize,
        talk: impl FnOnce(WebSocket) -> F + Send + 'static,
    ) -> reply::Response
    where
        F: Future<Output = ()> + Send,
    {
        let Self { key, upgrade } = self;
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_write_buffer_size(LARGEST_WRITTEN)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        tokio::spawn(async move {
            match upgrade.await {
                Ok(stream) => {
                    let stream = Paced::new(TokioIo::new(stream));
                    talk(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await).await;
                }
                Err(e) => tracing::debug!("the WebSocket could not be opened: {e}"),
            }
        });
        let mut response = Response::new("".into());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

/// A stream from which no more is read than [`BYTES`] allows; what the other end sends beyond that waits at its end.
pub struct Paced<S> {
    stream: S,
    bucket: Bucket,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<S> Paced<S> {
    fn new(stream: S) -> Self {
        Self { stream, bucket: Bucket::full(BYTES), pause: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(pause) = &mut this.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let now = Instant::now();
        let wait = this.bucket.wait(WORTH_A_LOOK, now);
        if !wait.is_zero() {
            let pause = this.pause.insert(Box::pin(tokio::time::sleep(wait)));
            std::task::ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        // What is over the rate, by a buffer at most, is waited for next time.
        this.bucket.spend((buffer.filled().len() - before) as f64, f64::NEG_INFINITY, now);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn only_what_asks_for_a_websocket_is_one() {
        let request = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let mut request = http::Request::new(());
            Opening::of(&headers, Some(hyper::upgrade::on(&mut request))).is_some()
        };
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let version = ("sec-websocket-version", "13");
        let upgrade = ("upgrade", "WebSocket");
        assert!(request(&[("connection", "keep-alive, Upgrade"), upgrade, version, key]));
        assert!(!request(&[("connection", "keep-alive"), upgrade, version, key]));
        assert!(!request(&[("connection", "upgrade"), ("upgrade", "h2c"), version, key]));
        assert!(!request(&[("connection", "upgrade"), upgrade, ("sec-websocket-version", "8"), key]));
        assert!(!request(&[("connection", "upgrade"), upgrade, version]));
        assert!(Opening::of(&HeaderMap::new(), None).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_read_at_its_pace() {
        let (mut theirs, ours) = tokio::io::duplex(1024 * 1024);
        let mut ours = Paced::new(ours);
        theirs.write_all(&vec![7; 1024 * 1024]).await.unwrap();
        let mut read = vec![0; 256 * 1024];
        let at_once = tokio::time::timeout(Duration::from_millis(100), ours.read_exact(&mut read));
        assert!(at_once.await.is_ok_and(|r| r.is_ok()) && read.iter().all(|b| *b == 7));
        let mut more = vec![0; 64 * 1024];
        let too_soon = tokio::time::timeout(Duration::from_millis(500), ours.read_exact(&mut more));
        assert!(too_soon.await.is_err(), "the bucket goes by the real clock, on which no time has passed");
    }
}
