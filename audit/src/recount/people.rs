//! The views `actors`, `top_actors`, `top_blocks`, `top_interactions` and `interactions`: how
//! accounts interact.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::id::Did;
use skytide_core::live::{LiveContent, LiveSubject};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{
    ActorRow, InteractionKey, InteractionRow, ListEntry, Measure, ViewId, Window,
};

use super::Table;
use super::history::AccountView;
use super::selection::Selection;
use super::top::TopLists;

/// The rows of `actors`.
#[derive(Debug)]
pub(super) struct Actors<'a> {
    selection: &'a Selection,
    rows: BTreeMap<Did, ActorRow>,
}

impl<'a> Actors<'a> {
    pub(super) fn new(selection: &'a Selection) -> Self {
        Self {
            selection,
            rows: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, account: &AccountView<'_>) {
        let selection = self.selection;
        let rows = &mut self.rows;
        let mut row = |did: &Did, change: fn(&mut ActorRow)| {
            if selection.has(ViewId::Actors, did) {
                change(rows.entry(did.clone()).or_default());
            }
        };
        let author = account.did;
        let mut followed: BTreeSet<&Did> = BTreeSet::new();
        let mut blocked: BTreeSet<&Did> = BTreeSet::new();
        for fact in account.facts() {
            match fact.content {
                LiveContent::Post(_) => row(author, |row| row.posts += 1),
                LiveContent::Like(subject) => {
                    row(author, |row| row.likes_given += 1);
                    if let Some(subject) = subject {
                        row(&subject.did, |row| row.likes_received += 1);
                    }
                }
                LiveContent::Repost(subject) => {
                    row(author, |row| row.reposts_given += 1);
                    if let Some(subject) = subject {
                        row(&subject.did, |row| row.reposts_received += 1);
                    }
                }
                LiveContent::Follow(subject) => {
                    row(author, |row| row.follows += 1);
                    if let Some(subject) = subject {
                        row(subject, |row| row.follow_records += 1);
                        followed.insert(subject);
                    }
                }
                LiveContent::Block(subject) => {
                    row(author, |row| row.blocks += 1);
                    if let Some(subject) = subject {
                        row(subject, |row| row.block_records += 1);
                        blocked.insert(subject);
                    }
                }
                LiveContent::Profile(_) => {}
            }
        }
        for subject in followed {
            row(subject, |row| row.followers += 1);
        }
        for subject in blocked {
            row(subject, |row| row.blockers += 1);
        }
        if let Some(minute) = account.last_seen()
            && selection.has(ViewId::Actors, author)
        {
            let row = self.rows.entry(author.clone()).or_default();
            row.last_seen = minute.start();
        }
    }

    pub(super) fn rows(self, table: &mut Table) {
        for (did, row) in self.rows {
            table.put(ViewId::Actors, &did, &row);
        }
    }
}

/// The lists of `top_actors`, `top_blocks` and `top_interactions`.
#[derive(Debug)]
pub(super) struct ActorLists<'a> {
    selection: &'a Selection,
    /// The first minute that is counted.
    first: Minute,
    /// Number of records and of characters.
    values: BTreeMap<(ViewId, Measure, Did), (u32, u64)>,
}

impl<'a> ActorLists<'a> {
    pub(super) fn new(selection: &'a Selection, now: Minute) -> Self {
        Self {
            selection,
            first: Window::Day.first_minute(now),
            values: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, account: &AccountView<'_>) {
        let first = self.first;
        for fact in account.facts().filter(|fact| fact.minute >= first) {
            self.any_act(fact.did, fact.content);
            self.act_on_other(fact.did, fact.content);
        }
    }

    /// `top_actors` and `top_blocks`: what accounts did, to themselves as well.
    fn any_act(&mut self, author: &Did, content: &LiveContent) {
        let author = Some(author);
        let of_record =
            |subject: &'_ Option<LiveSubject>| subject.as_ref().map(|subject| subject.did.clone());
        let acts = match content {
            LiveContent::Post(_) => vec![(Measure::Posts, author.cloned())],
            LiveContent::Like(subject) => vec![
                (Measure::LikesGiven, author.cloned()),
                (Measure::LikesReceived, of_record(subject)),
            ],
            LiveContent::Repost(subject) => vec![
                (Measure::RepostsGiven, author.cloned()),
                (Measure::RepostsReceived, of_record(subject)),
            ],
            LiveContent::Block(subject) => vec![
                (Measure::BlocksGiven, author.cloned()),
                (Measure::BlocksReceived, subject.clone()),
            ],
            _ => vec![],
        };
        for (measure, did) in acts {
            let view = match Measure::of(ViewId::TopBlocks).contains(&measure) {
                true => ViewId::TopBlocks,
                false => ViewId::TopActors,
            };
            if let Some(did) = did {
                self.count(view, measure, did, 0);
            }
        }
    }

    /// `top_interactions`: what accounts did to other accounts.
    fn act_on_other(&mut self, author: &Did, content: &LiveContent) {
        if let Some((Some(subject), [given, received], characters)) = act(content)
            && subject != author
        {
            for (measure, did) in [(given, author), (received, subject)] {
                self.count(ViewId::TopInteractions, measure, did.clone(), characters);
            }
        }
    }

    fn count(&mut self, view: ViewId, measure: Measure, did: Did, characters: u64) {
        if self.selection.has(view, &did) {
            let (records, sum) = self.values.entry((view, measure, did)).or_default();
            *records += 1;
            *sum += characters;
        }
    }

    pub(super) fn offer(self, lists: &mut TopLists) {
        for ((view, measure, did), (count, characters)) in self.values {
            let entry = ListEntry {
                key: did.to_string().into(),
                value: count,
                other: u32::try_from(characters).unwrap_or(u32::MAX),
                longer: count,
            };
            lists.offer(view, (Window::Day, measure, ""), entry);
        }
    }
}

/// What one record did: the account that it acted on, the measures that count it for its author and
/// for that account, and the characters of its text.
fn act(content: &LiveContent) -> Option<(Option<&Did>, [Measure; 2], u64)> {
    Some(match content {
        LiveContent::Like(subject) => {
            let measures = [Measure::LikesToOthers, Measure::LikesFromOthers];
            (subject.as_ref().map(|it| &it.did), measures, 0)
        }
        LiveContent::Repost(subject) => {
            let measures = [Measure::RepostsToOthers, Measure::RepostsFromOthers];
            (subject.as_ref().map(|it| &it.did), measures, 0)
        }
        LiveContent::Block(did) => {
            let measures = [Measure::BlocksToOthers, Measure::BlocksFromOthers];
            (did.as_ref(), measures, 0)
        }
        LiveContent::Post(post) => {
            let measures = [Measure::PostsToOthers, Measure::PostsFromOthers];
            let acted_on = post.parent.as_ref().or(post.quoted.as_ref());
            (acted_on.map(|it| &it.did), measures, post.characters)
        }
        _ => return None,
    })
}

/// The rows of `interactions`.
#[derive(Debug)]
pub(super) struct Interactions<'a> {
    selection: &'a Selection,
    now: Timestamp,
    days: Option<u32>,
    rows: BTreeMap<(Did, u32, Did), InteractionRow>,
}

impl<'a> Interactions<'a> {
    pub(super) fn new(selection: &'a Selection, now: Timestamp, days: Option<u32>) -> Self {
        Self {
            selection,
            now,
            days,
            rows: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, account: &AccountView<'_>) {
        let author = account.did;
        for fact in account.facts() {
            let subject = match fact.content {
                LiveContent::Like(subject) | LiveContent::Repost(subject) => subject.as_ref(),
                LiveContent::Post(post) => post.parent.as_ref().or(post.quoted.as_ref()),
                _ => None,
            };
            let day = fact.minute.start().day();
            let retained = self.days.is_none_or(|days| day + days > self.now.day());
            let Some(subject) = subject.filter(|subject| retained && subject.did != *author) else {
                continue;
            };
            let subject = &subject.did;
            if !self
                .selection
                .has(ViewId::Interactions, &(author, day, subject))
            {
                continue;
            }
            let key = (author.clone(), day, subject.clone());
            let row = self.rows.entry(key).or_default();
            match fact.content {
                LiveContent::Like(_) => row.likes += 1,
                LiveContent::Repost(_) => row.reposts += 1,
                LiveContent::Post(post) => {
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
    }

    pub(super) fn rows(self, table: &mut Table) {
        for ((author, day, subject), row) in self.rows {
            let key = InteractionKey {
                author,
                day,
                subject,
            };
            table.put(ViewId::Interactions, &key, &row);
        }
    }
}
