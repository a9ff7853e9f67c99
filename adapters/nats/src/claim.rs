//! The right to write, for one writer at a time.
//!
//! ```text
//! ask "is there a writer?" ──── "held" ───▶ Held
//!    │ nobody, or no answer in time (dead, frozen, cut off)
//!    ▼
//! answer that question from now on, and put a claim behind the newest message
//!    │ stored                                │ something else came first: ask again
//!    ▼
//! fill as many positions as another writer may have messages under way, if there may be any
//! ```
//!
//! The question goes from process to process over the server, so it needs no lease and no clock. The claim and the filling
//! are messages in the log's order. Whatever the writer before sent, or sends again, names as the last position one that it
//! knew, or one of the next [`IN_FLIGHT_MAX`]: behind the filling all of these are passed, so the server refuses it. The
//! claim alone would not do: once the new writer has written three messages, the old one's fourth would fit. So once the
//! right is got, a writer that comes back from a freeze, or from behind a cut, can write nothing, not even a message.
//!
//! Until then some of its messages may still get between claim and filling, or behind a claim whose writer died. They are
//! events and no tick: a tick names the position of a message that the writer knows to be its own (`writer`), and the
//! claim stands in front of it. So what the newest tick covers is whole, whoever wrote last, and the rest is written again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, HeaderMap, HeaderValue, Request, RequestErrorKind, header};
use bytes::Bytes;
use futures_util::StreamExt;
use skytide_core::config::IN_FLIGHT_MAX;
use skytide_core::port::log::LogError;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::failed;
use super::stream::Stream;

/// The header that says whose message it is.
pub const WRITER: &str = "Skytide-Writer";

const OPERATION: &str = "get the right to write";
const HELD_REPLY: &str = "held";
/// How long a living writer has to say so.
const LIVENESS_MAX: Duration = Duration::from_secs(2);
/// How long storing a claim may take.
const CLAIM_MAX: Duration = Duration::from_secs(5);
/// How long to try while what stands in the way may pass.
const CLAIM_RETRY_MAX: Duration = Duration::from_secs(20);
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The right to write. It ends when it is dropped.
#[derive(Debug)]
pub struct Claim {
    /// What this writer's messages are marked with.
    pub writer_tag: String,
    /// Position of the last message that belongs to the claim: what is written follows it.
    pub position: u64,
    _alive: DropGuard,
}

/// The newest writer of this process.
#[derive(Debug, Default)]
pub struct LatestClaim {
    responder: Mutex<Option<Responder>>,
    /// Position of its last message, when it ended with nothing under way; else 0.
    clean_end: AtomicU64,
    /// Position of its claim, while it lives; else 0.
    claimed: AtomicU64,
}

impl LatestClaim {
    /// Position of its claim, behind which the log ends; 0 without a writer.
    pub fn claimed(&self) -> u64 {
        self.claimed.load(Ordering::Relaxed)
    }

    /// Says that the writer has ended.
    pub fn end(&self) {
        self.claimed.store(0, Ordering::Relaxed);
    }

    /// Says that the writer has ended, and that the message here is the last that it ever sent.
    pub fn end_cleanly(&self, position: u64) {
        self.clean_end.store(position, Ordering::Relaxed);
    }
}

/// The task that answers for a writer.
#[derive(Debug)]
pub struct Responder {
    ended: CancellationToken,
    task: JoinHandle<()>,
}

impl Claim {
    /// Gets the right; `Held` if another writer lives.
    pub async fn acquire(
        stream: &Stream,
        latest: &LatestClaim,
        writer_tag: String,
    ) -> Result<Self, LogError> {
        let (clean_end, claimed) = (&latest.clean_end, &latest.claimed);
        let mut responder_slot = latest.responder.lock().await;
        if responder_slot
            .as_ref()
            .is_some_and(|it| !it.ended.is_cancelled())
        {
            return Err(LogError::Held);
        }
        let deadline = Instant::now() + CLAIM_RETRY_MAX;
        loop {
            // Else it would be asked, and neither answer nor be known to be gone.
            if let Some(previous) = responder_slot.take() {
                let _ = previous.task.await;
            }
            refuse_if_held(stream, &writer_tag).await?;
            let (responder, alive) = start_responder(stream).await?;
            *responder_slot = Some(responder);
            match store_claim(stream, &writer_tag, clean_end.load(Ordering::Relaxed)).await? {
                Ok(position) => {
                    clean_end.store(0, Ordering::Relaxed);
                    claimed.store(position, Ordering::Relaxed);
                    tracing::info!(writer = writer_tag, position, "writing the log");
                    return Ok(Self {
                        writer_tag,
                        position,
                        _alive: alive,
                    });
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
            drop(alive);
            sleep(RETRY_DELAY).await;
        }
    }
}

/// Asks whether a writer lives.
async fn refuse_if_held(stream: &Stream, writer_tag: &str) -> Result<(), LogError> {
    let question = Request::new()
        .payload(writer_tag.to_owned().into())
        .timeout(Some(LIVENESS_MAX));
    let subject = stream.subjects().alive();
    let answer = stream.client().send_request(subject, question);
    match timeout(LIVENESS_MAX, answer).await {
        Ok(Ok(_)) => Err(LogError::Held),
        Ok(Err(error)) if error.kind() != RequestErrorKind::TimedOut => match error.kind() {
            RequestErrorKind::NoResponders => Ok(()),
            _ => Err(failed(OPERATION)(error)),
        },
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("the writer before does not answer: taking over from it");
            Ok(())
        }
    }
}

/// Answers the question until the guard is dropped.
async fn start_responder(stream: &Stream) -> Result<(Responder, DropGuard), LogError> {
    let client = stream.client().clone();
    let questions = client.subscribe(stream.subjects().alive()).await;
    let mut questions = questions.map_err(failed(OPERATION))?;
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    let until = ended.clone();
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = until.cancelled() => break,
                question = questions.next() => match question {
                    Some(question) => reply_held(&client, question).await,
                    None => return,
                }
            }
        }
        let _ = questions.unsubscribe().await;
    });
    Ok((Responder { ended, task }, guard))
}

async fn reply_held(client: &Client, question: async_nats::Message) {
    if let Some(reply_to) = question.reply {
        let _ = client.publish(reply_to, HELD_REPLY.into()).await;
    }
}

/// Puts a claim behind the newest message, and fills. An inner error: something came in between, or nobody answered.
async fn store_claim(
    stream: &Stream,
    writer_tag: &str,
    clean_end: u64,
) -> Result<Result<u64, LogError>, LogError> {
    let last = stream.state().await?.next - 1;
    // One alone: of two that claim at once, the other must not have sent more, which might fit later.
    let stored = store_claim_message(stream, writer_tag, last).await;
    if stored.is_err() || last == 0 || last == clean_end {
        return Ok(stored);
    }
    let end = last + u64::from(IN_FLIGHT_MAX);
    for last in last + 1..end {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(last));
        let subject = stream.subjects().writer();
        let sent = stream
            .client()
            .publish_with_headers(subject, headers, Bytes::new());
        sent.await.map_err(failed(OPERATION))?;
    }
    Ok(store_claim_message(stream, writer_tag, end).await)
}

/// Puts an empty message behind `last`; answers its position.
async fn store_claim_message(
    stream: &Stream,
    writer_tag: &str,
    last: u64,
) -> Result<u64, LogError> {
    let request = Request::new()
        .headers(headers(writer_tag, last))
        .timeout(Some(CLAIM_MAX));
    let subject = stream.subjects().writer();
    let stored = timeout(CLAIM_MAX, stream.client().send_request(subject, request)).await;
    let answer = stored
        .map_err(failed(OPERATION))?
        .map_err(failed(OPERATION))?;
    match serde_json::from_slice(&answer.payload).map_err(failed(OPERATION))? {
        Response::Ok(PublishAck { sequence, .. }) => Ok(sequence),
        Response::Err { error } => Err(failed(OPERATION)(error)),
    }
}

/// The headers of a message that follows `last`.
pub fn headers(writer_tag: &str, last: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(last));
    headers.insert(WRITER, writer_tag);
    headers
}
