//! The table of all keys in memory, and the task that keeps it current.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use skytide_core::port::clock::Clock;
use skytide_core::port::key::{KeyError, KeyId, KeyStore, StoredKey};
use skytide_core::time::Timestamp;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::estimate::estimated;
use crate::limiter::{KeyQuota, Limiter};

/// Time between two reads of the store.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Age of the table after which keys are refused, counted from the start of the read. So a revoked
/// key works for at most this time, also if the machine was suspended.
pub(crate) const TABLE_AGE_MAX: Duration = Duration::from_secs(5);
/// Time for one read of the store. A read that takes longer leaves time for another one before the
/// table is too old.
const READ_MAX: Duration = Duration::from_secs(2);
/// Time for one record of when keys were used.
const NOTE_MAX: Duration = Duration::from_millis(500);
/// Number of refreshes between two records of when keys were used.
const REFRESHES_PER_NOTE: u32 = 60;

/// A key in the table.
#[derive(Debug)]
pub(crate) struct KeyEntry {
    /// The key as it is stored.
    pub(crate) stored: StoredKey,
    /// Its limit; `None` if it has none.
    pub(crate) limiter: Option<Arc<Limiter>>,
    usage: Arc<Usage>,
}

impl KeyEntry {
    /// Records that the key was used.
    pub(super) fn note_used(&self, now: Timestamp) {
        // Most requests come in the same millisecond as another one or shortly after it: a load is
        // cheaper than a store to a cache line that other cores read.
        if self.usage.last_ms.load(Ordering::Relaxed) / 1_000 != now.0 / 1_000 {
            self.usage.last_ms.store(now.0, Ordering::Relaxed);
        }
    }
}

/// When a key was used. It outlives the entry when the stored key changes.
#[derive(Debug, Default)]
struct Usage {
    /// The last use, accurate to a second; 0: not used since the process started.
    last_ms: AtomicU64,
    /// The last use that the store knows of.
    noted_ms: AtomicU64,
}

/// All keys, as of the last successful read.
struct Keys {
    by_id: BTreeMap<KeyId, Arc<KeyEntry>>,
    /// When that read started; `None` before the first one.
    read_at: Option<ReadAt>,
}

/// When a read started, by two clocks. The monotonic clock stands still while the machine is
/// suspended (<https://man7.org/linux/man-pages/man2/clock_gettime.2.html>, `CLOCK_MONOTONIC`), and
/// the wall clock may jump backward.
#[derive(Clone, Copy, Debug)]
struct ReadAt {
    instant: Instant,
    wall: Timestamp,
}

impl ReadAt {
    /// Whether the read is too old by one of the clocks.
    fn is_outdated(self, now: Timestamp) -> bool {
        let wall_age = Duration::from_millis(now.0.saturating_sub(self.wall.0));
        self.instant.elapsed() > TABLE_AGE_MAX || wall_age > TABLE_AGE_MAX
    }
}

/// The table could not be refreshed for [`TABLE_AGE_MAX`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Outdated;

/// The keys of a store in memory.
pub(super) struct KeyTable {
    store: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
    quota: KeyQuota,
    keys: RwLock<Keys>,
    /// Held during a refresh: an older read must not replace a newer one.
    refreshing: Mutex<()>,
    /// Whether the last read failed.
    is_failing: AtomicBool,
    /// Whether a failure to record uses was logged.
    note_failed: AtomicBool,
}

impl KeyTable {
    pub(super) fn new(store: Arc<dyn KeyStore>, clock: Arc<dyn Clock>, quota: KeyQuota) -> Self {
        let keys = Keys {
            by_id: BTreeMap::new(),
            read_at: None,
        };
        Self {
            store,
            clock,
            quota,
            keys: RwLock::new(keys),
            refreshing: Mutex::default(),
            is_failing: AtomicBool::new(false),
            note_failed: AtomicBool::new(false),
        }
    }

    /// The number of keys, and their estimated bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let entry_bytes = size_of::<KeyId>() + size_of::<KeyEntry>() + size_of::<Limiter>();
        estimated(keys.by_id.len() as u64, entry_bytes)
    }

    pub(super) fn store(&self) -> &dyn KeyStore {
        &*self.store
    }

    /// The key with this id. `now`: the time by the wall clock.
    ///
    /// # Errors
    /// The table is too old.
    pub(super) fn get(&self, id: &str, now: Timestamp) -> Result<Option<Arc<KeyEntry>>, Outdated> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        match keys.read_at {
            Some(read_at) if !read_at.is_outdated(now) => Ok(keys.by_id.get(id).cloned()),
            _ => Err(Outdated),
        }
    }

    /// Whether the table is too old.
    pub(super) fn is_outdated(&self, now: Timestamp) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.read_at.is_none_or(|read_at| read_at.is_outdated(now))
    }

    /// Reads the store each second until `stop` is cancelled.
    pub(super) async fn refresh(&self, stop: CancellationToken) {
        let mut interval = interval(REFRESH_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refreshes = 0_u32;
        while stop.run_until_cancelled(interval.tick()).await.is_some() {
            if stop
                .run_until_cancelled(self.refresh_once())
                .await
                .is_none()
            {
                break;
            }
            refreshes = refreshes.wrapping_add(1);
            if refreshes.is_multiple_of(REFRESHES_PER_NOTE) {
                // The table must stay current while the store is slow.
                let noting = timeout(NOTE_MAX, self.note_used());
                stop.run_until_cancelled(noting).await;
            }
        }
        // The process is about to exit: the last uses would be lost.
        let _unfinished = timeout(NOTE_MAX, self.note_used()).await;
    }

    /// Reads the store once, for two seconds at most after an earlier read has ended. Failures are
    /// logged when they start and when they end.
    pub(super) async fn refresh_once(&self) {
        match self.try_refresh().await {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the API keys are readable again");
                }
            }
            Err(error) => {
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    log_failure(&error);
                }
            }
        }
    }

    async fn try_refresh(&self) -> Result<(), KeyError> {
        let _refreshing = self.refreshing.lock().await;
        let read_at = ReadAt {
            instant: Instant::now(),
            wall: self.clock.now(),
        };
        let stored = timeout(READ_MAX, self.store.all()).await;
        let stored = stored.unwrap_or_else(|_| {
            Err(KeyError::Failed {
                operation: "read",
                source: format!("no answer within {} s", READ_MAX.as_secs()).into(),
            })
        })?;
        let by_id = self.merge(stored);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = Keys {
            by_id,
            read_at: Some(read_at),
        };
        Ok(())
    }

    /// The new table. Entries of unchanged keys are reused, and so is the limiter of a key whose
    /// limit is unchanged: a refresh must not refill it.
    fn merge(&self, stored: Vec<StoredKey>) -> BTreeMap<KeyId, Arc<KeyEntry>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let entry = |key: StoredKey| {
            let old = keys.by_id.get(&key.id);
            if let Some(old) = old
                && old.stored == key
            {
                return (key.id, old.clone());
            }
            let limits = |key: &StoredKey| (key.rate, key.burst);
            let same = old.filter(|old| limits(&old.stored) == limits(&key));
            let limiter = match same {
                Some(old) => old.limiter.clone(),
                None => self.quota.limiter(&key).map(Arc::new),
            };
            let usage = old.map_or_else(Arc::default, |old| old.usage.clone());
            let id = key.id.clone();
            let entry = KeyEntry {
                stored: key,
                limiter,
                usage,
            };
            (id, Arc::new(entry))
        };
        stored.into_iter().map(entry).collect()
    }

    /// Records in the store when keys were last used.
    async fn note_used(&self) {
        let used = self.uses_to_note();
        if used.is_empty() {
            return;
        }
        let ids_and_times: Vec<_> = used
            .iter()
            .map(|(entry, time)| (entry.stored.id.clone(), *time))
            .collect();
        match self.store.note_used(&ids_and_times).await {
            Ok(()) => {
                for (entry, time) in used {
                    entry.usage.noted_ms.store(time.0, Ordering::Relaxed);
                }
            }
            // The store may be readable only. Then the first failure says it all.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                const EFFECT: &str = "cannot record when API keys were last used: retrying";
                match self.note_failed.swap(true, Ordering::Relaxed) {
                    false => tracing::warn!(error, "{EFFECT}"),
                    true => tracing::debug!(error, "{EFFECT}"),
                }
            }
        }
    }

    fn uses_to_note(&self) -> Vec<(Arc<KeyEntry>, Timestamp)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let entries = keys.by_id.values().filter_map(|entry| {
            let last_ms = entry.usage.last_ms.load(Ordering::Relaxed);
            let noted_ms = entry.usage.noted_ms.load(Ordering::Relaxed);
            (last_ms > noted_ms).then(|| (entry.clone(), Timestamp(last_ms)))
        });
        entries.collect()
    }
}

fn log_failure(error: &KeyError) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "cannot read the API keys: requests with a key are refused with 503 until this is fixed"
    );
}
