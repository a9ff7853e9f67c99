//! The stream on the server: made once, recognised ever after, asked with patience.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::{
    self, ConsumerErrorKind, DiscardPolicy, RawMessage, StorageType,
};
use async_nats::jetstream::{self, ErrorCode, message::StreamMessage};
use async_nats::{Client, connection::State as Connection};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skytide_core::config;
use skytide_core::port::BoxError;
use skytide_core::port::log::LogError;
use tokio::time::{Instant, sleep, timeout};

use super::ask::{PATIENCE, PAUSE, REQUEST_MAX, Refusal, ask, may_pass, no_room};
use super::failed;
use super::subjects::Subjects;

/// Where the stream's metadata hold the log's identity.
const ID: &str = "skytide_log_id";
/// Bytes that the server keeps for us beyond the limit at which we wait: for a new writer's claim, and for what we
/// count too low. If even these are full, the server refuses and the writer waits all the same.
const SPARE_BYTES: u64 = 32 << 20;
/// Bytes of a new log if no option says how many; halved down to the lesser number while the server has no room for them.
const BYTES_MAX: (u64, u64) = (8 << 30, 1 << 30);
/// How long the server keeps a consumer that nobody asks for messages.
const CONSUMER_INACTIVE_MAX: Duration = Duration::from_secs(120);
/// How long we ask again for a consumer: a cluster gives it to any of the members that it takes for alive, for some
/// seconds also to one that has just died.
const CONSUMER_MAX: Duration = Duration::from_secs(30);
/// How long the newest messages may be missing on a server that has just become the leader.
pub const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// The stream.
#[derive(Debug)]
pub struct Stream {
    client: Client,
    context: jetstream::Context,
    subjects: Subjects,
    id: u64,
    wanted: stream::Config,
    /// No option says how large it is to be.
    any_size: bool,
}

/// What the stream holds.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Position of the oldest message; `next` if there is none.
    pub first: u64,
    /// Position of the next message.
    pub next: u64,
    /// Bytes in use.
    pub bytes: u64,
    /// Bytes at which a writer waits.
    pub bytes_max: u64,
    /// Messages between `first` and `next` that are not there.
    pub missing: u64,
    /// Servers that hold it.
    pub replicas: usize,
}

impl Stream {
    /// Finds the stream, or makes it with this identity.
    pub async fn open(client: Client, config: &config::Nats, id: u64) -> Result<Self, LogError> {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(REQUEST_MAX);
        let subjects = Subjects::of(&config.stream);
        let mut stream = Self {
            client,
            context,
            wanted: wanted(config, &subjects, id),
            any_size: config.bytes_max.is_none(),
            subjects,
            id,
        };
        stream.id = stream.find_or_make().await?;
        Ok(stream)
    }

    async fn find_or_make(&self) -> Result<u64, LogError> {
        const OPERATION: &str = "open its stream";
        loop {
            let none = |code| code == ErrorCode::STREAM_NOT_FOUND;
            match self.ask_info(|_| false).await {
                Ok(info) => {
                    let id = id_of(&info.config);
                    return id.ok_or_else(|| {
                        failed(OPERATION)("a stream of this name is no log of ours")
                    });
                }
                Err(Refusal::Refused(error)) if none(error.error_code()) => {}
                Err(refusal) => return Err(refusal.of(OPERATION)),
            }
            match self.make().await {
                // Somebody else was faster: it is theirs.
                Err(Refusal::Refused(error))
                    if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
                Err(refusal) => return Err(self.no_room(refusal, "make its stream")),
                Ok(_) => {
                    tracing::info!(stream = self.subjects.stream(), "made the stream");
                }
            }
        }
    }

    /// Makes the stream; smaller than it might be where the server has no room and no option says a size.
    async fn make(&self) -> Result<stream::Info, Refusal> {
        let mut config = self.wanted.clone();
        let mut bytes_max = BYTES_MAX.0;
        loop {
            match self.ask("CREATE", &config, |_| false).await {
                Err(Refusal::Refused(error))
                    if no_room(&error) && self.any_size && bytes_max > BYTES_MAX.1 =>
                {
                    bytes_max /= 2;
                    config.max_bytes = reserved(bytes_max);
                }
                Ok(made) => {
                    if self.any_size && bytes_max < BYTES_MAX.0 {
                        tracing::warn!(
                            bytes_max,
                            "the server has no room for a larger log: make some and set NATS_BYTES_MAX"
                        );
                    }
                    return Ok(made);
                }
                refused => return refused,
            }
        }
    }

    /// Changes size, replicas and compression to what the options say; without the room for it the stream stays as it is.
    pub async fn adapt(&self) -> Result<(), LogError> {
        let info = self.info().await?;
        let config = stream::Config {
            max_bytes: match self.any_size {
                true => info.config.max_bytes,
                false => self.wanted.max_bytes,
            },
            num_replicas: self.wanted.num_replicas,
            compression: self.wanted.compression.clone(),
            ..info.config.clone()
        };
        if config != info.config {
            let stream = self.subjects.stream();
            match self.ask::<stream::Info>("UPDATE", &config, |_| false).await {
                Ok(_) => tracing::info!(stream, "changed the stream to the options"),
                Err(Refusal::Refused(error)) if no_room(&error) => tracing::warn!(
                    stream,
                    %error,
                    bytes_max = info.config.max_bytes,
                    replicas = info.config.num_replicas,
                    "the server has no room for what the options say, the stream stays as it is: lower NATS_BYTES_MAX or \
                     NATS_REPLICAS, or raise max_file_store there"
                ),
                Err(refusal) => return Err(refusal.of("change its stream")),
            }
        }
        Ok(())
    }

    /// Bytes of a message with its headers, at most: the connection's limit, or less if somebody has changed the stream.
    pub async fn message_bytes_max(&self) -> Result<usize, LogError> {
        let of_stream = usize::try_from(self.info().await?.config.max_message_size);
        let of_stream = of_stream.ok().filter(|bytes| *bytes > 0);
        let of_connection = self.client.max_payload();
        Ok(of_stream.map_or(of_connection, |bytes| bytes.min(of_connection)))
    }

    /// Says which option to change if the server has not the room that the stream reserves.
    fn no_room(&self, refusal: Refusal, operation: &'static str) -> LogError {
        match refusal {
            Refusal::Refused(error) if no_room(&error) => failed(operation)(format!(
                "the server has no room to reserve {} bytes: lower NATS_BYTES_MAX, or make room and raise max_file_store \
                 there ({error})",
                if self.any_size {
                    reserved(BYTES_MAX.1)
                } else {
                    self.wanted.max_bytes
                }
            )),
            other => other.of(operation),
        }
    }

    async fn info(&self) -> Result<stream::Info, LogError> {
        let gone = |code| code == ErrorCode::STREAM_NOT_FOUND;
        let name = self.subjects.stream();
        let info = match self.ask_info(gone).await {
            Ok(info) => info,
            Err(Refusal::Refused(error)) if gone(error.error_code()) => {
                return Err(LogError::Damaged(format!("the stream {name} is gone")));
            }
            Err(refusal) => return Err(refusal.of("ask for the state of its stream")),
        };
        if id_of(&info.config) != Some(self.id) {
            let why = format!("the stream {name} was made anew: it is another log");
            return Err(LogError::Damaged(why));
        }
        Ok(info)
    }

    /// What the leader says. While a cluster elects one, any member answers with what it holds itself, which may be less
    /// than what was acknowledged (nats-server 2.15, `jsStreamInfoRequest`): that counts as no answer.
    async fn ask_info(&self, passes: impl Fn(ErrorCode) -> bool) -> Result<stream::Info, Refusal> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let info: stream::Info = self.ask("INFO", &(), &passes).await?;
            if is_of_leader(&info) {
                return Ok(info);
            }
            if Instant::now() + PAUSE > deadline {
                return Err(Refusal::Passing("the stream has no leader".into()));
            }
            sleep(PAUSE).await;
        }
    }

    /// What there is; refused if the stream is gone or another one.
    pub async fn state(&self) -> Result<State, LogError> {
        let info = self.info().await?;
        let next = info.state.last_sequence + 1;
        let empty = info.state.messages == 0;
        Ok(State {
            first: if empty {
                next
            } else {
                info.state.first_sequence
            },
            next,
            bytes: info.state.bytes,
            bytes_max: (info.config.max_bytes as u64).saturating_sub(SPARE_BYTES),
            missing: info.state.deleted_count.unwrap_or(0),
            replicas: info.config.num_replicas,
        })
    }

    /// The same of a stream that holds this position. A server that has just become the leader may not be there yet.
    pub async fn state_with(&self, position: u64) -> Result<State, LogError> {
        let begun = Instant::now();
        loop {
            let state = self.state().await?;
            if state.next > position {
                return Ok(state);
            }
            if begun.elapsed() >= CATCH_UP_MAX {
                let last = state.next - 1;
                let lost = format!(
                    "the server has lost what it had stored: its log ends at {last}, not at {position}"
                );
                return Err(failed("ask for the state of its stream")(lost));
            }
            sleep(PAUSE).await;
        }
    }

    /// The message at a position; `None` if it is not there.
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
        match self.ask::<Got>("MSG.GET", which, |_| false).await {
            Ok(got) => {
                let message = got.message.try_into();
                message.map(Some).map_err(failed("read a message"))
            }
            Err(Refusal::Refused(error)) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                Ok(None)
            }
            Err(refusal) => Err(refusal.of("read a message")),
        }
    }

    /// Forgets what is before a position.
    pub async fn purge(&self, below: u64) -> Result<(), LogError> {
        #[derive(Serialize)]
        struct Below {
            seq: u64,
        }
        let purged = self
            .ask::<serde::de::IgnoredAny>("PURGE", &Below { seq: below }, |_| false)
            .await;
        purged.map(|_| ()).map_err(|refusal| refusal.of("trim"))
    }

    /// A consumer that gives messages from a position on, of these subjects; of all, if none is named.
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
                    ConsumerErrorKind::JetStream(it) if may_pass(it.error_code()) => it.into(),
                    _ => return Err(failed("read")(error)),
                },
                Err(late) => late.into(),
            };
            if Instant::now() + PAUSE > deadline {
                return Err(failed("read")(why));
            }
            tracing::info!(why, "the server made no consumer: asking again");
            sleep(PAUSE).await;
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        payload: &impl Serialize,
        passes: impl Fn(ErrorCode) -> bool,
    ) -> Result<T, Refusal> {
        let subject = format!("STREAM.{what}.{}", self.subjects.stream());
        ask(&self.context, subject, payload, passes).await
    }

    /// Which log this is.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The names of things.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether there is a connection at the moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == Connection::Connected
    }
}

/// Whether the one that answers is the stream's leader: it names all members but itself.
fn is_of_leader(info: &stream::Info) -> bool {
    let Some(cluster) = &info.cluster else {
        return true;
    };
    let leader = cluster.leader.as_deref().filter(|name| !name.is_empty());
    leader.is_some_and(|leader| cluster.replicas.iter().all(|it| it.name != leader))
}

/// What the server reserves for a log of so many bytes.
fn reserved(bytes_max: u64) -> i64 {
    i64::try_from(bytes_max + SPARE_BYTES).unwrap_or(i64::MAX)
}

fn id_of(config: &stream::Config) -> Option<u64> {
    let text = config.metadata.get(ID)?;
    u64::from_str_radix(text, 16).ok()
}

/// Full means: refuse, never forget. Single messages cannot be deleted, so the log has no holes.
fn wanted(config: &config::Nats, subjects: &Subjects, id: u64) -> stream::Config {
    let bytes_max = config.bytes_max.map_or(BYTES_MAX.0, |bytes| bytes.0);
    stream::Config {
        name: subjects.stream().to_owned(),
        description: Some("The log of Skytide".to_owned()),
        subjects: vec![subjects.all()],
        storage: StorageType::File,
        num_replicas: config.replicas.into(),
        max_bytes: reserved(bytes_max),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        discard: DiscardPolicy::New,
        deny_delete: true,
        allow_direct: true,
        compression: Some(match config.compression {
            config::Compression::S2 => stream::Compression::S2,
            config::Compression::None => stream::Compression::None,
        }),
        metadata: [(ID.to_owned(), format!("{id:016x}"))].into(),
        ..stream::Config::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info(cluster: serde_json::Value) -> stream::Info {
        let options = config::Nats::at("nats://127.0.0.1:4222").unwrap();
        let info = json!({
            "config": wanted(&options, &Subjects::of(&options.stream), 1),
            "created": "2026-11-25T00:00:00Z",
            "state": {
                "messages": 0, "bytes": 0, "first_seq": 1, "last_seq": 0, "consumer_count": 0,
                "first_ts": "0001-01-01T00:00:00Z", "last_ts": "0001-01-01T00:00:00Z",
            },
            "cluster": cluster,
        });
        serde_json::from_value(info).unwrap()
    }

    #[test]
    fn only_the_leader_says_what_a_stream_holds() {
        let peer = |name| json!({"name": name, "current": true, "active": 1});
        for (cluster, of_leader) in [
            (json!(null), true),
            (json!({"leader": "a"}), true),
            (
                json!({"leader": "a", "replicas": [peer("b"), peer("c")]}),
                true,
            ),
            (
                json!({"leader": "b", "replicas": [peer("b"), peer("c")]}),
                false,
            ),
            (
                json!({"replicas": [peer("a"), peer("b"), peer("c")]}),
                false,
            ),
            (json!({"leader": "", "replicas": [peer("b")]}), false),
        ] {
            assert_eq!(is_of_leader(&info(cluster.clone())), of_leader, "{cluster}");
        }
    }
}
