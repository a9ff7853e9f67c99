//! What people do of their own accord, in the proportions of the network.

use skytide_core::event::Action;
use skytide_core::id::Tid;

use super::agenda::{Task, class, code};
use super::cast::{Account, Class, NONE, Rec};
use super::{Deed, SECOND, Step, World, record};
use crate::random::Random;

/// What a frame is about, and how often in about 10,000.
const DEEDS: [(Choice, u32); 15] = [
    (Choice::Make(Class::Like), 6_960),
    (Choice::Make(Class::Post), 1_000),
    (Choice::Make(Class::Repost), 1_130),
    (Choice::Make(Class::Follow), 640),
    (Choice::Make(Class::Block), 69),
    (Choice::Make(Class::ListItem), 36),
    (Choice::Make(Class::Bookmark), 30),
    (Choice::Make(Class::Play), 40),
    (Choice::Profile, 44),
    (Choice::Gated, 38),
    (Choice::Thread, 20),
    (Choice::Pack, 8),
    (Choice::Identity, 24),
    (Choice::Status, 5),
    (Choice::Birth, 9),
];

#[derive(Clone, Copy)]
enum Choice {
    /// One new record.
    Make(Class),
    /// A new or changed profile.
    Profile,
    /// A post and who may answer it.
    Gated,
    /// Several posts, each an answer to the one before.
    Thread,
    /// Many follows at once.
    Pack,
    /// Another handle, or nobody knows what.
    Identity,
    /// Leaves, or is sent away.
    Status,
    /// Somebody new.
    Birth,
}

/// How many of 1,000 records of a class are undone.
fn undone_per_thousand(class: Class) -> u64 {
    match class {
        Class::Like => 10,
        Class::Repost => 40,
        Class::Post => 200,
        Class::Follow => 130,
        Class::Block => 60,
        _ => 0,
    }
}

impl World {
    /// What is done next.
    pub(super) fn deed(&mut self) -> Deed {
        if let Some(deed) = self.queue.pop_front() {
            return deed;
        }
        while let Some(task) = self.agenda.due(self.now) {
            if let Some(deed) = self.task(task) {
                return deed;
            }
        }
        const WEIGHTS: [u32; DEEDS.len()] = {
            let mut weights = [0; DEEDS.len()];
            let mut place = 0;
            while place < DEEDS.len() {
                weights[place] = DEEDS[place].1;
                place += 1;
            }
            weights
        };
        let choice = match DEEDS[self.random.weighted(&WEIGHTS)].0 {
            Choice::Birth if self.is_crowded() => Choice::Make(Class::Like),
            choice => choice,
        };
        match (choice, self.author()) {
            (Choice::Birth, _) | (_, None) => self.birth(),
            (_, Some(account)) if self.is_full(account) => self.clear(account),
            (Choice::Make(class), Some(account)) => {
                let step = self.make(account, class);
                self.regret(account, step.rec);
                commit(account, vec![step])
            }
            (Choice::Profile, Some(account)) => commit(account, vec![self.profile(account)]),
            (Choice::Gated, Some(account)) => {
                let post = self.make(account, Class::Post);
                let gate = told(Class::Threadgate, post.rec.tid, post.rec.subject);
                commit(account, vec![post, create(gate)])
            }
            (Choice::Thread, Some(account)) => self.thread(account),
            (Choice::Pack, Some(account)) => {
                let follows = 4 + self.random.below(24);
                let steps = (0..follows).map(|_| self.make(account, Class::Follow));
                commit(account, steps.collect())
            }
            (Choice::Identity, Some(account)) => {
                let change = self.random.percent(75);
                let named = change || self.random.percent(50);
                Deed::Identity {
                    account,
                    change,
                    named,
                }
            }
            (Choice::Status, Some(account)) => self.leave(account),
        }
    }

    /// Somebody who acts: the busy ones far more often than the others.
    pub(super) fn author(&mut self) -> Option<u32> {
        let first = self.options.accounts.max(1) as usize;
        let young = self.accounts.len() - first;
        (0..16).find_map(|_| {
            let draw = self.random.below(self.accounts.len() as u64) as usize;
            let account = if draw < young {
                (first + draw) as u32
            } else {
                self.authors.draw(&mut self.random)
            };
            self.accounts[account as usize]
                .is_active()
                .then_some(account)
        })
    }

    fn is_crowded(&self) -> bool {
        let max = self.options.accounts_max;
        max.is_some_and(|max| self.accounts.len() >= max as usize)
    }

    fn profile(&mut self, account: u32) -> Step {
        let old = self.accounts[account as usize].find(Class::Profile, Tid(0));
        match old {
            None => create(told(Class::Profile, Tid(0), NONE)),
            Some(place) => {
                let mut rec = self.accounts[account as usize].records[place];
                rec.version = rec.version.wrapping_add(1);
                rec.fault = 0;
                Step {
                    action: Action::Update,
                    rec,
                }
            }
        }
    }

    /// Plans that a record is undone or edited, if it will be.
    pub(super) fn regret(&mut self, account: u32, rec: Rec) {
        let Some(class) = code(rec.class) else { return };
        let tid = rec.tid;
        if self.random.below(1_000) < undone_per_thousand(rec.class) {
            let delay = self.random.log_uniform(1.0, 5_400.0) * SECOND as f64;
            let task = Task::Undo {
                account,
                class,
                tid,
            };
            self.agenda.plan(self.now + delay as u64, task);
        } else if rec.class == Class::Post && self.random.percent(2) {
            let delay = self.random.log_uniform(5.0, 1_800.0) * SECOND as f64;
            self.agenda
                .plan(self.now + delay as u64, Task::Edit { account, tid });
        }
    }

    fn task(&mut self, task: Task) -> Option<Deed> {
        match task {
            Task::Undo {
                account,
                class: code,
                tid,
            } => {
                let holder = self.active(account)?;
                let rec = holder.records[holder.find(class(code), tid)?];
                Some(commit(account, vec![delete(rec)]))
            }
            Task::Edit { account, tid } => {
                let holder = self.active(account)?;
                let mut rec = holder.records[holder.find(Class::Post, tid)?];
                rec.version = rec.version.checked_add(1)?;
                rec.fault = 0;
                let action = Action::Update;
                Some(commit(account, vec![Step { action, rec }]))
            }
            Task::Return { account } => self.come_back(account),
        }
    }

    fn active(&self, account: u32) -> Option<&Account> {
        Some(&self.accounts[account as usize]).filter(|account| account.is_active())
    }

    fn is_full(&self, account: u32) -> bool {
        let held = self.accounts[account as usize].records.len();
        self.options
            .records_max
            .is_some_and(|max| held >= max.max(40) as usize)
    }

    /// Deletes an account's oldest records.
    fn clear(&mut self, account: u32) -> Deed {
        let records = self.accounts[account as usize].records.iter();
        let oldest = records.filter(|rec| rec.class != Class::Profile).take(20);
        let steps: Vec<_> = oldest.map(|&rec| delete(rec)).collect();
        commit(account, steps)
    }

    /// The numbers that the world draws from.
    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}

pub(super) fn commit(account: u32, steps: Vec<Step>) -> Deed {
    Deed::Commit { account, steps }
}

pub(super) fn create(rec: Rec) -> Step {
    let action = Action::Create;
    Step { action, rec }
}

pub(super) fn delete(rec: Rec) -> Step {
    let action = Action::Delete;
    Step { action, rec }
}

pub(super) fn told(class: Class, tid: Tid, subject: u32) -> Rec {
    Rec {
        fault: 0,
        ..record(class, tid, subject)
    }
}
