//! `/v1/posts/{uri}`: the tallies of a post, which are its numbers of likes, reposts, replies and
//! so on over all time.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::id::{PostKey, Rkey};
use skytide_core::view::{PostRow, ViewId, Window};

use crate::account::{Account, accounts};
use crate::answer::{Query, Rows, since_start};
use crate::catalogue::POST;
use crate::handles::Handles;
use crate::params::{Params, decode_path};
use crate::problem::Problem;
use crate::respond::Answers;
use crate::target::{PostAddress, Resolved, ResolvedActor, post_url};

/// `GET /v1/posts/{uri}`
pub(crate) async fn show(
    State(answers): State<Answers>,
    State(handles): State<Handles>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let address = PostAddress::parse(&decode_path(path)?)?;
    Params::parse(query.as_deref(), &POST)?;
    let query = PostQuery {
        author: handles.resolve(&answers.context, &address.author).await?,
        rkey: address.rkey,
    };
    answers.respond(&headers, query).await
}

/// A request for a post.
#[derive(Debug)]
pub(crate) struct PostQuery {
    author: ResolvedActor,
    rkey: Rkey,
}

/// A post, as JSON.
#[derive(Serialize)]
pub(crate) struct Post {
    uri: String,
    url: String,
    author: Account,
    /// How the handle in the request was resolved; absent if the request has a DID.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Resolved>,
    #[serde(flatten)]
    tallies: PostRow,
}

impl Query for PostQuery {
    type Data = Post;

    fn window(&self) -> Option<Window> {
        Some(Window::All)
    }

    async fn read(&self, rows: &Rows<'_>) -> Result<Post, Problem> {
        rows.require_computed(&[ViewId::Posts])?;
        let ResolvedActor { did, resolved } = &self.author;
        let post = PostKey::new(did, &self.rkey);
        let tallies: Option<PostRow> = rows.get_one(ViewId::Posts, post.clone()).await?;
        let tallies = tallies.ok_or_else(|| {
            let since_start = since_start(rows.committed);
            Problem::not_found(format!(
                "no event created or referred to {post}{since_start}"
            ))
        })?;
        let mut author = accounts(rows, std::slice::from_ref(did)).await?;
        Ok(Post {
            uri: post.to_string(),
            url: post_url(&post),
            author: author.remove(0),
            resolved: resolved.clone(),
            tallies,
        })
    }
}
