//! The accounts at the audited epoch, one shard after another: those of the checkpoint, and the log
//! after it.
//!
//! The events of several shards are held in memory at once. If they take too much memory, the
//! shards are read in groups, and the log once for each group. If all fit, the log is read once.

use std::ops::Range;
use std::time::Duration;

use skytide_core::event::{Event, Message, Tick};
use skytide_core::id::{Epoch, Seq};
use skytide_core::live::LiveTotals;
use skytide_core::port::checkpoint::{Manifest, tick_hash};
use skytide_core::port::log::LogReader;
use skytide_core::port::store::Committed;
use skytide_core::time::Timestamp;
use tokio::time::timeout;

use super::base::Base;
use super::pace::Pace;
use super::{AuditError, Request, Sources, options_of};
use crate::recount::{EpochInput, History, Policy};

/// The number of messages read at once.
const READ_MESSAGES_MAX: usize = 4_096;
/// How long the log may take to return messages that it contains.
const READ_MAX: Duration = Duration::from_secs(30);

/// The accounts of a checkpoint and the log after it.
pub(super) struct Replay<'a> {
    sources: &'a Sources,
    base: Base,
    committed: Committed,
    policy: Policy,
    pace: &'a Pace,
    /// The memory that events of the log may take, in bytes. The events of one shard may take more.
    event_bytes_max: u64,
    /// The accounts of one shard. The totals are those at the audited epoch after a pass.
    history: History,
    /// The totals before a pass, with what ingest counted; `None` before the log was read.
    start: Option<History>,
    /// The events of a group of shards: for each shard, its epochs in order.
    group: Vec<Vec<(Epoch, Vec<Event>)>>,
    /// The shards of the group.
    shards: Range<u16>,
    /// The next shard of the group.
    next: u16,
    /// The newest epoch at which lists were written, and its network time.
    lists_at: Option<(Epoch, Timestamp)>,
    events: u64,
    event_bytes: u64,
    live_records: u64,
}

impl<'a> Replay<'a> {
    /// Reads the first group.
    pub(super) async fn new(
        sources: &'a Sources,
        base: Base,
        committed: &Committed,
        request: &Request,
        pace: &'a Pace,
    ) -> Result<Self, AuditError> {
        let policy = options_of(committed)?.policy;
        let mut replay = Self {
            sources,
            base,
            committed: committed.clone(),
            policy,
            pace,
            event_bytes_max: request.event_bytes(),
            history: History::new(policy),
            start: None,
            group: Vec::new(),
            shards: 0..0,
            next: 0,
            lists_at: None,
            events: 0,
            event_bytes: 0,
            live_records: 0,
        };
        replay.begin_pass().await?;
        Ok(replay)
    }

    /// Starts over with the first shard.
    pub(super) async fn begin_pass(&mut self) -> Result<(), AuditError> {
        if self.shards.start != 0 || self.group.is_empty() || self.next != 0 {
            self.history = match &self.start {
                Some(start) => start.without_accounts(),
                None => {
                    let mut history = History::new(self.policy);
                    history.load_totals(self.totals().await?);
                    history
                }
            };
            self.live_records = 0;
            if self.shards.start != 0 || self.group.is_empty() {
                self.read_group(0..self.sources.sections.shards()).await?;
            }
        }
        self.next = 0;
        Ok(())
    }

    /// Loads the accounts of the next shard and calls `at` with them: at the epoch of the lists, and
    /// at the audited epoch. Returns `false` if there are no more shards.
    pub(super) async fn next_shard(
        &mut self,
        mut at: impl FnMut(&History, bool, bool),
    ) -> Result<bool, AuditError> {
        if self.next == self.shards.end {
            let shards = self.sources.sections.shards();
            if self.next == shards {
                return Ok(false);
            }
            self.read_group(self.next..shards).await?;
        }
        let shard = self.next;
        self.load(shard, true, &mut at).await?;
        self.live_records += self.history.live_records() as u64;
        self.history.clear_accounts();
        self.next += 1;
        Ok(true)
    }

    /// Loads the accounts of a shard of the group at the audited epoch, without counting totals.
    pub(super) async fn peek(&mut self, shard: u16) -> Result<&mut History, AuditError> {
        self.history.clear_accounts();
        self.load(shard, false, &mut |_, _, _| {}).await?;
        Ok(&mut self.history)
    }

    /// The shards that can be peeked at.
    pub(super) fn group(&self) -> Range<u16> {
        self.shards.clone()
    }

    /// Network time at the audited epoch.
    pub(super) fn now(&self) -> Timestamp {
        self.committed.time
    }

    /// The newest epoch at which lists were written, and its network time; `None` if it is before
    /// the checkpoint.
    pub(super) fn lists_at(&self) -> Option<(Epoch, Timestamp)> {
        self.lists_at
    }

    /// The totals at the audited epoch, after a pass.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// The checkpoint that is used.
    pub(super) fn checkpoint(&self) -> Option<Epoch> {
        self.base.manifest().map(|it| it.first.epoch)
    }

    /// The bytes of its sections.
    pub(super) fn section_bytes(&self) -> u64 {
        let sections = self.base.manifest().into_iter();
        let sections = sections.flat_map(|it| &it.sections);
        sections.map(|section| section.bytes).sum()
    }

    /// The bytes of the events of the log, in memory.
    pub(super) fn event_bytes(&self) -> u64 {
        self.event_bytes
    }

    /// The commit whose rows are audited.
    pub(super) fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Pauses the audit.
    pub(super) fn pace(&self) -> &'a Pace {
        self.pace
    }

    /// The events that were applied.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// The live records at the audited epoch, after a pass.
    pub(super) fn live_records(&self) -> u64 {
        self.live_records
    }

    async fn load(
        &mut self,
        shard: u16,
        counts_totals: bool,
        at: &mut impl FnMut(&History, bool, bool),
    ) -> Result<(), AuditError> {
        self.load_sections(shard).await?;
        let manifest = self.base.manifest();
        let through = manifest.and_then(|it| it.through.get(usize::from(shard)));
        let through = through.copied().unwrap_or_default();
        let totals_through = self.totals_through();
        let lists_at = self.lists_at.map(|(epoch, _)| epoch);
        let mut listed = false;
        for (epoch, events) in &self.group[usize::from(shard)] {
            if !listed && lists_at.is_some_and(|lists_at| lists_at < *epoch) {
                at(&self.history, true, false);
                listed = true;
            }
            if *epoch > through {
                self.history
                    .count_totals(counts_totals && *epoch > totals_through);
                self.history.apply(events);
            }
        }
        at(&self.history, !listed, true);
        Ok(())
    }

    async fn load_sections(&mut self, shard: u16) -> Result<(), AuditError> {
        let reader = &self.sources.sections;
        let Some(checkpoint) = &self.base.checkpoint else {
            return Ok(());
        };
        let mut sections = Vec::new();
        for section in &checkpoint.manifest().sections {
            if reader.shard(&section.name) == Some(shard) {
                let bytes = checkpoint.read(section).await?;
                sections.push((section.name.clone(), bytes));
            }
        }
        let accounts = reader.accounts(sections);
        let accounts = accounts.map_err(|why| AuditError::Section {
            checkpoint: checkpoint.manifest().first.epoch.0,
            name: format!("of shard {shard}"),
            why,
        })?;
        for account in accounts {
            self.history.load(account);
        }
        Ok(())
    }

    /// The totals of the checkpoint.
    async fn totals(&self) -> Result<LiveTotals, AuditError> {
        let reader = &self.sources.sections;
        let mut totals = LiveTotals::default();
        let Some(checkpoint) = &self.base.checkpoint else {
            return Ok(totals);
        };
        for section in &checkpoint.manifest().sections {
            if reader.shard(&section.name).is_some() {
                continue;
            }
            let bytes = checkpoint.read(section).await?;
            let read = reader.totals(&bytes).map_err(|why| AuditError::Section {
                checkpoint: checkpoint.manifest().first.epoch.0,
                name: section.name.to_string(),
                why,
            })?;
            totals.add(read);
        }
        Ok(totals)
    }

    /// Reads the log for the events of as many of these shards as fit in memory. The first time,
    /// also counts what ingest counted.
    async fn read_group(&mut self, mut shards: Range<u16>) -> Result<(), AuditError> {
        let is_first = self.start.is_none();
        let all = self.sources.sections.shards();
        self.group = (0..all).map(|_| Vec::new()).collect();
        let totals_through = self.totals_through();
        let mut log = self.open_log().await?;
        let (mut bytes, mut all_bytes, mut events) = (0, 0, 0);
        while log.newest < self.committed.epoch {
            let epoch = log.next_epoch().await?;
            let number = epoch.tick().epoch;
            self.check_cut(epoch.tick())?;
            if is_first {
                self.history.assign_names(&epoch);
                if number > totals_through {
                    self.history.count_ingest(&epoch);
                }
                events += epoch.events().len() as u64;
            }
            for event in epoch.into_events() {
                let shard = event.did.partition(all);
                all_bytes += event.bytes() as u64;
                if !shards.contains(&shard) {
                    continue;
                }
                bytes += event.bytes() as u64;
                let epochs = &mut self.group[usize::from(shard)];
                match epochs.last_mut() {
                    Some((epoch, events)) if *epoch == number => events.push(event),
                    _ => epochs.push((number, vec![event])),
                }
            }
            while bytes > self.event_bytes_max && shards.len() > 1 {
                let half = shards.start + shards.len().div_ceil(2) as u16;
                let dropped = &mut self.group[usize::from(half)..usize::from(shards.end)];
                let dropped = dropped.iter_mut().flat_map(std::mem::take);
                let events = dropped.flat_map(|(_, events)| events);
                bytes -= events.map(|event| event.bytes() as u64).sum::<u64>();
                shards.end = half;
            }
        }
        self.check(log.tick.as_ref())?;
        if is_first {
            // Before its last cut, a checkpoint does not have all accounts at one epoch.
            let lists_at = log.lists_at.filter(|(epoch, _)| *epoch >= totals_through);
            (self.lists_at, self.events, self.event_bytes) = (lists_at, events, all_bytes);
            self.start = Some(self.history.without_accounts());
        }
        self.next = shards.start;
        self.shards = shards;
        Ok(())
    }

    /// The last epoch that the totals of the checkpoint include.
    fn totals_through(&self) -> Epoch {
        self.base.manifest().map_or(Epoch(0), |it| it.last.epoch)
    }

    /// Opens the log after the first cut of the checkpoint, or at its first message.
    async fn open_log(&self) -> Result<LogEpochs<'a>, AuditError> {
        let reader = self.sources.log.reader(self.base.from).await?;
        let mut log = LogEpochs {
            reader,
            pace: self.pace,
            at: self.base.from,
            messages: Vec::new().into_iter(),
            newest: Epoch(0),
            tick: None,
            lists_at: None,
        };
        let Some(manifest) = self.base.manifest() else {
            return Ok(log);
        };
        // Messages before the tick may share its position.
        let epoch = log.next_tick().await?;
        let tick = epoch.tick();
        if tick.epoch != manifest.first.epoch || tick_hash(tick) != manifest.first.hash {
            return Err(other_history(manifest, tick));
        }
        self.check_cut(tick)?;
        log.start_after(tick.clone());
        Ok(log)
    }

    /// Checks that the log has the tick of the checkpoint's last cut. It has another one if it lost
    /// messages after the first cut.
    fn check_cut(&self, tick: &Tick) -> Result<(), AuditError> {
        let Some(manifest) = self.base.manifest() else {
            return Ok(());
        };
        let last = &manifest.last;
        let is_other = || last.tick_hash.is_some_and(|hash| hash != tick_hash(tick));
        match tick.epoch == last.epoch && is_other() {
            true => Err(other_history(manifest, tick)),
            false => Ok(()),
        }
    }

    /// Checks that the newest tick that was read is that of the audited commit.
    fn check(&self, tick: Option<&Tick>) -> Result<(), AuditError> {
        let expected = self.committed.tick_hash;
        let is_same = tick.is_none_or(|tick| {
            tick.epoch == self.committed.epoch
                && expected.is_none_or(|expected| expected == tick_hash(tick))
        });
        match is_same {
            true => Ok(()),
            false => Err(AuditError::Replaced(self.committed.epoch.0)),
        }
    }
}

/// The log has another tick than this checkpoint counts.
fn other_history(manifest: &Manifest, tick: &Tick) -> AuditError {
    AuditError::OtherHistory {
        checkpoint: manifest.first.epoch.0,
        epoch: tick.epoch.0,
    }
}

/// Reads the epochs of the log.
struct LogEpochs<'a> {
    reader: Box<dyn LogReader>,
    pace: &'a Pace,
    /// The position of the last message that was read.
    at: Seq,
    messages: std::vec::IntoIter<(Seq, Message)>,
    /// The newest epoch that was read.
    newest: Epoch,
    /// Its tick.
    tick: Option<Tick>,
    lists_at: Option<(Epoch, Timestamp)>,
}

impl LogEpochs<'_> {
    /// Continues after a tick. Whether it begins a second is not known.
    fn start_after(&mut self, tick: Tick) {
        self.newest = tick.epoch;
        let writes_lists = tick.idle || tick.last;
        self.lists_at = writes_lists.then_some((tick.epoch, tick.time));
        self.tick = Some(tick);
    }

    /// Reads the next epoch, which must follow the newest one.
    async fn next_epoch(&mut self) -> Result<EpochInput, AuditError> {
        let epoch = self.next_tick().await?;
        let tick = epoch.tick();
        if tick.epoch.0 != self.newest.0 + 1 {
            return Err(AuditError::NoBase {
                epoch: tick.epoch.0,
            });
        }
        let before = self.tick.as_ref().map(|tick| tick.time.second());
        let new_second = before.is_none_or(|before| before < tick.time.second());
        if new_second || tick.idle || tick.last {
            self.lists_at = Some((tick.epoch, tick.time));
        }
        self.newest = tick.epoch;
        self.tick = Some(tick.clone());
        Ok(epoch)
    }

    /// Reads up to the next tick.
    async fn next_tick(&mut self) -> Result<EpochInput, AuditError> {
        let mut events = Vec::new();
        loop {
            let Some((seq, message)) = self.messages.next() else {
                self.pace.pause().await?;
                let reading = timeout(READ_MAX, self.reader.next(READ_MESSAGES_MAX));
                let messages = reading.await.map_err(|_| AuditError::LogWaits {
                    after: self.at,
                    seconds: READ_MAX.as_secs(),
                })?;
                self.messages = messages?.into_iter();
                continue;
            };
            self.at = seq;
            match message {
                Message::Event(event) => events.push(event),
                Message::Tick(tick) => return Ok(EpochInput::new(events, tick)),
            }
        }
    }
}
