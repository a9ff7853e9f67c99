//! The columns of each view in the files of an export.

use skytide_core::id::{Did, PostKey, Rkey, Tid};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{
    AccountRow, ActivityKey, ActivityRow, ActorRow, CounterRow, CoverageKey, CoverageKind,
    CoverageRow, HandleKey, HandleRow, InteractionRow, ListKey, ListRow, Measure, PostRow,
    PostState, RowError, RowKind, Span, StoredRow, TrendRow, ViewId, Window, decode_row,
};

use super::cell::{Cell, Record};

/// The record of a row, for views whose rows are not merged.
///
/// # Errors
///
/// The row does not have the format of the view.
pub fn record(view: ViewId, row: &StoredRow) -> Result<Record, RowError> {
    let (key, columns) = (&row.key, &row.row);
    Ok(match view.row_kind() {
        RowKind::Post => post(&key.decode()?, &decode_row(columns)?),
        RowKind::Actor => actor(&key.decode()?, &decode_row(columns)?),
        RowKind::Activity => activity(&key.decode()?, &decode_row(columns)?),
        RowKind::Account => account(&key.decode()?, &decode_row(columns)?),
        RowKind::Handle => handle(&key.decode()?, decode_row(columns)?),
        RowKind::Counter => counter(key.decode()?, decode_row(columns)?),
        RowKind::Coverage => coverage(&key.decode()?, decode_row(columns)?),
        RowKind::List => list(&key.decode()?, &decode_row(columns)?),
        RowKind::Trend | RowKind::Interaction => return Err(RowError),
    })
}

/// A record with all columns of a view, for the header of the file.
pub fn sample(view: ViewId) -> Record {
    let did = Did::from_plc([0; 15]);
    match view.row_kind() {
        RowKind::Post => {
            let key = PostKey::new(&did, &Rkey::from(Tid(0)));
            post(&key, &PostRow::default())
        }
        RowKind::Actor => actor(&did, &ActorRow::default()),
        RowKind::Account => account(&did, &AccountRow::default()),
        RowKind::Interaction => interaction(&did, &did, &Interactions::default()),
        RowKind::Counter => counter(String::new(), CounterRow::default()),
        RowKind::Coverage => {
            let key = CoverageKey {
                kind: CoverageKind::Known,
                start: Timestamp(0),
                label: Box::default(),
            };
            coverage(&key, CoverageRow::default())
        }
        RowKind::Handle => {
            let handle = Box::default();
            self::handle(&HandleKey { handle, did }, HandleRow::default())
        }
        RowKind::Activity => {
            let key = ActivityKey {
                span: Span::All,
                start_minute: 0,
                collection: Box::default(),
            };
            activity(&key, &ActivityRow::default())
        }
        RowKind::Trend => trend("", &TrendRow::default(), Record::default()),
        RowKind::List => {
            let key = ListKey {
                window: Window::All,
                measure: Measure::Count,
                lang: Box::default(),
            };
            let entries = vec![skytide_core::view::ListEntry {
                key: Box::default(),
                value: 0,
                other: 0,
                longer: 0,
            }];
            list(&key, &ListRow { entries })
        }
    }
}

fn post(key: &PostKey, row: &PostRow) -> Record {
    let state = match row.state {
        PostState::NeverSeen => "never_seen",
        PostState::Live => "live",
        PostState::Gone => "gone",
    };
    Record::default()
        .with("uri", key.to_string())
        .with("likes", row.likes)
        .with("reposts", row.reposts)
        .with("replies", row.replies)
        .with("root_replies", row.root_replies)
        .with("quotes", row.quotes)
        .with("self_likes", row.self_likes)
        .with("self_reposts", row.self_reposts)
        .with("self_replies", row.self_replies)
        .with("self_root_replies", row.self_root_replies)
        .with("self_quotes", row.self_quotes)
        .with("live", row.state == PostState::Live)
        .with("state", state)
}

fn actor(did: &Did, row: &ActorRow) -> Record {
    Record::default()
        .with("did", did.to_string())
        .with("followers", row.followers)
        .with("follow_records", row.follow_records)
        .with("follows", row.follows)
        .with("blockers", row.blockers)
        .with("block_records", row.block_records)
        .with("blocks", row.blocks)
        .with("posts", row.posts)
        .with("likes_given", row.likes_given)
        .with("likes_received", row.likes_received)
        .with("reposts_given", row.reposts_given)
        .with("reposts_received", row.reposts_received)
        .with("last_seen", time(row.last_seen))
}

/// The interactions of one account with another, summed over all days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interactions {
    likes: u64,
    reposts: u64,
    replies: u64,
    quotes: u64,
    characters: u64,
}

impl Interactions {
    /// Adds the interactions of one day.
    pub fn add(&mut self, day: &InteractionRow) {
        self.likes += u64::from(day.likes);
        self.reposts += u64::from(day.reposts);
        self.replies += u64::from(day.replies);
        self.quotes += u64::from(day.quotes);
        self.characters += day.characters;
    }
}

/// The record of the interactions of an author with a subject.
pub fn interaction(author: &Did, subject: &Did, sum: &Interactions) -> Record {
    Record::default()
        .with("author", author.to_string())
        .with("subject", subject.to_string())
        .with("likes", sum.likes)
        .with("reposts", sum.reposts)
        .with("replies", sum.replies)
        .with("quotes", sum.quotes)
        .with("characters", sum.characters)
}

/// The record of a tag, domain, link, mention or language.
pub fn trend(key: &str, row: &TrendRow, languages: Record) -> Record {
    counts(Record::default().with("key", key), row).with("languages", Cell::Map(languages))
}

/// Adds the counts of a trend to a record: those of all time as cells, those of each window as a
/// nested group.
pub fn counts(record: Record, row: &TrendRow) -> Record {
    let of = |window: Window| {
        Record::default()
            .with("count", row.counts[window as usize])
            .with("authors", row.authors[window as usize])
    };
    let windows = [Window::Hour, Window::Day, Window::Week]
        .into_iter()
        .fold(Record::default(), |record, window| {
            record.with(window.name(), Cell::Group(of(window)))
        });
    let mut record = record;
    record.0.extend(of(Window::All).0);
    record.with("windows", Cell::Group(windows))
}

fn list(key: &ListKey, row: &ListRow) -> Record {
    let entries = row.entries.iter().map(|entry| {
        Record::default()
            .with("key", &*entry.key)
            .with("value", entry.value)
            .with("other", entry.other)
            .with("longer", entry.longer)
    });
    Record::default()
        .with("window", key.window.name())
        .with("measure", key.measure.name())
        .with("lang", &*key.lang)
        .with("entries", Cell::List(entries.collect()))
}

fn activity(key: &ActivityKey, row: &ActivityRow) -> Record {
    let (span, start) = match key.span {
        Span::All => ("all", None),
        Span::Hour => ("hour", Some(Minute(key.start_minute).start().rfc3339())),
        Span::Minute => ("minute", Some(Minute(key.start_minute).start().rfc3339())),
    };
    Record::default()
        .with("span", span)
        .with("start", start)
        .with("collection", &*key.collection)
        .with("creates", row.creates)
        .with("updates", row.updates)
        .with("deletes", row.deletes)
        .with("bytes", row.bytes)
        .with("accounts", row.accounts)
        .with("live", (key.span == Span::All).then_some(row.live))
}

fn account(did: &Did, row: &AccountRow) -> Record {
    Record::default()
        .with("did", did.to_string())
        .with("handle", row.handle.as_deref())
        .with("active", row.active)
        .with("status", row.status.as_deref())
        .with("display_name", row.display_name.as_deref())
        .with("description", row.description.as_deref())
        .with("avatar", row.avatar.as_deref())
        .with("rev", row.rev.map(|rev| rev.to_string()))
        .with("out_of_sync", row.out_of_sync)
}

fn handle(key: &HandleKey, row: HandleRow) -> Record {
    Record::default()
        .with("handle", &*key.handle)
        .with("did", key.did.to_string())
        .with("claimed", time(row.claimed))
}

fn counter(name: String, row: CounterRow) -> Record {
    Record::default()
        .with("name", name)
        .with("value", row.value)
}

fn coverage(key: &CoverageKey, row: CoverageRow) -> Record {
    Record::default()
        .with("kind", key.kind.as_str())
        .with("label", &*key.label)
        .with("start", time(key.start))
        .with("end", time(row.end))
        .with("count", row.count)
        .with("merged", row.merged)
}

/// A time as text; `None` if it is 0, which means unknown.
fn time(time: Timestamp) -> Option<String> {
    (time.0 > 0).then(|| time.rfc3339())
}
