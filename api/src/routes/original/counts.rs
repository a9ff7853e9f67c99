//! `GET /original/collStats`: the numbers of live records of five collections. It needs no key.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use skytide_core::view::{ActivityKey, ActivityRow, Span, ViewId};

use super::failure::Failure;
use super::respond;
use crate::answer::{Query, Rows};
use crate::problem::Problem;
use crate::respond::Answers;

/// `GET /original/collStats`
pub(crate) async fn show(State(answers): State<Answers>) -> Result<Response, Failure> {
    let answer = answers.cache.get(&answers.context, CountsQuery).await?;
    Ok(respond(answer.object().to_owned()))
}

/// A request for the numbers of live records.
#[derive(Debug)]
struct CountsQuery;

/// The numbers of live records, as JSON. The names are those of the original's collections.
#[derive(Serialize)]
struct Counts {
    #[serde(rename = "app.bsky.actor.profile")]
    profiles: u64,
    #[serde(rename = "app.bsky.graph.block")]
    blocks: u64,
    #[serde(rename = "interactions.like")]
    likes: u64,
    #[serde(rename = "interactions.post")]
    posts: u64,
    #[serde(rename = "interactions.repost")]
    reposts: u64,
}

/// In the order of the fields of [`Counts`].
const COLLECTIONS: [&str; 5] = [
    "app.bsky.actor.profile",
    "app.bsky.graph.block",
    "app.bsky.feed.like",
    "app.bsky.feed.post",
    "app.bsky.feed.repost",
];

impl Query for CountsQuery {
    type Data = Counts;

    async fn read(&self, rows: &Rows<'_>) -> Result<Counts, Problem> {
        rows.require_computed(&[ViewId::Activity])?;
        let keys = COLLECTIONS.map(|collection| ActivityKey {
            span: Span::All,
            start_minute: 0,
            collection: collection.into(),
        });
        let found: Vec<Option<ActivityRow>> = rows.get(ViewId::Activity, &keys).await?;
        let live = |index: usize| {
            let row = found.get(index).and_then(Option::as_ref);
            row.map_or(0, |row| row.live)
        };
        Ok(Counts {
            profiles: live(0),
            blocks: live(1),
            likes: live(2),
            posts: live(3),
            reposts: live(4),
        })
    }
}
