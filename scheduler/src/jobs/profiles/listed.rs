//! Collects the accounts in current lists, ordered by how prominently they are listed.
//!
//! ```text
//! all overall lists ─────────┐
//!                            ├─ keys ─▶ accounts: key or the post's author ─▶ best rank of each
//! lists of single languages ─┘  (a bounded number)
//! ```

use std::collections::BTreeMap;

use skytide_core::id::{Did, PostKey};
use skytide_core::port::BoxError;
use skytide_core::port::store::{Order, Range, ViewReader};
use skytide_core::view::{Key, ListKey, ListRow, Measure, ViewId, Window, decode_row};

/// The views whose lists name accounts.
const VIEWS: [ViewId; 5] = [
    ViewId::TopActors,
    ViewId::TopBlocks,
    ViewId::TopPosts,
    ViewId::TopMentions,
    ViewId::TopInteractions,
];
/// Largest number of lists of single languages that a run reads per view. The authors of posts name
/// the languages, so their number is not bounded otherwise.
const LISTS_MAX: usize = 1_024;
/// Lists per read.
const PAGE_LISTS: usize = 128;

/// The rank of an account: overall lists before those of single languages, then by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ListRank {
    in_language: bool,
    rank: usize,
}

/// The accounts of all lists, each once, in order of their best rank and then of their DID.
pub(super) async fn accounts(reader: &dyn ViewReader) -> Result<Vec<Did>, BoxError> {
    let mut ranks = BTreeMap::new();
    for view in VIEWS {
        add_overall_lists(reader, view, &mut ranks).await?;
        add_language_lists(reader, view, &mut ranks).await?;
    }
    let mut accounts: Vec<(ListRank, Did)> = ranks.into_iter().map(|(did, at)| (at, did)).collect();
    accounts.sort_unstable();
    Ok(accounts.into_iter().map(|(_, did)| did).collect())
}

async fn add_overall_lists(
    reader: &dyn ViewReader,
    view: ViewId,
    ranks: &mut BTreeMap<Did, ListRank>,
) -> Result<(), BoxError> {
    let key = |window: Window, measure: Measure| ListKey {
        window,
        measure,
        lang: "".into(),
    };
    let keys = Window::ALL.into_iter().flat_map(|window| {
        Measure::of(view)
            .iter()
            .map(move |it| Key::of(&key(window, *it)))
    });
    let keys: Vec<Key> = keys.collect();
    for row in reader.get(view, &keys).await?.into_iter().flatten() {
        add_list(view, false, &row.row, ranks)?;
    }
    Ok(())
}

async fn add_language_lists(
    reader: &dyn ViewReader,
    view: ViewId,
    ranks: &mut BTreeMap<Did, ListRank>,
) -> Result<(), BoxError> {
    let mut range = Range::prefix(Order::First, &[], PAGE_LISTS);
    let mut read = 0;
    while read < LISTS_MAX {
        let page = reader.scan(view, range.clone()).await?;
        read += page.len();
        for row in &page {
            let list: ListKey = row.key.decode()?;
            if !list.lang.is_empty() {
                add_list(view, true, &row.row, ranks)?;
            }
        }
        match page.last() {
            // The smallest key after this one.
            Some(last) if page.len() == PAGE_LISTS => {
                range.from = [last.key.as_bytes(), &[0]].concat().as_slice().into();
            }
            _ => break,
        }
    }
    Ok(())
}

fn add_list(
    view: ViewId,
    in_language: bool,
    row: &[u8],
    ranks: &mut BTreeMap<Did, ListRank>,
) -> Result<(), BoxError> {
    let list: ListRow = decode_row(row)?;
    for (rank, entry) in list.entries.iter().enumerate() {
        let did = match view {
            ViewId::TopPosts => entry.key.parse::<PostKey>()?.did(),
            _ => entry.key.parse()?,
        };
        let list_rank = ListRank { in_language, rank };
        let best = ranks.entry(did).or_insert(list_rank);
        *best = list_rank.min(*best);
    }
    Ok(())
}
