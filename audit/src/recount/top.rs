//! Top lists: the items with the largest values.

use std::collections::BTreeMap;

use skytide_core::view::{Key, ListEntry, ListKey, ListRow, Measure, ViewId, Window, encode_row};

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
