//! `interactions`: who acted on whom, by day.
//!
//! ```text
//! facts ─ (author, day, subject), what was done ─▶ sum in its day ─▶ rows
//!                                                   └─ a day that is over: its rows leave
//! ```
//!
//! The facts of an author all come from one worker, so the pairs stay there.
//!
//! State: 40 bytes and 12 to 24 for looking it up per (author, day, subject) of the days that are kept. What a checkpoint tells
//! is only noted, 16 bytes an act, and added up when a pair of the same part of its day is first looked for: most days are
//! of the past, and few undo what they did then. A day leaves at once, in the first epoch of the day that makes it
//! too old: rows must not depend on how epochs are grouped into commits. At network scale that is one slow commit a day.

use std::collections::BTreeMap;

use skytide_core::id::Did;
use skytide_core::view::{InteractionKey, InteractionRow, ViewId};
use timely::dataflow::channels::pact::Pipeline;

use super::changes::TouchedRows;
use crate::fact::{Fact, Post, Subject};
use crate::operators::chunked_vec::ChunkedVec;
use crate::operators::count::{Carries, shown};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::interner::Interner;
use crate::operators::on_tick::on_tick;
use crate::types::{Clocks, Facts, Row, Rows, SuppressedRows, Time};

/// One thing that an account did to another one, or no longer did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    kind: Kind,
    /// Characters of a post.
    characters: u32,
    diff: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Like,
    Repost,
    Reply,
    Quote,
}

/// What an account did to another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    suppressed: SuppressedRows,
) -> Rows<'s> {
    let acts = flat_map_facts(facts, "OfInteractions", |fact, (_time, diff), all| {
        all.extend(act_of(fact, diff));
    });

    let mut days = Days::default();
    on_tick(
        "Interactions",
        (acts, Pipeline),
        clocks,
        move |(time, clock), acts, rows| {
            let first_day = days_kept.map_or(0, |days| (clock.now.day() + 1).saturating_sub(days));
            let mut touched = TouchedRows::<InteractionKey, InteractionRow>::new();
            if !suppressed.emits(ViewId::Interactions, time) {
                for acts in acts {
                    days.note(&acts, first_day);
                }
                days.days = days.days.split_off(&first_day);
                return;
            }
            let acts = acts.into_iter().flatten();
            for (key, act) in acts.filter(|(key, _)| key.day >= first_day) {
                touched.touch(&key, || days.row(&key));
                days.add(&key, act);
            }
            touched.emit((ViewId::Interactions, time), |key| days.settle(key), rows);
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

/// An author and a subject.
type Pair = (u32, u32);

/// A count of a pair.
type CountKey = (Pair, Kind);

/// Sums of a day by pair, in parts by author.
struct Pairs(Box<[Part]>);

/// Parts of a day: each is added up at once, and must not stall the stream.
const PARTS: usize = 256;

/// Some pairs of a day.
#[derive(Debug, Default)]
struct Part {
    sums: Interner<Pair, Acts>,
    /// What 32 bits do not hold of a count.
    carries: Carries<CountKey>,
    /// What is to be added to the sums before one is looked for.
    noted: ChunkedVec<(Pair, Act)>,
}

impl Default for Pairs {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Part::default()).collect())
    }
}

impl Pairs {
    fn part(&mut self, (author, _): Pair) -> &mut Part {
        &mut self.0[author as usize % PARTS]
    }

    fn is_empty(&self) -> bool {
        let mut parts = self.0.iter();
        parts.all(|part| part.noted.is_empty() && part.sums.is_empty())
    }
}

impl Part {
    /// Adds up what was only noted.
    fn add_noted(&mut self) {
        if self.noted.is_empty() {
            return;
        }
        let noted = std::mem::take(&mut self.noted);
        for noted in noted.pieces() {
            let numbers = self.sums.number_all(noted.iter().map(|(pair, _)| pair));
            for (number, (pair, act)) in numbers.into_iter().zip(noted) {
                self.sums[number].add(*act, (*pair, &mut self.carries));
            }
        }
        for &(pair, _) in noted.iter().filter(|(_, act)| act.diff < 0) {
            self.forget_nothing(pair);
        }
    }

    fn add(&mut self, pair: Pair, act: Act) {
        self.add_noted();
        let number = self.sums.number(&pair);
        self.sums[number].add(act, (pair, &mut self.carries));
    }

    fn row(&mut self, pair: Pair) -> Option<InteractionRow> {
        self.add_noted();
        let number = self.sums.find(&pair)?;
        self.sums[number].row((pair, &self.carries))
    }

    /// Forgets a sum that came to nothing.
    fn forget_nothing(&mut self, pair: Pair) {
        if let Some(number) = self.sums.find(&pair)
            && self.sums[number].row((pair, &self.carries)).is_none()
        {
            self.sums.release(number);
        }
    }
}

impl Days {
    fn pair(&mut self, key: &InteractionKey) -> Pair {
        (
            self.dids.number(&key.author),
            self.dids.number(&key.subject),
        )
    }

    fn add(&mut self, key: &InteractionKey, act: Act) {
        let pair = self.pair(key);
        let day = self.days.entry(key.day).or_default();
        day.part(pair).add(pair, act);
    }

    fn row(&mut self, key: &InteractionKey) -> Option<InteractionRow> {
        let pair = self.pair(key);
        self.days.get_mut(&key.day)?.part(pair).row(pair)
    }

    /// Notes what was done without a word of rows.
    fn note(&mut self, acts: &[(InteractionKey, Act)], first_day: u32) {
        // Accounts keep their numbers: none for what is too old.
        let acts = acts.iter().filter(|(key, _)| key.day >= first_day);
        let keys = acts.clone().map(|(key, _)| key);
        let authors = self.dids.number_all(keys.clone().map(|key| &key.author));
        let subjects = self.dids.number_all(keys.map(|key| &key.subject));
        for ((key, act), pair) in acts.zip(authors.into_iter().zip(subjects)) {
            let day = self.days.entry(key.day).or_default();
            day.part(pair).noted.push((pair, *act));
        }
    }

    /// The row of a key that was touched; forgets a sum that came to nothing.
    fn settle(&mut self, key: &InteractionKey) -> Option<InteractionRow> {
        let row = self.row(key);
        if row.is_none() {
            let pair = self.pair(key);
            if let Some(pairs) = self.days.get_mut(&key.day) {
                pairs.part(pair).forget_nothing(pair);
                if pairs.is_empty() {
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
            for mut part in pairs.0 {
                part.add_noted();
                for (_number, &pair, acts) in part.sums.iter() {
                    let (author, subject) = pair;
                    let did = |number| self.dids.key(number).clone();
                    let key = InteractionKey {
                        author: did(author),
                        day,
                        subject: did(subject),
                    };
                    let row = acts
                        .row((pair, &part.carries))
                        .map(|row| Row::new(ViewId::Interactions, &key, &row));
                    rows.extend(row.map(|row| (row, time, -1)));
                }
            }
        }
    }
}

pub(super) fn act_of(fact: &Fact, diff: i32) -> Option<(InteractionKey, Act)> {
    let (author, subject, first_seen, kind, characters) = match fact {
        Fact::Like(act) => (
            act.author.clone(),
            act.subject.as_ref()?,
            act.first_seen,
            Kind::Like,
            0,
        ),
        Fact::Repost(act) => (
            act.author.clone(),
            act.subject.as_ref()?,
            act.first_seen,
            Kind::Repost,
            0,
        ),
        Fact::Post(post) => {
            let (subject, kind) = referred(post)?;
            (
                post.key.did(),
                subject,
                post.first_seen,
                kind,
                post.characters,
            )
        }
        _ => return None,
    };
    let subject = subject.did();
    let diff = i16::try_from(diff).expect("a record comes or goes once");
    // Acts on oneself are left out.
    (author != subject).then_some((
        InteractionKey {
            author,
            day: first_seen.start().day(),
            subject,
        },
        Act {
            kind,
            characters,
            diff,
        },
    ))
}

/// A post is a reply or a quote of one account, reply first.
fn referred(post: &Post) -> Option<(&Subject, Kind)> {
    let reply = post.parent.as_ref().map(|parent| (parent, Kind::Reply));
    reply.or(post.quote.as_ref().map(|quote| (quote, Kind::Quote)))
}

impl Acts {
    fn add(&mut self, act: Act, (pair, carries): (Pair, &mut Carries<CountKey>)) {
        let count = match act.kind {
            Kind::Like => &mut self.likes,
            Kind::Repost => &mut self.reposts,
            Kind::Reply => &mut self.replies,
            Kind::Quote => &mut self.quotes,
        };
        carries.add(count, act.diff.into(), || (pair, act.kind));
        self.characters += i64::from(act.diff) * i64::from(act.characters);
    }

    /// Nothing done is no row.
    fn row(&self, (pair, carries): (Pair, &Carries<CountKey>)) -> Option<InteractionRow> {
        let of = |kind: Kind, count: i32| shown(carries.value(count, || (pair, kind)));
        let row = InteractionRow {
            likes: of(Kind::Like, self.likes),
            reposts: of(Kind::Repost, self.reposts),
            replies: of(Kind::Reply, self.replies),
            quotes: of(Kind::Quote, self.quotes),
            characters: u64::try_from(self.characters).expect("a count is not negative"),
        };
        (row != InteractionRow::default()).then_some(row)
    }
}

const _: () = assert!(
    size_of::<(Pair, Act)>() == 16,
    "there is one for each act that a checkpoint tells"
);

#[cfg(test)]
mod tests {
    use super::*;

    /// What was noted and what was added say the same, whatever is looked for in between.
    #[test]
    fn acts_that_were_noted_are_added_before_a_sum_is_looked_for() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let did = |number: u64| format!("did:web:{number}.example").parse::<Did>();
        let (mut noted, mut added) = (Days::default(), Days::default());
        let mut given = Vec::new();
        for step in 0..20_000 {
            let undo = next(3) == 0 && !given.is_empty();
            let (key, act) = if undo {
                let (key, act): (InteractionKey, Act) =
                    given.swap_remove(next(given.len() as u64) as usize);
                (key, Act { diff: -1, ..act })
            } else {
                let (author, subject) = (next(30), 30 + next(30));
                let key = InteractionKey {
                    author: did(author).expect("it is a DID"),
                    day: next(3) as u32,
                    subject: did(subject).expect("it is a DID"),
                };
                let kinds = [Kind::Like, Kind::Repost, Kind::Reply, Kind::Quote];
                let act = Act {
                    kind: kinds[next(4) as usize],
                    characters: next(300) as u32,
                    diff: 1,
                };
                given.push((key.clone(), act));
                (key, act)
            };
            added.add(&key, act);
            let expected = added.settle(&key);
            if next(50) > 0 {
                noted.note(&[(key, act)], 0);
            } else {
                noted.add(&key, act);
                assert_eq!(noted.settle(&key), expected, "seed {seed:#x} step {step}");
            }
        }
        let rows = |mut days: Days| {
            let mut rows = Vec::new();
            days.leave(u32::MAX, 1, &mut rows);
            rows.sort();
            rows
        };
        let rows = (rows(noted), rows(added));
        assert!(!rows.0.is_empty());
        assert_eq!(rows.0, rows.1, "seed {seed:#x}");
    }
}
