//! `accounts`: what the stream tells of an account itself.
//!
//! ```text
//! facts ─ to (account, what is told) ─ reduce by account ─▶ rows
//! ```
//!
//! State: what is told of each account, at most four values, and its row.

use differential_dataflow::AsCollection;
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::view::{AccountRow, Key, ViewId, encode_row};
use timely::dataflow::operators::vec::Map;

use crate::fact::Fact;
use crate::operators::flat_map_facts::flat_map_facts;
use crate::types::{Facts, Row, Rows, SuppressedRows};

/// One thing that is told of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Told {
    Handle(Option<Box<str>>),
    Status {
        active: bool,
        status: Option<Box<str>>,
    },
    Profile {
        name: Option<Box<str>>,
        description: Option<Box<str>>,
        avatar: Option<Box<str>>,
    },
    OutOfSync,
}

/// Rows of `accounts`.
pub fn accounts<'s>(facts: Facts<'s>, suppressed: SuppressedRows) -> Rows<'s> {
    let told = flat_map_facts(facts, "OfAccounts", |fact, (time, diff), all| {
        all.extend(told(fact).map(|told| (told, time, diff)));
    });

    let rows = told
        .as_collection()
        .reduce_named("Accounts", |_account: &Did, told, row| {
            row.push((encode_row(&row_of(told.iter().map(|(told, _)| *told))), 1));
        });

    rows.inner
        .flat_map(move |((account, columns), time, diff)| {
            let row = || Row {
                view: ViewId::Accounts,
                key: Key::of(&account),
                columns,
            };
            let row = suppressed.emits(ViewId::Accounts, time).then(row);
            row.map(|row| (row, time, diff))
        })
}

fn told(fact: &Fact) -> Option<(Did, Told)> {
    match fact {
        Fact::Identity(account, handle, _) => {
            let handle = handle.clone().map(Into::into);
            Some((account.clone(), Told::Handle(handle)))
        }
        Fact::Status(account, active, status) => {
            let (active, status) = (*active, status.clone());
            Some((account.clone(), Told::Status { active, status }))
        }
        Fact::OutOfSync(account) => Some((account.clone(), Told::OutOfSync)),
        Fact::Profile(profile) => Some((
            profile.did.clone(),
            Told::Profile {
                name: profile.display_name.clone(),
                description: profile.description.clone(),
                avatar: profile.avatar.clone(),
            },
        )),
        _ => None,
    }
}

fn row_of<'a>(told: impl Iterator<Item = &'a Told>) -> AccountRow {
    let mut row = AccountRow {
        active: true,
        ..AccountRow::default()
    };
    for told in told.cloned() {
        match told {
            Told::Handle(handle) => row.handle = handle,
            Told::Status { active, status } => (row.active, row.status) = (active, status),
            Told::Profile {
                name,
                description,
                avatar,
            } => {
                (row.display_name, row.description, row.avatar) = (name, description, avatar);
            }
            Told::OutOfSync => row.out_of_sync = true,
        }
    }
    row
}
