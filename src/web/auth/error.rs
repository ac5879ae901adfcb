//! Why a sign-in or a change of access is refused.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};

use crate::state;
use crate::web::problem::Problem;

/// Each variant has its own HTTP status. The text is for a person, on the page or at the command line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400: the request is not allowed as it is.
    #[error("{0}")]
    Refused(&'static str),
    /// 401: wrong secret or password.
    #[error("{0}")]
    Wrong(&'static str),
    /// 404: unknown name.
    #[error("{0}")]
    Unknown(&'static str),
    /// 409: the name is taken, or there are too many.
    #[error("{0}")]
    Conflict(&'static str),
    /// 429: too many attempts, wrong or right; how long to wait.
    #[error("too many sign-in attempts; try again in {} s", seconds(.0))]
    Wait(Duration),
    /// 503: too many passwords are being checked right now.
    #[error("too many sign-ins at the moment; try again in a few seconds")]
    Busy,
    /// 500: the state can't be written.
    #[error(transparent)]
    State(#[from] state::Error),
    /// 500: internal error.
    #[error("{0}")]
    Internal(String),
}

impl From<getrandom::Error> for Error {
    fn from(error: getrandom::Error) -> Self {
        Self::Internal(format!("no random numbers: {error}"))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Refused(_) => StatusCode::BAD_REQUEST,
            Error::Wrong(_) => StatusCode::UNAUTHORIZED,
            Error::Unknown(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Wait(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Error::State(_) | Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = Self::new(status, error.to_string());
        match error {
            Error::Wait(wait) => problem.with(RETRY_AFTER, seconds(&wait).into()),
            Error::Busy => problem.with(RETRY_AFTER, HeaderValue::from_static("5")),
            Error::State(_) | Error::Internal(_) => {
                tracing::error!("{error}");
                problem
            }
            _ => problem,
        }
    }
}

/// The wait in whole seconds, rounded up.
fn seconds(wait: &Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_says_how_long() {
        let problem = Problem::from(Error::Wait(Duration::from_millis(1001)));
        assert_eq!(problem.status, 429);
        assert_eq!(problem.detail, "too many sign-in attempts; try again in 2 s");
        assert_eq!(problem.response().headers()[RETRY_AFTER], "2");
    }
}
