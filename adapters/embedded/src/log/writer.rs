//! The one writer: appends, syncs, begins new segments, waits while the log is full.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::port::log::{LogError, LogWriter};

use super::super::folder::{DataDirError, Hold};
use super::segment::{self, HEADER_BYTES, Segment, Slot, Synced};
use super::{LogOptions, POLL, Shared, blocking, failed, frame, recovery};

/// The file that the writer has locked. The lock ends with the process.
const LOCK: &str = "writer.lock";

/// Takes the right to write, and recovers the log: it is whole and durable then.
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

/// The end of the log. Dropped on any error: what it believed may then be wrong.
#[derive(Debug)]
pub struct Tail {
    folder: PathBuf,
    options: LogOptions,
    segment: Segment,
    /// How far the segment is durable.
    synced: Synced,
    /// How far it is written.
    written: Synced,
    /// Which of the two slots is next.
    next_slot: Slot,
    /// Bytes of the segments in front of this one, as far as we know.
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
            frame::push(&mut self.buffer, next, message)
                .map_err(|bytes| failed("append")(format!("a message has {bytes} bytes")))?;
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
        self.written = Synced {
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

    /// Ends this segment, with both slots at its end, and begins the next one.
    fn roll(&mut self) -> Result<(), LogError> {
        self.sync()?;
        for slot in [Slot::First, Slot::Second] {
            let written = self.segment.write_slot(slot, self.written);
            written.map_err(failed("end a segment"))?;
        }
        self.sync()?;
        let next = self.written.next;
        self.segment = Segment::create(&self.folder, self.segment.log_id, next)?;
        self.written = Synced {
            end: HEADER_BYTES,
            next,
            tick: None,
        };
        self.synced = self.written;
        self.other_segments_bytes = segment::total_bytes(&self.folder)? - HEADER_BYTES;
        Ok(())
    }

    /// Whether the log is at its limit, as far as we know.
    fn seems_full(&self) -> bool {
        self.other_segments_bytes + self.written.end >= self.options.bytes_max
    }

    /// Whether it is at its limit: looks at what was trimmed, and ends the open segment, so that this one can be
    /// trimmed, too.
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
    /// `None`: spent by an error, or by a caller that did not wait for the end.
    tail: Option<Tail>,
}

impl Writer {
    /// Appends behind what `tail` recovered.
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
        let unusable = || failed("write")("this writer met an error before");
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
                tracing::warn!(bytes_max, "the log is at its size limit: appending waits");
            }
            changed.mark_unchanged();
            // Another process may trim: no word of it comes here.
            let _ = tokio::time::timeout(POLL, changed.changed()).await;
        }
        if self.shared.full.swap(false, Ordering::Relaxed) {
            tracing::warn!("the log was trimmed: appending goes on");
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
