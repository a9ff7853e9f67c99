//! Finds or creates the stream, and adapts an existing stream to the options.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use skytide_core::config;
use skytide_core::port::log::LogError;

use super::{SPARE_BYTES, Stream};
use crate::failed;
use crate::request::{RequestError, is_out_of_room};
use crate::subjects::Subjects;

/// The key of the log's identity in the stream's metadata.
const ID: &str = "skytide_log_id";
/// The size of a new log in bytes if no option sets it. It is halved down to the minimum while the
/// server has no room for it.
const BYTES_DEFAULT: u64 = 8 << 30;
const BYTES_DEFAULT_MIN: u64 = 1 << 30;

impl Stream {
    pub(super) async fn find_or_create(&self) -> Result<u64, LogError> {
        const OPERATION: &str = "open the stream";
        loop {
            let not_found = |code| code == ErrorCode::STREAM_NOT_FOUND;
            match self.request_info(|_| false).await {
                Ok(info) => {
                    let id = id_of(&info.config);
                    return id.ok_or_else(|| {
                        failed(OPERATION)(
                            "a stream of this name exists and is not a log of Skytide: \
                             set NATS_STREAM to another name",
                        )
                    });
                }
                Err(RequestError::Refused(error)) if not_found(error.error_code()) => {}
                Err(error) => return Err(error.into_log_error(OPERATION)),
            }
            match self.create().await {
                // Another process has created it in the meantime: use that one.
                Err(RequestError::Refused(error))
                    if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
                Err(error) => return Err(self.explain_no_room(error, "create the stream")),
                Ok(_) => {
                    tracing::info!(stream = self.subjects.stream(), "created the stream");
                }
            }
        }
    }

    /// Creates the stream. If the server has no room and no option sets the size, creates a smaller
    /// one.
    async fn create(&self) -> Result<stream::Info, RequestError> {
        let mut config = self.desired.clone();
        let mut bytes_max = BYTES_DEFAULT;
        loop {
            match self.request("CREATE", &config, |_| false).await {
                Err(RequestError::Refused(error))
                    if is_out_of_room(&error) && self.any_size && bytes_max > BYTES_DEFAULT_MIN =>
                {
                    bytes_max /= 2;
                    config.max_bytes = reserved(bytes_max);
                }
                Ok(made) => {
                    if self.any_size && bytes_max < BYTES_DEFAULT {
                        tracing::warn!(
                            bytes_max,
                            "the server has no room for a larger log: \
                             free some space and set NATS_BYTES_MAX"
                        );
                    }
                    return Ok(made);
                }
                other => return other,
            }
        }
    }

    /// Changes size, replicas and compression to the values of the options. If the server has no
    /// room, the stream stays unchanged.
    pub async fn adapt(&self) -> Result<(), LogError> {
        let info = self.info().await?;
        let config = stream::Config {
            max_bytes: match self.any_size {
                true => info.config.max_bytes,
                false => self.desired.max_bytes,
            },
            num_replicas: self.desired.num_replicas,
            compression: self.desired.compression.clone(),
            ..info.config.clone()
        };
        if config != info.config {
            let stream = self.subjects.stream();
            match self
                .request::<stream::Info>("UPDATE", &config, |_| false)
                .await
            {
                Ok(_) => tracing::info!(stream, "adapted the stream to the options"),
                Err(RequestError::Refused(error)) if is_out_of_room(&error) => tracing::warn!(
                    stream,
                    %error,
                    bytes_max = info.config.max_bytes,
                    replicas = info.config.num_replicas,
                    "the server has no room for the values of the options, \
                     the stream stays unchanged: lower NATS_BYTES_MAX or NATS_REPLICAS, \
                     or raise the server's max_file_store"
                ),
                Err(error) => return Err(error.into_log_error("adapt the stream to the options")),
            }
        }
        Ok(())
    }

    /// If the server has no room for the reserved size, names the option to change.
    fn explain_no_room(&self, error: RequestError, operation: &'static str) -> LogError {
        match error {
            RequestError::Refused(error) if is_out_of_room(&error) => failed(operation)(format!(
                "the server has no room to reserve {} bytes: lower NATS_BYTES_MAX, \
                 or free disk space and raise the server's max_file_store ({error})",
                if self.any_size {
                    reserved(BYTES_DEFAULT_MIN)
                } else {
                    self.desired.max_bytes
                }
            )),
            other => other.into_log_error(operation),
        }
    }
}

/// The bytes to reserve on the server for a log of this size.
fn reserved(bytes_max: u64) -> i64 {
    i64::try_from(bytes_max + SPARE_BYTES).unwrap_or(i64::MAX)
}

pub fn id_of(config: &stream::Config) -> Option<u64> {
    let text = config.metadata.get(ID)?;
    u64::from_str_radix(text, 16).ok()
}

/// The configuration that the options ask for. A full stream refuses new messages instead of
/// deleting old ones, and single messages cannot be deleted, so the log has no gaps.
pub fn desired_config(config: &config::Nats, subjects: &Subjects, id: u64) -> stream::Config {
    let bytes_max = config.bytes_max.map_or(BYTES_DEFAULT, |bytes| bytes.0);
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
