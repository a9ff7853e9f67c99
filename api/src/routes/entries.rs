//! A page of a list as JSON, and the join of its keys with posts and accounts.

use std::str::FromStr;

use serde::Serialize;
use skytide_core::id::{Did, PostKey};
use skytide_core::view::{PostRow, RowError, ViewId};

use super::lists::Keys;
use crate::account::{Account, accounts};
use crate::answer::Rows;
use crate::problem::Problem;
use crate::subject::post_url;
use crate::velocity::Covered;

/// A page of a list, as JSON.
#[derive(Serialize)]
pub(crate) struct Page {
    pub(crate) view: &'static str,
    pub(crate) window: Covered,
    pub(crate) lang: Option<Box<str>>,
    pub(crate) measure: &'static str,
    /// Entries in the whole list, of which this is a page.
    pub(crate) ranked_among: usize,
    /// How many best by count were looked at, and how high a count must be; only of velocity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) support_min: Option<u32>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) cursor: Option<String>,
}

/// An entry of a list, as JSON.
#[derive(Serialize)]
pub(crate) struct Entry {
    pub(crate) rank: usize,
    pub(crate) key: Box<str>,
    pub(crate) value: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authors: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) velocity: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) post: Option<PostRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<Account>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

/// Adds the accounts that the keys name, and to posts their tallies, which are of now, if `tallies` are wanted.
pub(crate) async fn join(
    rows: &Rows<'_>,
    keys: Keys,
    tallies: bool,
    entries: &mut [Entry],
) -> Result<(), Problem> {
    let dids: Vec<Did> = match keys {
        Keys::Texts => return Ok(()),
        Keys::Accounts => keys_of(entries)?,
        Keys::Posts => {
            let posts: Vec<PostKey> = keys_of(entries)?;
            for (entry, post) in entries.iter_mut().zip(&posts) {
                entry.url = Some(post_url(post));
            }
            if tallies {
                let tallies: Vec<Option<PostRow>> = rows.get(ViewId::Posts, &posts).await?;
                for (entry, tally) in entries.iter_mut().zip(tallies) {
                    entry.post = Some(tally.unwrap_or_default());
                }
            }
            posts.iter().map(PostKey::did).collect()
        }
    };
    for (entry, account) in entries.iter_mut().zip(accounts(rows, &dids).await?) {
        entry.account = Some(account);
    }
    Ok(())
}

fn keys_of<K: FromStr>(entries: &[Entry]) -> Result<Vec<K>, RowError> {
    entries
        .iter()
        .map(|entry| entry.key.parse().map_err(|_| RowError))
        .collect()
}
