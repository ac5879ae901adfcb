//! Errors as `application/problem+json` (RFC 9457), and the mapping from viewer errors to HTTP status codes.

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;
use warp::reply;

use crate::{pipeline::snapshot, viewer};

/// `Retry-After` in seconds, when all slots are taken or no picture arrives.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("5");

/// A refusal: a status and one sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Status code of the response.
    pub status: StatusCode,
    /// What is wrong, in one sentence.
    pub detail: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl warp::reject::Reject for Problem {}

#[derive(Serialize)]
struct Body<'a> {
    status: u16,
    title: &'a str,
    detail: &'a str,
}

impl Problem {
    /// A refusal with `status`, explained by `detail`.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), header: None }
    }

    /// Adds a header that belongs to the status (`Allow`, `Retry-After`, `Upgrade`).
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The refusal as a response.
    pub fn response(&self) -> reply::Response {
        let body = Body {
            status: self.status.as_u16(),
            title: self.status.canonical_reason().unwrap_or("Error"),
            detail: &self.detail,
        };
        let mut response = Response::new(serde_json::to_string(&body).unwrap_or_default().into());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self.clone()); // for problem_page
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = &self.header {
            headers.insert(name, value.clone());
        }
        response
    }
}

impl From<viewer::Error> for Problem {
    fn from(error: viewer::Error) -> Self {
        let status = status(&error);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("viewer: {error}");
        }
        let problem = Self::new(status, error.to_string());
        if let viewer::Error::TooFast(wait) = error {
            return problem.with(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return problem.with(RETRY_AFTER, RETRY_AFTER_S);
        }
        problem
    }
}

impl From<snapshot::Error> for Problem {
    fn from(error: snapshot::Error) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).with(RETRY_AFTER, RETRY_AFTER_S)
    }
}

/// The status of each viewer error, for WHEP and WebSocket.
pub fn status(error: &viewer::Error) -> StatusCode {
    match error {
        viewer::Error::BadOffer(_) => StatusCode::BAD_REQUEST,
        viewer::Error::NotPlayable(_) => StatusCode::NOT_ACCEPTABLE,
        viewer::Error::Full(_) | viewer::Error::Share(_) => StatusCode::SERVICE_UNAVAILABLE,
        viewer::Error::TooFast(_) => StatusCode::TOO_MANY_REQUESTS,
        viewer::Error::Unknown => StatusCode::NOT_FOUND,
        viewer::Error::Stale => StatusCode::PRECONDITION_FAILED,
        viewer::Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_refusal_has_its_status() {
        for (error, expected) in [
            (viewer::Error::BadOffer("no".into()), 400),
            (viewer::Error::NotPlayable("no H.264".into()), 406),
            (viewer::Error::Full(2), 503),
            (viewer::Error::Share(2), 503),
            (viewer::Error::TooFast(Duration::from_millis(1500)), 429),
            (viewer::Error::Unknown, 404),
            (viewer::Error::Stale, 412),
            (viewer::Error::Internal("oh".into()), 500),
        ] {
            let sentence = error.to_string();
            let problem = Problem::from(error);
            assert_eq!(problem.status.as_u16(), expected);
            assert_eq!(problem.detail, sentence);
            assert_eq!(
                problem.response().headers().contains_key(RETRY_AFTER),
                [429, 503].contains(&expected)
            );
        }
    }

    #[tokio::test]
    async fn a_problem_is_json_and_says_what_is_wrong() {
        let response =
            Problem::new(StatusCode::NOT_ACCEPTABLE, "this browser can't play \"H.264\"").response();
        assert_eq!(response.status(), 406);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let mut body = std::pin::pin!(response.into_body());
        let frame = std::future::poll_fn(|cx| hyper::body::Body::poll_frame(body.as_mut(), cx)).await;
        let body: serde_json::Value =
            serde_json::from_slice(frame.unwrap().unwrap().data_ref().unwrap()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"status": 406, "title": "Not Acceptable",
                               "detail": "this browser can't play \"H.264\""})
        );
    }
}
