//! Stops the source while a process uses more memory than its limit allows.
//!
//! ```text
//! batch ─▶ within the limit? ─ yes ─────────────────────────────▶ workers
//!              └ no ─▶ release caches and free memory ─▶ below 95 %? ─ yes ─▶ workers
//!                                        ▲                   └ no ─▶ wait a second ─┐
//!                                        └──────────────────────────────────────────┘
//! ```
//!
//! A state may need between 95 and 100 % of the limit all the time. So a wait also ends if memory is
//! within the limit in two measurements in a row while no batch is in flight. While a batch is in
//! flight, memory still grows and shrinks with it, and only the 95 % count.
//!
//! Batches that were sent are completed and committed. The batch that waits stays in memory, and
//! nothing further is read from the log, so the log is the only part that grows. It is the position
//! at which a restart resumes.
//!
//! The limit does not stop a restart: neither the checkpoint that is restored, nor the epochs of the
//! log up to the store's last commit and intent. A former run had this state in memory, and nothing
//! is committed before that point. The first batch after it is not stopped either. Its commit
//! releases the rows of views that are rebuilt.
//!
//! In a cluster each process has a limit of its own. Its workers report its memory with their parts
//! of batches. While the source waits, it requests a report each second. For it, each worker of each
//! process first returns the free memory of its own thread.

use std::sync::Arc;
use std::time::Duration;

use skytide_core::id::Epoch;
use skytide_core::port::memory::{MemoryExcess, MemoryLimit, MemoryMeter, MemoryUse};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::metrics::Metrics;
use crate::runtime::batch::End;

/// Time between two measurements while the source waits.
const RECHECK: Duration = Duration::from_secs(1);

/// The number of measurements in a row after which memory within the limit ends a wait, if no batch
/// is in flight.
const CALM_CHECKS: u32 = 2;

/// The time for which waits are not logged again. Near the limit, one may begin with each batch.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The memory limits of all processes, as the source observes them.
pub(crate) struct Budget {
    /// The limit of this process.
    limit: Option<MemoryLimit>,
    /// The number of workers of each process.
    threads: usize,
    /// The epoch up to which a restart only computes again what a former run had computed.
    restart_through: Epoch,
    /// Whether the next batch is a part of the restart, or the first one after it.
    is_restart: bool,
    /// Whether the log has a line about the memory of this restart.
    is_logged: bool,
    waiting: Option<Waiting>,
    /// When the log got its last line about a wait.
    logged_at: Option<Instant>,
    metrics: Arc<Metrics>,
}

/// A wait that the memory limit caused.
struct Waiting {
    since: Instant,
    next_check: Instant,
    /// The number of measurements in a row that were within the limit while no batch was in flight.
    calm_checks: u32,
    /// Whether the log has a line about its beginning.
    is_logged: bool,
}

impl Budget {
    /// The limit of this process, whose workers, like those of each other process, are `threads`.
    /// The limit does not stop batches that end at or before the last of `ends`.
    pub fn new(
        limit: Option<MemoryLimit>,
        threads: usize,
        ends: &[Epoch],
        metrics: Arc<Metrics>,
    ) -> Self {
        if let Some(limit) = &limit {
            metrics.record_memory_limit(limit.bytes_max);
        }
        Self {
            limit,
            threads,
            restart_through: ends.iter().copied().max().unwrap_or_default(),
            is_restart: true,
            is_logged: false,
            waiting: None,
            logged_at: None,
            metrics,
        }
    }

    /// Whether the source waits: it takes no batch, and reads nothing.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Completes the restoring of a checkpoint, and records meanwhile whether a process is over its
    /// limit.
    pub async fn observe_restore<T>(&mut self, restore: impl Future<Output = T>) -> T {
        let mut due = interval(RECHECK);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(restore);
        loop {
            tokio::select! {
                biased;
                restored = &mut restore => return restored,
                _ = due.tick() => self.observe_restart(),
            }
        }
    }

    /// Whether the batch that ends at `end` may be sent. If not, the source waits from now on.
    pub async fn admits(&mut self, end: &End) -> bool {
        if self.is_restart {
            self.is_restart = end.epoch <= self.restart_through;
            self.observe_restart();
            return true;
        }
        let over = self.fullest().filter(|(_, memory)| memory.is_over());
        let Some((process, _)) = over else {
            self.metrics.record_memory_excess(None);
            return true;
        };
        if process == 0 {
            self.on_meter(|meter| meter.release()).await;
        }
        match self.fullest() {
            Some((process, memory)) if !memory.may_resume() => {
                self.wait(process, memory);
                false
            }
            _ => {
                self.metrics.record_memory_excess(None);
                true
            }
        }
    }

    /// Measures again when that is due, and ends the wait if memory allows it. Never returns unless
    /// the source waits. If it is cancelled, it can be called again.
    pub async fn recheck(&mut self) {
        let Some(waiting) = &mut self.waiting else {
            return std::future::pending().await;
        };
        sleep_until(waiting.next_check).await;
        let now = Instant::now();
        let waited = now.duration_since(waiting.next_check - RECHECK);
        waiting.next_check = now + RECHECK;
        self.metrics.record_memory_wait(waited);
        // Caches fill again, and another process may have been the fullest when the wait began.
        let own = self.limit.as_ref().map(MemoryLimit::measure);
        if own.is_some_and(|own| !own.may_resume()) {
            self.on_meter(|meter| meter.release()).await;
        }
        match self.fullest() {
            Some((process, memory)) if !self.may_end(memory) => {
                self.record_excess(process, memory, true);
            }
            _ => self.end_wait(),
        }
    }

    /// Whether a wait ends if the fullest process uses this much.
    fn may_end(&mut self, memory: MemoryUse) -> bool {
        let is_calm = !memory.is_over() && self.metrics.batches_pending.get() == 0;
        let calm_checks = self.waiting.as_mut().map(|waiting| {
            waiting.calm_checks = if is_calm { waiting.calm_checks + 1 } else { 0 };
            waiting.calm_checks
        });
        memory.may_resume() || calm_checks >= Some(CALM_CHECKS)
    }

    fn end_wait(&mut self) {
        self.metrics.record_memory_excess(None);
        let ended = self.waiting.take().filter(|waiting| waiting.is_logged);
        if let Some(Waiting { since, .. }) = ended {
            tracing::info!(
                target: "skytide::dataflow",
                waited_seconds = since.elapsed().as_secs(),
                "memory is within the limit again: counting continues"
            );
        }
    }

    fn wait(&mut self, process: usize, memory: MemoryUse) {
        let now = Instant::now();
        let is_logged = self.logged_at.is_none_or(|at| now - at >= LOG_INTERVAL);
        self.waiting = Some(Waiting {
            since: now,
            next_check: now + RECHECK,
            calm_checks: 0,
            is_logged,
        });
        self.record_excess(process, memory, true);
        if !is_logged {
            return;
        }
        self.logged_at = Some(now);
        let MemoryUse {
            used_bytes,
            bytes_max,
        } = memory;
        tracing::warn!(
            target: "skytide::dataflow",
            process,
            used_bytes,
            bytes_max,
            "memory is over INDEXER_MEMORY_MAX: no further batch is taken, so counting stops and \
             the log grows; raise the limit, or compute fewer views (INDEXER_VIEWS), and restart"
        );
    }

    /// Records whether a process is over its limit. A restart continues in spite of it.
    fn observe_restart(&mut self) {
        let over = self.fullest().filter(|(_, memory)| memory.is_over());
        let Some((process, memory)) = over else {
            self.metrics.record_memory_excess(None);
            return;
        };
        self.record_excess(process, memory, false);
        if !std::mem::replace(&mut self.is_logged, true) {
            let MemoryUse {
                used_bytes,
                bytes_max,
            } = memory;
            tracing::warn!(
                target: "skytide::dataflow",
                process,
                used_bytes,
                bytes_max,
                "memory is over INDEXER_MEMORY_MAX during the restart, which continues; counting \
                 stops after it unless memory is released"
            );
        }
    }

    fn record_excess(&self, process: usize, memory: MemoryUse, waits: bool) {
        self.metrics.record_memory_excess(Some(MemoryExcess {
            process,
            memory,
            waits,
        }));
    }

    /// The process that uses the largest share of its limit, with its memory.
    fn fullest(&self) -> Option<(usize, MemoryUse)> {
        let own = self.limit.as_ref().map(|limit| (0, limit.measure()));
        let remote = self.metrics.remote_memory().into_iter();
        let remote = remote.map(|(worker, memory)| (worker / self.threads, memory));
        let share = |(_, a): &(usize, MemoryUse), (_, b): &(usize, MemoryUse)| {
            let scaled = |used, max| u128::from(used) * u128::from(max);
            scaled(a.used_bytes, b.bytes_max).cmp(&scaled(b.used_bytes, a.bytes_max))
        };
        own.into_iter().chain(remote).max_by(share)
    }

    /// Calls the meter on a thread that may block.
    async fn on_meter(&self, call: fn(&dyn MemoryMeter)) {
        if let Some(limit) = &self.limit {
            let meter = limit.meter.clone();
            // An error means that the runtime ends, or that the meter panicked: then nothing is
            // released, and the wait continues.
            let _called = tokio::task::spawn_blocking(move || call(&*meter)).await;
        }
    }
}

#[cfg(test)]
mod tests;
