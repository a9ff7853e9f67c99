//! The rows of an invented world. Some texts contain markup and scripts.

use skytide_core::id::{Did, PostKey};
use skytide_core::time::Timestamp;
use skytide_core::view::*;

fn row<K: ViewKey, R: serde::Serialize>(key: K, row: R) -> Change {
    Change {
        key: Key::of(&key),
        row: Some(encode_row(&row)),
    }
}

/// A list for every window, with the keys in this order.
fn lists(measure: Measure, keys: &[String], number: u32) -> Vec<Change> {
    let entry = |(index, key): (u32, &String)| {
        let value = 90_000 / (index + 1) + number;
        ListEntry {
            key: key.as_str().into(),
            value,
            other: value / 3,
            longer: value * 12,
        }
    };
    let entries = (0..).zip(keys).map(entry).collect();
    let list = ListRow { entries };
    let key = |window| ListKey {
        window,
        measure,
        lang: "".into(),
    };
    Window::ALL
        .map(|window| row(key(window), list.clone()))
        .into()
}

/// Activity of all time, of the last 24 hours and of the last 60 minutes.
fn activity(now: Timestamp, collection: &str, share: u64) -> Vec<Change> {
    let minute = now.minute().0;
    let minutes = (0..60).map(|n| (Span::Minute, minute - n, 2_000 + u64::from(n % 13)));
    let hours = (0..24).map(|n| (Span::Hour, (minute / 60 - n) * 60, 130_000));
    let bucket = |(span, start_minute, n)| {
        let n = n * share;
        let counts = ActivityRow {
            creates: n,
            accounts: n / 9,
            live: n,
            ..Default::default()
        };
        let key = ActivityKey {
            span,
            start_minute,
            collection: collection.into(),
        };
        row(key, counts)
    };
    std::iter::once((Span::All, 0, 9_000_000))
        .chain(minutes)
        .chain(hours)
        .map(bucket)
        .collect()
}

/// All rows of the commit with this number.
pub fn rows_of_commit(now: Timestamp, number: u32) -> [(ViewId, Vec<Change>); 7] {
    let letters = ('a'..='l').map(|letter| letter.to_string().repeat(24));
    let dids: Vec<String> = letters.map(|id| format!("did:plc:{id}")).collect();
    let post = |did: &String| format!("at://{did}/app.bsky.feed.post/3n2xril3jyo2a");
    let posts: Vec<String> = dids.iter().map(post).collect();
    let tags = ["art", "<b>bold</b>", "caturday"].map(String::from);
    let links = ["https://example.com/a", "javascript:alert(1)"].map(String::from);
    let name = Some("<img src=x onerror=alert(1)>".into());
    let account = AccountRow {
        display_name: name,
        active: true,
        ..Default::default()
    };
    let account = |did: &String| row(did.parse::<Did>().unwrap(), account.clone());
    let tally = PostRow {
        likes: 90_000,
        replies: 700,
        state: PostState::Live,
        ..Default::default()
    };
    let tally = |uri: &String| row(uri.parse::<PostKey>().unwrap(), tally);
    let likes = activity(now, "app.bsky.feed.like", 6).into_iter();
    [
        (ViewId::TopHashtags, lists(Measure::Count, &tags, number)),
        (ViewId::TopLinks, lists(Measure::Count, &links, number)),
        (ViewId::TopPosts, lists(Measure::Likes, &posts, number)),
        (
            ViewId::TopActors,
            lists(Measure::LikesReceived, &dids, number),
        ),
        (ViewId::Accounts, dids.iter().map(account).collect()),
        (ViewId::Posts, posts.iter().map(tally).collect()),
        (
            ViewId::Activity,
            activity(now, "", 10).into_iter().chain(likes).collect(),
        ),
    ]
}
