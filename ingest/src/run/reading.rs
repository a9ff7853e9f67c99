//! The task that reads the source, and the one that tells when an epoch's time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc::{Sender, WeakSender};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::warn;

use super::{Context, Ending, QUEUE_KIB, Work};
use crate::assemble::Position;
use crate::source::{Input, Raw, Source};

/// How much of the source was read.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Bytes in all plus one; 0: not known.
    total_plus_1: AtomicU64,
    read: AtomicU64,
}

impl Extent {
    fn set(&self, (total, read): (Option<u64>, u64)) {
        let total_plus_1 = total.map_or(0, |total| total + 1);
        self.total_plus_1.store(total_plus_1, Ordering::Relaxed);
        self.read.store(read, Ordering::Relaxed);
    }

    /// Bytes in all, if known, and bytes read.
    pub(super) fn get(&self) -> (Option<u64>, u64) {
        let total = self.total_plus_1.load(Ordering::Relaxed).checked_sub(1);
        (total, self.read.load(Ordering::Relaxed))
    }
}

/// Hands on what the source gives, in order.
pub(super) struct Reading<'a> {
    pub(super) context: &'a Context,
    pub(super) work: Sender<Work>,
    /// KiB that may still wait in the queue.
    pub(super) room: Arc<Semaphore>,
    /// The assembler found the connection to be of no use.
    pub(super) reconnect: &'a Notify,
    pub(super) extent: &'a Extent,
    /// Whether the source said that it brings no new frame.
    pub(super) is_stuck: bool,
}

impl Reading<'_> {
    /// Reads until the stream ends, or `stop`. Gives up the queue at its end, so that the assembler ends, too.
    pub(super) async fn read(&mut self, source: &mut dyn Source) -> Ending {
        let (ending, last) = loop {
            let input = tokio::select! {
                biased;
                () = self.context.stop.cancelled() => break (Ending::Stopped, false),
                () = self.reconnect.notified() => Ok(Input::Disconnected),
                input = source.next() => input,
            };
            let sent = match input {
                Ok(Input::Batch(batch)) => {
                    self.extent.set(source.extent());
                    self.stuck(None);
                    self.hand_on(batch).await
                }
                Ok(Input::Connected) => {
                    self.context.metrics.connected(true);
                    true
                }
                Ok(Input::Stuck(why)) => {
                    warn!(host = %source.host(), why, "reading is stuck");
                    self.stuck(Some(why));
                    true
                }
                Ok(Input::Unavailable) => break (Ending::Unavailable, false),
                Ok(Input::Disconnected) => self.go_on(source).await,
                Ok(Input::End) => break (Ending::Ended, true),
                Err(error) => break (Ending::Source(error), true),
            };
            if !sent {
                return Ending::Stopped;
            }
        };
        self.stuck(None);
        let _receiver_gone = self.work.send(Work::End { last }).await;
        ending
    }

    /// Waits for room by bytes, then for room by batches; false if nobody takes them any more.
    async fn hand_on(&self, batch: Vec<Raw>) -> bool {
        let bytes = batch.iter().map(Raw::len).sum::<usize>();
        let kib = u32::try_from(bytes >> 10).unwrap_or(QUEUE_KIB);
        let room = self.room.clone();
        let room = room.acquire_many_owned(kib.min(QUEUE_KIB)).await;
        let room = room.expect("it is never closed");
        self.work.send(Work::Batch(batch, room)).await.is_ok()
    }

    fn stuck(&mut self, why: Option<String>) {
        if why.is_some() != std::mem::replace(&mut self.is_stuck, why.is_some()) {
            self.context.metrics.stuck(why.is_some());
            self.context.status.stuck(why);
        }
    }

    /// Waits until all that was handed on is judged, and lets the source go on from there.
    async fn go_on(&mut self, source: &mut dyn Source) -> bool {
        self.context.metrics.connected(false);
        let (reply, position): (_, oneshot::Receiver<Position>) = oneshot::channel();
        if self.work.send(Work::Lost(reply)).await.is_err() {
            return false;
        }
        let Ok(position) = position.await else {
            return false;
        };
        // What the assembler disliked of the lost connection does not concern the next one.
        let _of_the_lost_one = self.reconnect.notified().now_or_never();
        source.seek(position, 0);
        true
    }
}

/// Tells the assembler again and again that an epoch's time is over, until the queue is gone.
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
