//! Requests to the server's JetStream API
//! (<https://docs.nats.io/reference/reference-protocols/nats_api_reference>), with retries.

use std::time::Duration;

use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skytide_core::port::BoxError;
use skytide_core::port::log::LogError;
use tokio::time::{Instant, sleep, timeout};

use super::failed;

/// The time limit for one request.
pub const REQUEST_MAX: Duration = Duration::from_secs(5);
/// How long a request is retried after errors that may be transient, such as the election of a
/// leader.
pub const RETRY_MAX: Duration = Duration::from_secs(10);
/// The delay between two attempts.
pub const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Why a request failed.
pub enum RequestError {
    /// No server could answer. A retry may succeed.
    Transient(BoxError),
    /// The server refused the request.
    Refused(jetstream::Error),
}

/// Sends a request to the server. Retries it for up to [`RETRY_MAX`] after transient errors, and
/// after errors for which `retry_on` is true.
pub async fn request<T: DeserializeOwned>(
    context: &jetstream::Context,
    subject: String,
    payload: &impl Serialize,
    retry_on: impl Fn(ErrorCode) -> bool,
) -> Result<T, RequestError> {
    let deadline = Instant::now() + RETRY_MAX;
    loop {
        let answer = timeout(
            REQUEST_MAX,
            context.request::<_, _, Response<T>>(subject.clone(), payload),
        );
        let error = match answer.await {
            Ok(Ok(Response::Ok(answer))) => return Ok(answer),
            Ok(Ok(Response::Err { error })) => RequestError::Refused(error),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                RequestError::Transient(
                    "no JetStream server answers: enable JetStream on the server".into(),
                )
            }
            Ok(Err(error)) => RequestError::Transient(error.into()),
            Err(elapsed) => RequestError::Transient(elapsed.into()),
        };
        let retry = match &error {
            RequestError::Transient(_) => true,
            RequestError::Refused(error) => {
                is_transient(error.error_code()) || retry_on(error.error_code())
            }
        };
        if !retry || Instant::now() + RETRY_DELAY > deadline {
            return Err(error);
        }
        sleep(RETRY_DELAY).await;
    }
}

impl RequestError {
    /// Converts it into the error of this operation.
    pub fn into_log_error(self, operation: &'static str) -> LogError {
        match self {
            Self::Transient(why) => failed(operation)(why),
            Self::Refused(error) => failed(operation)(error),
        }
    }
}

/// Whether a cluster reports this error only until it has elected its leaders.
pub fn is_transient(code: ErrorCode) -> bool {
    [
        ErrorCode::CLUSTER_NOT_AVAILABLE,
        ErrorCode::CLUSTER_NOT_LEADER,
        ErrorCode::CLUSTER_INCOMPLETE,
        ErrorCode::RAFT_GENERAL,
    ]
    .contains(&code)
}

/// Whether the server has no room for what a stream reserves or holds.
pub fn is_out_of_room(error: &jetstream::Error) -> bool {
    let code = error.error_code();
    let codes = [
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ];
    // A cluster reports `CLUSTER_NO_PEERS` for many reasons. Only the text shows that the reason is
    // a lack of room.
    let by_text = || error.to_string().contains("insufficient storage");
    codes.contains(&code) || code == ErrorCode::CLUSTER_NO_PEERS && by_text()
}
