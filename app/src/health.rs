//! How the services of this process do, for `/readyz`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skytide_api::{Health, Part};
use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use skytide_dataflow::Metrics;
use skytide_ingest::Progress;

use crate::embedded::EmbeddedLog;

/// What `skytide up` knows of its services.
pub struct UpHealth {
    clock: Arc<dyn Clock>,
    log: Arc<EmbeddedLog>,
    dataflow: Arc<Metrics>,
    quiet_max: Duration,
    heard: Mutex<Option<Heard>>,
}

/// The newest frame.
#[derive(Clone, Copy)]
struct Heard {
    frames: u64,
    at: Timestamp,
}

impl UpHealth {
    /// Nothing was heard yet. A relay that brings no frame for longer than `quiet_max` is not well.
    pub fn new(
        clock: Arc<dyn Clock>,
        log: Arc<EmbeddedLog>,
        dataflow: Arc<Metrics>,
        quiet_max: Duration,
    ) -> Self {
        Self {
            clock,
            log,
            dataflow,
            quiet_max,
            heard: Mutex::new(None),
        }
    }

    /// Ingest wrote an epoch.
    pub fn heard(&self, progress: &Progress) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.frames > heard.map_or(0, |heard| heard.frames) {
            *heard = Some(Heard {
                frames: progress.frames,
                at: self.clock.now(),
            });
        }
    }

    fn relay(&self) -> Part {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = heard.map(|heard| self.clock.now().0.saturating_sub(heard.at.0));
        Part {
            name: "relay".to_owned(),
            ok: silent.is_some_and(|ms| Duration::from_millis(ms) <= self.quiet_max),
            detail: match silent {
                None => "no frame yet".to_owned(),
                Some(ms) => format!("newest frame {} s ago", ms / 1_000),
            },
        }
    }

    fn log(&self) -> Part {
        let full = self.log.is_full();
        Part {
            name: "log".to_owned(),
            ok: !full,
            detail: if full {
                "at its size limit, reading waits (STORE_LOG_BYTES_MAX)".to_owned()
            } else {
                "has room".to_owned()
            },
        }
    }

    fn dataflow(&self) -> Part {
        let catching_up = self.dataflow.catching_up.get() == 1;
        let epoch = self.dataflow.epoch.get();
        Part {
            name: "dataflow".to_owned(),
            ok: !catching_up,
            detail: match self.dataflow.restoring.get() {
                0 if !catching_up => format!("at epoch {epoch}"),
                0 => {
                    format!("counting again what the log holds, after a restart: at epoch {epoch}")
                }
                shards => {
                    format!("taking in a checkpoint, after a restart: {shards} of 64 shards to go")
                }
            },
        }
    }
}

impl Health for UpHealth {
    fn parts(&self) -> Vec<Part> {
        vec![self.relay(), self.log(), self.dataflow()]
    }
}
