//! Counts the items of top lists.

use skytide_core::time::Timestamp;

use super::history::History;
use super::people::ActorLists;
use super::posts::PostLists;
use super::selection::Selection;
use super::top::TopLists;
use super::trends::Trends;

/// Counts the items of all top lists.
#[derive(Debug)]
pub struct ListCount<'a> {
    posts: PostLists<'a>,
    trends: Trends<'a>,
    actors: ActorLists<'a>,
}

impl<'a> ListCount<'a> {
    /// Counts the selected items at the network time `now`, of the epoch at which lists were
    /// written.
    pub fn new(now: Timestamp, selection: &'a Selection) -> Self {
        let now = now.minute();
        Self {
            posts: PostLists::new(selection, now),
            trends: Trends::of_lists(selection, now),
            actors: ActorLists::new(selection, now),
        }
    }

    /// Counts all accounts of a history. Each account may be counted only once.
    pub fn add(&mut self, history: &History) {
        for account in history.accounts() {
            self.posts.add(&account);
            self.trends.add(&account);
            self.actors.add(&account);
        }
    }

    /// Offers all items to the lists.
    pub fn offer(self, lists: &mut TopLists) {
        self.posts.offer(lists);
        self.trends.offer(lists);
        self.actors.offer(lists);
    }
}
