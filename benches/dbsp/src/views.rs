//! The six views as a circuit of dbsp.

use dbsp::dynamic::DynData;
use dbsp::operator::{InputHandle, MapHandle, OutputHandle, ZSetHandle};
use dbsp::typed_batch::{IndexedZSetReader, SpineSnapshot, TypedBox};
use dbsp::utils::{Tup2, Tup3, Tup4, Tup5};
use dbsp::{DBData, OrdIndexedZSet, OrdZSet, RootCircuit, Stream};
use skytide_core::id::{Collection, Tid};

use crate::did;

/// An account ([`crate::account`]).
pub type Account = u128;
/// Author and record key.
pub type Post = Tup2<Account, u64>;
/// Account, number of the collection, record key.
pub type LiveKey = Tup3<Account, u16, u64>;
/// Minute, kind, subject, quoted post, hashtags. Zeros where there is none.
pub type LiveRecord = Tup5<u32, u8, Post, Post, Vec<String>>;
type Tallies = Tup4<i64, i64, i64, i64>;
type Indexed<K, V> = Stream<RootCircuit, OrdIndexedZSet<K, V>>;
type Live = Indexed<LiveKey, LiveRecord>;
/// The first and the last bucket of ten minutes of a window.
type Bounds = Stream<RootCircuit, (TypedBox<u32, DynData>, TypedBox<u32, DynData>)>;
/// Posts (negative, so that the most come first), hashtag, authors.
type TagEntry = Tup3<i64, String, i64>;
type Output<K, V> = OutputHandle<SpineSnapshot<OrdIndexedZSet<K, V>>>;
/// Window (1 for 24 hours, 3 for all time) and hashtag.
type Tag = Tup2<u8, String>;

/// Kinds of records.
pub const POST: u8 = 0;
/// A like.
pub const LIKE: u8 = 1;
/// A repost.
pub const REPOST: u8 = 2;
/// A follow.
pub const FOLLOW: u8 = 3;
/// A record of which only the existence counts.
pub const OTHER: u8 = 4;

/// Length of the top lists.
const LENGTH: usize = 100;
/// The number of the collection of posts.
const POSTS: u16 = crate::input::POSTS;

/// Inputs and outputs of the circuit.
pub struct Handles {
    pub records: MapHandle<LiveKey, LiveRecord, LiveRecord>,
    pub operations: ZSetHandle<Tup3<u16, u32, u8>>,
    pub seen: ZSetHandle<Post>,
    /// The first and the last bucket of the last 24 hours.
    pub recent: InputHandle<(u32, u32)>,
    posts: Output<Post, Tallies>,
    top_posts: Output<(), Tup2<i64, Post>>,
    tags: Output<Tag, Tallies>,
    top_tags: Output<u8, TagEntry>,
    interactions: Output<Tup3<Account, Account, u32>, Tallies>,
    accounts: Output<Account, Tallies>,
    hours: Output<Tup2<u16, u32>, Tallies>,
}

/// Builds the circuit.
pub fn circuit(circuit: &mut RootCircuit) -> Result<Handles, anyhow::Error> {
    let (live, records) = circuit.add_input_map(|record: &mut LiveRecord, new: &LiveRecord| {
        *record = new.clone();
    });
    let (ops, operations) = circuit.add_input_zset::<Tup3<u16, u32, u8>>();
    let (seen_posts, seen) = circuit.add_input_zset::<Post>();
    let (bounds, recent) = circuit.add_input_stream::<(u32, u32)>();
    let bounds = bounds.apply(|(first, last)| (TypedBox::new(*first), TypedBox::new(*last)));
    let (tags, top_tags) = hashtags(&live, &bounds);
    Ok(Handles {
        records,
        operations,
        seen,
        recent,
        posts: posts(&live).accumulate_output(),
        top_posts: top_posts(&live, &bounds, &seen_posts).accumulate_output(),
        tags: tags.accumulate_output(),
        top_tags: top_tags.accumulate_output(),
        interactions: interactions(&live).accumulate_output(),
        accounts: accounts(&live).accumulate_output(),
        hours: hours(&ops).accumulate_output(),
    })
}

/// 1. Likes, reposts, replies and quotes of each post.
fn posts(live: &Live) -> Indexed<Post, Tallies> {
    let references = live.flat_map_index(|(_, record)| {
        let acts = acts(record).into_iter().filter(|(post, _)| post.1 != 0);
        acts.collect::<Vec<_>>()
    });
    references.aggregate_linear(Clone::clone)
}

/// 2. The posts with the most likes of the last 24 hours.
fn top_posts(
    live: &Live,
    bounds: &Bounds,
    seen: &Stream<RootCircuit, OrdZSet<Post>>,
) -> Indexed<(), Tup2<i64, Post>> {
    let likes = live.flat_map_index(|(_, Tup5(minute, kind, post, ..))| {
        (*kind == LIKE && post.1 != 0).then(|| (minute / 10, post.clone()))
    });
    let likes = likes
        .window((true, true), bounds)
        .map_index(|(_, post)| (post.clone(), ()));
    let exist = live.flat_map(|(Tup3(author, collection, tid), _)| {
        (*collection == POSTS).then(|| Tup2(*author, *tid))
    });
    let gone = seen.distinct().minus(&exist);
    let listed = likes.antijoin(&gone.map_index(|post| (post.clone(), ())));
    let counts = listed.aggregate_linear(|()| 1_i64);
    let entries = counts.map_index(|(post, likes)| ((), Tup2(-likes, post.clone())));
    entries.topk_asc(LENGTH)
}

/// 3. Posts and authors of each hashtag, and the hashtags with the most posts.
fn hashtags(live: &Live, bounds: &Bounds) -> (Indexed<Tag, Tallies>, Indexed<u8, TagEntry>) {
    let all = live.flat_map_index(|(Tup3(author, ..), Tup5(minute, _, _, _, tags))| {
        let (author, minute) = (*author, *minute);
        let tags = tags.clone().into_iter();
        tags.map(move |tag| (minute / 10, Tup2(tag, author)))
            .collect::<Vec<_>>()
    });
    let day = all.window((true, true), bounds);
    let day = day.map(|(_, Tup2(tag, author))| Tup2(Tup2(1_u8, tag.clone()), *author));
    let all = all.map(|(_, Tup2(tag, author))| Tup2(Tup2(3_u8, tag.clone()), *author));
    let all = all.plus(&day);
    let posts = all.map_index(|Tup2(tag, _)| (tag.clone(), Tup4(1, 0, 0, 0)));
    let authors = all
        .distinct()
        .map_index(|Tup2(tag, _)| (tag.clone(), Tup4(0, 1, 0, 0)));
    let tags = posts.plus(&authors).aggregate_linear(Clone::clone);
    let entries = tags.map_index(|(Tup2(window, tag), Tup4(posts, authors, ..))| {
        (*window, Tup3(-posts, tag.clone(), *authors))
    });
    (tags, entries.topk_asc(LENGTH))
}

/// 4. What each account did to each other account on each day.
fn interactions(live: &Live) -> Indexed<Tup3<Account, Account, u32>, Tallies> {
    let acts = live.flat_map_index(|(Tup3(author, ..), record)| {
        let act = acts(record)
            .into_iter()
            .next()
            .filter(|(subject, _)| subject.0 != *author);
        act.map(|(subject, tallies)| (Tup3(*author, subject.0, record.0 / 1_440), tallies))
    });
    acts.aggregate_linear(Clone::clone)
}

/// 5. Distinct followers, follows and posts of each account.
fn accounts(live: &Live) -> Indexed<Account, Tallies> {
    let own = live.flat_map_index(|(Tup3(author, ..), record)| match record.1 {
        FOLLOW => Some((*author, Tup4(0, 1, 0, 0))),
        POST => Some((*author, Tup4(0, 0, 1, 0))),
        _ => None,
    });
    let follows = live.flat_map(|(Tup3(author, ..), Tup5(_, kind, subject, ..))| {
        (*kind == FOLLOW && subject.0 != 0).then(|| Tup2(subject.0, *author))
    });
    let followers = follows
        .distinct()
        .map_index(|Tup2(subject, _)| (*subject, Tup4(1, 0, 0, 0)));
    own.plus(&followers).aggregate_linear(Clone::clone)
}

/// 6. Creates, updates and deletes of each collection and hour.
fn hours(
    ops: &Stream<RootCircuit, OrdZSet<Tup3<u16, u32, u8>>>,
) -> Indexed<Tup2<u16, u32>, Tallies> {
    let counts = ops.map_index(|Tup3(collection, hour, action)| {
        let one = |it| i64::from(*action == it);
        (Tup2(*collection, *hour), Tup4(one(0), one(1), one(2), 0))
    });
    counts.aggregate_linear(Clone::clone)
}

/// The records that a record acts on, the most direct one first.
fn acts(Tup5(_, kind, subject, quoted, _): &LiveRecord) -> Vec<(Post, Tallies)> {
    let act = |post: &Post, tallies| (post.0 != 0).then(|| (post.clone(), tallies));
    let acts = match *kind {
        LIKE => [act(subject, Tup4(1, 0, 0, 0)), None],
        REPOST => [act(subject, Tup4(0, 1, 0, 0)), None],
        POST => [
            act(subject, Tup4(0, 0, 1, 0)),
            act(quoted, Tup4(0, 0, 0, 1)),
        ],
        _ => [None, None],
    };
    acts.into_iter().flatten().collect()
}

impl Handles {
    /// Takes the changes of the last epoch; returns their number.
    pub fn count(&self) -> usize {
        take(&self.posts, |_, _, _| ())
            + take(&self.top_posts, |_, _, _| ())
            + take(&self.tags, |_, _, _| ())
            + take(&self.top_tags, |_, _, _| ())
            + take(&self.interactions, |_, _, _| ())
            + take(&self.accounts, |_, _, _| ())
            + take(&self.hours, |_, _, _| ())
    }

    /// As [`count`](Self::count), and adds the hashes of the rows to the digests: the same texts as
    /// in `tests/benches/six/digest.rs`.
    pub fn digest(&self, collections: &[Collection], digests: &mut [u64; 7]) -> usize {
        let [post, top_post, tag, top_tag, interaction, account, hour] = digests;
        let add = |digest: &mut u64, text: String, weight: i64| {
            *digest = digest.wrapping_add(hash(&text).wrapping_mul(weight as u64));
        };
        let uri = |post: &Post| format!("{}/{}", did(post.0), Tid(post.1));
        let four = |Tup4(a, b, c, d): &Tallies| format!("{a} {b} {c} {d}");
        take(&self.posts, |key, row, weight| {
            add(post, format!("{} {}", uri(key), four(row)), weight);
        }) + take(&self.top_posts, |(), Tup2(likes, key), weight| {
            add(top_post, format!("{} {}", uri(key), -likes), weight);
        }) + take(&self.tags, |Tup2(window, key), row, weight| {
            add(tag, format!("{window} {key} {}", four(row)), weight);
        }) + take(
            &self.top_tags,
            |window, Tup3(posts, key, authors), weight| {
                add(
                    top_tag,
                    format!("{window} {key} {} {authors} 0 0", -posts),
                    weight,
                );
            },
        ) + take(
            &self.interactions,
            |Tup3(author, subject, day), row, weight| {
                let [author, subject] = [author, subject].map(|it| did(*it));
                add(
                    interaction,
                    format!("{author} {subject} {day} {}", four(row)),
                    weight,
                );
            },
        ) + take(&self.accounts, |key, row, weight| {
            add(account, format!("{} {}", did(*key), four(row)), weight);
        }) + take(&self.hours, |Tup2(collection, start), row, weight| {
            let name = collections[usize::from(*collection)].as_str();
            add(hour, format!("{name} {start} {}", four(row)), weight);
        })
    }
}

/// Takes the changes of one view; returns their number.
fn take<K: DBData, V: DBData>(output: &Output<K, V>, mut each: impl FnMut(&K, &V, i64)) -> usize {
    let mut count = 0;
    for (key, row, weight) in output.concat().iter() {
        count += 1;
        each(&key, &row, weight);
    }
    count
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
