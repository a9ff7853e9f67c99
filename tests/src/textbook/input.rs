//! From the messages of an epoch to the input collections of the textbook dataflow.
//!
//! This step only does what depends on the order of the log: it sorts an epoch, drops repeated
//! commits, reads records, and numbers operations. It uses the parser of `core`, which is the only
//! one, and nothing of `dataflow` or of the recount. `benches/dbsp` compiles this file, too.

use std::cmp::Ordering;

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use skytide_core::event::{Action, Body, Event, Host, Op, Tick};
use skytide_core::id::{Collection, Did, PostKey, Rkey, Tid};
use skytide_core::record::{Record, UriRef, parse};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::Window;

/// Account, collection ([`Reader::collections`]) and record key.
pub type RecordKey = (Did, u16, Rkey);

/// An operation on a record. Operations sort in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// Number of the operation in the log.
    pub position: u64,
    /// The minute of its event, in minutes since 1970.
    pub minute: u32,
    /// 0 for a create, 1 for an update, 2 for a delete.
    pub action: u8,
    /// The new content; `None` for a delete.
    pub content: Option<Content>,
}

/// What the six views read of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content {
    /// A post of this content.
    Post(Box<PostContent>),
    /// A like.
    Like(Subject),
    /// A repost.
    Repost(Subject),
    /// A follow; `None` if it names no account.
    Follow(Option<Did>),
    /// A record of which only the existence counts.
    Other,
}

/// What the six views read of a post.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PostContent {
    /// The record that it replies to.
    pub parent: Option<Subject>,
    /// The record that it quotes.
    pub quoted: Option<Subject>,
    /// Its hashtags in lower case, without duplicates.
    pub tags: Vec<String>,
}

/// A record that another record refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The account that owns it.
    pub did: Did,
    /// The post, if it is one.
    pub post: Option<PostKey>,
}

/// The changes of the input collections in one epoch. Numbers are multiplicities.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The operations.
    pub ops: Vec<(RecordKey, Change)>,
    /// Accounts whose newest status is not active.
    pub hidden: Vec<(Did, i32)>,
    /// Accounts that were deleted, and the position of the newest deletion: operations before it no
    /// longer count.
    pub cleared: Vec<((Did, u64), i32)>,
    /// The buckets of ten minutes that [`Window::Day`] consists of.
    pub recent: Vec<(u32, i32)>,
}

/// The number of the collection of posts.
pub const POSTS: u16 = 0;

/// Reads a log, epoch by epoch.
#[derive(Debug, Default)]
pub struct Reader {
    /// All collections, in the order in which they appeared.
    collections: Vec<Collection>,
    numbers: HashMap<Collection, u16>,
    revs: HashMap<Did, Tid>,
    hidden: HashSet<Did>,
    newest_status: HashMap<Did, (Host, Option<Timestamp>, bool)>,
    cleared: HashMap<Did, u64>,
    recent: std::ops::Range<u32>,
    position: u64,
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new() -> Self {
        let posts: Collection = Collection::POST.parse().expect("a valid name");
        Self {
            numbers: [(posts.clone(), POSTS)].into(),
            collections: vec![posts],
            ..Self::default()
        }
    }

    /// All collections so far, by their number.
    pub fn collections(&self) -> &[Collection] {
        &self.collections
    }

    /// Reads the events of an epoch, in the order of the log, and its tick.
    pub fn read<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>, tick: &Tick) -> Input {
        // A writer that crashed may have left events after its newest tick.
        let is_left_over = |event: &Event| event.host == tick.host && event.seq > tick.cursor;
        let events = events.into_iter();
        let mut events: Vec<&Event> = events.filter(|event| !is_left_over(event)).collect();
        events.sort_by_key(|event| (&event.host, event.seq, event.index));
        events.dedup_by_key(|event| (&event.host, event.seq, event.index));
        let mut input = Input::default();
        for frame in events.chunk_by(|a, b| (&a.host, a.seq) == (&b.host, b.seq)) {
            self.frame(frame, &mut input);
        }
        self.advance(tick.time.minute(), &mut input);
        input
    }

    /// Reads one frame: the operations of a commit, or one event of another type.
    fn frame(&mut self, frame: &[&Event], input: &mut Input) {
        let mut accepted = None;
        for event in frame {
            match &event.body {
                Body::Op(op) => {
                    let is_new = *accepted.get_or_insert_with(|| self.is_new(&event.did, op.rev));
                    if is_new {
                        self.operation(event, op, input);
                    }
                }
                Body::Account {
                    active,
                    status,
                    sent,
                } => {
                    let deleted = !active && status.as_deref() == Some("deleted");
                    if self.is_next_status(event, *sent, deleted) {
                        self.account(&event.did, *active, deleted, input);
                    }
                }
                Body::Moved { rev, .. } => {
                    self.is_new(&event.did, *rev);
                }
                Body::Identity { .. } => {}
            }
        }
    }

    /// Whether a revision is newer than all earlier ones of its repo. It is from then on the newest.
    fn is_new(&mut self, did: &Did, rev: Tid) -> bool {
        let newest = self.revs.entry_ref(did).or_insert(Tid(0));
        let is_new = rev > *newest;
        *newest = rev.max(*newest);
        is_new
    }

    /// Whether a status must be applied. Statuses of different relays are ordered by the time at
    /// which they were sent. A relay that repeats the newest one may have changed it.
    fn is_next_status(&mut self, event: &Event, sent: Option<Timestamp>, deleted: bool) -> bool {
        let newest = self.newest_status.get(&event.did);
        let order = newest.and_then(|(host, known, _)| {
            let known = known.filter(|_| *host != event.host)?;
            Some(sent?.cmp(&known))
        });
        if order == Some(Ordering::Less) {
            return false;
        }
        let was_deleted = newest.is_some_and(|(.., deleted)| *deleted);
        let newest = (event.host.clone(), sent, deleted);
        self.newest_status.insert(event.did.clone(), newest);
        !(order == Some(Ordering::Equal) && deleted && was_deleted)
    }

    fn operation(&mut self, event: &Event, op: &Op, input: &mut Input) {
        let next = self.numbers.len() as u16;
        let number = *self.numbers.entry_ref(&op.collection).or_insert(next);
        if number == next {
            self.collections.push(op.collection.clone());
        }
        self.position += 1;
        let change = Change {
            position: self.position,
            minute: event.time.minute().0,
            action: op.action as u8,
            content: (op.action != Action::Delete).then(|| content(op)),
        };
        let key = (event.did.clone(), number, op.rkey.clone());
        input.ops.push((key, change));
    }

    fn account(&mut self, did: &Did, active: bool, deleted: bool, input: &mut Input) {
        if active && self.hidden.remove(did) {
            input.hidden.push((did.clone(), -1));
        } else if !active && self.hidden.insert(did.clone()) {
            input.hidden.push((did.clone(), 1));
        }
        if deleted {
            let before = self.cleared.insert(did.clone(), self.position);
            let before = before.map(|position| ((did.clone(), position), -1));
            input.cleared.extend(before);
            input.cleared.push(((did.clone(), self.position), 1));
        }
    }

    /// Moves the window of 24 hours to the end of the epoch.
    fn advance(&mut self, now: Minute, input: &mut Input) {
        let recent = Window::Day.first_minute(now).0 / 10..now.0 / 10 + 1;
        let gone = self.recent.clone().filter(|it| !recent.contains(it));
        input.recent.extend(gone.map(|it| (it, -1)));
        let new = recent.clone().filter(|it| !self.recent.contains(it));
        input.recent.extend(new.map(|it| (it, 1)));
        self.recent = recent;
    }
}

/// Reads a created or updated record.
fn content(op: &Op) -> Content {
    let Some(bytes) = op.record.as_deref() else {
        return Content::Other;
    };
    match parse(op.collection.as_str(), bytes) {
        Ok(Record::Post(post)) => {
            let mut tags: Vec<_> = post.tags.iter().map(ToString::to_string).collect();
            tags.sort_unstable();
            tags.dedup();
            Content::Post(Box::new(PostContent {
                parent: post.reply_parent.as_ref().map(subject),
                quoted: post.quote.as_ref().map(subject),
                tags,
            }))
        }
        Ok(Record::Like { subject: Some(it) }) => Content::Like(subject(&it)),
        Ok(Record::Repost { subject: Some(it) }) => Content::Repost(subject(&it)),
        Ok(Record::Follow { subject }) => Content::Follow(subject),
        _ => Content::Other,
    }
}

fn subject(uri: &UriRef<'_>) -> Subject {
    Subject {
        did: uri.did(),
        post: uri.post_key(),
    }
}
