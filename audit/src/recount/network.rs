//! The views `activity`, `accounts`, `handles` and `counters`: what happened, by time and by
//! account.

use std::collections::BTreeMap;

use skytide_core::id::Did;
use skytide_core::live::{LiveContent, all_time};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{AccountRow, CounterRow, HandleKey, HandleRow, Span, ViewId, Window};

use super::Table;
use super::history::{AccountView, History};
use super::selection::Selection;

/// How long hourly rows of `activity` are retained: 60 days.
const HOUR_ROWS_MINUTES: u32 = 60 * 24 * 60;

/// The rows of `activity` and `counters`, from the totals of a history and the number of live
/// records by kind.
pub(super) fn totals(
    history: &History,
    live: BTreeMap<String, u64>,
    now: Minute,
    table: &mut Table,
) {
    let mut rows = history.totals.activity.clone();
    for (kind, count) in live {
        rows.entry(all_time(&kind)).or_default().live = count;
    }
    for (key, row) in rows {
        let first = match key.span {
            Span::All => 0,
            Span::Hour => (now.0 - now.0 % 60).saturating_sub(HOUR_ROWS_MINUTES),
            Span::Minute => Window::Day.first_minute(now).0,
        };
        if key.start_minute >= first {
            table.put(ViewId::Activity, &key, &row);
        }
    }
    for (name, value) in &history.totals.counters {
        table.put(ViewId::Counters, name, &CounterRow { value: *value });
    }
}

/// The rows of `accounts` and `handles`.
#[derive(Debug)]
pub(super) struct Accounts<'a> {
    selection: &'a Selection,
    rows: BTreeMap<Did, AccountRow>,
    handles: Vec<(HandleKey, Timestamp)>,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(selection: &'a Selection) -> Self {
        Self {
            selection,
            rows: BTreeMap::new(),
            handles: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, account: &AccountView<'_>) {
        let did = account.did;
        let announced = account.announced();
        if let Some((handle, claimed)) = announced.and_then(|it| it.handle.as_ref())
            && self.selection.has(ViewId::Handles, &(&**handle, did))
        {
            let key = HandleKey {
                handle: handle.clone(),
                did: did.clone(),
            };
            self.handles.push((key, *claimed));
        }
        if !self.selection.has(ViewId::Accounts, did) {
            return;
        }
        let mut row = announced.map(|announced| AccountRow {
            handle: announced.handle.as_ref().map(|(handle, _)| handle.clone()),
            active: announced.active,
            status: announced.status.clone(),
            out_of_sync: announced.out_of_sync,
            ..AccountRow::default()
        });
        for fact in account.facts() {
            let LiveContent::Profile(profile) = fact.content else {
                continue;
            };
            // The record key of an account's profile is always `self`.
            if !fact.rkey.with_str(|rkey| rkey == "self") {
                continue;
            }
            let row = row.get_or_insert(AccountRow {
                active: true,
                ..AccountRow::default()
            });
            row.display_name = profile.display_name.clone();
            row.description = profile.description.clone();
            row.avatar = profile.avatar.clone();
        }
        self.rows.extend(row.map(|row| (did.clone(), row)));
    }

    pub(super) fn rows(self, table: &mut Table) {
        for (did, row) in self.rows {
            table.put(ViewId::Accounts, &did, &row);
        }
        for (key, claimed) in self.handles {
            table.put(ViewId::Handles, &key, &HandleRow { claimed });
        }
    }
}
