//! The writer: appends, syncs, starts new segments, and blocks while the log is full.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::port::log::{LogError, LogWriter};

use super::super::folder::{DataDirError, Hold};
use super::segment::{self, Extent, HEADER_BYTES, Segment, Slot};
use super::{LogOptions, POLL, Shared, blocking, failed, frame, recovery};

/// The lock file of the writer. The lock is released when the process exits.
const LOCK: &str = "writer.lock";

/// Takes the exclusive right to write and recovers the log. When this returns, all messages of the
/// log are complete and durable.
pub fn take_over(
    folder: &Path,
    options: LogOptions,
    new_id: impl Fn() -> u64,
) -> Result<Tail, LogError> {
    let lock = lock(folder)?;
    let segment = match recovery::check_chain(folder, true)? {
        Some(segment) => segment,
        None => Segment::create(folder, new_id(), 1)?,
    };
    let synced = recovery::recover(&segment)?;
    Ok(Tail {
        folder: folder.to_owned(),
        options,
        other_segments_bytes: segment::total_bytes(folder)? - segment.bytes()?,
        segment,
        synced,
        written: synced,
        next_slot: Slot::First,
        buffer: Vec::new(),
        _lock: lock,
    })
}

fn lock(folder: &Path) -> Result<Hold, LogError> {
    Hold::take(&folder.join(LOCK)).map_err(|error| match error {
        DataDirError::Held { .. } => LogError::Held,
        error => failed("lock")(error),
    })
}

/// The last segment and how far it is written. It is dropped after any error, because its numbers
/// may then be wrong.
#[derive(Debug)]
pub struct Tail {
    folder: PathBuf,
    options: LogOptions,
    segment: Segment,
    /// How far the segment is durable.
    synced: Extent,
    /// How far the segment is written.
    written: Extent,
    /// The slot to write at the next flush.
    next_slot: Slot,
    /// Bytes of all earlier segments when they were last listed. Trimming since then is not
    /// included.
    other_segments_bytes: u64,
    buffer: Vec<u8>,
    _lock: Hold,
}

impl Tail {
    fn append(&mut self, messages: &[Message]) -> Result<(), LogError> {
        self.buffer.clear();
        let (mut next, mut tick) = (self.written.next, None);
        for message in messages {
            if matches!(message, Message::Tick(_)) {
                tick = Some((self.buffer.len() as u64, next));
            }
            frame::push(&mut self.buffer, next, message).map_err(|bytes| {
                failed("append")(format!(
                    "a message has {bytes} bytes, the maximum is {}",
                    frame::MESSAGE_BYTES_MAX
                ))
            })?;
            next += 1;
        }
        let bytes = self.buffer.len() as u64;
        if self.written.end > HEADER_BYTES && self.written.end + bytes > self.options.segment_bytes
        {
            self.roll()?;
        }
        let write = self
            .segment
            .file
            .write_all_at(&self.buffer, self.written.end);
        write.map_err(failed("append"))?;
        self.written = Extent {
            end: self.written.end + bytes,
            next,
            tick: tick
                .map(|(offset, seq)| (self.written.end + offset, seq))
                .or(self.written.tick),
        };
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.written != self.synced {
            self.sync()?;
            let written = self.segment.write_slot(self.next_slot, self.written);
            written.map_err(failed("flush"))?;
            self.next_slot = self.next_slot.other();
            self.synced = self.written;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), LogError> {
        if self.options.sync {
            self.segment.file.sync_data().map_err(failed("flush"))?;
        }
        Ok(())
    }

    /// Completes this segment, with both slots at its end, and creates the next one.
    fn roll(&mut self) -> Result<(), LogError> {
        self.sync()?;
        for slot in [Slot::First, Slot::Second] {
            let written = self.segment.write_slot(slot, self.written);
            written.map_err(failed("complete a segment"))?;
        }
        self.sync()?;
        let next = self.written.next;
        self.segment = Segment::create(&self.folder, self.segment.log_id, next)?;
        self.written = Extent {
            end: HEADER_BYTES,
            next,
            tick: None,
        };
        self.synced = self.written;
        self.other_segments_bytes = segment::total_bytes(&self.folder)? - HEADER_BYTES;
        Ok(())
    }

    /// Whether the log is at its size limit, without considering recent trimming.
    fn seems_full(&self) -> bool {
        self.other_segments_bytes + self.written.end >= self.options.bytes_max
    }

    /// Whether the log is at its size limit, considering recent trimming. Also completes the
    /// current segment, so that it can be trimmed too.
    fn is_full(&mut self) -> Result<bool, LogError> {
        if self.written.end > HEADER_BYTES {
            self.roll()?;
        } else {
            self.other_segments_bytes = segment::total_bytes(&self.folder)? - self.written.end;
        }
        Ok(self.seems_full())
    }
}

/// A [`LogWriter`] of an [`EmbeddedLog`](super::EmbeddedLog).
pub struct Writer {
    shared: Arc<Shared>,
    /// `None` after an error, or after a caller dropped the future of an operation. The writer is
    /// then unusable.
    tail: Option<Tail>,
}

impl Writer {
    /// Creates a writer that appends after the messages that `tail` recovered.
    pub fn new(shared: Arc<Shared>, tail: Tail) -> Self {
        Self {
            shared,
            tail: Some(tail),
        }
    }

    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Tail) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let unusable = || failed("write")("this writer is unusable after an earlier error");
        let mut tail = self.tail.take().ok_or_else(unusable)?;
        let (tail, done) = blocking(move || {
            let done = work(&mut tail);
            (tail, done)
        })
        .await?;
        if done.is_ok() {
            self.tail = Some(tail);
        }
        done
    }

    async fn wait_for_room(&mut self) -> Result<(), LogError> {
        if !self.tail.as_ref().is_some_and(Tail::seems_full) {
            return Ok(());
        }
        let mut changed = self.shared.changed.subscribe();
        while self.run(Tail::is_full).await? {
            self.shared.changed.send_replace(());
            if !self.shared.full.swap(true, Ordering::Relaxed) {
                let bytes_max = self.shared.options.bytes_max;
                tracing::warn!(
                    bytes_max,
                    "the log is at its size limit: appending waits until it is trimmed"
                );
            }
            changed.mark_unchanged();
            // Another process may trim and cannot notify this one: so the wait has a time limit.
            let _ = tokio::time::timeout(POLL, changed.changed()).await;
        }
        if self.shared.full.swap(false, Ordering::Relaxed) {
            tracing::warn!("the log was trimmed: appending continues");
        }
        Ok(())
    }
}

#[async_trait]
impl LogWriter for Writer {
    async fn append(&mut self, messages: Vec<Message>) -> Result<(), LogError> {
        self.wait_for_room().await?;
        self.run(move |tail| tail.append(&messages)).await
    }

    async fn flush(&mut self) -> Result<Seq, LogError> {
        let next = self
            .run(|tail| tail.flush().map(|()| tail.written.next))
            .await?;
        self.shared.changed.send_replace(());
        Ok(Seq(next))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.full.store(false, Ordering::Relaxed);
    }
}
