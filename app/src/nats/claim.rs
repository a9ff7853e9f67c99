//! The right to write, for one writer at a time.
//!
//! ```text
//! ask "is there a writer?" ──── "held" ───▶ Held
//!    │ nobody, or no answer in time (dead, frozen, cut off)
//!    ▼
//! answer that question from now on, and put a claim behind the newest message
//!    │ stored: ours                          │ something else came first: ask again
//! ```
//!
//! The question goes from process to process over the server, so it needs no lease and no clock. The claim is a message in
//! the log's order: whatever the writer before sends from then on names a sequence that is no longer the last, and is
//! refused. So a writer that comes back from a freeze, or from behind a cut, can write nothing, not even a message.

use std::time::Duration;

use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, HeaderMap, HeaderValue, Request, RequestErrorKind, Subscriber, header};
use futures_util::StreamExt;
use skytide_core::port::log::LogError;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::failed;
use super::stream::Stream;

/// The header that says whose message it is.
pub const WRITER: &str = "Skytide-Writer";

const OPERATION: &str = "get the right to write";
const HELD: &str = "held";
const FREE: &str = "free";
/// How long a living writer has to say so.
const ALIVE_MAX: Duration = Duration::from_secs(2);
/// How long storing a claim may take.
const CLAIM_MAX: Duration = Duration::from_secs(5);
/// How long to try while what stands in the way may pass.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// The right to write. It ends when it is dropped.
#[derive(Debug)]
pub struct Claim {
    /// What this writer's messages are marked with.
    pub mark: String,
    /// Position of the claim: what is written follows it.
    pub position: u64,
    _alive: DropGuard,
}

impl Claim {
    /// Gets the right; `Held` if another writer lives.
    pub async fn get(stream: &Stream, mark: String) -> Result<Self, LogError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            refuse_if_held(stream, &mark).await?;
            let alive = answer(stream).await?;
            match store(stream, &mark).await? {
                Ok(position) => {
                    tracing::info!(writer = mark, position, "writing the log");
                    return Ok(Self {
                        mark,
                        position,
                        _alive: alive,
                    });
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
            drop(alive);
            sleep(PAUSE).await;
        }
    }
}

/// Asks whether a writer lives.
async fn refuse_if_held(stream: &Stream, mark: &str) -> Result<(), LogError> {
    let question = Request::new()
        .payload(mark.to_owned().into())
        .timeout(Some(ALIVE_MAX));
    let subject = stream.subjects().alive();
    let answer = stream.client().send_request(subject, question);
    match timeout(ALIVE_MAX, answer).await {
        Ok(Ok(answer)) if *answer.payload == *HELD.as_bytes() => Err(LogError::Held),
        Ok(Err(error)) if error.kind() != RequestErrorKind::TimedOut => match error.kind() {
            RequestErrorKind::NoResponders => Ok(()),
            _ => Err(failed(OPERATION)(error)),
        },
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("the writer before does not answer: taking over from it");
            Ok(())
        }
    }
}

/// Answers the question until the guard is dropped.
async fn answer(stream: &Stream) -> Result<DropGuard, LogError> {
    let client = stream.client().clone();
    let questions = client.subscribe(stream.subjects().alive()).await;
    let mut questions = questions.map_err(failed(OPERATION))?;
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                question = questions.next() => match question {
                    Some(question) => say(&client, HELD, question).await,
                    None => return,
                }
            }
        }
        free(&client, questions).await;
    });
    Ok(guard)
}

/// Whoever has asked and was not answered need not wait.
async fn free(client: &Client, mut questions: Subscriber) {
    let _ = questions.unsubscribe().await;
    while let Some(question) = questions.next().await {
        say(client, FREE, question).await;
    }
}

async fn say(client: &Client, word: &'static str, question: async_nats::Message) {
    if let Some(asker) = question.reply {
        let _ = client.publish(asker, word.into()).await;
    }
}

/// Puts a claim behind the newest message. An inner error: something came in between, or nobody answered.
async fn store(stream: &Stream, mark: &str) -> Result<Result<u64, LogError>, LogError> {
    let last = stream.state().await?.next - 1;
    let claim = Request::new()
        .headers(headers(mark, last))
        .timeout(Some(CLAIM_MAX));
    let subject = stream.subjects().writer();
    let stored = timeout(CLAIM_MAX, stream.client().send_request(subject, claim)).await;
    let answer = match stored {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Ok(Err(failed(OPERATION)(error))),
        Err(late) => return Ok(Err(failed(OPERATION)(late))),
    };
    let ack: Response<PublishAck> =
        serde_json::from_slice(&answer.payload).map_err(failed(OPERATION))?;
    match ack {
        Response::Ok(ack) => Ok(Ok(ack.sequence)),
        Response::Err { error } => Ok(Err(failed(OPERATION)(error))),
    }
}

/// The headers of a message that follows `last`.
pub fn headers(mark: &str, last: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(last));
    headers.insert(WRITER, mark);
    headers
}
