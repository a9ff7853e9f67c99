//! The control record: one document that names the current writer (`term`), the last commit, and
//! the commit that was begun after it (`intent`, with its tick and the views that it rebuilds).
//!
//! Every change is a compare-and-set: it is made only if the record still has the values that the
//! writer knows.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::{ClientSession, Collection, Database};
use serde::{Deserialize, Serialize};
use skytide_core::id::{Epoch, Seq};
use skytide_core::port::store::{
    Committed, Control, Intent, Recipe, StoreError, Sum, Term, TickRef,
};
use skytide_core::view::ViewId;

use super::connection::Connection;
use super::error::failed;
use super::values::{date, number, timestamp};

/// The collection of the control record and the lease.
pub const COLLECTION: &str = "control";
/// Version of the format of all stored data. A database with another version is refused.
pub const FORMAT: i32 = 1;
const ID: &str = "control";

/// The control record of a database.
pub struct ControlRecord {
    connection: Connection,
    documents: Collection<ControlDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ControlDocument {
    format: i32,
    term: i64,
    committed: Option<CommittedDocument>,
    /// The epoch at which the begun commit ends.
    intent: Option<i64>,
    /// Names of the views that are rebuilt. Only set with an intent. Older versions do not write
    /// this field.
    #[serde(default)]
    rebuilding: Vec<String>,
    /// The tick of the epoch `intent`. Only set with an intent. Older versions do not write this
    /// field.
    intent_tick: Option<TickDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TickDocument {
    epoch: i64,
    log_seq: i64,
    /// 16 hexadecimal digits.
    tick_hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CommittedDocument {
    epoch: i64,
    /// Network time at the end of the epoch.
    time: DateTime,
    /// Network time of the first event that was counted.
    since: DateTime,
    /// 16 hexadecimal digits.
    log_id: String,
    log_seq: i64,
    /// The checksum of each view.
    views: Vec<SumDocument>,
    /// 16 hexadecimal digits.
    tick_hash: Option<String>,
    recipe: Option<RecipeDocument>,
}

/// How the rows were computed.
#[derive(Debug, Serialize, Deserialize)]
struct RecipeDocument {
    account_policy: String,
    interactions_days: Option<i64>,
    /// The version of each view, by its name.
    versions: BTreeMap<String, i64>,
}

/// The checksum of a view: the number of its rows and the sum of their hashes.
#[derive(Debug, Serialize, Deserialize)]
struct SumDocument {
    view: String,
    rows: i64,
    /// 32 hexadecimal digits.
    hash: String,
}

/// Checks that the format of a database is supported. A new database passes.
///
/// # Errors
/// The database has another format.
pub async fn check_format(connection: &Connection) -> Result<(), StoreError> {
    let documents: Collection<Document> = connection.database().collection(COLLECTION);
    let found = documents.find_one(doc! { "_id": ID });
    let found = connection.within("open the database", found).await?;
    let format = found.map_or(FORMAT, |it| it.get_i32("format").unwrap_or(0));
    if format == FORMAT {
        return Ok(());
    }
    let name = connection.database().name();
    Err(failed("open the database")(format!(
        "the database {name:?} holds data of format {format}, this version supports only \
         format {FORMAT}: use a newer version, or another database (MONGODB_DATABASE)"
    )))
}

/// Reads the control record in a session.
pub async fn read_in(
    connection: &Connection,
    database: &Database,
    session: &mut ClientSession,
) -> Result<Control, StoreError> {
    let documents: Collection<ControlDocument> = database.collection(COLLECTION);
    let found = documents.find_one(doc! { "_id": ID }).session(session);
    let found = connection.within("read its control record", found).await?;
    found.map_or(Ok(Control::default()), ControlDocument::control)
}

impl ControlRecord {
    /// The record of this database. It need not exist yet.
    pub fn new(connection: &Connection) -> Self {
        Self {
            documents: connection.database().collection(COLLECTION),
            connection: connection.clone(),
        }
    }

    /// Reads the record as it is now.
    pub async fn read(&self) -> Result<Control, StoreError> {
        let found = self.documents.find_one(doc! { "_id": ID });
        let found = self
            .connection
            .within("read its control record", found)
            .await?;
        found.map_or(Ok(Control::default()), ControlDocument::control)
    }

    /// Increments the term and returns the record.
    pub async fn take_over(&self) -> Result<Control, StoreError> {
        let next = doc! { "$inc": { "term": 1_i64 }, "$setOnInsert": { "format": FORMAT } };
        let found = self
            .documents
            .find_one_and_update(doc! { "_id": ID }, next)
            .upsert(true)
            .return_document(ReturnDocument::After);
        let found = self.connection.within("take over", found).await?;
        found
            .ok_or_else(|| failed("take over")("the control record is missing"))?
            .control()
    }

    /// Records an intent if the term and the last commit are those that the writer knows, and if
    /// there is no later intent. Returns whether it was recorded.
    pub async fn begin(&self, known: &Control, intent: Intent) -> Result<bool, StoreError> {
        let change = doc! { "$set": intent_fields(intent)? };
        let intent = number(intent.epoch.0)?;
        let committed = known.committed.as_ref();
        let committed = committed.map(|it| number(it.epoch.0)).transpose()?;
        let mut unchanged = doc! {
            "_id": ID,
            "term": number(known.term.0)?,
            "$or": [{ "intent": null }, { "intent": { "$lte": intent } }],
        };
        match committed {
            Some(epoch) => unchanged.insert("committed.epoch", epoch),
            None => unchanged.insert("committed", null()),
        };
        self.set("begin a commit", unchanged, change).await
    }

    /// Records an intent to replace all rows, if the record still has the writer's term; the last
    /// commit and an earlier intent are not compared. Removes the last commit from the record, and
    /// records all views as being rebuilt. Returns whether the intent was recorded.
    pub async fn begin_replacing(&self, term: Term, intent: Intent) -> Result<bool, StoreError> {
        let unchanged = doc! { "_id": ID, "term": number(term.0)? };
        let all: Vec<&str> = ViewId::ALL.iter().map(|view| view.name()).collect();
        let mut fields = intent_fields(intent)?;
        fields.insert("committed", null());
        fields.insert("rebuilding", all);
        self.set("begin a commit", unchanged, doc! { "$set": fields })
            .await
    }

    /// Adds views to those being rebuilt, if term and intent are those that the writer knows.
    /// Returns whether they were added.
    pub async fn rebuild(
        &self,
        term: Term,
        intent: Epoch,
        views: &BTreeSet<ViewId>,
    ) -> Result<bool, StoreError> {
        let unchanged = doc! {
            "_id": ID,
            "term": number(term.0)?,
            "intent": number(intent.0)?,
        };
        let names: Vec<&str> = views.iter().map(|view| view.name()).collect();
        let change = doc! { "$addToSet": { "rebuilding": { "$each": names } } };
        self.set("begin a commit", unchanged, change).await
    }

    /// Records the commit and removes the intent, if the record still has the writer's term and its
    /// intent. Returns whether the commit was recorded.
    pub async fn commit(&self, term: Term, committed: &Committed) -> Result<bool, StoreError> {
        let unchanged = doc! {
            "_id": ID,
            "term": number(term.0)?,
            "intent": number(committed.epoch.0)?,
        };
        let record = CommittedDocument::of(committed)?;
        let record = mongodb::bson::serialize_to_document(&record).map_err(failed("commit"))?;
        let removed = doc! { "intent": "", "intent_tick": "", "rebuilding": "" };
        let change = doc! { "$set": { "committed": record }, "$unset": removed };
        self.set("commit", unchanged, change).await
    }

    async fn set(
        &self,
        operation: &'static str,
        unchanged: Document,
        change: Document,
    ) -> Result<bool, StoreError> {
        let set = self.documents.update_one(unchanged, change);
        let set = self.connection.within(operation, set).await?;
        Ok(set.matched_count == 1)
    }
}

impl ControlDocument {
    fn control(self) -> Result<Control, StoreError> {
        let epoch = |it: i64| it.try_into().ok().map(Epoch);
        // An older version does not know `rebuilding`, so it leaves the field in the record when it
        // commits. So the field counts only with an intent. A view that this version does not know
        // is skipped: this version does not replace its rows.
        let rebuilding = self.rebuilding.iter().filter(|_| self.intent.is_some());
        let rebuilding = rebuilding.filter_map(|name| ViewId::from_name(name));
        let rebuilding = rebuilding.collect();
        // In the same way, an older version may leave the tick of an earlier commit in the record.
        let tick = self.intent_tick.filter(|it| Some(it.epoch) == self.intent);
        let read = || {
            Some(Control {
                term: Term(self.term.try_into().ok()?),
                committed: match self.committed {
                    Some(committed) => Some(committed.committed()?),
                    None => None,
                },
                intent: match self.intent {
                    Some(intent) => Some(epoch(intent)?),
                    None => None,
                },
                intent_tick: match tick {
                    Some(tick) => Some(tick.tick()?),
                    None => None,
                },
                rebuilding,
            })
        };
        read().ok_or_else(|| StoreError::Damaged("the control record cannot be decoded".to_owned()))
    }
}

impl TickDocument {
    fn tick(self) -> Option<TickRef> {
        Some(TickRef {
            log_seq: Seq(self.log_seq.try_into().ok()?),
            tick_hash: u64::from_str_radix(&self.tick_hash, 16).ok()?,
        })
    }
}

/// The fields that are set when a commit begins.
fn intent_fields(intent: Intent) -> Result<Document, StoreError> {
    let epoch = number(intent.epoch.0)?;
    let tick = match intent.tick {
        None => null(),
        Some(tick) => mongodb::bson::Bson::Document(doc! {
            "epoch": epoch,
            "log_seq": number(tick.log_seq.0)?,
            "tick_hash": format!("{:016x}", tick.tick_hash),
        }),
    };
    Ok(doc! { "intent": epoch, "intent_tick": tick })
}

impl CommittedDocument {
    fn of(committed: &Committed) -> Result<Self, StoreError> {
        let date =
            |time| date(time).ok_or_else(|| failed("commit")("a time is too large for a date"));
        let sum = |(view, sum): (&ViewId, &Sum)| SumDocument {
            view: view.name().to_owned(),
            rows: sum.rows,
            hash: format!("{:032x}", sum.hash),
        };
        Ok(Self {
            epoch: number(committed.epoch.0)?,
            time: date(committed.time)?,
            since: date(committed.since)?,
            log_id: format!("{:016x}", committed.log_id),
            log_seq: number(committed.log_seq.0)?,
            views: committed.sums.iter().map(sum).collect(),
            tick_hash: committed.tick_hash.map(|hash| format!("{hash:016x}")),
            recipe: committed.recipe.as_ref().map(RecipeDocument::of),
        })
    }

    fn committed(self) -> Option<Committed> {
        let sum = |it: SumDocument| {
            let hash = u128::from_str_radix(&it.hash, 16).ok()?;
            let rows = it.rows;
            Some((ViewId::from_name(&it.view)?, Sum { rows, hash }))
        };
        Some(Committed {
            epoch: Epoch(self.epoch.try_into().ok()?),
            time: timestamp(self.time)?,
            since: timestamp(self.since)?,
            log_id: u64::from_str_radix(&self.log_id, 16).ok()?,
            log_seq: Seq(self.log_seq.try_into().ok()?),
            sums: self.views.into_iter().map(sum).collect::<Option<_>>()?,
            tick_hash: match self.tick_hash {
                Some(hash) => Some(u64::from_str_radix(&hash, 16).ok()?),
                None => None,
            },
            recipe: match self.recipe {
                Some(recipe) => Some(recipe.recipe()?),
                None => None,
            },
        })
    }
}

impl RecipeDocument {
    fn of(recipe: &Recipe) -> Self {
        let version =
            |(view, version): (&ViewId, &u32)| (view.name().to_owned(), i64::from(*version));
        Self {
            account_policy: recipe.account_policy.to_string(),
            interactions_days: recipe.interactions_days.map(i64::from),
            versions: recipe.views.iter().map(version).collect(),
        }
    }

    fn recipe(self) -> Option<Recipe> {
        let version = |(name, version): (String, i64)| {
            Some((ViewId::from_name(&name)?, u32::try_from(version).ok()?))
        };
        Some(Recipe {
            account_policy: self.account_policy.into(),
            interactions_days: match self.interactions_days {
                Some(days) => Some(u32::try_from(days).ok()?),
                None => None,
            },
            views: self
                .versions
                .into_iter()
                .map(version)
                .collect::<Option<_>>()?,
        })
    }
}

fn null() -> mongodb::bson::Bson {
    mongodb::bson::Bson::Null
}
