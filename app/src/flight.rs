//! The flight record of a service: what it logged, measured and did in the last minutes, in bounded
//! memory.
//!
//! ```text
//! log lines ─────────────────▶ LogRing      half of SKYTIDE_FLIGHT_BYTES_MAX
//! every 10 s: metrics ───────▶ SampleRing   a quarter
//!             graph ─────────▶ SampleRing   an eighth
//!             health ────────▶ SampleRing   an eighth
//!                                 │
//!        STORE_DIR/flight/*.sock ◀┴▶ STORE_DIR/flight/failed-*.tar.gz
//!        `skytide doctor`             when the service fails
//! ```
//!
//! Secrets are replaced when the record leaves the memory ([`masks`]). A process that is killed by
//! SIGKILL, or by the kernel for lack of memory, writes no record.

pub mod archive;
pub mod client;
mod failed;
pub mod health;
mod log_ring;
pub mod masks;
pub mod place;
mod recorder;
mod samples;
mod server;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use failed::failed_records;
pub use recorder::{FlightRecorder, Process, Sources};

use crate::failure::{Failure, chain};
use crate::log_queue::last_line;
use crate::log_tee;

/// The record of this process; unset: it keeps none.
static RECORDER: OnceLock<Arc<FlightRecorder>> = OnceLock::new();

/// From now on keeps a flight record of this process. Messages of panics become a part of it.
pub fn start(recorder: FlightRecorder) {
    let recorder = Arc::new(recorder);
    // A second call keeps the record of the first.
    if RECORDER.set(recorder.clone()).is_err() {
        return;
    }
    let log = recorder.clone();
    log_tee::set(move |line| log.line(line));
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        recorder.line_of_panic(format!("{panic}\n").as_bytes());
        previous(panic);
        // A panic of any other thread is caught, and ends its service with an error.
        if std::thread::current().name() == Some("main") {
            write_failed(&recorder, &panic.to_string());
        }
    }));
}

/// The flight record of this process, which reports the memory that it uses; `None` if the process
/// keeps none.
pub fn recorder() -> Option<Arc<FlightRecorder>> {
    RECORDER.get().cloned()
}

/// Records these sources every 10 s, and serves the record on a socket in the folder, until the
/// future is dropped.
pub async fn run(folder: PathBuf, sources: Sources) {
    let Some(recorder) = RECORDER.get() else {
        return std::future::pending().await;
    };
    recorder.set_folder(&folder);
    tokio::join!(
        recorder.sample(sources),
        server::serve(&folder, recorder.clone())
    );
}

/// Writes the record to the data folder, because the process fails, and prints where it is.
pub fn on_failure(failure: &Failure) {
    if let (Some(recorder), Failure::Failed { .. }) = (RECORDER.get(), failure) {
        write_failed(recorder, &chain(failure));
    }
}

/// The same for a failure that is known only as a text.
pub fn on_failure_text(text: &str) {
    if let Some(recorder) = RECORDER.get() {
        write_failed(recorder, text);
    }
}

fn write_failed(recorder: &FlightRecorder, error: &str) {
    match failed::write(recorder, error) {
        Ok(Some(path)) => say_where(&path),
        Ok(None) => {}
        Err(why) => last_line(&format!("cannot write the flight record: {why}")),
    }
}

fn say_where(path: &Path) {
    last_line(&format!(
        "the flight record is in {}; `skytide doctor --bundle FILE` includes it",
        path.display()
    ));
}
