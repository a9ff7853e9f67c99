//! Requests to the server's own interface, with patience
//! (<https://docs.nats.io/reference/reference-protocols/nats_api_reference>).

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

/// How long one request may take.
pub const REQUEST_MAX: Duration = Duration::from_secs(5);
/// How long a request is repeated while what stands in its way may pass, as the election of a leader.
pub const RETRY_MAX: Duration = Duration::from_secs(10);
/// The wait between two requests.
pub const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Why a request was not answered as wished.
pub enum RequestError {
    /// Nobody could answer; it may pass.
    Transient(BoxError),
    /// The server refused it.
    Refused(jetstream::Error),
}

/// Asks the server, again and again while what stands in the way may pass; also while the server says what `passes`.
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
                RequestError::Transient("JetStream does not answer there".into())
            }
            Ok(Err(error)) => RequestError::Transient(error.into()),
            Err(late) => RequestError::Transient(late.into()),
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
    /// As an error of this operation.
    pub fn into_log_error(self, operation: &'static str) -> LogError {
        match self {
            Self::Transient(why) => failed(operation)(why),
            Self::Refused(error) => failed(operation)(error),
        }
    }
}

/// Whether the server says so only until a cluster has sorted itself.
pub fn is_transient(code: ErrorCode) -> bool {
    [
        ErrorCode::CLUSTER_NOT_AVAILABLE,
        ErrorCode::CLUSTER_NOT_LEADER,
        ErrorCode::CLUSTER_INCOMPLETE,
        ErrorCode::RAFT_GENERAL,
    ]
    .contains(&code)
}

/// Whether the server says that it has no room for what a stream reserves or holds.
pub fn is_out_of_room(error: &jetstream::Error) -> bool {
    let code = error.error_code();
    let codes = [
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ];
    // A cluster finds no servers for many reasons, and tells this one by its text alone.
    let by_text = || error.to_string().contains("insufficient storage");
    codes.contains(&code) || code == ErrorCode::CLUSTER_NO_PEERS && by_text()
}
