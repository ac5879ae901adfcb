//! Why somebody is not let in, or a change of who may come in is refused.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};

use crate::state;
use crate::web::problem::Problem;

/// Each variant is another HTTP status; the text is for a person, on the page or at the command line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400: it can't be as wished.
    #[error("{0}")]
    Refused(&'static str),
    /// 401: not the right secret or password.
    #[error("{0}")]
    Wrong(&'static str),
    /// 404: nothing has that name.
    #[error("{0}")]
    Unknown(&'static str),
    /// 409: another has that name, or there are too many.
    #[error("{0}")]
    Conflict(&'static str),
    /// 429: too many tries, wrong ones or right ones; how long to wait.
    #[error("too many sign-in attempts; try again in {} s", seconds(.0))]
    Wait(Duration),
    /// 503: too many passwords are being checked right now.
    #[error("too many sign-ins at the moment; try again in a few seconds")]
    Busy,
    /// 500: it could not be written down.
    #[error(transparent)]
    State(#[from] state::Error),
    /// 500
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

/// Whole seconds after which a wait is over.
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
