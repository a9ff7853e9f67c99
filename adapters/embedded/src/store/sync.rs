//! Syncs the journal about once a second on its own thread, and detects when the database no longer
//! accepts writes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::{Database, PersistMode};

use super::poisoned::Poisoned;

/// How long a commit may stay in the operating system's cache without an fsync. Rows can be
/// recomputed from the log, so this only decides how much of the log is read again after a power
/// cut. In return, commits do not wait for the disk.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Syncs commits every [`SYNC_EVERY`] and when it is dropped. After a failure the database accepts
/// no more writes: see [`Poisoned`]. The check also runs when nothing was committed, because a
/// background thread of fjall may have failed, and a commit would wait for that thread forever.
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

    /// Records that something was committed and must be synced.
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
        let stopping = stopped.recv_timeout(SYNC_EVERY) != Err(RecvTimeoutError::Timeout);
        let mode = match unsynced.swap(false, Ordering::Acquire) {
            true => PersistMode::SyncData,
            // Writes nothing, and fails if an earlier write has failed.
            false => PersistMode::Buffer,
        };
        if let Err(error) = database.persist(mode) {
            tracing::error!(
                %error,
                "the view store takes no writes until it is opened again: restart this process"
            );
            poisoned.record("sync its journal", error);
            return;
        }
        if stopping {
            return;
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}
