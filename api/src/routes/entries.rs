//! A page of a list as JSON, and the join of its entries with posts and accounts.

use std::str::FromStr;

use serde::Serialize;
use skytide_core::id::{Did, PostKey};
use skytide_core::view::{PostRow, RowError, ViewId};

use super::lists::EntryKind;
use crate::account::{Account, accounts};
use crate::answer::Rows;
use crate::problem::Problem;
use crate::target::post_url;
use crate::velocity::CoveredWindow;

/// A page of a list, as JSON.
#[derive(Serialize)]
pub(crate) struct ListPage {
    pub(crate) view: &'static str,
    pub(crate) window: CoveredWindow,
    pub(crate) lang: Option<Box<str>>,
    pub(crate) measure: &'static str,
    /// Number of entries in the whole list.
    pub(crate) ranked_among: usize,
    /// The count below which an entry has no velocity and is not ranked. Only in lists by velocity.
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

/// Joins entries with the accounts that their keys name. Posts are also joined with their URL, and
/// with their tallies if `with_tallies` is set and the view `posts` is computed; tallies are always
/// the current ones.
pub(crate) async fn join(
    rows: &Rows<'_>,
    kind: EntryKind,
    with_tallies: bool,
    entries: &mut [Entry],
) -> Result<(), Problem> {
    let dids: Vec<Did> = match kind {
        EntryKind::Text => return Ok(()),
        EntryKind::Account => parse_keys(entries)?,
        EntryKind::Post => {
            let posts: Vec<PostKey> = parse_keys(entries)?;
            for (entry, post) in entries.iter_mut().zip(&posts) {
                entry.url = Some(post_url(post));
            }
            if with_tallies && rows.computes(ViewId::Posts) {
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

/// Parses the keys of stored entries. A key that cannot be parsed means a damaged row.
fn parse_keys<K: FromStr>(entries: &[Entry]) -> Result<Vec<K>, RowError> {
    entries
        .iter()
        .map(|entry| entry.key.parse().map_err(|_| RowError))
        .collect()
}
