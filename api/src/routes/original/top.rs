//! `GET /original/dd/{name}`: the top lists of the last 24 hours, all of them in one answer.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use skytide_core::id::Did;
use skytide_core::view::{ListEntry, ListKey, ListRow, Measure, RowError, ViewId, Window};

use super::failure::{Failure, Violation};
use super::{check_key, respond};
use crate::access::Access;
use crate::account::{self, accounts};
use crate::answer::{Query, Rows};
use crate::problem::Problem;
use crate::respond::Answers;

/// `GET /original/dd/{name}`
pub(crate) async fn show(
    State(answers): State<Answers>,
    State(access): State<Access>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    check_key(&access, &headers)?;
    // A name that is not UTF-8 is no name of lists; the error then shows none.
    let name = path.map_or_else(|_| String::new(), |Path(name)| name);
    let query = TopQuery::parse(name)?;
    let answer = answers.cache.get(&answers.context, query).await?;
    Ok(respond(answer.object().to_owned()))
}

/// A list: what is counted, for whom, and by which measure.
type Set = (&'static str, Option<&'static str>, Measure);

const INTERACTIONS: &[Set] = &[
    ("like", Some("author"), Measure::LikesToOthers),
    ("like", Some("subject"), Measure::LikesFromOthers),
    ("repost", Some("author"), Measure::RepostsToOthers),
    ("repost", Some("subject"), Measure::RepostsFromOthers),
    ("post", Some("author"), Measure::PostsToOthers),
    ("post", Some("subject"), Measure::PostsFromOthers),
];

const BLOCKS: &[Set] = &[
    ("author", None, Measure::BlocksToOthers),
    ("subject", None, Measure::BlocksFromOthers),
];

/// A request for all lists of a name.
#[derive(Debug)]
struct TopQuery {
    name: &'static str,
    sets: &'static [Set],
}

impl TopQuery {
    /// Finds the lists of a name.
    fn parse(name: String) -> Result<Self, Failure> {
        let (name, sets) = match &*name {
            "top_interactions" => ("top_interactions", INTERACTIONS),
            "top_blocks" => ("top_blocks", BLOCKS),
            _ => return Err(unknown_name(name).into()),
        };
        Ok(Self { name, sets })
    }
}

/// The error of an enumeration (<https://docs.pydantic.dev/latest/errors/validation_errors/#enum>).
fn unknown_name(name: String) -> Violation {
    Violation {
        kind: "enum",
        loc: vec!["path".into(), "name".into()],
        msg: "Input should be 'top_interactions' or 'top_blocks'",
        input: Value::String(name),
        ctx: Some(json!({ "expected": "'top_interactions' or 'top_blocks'" })),
    }
}

/// All lists of a name, as JSON.
#[derive(Serialize)]
struct Top {
    /// Network time of the commit.
    #[serde(rename = "_id")]
    id: String,
    name: &'static str,
    data: Vec<ListSet>,
}

#[derive(Serialize)]
struct ListSet {
    key: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subkey: Option<&'static str>,
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    #[serde(rename = "_id")]
    did: Box<str>,
    count: u32,
    /// Characters of replies and quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<u32>,
    profile: Option<Profile>,
}

/// The profile of an account; there is none while no handle is known.
#[derive(Clone, Serialize)]
struct Profile {
    handle: Box<str>,
    display_name: Option<Box<str>>,
    avatar: Option<Box<str>>,
}

impl Query for TopQuery {
    type Data = Top;

    async fn read(&self, rows: &Rows<'_>) -> Result<Top, Problem> {
        rows.require(ViewId::TopInteractions).await?;
        let time = rows.committed.time.known().ok_or_else(|| {
            let detail = "the time of the newest commit is not known yet: no frame had a readable \
                          time";
            Problem::unavailable("time_unknown", detail)
        })?;
        let key = |(_, _, measure): &Set| ListKey {
            window: Window::Day,
            measure: *measure,
            lang: "".into(),
        };
        let keys: Vec<ListKey> = self.sets.iter().map(key).collect();
        let lists: Vec<Option<ListRow>> = rows.get(ViewId::TopInteractions, &keys).await?;
        let lists: Vec<Vec<ListEntry>> = lists
            .into_iter()
            .map(|list| list.unwrap_or_default().entries)
            .collect();
        let profiles = profiles(rows, lists.iter().flatten()).await?;
        let item = |entry: ListEntry, measure: Measure| Item {
            profile: profiles.get(&entry.key).cloned(),
            did: entry.key,
            count: entry.value,
            c: has_characters(measure).then_some(entry.other),
        };
        let sets = self.sets.iter().zip(lists);
        Ok(Top {
            id: time.rfc3339().replace('Z', "+00:00"),
            name: self.name,
            data: sets
                .map(|((key, subkey, measure), entries)| ListSet {
                    key,
                    subkey: *subkey,
                    items: entries.into_iter().map(|it| item(it, *measure)).collect(),
                })
                .collect(),
        })
    }
}

fn has_characters(measure: Measure) -> bool {
    matches!(measure, Measure::PostsToOthers | Measure::PostsFromOthers)
}

/// The known profiles of the listed accounts, by DID.
async fn profiles<'a>(
    rows: &Rows<'_>,
    entries: impl Iterator<Item = &'a ListEntry>,
) -> Result<BTreeMap<Box<str>, Profile>, Problem> {
    let mut dids: Vec<Did> = entries
        .map(|entry| entry.key.parse().map_err(|_| RowError))
        .collect::<Result<_, _>>()?;
    dids.sort_unstable();
    dids.dedup();
    let profile = |profile: account::Profile| {
        Some(Profile {
            handle: profile.handle?,
            display_name: profile.name,
            avatar: profile.avatar,
        })
    };
    let accounts = accounts(rows, &dids).await?.into_iter();
    Ok(accounts
        .filter_map(|account| Some((account.did.into(), account.profile.and_then(profile)?)))
        .collect())
}
