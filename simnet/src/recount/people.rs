//! The views `actors`, `top_actors`, `top_blocks` and `interactions`: how accounts interact.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::id::Did;
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
