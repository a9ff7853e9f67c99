//! The relays that `FIREHOSE_URL` names.

use std::sync::Arc;

use skytide_core::config::Config;
use skytide_ingest::{RelaySource, Source};

use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::options;

/// The configured relays, at least one and none of them twice. None is connected yet.
///
/// # Errors
///
/// A relay has no usable address or is named twice, or no relay is named.
pub fn relays(config: &Config) -> Result<Vec<RelaySource>, Failure> {
    let mut sources: Vec<RelaySource> = Vec::new();
    for options in options::relays(config) {
        let source = RelaySource::new(options, Arc::new(SystemClock));
        let source =
            source.map_err(|why| Failure::because("cannot read the relay (FIREHOSE_URL)", why))?;
        if sources.iter().any(|other| other.host() == source.host()) {
            let host = source.host();
            let what = format!("FIREHOSE_URL names the relay {host} twice: remove one of them");
            return Err(Failure::new(what));
        }
        sources.push(source);
    }
    if sources.is_empty() {
        return Err(Failure::new("FIREHOSE_URL names no relay"));
    }
    Ok(sources)
}
