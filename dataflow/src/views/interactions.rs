//! `interactions`: who acted on whom, by day.
//!
//! ```text
//! facts ─ (author, day, subject), what was done ─▶ sum in its day ─▶ rows
//!                                                   └─ a day that is over: its rows leave
//! ```
//!
//! The facts of an author all come from one worker, so the pairs stay there.
//!
//! State: an entry per (author, day, subject) of the days that are kept. A day leaves at once, in the
//! first epoch of the day that makes it too old: rows must not depend on how epochs are grouped into commits. At
//! network scale that is one slow commit a day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{InteractionKey, InteractionRow, ViewId};
use timely::dataflow::channels::pact::Pipeline;

use super::sums::Touched;
use crate::fact::{Act, Fact, Post, Subject};
use crate::operators::interner::Interner;
use crate::operators::of_facts::of_facts;
use crate::operators::on_tick::on_tick;
use crate::types::{Clocks, Facts, Quiet, Row, Rows, Time};

/// What an account did to another one, more or less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Acts {
    likes: i32,
    reposts: i32,
    replies: i32,
    quotes: i32,
    characters: i64,
}

/// Rows of `interactions`, of the last `days_kept` days with the open one, or for ever.
pub fn interactions<'s>(
    (facts, clocks): (Facts<'s>, Clocks<'s>),
    days_kept: Option<u32>,
    quiet: Quiet,
) -> Rows<'s> {
    let acts = of_facts(facts, "OfInteractions", |fact, (_time, diff), all| {
        all.extend(act_of(fact).map(|(key, mut acts)| {
            acts.scale(diff);
            (key, acts)
        }));
    });

    let mut days = Days::default();
    on_tick(
        "Interactions",
        (acts, Pipeline),
        clocks,
        move |(time, clock), acts, rows| {
            let first_day = days_kept.map_or(0, |days| (clock.now.day() + 1).saturating_sub(days));
            let mut touched = Touched::<InteractionKey, InteractionRow>::new();
            if !quiet.tells(ViewId::Interactions, time) {
                for acts in acts {
                    days.add_quietly(&acts, first_day);
                }
                days.days = days.days.split_off(&first_day);
                return;
            }
            let acts = acts.into_iter().flatten();
            for (key, acts) in acts.filter(|(key, _)| key.day >= first_day) {
                let sum = days.sum(&key);
                touched.touch(&key, || sum.row());
                sum.add(&acts);
            }
            touched.tell((ViewId::Interactions, time), |key| days.settle(key), rows);
            days.leave(first_day, time, rows);
        },
    )
}

/// Sums by day, pairs of accounts by number.
#[derive(Default)]
struct Days {
    dids: Interner<Did>,
    days: BTreeMap<u32, Pairs>,
}

/// Sums of a day by pair of author and subject.
#[derive(Default)]
struct Pairs(Interner<(u32, u32), Acts>);

impl Pairs {
    fn sum(&mut self, pair: (u32, u32)) -> &mut Acts {
        let number = self.0.number(&pair);
        &mut self.0[number]
    }

    fn add(&mut self, pairs: &[(u32, u32)], acts: &[Acts]) {
        let numbers = self.0.number_all(pairs.iter());
        for (&number, acts) in numbers.iter().zip(acts) {
            self.0[number].add(acts);
        }
        for (&number, &pair) in numbers.iter().zip(pairs) {
            if self.0[number] == Acts::default() {
                self.forget(pair);
            }
        }
    }

    fn forget(&mut self, pair: (u32, u32)) {
        if let Some(number) = self.0.find(&pair) {
            self.0.release(number);
        }
    }
}

impl Days {
    fn pair(&mut self, key: &InteractionKey) -> (u32, u32) {
        (
            self.dids.number(&key.author),
            self.dids.number(&key.subject),
        )
    }

    fn sum(&mut self, key: &InteractionKey) -> &mut Acts {
        let pair = self.pair(key);
        self.days.entry(key.day).or_default().sum(pair)
    }

    /// Adds without a word of rows.
    fn add_quietly(&mut self, acts: &[(InteractionKey, Acts)], first_day: u32) {
        // Accounts keep their numbers: none for what is too old.
        let acts = acts.iter().filter(|(key, _)| key.day >= first_day);
        let keys = acts.clone().map(|(key, _)| key);
        let authors = self.dids.number_all(keys.clone().map(|key| &key.author));
        let subjects = self.dids.number_all(keys.map(|key| &key.subject));
        let mut by_day = BTreeMap::<u32, (Vec<(u32, u32)>, Vec<Acts>)>::new();
        for ((key, acts), pair) in acts.zip(authors.into_iter().zip(subjects)) {
            let (pairs, sums) = by_day.entry(key.day).or_default();
            pairs.push(pair);
            sums.push(*acts);
        }
        for (day, (pairs, acts)) in by_day {
            self.days.entry(day).or_default().add(&pairs, &acts);
        }
    }

    /// The row of a key that was touched; forgets a sum that came to nothing.
    fn settle(&mut self, key: &InteractionKey) -> Option<InteractionRow> {
        let row = self.sum(key).row();
        if row.is_none() {
            let pair = self.pair(key);
            if let Some(pairs) = self.days.get_mut(&key.day) {
                pairs.forget(pair);
                if pairs.0.is_empty() {
                    self.days.remove(&key.day);
                }
            }
        }
        row
    }

    /// Takes away the days before `first_day`.
    fn leave(&mut self, first_day: u32, time: Time, rows: &mut Vec<(Row, Time, i32)>) {
        let kept = self.days.split_off(&first_day);
        for (day, pairs) in std::mem::replace(&mut self.days, kept) {
            for (_number, &(author, subject), acts) in pairs.0.iter() {
                let did = |number| self.dids.key(number).clone();
                let key = InteractionKey {
                    author: did(author),
                    day,
                    subject: did(subject),
                };
                let row = acts
                    .row()
                    .map(|row| Row::new(ViewId::Interactions, &key, &row));
                rows.extend(row.map(|row| (row, time, -1)));
            }
        }
    }
}

fn act_of(fact: &Fact) -> Option<(InteractionKey, Acts)> {
    let none = Acts::default();
    match fact {
        Fact::Like(act) => acted(act, Acts { likes: 1, ..none }),
        Fact::Repost(act) => acted(act, Acts { reposts: 1, ..none }),
        Fact::Post(post) => posted(post),
        _ => None,
    }
}

fn acted(act: &Act, acts: Acts) -> Option<(InteractionKey, Acts)> {
    let subject = act.subject.as_ref()?.did();
    pair(act.author.clone(), subject, act.first_seen, acts)
}

/// A post is a reply or a quote of one account, reply first.
fn posted(post: &Post) -> Option<(InteractionKey, Acts)> {
    let characters = i64::from(post.characters);
    let (subject, acts) = match (&post.parent, &post.quote) {
        (Some(parent), _) => (
            parent,
            Acts {
                replies: 1,
                characters,
                ..Acts::default()
            },
        ),
        (None, Some(quote)) => (
            quote,
            Acts {
                quotes: 1,
                characters,
                ..Acts::default()
            },
        ),
        (None, None) => return None,
    };
    pair(post.key.did(), Subject::did(subject), post.first_seen, acts)
}

/// Acts on oneself are left out.
fn pair(
    author: Did,
    subject: Did,
    first_seen: Minute,
    acts: Acts,
) -> Option<(InteractionKey, Acts)> {
    let day = first_seen.start().day();
    (author != subject).then_some((
        InteractionKey {
            author,
            day,
            subject,
        },
        acts,
    ))
}

impl Acts {
    fn add(&mut self, other: &Self) {
        self.likes += other.likes;
        self.reposts += other.reposts;
        self.replies += other.replies;
        self.quotes += other.quotes;
        self.characters += other.characters;
    }

    fn scale(&mut self, factor: i32) {
        self.likes *= factor;
        self.reposts *= factor;
        self.replies *= factor;
        self.quotes *= factor;
        self.characters *= i64::from(factor);
    }

    fn row(&self) -> Option<InteractionRow> {
        let count = |n: i32| u32::try_from(n).expect("a count of live records is not negative");
        (*self != Self::default()).then(|| InteractionRow {
            likes: count(self.likes),
            reposts: count(self.reposts),
            replies: count(self.replies),
            quotes: count(self.quotes),
            characters: u64::try_from(self.characters).expect("a count is not negative"),
        })
    }
}
