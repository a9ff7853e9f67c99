//! Top lists: the items with the largest values.

use std::collections::BTreeMap;

use skytide_core::time::Timestamp;
use skytide_core::view::{Key, ListEntry, ListKey, ListRow, Measure, ViewId, Window, encode_row};

use super::history::History;
use super::people::ActorLists;
use super::posts::PostLists;
use super::selection::Selection;
use super::trends::Trends;

/// Counts the items of all top lists.
#[derive(Debug)]
pub struct ListCount<'a> {
    posts: PostLists<'a>,
    trends: Trends<'a>,
    actors: ActorLists<'a>,
}

impl<'a> ListCount<'a> {
    /// Counts the selected items at the network time `now`, of the epoch at which lists were
    /// written.
    pub fn new(now: Timestamp, selection: &'a Selection) -> Self {
        let now = now.minute();
        Self {
            posts: PostLists::new(selection, now),
            trends: Trends::of_lists(selection, now),
            actors: ActorLists::new(selection, now),
        }
    }

    /// Counts all accounts of a history. Each account may be counted only once.
    pub fn add(&mut self, history: &History) {
        for account in history.accounts() {
            self.posts.add(&account);
            self.trends.add(&account);
            self.actors.add(&account);
        }
    }

    /// Offers all items to the lists.
    pub fn offer(self, lists: &mut TopLists) {
        self.posts.offer(lists);
        self.trends.offer(lists);
        self.actors.offer(lists);
    }
}

/// The lists of the items that were offered. Items may be offered in parts.
#[derive(Clone, Debug, Default)]
pub struct TopLists(BTreeMap<(ViewId, Window, Measure, Box<str>), Vec<ListEntry>>);

impl TopLists {
    /// Adds an item to a list. Items without a value are in no list.
    pub(super) fn offer(
        &mut self,
        view: ViewId,
        (window, measure, lang): (Window, Measure, &str),
        entry: ListEntry,
    ) {
        if entry.value > 0 {
            let entries = self
                .0
                .entry((view, window, measure, lang.into()))
                .or_default();
            entries.push(entry);
            // The rest can be in no list, so it need not be stored.
            if entries.len() >= 16 * ListRow::LENGTH {
                keep_largest(entries);
            }
        }
    }

    /// Adds the items of other keys.
    pub fn add(&mut self, other: Self) {
        for (list, mut entries) in other.0 {
            let all = self.0.entry(list).or_default();
            all.append(&mut entries);
            keep_largest(all);
        }
    }

    /// The rows: of each list the [`ListRow::LENGTH`] entries with the largest values, largest
    /// first.
    pub fn rows(self) -> BTreeMap<ViewId, BTreeMap<Key, Box<[u8]>>> {
        let is_list = |view: &&ViewId| !Measure::of(**view).is_empty();
        let views = ViewId::ALL.iter().filter(is_list);
        let mut rows: BTreeMap<_, BTreeMap<_, _>> =
            views.map(|view| (*view, BTreeMap::new())).collect();
        for ((view, window, measure, lang), mut entries) in self.0 {
            keep_largest(&mut entries);
            let key = ListKey {
                window,
                measure,
                lang,
            };
            let row = encode_row(&ListRow { entries });
            rows.entry(view).or_default().insert(Key::of(&key), row);
        }
        rows
    }
}

fn keep_largest(entries: &mut Vec<ListEntry>) {
    entries.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.key.cmp(&b.key)));
    entries.truncate(ListRow::LENGTH);
}
