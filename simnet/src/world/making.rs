//! New records: whom and what they are about.

use skytide_core::id::Tid;

use super::cast::{Account, Class, NONE, Post, Rec};
use super::deeds::{commit, create, told};
use super::{Deed, Step, World};

/// Posts up to here are answered and quoted: to know the hash of one, all behind it must be known.
const DEPTH_MAX: u8 = 40;

impl World {
    /// Somebody whom others act upon.
    fn subject(&mut self) -> u32 {
        if self.random.percent(2) {
            return self.random.below(self.accounts.len() as u64) as u32;
        }
        self.subjects.draw(&mut self.random)
    }

    /// A new record of a class.
    pub(super) fn make(&mut self, account: u32, class: Class) -> Step {
        if class == Class::Post {
            return create(self.write(account));
        }
        let mut rec = self.about(account, class);
        let recent = |account: &Account, rec: &Rec| {
            let mut recent = account.records.iter().rev().take(64);
            recent.any(|other| other.class == rec.class && other.subject == rec.subject)
        };
        if recent(&self.accounts[account as usize], &rec) {
            rec = self.about(account, class);
        }
        rec.tid = self.accounts[account as usize].tid(self.now);
        create(rec)
    }

    /// A record about a post or an account, which has no key yet.
    fn about(&mut self, account: u32, class: Class) -> Rec {
        match class {
            Class::Like | Class::Repost => {
                let post = self.meet(account);
                let mut rec = told(class, Tid(0), post);
                rec.subject_version = self.posts[post as usize].version;
                rec
            }
            Class::Follow | Class::Block | Class::ListItem => told(class, Tid(0), self.subject()),
            _ => told(class, Tid(0), NONE),
        }
    }

    /// A post that an account meets: of a story, or from the feed; mostly one that is still there.
    fn meet(&mut self, account: u32) -> u32 {
        let mut met = 0;
        for _ in 0..4 {
            met = self.feed.draw(&mut self.random);
            if self.random.percent(12)
                && let Some(story) = self.stories.draw(&mut self.random)
                && !story.posts.is_empty()
            {
                met = story.posts[self.random.below(story.posts.len() as u64) as usize];
            }
            let post = &self.posts[met as usize];
            let own = post.author == account && !self.random.percent(10);
            if !post.gone && !own && self.accounts[post.author as usize].is_active() {
                break;
            }
        }
        met
    }

    /// Writes a post: a new one, an answer (46 of 100 with those of threads), or a quote.
    fn write(&mut self, account: u32) -> Rec {
        let tid = self.accounts[account as usize].tid(self.now);
        let lang = self.accounts[account as usize].lang;
        let mut post = Post::plain(account, tid, lang);
        if self.random.percent(44) {
            let parent = self.meet(account);
            self.answer(&mut post, parent);
        } else if self.random.percent(13) {
            let quote = self.meet(account);
            self.quote(&mut post, quote);
        }
        let place = self.posts.len() as u32;
        let about = (self.stories.heat() * 1.6).min(30.0) as u32;
        if post.parent == NONE
            && self.random.percent(about)
            && let Some(story) = self.stories.draw(&mut self.random)
        {
            story.add(place, &mut self.random);
            (post.story, post.lang) = (story.number, story.lang);
        }
        self.posts.push(post);
        self.feed.add(place, &mut self.random);
        told(Class::Post, tid, place)
    }

    fn answer(&mut self, post: &mut Post, parent: u32) {
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

    fn quote(&mut self, post: &mut Post, quote: u32) {
        let other = &self.posts[quote as usize];
        if other.depth < DEPTH_MAX {
            (post.quote, post.depth) = (quote, other.depth + 1);
            post.refers[2] = other.version;
        }
    }

    /// Several posts, each an answer to the one before.
    pub(super) fn thread(&mut self, account: u32) -> Deed {
        let first = self.write(account);
        let mut steps = vec![create(first)];
        for _ in 0..1 + self.random.below(4) {
            let before = steps[steps.len() - 1].rec.subject;
            let tid = self.accounts[account as usize].tid(self.now);
            let mut post = Post::plain(account, tid, self.accounts[account as usize].lang);
            self.answer(&mut post, before);
            let place = self.posts.len() as u32;
            self.posts.push(post);
            steps.push(create(told(Class::Post, tid, place)));
        }
        commit(account, steps)
    }
}
