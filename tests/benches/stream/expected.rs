//! The rows of a sample of keys, counted from the numbers of the events, without a dataflow.

use std::collections::BTreeMap;

use skytide_core::id::{PostKey, Rkey};
use skytide_core::live::all_time;
use skytide_core::port::store::ViewReader;
use skytide_core::view::{
    ActivityRow, ActorRow, Key, PostRow, TrendKey, TrendRow, ViewId, Window, decode_row,
};

use super::{Deed, Encoder, Kind, Record, Stream};

/// How many keys are counted.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Every how many posts one is counted.
    pub posts: u64,
    /// Every how many accounts one is counted.
    pub accounts: u64,
}

/// Live records that refer to a post: likes, reposts, replies and quotes.
type PostTally = [i64; 4];

#[derive(Debug, Default)]
struct AccountTally {
    posts: i64,
    follows: i64,
    /// Follow records by author.
    followers: BTreeMap<u64, i64>,
}

/// The expected rows.
#[derive(Debug)]
pub struct Expected {
    stream: Stream,
    sample: Sample,
    posts: BTreeMap<u64, PostTally>,
    accounts: BTreeMap<u64, AccountTally>,
    /// Posts with the ten most frequent hashtags.
    tags: [i64; 10],
    /// Live records, creates and deletes of each collection, by its name.
    operations: BTreeMap<String, [i64; 3]>,
}

impl Expected {
    /// Counts the whole log.
    pub fn of(stream: Stream, sample: Sample) -> Self {
        let mut expected = Self {
            stream,
            sample,
            posts: BTreeMap::new(),
            accounts: BTreeMap::new(),
            tags: [0; 10],
            operations: BTreeMap::new(),
        };
        let encoder = Encoder::new();
        for number in 0..stream.events {
            let (record, one) = match stream.deed(number) {
                Deed::Write(record) => (record, 1),
                Deed::Delete(number) => (stream.written(number), -1),
                Deed::Handle(_) => continue,
            };
            expected.count(record, one);
            let name = encoder.collection(record.kind);
            let [live, creates, deletes] = match expected.operations.get_mut(name.as_str()) {
                Some(counts) => counts,
                None => expected.operations.entry(name.to_string()).or_default(),
            };
            *live += one;
            *if one > 0 { creates } else { deletes } += 1;
        }
        expected
    }

    /// The number of live records.
    pub fn live(&self) -> i64 {
        self.operations.values().map(|[live, ..]| live).sum()
    }

    fn count(&mut self, record: Record, one: i64) {
        let Record { author, kind } = record;
        match kind {
            Kind::Like(post) => self.refer(post, 0, one),
            Kind::Repost(post) => self.refer(post, 1, one),
            Kind::Post(parts) => {
                if let Some((parent, _)) = parts.reply {
                    self.refer(parent, 2, one);
                }
                if let Some(quoted) = parts.quote {
                    self.refer(quoted, 3, one);
                }
                if let Some(posts) = parts.tag.and_then(|tag| self.tags.get_mut(tag as usize)) {
                    *posts += one;
                }
                if let Some(account) = self.account(author) {
                    account.posts += one;
                }
            }
            Kind::Follow(subject) => {
                if let Some(account) = self.account(author) {
                    account.follows += one;
                }
                if let Some(account) = self.account(subject) {
                    *account.followers.entry(author).or_default() += one;
                }
            }
            Kind::Block(_) | Kind::Profile | Kind::Feed => {}
        }
    }

    fn refer(&mut self, post: u64, measure: usize, one: i64) {
        if (post / 8).is_multiple_of(self.sample.posts) {
            self.posts.entry(post).or_default()[measure] += one;
        }
    }

    fn account(&mut self, account: u64) -> Option<&mut AccountTally> {
        let is_sampled = account.is_multiple_of(self.sample.accounts);
        is_sampled.then(|| self.accounts.entry(account).or_default())
    }

    /// Compares the sample with the rows of a store; returns the number of rows that were compared.
    ///
    /// # Errors
    /// The first row that differs, in words.
    pub async fn compare(&self, store: &dyn ViewReader) -> Result<usize, String> {
        let mut compared = 0;
        for (post, tally) in &self.posts {
            let did = Stream::did(self.stream.written(*post).author);
            let key = PostKey::new(&did, &Rkey::from(self.stream.rkey(*post)));
            let row = row(store, ViewId::Posts, Key::of(&key)).await?;
            let row: PostRow = row.unwrap_or_default();
            let found = [row.likes, row.reposts, row.replies, row.quotes].map(i64::from);
            check(&format!("post {key}"), tally, &found)?;
            compared += 1;
        }
        for (account, tally) in &self.accounts {
            let did = Stream::did(*account);
            let row = row(store, ViewId::Actors, Key::of(&did)).await?;
            let row: ActorRow = row.unwrap_or_default();
            let followers = tally.followers.values().filter(|records| **records > 0);
            let expected = [followers.count() as i64, tally.follows, tally.posts];
            let found = [row.followers, row.follows, row.posts].map(i64::from);
            check(&format!("account {did}"), &expected, &found)?;
            compared += 1;
        }
        for (tag, posts) in self.tags.iter().enumerate() {
            let key = TrendKey {
                key: format!("tag{tag:06}").into(),
                lang: "".into(),
            };
            let row = row(store, ViewId::Hashtags, Key::of(&key)).await?;
            let row: TrendRow = row.unwrap_or_default();
            check(&key.key, posts, &i64::from(row.count(Window::All)))?;
            compared += 1;
        }
        for (name, expected) in &self.operations {
            let row = row(store, ViewId::Activity, Key::of(&all_time(name))).await?;
            let row: ActivityRow = row.unwrap_or_default();
            let found = [row.live, row.creates, row.deletes].map(|it| it as i64);
            check(name, expected, &found)?;
            compared += 1;
        }
        Ok(compared)
    }
}

async fn row<R: serde::de::DeserializeOwned>(
    store: &dyn ViewReader,
    view: ViewId,
    key: Key,
) -> Result<Option<R>, String> {
    let rows = store.get(view, &[key]).await;
    let row = rows.map_err(|error| error.to_string())?.remove(0);
    let row = row.map(|row| decode_row(&row.row)).transpose();
    row.map_err(|error| error.to_string())
}

fn check<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    found: &T,
) -> Result<(), String> {
    match expected == found {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected:?}, found {found:?}")),
    }
}
