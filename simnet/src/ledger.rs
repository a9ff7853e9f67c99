//! The true totals, computed from the intended content: no record is parsed, no message decoded.
//!
//! ```text
//! Frame ─ events, contents ─▶ live records by address ─▶ totals: loops over visible records
//! ```
//!
//! The naive recount (`skytide-audit`) reads the bytes of a log with the project's own parser; the ledger
//! never sees bytes. If both agree, the parser can be wrong only where the network makes the
//! same mistake.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::event::{Action, Body, Event, Moved};
use skytide_core::id::{AtUri, Collection, Did, PostKey, Tid};

use crate::content::{Content, PostContent};
use crate::frame::Frame;

/// The live records of a correct consumer after all frames so far.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    live: BTreeMap<AtUri, Content>,
    /// Accounts whose records are hidden.
    hidden: BTreeSet<Did>,
    revs: BTreeMap<Did, Tid>,
    out_of_sync: BTreeSet<Did>,
}

/// Counts of one post: likes, reposts, direct replies, replies anywhere in its thread, quotes.
pub type Tallies = [u64; 5];

/// Totals over all visible live records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerTotals {
    /// Records by collection, including those of unknown content.
    pub live: BTreeMap<String, u64>,
    /// Counts by post, for posts with at least one.
    pub posts: BTreeMap<PostKey, Tallies>,
    /// Posts by hashtag.
    pub hashtags: BTreeMap<String, u64>,
    /// Posts by the host of a link.
    pub domains: BTreeMap<String, u64>,
    /// Posts by link.
    pub links: BTreeMap<String, u64>,
    /// Posts by mentioned account.
    pub mentions: BTreeMap<Did, u64>,
    /// Posts by language as written; `und` for posts without one.
    pub languages: BTreeMap<String, u64>,
    /// Distinct followers by account.
    pub followers: BTreeMap<Did, u64>,
    /// Distinct blockers by account.
    pub blockers: BTreeMap<Did, u64>,
    /// Repos with missed operations.
    pub out_of_sync: BTreeSet<Did>,
}

impl Ledger {
    /// Adds the next frame.
    pub fn add(&mut self, frame: &Frame) {
        let mut stale = false;
        for (event, content) in frame.events.iter().zip(&frame.contents) {
            match &event.body {
                Body::Op(op) => {
                    if event.index == 0 {
                        stale = !self.accept_rev(&event.did, op.rev, op.since);
                    }
                    if !stale {
                        self.operation(event, op, content);
                    }
                }
                Body::Account { active, status, .. } => {
                    let deleted = status.as_deref() == Some("deleted");
                    self.account(&event.did, *active, deleted);
                }
                Body::Moved { rev, why } => self.repo_moved(&event.did, *rev, *why),
                Body::Identity { .. } => {}
            }
        }
    }

    /// Records a commit's revision; false if it is not newer.
    fn accept_rev(&mut self, did: &Did, rev: Tid, since: Option<Tid>) -> bool {
        let known = self.revs.get(did).copied();
        if known.is_some_and(|known| rev <= known) {
            return false;
        }
        if known.is_some() && since.is_some() && since != known {
            self.out_of_sync.insert(did.clone());
        }
        self.revs.insert(did.clone(), rev);
        true
    }

    fn repo_moved(&mut self, did: &Did, rev: Tid, why: Moved) {
        let known = self.revs.get(did).copied();
        if known.is_some_and(|known| rev <= known) {
            return;
        }
        if why == Moved::TooBig || why == Moved::Sync && known.is_some() {
            self.out_of_sync.insert(did.clone());
        }
        self.revs.insert(did.clone(), rev);
    }

    fn operation(&mut self, event: &Event, op: &skytide_core::event::Op, content: &Content) {
        let uri = AtUri {
            did: event.did.clone(),
            collection: op.collection.clone(),
            rkey: op.rkey.clone(),
        };
        match op.action {
            Action::Delete => self.live.remove(&uri),
            Action::Create | Action::Update => self.live.insert(uri, content.clone()),
        };
    }

    fn account(&mut self, did: &Did, active: bool, deleted: bool) {
        if active {
            self.hidden.remove(did);
        } else {
            self.hidden.insert(did.clone());
        }
        if deleted {
            self.live.retain(|uri, _| uri.did != *did);
        }
    }

    /// Live records, including hidden ones.
    pub fn records(&self) -> &BTreeMap<AtUri, Content> {
        &self.live
    }

    /// The current totals.
    pub fn totals(&self) -> LedgerTotals {
        let mut totals = LedgerTotals {
            out_of_sync: self.out_of_sync.clone(),
            ..LedgerTotals::default()
        };
        let mut edges = BTreeSet::new();
        for (uri, content) in &self.live {
            if self.hidden.contains(&uri.did) {
                continue;
            }
            let collection: &Collection = &uri.collection;
            add(&mut totals.live, collection.as_str());
            match content {
                Content::Like(post) => totals.tally(post, 0),
                Content::Repost(post) => totals.tally(post, 1),
                Content::Post(post) => totals.post(post),
                Content::Follow(subject) => {
                    if edges.insert((0, &uri.did, subject)) {
                        *totals.followers.entry(subject.clone()).or_default() += 1;
                    }
                }
                Content::Block(subject) => {
                    if edges.insert((1, &uri.did, subject)) {
                        *totals.blockers.entry(subject.clone()).or_default() += 1;
                    }
                }
                Content::Profile(_) | Content::Other | Content::Unknown => {}
            }
        }
        totals
    }
}

impl LedgerTotals {
    fn tally(&mut self, post: &PostKey, column: usize) {
        self.posts.entry(post.clone()).or_default()[column] += 1;
    }

    fn post(&mut self, post: &PostContent) {
        let referred = [&post.parent, &post.root, &post.quote];
        for (column, subject) in (2..).zip(referred) {
            if let Some(subject) = subject {
                self.tally(subject, column);
            }
        }
        post.tags
            .iter()
            .for_each(|tag| add(&mut self.hashtags, tag));
        post.domains
            .iter()
            .for_each(|domain| add(&mut self.domains, domain));
        post.links
            .iter()
            .for_each(|link| add(&mut self.links, link));
        for did in &post.mentions {
            *self.mentions.entry(did.clone()).or_default() += 1;
        }
        post.langs
            .iter()
            .for_each(|lang| add(&mut self.languages, lang));
        if post.langs.is_empty() {
            add(&mut self.languages, "und");
        }
    }
}

fn add(counts: &mut BTreeMap<String, u64>, key: &str) {
    *counts.entry(key.to_owned()).or_default() += 1;
}
