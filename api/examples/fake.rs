//! The API on a made-up world in memory: `cargo run -p skytide-api --example fake [empty]`, then open the address.
//! Names try to break out of the page, which they must not.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use skytide_api::{ApiState, Health, Options, Part};
use skytide_core::id::{Did, Epoch, PostKey};
use skytide_core::memory::MemoryStore;
use skytide_core::port::clock::Clock;
use skytide_core::port::store::{Committed, ViewStore};
use skytide_core::time::Timestamp;
use skytide_core::view::*;
use tokio_util::sync::CancellationToken;

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis() as u64,
        )
    }
}

struct Relay(bool);

impl Health for Relay {
    fn parts(&self) -> Vec<Part> {
        let detail = if self.0 {
            "connected"
        } else {
            "retrying in 8 s: connection refused"
        };
        vec![Part {
            name: "relay".into(),
            ok: self.0,
            detail: detail.into(),
        }]
    }
}

fn row<K: ViewKey, R: serde::Serialize>(key: K, row: R) -> Change {
    Change {
        key: Key::of(&key),
        row: Some(encode_row(&row)),
    }
}

fn list(measure: Measure, window: Window, keys: &[String], turn: u32) -> Change {
    let entry = |(place, key): (u32, &String)| {
        let value = 90_000 / (place + 1) + turn * 7;
        ListEntry {
            key: key.as_str().into(),
            value,
            other: value / 3,
            longer: value * 12,
        }
    };
    let entries = (0..).zip(keys).map(entry).collect();
    row(
        ListKey {
            window,
            measure,
            lang: "".into(),
        },
        ListRow { entries },
    )
}

fn world(now: Timestamp, turn: u32) -> Vec<(ViewId, Vec<Change>)> {
    let dids: Vec<String> = (b'a'..=b'l')
        .map(|c| format!("did:plc:{}", (c as char).to_string().repeat(24)))
        .collect();
    let posts: Vec<String> = dids
        .iter()
        .map(|did| format!("at://{did}/app.bsky.feed.post/3n2xril3jyo2a"))
        .collect();
    let tags: Vec<String> = [
        "art",
        "日本語",
        "<b>bold</b>",
        "nowplaying",
        "caturday",
        "ukraine",
        "photography",
    ]
    .map(String::from)
    .into();
    let links: Vec<String> = [
        "https://example.com/a/rather/long/path/that/does/not/fit?in=one&line=of&the=list",
        "javascript:alert(1)",
        "https://news.example/<script>",
    ]
    .map(String::from)
    .into();
    let lists = |measure, keys: &[String]| {
        Window::ALL
            .map(|window| list(measure, window, keys, turn))
            .to_vec()
    };
    let account = |(n, did): (usize, &String)| {
        let name = if n == 1 {
            "<img src=x onerror=alert(1)>".to_owned()
        } else {
            format!("Person {n}")
        };
        let handle = Some(format!("person{n}.bsky.social").into());
        row(
            did.parse::<Did>().unwrap(),
            AccountRow {
                handle,
                active: true,
                display_name: Some(name.into()),
                ..Default::default()
            },
        )
    };
    let tally = |(n, post): (u32, &String)| {
        let likes = 90_000 / (n + 1) + turn * 7;
        row(
            post.parse::<PostKey>().unwrap(),
            PostRow {
                likes,
                reposts: likes / 6,
                replies: likes / 20,
                quotes: likes / 60,
                state: PostState::Live,
                ..Default::default()
            },
        )
    };
    let collections = [
        ("", 10),
        ("app.bsky.feed.like", 6),
        ("app.bsky.feed.post", 2),
        ("app.bsky.graph.follow", 1),
        ("#identity", 1),
    ];
    let mut activity = Vec::new();
    for (collection, share) in collections {
        let counts = |creates: u64| ActivityRow {
            creates,
            deletes: creates / 20,
            accounts: creates / 9,
            bytes: creates * 220,
            live: creates,
            ..Default::default()
        };
        let mut add = |span, start_minute, creates: u64| {
            activity.push(row(
                ActivityKey {
                    span,
                    start_minute,
                    collection: collection.into(),
                },
                counts(creates),
            ))
        };
        add(Span::All, 0, share * 9_000_000 + u64::from(turn));
        let minute = now.minute().0;
        for back in 0..60 {
            add(
                Span::Minute,
                minute - back,
                share * (2_000 + u64::from((minute - back) % 13) * 90),
            );
        }
        for back in 0..24 {
            add(Span::Hour, (minute / 60 - back) * 60, share * 130_000);
        }
    }
    let langs = [("en", 61), ("ja", 11), ("und", 12), ("pt-BR", 3), ("de", 3)];
    let lang = |(lang, n): (&str, u32)| {
        row(
            TrendKey {
                key: lang.into(),
                lang: "".into(),
            },
            TrendRow {
                counts: [n * 400, n * 9_000, n * 60_000, n * 80_000],
                authors: [n * 90; 4],
            },
        )
    };
    let counters = [
        ("frames", 96_000_000),
        ("dropped/record_cbor", 12),
        ("dropped/delete_unknown", 48_211),
    ];
    vec![
        (ViewId::TopHashtags, lists(Measure::Count, &tags)),
        (ViewId::TopLinks, lists(Measure::Count, &links)),
        (ViewId::TopPosts, lists(Measure::Likes, &posts)),
        (ViewId::TopActors, lists(Measure::LikesReceived, &dids)),
        (
            ViewId::Accounts,
            dids.iter().enumerate().map(account).collect(),
        ),
        (ViewId::Posts, (0..).zip(&posts).map(tally).collect()),
        (ViewId::Activity, activity),
        (ViewId::Languages, langs.map(lang).into()),
        (
            ViewId::Counters,
            counters
                .map(|(name, value)| row(name.to_owned(), CounterRow { value }))
                .into(),
        ),
    ]
}

#[tokio::main]
async fn main() {
    let store = MemoryStore::new();
    let filled = std::env::args().nth(1).is_none();
    let state = ApiState::new(Arc::new(store.clone()), Arc::new(Wall), Arc::default())
        .with_health(Arc::new(Relay(filled)));
    let serving = skytide_api::run(
        Options::default(),
        state,
        |address| println!("http://{address}/"),
        CancellationToken::new(),
    );
    let since = Timestamp(Wall.now().0 - 5 * 3_600_000);
    let filling = async {
        let term = store.lead().await.unwrap().term;
        for turn in 0.. {
            let (now, epoch) = (Wall.now(), Epoch(u64::from(turn) + 1));
            store.begin(term, epoch).await.unwrap();
            for (view, changes) in world(now, turn) {
                store.write(term, view, changes).await.unwrap();
            }
            store
                .commit(
                    term,
                    Committed {
                        epoch,
                        time: now,
                        since,
                        ..Default::default()
                    },
                )
                .await
                .unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        served = serving => served.unwrap(),
        () = filling, if filled => (),
    }
}
