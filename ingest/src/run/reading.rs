//! The task that reads the source, and the task that ends epochs by time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc::{Sender, WeakSender};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::warn;

use super::{Context, QUEUE_KIB, SessionEnd, Work};
use crate::assemble::Position;
use crate::source::{Input, Raw, Source};

/// The number of bytes read of the source, and their total.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Total bytes plus one; 0 if the total is unknown.
    total_plus_1: AtomicU64,
    read: AtomicU64,
}

impl Extent {
    fn set(&self, (total, read): (Option<u64>, u64)) {
        let total_plus_1 = total.map_or(0, |total| total + 1);
        self.total_plus_1.store(total_plus_1, Ordering::Relaxed);
        self.read.store(read, Ordering::Relaxed);
    }

    /// Total bytes, if known, and bytes read.
    pub(super) fn get(&self) -> (Option<u64>, u64) {
        let total = self.total_plus_1.load(Ordering::Relaxed).checked_sub(1);
        (total, self.read.load(Ordering::Relaxed))
    }
}

/// Forwards the messages of the source to the assembler, in order.
pub(super) struct ReadTask<'a> {
    pub(super) context: &'a Context,
    pub(super) work: Sender<Work>,
    /// The free space of the queue, in KiB.
    pub(super) room: Arc<Semaphore>,
    /// The assembler requests a new connection, because the current one is unusable.
    pub(super) reconnect: &'a Notify,
    pub(super) extent: &'a Extent,
    /// Whether the source reported that it cannot read further at present.
    pub(super) is_stuck: bool,
}

impl ReadTask<'_> {
    /// Reads until the stream ends or `stop` is cancelled, then sends [`Work::End`], which ends the
    /// assembler.
    pub(super) async fn read(&mut self, source: &mut dyn Source) -> SessionEnd {
        let (ending, last) = loop {
            let input = tokio::select! {
                biased;
                () = self.context.stop.cancelled() => break (SessionEnd::Stopped, false),
                () = self.reconnect.notified() => Ok(Input::Disconnected),
                input = source.next() => input,
            };
            let sent = match input {
                Ok(Input::Batch(batch)) => {
                    self.extent.set(source.extent());
                    self.set_stuck(None);
                    self.forward(batch).await
                }
                Ok(Input::Connected) => {
                    self.context.metrics.connected(true);
                    true
                }
                Ok(Input::Stuck(why)) => {
                    warn!(host = %source.host(), why, "reading is stuck");
                    self.set_stuck(Some(why));
                    true
                }
                Ok(Input::Unavailable) => break (SessionEnd::Unavailable, false),
                Ok(Input::Disconnected) => self.resume(source).await,
                Ok(Input::End) => break (SessionEnd::Ended, true),
                Err(error) => break (SessionEnd::Source(error), true),
            };
            if !sent {
                return SessionEnd::Stopped;
            }
        };
        self.set_stuck(None);
        let _assembler_stopped = self.work.send(Work::End { last }).await;
        ending
    }

    /// Waits for free bytes, then for a free slot of the queue. Returns false if the assembler
    /// stopped.
    async fn forward(&self, batch: Vec<Raw>) -> bool {
        let arrived = std::time::Instant::now();
        let bytes = batch.iter().map(Raw::len).sum::<usize>();
        let kib = u32::try_from(bytes >> 10).unwrap_or(QUEUE_KIB);
        let room = self.room.clone();
        let room = room.acquire_many_owned(kib.min(QUEUE_KIB)).await;
        let room = room.expect("it is never closed");
        self.work
            .send(Work::Batch(batch, arrived, room))
            .await
            .is_ok()
    }

    fn set_stuck(&mut self, why: Option<String>) {
        if why.is_some() != std::mem::replace(&mut self.is_stuck, why.is_some()) {
            self.context.metrics.stuck(why.is_some());
            self.context.status.stuck(why);
        }
    }

    /// Waits until the assembler has processed all forwarded messages, then resumes the source
    /// after them.
    async fn resume(&mut self, source: &mut dyn Source) -> bool {
        self.context.metrics.connected(false);
        let (reply, position): (_, oneshot::Receiver<Position>) = oneshot::channel();
        if self.work.send(Work::Lost(reply)).await.is_err() {
            return false;
        }
        let Ok(position) = position.await else {
            return false;
        };
        // A request to reconnect concerned the lost connection, so it is dropped.
        let _request_for_lost_connection = self.reconnect.notified().now_or_never();
        source.seek(position, 0);
        true
    }
}

/// Sends the assembler a tick at each interval, until the queue is closed.
pub(super) async fn tick(work: WeakSender<Work>, every: Duration) {
    let mut interval = interval_at(Instant::now() + every, every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(work) = work.upgrade() else { return };
        if work.send(Work::Tick).await.is_err() {
            return;
        }
    }
}
