//! New records and their subjects.

use skytide_core::id::Tid;

use super::accounts::{Account, CompactRecord, NONE, Post, RecordClass};
use super::actions::{commit, create, streamed_record};
use super::{AccountAction, RecordOp, World};

/// Posts deeper than this get no replies or quotes: the hash of a post depends on the hashes of all
/// posts that it refers to.
const DEPTH_MAX: u8 = 40;

impl World {
    /// Draws an account that others follow or block.
    fn draw_subject(&mut self) -> u32 {
        if self.random.percent(2) {
            return self.random.below(self.accounts.len() as u64) as u32;
        }
        self.subjects.draw(&mut self.random)
    }

    /// A new record of a class.
    pub(super) fn new_record(&mut self, account: u32, class: RecordClass) -> RecordOp {
        if class == RecordClass::Post {
            return create(self.write_post(account));
        }
        let mut rec = self.record_about(account, class);
        let recent = |account: &Account, rec: &CompactRecord| {
            let mut recent = account.records.iter().rev().take(64);
            recent.any(|other| other.class == rec.class && other.subject == rec.subject)
        };
        if recent(&self.accounts[account as usize], &rec) {
            rec = self.record_about(account, class);
        }
        rec.tid = self.accounts[account as usize].next_tid(self.now);
        create(rec)
    }

    /// A record about a post or an account, without its key.
    fn record_about(&mut self, account: u32, class: RecordClass) -> CompactRecord {
        match class {
            RecordClass::Like | RecordClass::Repost => {
                let post = self.draw_post(account);
                let mut rec = streamed_record(class, Tid(0), post);
                rec.subject_version = self.posts[post as usize].version;
                rec
            }
            RecordClass::Follow | RecordClass::Block | RecordClass::ListItem => {
                streamed_record(class, Tid(0), self.draw_subject())
            }
            _ => streamed_record(class, Tid(0), NONE),
        }
    }

    /// Draws a post that an account sees: of a story, or from the timeline; usually one that still
    /// exists.
    fn draw_post(&mut self, account: u32) -> u32 {
        let hot_percent = self.options.hot_percent;
        let mut post = 0;
        for _ in 0..4 {
            post = self.timeline.draw(&mut self.random);
            let story = self.stories.draw(hot_percent, 12, &mut self.random);
            if let Some(story) = story
                && !story.posts.is_empty()
            {
                post = story.posts[self.random.below(story.posts.len() as u64) as usize];
            }
            let post = &self.posts[post as usize];
            let own = post.author == account && !self.random.percent(10);
            if !post.deleted && !own && self.accounts[post.author as usize].is_active() {
                break;
            }
        }
        post
    }

    /// Writes a post: a new one, a reply (46 of 100, including threads), or a quote.
    fn write_post(&mut self, account: u32) -> CompactRecord {
        let tid = self.accounts[account as usize].next_tid(self.now);
        let lang = self.accounts[account as usize].lang;
        let mut post = Post::plain(account, tid, lang);
        if self.random.percent(44) {
            let parent = self.draw_post(account);
            self.set_parent(&mut post, parent);
        } else if self.random.percent(13) {
            let quote = self.draw_post(account);
            self.set_quote(&mut post, quote);
        }
        let index = self.posts.len() as u32;
        let story_percent = (self.stories.attention() * 1.6).min(30.0) as u32;
        let hot_percent = self.options.hot_percent;
        if post.parent == NONE
            && let Some(story) = self
                .stories
                .draw(hot_percent, story_percent, &mut self.random)
        {
            story.add(index, &mut self.random);
            (post.story, post.lang) = (story.number, story.lang);
        }
        self.posts.push(post);
        self.timeline.add(index, &mut self.random);
        streamed_record(RecordClass::Post, tid, index)
    }

    /// Makes the post a reply, unless the thread is too deep.
    fn set_parent(&mut self, post: &mut Post, parent: u32) {
        let other = &self.posts[parent as usize];
        let root = if other.root == NONE {
            parent
        } else {
            other.root
        };
        if other.depth < DEPTH_MAX {
            (post.parent, post.root, post.depth) = (parent, root, other.depth + 1);
            post.refers = [other.version, self.posts[root as usize].version, 0];
        }
    }

    /// Makes the post a quote, unless the quoted post is too deep.
    fn set_quote(&mut self, post: &mut Post, quote: u32) {
        let other = &self.posts[quote as usize];
        if other.depth < DEPTH_MAX {
            (post.quote, post.depth) = (quote, other.depth + 1);
            post.refers[2] = other.version;
        }
    }

    /// Several posts, each a reply to the previous one.
    pub(super) fn thread(&mut self, account: u32) -> AccountAction {
        let first = self.write_post(account);
        let mut ops = vec![create(first)];
        for _ in 0..1 + self.random.below(4) {
            let parent = ops[ops.len() - 1].rec.subject;
            let tid = self.accounts[account as usize].next_tid(self.now);
            let mut post = Post::plain(account, tid, self.accounts[account as usize].lang);
            self.set_parent(&mut post, parent);
            let index = self.posts.len() as u32;
            self.posts.push(post);
            ops.push(create(streamed_record(RecordClass::Post, tid, index)));
        }
        commit(account, ops)
    }
}
