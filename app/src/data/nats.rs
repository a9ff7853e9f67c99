//! The log on NATS JetStream. All code of the binary that needs the NATS adapter is here.

use std::sync::Arc;

use skytide_core::config::Config;
use skytide_core::port::log::Log;
use skytide_nats::NatsLog;

use super::backend::{ConnectionState, LogBackend, ServerConnection};
use crate::failure::Failure;

/// Connects to the log that the options name.
///
/// # Errors
///
/// No server answers, or the stream cannot be used.
pub async fn open_log(config: &Config) -> Result<Arc<dyn LogBackend>, Failure> {
    let log = NatsLog::connect(&config.nats).await;
    let log = log.map_err(|why| Failure::because("cannot use the log on NATS (NATS_URL)", why))?;
    Ok(Arc::new(NatsBackend(log)))
}

struct NatsBackend(NatsLog);

impl LogBackend for NatsBackend {
    fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.0.clone())
    }

    fn is_full(&self) -> bool {
        self.0.is_full()
    }

    fn size_option(&self) -> &'static str {
        "NATS_BYTES_MAX"
    }

    fn problem(&self) -> Option<&'static str> {
        self.0.problem()
    }

    fn location(&self) -> String {
        "on NATS".to_owned()
    }

    fn connection(&self) -> Option<ConnectionState> {
        let log = self.0.clone();
        Some(Arc::new(move || ServerConnection {
            server: "nats",
            connected: log.is_connected(),
            reconnects: log.reconnects(),
        }))
    }
}
