//! Creation, deactivation and reactivation of accounts.

use skytide_core::id::Tid;

use super::accounts::{Account, NONE, RecordClass, Status};
use super::actions::{commit, create, streamed_record};
use super::schedule::Task;
use super::{AccountAction, DAY, SECOND, World};
use crate::words::{LANGUAGE_WEIGHTS, LanguageId};

impl World {
    /// Deactivates, takes down, suspends or deletes an account, and usually schedules its return.
    pub(super) fn change_status(&mut self, account: u32) -> AccountAction {
        let choice = self.random.weighted(&[60, 12, 8, 20]);
        let statuses = [
            Status::Deactivated,
            Status::TakenDown,
            Status::Suspended,
            Status::Deleted,
        ];
        let status = statuses[choice];
        if status != Status::Deleted && self.random.percent(75) {
            let delay = self.random.log_uniform(10.0, 4.0 * 3_600.0) * SECOND as f64;
            let task = Task::Reactivate { account };
            self.schedule.add(self.now + (delay as u64).min(DAY), task);
        }
        AccountAction::Status { account, status }
    }

    /// Reactivates an account. One that deactivated itself sends status, handle and revision again;
    /// one that its host hid sends only the status.
    pub(super) fn reactivate(&mut self, account: u32) -> Option<AccountAction> {
        match self.accounts[account as usize].status {
            Status::Active | Status::Deleted => return None,
            Status::Deactivated => {
                let (handle_changed, includes_handle) = (false, true);
                self.queue.push_back(AccountAction::Identity {
                    account,
                    handle_changed,
                    includes_handle,
                });
                self.queue.push_back(AccountAction::Sync {
                    account,
                    new_rev: false,
                });
            }
            Status::TakenDown | Status::Suspended => {}
        }
        let status = Status::Active;
        Some(AccountAction::Status { account, status })
    }

    /// Creates an account: identity, status, a first commit without operations, and its `#sync`.
    pub(super) fn create_account(&mut self) -> AccountAction {
        let account = self.accounts.len() as u32;
        let lang = self.random.weighted(&LANGUAGE_WEIGHTS) as LanguageId;
        let mut holder = Account {
            identity: self.registry.identity(account),
            lang,
            status: Status::Active,
            handle: 0,
            clock: self.now,
            rev: Tid(0),
            announced: false,
            records: Vec::new(),
            tree: None,
        };
        holder.rev = holder.next_tid(self.now);
        self.accounts.push(holder);
        let (handle_changed, includes_handle, new_rev) = (false, true, false);
        self.queue.extend([
            AccountAction::Status {
                account,
                status: Status::Active,
            },
            AccountAction::EmptyCommit { account, new_rev },
            AccountAction::Sync { account, new_rev },
        ]);
        if self.random.percent(80) {
            let rec = streamed_record(RecordClass::Profile, Tid(0), NONE);
            self.queue.push_back(commit(account, vec![create(rec)]));
        }
        AccountAction::Identity {
            account,
            handle_changed,
            includes_handle,
        }
    }
}
