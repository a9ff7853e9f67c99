//! Deeds that suit a kind of bad input.

use super::cast::{Class, Rec, Status, UNTOLD};
use super::deeds::{commit, create, delete};
use super::{Deed, World};
use crate::bad::{Form, Kind};

/// Accounts that are looked at to find one that suits.
const LOOKS_MAX: u32 = 60;

impl World {
    /// What is done in a frame of this kind; `None` if nobody can do it now.
    pub(super) fn trouble(&mut self, kind: Kind) -> Option<Deed> {
        let account = self.author()?;
        if !self.queue.is_empty() {
            return None;
        }
        match kind.form() {
            Form::Unnumbered | Form::Numbered => Some(Deed::Noise { account }),
            Form::Again => self.can_repeat(kind).then_some(Deed::Noise { account }),
            Form::Forged => {
                let told = |world: &mut Self| {
                    let account = world.author()?;
                    world.accounts[account as usize].told.then_some(account)
                };
                let account = (0..LOOKS_MAX).find_map(|_| told(self))?;
                Some(Deed::Noise { account })
            }
            Form::Real => self.real(kind, account),
            Form::Record => Some(self.spoil(kind, account)),
        }
    }

    fn real(&mut self, kind: Kind, account: u32) -> Option<Deed> {
        match kind {
            Kind::TooBig | Kind::BlocksAbsent => {
                let mut step = self.make(account, Class::Like);
                step.rec.fault = UNTOLD;
                Some(commit(account, vec![step]))
            }
            Kind::OpsEmpty => Some(Deed::Empty {
                account,
                moves: true,
            }),
            Kind::SyncMoved => Some(Deed::Sync {
                account,
                moves: true,
            }),
            Kind::PathGone => {
                let step = self.make(account, Class::Like);
                Some(commit(account, vec![step, delete(step.rec)]))
            }
            Kind::PathTwice => {
                let (account, old) =
                    self.holder(|rec| rec.is_told() && rec.class == Class::Like)?;
                let mut step = self.make(account, Class::Like);
                step.rec.tid = old.tid;
                Some(commit(account, vec![delete(old), step]))
            }
            Kind::DeleteUnknown => {
                let (account, old) =
                    self.holder(|rec| !rec.is_told() && rec.class == Class::Post)?;
                Some(commit(account, vec![delete(old)]))
            }
            Kind::InactiveCommit => self.inactive(account),
            _ => Some(self.one(account)),
        }
    }

    /// A commit of one new record.
    fn one(&mut self, account: u32) -> Deed {
        let class = *[
            Class::Like,
            Class::Like,
            Class::Post,
            Class::Repost,
            Class::Follow,
        ]
        .get(self.random().below(5) as usize)
        .unwrap_or(&Class::Like);
        let step = self.make(account, class);
        self.regret(account, step.rec);
        commit(account, vec![step])
    }

    fn spoil(&mut self, kind: Kind, account: u32) -> Deed {
        let class = match kind {
            Kind::KeyLength => Class::Post,
            _ => [Class::Like, Class::Post, Class::Follow][self.random().below(3) as usize],
        };
        let mut step = self.make(account, class);
        step.rec.fault = kind.code();
        if class == Class::Post {
            self.posts[step.rec.subject as usize].fault = (kind.code(), 0);
        }
        self.regret(account, step.rec);
        commit(account, vec![create(step.rec)])
    }

    /// Somebody active who has a record like this, and the record.
    fn holder(&mut self, suits: impl Fn(&Rec) -> bool) -> Option<(u32, Rec)> {
        (0..LOOKS_MAX).find_map(|_| {
            let account = self.author()?;
            let mut records = self.accounts[account as usize].records.iter();
            Some((account, *records.find(|rec| suits(rec))?))
        })
    }

    /// A commit of somebody who left; if nobody did, somebody leaves now.
    fn inactive(&mut self, account: u32) -> Option<Deed> {
        let accounts = self.accounts.len() as u64;
        let gone = (0..4 * LOOKS_MAX).find_map(|_| {
            let account = self.random().below(accounts) as u32;
            let status = self.accounts[account as usize].status;
            (status != Status::Active && status != Status::Deleted).then_some(account)
        });
        let Some(account) = gone else {
            let status = Status::Deactivated;
            self.queue.push_back(Deed::Status { account, status });
            return None;
        };
        let step = self.make(account, Class::Like);
        Some(commit(account, vec![step]))
    }
}
