//! The stream on the server: its messages, consumers and trimming. `setup` creates and adapts it,
//! `state` reports what it holds.

pub mod setup;
mod state;

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::{self, ConsumerErrorKind, RawMessage};
use async_nats::jetstream::{self, ErrorCode, message::StreamMessage};
use async_nats::{Client, connection::State as Connection};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skytide_core::config;
use skytide_core::port::BoxError;
use skytide_core::port::log::LogError;
use tokio::time::{Instant, sleep, timeout};

use super::failed;
use super::request::{REQUEST_MAX, RETRY_DELAY, RequestError, is_transient, request};
use super::subjects::Subjects;
pub use state::{CATCH_UP_MAX, State};

/// Bytes that the stream may hold in addition to the limit at which the writer blocks: for a new
/// writer's claim, and for errors in the writer's own count. If these are full too, the server
/// refuses the message and the writer still waits.
const SPARE_BYTES: u64 = 32 << 20;
/// How long the server keeps a consumer from which no client pulls messages.
const CONSUMER_INACTIVE_MAX: Duration = Duration::from_secs(120);
/// How long the creation of a consumer is retried. A cluster places it on any member that it
/// considers alive, which for some seconds includes a member that has just died.
const CONSUMER_MAX: Duration = Duration::from_secs(30);

/// A handle of the stream.
#[derive(Debug)]
pub struct Stream {
    client: Client,
    context: jetstream::Context,
    subjects: Subjects,
    id: u64,
    desired: stream::Config,
    /// Whether this program chooses the size of the stream, because no option sets it.
    any_size: bool,
}

impl Stream {
    /// Finds the stream, or creates it with this identity.
    pub async fn open(client: Client, config: &config::Nats, id: u64) -> Result<Self, LogError> {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(REQUEST_MAX);
        let subjects = Subjects::of(&config.stream);
        let mut stream = Self {
            client,
            context,
            desired: setup::desired_config(config, &subjects, id),
            any_size: config.bytes_max.is_none(),
            subjects,
            id,
        };
        stream.id = stream.find_or_create().await?;
        Ok(stream)
    }

    /// The message at a position; `None` if there is none.
    pub async fn message(&self, position: u64) -> Result<Option<StreamMessage>, LogError> {
        #[derive(Serialize)]
        struct At {
            seq: u64,
        }
        self.get(&At { seq: position }).await
    }

    /// The newest message of a subject; `None` if there is none.
    pub async fn newest(&self, subject: &str) -> Result<Option<StreamMessage>, LogError> {
        #[derive(Serialize)]
        struct Newest<'a> {
            last_by_subj: &'a str,
        }
        let last_by_subj = subject;
        self.get(&Newest { last_by_subj }).await
    }

    async fn get(&self, which: &impl Serialize) -> Result<Option<StreamMessage>, LogError> {
        #[derive(Deserialize)]
        struct Got {
            message: RawMessage,
        }
        match self.request::<Got>("MSG.GET", which, |_| false).await {
            Ok(got) => {
                let message = got.message.try_into();
                message.map(Some).map_err(failed("read a message"))
            }
            Err(RequestError::Refused(error))
                if error.error_code() == ErrorCode::NO_MESSAGE_FOUND =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into_log_error("read a message")),
        }
    }

    /// Deletes all messages before a position.
    pub async fn purge(&self, below: u64) -> Result<(), LogError> {
        #[derive(Serialize)]
        struct Below {
            seq: u64,
        }
        let purged = self
            .request::<serde::de::IgnoredAny>("PURGE", &Below { seq: below }, |_| false)
            .await;
        purged
            .map(|_| ())
            .map_err(|error| error.into_log_error("trim"))
    }

    /// Creates a consumer that delivers messages from position `from` on: of these subjects, or of
    /// all subjects if the list is empty.
    pub async fn consumer(
        &self,
        from: u64,
        filter_subjects: Vec<String>,
    ) -> Result<jetstream::consumer::Consumer<pull::Config>, LogError> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: from.max(1),
            },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            max_deliver: 1,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: CONSUMER_INACTIVE_MAX,
            filter_subjects,
            ..pull::Config::default()
        };
        let deadline = Instant::now() + CONSUMER_MAX;
        loop {
            let make = self
                .context
                .create_consumer_on_stream(config.clone(), self.subjects.stream());
            let why: BoxError = match timeout(REQUEST_MAX, make).await {
                Ok(Ok(made)) => return Ok(made),
                Ok(Err(error)) => match error.kind() {
                    ConsumerErrorKind::TimedOut | ConsumerErrorKind::Request => error.into(),
                    ConsumerErrorKind::JetStream(it) if is_transient(it.error_code()) => it.into(),
                    _ => return Err(failed("read")(error)),
                },
                Err(elapsed) => elapsed.into(),
            };
            if Instant::now() + RETRY_DELAY > deadline {
                return Err(failed("read")(why));
            }
            tracing::info!(why, "the server did not create a consumer: trying again");
            sleep(RETRY_DELAY).await;
        }
    }

    async fn request<T: DeserializeOwned>(
        &self,
        command: &str,
        payload: &impl Serialize,
        retry_on: impl Fn(ErrorCode) -> bool,
    ) -> Result<T, RequestError> {
        let subject = format!("STREAM.{command}.{}", self.subjects.stream());
        request(&self.context, subject, payload, retry_on).await
    }

    /// Identity of the log.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The names of the stream and its subjects.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the client is connected at the moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == Connection::Connected
    }

    /// How often the client lost its connection and connected again.
    pub fn reconnects(&self) -> u64 {
        let statistics = self.client.statistics();
        // The first connection counts as well.
        let connects = statistics
            .connects
            .load(std::sync::atomic::Ordering::Relaxed);
        connects.saturating_sub(1)
    }
}
