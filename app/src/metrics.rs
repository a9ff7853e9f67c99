//! Metrics of the process, of the places of its data, and of its connections to servers. The
//! services register their own.
//!
//! ```text
//! when scraped ─▶ ProcessCollector   CPU time, start
//!               ├ DiskCollector      free disk of the data folder
//!               └ ServerCollector    NATS, MongoDB: as the client last saw the connection
//! log.bounds() of the health check, each second ─▶ LogSize
//! ```

mod checkpoint;
mod data;
pub mod page;
mod process;

pub use checkpoint::CheckpointAge;
pub use data::{LogSize, MeasuredLog, register_data, register_data_examples};
pub use process::{register_log_lines, register_process, started};
