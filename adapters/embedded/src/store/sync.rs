//! Syncs the journal about once a second, on a thread of its own, and looks whether the database still takes writes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::{Database, PersistMode};

use super::poisoned::Poisoned;

/// How long a commit may stay with the operating system only. Rows can be computed again from the log, so this
/// decides only how much of it is read again after a power cut, and commits do not wait for the disk.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Syncs what was committed, every [`SYNC_EVERY`] and when it is dropped. A failure is the database's last: see [`Poisoned`].
/// One of its own threads may have failed, too, and a commit wait for that thread for ever.
pub struct Syncer {
    unsynced: Arc<AtomicBool>,
    thread: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Syncer {
    /// Starts the thread.
    pub fn start(database: Database, poisoned: Poisoned) -> io::Result<Self> {
        let unsynced = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = mpsc::channel();
        let run = {
            let unsynced = unsynced.clone();
            move || sync_until(&stopped, &database, &poisoned, &unsynced)
        };
        let thread = std::thread::Builder::new().name("store-sync".to_owned());
        Ok(Self {
            unsynced,
            thread: Some((stop, thread.spawn(run)?)),
        })
    }

    /// Something was committed.
    pub fn mark_unsynced(&self) {
        self.unsynced.store(true, Ordering::Release);
    }
}

fn sync_until(
    stopped: &mpsc::Receiver<()>,
    database: &Database,
    poisoned: &Poisoned,
    unsynced: &AtomicBool,
) {
    loop {
        let ended = stopped.recv_timeout(SYNC_EVERY) != Err(RecvTimeoutError::Timeout);
        let mode = match unsynced.swap(false, Ordering::Acquire) {
            true => PersistMode::SyncData,
            // Writes nothing, and fails if anything has failed before.
            false => PersistMode::Buffer,
        };
        if let Err(error) = database.persist(mode) {
            tracing::error!(%error, "the store takes no writes until it is opened again");
            poisoned.record("sync its journal", error);
            return;
        }
        if ended {
            return;
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}
