//! What `skytide doctor` asks a NATS server: its version, the limits of JetStream, and how the stream
//! differs from the options. Changes nothing.

use std::time::Duration;

use async_nats::jetstream::account::Account;
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use serde_json::Value;
use skytide_core::config;
use skytide_core::port::BoxFuture;
use skytide_core::port::log::LogError;
use skytide_core::time::Timestamp;

use crate::connection::connect;
use crate::stream::setup::{desired_config, id_of};
use crate::subjects::Subjects;

/// The oldest version of the server that this adapter supports.
pub const SERVER_MIN: [u32; 2] = [2, 10];
/// How long connecting is retried: not at all, after the first attempt.
const CONNECT_MAX: Duration = Duration::from_millis(1);

/// A server, as it describes itself.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The version of the server.
    pub version: String,
    /// Whether the version is supported.
    pub is_supported: bool,
    /// Maximum size of a message, in bytes.
    pub message_bytes_max: usize,
    /// JetStream, or why it cannot be used.
    pub jetstream: Result<JetStream, String>,
}

/// JetStream in the account of the user.
#[derive(Clone, Debug)]
pub struct JetStream {
    /// Bytes on disk that streams of the account hold.
    pub bytes: u64,
    /// Bytes that streams of the account have reserved.
    pub reserved_bytes: u64,
    /// Bytes that they may reserve. `None`: the account has no limit of its own.
    pub bytes_max: Option<u64>,
    /// Streams in the account.
    pub streams: usize,
    /// Streams that it may have. `None`: no limit.
    pub streams_max: Option<u64>,
    /// Bytes that the options reserve for a new log.
    pub wanted_bytes: u64,
    /// The stream of the log. `None`: it does not exist yet.
    pub stream: Option<StreamInspection>,
}

/// The stream of the log.
#[derive(Clone, Debug)]
pub struct StreamInspection {
    /// Bytes that it holds.
    pub bytes: u64,
    /// Bytes at which the server refuses messages.
    pub bytes_max: i64,
    /// How it differs from the options.
    pub deviations: Vec<Deviation>,
    /// The time at the server when it answered, if it says so.
    pub server_time: Option<Timestamp>,
}

/// A setting of the stream that differs from the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// The difference, in words.
    pub what: String,
    /// Whether the log can lose messages, or cannot be used. Otherwise the next start of ingest
    /// changes the setting, or its effect is small.
    pub is_serious: bool,
}

/// Asks the server that the options name.
///
/// # Errors
/// `Failed` if no server can be reached, or it refuses the user.
pub fn inspect(options: &config::Nats) -> BoxFuture<'_, Result<Inspection, LogError>> {
    Box::pin(inspect_server(options))
}

async fn inspect_server(options: &config::Nats) -> Result<Inspection, LogError> {
    let mut once = options.clone();
    once.connect_timeout = config::Span(CONNECT_MAX);
    let client = connect(&once).await?;
    let info = client.server_info();
    let context = jetstream::new(client);
    Ok(Inspection {
        is_supported: is_supported(&info.version),
        version: info.version.clone(),
        message_bytes_max: info.max_payload,
        jetstream: inspect_jetstream(&context, options).await,
    })
}

async fn inspect_jetstream(
    context: &jetstream::Context,
    options: &config::Nats,
) -> Result<JetStream, String> {
    let account: Account = match ask(context, "INFO".to_owned()).await? {
        Ok(account) => serde_json::from_value(account).map_err(|why| why.to_string())?,
        Err(error) => return Err(error.to_string()),
    };
    let subjects = Subjects::of(&options.stream);
    let wanted = desired_config(options, &subjects, 0);
    let stream = match ask(context, format!("STREAM.INFO.{}", subjects.stream())).await? {
        Ok(info) => Some(inspect_stream(info, &wanted, options)?),
        Err(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => None,
        Err(error) => return Err(error.to_string()),
    };
    let limit = |limit: i64| u64::try_from(limit).ok();
    Ok(JetStream {
        bytes: account.storage,
        reserved_bytes: account.reserved_storage,
        bytes_max: account.limits.max_storage.and_then(limit),
        streams: account.streams,
        streams_max: account.limits.max_streams.and_then(limit),
        wanted_bytes: wanted.max_bytes.unsigned_abs(),
        stream,
    })
}

/// Sends one request to JetStream. The inner error is the server's refusal.
async fn ask(
    context: &jetstream::Context,
    subject: String,
) -> Result<Result<Value, jetstream::Error>, String> {
    match context.request::<_, _, Response<Value>>(subject, &()).await {
        Ok(Response::Ok(answer)) => Ok(Ok(answer)),
        Ok(Response::Err { error }) => Ok(Err(error)),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => {
            Err("JetStream is not enabled on the server, or not for this account".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn inspect_stream(
    answer: Value,
    wanted: &stream::Config,
    options: &config::Nats,
) -> Result<StreamInspection, String> {
    let server_time = answer["ts"].as_str().and_then(Timestamp::parse);
    let info: stream::Info = serde_json::from_value(answer).map_err(|why| why.to_string())?;
    Ok(StreamInspection {
        bytes: info.state.bytes,
        bytes_max: info.config.max_bytes,
        deviations: deviations(&info, wanted, options),
        server_time,
    })
}

/// How a stream differs from the options, serious differences first.
fn deviations(
    info: &stream::Info,
    wanted: &stream::Config,
    options: &config::Nats,
) -> Vec<Deviation> {
    let found = &info.config;
    let mut serious = Vec::new();
    if id_of(found).is_none() {
        serious.push("it is not a log of Skytide".to_owned());
    }
    if found.retention != RetentionPolicy::Limits {
        serious.push(format!(
            "its retention is {:?}, not Limits",
            found.retention
        ));
    }
    if found.discard != wanted.discard {
        serious.push("when it is full, it deletes the oldest messages (discard: old)".to_owned());
    }
    if !found.max_age.is_zero() {
        let seconds = found.max_age.as_secs();
        serious.push(format!("it deletes messages after {seconds} s (max_age)"));
    }
    if found.max_messages > 0 || found.max_messages_per_subject > 0 {
        serious.push("it has a maximum number of messages (max_msgs)".to_owned());
    }
    if found.storage != StorageType::File {
        serious.push("it is in memory, so a restart of the server loses it".to_owned());
    }
    if !wanted.subjects.iter().all(|it| found.subjects.contains(it)) {
        serious.push(format!(
            "it lacks the subject {}",
            wanted.subjects.join(", ")
        ));
    }
    if info.cluster.as_ref().is_some_and(|it| it.leader.is_none()) {
        serious.push("it has no leader".to_owned());
    }
    let mut minor = Vec::new();
    if options.bytes_max.is_some() && found.max_bytes != wanted.max_bytes {
        let (found, wanted) = (found.max_bytes, wanted.max_bytes);
        minor.push(format!(
            "its size is {found} bytes, not {wanted} (NATS_BYTES_MAX)"
        ));
    }
    if found.num_replicas != wanted.num_replicas {
        let (found, wanted) = (found.num_replicas, wanted.num_replicas);
        minor.push(format!(
            "it has {found} replicas, not {wanted} (NATS_REPLICAS)"
        ));
    }
    if found.max_message_size > 0 {
        let bytes = found.max_message_size;
        minor.push(format!(
            "its messages have at most {bytes} bytes (max_msg_size)"
        ));
    }
    if !found.deny_delete {
        minor.push("single messages can be deleted (deny_delete is off)".to_owned());
    }
    let members = info.cluster.iter().flat_map(|it| it.replicas.iter());
    for member in members.filter(|member| member.offline || !member.current) {
        minor.push(format!("its replica on {} is not current", member.name));
    }
    let deviation = |is_serious| move |what| Deviation { what, is_serious };
    let serious = serious.into_iter().map(deviation(true));
    serious
        .chain(minor.into_iter().map(deviation(false)))
        .collect()
}

/// Whether a version such as `2.11.4` or `2.12.0-beta.1` is supported.
fn is_supported(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split(['.', '-']);
    let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok());
    let found = [next().unwrap_or(0), next().unwrap_or(0)];
    found >= SERVER_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, supported) in [
            ("2.10.0", true),
            ("2.9.25", false),
            ("2.14.0-RC.1", true),
            ("v3.0.0", true),
            ("", false),
        ] {
            assert_eq!(is_supported(version), supported, "{version}");
        }
    }
}
