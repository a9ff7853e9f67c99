//! What the stream holds, as its leader reports it.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream;
use skytide_core::port::log::LogError;
use tokio::time::{Instant, sleep};

use super::setup::id_of;
use super::{SPARE_BYTES, Stream};
use crate::failed;
use crate::request::{RETRY_DELAY, RETRY_MAX, RequestError};

/// How long the newest messages may be missing on a server that has just become the leader.
pub const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// What the stream holds.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Position of the oldest message; equals `next` if the stream is empty.
    pub first: u64,
    /// Position of the next message.
    pub next: u64,
    /// Bytes in use.
    pub bytes: u64,
    /// Bytes at which a writer blocks.
    pub bytes_max: u64,
    /// The number of messages that are missing between `first` and `next`.
    pub missing: u64,
    /// The number of servers that hold the stream.
    pub replicas: usize,
}

impl Stream {
    /// The maximum size of a message with its headers in bytes: the limit of the connection, or a
    /// lower limit that an operator has set on the stream.
    pub async fn message_bytes_max(&self) -> Result<usize, LogError> {
        let of_stream = usize::try_from(self.info().await?.config.max_message_size);
        let of_stream = of_stream.ok().filter(|bytes| *bytes > 0);
        let of_connection = self.client.max_payload();
        Ok(of_stream.map_or(of_connection, |bytes| bytes.min(of_connection)))
    }

    pub(super) async fn info(&self) -> Result<stream::Info, LogError> {
        let not_found = |code| code == ErrorCode::STREAM_NOT_FOUND;
        let name = self.subjects.stream();
        let info = match self.request_info(not_found).await {
            Ok(info) => info,
            Err(RequestError::Refused(error)) if not_found(error.error_code()) => {
                return Err(LogError::Damaged(format!("the stream {name} was deleted")));
            }
            Err(error) => return Err(error.into_log_error("read the state of the stream")),
        };
        if id_of(&info.config) != Some(self.id) {
            let why = format!("the stream {name} was deleted and created again: it is another log");
            return Err(LogError::Damaged(why));
        }
        Ok(info)
    }

    /// Asks the leader for its information. During an election, any member answers with what it
    /// holds itself, which may be less than what was acknowledged (nats-server 2.15,
    /// `jsStreamInfoRequest`). Such an answer is ignored.
    pub(super) async fn request_info(
        &self,
        retry_on: impl Fn(ErrorCode) -> bool,
    ) -> Result<stream::Info, RequestError> {
        let deadline = Instant::now() + RETRY_MAX;
        loop {
            let info: stream::Info = self.request("INFO", &(), &retry_on).await?;
            if is_of_leader(&info) {
                return Ok(info);
            }
            if Instant::now() + RETRY_DELAY > deadline {
                return Err(RequestError::Transient("the stream has no leader".into()));
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// The current state. Returns `Damaged` if the stream was deleted or replaced by another one.
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

    /// The current state, once the stream includes this position. A server that has just become the
    /// leader may need some seconds to catch up.
    pub async fn state_with(&self, position: u64) -> Result<State, LogError> {
        let started = Instant::now();
        loop {
            let state = self.state().await?;
            if state.next > position {
                return Ok(state);
            }
            if started.elapsed() >= CATCH_UP_MAX {
                let last = state.next - 1;
                let lost = format!(
                    "the server has lost messages that it had stored: \
                     the log ends at {last}, not at {position}"
                );
                return Err(failed("read the state of the stream")(lost));
            }
            sleep(RETRY_DELAY).await;
        }
    }
}

/// Whether the stream's leader sent this answer: the leader lists all members except itself.
fn is_of_leader(info: &stream::Info) -> bool {
    let Some(cluster) = &info.cluster else {
        return true;
    };
    let leader = cluster.leader.as_deref().filter(|name| !name.is_empty());
    leader.is_some_and(|leader| cluster.replicas.iter().all(|it| it.name != leader))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::setup::desired_config;
    use super::*;
    use crate::subjects::Subjects;
    use skytide_core::config;

    fn info(cluster: serde_json::Value) -> stream::Info {
        let options = config::Nats::at("nats://127.0.0.1:4222").unwrap();
        let info = json!({
            "config": desired_config(&options, &Subjects::of(&options.stream), 1),
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
    fn only_the_answer_of_the_leader_counts() {
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
