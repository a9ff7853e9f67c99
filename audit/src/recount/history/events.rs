//! Applies the events of a log.

use std::cmp::Ordering;

use skytide_core::event::{Action, Body, DropReason, Event, Moved, Op, Origin, Tick};
use skytide_core::id::{Collection, Did, Tid};
use skytide_core::limits::KNOWN_COLLECTIONS;
use skytide_core::view::{ActivityKey, Span};

use super::{Account, Announced, History, Live};
use crate::recount::Policy;
use crate::recount::facts;

/// Maximum number of collections that get names of their own.
const NAMED_COLLECTIONS: usize = 500;

/// Whether a text in lower case has the syntax of a handle (<https://atproto.com/specs/handle>).
pub(super) fn is_domain_name(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    let inner = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    let label = |label: &&str| {
        (1..64).contains(&label.len())
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let top = labels.last().and_then(|top| top.chars().next());
    text.len() < 254
        && labels.len() > 1
        && labels.iter().all(label)
        && top.is_some_and(|first| first.is_ascii_lowercase())
}

/// How an announcement of another relay compares with the newest one: equal if it repeats it, less
/// if it was sent earlier. `None` if it is the next one.
fn repeated(origin: Origin, newest: Option<Origin>) -> Option<Ordering> {
    let newest = newest.filter(|newest| newest.relay != origin.relay)?;
    let order = origin.sent?.cmp(&newest.sent?);
    Some(order).filter(|order| order.is_le())
}

/// The events of an epoch in their order, and its tick.
#[derive(Debug)]
pub struct EpochInput {
    events: Vec<Event>,
    tick: Tick,
}

impl EpochInput {
    /// Sorts the events of the epoch and removes duplicates (the first copy counts).
    pub fn new(mut events: Vec<Event>, tick: Tick) -> Self {
        // A writer that crashes may leave events after its newest tick. They are written again,
        // perhaps in a later epoch.
        events.retain(|event| event.host != tick.host || event.seq <= tick.cursor);
        events.sort_by_key(|event| (event.host.clone(), event.seq, event.index));
        events.dedup_by_key(|event| (event.host.clone(), event.seq, event.index));
        Self { events, tick }
    }

    /// The tick that ends the epoch.
    pub fn tick(&self) -> &Tick {
        &self.tick
    }

    /// The events.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The events, in their order.
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }
}

/// Applying events.
impl History {
    /// Applies events of an epoch, which are in order: all of them, or all of some accounts.
    pub fn apply(&mut self, events: &[Event]) {
        for frame in events.chunk_by(|a, b| (&a.host, a.seq) == (&b.host, b.seq)) {
            self.apply_frame(frame);
        }
    }

    /// Adds what ingest counted in an epoch.
    pub fn count_ingest(&mut self, epoch: &EpochInput) {
        for (name, count) in &epoch.tick.counts {
            *self.totals.counters.entry(name.to_string()).or_default() += count;
        }
    }

    /// Adds the collections of these events to those that are counted under their own name, up to
    /// the maximum number. This also happens if an operation is not applied.
    pub fn assign_names(&mut self, epoch: &EpochInput) {
        for event in &epoch.events {
            let Body::Op(op) = &event.body else { continue };
            let name = op.collection.as_str();
            let is_known = KNOWN_COLLECTIONS.contains(&name);
            if !is_known && self.named.len() < NAMED_COLLECTIONS {
                self.named.insert(name.to_owned());
            }
        }
    }

    /// Applies the events of one frame: the operations of one commit, or one event of another type.
    fn apply_frame(&mut self, frame: &[Event]) {
        self.frame_time = frame.first().map_or(self.frame_time, |event| event.time);
        for event in frame {
            match &event.body {
                Body::Op(_) => {}
                Body::Identity { handle, sent } => {
                    let origin = Origin::new(&event.host, *sent);
                    self.identity(event, handle.as_deref(), origin);
                }
                Body::Account {
                    active,
                    status,
                    sent,
                } => {
                    let origin = Origin::new(&event.host, *sent);
                    self.account_event(event, *active, status.as_deref(), origin);
                }
                Body::Moved { rev, why } => self.repo_moved(event, *rev, *why),
            }
        }
        let ops = frame.iter().filter_map(|event| match &event.body {
            Body::Op(op) => Some((event, op)),
            _ => None,
        });
        self.commit(&ops.collect::<Vec<_>>());
    }

    fn account(&mut self, did: &Did) -> &mut Account {
        self.accounts.entry(did.clone()).or_default()
    }

    fn announced(&mut self, did: &Did) -> &mut Announced {
        self.account(did).announced.get_or_insert_default()
    }

    fn identity(&mut self, event: &Event, handle: Option<&str>, origin: Origin) {
        let known = self.announced(&event.did).identity_from;
        let repeats = repeated(origin, known);
        if repeats.is_some() {
            self.dropped(DropReason::AnnouncementRepeated, 1);
        } else {
            self.record_activity(event, "#identity", Action::Create, 0);
        }
        if repeats == Some(Ordering::Less) {
            return;
        }
        let handle = handle.map(str::to_ascii_lowercase);
        let withdrawn = handle.as_deref() == Some("handle.invalid");
        let valid = handle.clone().filter(|it| is_domain_name(it) && !withdrawn);
        if repeats.is_none() && handle.is_some() && valid.is_none() {
            self.dropped(DropReason::Handle, 1);
        }
        let announced = self.announced(&event.did);
        if known.is_none() || valid.is_some() || withdrawn || repeats.is_some() {
            announced.identity_from = Some(origin);
        }
        let now = announced.handle.as_ref().map(|(handle, _)| &**handle);
        let is_known = repeats.is_some() && now == valid.as_deref();
        if (valid.is_some() || withdrawn) && !is_known {
            announced.handle = valid.map(|handle| (handle.into(), event.time));
        }
    }

    fn account_event(&mut self, event: &Event, active: bool, status: Option<&str>, origin: Origin) {
        let announced = self.announced(&event.did);
        let repeats = repeated(origin, announced.status_from);
        let limited = status.map(facts::status);
        let text = limited.clone().map(|(status, _)| status);
        let is_known = (announced.active, &announced.status) == (active, &text);
        if repeats != Some(Ordering::Less) {
            announced.status_from = Some(origin);
            announced.active = active;
            announced.status = text;
            let is_new = repeats.is_none() || !is_known;
            let deleted = !active && status == Some("deleted");
            if deleted && is_new && self.policy != Policy::OpsOnly {
                self.account(&event.did).records.clear();
            }
        }
        if repeats.is_some() {
            return self.dropped(DropReason::AnnouncementRepeated, 1);
        }
        self.record_activity(event, "#account", Action::Create, 0);
        if limited.is_some_and(|(_, was_longer)| was_longer) {
            self.dropped(DropReason::TextLimit, 1);
        }
    }

    fn repo_moved(&mut self, event: &Event, rev: Tid, why: Moved) {
        if why == Moved::Sync {
            self.record_activity(event, "#sync", Action::Create, 0);
        }
        let known = self.account(&event.did).rev;
        if known.is_some_and(|known| rev <= known) {
            return;
        }
        let missed = match why {
            Moved::Sync => known.is_some(),
            Moved::Empty => false,
            Moved::TooBig => true,
        };
        if missed {
            self.announced(&event.did).out_of_sync = true;
        }
        self.account(&event.did).rev = Some(rev);
    }

    /// Applies a commit, or drops all of it if its revision is not newer than the repo's.
    fn commit(&mut self, ops: &[(&Event, &Op)]) {
        let Some((event, first)) = ops.first() else {
            return;
        };
        let known = self.account(&event.did).rev;
        if known.is_some_and(|known| first.rev <= known) {
            self.dropped(DropReason::RevRepeated, ops.len() as u64);
            return;
        }
        if known.is_some() && first.since.is_some() && first.since != known {
            self.announced(&event.did).out_of_sync = true;
        }
        self.account(&event.did).rev = Some(first.rev);
        for (event, op) in ops {
            self.operation(event, op);
        }
    }

    fn operation(&mut self, event: &Event, op: &Op) {
        let bytes = op.record.as_ref().map_or(0, |record| record.len() as u64);
        let kind = self.kind(op.collection.as_str()).to_owned();
        self.record_activity(event, &kind, op.action, bytes);
        // Each operation also counts in the row without a collection.
        self.record_activity(event, "", op.action, bytes);
        let minute = event.time.minute();
        let account = self.account(&event.did);
        account.last_seen = account.last_seen.max(Some(minute));

        let address = (op.collection.clone(), op.rkey.clone());
        if op.action == Action::Delete {
            if account.records.remove(&address).is_none() {
                self.dropped(DropReason::DeleteUnknown, 1);
            }
            return;
        }
        if op.collection.as_str() == Collection::POST {
            account.posts_seen.insert(op.rkey.clone());
        }
        let content = match facts::read(op) {
            Ok((content, left_out)) => {
                for (reason, count) in left_out.into_iter().filter(|(_, count)| *count > 0) {
                    self.dropped(reason, count);
                }
                content
            }
            Err(reason) => {
                self.dropped(reason, 1);
                None
            }
        };
        let records = &mut self.account(&event.did).records;
        let first_seen = records.get(&address).map_or(minute, |live| live.first_seen);
        let live = Live {
            first_seen,
            content,
        };
        records.insert(address, live);
    }

    /// Counts an operation or event of an account, in all time, its hour and its minute.
    fn record_activity(&mut self, event: &Event, kind: &str, action: Action, bytes: u64) {
        let minute = event.time.minute().0;
        let hour = minute - minute % 60;
        for (span, start_minute) in [(Span::All, 0), (Span::Hour, hour), (Span::Minute, minute)] {
            let key = ActivityKey {
                span,
                start_minute,
                collection: kind.into(),
            };
            let is_new = self.account(&event.did).counted.insert(key.clone());
            if !self.counts_totals {
                continue;
            }
            let row = self.totals.activity.entry(key).or_default();
            match action {
                Action::Create => row.creates += 1,
                Action::Update => row.updates += 1,
                Action::Delete => row.deletes += 1,
            }
            row.bytes += bytes;
            row.accounts += u64::from(is_new);
        }
    }

    fn dropped(&mut self, reason: DropReason, count: u64) {
        if self.counts_totals {
            let name = format!("dropped/{}", reason.as_str());
            *self.totals.counters.entry(name.clone()).or_default() += count;
            let time = self.frame_time;
            if let Some(drops) = &mut self.drops {
                drops.push((time, name, count));
            }
        }
    }
}
