//! Whether the log still has the messages that a store or a checkpoint was computed from.

use skytide_core::event::{Message, Tick};
use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::tick_hash;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader};
use skytide_core::port::store::{Committed, Control};

/// Where the log begins and ends.
pub struct LogEnds {
    pub bounds: Bounds,
    /// Position of the newest tick. The messages after it do not form an epoch yet.
    newest_tick: Option<Seq>,
}

/// A tick as a store or a checkpoint recorded it.
pub struct RecordedTick {
    pub log_id: u64,
    pub seq: Seq,
    pub epoch: Epoch,
    /// The tick's hash. `None` if it was not recorded; then position and epoch identify the tick.
    pub hash: Option<u64>,
}

/// What the log has at the position of a recorded tick.
pub enum LogMatch {
    /// The same tick. Holds the log after it.
    Same(LogPosition),
    /// The log begins after the tick.
    Trimmed,
    /// The newest tick of the log is before the recorded one.
    Lost,
    /// The log has another message there.
    Replaced,
    /// The tick was recorded from another log.
    OtherLog,
}

/// A position in the log, after a tick.
pub struct LogPosition {
    /// The log, after the messages in `read_ahead`.
    pub reader: Box<dyn LogReader>,
    /// Messages after the tick that have been read already.
    pub read_ahead: Vec<(Seq, Message)>,
}

/// How the view store relates to the log.
pub enum StoreState {
    /// The store has no rows, and no commit was begun.
    Empty,
    /// The last commit ends at this epoch of the log. If a commit was begun after it, the log has
    /// its tick, too.
    Matches(Epoch),
    /// The rows come, or may come, from another history of the log.
    Differs {
        /// The reason, for the warning.
        why: String,
        /// The epoch of the last commit, if the rows were computed from another log.
        other_log: Option<Epoch>,
    },
}

impl LogEnds {
    /// Reads the current ends of the log.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn read(log: &dyn Log) -> Result<Self, LogError> {
        let bounds = log.bounds().await?;
        let newest_tick = log.newest_tick().await?.map(|(seq, _)| seq);
        Ok(Self {
            bounds,
            newest_tick,
        })
    }

    /// Looks for a recorded tick.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn find(&self, log: &dyn Log, recorded: &RecordedTick) -> Result<LogMatch, LogError> {
        if recorded.log_id != self.bounds.id {
            return Ok(LogMatch::OtherLog);
        }
        if recorded.seq < self.bounds.first {
            return Ok(LogMatch::Trimmed);
        }
        let Some(newest) = self.newest_tick_from(log, recorded.seq).await? else {
            return Ok(LogMatch::Lost);
        };
        let mut reader = log.reader(recorded.seq).await?;
        loop {
            let mut messages = reader.next(64).await?;
            let found = messages.iter().position(|(seq, message)| {
                *seq == recorded.seq
                    && matches!(message, Message::Tick(tick) if recorded.matches(tick))
            });
            if let Some(found) = found {
                messages.drain(..=found);
                return Ok(LogMatch::Same(LogPosition {
                    reader,
                    read_ahead: messages,
                }));
            }
            // The messages after the newest tick may never reach a reader, for example a writer's
            // claim. So waiting for more could block forever.
            if messages.iter().any(|(seq, _)| *seq >= newest) {
                return Ok(LogMatch::Replaced);
            }
        }
    }

    /// The position of the newest tick, if it is not before `seq`.
    async fn newest_tick_from(&self, log: &dyn Log, seq: Seq) -> Result<Option<Seq>, LogError> {
        let reaches = |newest: &Seq| *newest >= seq;
        let newest = self.newest_tick.filter(reaches);
        if newest.is_some() {
            return Ok(newest);
        }
        // A log on several servers may lack its newest messages for a moment. Opening a reader
        // waits for them.
        match log.reader(seq).await {
            Ok(_) | Err(LogError::Ahead { .. }) => {}
            Err(error) => return Err(error),
        }
        let newest = log.newest_tick().await?.map(|(seq, _)| seq);
        Ok(newest.filter(reaches))
    }
}

impl RecordedTick {
    /// The tick at the end of a commit.
    pub fn of(committed: &Committed) -> Self {
        Self {
            log_id: committed.log_id,
            seq: committed.log_seq,
            epoch: committed.epoch,
            hash: committed.tick_hash,
        }
    }

    fn matches(&self, tick: &Tick) -> bool {
        match self.hash {
            Some(hash) => tick_hash(tick) == hash,
            None => tick.epoch == self.epoch,
        }
    }
}

impl StoreState {
    /// The state of a store with this control record.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn of(control: &Control, log: &dyn Log, ends: &LogEnds) -> Result<Self, LogError> {
        let Some(committed) = &control.committed else {
            return Ok(match control.intent {
                None => Self::Empty,
                Some(epoch) => Self::differs(format!(
                    "a commit of all rows, up to epoch {epoch}, was begun and not completed"
                )),
            });
        };
        let epoch = committed.epoch;
        let differs = match ends.find(log, &RecordedTick::of(committed)).await? {
            LogMatch::Same(_) => return Self::check_intent(control, committed, log, ends).await,
            LogMatch::Trimmed => {
                format!("its last commit, at epoch {epoch}, is before the log's beginning")
            }
            LogMatch::Lost => {
                format!(
                    "its last commit, at epoch {epoch}, is after the end of the log, which lost \
                     messages"
                )
            }
            LogMatch::Replaced => {
                format!(
                    "the log lost epoch {epoch}, at which its last commit ends, and has another \
                     one there"
                )
            }
            LogMatch::OtherLog => {
                return Ok(Self::Differs {
                    why: format!("it was computed from another log, up to epoch {epoch}"),
                    other_log: Some(epoch),
                });
            }
        };
        Ok(Self::differs(differs))
    }

    /// The last commit matches. Checks the commit that was begun after it, which may have written
    /// rows, too.
    async fn check_intent(
        control: &Control,
        committed: &Committed,
        log: &dyn Log,
        ends: &LogEnds,
    ) -> Result<Self, LogError> {
        let matches = Ok(Self::Matches(committed.epoch));
        let (Some(epoch), Some(tick)) = (control.intent, control.intent_tick) else {
            return matches;
        };
        let recorded = RecordedTick {
            log_id: committed.log_id,
            seq: tick.log_seq,
            epoch,
            hash: Some(tick.tick_hash),
        };
        match ends.find(log, &recorded).await? {
            LogMatch::Same(_) => matches,
            _ => Ok(Self::differs(format!(
                "it may have rows of a commit that was begun up to epoch {epoch}, which the log \
                 has lost"
            ))),
        }
    }

    fn differs(why: String) -> Self {
        Self::Differs {
            why,
            other_log: None,
        }
    }

    /// The state relative to a checkpoint that matches the log and ends at `checkpoint`. A store
    /// that ends before the checkpoint differs: replay starts at the checkpoint, so it cannot bring
    /// that store up to date.
    pub fn older_than(self, checkpoint: Epoch) -> Self {
        match self {
            Self::Matches(epoch) if epoch < checkpoint => Self::differs(format!(
                "it is at epoch {epoch}, before the newest checkpoint at epoch {checkpoint}: an \
                 older copy of it was put back"
            )),
            other => other,
        }
    }
}
