//! What went wrong with a request, as JSON with its status.

use axum::extract::multipart::{MultipartError, MultipartRejection};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::Error;

/// Seconds after which a busy service may be asked again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Why a request, or an image of it, has no result.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    status: StatusCode,
    message: String,
}

/// As it is told.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    status: u16,
    message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into() }
    }

    /// A request that makes no sense.
    pub(super) fn bad(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// A request that takes more than it may.
    pub(super) fn too_large(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// More requests than are taken on at a time.
    pub(super) fn busy() -> Failure {
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "too many images are in hand; try again in a second")
    }

    /// A request that came too late.
    pub(super) fn stopping() -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping")
    }

    /// A bug of this program.
    pub(super) fn internal() -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the service has failed; please report this as a bug")
    }

    /// Whether a request did not come in time.
    pub(super) fn is_late(&self) -> bool {
        self.status == StatusCode::REQUEST_TIMEOUT
    }

    /// What is wrong with an image, or with the service where it is not the image.
    pub(super) fn of(error: &Error) -> Failure {
        let status = match error {
            Error::Setting { .. } => StatusCode::BAD_REQUEST,
            Error::OutOfMemory { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            error if error.is_full() => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::new(status, error.to_string())
    }

    /// The same where no request is to blame.
    pub(super) fn of_the_service(self) -> Failure {
        Failure { status: StatusCode::INTERNAL_SERVER_ERROR, ..self }
    }

    pub(super) fn told(&self) -> Told {
        Told { status: self.status.as_u16(), message: self.message.clone() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Told,
        }
        let mut response = json(&Body { error: self.told() });
        *response.status_mut() = self.status;
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// Something as JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl From<PathRejection> for Failure {
    fn from(refused: PathRejection) -> Failure {
        Failure::bad(refused.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(refused: QueryRejection) -> Failure {
        let text = refused.body_text();
        let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
        Failure::bad(format!("what is asked for after the '?' of the address cannot be read: {why}"))
    }
}

impl From<MultipartRejection> for Failure {
    fn from(refused: MultipartRejection) -> Failure {
        Failure::bad(refused.body_text())
    }
}

impl From<MultipartError> for Failure {
    fn from(refused: MultipartError) -> Failure {
        Failure::bad(format!(
            "the form cannot be read ({}): it is cut off, or the header of a part is none, as where the name of a file has control characters; no \
             image of it was scored",
            refused.body_text()
        ))
    }
}
