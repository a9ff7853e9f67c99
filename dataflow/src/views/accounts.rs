//! `accounts`: handle, status and profile of each account, as the stream announced them.
//!
//! ```text
//! facts ─ (account, update) ─ reduce by account ─▶ rows
//! ```
//!
//! State: for each account at most four updates, and its row.

use differential_dataflow::AsCollection;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::view::{AccountRow, Key, ViewId, encode_row};

use crate::fact::Fact;
use crate::operators::arrangement::Arrangement;
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::named::flat_map;
use crate::sizes::HeapSize;
use crate::types::{Row, Rows, SuppressedRows, ViewInput};

/// An update to the row of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum AccountUpdate {
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

impl HeapSize for AccountUpdate {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Handle(text) => text.heap_bytes(),
            Self::Status { status, .. } => status.heap_bytes(),
            Self::Profile {
                name,
                description,
                avatar,
            } => name.heap_bytes() + description.heap_bytes() + avatar.heap_bytes(),
            Self::OutOfSync => 0,
        }
    }
}

/// Computes the rows of `accounts`.
pub fn accounts<'s>(input: ViewInput<'s>, suppressed: SuppressedRows) -> Rows<'s> {
    let states = input.clocks.states;
    let updates = flat_map_facts(input.facts, "OfAccounts", |fact, time, diff, updates| {
        updates.extend(update_of(fact).map(|update| (update, time, diff)));
    });

    // This is `reduce_named`, divided into its parts to see the sizes of both arrangements.
    let updates = updates.as_collection();
    let updates = updates.arrange_by_key_named("Arrange: Accounts");
    states.share(Arrangement::new("accounts.updates", &updates.trace));
    let rows = updates.reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<_, _, _, _>, _, _>(
        "Accounts",
        |_account: &Did, updates, row| {
            let updates = updates.iter().map(|(update, _)| *update);
            row.push((encode_row(&row_of(updates)), 1));
        },
        |rows, account, changes| {
            rows.clear();
            let changes = changes.drain(..);
            rows.extend(changes.map(|(row, time, diff)| ((account.clone(), row), time, diff)));
        },
    );
    states.share(Arrangement::new("accounts.rows", &rows.trace));
    let rows = rows.as_collection(|account, row| (account.clone(), row.clone()));

    flat_map(
        rows.inner,
        "AccountRows",
        move |((account, columns), time, diff)| {
            let row = || Row {
                view: ViewId::Accounts,
                key: Key::of(&account),
                columns,
            };
            let row = suppressed.emits(ViewId::Accounts, time).then(row);
            row.map(|row| (row, time, diff))
        },
    )
}

fn update_of(fact: &Fact) -> Option<(Did, AccountUpdate)> {
    match fact {
        Fact::Identity(account, handle, _) => {
            let handle = handle.clone().map(Into::into);
            Some((account.clone(), AccountUpdate::Handle(handle)))
        }
        Fact::Status(account, active, status) => {
            let (active, status) = (*active, status.clone());
            Some((account.clone(), AccountUpdate::Status { active, status }))
        }
        Fact::OutOfSync(account) => Some((account.clone(), AccountUpdate::OutOfSync)),
        Fact::Profile(profile) => Some((
            profile.did.clone(),
            AccountUpdate::Profile {
                name: profile.display_name.clone(),
                description: profile.description.clone(),
                avatar: profile.avatar.clone(),
            },
        )),
        _ => None,
    }
}

fn row_of<'a>(updates: impl Iterator<Item = &'a AccountUpdate>) -> AccountRow {
    let mut row = AccountRow {
        active: true,
        ..AccountRow::default()
    };
    for update in updates.cloned() {
        match update {
            AccountUpdate::Handle(handle) => row.handle = handle,
            AccountUpdate::Status { active, status } => {
                (row.active, row.status) = (active, status);
            }
            AccountUpdate::Profile {
                name,
                description,
                avatar,
            } => {
                (row.display_name, row.description, row.avatar) = (name, description, avatar);
            }
            AccountUpdate::OutOfSync => row.out_of_sync = true,
        }
    }
    row
}
