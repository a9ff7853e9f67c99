//! The views `actors`, `top_actors`, `top_blocks`, `top_interactions` and `interactions`: how
//! accounts interact.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::id::{AtUri, Did};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{
    ActorRow, InteractionKey, InteractionRow, ListEntry, ListKey, Measure, ViewId, Window,
};

use super::facts::Content;
use super::history::History;
use super::{Table, top_list};

pub(super) fn rows(history: &History, table: &mut Table) {
    let mut rows: BTreeMap<Did, ActorRow> = BTreeMap::new();
    let mut followers: BTreeSet<(&Did, &Did)> = BTreeSet::new();
    let mut blockers: BTreeSet<(&Did, &Did)> = BTreeSet::new();
    let mut row = |did: &Did, change: fn(&mut ActorRow)| {
        change(rows.entry(did.clone()).or_default());
    };
    for fact in history.facts() {
        let author = &fact.uri.did;
        match fact.content {
            Content::Post(_) => row(author, |row| row.posts += 1),
            Content::Like(subject) => {
                row(author, |row| row.likes_given += 1);
                if let Some(subject) = subject {
                    row(&subject.did, |row| row.likes_received += 1);
                }
            }
            Content::Repost(subject) => {
                row(author, |row| row.reposts_given += 1);
                if let Some(subject) = subject {
                    row(&subject.did, |row| row.reposts_received += 1);
                }
            }
            Content::Follow(subject) => {
                row(author, |row| row.follows += 1);
                if let Some(subject) = subject {
                    row(subject, |row| row.follow_records += 1);
                    followers.insert((subject, author));
                }
            }
            Content::Block(subject) => {
                row(author, |row| row.blocks += 1);
                if let Some(subject) = subject {
                    row(subject, |row| row.block_records += 1);
                    blockers.insert((subject, author));
                }
            }
            Content::Profile(_) | Content::Other => {}
        }
    }
    for (subject, _) in followers {
        row(subject, |row| row.followers += 1);
    }
    for (subject, _) in blockers {
        row(subject, |row| row.blockers += 1);
    }
    for (did, minute) in &history.last_seen {
        rows.entry(did.clone()).or_default().last_seen = minute.start();
    }
    for (did, row) in rows {
        table.put(ViewId::Actors, &did, &row);
    }
}

pub(super) fn lists(history: &History, now: Minute, table: &mut Table) {
    all_acts(history, now, table);
    acts_on_others(history, now, table);
}

/// The account of an address.
fn of_record(uri: &Option<AtUri>) -> Option<&Did> {
    uri.as_ref().map(|uri| &uri.did)
}

/// What one record did: the account that it acted on, the measures that count it for its author and
/// for that account, and the characters of its text.
fn act(content: &Content) -> Option<(Option<&Did>, [Measure; 2], u64)> {
    Some(match content {
        Content::Like(uri) => {
            let measures = [Measure::LikesToOthers, Measure::LikesFromOthers];
            (of_record(uri), measures, 0)
        }
        Content::Repost(uri) => {
            let measures = [Measure::RepostsToOthers, Measure::RepostsFromOthers];
            (of_record(uri), measures, 0)
        }
        Content::Block(did) => {
            let measures = [Measure::BlocksToOthers, Measure::BlocksFromOthers];
            (did.as_ref(), measures, 0)
        }
        Content::Post(post) => {
            let measures = [Measure::PostsToOthers, Measure::PostsFromOthers];
            let acted_on = match post.parent {
                Some(_) => of_record(&post.parent),
                None => of_record(&post.quoted),
            };
            (acted_on, measures, post.characters)
        }
        _ => return None,
    })
}

/// `top_interactions`: what accounts did to other accounts.
fn acts_on_others(history: &History, now: Minute, table: &mut Table) {
    let first = Window::Day.first_minute(now);
    // Number of records and of characters.
    let mut values: BTreeMap<(Measure, &Did), (u32, u64)> = BTreeMap::new();
    for fact in history.facts().filter(|fact| fact.minute >= first) {
        let author = &fact.uri.did;
        if let Some((Some(subject), [given, received], characters)) = act(fact.content)
            && subject != author
        {
            for key in [(given, author), (received, subject)] {
                let (records, sum) = values.entry(key).or_default();
                *records += 1;
                *sum += characters;
            }
        }
    }
    for &measure in Measure::of(ViewId::TopInteractions) {
        let of_measure = values.iter().filter(|((of, _), _)| *of == measure);
        let entries = of_measure.map(|((_, did), (count, characters))| ListEntry {
            key: did.to_string().into(),
            value: *count,
            other: u32::try_from(*characters).unwrap_or(u32::MAX),
            longer: *count,
        });
        let key = ListKey {
            window: Window::Day,
            measure,
            lang: "".into(),
        };
        if let Some(row) = top_list(entries) {
            table.put(ViewId::TopInteractions, &key, &row);
        }
    }
}

/// `top_actors` and `top_blocks`: what accounts did, to themselves as well.
fn all_acts(history: &History, now: Minute, table: &mut Table) {
    let window = Window::Day;
    let first = window.first_minute(now);
    let mut values: BTreeMap<(Measure, Did), u32> = BTreeMap::new();
    for fact in history.facts().filter(|fact| fact.minute >= first) {
        let author = Some(&fact.uri.did);
        let measures = match fact.content {
            Content::Post(_) => vec![(Measure::Posts, author)],
            Content::Like(subject) => vec![
                (Measure::LikesGiven, author),
                (Measure::LikesReceived, subject.as_ref().map(|uri| &uri.did)),
            ],
            Content::Repost(subject) => vec![
                (Measure::RepostsGiven, author),
                (
                    Measure::RepostsReceived,
                    subject.as_ref().map(|uri| &uri.did),
                ),
            ],
            Content::Block(subject) => vec![
                (Measure::BlocksGiven, author),
                (Measure::BlocksReceived, subject.as_ref()),
            ],
            _ => vec![],
        };
        for (measure, did) in measures {
            if let Some(did) = did {
                *values.entry((measure, did.clone())).or_default() += 1;
            }
        }
    }
    for view in [ViewId::TopActors, ViewId::TopBlocks] {
        for &measure in Measure::of(view) {
            let lists = values.iter().filter(|((of, _), _)| *of == measure);
            let entries = lists.map(|((_, did), value)| ListEntry {
                key: did.to_string().into(),
                value: *value,
                other: 0,
                longer: *value,
            });
            let key = ListKey {
                window,
                measure,
                lang: "".into(),
            };
            if let Some(row) = top_list(entries) {
                table.put(view, &key, &row);
            }
        }
    }
}

pub(super) fn interactions(
    history: &History,
    now: Timestamp,
    days: Option<u32>,
    table: &mut Table,
) {
    let mut rows: BTreeMap<(Did, u32, Did), InteractionRow> = BTreeMap::new();
    for fact in history.facts() {
        let subject = match fact.content {
            Content::Like(subject) | Content::Repost(subject) => subject.as_ref(),
            Content::Post(post) => post.parent.as_ref().or(post.quoted.as_ref()),
            _ => None,
        };
        let day = fact.minute.start().day();
        let retained = days.is_none_or(|days| day + days > now.day());
        let Some(subject) = subject.filter(|subject| retained && subject.did != fact.uri.did)
        else {
            continue;
        };
        let key = (fact.uri.did.clone(), day, subject.did.clone());
        let row = rows.entry(key).or_default();
        match fact.content {
            Content::Like(_) => row.likes += 1,
            Content::Repost(_) => row.reposts += 1,
            Content::Post(post) => {
                if post.parent.is_some() {
                    row.replies += 1;
                } else {
                    row.quotes += 1;
                }
                row.characters += post.characters;
            }
            _ => {}
        }
    }
    for ((author, day, subject), row) in rows {
        table.put(
            ViewId::Interactions,
            &InteractionKey {
                author,
                day,
                subject,
            },
            &row,
        );
    }
}
