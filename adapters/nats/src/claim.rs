//! The exclusive right to write.
//!
//! ```text
//! ask "is there a writer?" ──── "held" ───▶ Held
//!    │ no writer, or no answer in time (dead, frozen, disconnected)
//!    ▼
//! start to answer that question, and append a claim after the newest message
//!    │ stored                     │ another message was stored first: ask again
//!    ▼
//! append as many empty messages as another writer may have in flight, if there may be any
//! ```
//!
//! The question goes from process to process through the server, so it needs no lease and no clock.
//! The claim and the empty messages after it (the fence) are messages of the stream.
//!
//! Each message names the position that it must follow, and the server refuses it unless the stream
//! ends there. A message of the previous writer names the last position that this writer knew, or
//! one of the next [`IN_FLIGHT_MAX`]. After the fence the stream ends beyond all of these, so the
//! server refuses the message. The claim alone would not suffice: as the new writer appends, the
//! stream would end at each of these positions once, and a late message that names it would be
//! stored. So after the right is acquired, a writer that resumes after a freeze or a network
//! partition cannot write a single message.
//!
//! Before that, some of its messages may still be stored between the claim and the end of the
//! fence, or after a claim whose writer died. They can be events but never a tick: a writer sends a
//! tick only when it knows that all messages before it are stored and its own (`writer`), and the
//! claim is not. So everything before the newest tick is complete, whichever writer wrote last, and
//! everything after it is written again.

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

/// The header that identifies the writer of a message.
pub const WRITER: &str = "Skytide-Writer";

const OPERATION: &str = "acquire the right to write";
const HELD_REPLY: &str = "held";
/// How long to wait for a live writer to answer.
const LIVENESS_MAX: Duration = Duration::from_secs(2);
/// The time limit for storing a claim.
const CLAIM_MAX: Duration = Duration::from_secs(5);
/// How long to retry after errors that may be transient.
const CLAIM_RETRY_MAX: Duration = Duration::from_secs(20);
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The right to write. It ends when this is dropped.
#[derive(Debug)]
pub struct Claim {
    /// The value of the [`WRITER`] header of this writer's messages.
    pub writer_tag: String,
    /// Position of the last message of the claim and its fence. The first message of the writer
    /// follows it.
    pub position: u64,
    _alive: DropGuard,
}

/// What this process knows of its latest writer.
#[derive(Debug, Default)]
pub struct LatestClaim {
    responder: Mutex<Option<Responder>>,
    /// Position of the writer's last message if it ended with nothing in flight; otherwise 0.
    clean_end: AtomicU64,
    /// Position of the writer's claim while the writer lives; otherwise 0.
    claimed: AtomicU64,
}

impl LatestClaim {
    /// Position of the claim, which the stream must include; 0 if no writer lives.
    pub fn claimed(&self) -> u64 {
        self.claimed.load(Ordering::Relaxed)
    }

    /// Records that the writer has ended.
    pub fn end(&self) {
        self.claimed.store(0, Ordering::Relaxed);
    }

    /// Records that the writer has ended and that its last message has this position: nothing of it
    /// is in flight.
    pub fn end_cleanly(&self, position: u64) {
        self.clean_end.store(position, Ordering::Relaxed);
    }
}

/// The task that answers the liveness question for a writer.
#[derive(Debug)]
pub struct Responder {
    ended: CancellationToken,
    task: JoinHandle<()>,
}

impl Claim {
    /// Acquires the right to write. Returns `Held` if another writer lives.
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
            // Waits until the previous responder has unsubscribed. Otherwise the question would
            // still reach it and never be answered.
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
                    tracing::info!(
                        writer = writer_tag,
                        position,
                        "acquired the right to write the log"
                    );
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

/// Asks whether another writer lives, and returns `Held` if it answers.
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
            tracing::warn!("the previous writer does not answer: taking over from it");
            Ok(())
        }
    }
}

/// Answers the liveness question until the guard is dropped.
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

/// Appends a claim after the newest message, and the fence. The inner error means that another
/// message was stored first, or that the server did not answer.
async fn store_claim(
    stream: &Stream,
    writer_tag: &str,
    clean_end: u64,
) -> Result<Result<u64, LogError>, LogError> {
    let last = stream.state().await?.next - 1;
    // Sends the claim alone first. If two writers claim at once, the loser must not have sent more
    // messages, because one of them might fit later.
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

/// Appends an empty message after `last` and returns its position.
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

/// The headers of a message that must follow position `last`.
pub fn headers(writer_tag: &str, last: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(last));
    headers.insert(WRITER, writer_tag);
    headers
}
