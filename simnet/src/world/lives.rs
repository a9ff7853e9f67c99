//! Accounts that come, leave and come back.

use skytide_core::id::Tid;

use super::agenda::Task;
use super::cast::{Account, Class, NONE, Status};
use super::deeds::{commit, create, told};
use super::{DAY, Deed, SECOND, World};
use crate::words::{LANG_WEIGHTS, Lang};

impl World {
    pub(super) fn leave(&mut self, account: u32) -> Deed {
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
            let task = Task::Return { account };
            self.agenda.plan(self.now + (delay as u64).min(DAY), task);
        }
        Deed::Status { account, status }
    }

    /// Who had left tells status, handle and revision again; whom the hosts had hidden, only the status.
    pub(super) fn come_back(&mut self, account: u32) -> Option<Deed> {
        match self.accounts[account as usize].status {
            Status::Active | Status::Deleted => return None,
            Status::Deactivated => {
                let (change, named) = (false, true);
                self.queue.push_back(Deed::Identity {
                    account,
                    change,
                    named,
                });
                self.queue.push_back(Deed::Sync {
                    account,
                    moves: false,
                });
            }
            Status::TakenDown | Status::Suspended => {}
        }
        let status = Status::Active;
        Some(Deed::Status { account, status })
    }

    /// Somebody new: identity, status, a first commit without operations, and its `#sync`.
    pub(super) fn birth(&mut self) -> Deed {
        let account = self.accounts.len() as u32;
        let lang = self.random.weighted(&LANG_WEIGHTS) as Lang;
        let mut holder = Account {
            identity: self.registry.identity(account),
            lang,
            status: Status::Active,
            handle: 0,
            clock: self.now,
            rev: Tid(0),
            told: false,
            records: Vec::new(),
            tree: None,
        };
        holder.rev = holder.tid(self.now);
        self.accounts.push(holder);
        let (change, named, moves) = (false, true, false);
        self.queue.extend([
            Deed::Status {
                account,
                status: Status::Active,
            },
            Deed::Empty { account, moves },
            Deed::Sync { account, moves },
        ]);
        if self.random.percent(80) {
            let rec = told(Class::Profile, Tid(0), NONE);
            self.queue.push_back(commit(account, vec![create(rec)]));
        }
        Deed::Identity {
            account,
            change,
            named,
        }
    }
}
