//! Reads request bodies with a size limit and a deadline that apply to any framing. warp's own `content_length_limit`
//! only reads `Content-Length`, and refuses all chunked bodies.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use warp::{Buf, Filter};

use super::problem::Problem;

/// A body that has not been read.
pub type Body = Pin<Box<dyn Stream<Item = Result<Vec<u8>, warp::Error>> + Send>>;

/// Extracts the body without reading it, so that the body of a request that is refused by its headers is never
/// received.
pub fn unread() -> impl Filter<Extract = (Body,), Error = warp::Rejection> + Copy {
    warp::body::stream().map(|stream| -> Body { Box::pin(chunks(stream)) })
}

fn chunks<B: Buf>(
    stream: impl Stream<Item = Result<B, warp::Error>>,
) -> impl Stream<Item = Result<Vec<u8>, warp::Error>> {
    stream.map(|chunk| {
        chunk.map(|mut buf| {
            let mut bytes = vec![0; buf.remaining()];
            buf.copy_to_slice(&mut bytes);
            bytes
        })
    })
}

/// Checks that the body has `media_type` and is not compressed; parameters are ignored. 415 otherwise.
pub fn expect_type(headers: &HeaderMap, media_type: &'static str) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()));
    let essence = given.as_deref().map(|g| g.split(';').next().unwrap_or_default().trim());
    let plain = headers.get(CONTENT_ENCODING).is_none_or(|v| v.as_bytes().eq_ignore_ascii_case(b"identity"));
    let says = match essence {
        Some(essence) if !essence.eq_ignore_ascii_case(media_type) => {
            // Real media types are shorter.
            let essence: String = essence.chars().filter(|c| !c.is_control()).take(80).collect();
            format!("Content-Type must be {media_type}, not {essence:?}")
        }
        None => format!("Content-Type is missing: it must be {media_type}"),
        Some(_) if !plain => "the body must not be compressed (Content-Encoding)".into(),
        Some(_) => return Ok(()),
    };
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, says))
}

/// Reads the whole body as text: at most `limit` bytes (413), within `deadline` (408), UTF-8 (400).
pub async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    deadline: Duration,
) -> Result<String, Problem> {
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes"));
    let declared =
        headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|n| n > limit as u64) {
        return Err(too_large());
    }
    let all = async {
        let mut all = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk =
                chunk.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body ends too early"))?;
            if all.len() + chunk.len() > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    };
    let all = tokio::time::timeout(deadline, all)
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))??;
    String::from_utf8(all).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8 text"))
}
