//! Whether the log still has what a store or a checkpoint was computed from.

use skytide_core::event::{Message, Tick};
use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::tick_hash;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader};
use skytide_core::port::store::{Committed, Control};

/// Where the log begins and ends.
pub struct LogEnds {
    pub bounds: Bounds,
    /// Position of the newest tick: what comes after it is no epoch yet.
    newest_tick: Option<Seq>,
}

/// A tick that was recorded when it was read.
pub struct Recorded {
    pub log_id: u64,
    pub seq: Seq,
    pub epoch: Epoch,
    /// `None`: not recorded, so its position and epoch must do.
    pub hash: Option<u64>,
}

/// How the log stands to a tick that was recorded.
pub enum Standing {
    /// It has the tick. The log after it.
    Same(Place),
    /// It begins after the tick.
    Trimmed,
    /// Its newest tick is before it.
    Lost,
    /// It has something else there.
    Replaced,
    /// It is another log.
    OtherLog,
}

/// The log after a tick: a reader, and messages that were read already.
pub type Place = (Box<dyn LogReader>, Vec<(Seq, Message)>);

/// What the view store is to this log.
pub enum StoreState {
    /// It has no row, and nobody began to write one.
    Empty,
    /// Its last commit ends at this epoch of the log. So does a commit that was begun, at a later one.
    Matches(Epoch),
    /// Its rows are, or may be, of another history.
    Differs {
        /// Why.
        why: String,
        /// If they are of another log: the epoch of the last commit.
        other_log: Option<Epoch>,
    },
}

impl LogEnds {
    /// As they are now.
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

    /// Looks for a tick.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn find(&self, log: &dyn Log, recorded: &Recorded) -> Result<Standing, LogError> {
        if recorded.log_id != self.bounds.id {
            return Ok(Standing::OtherLog);
        }
        if recorded.seq < self.bounds.first {
            return Ok(Standing::Trimmed);
        }
        let Some(newest) = self.newest_tick_from(log, recorded.seq).await? else {
            return Ok(Standing::Lost);
        };
        let mut reader = log.reader(recorded.seq).await?;
        loop {
            let mut messages = reader.next(64).await?;
            let found = messages.iter().position(|(seq, message)| {
                *seq == recorded.seq && matches!(message, Message::Tick(tick) if recorded.is(tick))
            });
            if let Some(found) = found {
                messages.drain(..=found);
                return Ok(Standing::Same((reader, messages)));
            }
            // After the newest tick there may be messages that no reader gets, such as a writer's claim: waiting for more
            // could take for ever.
            if messages.iter().any(|(seq, _)| *seq >= newest) {
                return Ok(Standing::Replaced);
            }
        }
    }

    /// The newest tick, if it is at this position or after it.
    async fn newest_tick_from(&self, log: &dyn Log, seq: Seq) -> Result<Option<Seq>, LogError> {
        let reaches = |newest: &Seq| *newest >= seq;
        let newest = self.newest_tick.filter(reaches);
        if newest.is_some() {
            return Ok(newest);
        }
        // A log on several servers may lack its newest messages for a moment, and waits for them here.
        match log.reader(seq).await {
            Ok(_) | Err(LogError::Ahead { .. }) => {}
            Err(error) => return Err(error),
        }
        let newest = log.newest_tick().await?.map(|(seq, _)| seq);
        Ok(newest.filter(reaches))
    }
}

impl Recorded {
    /// The end of a commit.
    pub fn of(committed: &Committed) -> Self {
        Self {
            log_id: committed.log_id,
            seq: committed.log_seq,
            epoch: committed.epoch,
            hash: committed.tick_hash,
        }
    }

    fn is(&self, tick: &Tick) -> bool {
        match self.hash {
            Some(hash) => tick_hash(tick) == hash,
            None => tick.epoch == self.epoch,
        }
    }
}

impl StoreState {
    /// What a store with this control record is.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn of(control: &Control, log: &dyn Log, ends: &LogEnds) -> Result<Self, LogError> {
        let Some(committed) = &control.committed else {
            return Ok(match control.intent {
                None => Self::Empty,
                Some(epoch) => Self::differs(format!(
                    "its writer began to write all rows, up to epoch {epoch}, and did not finish"
                )),
            });
        };
        let epoch = committed.epoch;
        let differs = match ends.find(log, &Recorded::of(committed)).await? {
            Standing::Same(_) => return Self::begun(control, committed, (log, ends)).await,
            Standing::Trimmed => {
                format!("its last commit, at epoch {epoch}, is before the log's beginning")
            }
            Standing::Lost => {
                format!(
                    "its last commit, at epoch {epoch}, is after the end of the log, which lost messages"
                )
            }
            Standing::Replaced => {
                format!("the log lost epoch {epoch}, its last commit, and has others there")
            }
            Standing::OtherLog => {
                return Ok(Self::Differs {
                    why: format!("it was computed from another log, up to epoch {epoch}"),
                    other_log: Some(epoch),
                });
            }
        };
        Ok(Self::differs(differs))
    }

    /// The last commit matches. One that was begun after it has rows in the store, too.
    async fn begun(
        control: &Control,
        committed: &Committed,
        (log, ends): (&dyn Log, &LogEnds),
    ) -> Result<Self, LogError> {
        let matches = Ok(Self::Matches(committed.epoch));
        let (Some(epoch), Some(tick)) = (control.intent, control.intent_tick) else {
            return matches;
        };
        let recorded = Recorded {
            log_id: committed.log_id,
            seq: tick.log_seq,
            epoch,
            hash: Some(tick.tick_hash),
        };
        match ends.find(log, &recorded).await? {
            Standing::Same(_) => matches,
            _ => Ok(Self::differs(format!(
                "it has rows of a commit that was begun up to epoch {epoch}, which the log has lost"
            ))),
        }
    }

    fn differs(why: String) -> Self {
        Self::Differs {
            why,
            other_log: None,
        }
    }

    /// The same next to a checkpoint that matches the log and ends at `checkpoint`: a store that ends before it cannot be
    /// brought up to date from there.
    pub fn older_than(self, checkpoint: Epoch) -> Self {
        match self {
            Self::Matches(epoch) if epoch < checkpoint => Self::differs(format!(
                "it is at epoch {epoch}, before the newest checkpoint, which is at epoch {checkpoint}: an older copy of it \
                 was put back"
            )),
            other => other,
        }
    }
}
