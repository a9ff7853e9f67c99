//! `interactions`: which account acted on which other account, by day.
//!
//! ```text
//! facts ─ (author, day, subject), interaction ─▶ sum in its day ─▶ rows
//!                                                 └─ an expired day: its rows are retracted
//! ```
//!
//! All facts of an author come from one worker, so its pairs stay on that worker.
//!
//! State: for each (author, day, subject) of the days that are kept, 40 bytes, and 12 to 24 bytes
//! in hash tables. Interactions from a checkpoint are first only buffered, at 16 bytes each. The
//! buffer of one part of a day is added up when a pair of that part is looked up. For most parts of
//! past days this never happens, because few of their records are retracted. A day expires as a
//! whole, in the first epoch after midnight (UTC) in which it is too old. Spreading this over
//! several commits would make rows depend on how epochs are grouped into commits. At network scale
//! this means one slow commit a day.

use std::collections::BTreeMap;

use skytide_core::id::Did;
use skytide_core::view::{InteractionKey, InteractionRow, ViewId};
use timely::dataflow::channels::pact::Pipeline;

use super::changes::TouchedRows;
use crate::fact::{Fact, Post, Subject};
use crate::operators::chunked_vec::ChunkedVec;
use crate::operators::count::{Carries, to_row_count};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::interner::Interner;
use crate::operators::on_tick::on_tick;
use crate::sizes::{COLLECTIONS, HeapSize, INTERACTIONS_DAYS, Size, Sizes, StateSizes};
use crate::types::{Row, Rows, SuppressedRows, Time, ViewInput};

/// One interaction of an account with another one: inserted (+1) or retracted (-1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Interaction {
    kind: Kind,
    /// Characters of a reply or a quote; 0 for other kinds.
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

/// The interactions of an account with another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InteractionCounts {
    likes: i32,
    reposts: i32,
    replies: i32,
    quotes: i32,
    characters: i64,
}

/// Computes the rows of `interactions`. They expire after `days_kept` days, the current day
/// included; with `None`, they never expire.
pub fn interactions<'s>(
    input: ViewInput<'s>,
    days_kept: Option<u32>,
    suppressed: SuppressedRows,
) -> Rows<'s> {
    let interactions = flat_map_facts(
        input.facts,
        "OfInteractions",
        |fact, _time, diff, interactions| interactions.extend(interaction_of(fact, diff)),
    );

    let days = input.clocks.states.share(Days::default());
    on_tick(
        "Interactions",
        interactions,
        Pipeline,
        input.clocks,
        move |time, clock, interactions, rows| {
            let days = &mut *days.borrow_mut();
            let first_day = days_kept.map_or(0, |days| (clock.now.day() + 1).saturating_sub(days));
            if !suppressed.emits(ViewId::Interactions, time) {
                for interactions in interactions {
                    days.buffer(&interactions, first_day);
                }
                days.days = days.days.split_off(&first_day);
                return;
            }
            let mut touched =
                TouchedRows::<InteractionKey, InteractionRow>::new(ViewId::Interactions, time);
            let interactions = interactions.into_iter().flatten();
            for (key, interaction) in interactions.filter(|(key, _)| key.day >= first_day) {
                touched.touch(&key, || days.row(&key));
                days.add(&key, interaction);
            }
            touched.emit(|key| days.row_or_remove(key), rows);
            days.expire(first_day, time, rows);
        },
    )
}

/// Counts by day, for pairs of numbered accounts.
#[derive(Default)]
struct Days {
    dids: Interner<Did>,
    days: BTreeMap<u32, Day>,
}

/// The numbers of an author and a subject.
type Pair = (u32, u32);

/// The key of a count in [`DayPart::carries`].
type CountKey = (Pair, Kind);

/// The counts of a day, in parts by author.
struct Day {
    parts: Box<[DayPart]>,
    /// The size of the parts when it was last computed; `None` if a part may have changed since.
    size: Option<Size>,
}

/// The number of parts of a day. The buffer of a part is added up in one step, which must not stall
/// the stream.
const PARTS: usize = 256;

/// The pairs of a day whose authors belong to one part.
#[derive(Debug, Default)]
struct DayPart {
    counts: Interner<Pair, InteractionCounts>,
    /// The high 32 bits of counts.
    carries: Carries<CountKey>,
    /// Interactions to add to the counts before a pair is looked up.
    buffered: ChunkedVec<(Pair, Interaction)>,
}

impl Default for Day {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| DayPart::default()).collect(),
            size: None,
        }
    }
}

impl Day {
    fn part(&mut self, (author, _): Pair) -> &mut DayPart {
        self.size = None;
        &mut self.parts[author as usize % PARTS]
    }

    fn is_empty(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.all(|part| part.buffered.is_empty() && part.counts.is_empty())
    }

    /// The size of all parts. It is computed only after a change.
    fn size(&mut self) -> Size {
        *self.size.get_or_insert_with(|| {
            let mut size = Size {
                entries: 0,
                bytes: size_of_val(&*self.parts),
            };
            self.parts.iter().for_each(|part| size.add(part.size()));
            size
        })
    }
}

impl StateSizes for Days {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        sizes.add("interactions.dids", self.dids.size(), COLLECTIONS);
        let mut days = Size::default();
        self.days.values_mut().for_each(|day| days.add(day.size()));
        sizes.add("interactions.days", days, INTERACTIONS_DAYS);
    }
}

impl HeapSize for Interaction {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl DayPart {
    fn size(&self) -> Size {
        let mut size = self.counts.size();
        size.add(self.buffered.size());
        size.bytes += self.carries.size().bytes;
        size
    }

    /// Adds the buffered interactions to the counts.
    fn flush(&mut self) {
        if self.buffered.is_empty() {
            return;
        }
        let buffered = std::mem::take(&mut self.buffered);
        for chunk in buffered.chunks() {
            let numbers = self.counts.intern_all(chunk.iter().map(|(pair, _)| pair));
            for (number, (pair, interaction)) in numbers.into_iter().zip(chunk) {
                self.counts[number].add(*interaction, *pair, &mut self.carries);
            }
        }
        for &(pair, _) in buffered.iter().filter(|(_, it)| it.diff < 0) {
            self.remove_zero(pair);
        }
    }

    fn add(&mut self, pair: Pair, interaction: Interaction) {
        self.flush();
        let number = self.counts.intern(&pair);
        self.counts[number].add(interaction, pair, &mut self.carries);
    }

    fn row(&mut self, pair: Pair) -> Option<InteractionRow> {
        self.flush();
        let number = self.counts.find(&pair)?;
        self.counts[number].row(pair, &self.carries)
    }

    /// Removes a pair if all its counts are zero.
    fn remove_zero(&mut self, pair: Pair) {
        if let Some(number) = self.counts.find(&pair)
            && self.counts[number].row(pair, &self.carries).is_none()
        {
            self.counts.release(number);
        }
    }
}

impl Days {
    fn pair(&mut self, key: &InteractionKey) -> Pair {
        (
            self.dids.intern(&key.author),
            self.dids.intern(&key.subject),
        )
    }

    fn add(&mut self, key: &InteractionKey, interaction: Interaction) {
        let pair = self.pair(key);
        let day = self.days.entry(key.day).or_default();
        day.part(pair).add(pair, interaction);
    }

    fn row(&mut self, key: &InteractionKey) -> Option<InteractionRow> {
        let pair = self.pair(key);
        self.days.get_mut(&key.day)?.part(pair).row(pair)
    }

    /// Buffers interactions at a time whose rows are suppressed.
    fn buffer(&mut self, interactions: &[(InteractionKey, Interaction)], first_day: u32) {
        // The numbers of accounts are never released, so expired interactions must not allocate
        // any.
        let interactions = interactions.iter().filter(|(key, _)| key.day >= first_day);
        let keys = interactions.clone().map(|(key, _)| key);
        let authors = self.dids.intern_all(keys.clone().map(|key| &key.author));
        let subjects = self.dids.intern_all(keys.map(|key| &key.subject));
        let pairs = authors.into_iter().zip(subjects);
        for ((key, interaction), pair) in interactions.zip(pairs) {
            let day = self.days.entry(key.day).or_default();
            day.part(pair).buffered.push((pair, *interaction));
        }
    }

    /// The row of a touched key. Removes its pair if all counts are zero.
    fn row_or_remove(&mut self, key: &InteractionKey) -> Option<InteractionRow> {
        let row = self.row(key);
        if row.is_none() {
            let pair = self.pair(key);
            if let Some(day) = self.days.get_mut(&key.day) {
                day.part(pair).remove_zero(pair);
                if day.is_empty() {
                    self.days.remove(&key.day);
                }
            }
        }
        row
    }

    /// Removes the days before `first_day` and retracts their rows.
    fn expire(&mut self, first_day: u32, time: Time, rows: &mut Vec<(Row, Time, i32)>) {
        let kept = self.days.split_off(&first_day);
        for (day, parts) in std::mem::replace(&mut self.days, kept) {
            for mut part in parts.parts {
                part.flush();
                for (_number, &pair, counts) in part.counts.iter() {
                    let (author, subject) = pair;
                    let did = |number| self.dids.key(number).clone();
                    let key = InteractionKey {
                        author: did(author),
                        day,
                        subject: did(subject),
                    };
                    let row = counts
                        .row(pair, &part.carries)
                        .map(|row| Row::new(ViewId::Interactions, &key, &row));
                    rows.extend(row.map(|row| (row, time, -1)));
                }
            }
        }
    }
}

/// The interaction that a fact gives; `None` if it gives none.
pub(super) fn interaction_of(fact: &Fact, diff: i32) -> Option<(InteractionKey, Interaction)> {
    let (author, subject, first_seen, kind, characters) = match fact {
        Fact::Like(like) => (
            like.author.clone(),
            like.subject.as_ref()?,
            like.first_seen,
            Kind::Like,
            0,
        ),
        Fact::Repost(repost) => (
            repost.author.clone(),
            repost.subject.as_ref()?,
            repost.first_seen,
            Kind::Repost,
            0,
        ),
        Fact::Post(post) => {
            let (subject, kind) = subject_of(post)?;
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
    let diff = i16::try_from(diff).expect("a record is inserted or retracted once");
    // Interactions of an account with itself are skipped.
    (author != subject).then_some((
        InteractionKey {
            author,
            day: first_seen.start().day(),
            subject,
        },
        Interaction {
            kind,
            characters,
            diff,
        },
    ))
}

/// The one subject that a post interacts with: its parent if it is a reply, else the post that it
/// quotes.
fn subject_of(post: &Post) -> Option<(&Subject, Kind)> {
    let kind = match post.parent {
        Some(_) => Kind::Reply,
        None => Kind::Quote,
    };
    Some((post.subject()?, kind))
}

impl InteractionCounts {
    fn add(&mut self, interaction: Interaction, pair: Pair, carries: &mut Carries<CountKey>) {
        let Interaction {
            kind,
            characters,
            diff,
        } = interaction;
        let count = match kind {
            Kind::Like => &mut self.likes,
            Kind::Repost => &mut self.reposts,
            Kind::Reply => &mut self.replies,
            Kind::Quote => &mut self.quotes,
        };
        carries.add(count, diff.into(), || (pair, kind));
        self.characters += i64::from(diff) * i64::from(characters);
    }

    /// The columns of the row; `None` if all counts are zero.
    fn row(&self, pair: Pair, carries: &Carries<CountKey>) -> Option<InteractionRow> {
        let of = |kind: Kind, count: i32| to_row_count(carries.value(count, || (pair, kind)));
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
    size_of::<(Pair, Interaction)>() == 16,
    "one is buffered for each interaction of a checkpoint"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_days(days: &mut Days) -> Size {
        let mut size = Size::default();
        days.days.values_mut().for_each(|day| size.add(day.size()));
        size
    }

    /// The size by visiting all entries and buffers.
    fn recount(days: &Days) -> Size {
        let mut size = Size::default();
        for day in days.days.values() {
            size.bytes += PARTS * size_of::<DayPart>();
            for part in &day.parts {
                size.entries += part.counts.iter().count() + part.buffered.iter().count();
                size.bytes += part.counts.size().bytes + part.buffered.size().bytes;
                size.bytes += part.carries.size().bytes;
            }
        }
        size
    }

    /// Buffering interactions and adding them at once give the same counts, whatever is looked up
    /// in between.
    #[test]
    fn buffered_interactions_are_added_before_a_pair_is_looked_up() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let did = |number: u64| format!("did:web:{number}.example").parse::<Did>();
        let (mut buffered, mut added) = (Days::default(), Days::default());
        let mut given = Vec::new();
        for step in 0..20_000 {
            let retract = next(3) == 0 && !given.is_empty();
            let (key, interaction) = if retract {
                let (key, interaction): (InteractionKey, Interaction) =
                    given.swap_remove(next(given.len() as u64) as usize);
                let diff = -1;
                (
                    key,
                    Interaction {
                        diff,
                        ..interaction
                    },
                )
            } else {
                let (author, subject) = (next(30), 30 + next(30));
                let key = InteractionKey {
                    author: did(author).expect("it is a DID"),
                    day: next(3) as u32,
                    subject: did(subject).expect("it is a DID"),
                };
                let kinds = [Kind::Like, Kind::Repost, Kind::Reply, Kind::Quote];
                let interaction = Interaction {
                    kind: kinds[next(4) as usize],
                    characters: next(300) as u32,
                    diff: 1,
                };
                given.push((key.clone(), interaction));
                (key, interaction)
            };
            added.add(&key, interaction);
            let expected = added.row_or_remove(&key);
            if step % 100 == 0 {
                assert_eq!(
                    size_of_days(&mut buffered),
                    recount(&buffered),
                    "seed {seed:#x}"
                );
                assert_eq!(size_of_days(&mut added), recount(&added), "seed {seed:#x}");
            }
            if next(50) > 0 {
                buffered.buffer(&[(key, interaction)], 0);
            } else {
                buffered.add(&key, interaction);
                let row = buffered.row_or_remove(&key);
                assert_eq!(row, expected, "seed {seed:#x} step {step}");
            }
        }
        let rows = |mut days: Days| {
            let mut rows = Vec::new();
            days.expire(u32::MAX, 1, &mut rows);
            rows.sort();
            rows
        };
        let rows = (rows(buffered), rows(added));
        assert!(!rows.0.is_empty());
        assert_eq!(rows.0, rows.1, "seed {seed:#x}");
    }
}
