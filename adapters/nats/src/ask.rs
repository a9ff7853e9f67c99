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
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The wait between two requests.
pub const PAUSE: Duration = Duration::from_millis(100);

/// Why a request was not answered as wished.
pub enum Refusal {
    /// Nobody could answer; it may pass.
    Passing(BoxError),
    /// The server refused it.
    Refused(jetstream::Error),
}

/// Asks the server, again and again while what stands in the way may pass; also while the server says what `passes`.
pub async fn ask<T: DeserializeOwned>(
    context: &jetstream::Context,
    subject: String,
    payload: &impl Serialize,
    passes: impl Fn(ErrorCode) -> bool,
) -> Result<T, Refusal> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = timeout(
            REQUEST_MAX,
            context.request::<_, _, Response<T>>(subject.clone(), payload),
        );
        let refusal = match answer.await {
            Ok(Ok(Response::Ok(answer))) => return Ok(answer),
            Ok(Ok(Response::Err { error })) => Refusal::Refused(error),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                Refusal::Passing("JetStream does not answer there".into())
            }
            Ok(Err(error)) => Refusal::Passing(error.into()),
            Err(late) => Refusal::Passing(late.into()),
        };
        let passes = match &refusal {
            Refusal::Passing(_) => true,
            Refusal::Refused(error) => may_pass(error.error_code()) || passes(error.error_code()),
        };
        if !passes || Instant::now() + PAUSE > deadline {
            return Err(refusal);
        }
        sleep(PAUSE).await;
    }
}

impl Refusal {
    /// As an error of this operation.
    pub fn of(self, operation: &'static str) -> LogError {
        match self {
            Self::Passing(why) => failed(operation)(why),
            Self::Refused(error) => failed(operation)(error),
        }
    }
}

/// Whether the server says so only until a cluster has sorted itself.
pub fn may_pass(code: ErrorCode) -> bool {
    [
        ErrorCode::CLUSTER_NOT_AVAILABLE,
        ErrorCode::CLUSTER_NOT_LEADER,
        ErrorCode::CLUSTER_INCOMPLETE,
        ErrorCode::RAFT_GENERAL,
    ]
    .contains(&code)
}

/// Whether the server says that it has no room for what a stream reserves or holds.
pub fn no_room(error: &jetstream::Error) -> bool {
    let code = error.error_code();
    let one = [
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ];
    // A cluster finds no servers for many reasons, and tells this one by its text alone.
    let cluster = || error.to_string().contains("insufficient storage");
    one.contains(&code) || code == ErrorCode::CLUSTER_NO_PEERS && cluster()
}
