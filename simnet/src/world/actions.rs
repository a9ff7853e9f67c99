//! Ordinary actions of accounts, in the proportions of the real network.

use skytide_core::event::Action;
use skytide_core::id::Tid;

use super::accounts::{Account, CompactRecord, NONE, RecordClass};
use super::schedule::{Task, class_from_number, class_number};
use super::{AccountAction, RecordOp, SECOND, World, unstreamed_record};
use crate::random::Random;

/// What a frame contains, with weights that sum to about 10,000.
const CHOICES: [(Choice, u32); 15] = [
    (Choice::Record(RecordClass::Like), 6_960),
    (Choice::Record(RecordClass::Post), 1_000),
    (Choice::Record(RecordClass::Repost), 1_130),
    (Choice::Record(RecordClass::Follow), 640),
    (Choice::Record(RecordClass::Block), 69),
    (Choice::Record(RecordClass::ListItem), 36),
    (Choice::Record(RecordClass::Bookmark), 30),
    (Choice::Record(RecordClass::Play), 40),
    (Choice::Profile, 44),
    (Choice::GatedPost, 38),
    (Choice::Thread, 20),
    (Choice::FollowMany, 8),
    (Choice::Identity, 24),
    (Choice::Status, 5),
    (Choice::NewAccount, 9),
];

#[derive(Clone, Copy)]
enum Choice {
    /// One new record.
    Record(RecordClass),
    /// A new or edited profile.
    Profile,
    /// A post and a rule about who may reply.
    GatedPost,
    /// Several posts, each a reply to the previous one.
    Thread,
    /// Many follows in one commit.
    FollowMany,
    /// A new handle, or an identity event without one.
    Identity,
    /// A deactivation, takedown, suspension or deletion.
    Status,
    /// A new account.
    NewAccount,
}

/// How many of 1,000 records of a class are deleted again.
fn deleted_per_thousand(class: RecordClass) -> u64 {
    match class {
        RecordClass::Like => 10,
        RecordClass::Repost => 40,
        RecordClass::Post => 200,
        RecordClass::Follow => 130,
        RecordClass::Block => 60,
        _ => 0,
    }
}

impl World {
    /// The next action.
    pub(super) fn next_action(&mut self) -> AccountAction {
        if let Some(action) = self.queue.pop_front() {
            return action;
        }
        while let Some(task) = self.schedule.due(self.now) {
            if let Some(action) = self.perform(task) {
                return action;
            }
        }
        const WEIGHTS: [u32; CHOICES.len()] = {
            let mut weights = [0; CHOICES.len()];
            let mut index = 0;
            while index < CHOICES.len() {
                weights[index] = CHOICES[index].1;
                index += 1;
            }
            weights
        };
        let choice = match CHOICES[self.random.weighted(&WEIGHTS)].0 {
            Choice::NewAccount if self.has_accounts_max() => Choice::Record(RecordClass::Like),
            choice => choice,
        };
        match (choice, self.draw_author()) {
            (Choice::NewAccount, _) | (_, None) => self.create_account(),
            (_, Some(account)) if self.has_records_max(account) => self.delete_oldest(account),
            (Choice::Record(class), Some(account)) => {
                let op = self.new_record(account, class);
                self.schedule_change(account, op.rec);
                commit(account, vec![op])
            }
            (Choice::Profile, Some(account)) => commit(account, vec![self.profile(account)]),
            (Choice::GatedPost, Some(account)) => {
                let post = self.new_record(account, RecordClass::Post);
                let gate = streamed_record(RecordClass::Threadgate, post.rec.tid, post.rec.subject);
                commit(account, vec![post, create(gate)])
            }
            (Choice::Thread, Some(account)) => self.thread(account),
            (Choice::FollowMany, Some(account)) => {
                let follows = 4 + self.random.below(24);
                let ops = (0..follows).map(|_| self.new_record(account, RecordClass::Follow));
                commit(account, ops.collect())
            }
            (Choice::Identity, Some(account)) => {
                let handle_changed = self.random.percent(75);
                let includes_handle = handle_changed || self.random.percent(50);
                AccountAction::Identity {
                    account,
                    handle_changed,
                    includes_handle,
                }
            }
            (Choice::Status, Some(account)) => self.change_status(account),
        }
    }

    /// Draws an active account, weighted by its activity.
    pub(super) fn draw_author(&mut self) -> Option<u32> {
        let first = self.options.accounts.max(1) as usize;
        let created = self.accounts.len() - first;
        (0..16).find_map(|_| {
            let draw = self.random.below(self.accounts.len() as u64) as usize;
            let account = if draw < created {
                (first + draw) as u32
            } else {
                self.authors.draw(&mut self.random)
            };
            self.accounts[account as usize]
                .is_active()
                .then_some(account)
        })
    }

    /// Whether no more accounts may be created.
    fn has_accounts_max(&self) -> bool {
        let max = self.options.accounts_max;
        max.is_some_and(|max| self.accounts.len() >= max as usize)
    }

    fn profile(&mut self, account: u32) -> RecordOp {
        let old = self.accounts[account as usize].find(RecordClass::Profile, Tid(0));
        match old {
            None => create(streamed_record(RecordClass::Profile, Tid(0), NONE)),
            Some(position) => {
                let mut rec = self.accounts[account as usize].records[position];
                rec.version = rec.version.wrapping_add(1);
                rec.fault = 0;
                RecordOp {
                    action: Action::Update,
                    rec,
                }
            }
        }
    }

    /// Schedules the deletion or edit of a record, if it will have one.
    pub(super) fn schedule_change(&mut self, account: u32, rec: CompactRecord) {
        let Some(class) = class_number(rec.class) else {
            return;
        };
        let tid = rec.tid;
        if self.random.below(1_000) < deleted_per_thousand(rec.class) {
            let delay = self.random.log_uniform(1.0, 5_400.0) * SECOND as f64;
            let task = Task::Delete {
                account,
                class,
                tid,
            };
            self.schedule.add(self.now + delay as u64, task);
        } else if rec.class == RecordClass::Post && self.random.percent(2) {
            let delay = self.random.log_uniform(5.0, 1_800.0) * SECOND as f64;
            self.schedule
                .add(self.now + delay as u64, Task::Edit { account, tid });
        }
    }

    /// The action of a scheduled task; `None` if it no longer applies.
    fn perform(&mut self, task: Task) -> Option<AccountAction> {
        match task {
            Task::Delete {
                account,
                class,
                tid,
            } => {
                let holder = self.active_account(account)?;
                let rec = holder.records[holder.find(class_from_number(class), tid)?];
                Some(commit(account, vec![delete(rec)]))
            }
            Task::Edit { account, tid } => {
                let holder = self.active_account(account)?;
                let mut rec = holder.records[holder.find(RecordClass::Post, tid)?];
                rec.version = rec.version.checked_add(1)?;
                rec.fault = 0;
                let action = Action::Update;
                Some(commit(account, vec![RecordOp { action, rec }]))
            }
            Task::Reactivate { account } => self.reactivate(account),
        }
    }

    fn active_account(&self, account: u32) -> Option<&Account> {
        Some(&self.accounts[account as usize]).filter(|account| account.is_active())
    }

    /// Whether an account has so many records that it deletes its oldest ones.
    fn has_records_max(&self, account: u32) -> bool {
        let records = self.accounts[account as usize].records.len();
        self.options
            .records_max
            .is_some_and(|max| records >= max.max(40) as usize)
    }

    /// Deletes an account's oldest records.
    fn delete_oldest(&mut self, account: u32) -> AccountAction {
        let records = self.accounts[account as usize].records.iter();
        let oldest = records
            .filter(|rec| rec.class != RecordClass::Profile)
            .take(20);
        let ops: Vec<_> = oldest.map(|&rec| delete(rec)).collect();
        commit(account, ops)
    }

    /// The random numbers of the world.
    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}

pub(super) fn commit(account: u32, ops: Vec<RecordOp>) -> AccountAction {
    AccountAction::Commit { account, ops }
}

pub(super) fn create(rec: CompactRecord) -> RecordOp {
    let action = Action::Create;
    RecordOp { action, rec }
}

pub(super) fn delete(rec: CompactRecord) -> RecordOp {
    let action = Action::Delete;
    RecordOp { action, rec }
}

/// A record that the stream sends with this frame.
pub(super) fn streamed_record(class: RecordClass, tid: Tid, subject: u32) -> CompactRecord {
    CompactRecord {
        fault: 0,
        ..unstreamed_record(class, tid, subject)
    }
}
