//! The views `activity`, `accounts`, `handles` and `counters`: what happened, by time and by
//! account.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::event::Action;
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{
    AccountRow, ActivityKey, ActivityRow, CounterRow, HandleKey, HandleRow, Span, ViewId, Window,
};

use super::Table;
use super::facts::Content;
use super::history::History;

/// How long hourly rows of `activity` are retained: 60 days.
const HOUR_ROWS_MINUTES: u32 = 60 * 24 * 60;

pub(super) fn rows(history: &History, now: Minute, table: &mut Table) {
    activity(history, now, table);
    accounts(history, table);
    handles(history, table);
    for (name, value) in &history.counters {
        table.put(ViewId::Counters, name, &CounterRow { value: *value });
    }
}

fn activity(history: &History, now: Minute, table: &mut Table) {
    let mut rows: BTreeMap<(Span, u32, &str), ActivityRow> = BTreeMap::new();
    let mut accounts: BTreeMap<(Span, u32, &str), BTreeSet<&Did>> = BTreeMap::new();
    for entry in &history.activity {
        // Each operation also counts in the row without a collection; `#` marks other events.
        let mut kinds = vec![entry.kind.as_str()];
        if !entry.kind.starts_with('#') {
            kinds.push("");
        }
        let minute = entry.minute.0;
        let hour = minute - minute % 60;
        for (span, start) in [(Span::All, 0), (Span::Hour, hour), (Span::Minute, minute)] {
            for kind in &kinds {
                let key = (span, start, *kind);
                accounts.entry(key).or_default().insert(&entry.did);
                let row = rows.entry(key).or_default();
                match entry.action {
                    Action::Create => row.creates += 1,
                    Action::Update => row.updates += 1,
                    Action::Delete => row.deletes += 1,
                }
                row.bytes += entry.bytes;
            }
        }
    }
    for uri in history.live() {
        for kind in [history.kind(uri.collection.as_str()), ""] {
            rows.entry((Span::All, 0, kind)).or_default().live += 1;
        }
    }
    for ((span, start_minute, kind), mut row) in rows {
        let key = (span, start_minute, kind);
        row.accounts = accounts[&key].len() as u64;
        let first = match span {
            Span::All => 0,
            Span::Hour => (now.0 - now.0 % 60).saturating_sub(HOUR_ROWS_MINUTES),
            Span::Minute => Window::Day.first_minute(now).0,
        };
        if start_minute >= first {
            let key = ActivityKey {
                span,
                start_minute,
                collection: kind.into(),
            };
            table.put(ViewId::Activity, &key, &row);
        }
    }
}

fn accounts(history: &History, table: &mut Table) {
    let mut rows: BTreeMap<&Did, AccountRow> = BTreeMap::new();
    for (did, account) in &history.accounts {
        let row = AccountRow {
            handle: account.handle.as_ref().map(|(handle, _)| handle.clone()),
            active: account.active,
            status: account.status.clone(),
            out_of_sync: account.out_of_sync,
            ..AccountRow::default()
        };
        rows.insert(did, row);
    }
    for fact in history.facts() {
        let Content::Profile(profile) = fact.content else {
            continue;
        };
        // The record key of an account's profile is always `self`.
        if !fact.uri.rkey.with_str(|rkey| rkey == "self") {
            continue;
        }
        let unknown = AccountRow {
            active: true,
            ..AccountRow::default()
        };
        let row = rows.entry(&fact.uri.did).or_insert(unknown);
        row.display_name = profile.display_name.clone();
        row.description = profile.description.clone();
        row.avatar = profile.avatar.clone();
    }
    for (did, row) in rows {
        table.put(ViewId::Accounts, did, &row);
    }
}

fn handles(history: &History, table: &mut Table) {
    for (did, account) in &history.accounts {
        if let Some((handle, claimed)) = &account.handle {
            let key = HandleKey {
                handle: handle.clone(),
                did: did.clone(),
            };
            table.put(ViewId::Handles, &key, &HandleRow { claimed: *claimed });
        }
    }
}
