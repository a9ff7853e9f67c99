//! Actions for frames of malformed input.

use super::accounts::{CompactRecord, NOT_STREAMED, RecordClass, Status};
use super::actions::{commit, create, delete};
use super::{AccountAction, World};
use crate::malformed::{FrameForm, Kind};

/// Maximum number of draws for a suitable account.
const DRAWS_MAX: u32 = 60;

impl World {
    /// The action of a frame of this kind; `None` if no account can perform it now.
    pub(super) fn malformed_action(&mut self, kind: Kind) -> Option<AccountAction> {
        let account = self.draw_author()?;
        if !self.queue.is_empty() {
            return None;
        }
        match kind.form() {
            FrameForm::Unnumbered | FrameForm::Numbered => Some(AccountAction::Noise { account }),
            FrameForm::Repeated => self
                .can_repeat(kind)
                .then_some(AccountAction::Noise { account }),
            FrameForm::Forged => {
                let announced_author = |world: &mut Self| {
                    let account = world.draw_author()?;
                    world.accounts[account as usize]
                        .announced
                        .then_some(account)
                };
                let account = (0..DRAWS_MAX).find_map(|_| announced_author(self))?;
                Some(AccountAction::Noise { account })
            }
            FrameForm::Real => self.real_commit(kind, account),
            FrameForm::Record => Some(self.malformed_record(kind, account)),
        }
    }

    /// A real commit, changed as its kind demands.
    fn real_commit(&mut self, kind: Kind, account: u32) -> Option<AccountAction> {
        match kind {
            Kind::TooBig | Kind::BlocksAbsent => {
                let mut op = self.new_record(account, RecordClass::Like);
                op.rec.fault = NOT_STREAMED;
                Some(commit(account, vec![op]))
            }
            Kind::OpsEmpty => Some(AccountAction::EmptyCommit {
                account,
                new_rev: true,
            }),
            Kind::SyncMoved => Some(AccountAction::Sync {
                account,
                new_rev: true,
            }),
            Kind::PathGone => {
                let op = self.new_record(account, RecordClass::Like);
                Some(commit(account, vec![op, delete(op.rec)]))
            }
            Kind::PathTwice => {
                let (account, old) =
                    self.find_record(|rec| rec.is_streamed() && rec.class == RecordClass::Like)?;
                let mut op = self.new_record(account, RecordClass::Like);
                op.rec.tid = old.tid;
                Some(commit(account, vec![delete(old), op]))
            }
            Kind::DeleteUnknown => {
                let (account, old) =
                    self.find_record(|rec| !rec.is_streamed() && rec.class == RecordClass::Post)?;
                Some(commit(account, vec![delete(old)]))
            }
            Kind::InactiveCommit => self.inactive_commit(account),
            _ => Some(self.single_commit(account)),
        }
    }

    /// A commit of one new record.
    fn single_commit(&mut self, account: u32) -> AccountAction {
        let class = *[
            RecordClass::Like,
            RecordClass::Like,
            RecordClass::Post,
            RecordClass::Repost,
            RecordClass::Follow,
        ]
        .get(self.random().below(5) as usize)
        .unwrap_or(&RecordClass::Like);
        let op = self.new_record(account, class);
        self.schedule_change(account, op.rec);
        commit(account, vec![op])
    }

    /// A commit of one record with malformed bytes.
    fn malformed_record(&mut self, kind: Kind, account: u32) -> AccountAction {
        let class = match kind {
            Kind::KeyLength => RecordClass::Post,
            _ => [RecordClass::Like, RecordClass::Post, RecordClass::Follow]
                [self.random().below(3) as usize],
        };
        let mut op = self.new_record(account, class);
        op.rec.fault = kind.code();
        if class == RecordClass::Post {
            self.posts[op.rec.subject as usize].fault = (kind.code(), 0);
        }
        self.schedule_change(account, op.rec);
        commit(account, vec![create(op.rec)])
    }

    /// Finds an active account with a matching record.
    fn find_record(
        &mut self,
        matches: impl Fn(&CompactRecord) -> bool,
    ) -> Option<(u32, CompactRecord)> {
        (0..DRAWS_MAX).find_map(|_| {
            let account = self.draw_author()?;
            let mut records = self.accounts[account as usize].records.iter();
            Some((account, *records.find(|rec| matches(rec))?))
        })
    }

    /// A commit of an inactive account. If there is none, an account becomes inactive instead.
    fn inactive_commit(&mut self, account: u32) -> Option<AccountAction> {
        let accounts = self.accounts.len() as u64;
        let inactive = (0..4 * DRAWS_MAX).find_map(|_| {
            let account = self.random().below(accounts) as u32;
            let status = self.accounts[account as usize].status;
            (status != Status::Active && status != Status::Deleted).then_some(account)
        });
        let Some(account) = inactive else {
            let status = Status::Deactivated;
            self.queue
                .push_back(AccountAction::Status { account, status });
            return None;
        };
        let op = self.new_record(account, RecordClass::Like);
        Some(commit(account, vec![op]))
    }
}
