//! The server's side of the opening handshake of WebSockets (RFC 6455 section 4.2), and sockets with buffers that fit
//! the page's messages.
//!
//! warp 0.4 has a filter for this, but its buffers can't be configured: each socket allocates 128 KiB for reading in
//! advance, so one guest could take all the memory of a small board. This module can be removed when warp allows that.
//!
//! Reading is also limited in bytes per second ([`BYTES`]): fragments that never complete a message, such as empty
//! ones, cost time like any other frame, and can't be counted as messages.

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

/// Size of the read and write buffers of a socket, bytes: a status fits. Larger messages are read and written in
/// pieces.
const BUFFER: usize = 4 * 1024;
/// Largest message that is written, bytes: a status with a thousand viewers. It is allocated only when needed.
const LARGEST_WRITTEN: usize = 1024 * 1024;
/// Rate of bytes that a page may send. The burst is twice the largest message that is read.
const BYTES: Rate = Rate { per_second: 32.0 * 1024.0, burst: 256.0 * 1024.0 };

/// Reading waits while fewer bytes than this may be read.
const WORTH_A_LOOK: f64 = 1024.0;

/// A WebSocket of a page.
pub(super) type WebSocket = WebSocketStream<Paced<TokioIo<Upgraded>>>;

/// A request for a WebSocket.
pub(super) struct Opening {
    key: HeaderValue,
    upgrade: OnUpgrade,
}

impl Opening {
    /// Reads a GET request; `None` if it does not request a WebSocket of version 13.
    pub(super) fn of(headers: &HeaderMap, upgrade: Option<OnUpgrade>) -> Option<Self> {
        let says = |name, token: &str| {
            let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
            values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(token))
        };
        let asks =
            says(CONNECTION, "upgrade") && says(UPGRADE, "websocket") && says(SEC_WEBSOCKET_VERSION, "13");
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asks)?.clone();
        Some(Self { key, upgrade: upgrade? })
    }

    /// Returns the response, and passes the socket to `talk` once it is sent. A message of more than `message_bytes` is
    /// an error.
    pub(super) fn accept<F>(
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

/// A stream that is read no faster than [`BYTES`] allows; further data waits at the sender.
pub(super) struct Paced<S> {
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
        // The excess over the rate, at most one buffer, delays the next read.
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
        assert!(too_soon.await.is_err(), "the bucket uses the real clock, which has not advanced");
    }
}
