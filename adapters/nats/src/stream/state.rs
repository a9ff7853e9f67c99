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
    /// Bytes of a message with its headers, at most: the connection's limit, or less if somebody has changed the stream.
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
                return Err(LogError::Damaged(format!("the stream {name} is gone")));
            }
            Err(error) => return Err(error.into_log_error("ask for the state of its stream")),
        };
        if id_of(&info.config) != Some(self.id) {
            let why = format!("the stream {name} was made anew: it is another log");
            return Err(LogError::Damaged(why));
        }
        Ok(info)
    }

    /// What the leader says. While a cluster elects one, any member answers with what it holds itself, which may be less
    /// than what was acknowledged (nats-server 2.15, `jsStreamInfoRequest`): that counts as no answer.
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
        let started = Instant::now();
        loop {
            let state = self.state().await?;
            if state.next > position {
                return Ok(state);
            }
            if started.elapsed() >= CATCH_UP_MAX {
                let last = state.next - 1;
                let lost = format!(
                    "the server has lost what it had stored: its log ends at {last}, not at {position}"
                );
                return Err(failed("ask for the state of its stream")(lost));
            }
            sleep(RETRY_DELAY).await;
        }
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
