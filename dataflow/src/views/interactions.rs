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
//! in hash tables; or, if it is on disk, about 2 bytes of an index and a filter. Days move to
//! disk when memory is short, the oldest first. Later changes of their pairs are counted in memory.
//! The disk is read only to compute a row, and when a day expires.
//!
//! Interactions from a checkpoint are first only buffered, at 16 bytes each. The buffer of one part
//! of a day is added up when a pair of that part is looked up. For most parts of past days this
//! never happens, because few of their records are retracted.
//!
//! A day expires as a whole, in the first epoch after midnight (UTC) in which it is too old.
//! Spreading this over several commits would make rows depend on how epochs are grouped into
//! commits. At network scale this means one slow commit a day.

mod counts;
mod day;
mod days;
mod spilled;

use skytide_core::view::{InteractionKey, InteractionRow, ViewId};
use timely::dataflow::channels::pact::Pipeline;

use super::changes::TouchedRows;
use crate::fact::{Fact, Post, Subject};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::on_tick::on_tick;
use crate::options::Scratch;
use crate::types::{Rows, SuppressedRows, ViewInput};
use counts::{Interaction, Kind};
use days::Days;

/// Computes the rows of `interactions`. They expire after `days_kept` days, the current day
/// included; with `None`, they never expire. With `scratch`, days can move to disk.
pub fn interactions<'s>(
    input: ViewInput<'s>,
    days_kept: Option<u32>,
    suppressed: SuppressedRows,
    scratch: Option<Scratch>,
) -> Rows<'s> {
    let interactions = flat_map_facts(
        input.facts,
        "OfInteractions",
        |fact, _time, diff, interactions| interactions.extend(interaction_of(fact, diff)),
    );

    let days = input.clocks.states.share(Days::new(scratch));
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
                days.drop_before(first_day);
                days.limit_pairs();
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
            days.limit_pairs();
        },
    )
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
