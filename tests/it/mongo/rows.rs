//! Keys and rows of every view: random ones with all edge cases of texts and numbers, and one with
//! all columns.

use skytide_core::id::{Did, PostKey, Tid};
use skytide_core::limits::{DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, STATUS_BYTES_MAX, truncated};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    AccountRow, ActivityKey, ActivityRow, ActorRow, Change, CounterRow, CoverageKey, CoverageKind,
    CoverageRow, HandleKey, HandleRow, InteractionKey, InteractionRow, Key, ListEntry, ListKey,
    ListRow, Measure, PostRow, PostState, RowKind, Span, TrendKey, TrendRow, ViewId, Window,
    encode_row,
};
use skytide_tests::world::Random;

/// A random row of a view.
pub fn random_change(random: &mut Random, view: ViewId) -> Change {
    let (key, row) = match view.row_kind() {
        RowKind::Post => (Key::of(&post_key(random)), encode_row(&post(random))),
        RowKind::List => (Key::of(&list_key(random)), encode_row(&list(random))),
        RowKind::Trend => (Key::of(&trend_key(random)), encode_row(&trend(random))),
        RowKind::Interaction => (
            Key::of(&interaction_key(random)),
            encode_row(&interaction(random)),
        ),
        RowKind::Actor => (Key::of(&did(random)), encode_row(&actor(random))),
        RowKind::Activity => (
            Key::of(&activity_key(random)),
            encode_row(&activity(random)),
        ),
        RowKind::Account => (Key::of(&did(random)), encode_row(&account(random))),
        RowKind::Handle => {
            let handle = text(random).into();
            let key = HandleKey {
                handle,
                did: did(random),
            };
            let claimed = time(random);
            (Key::of(&key), encode_row(&HandleRow { claimed }))
        }
        RowKind::Counter => {
            let value = long(random);
            (Key::of(&text(random)), encode_row(&CounterRow { value }))
        }
        RowKind::Coverage => {
            let key = CoverageKey {
                kind: *random.pick(&CoverageKind::ALL),
                start: time(random),
                label: text(random).into(),
            };
            let row = CoverageRow {
                end: time(random),
                count: long(random),
                merged: random.bits() as u32,
            };
            (Key::of(&key), encode_row(&row))
        }
    };
    Change {
        key,
        row: Some(row),
    }
}

/// A row with a value in every column.
pub fn full_row(view: ViewId) -> (Key, Box<[u8]>) {
    let mut random = Random::new(1);
    if view == ViewId::Accounts {
        let some = || Some("text".into());
        let row = AccountRow {
            handle: some(),
            active: true,
            status: some(),
            display_name: some(),
            description: some(),
            avatar: some(),
            rev: Some(Tid(1 << 40)),
            out_of_sync: false,
        };
        return (Key::of(&did(&mut random)), encode_row(&row));
    }
    let change = random_change(&mut random, view);
    (change.key, change.row.expect("a row"))
}

fn text(random: &mut Random) -> String {
    let letters = [
        '\0',
        '\u{1}',
        ' ',
        '!',
        '#',
        '$',
        '.',
        'a',
        'z',
        'ä',
        '\u{7f}',
        '水',
        '\u{1f30a}',
        '\u{10ffff}',
    ];
    let length = match random.below(20) {
        0 => 500,
        _ => random.below(6),
    };
    (0..length).map(|_| *random.pick(&letters)).collect()
}

fn did(random: &mut Random) -> Did {
    let text = match random.below(6) {
        0 => "did:plc:short".to_owned(),
        1 => format!("did:web:{}.example.com%3A3000", random.below(50)),
        2 => format!("did:key:z{}", random.bits()),
        _ => {
            let mut packed = [0; 15];
            packed
                .iter_mut()
                .for_each(|byte| *byte = random.bits() as u8);
            return Did::from_plc(packed);
        }
    };
    text.parse().expect("a DID")
}

fn post_key(random: &mut Random) -> PostKey {
    let rkey = match random.below(5) {
        0 => "self".to_owned(),
        1 => "x".repeat(512),
        2 => format!("3lvvly4n4mc2w~{}", random.below(9)),
        _ => Tid(random.bits() >> 1).to_string(),
    };
    PostKey::new(&did(random), &rkey.parse().expect("a record key"))
}

fn lang(random: &mut Random) -> Box<str> {
    (*random.pick(&["", "en", "ja", "und", "pt-br"])).into()
}

fn short(random: &mut Random) -> u32 {
    *random.pick(&[0, 1, 100, i32::MAX as u32, 1 << 31, u32::MAX])
}

fn long(random: &mut Random) -> u64 {
    *random.pick(&[
        0,
        5,
        i32::MAX as u64,
        1 << 31,
        1 << 32,
        (1 << 53) + 1,
        i64::MAX as u64,
    ])
}

fn time(random: &mut Random) -> Timestamp {
    Timestamp(*random.pick(&[0, 1, 1_783_175_886_928, i64::MAX as u64]))
}

fn post(random: &mut Random) -> PostRow {
    PostRow {
        likes: short(random),
        reposts: short(random),
        replies: short(random),
        root_replies: short(random),
        quotes: short(random),
        self_likes: short(random),
        self_reposts: short(random),
        self_replies: short(random),
        self_root_replies: short(random),
        self_quotes: short(random),
        state: *random.pick(&[PostState::NeverSeen, PostState::Live, PostState::Gone]),
    }
}

fn list_key(random: &mut Random) -> ListKey {
    ListKey {
        window: *random.pick(&Window::ALL),
        measure: *random.pick(Measure::ALL),
        lang: lang(random),
    }
}

fn list(random: &mut Random) -> ListRow {
    let entries = 1 + random.below(ListRow::LENGTH as u64);
    let entry = |_| ListEntry {
        key: text(random).into(),
        value: short(random),
        other: short(random),
        longer: short(random),
    };
    ListRow {
        entries: (0..entries).map(entry).collect(),
    }
}

fn trend_key(random: &mut Random) -> TrendKey {
    TrendKey {
        key: text(random).into(),
        lang: lang(random),
    }
}

fn trend(random: &mut Random) -> TrendRow {
    TrendRow {
        counts: [(); 4].map(|()| short(random)),
        authors: [(); 4].map(|()| short(random)),
    }
}

fn interaction_key(random: &mut Random) -> InteractionKey {
    InteractionKey {
        author: did(random),
        day: *random.pick(&[0, 20_640, 20_641, u32::MAX]),
        subject: did(random),
    }
}

fn interaction(random: &mut Random) -> InteractionRow {
    InteractionRow {
        likes: short(random),
        reposts: short(random),
        replies: short(random),
        quotes: short(random),
        characters: long(random),
    }
}

fn actor(random: &mut Random) -> ActorRow {
    ActorRow {
        followers: short(random),
        follow_records: short(random),
        follows: short(random),
        blockers: short(random),
        block_records: short(random),
        blocks: short(random),
        posts: short(random),
        likes_given: short(random),
        likes_received: short(random),
        reposts_given: short(random),
        reposts_received: short(random),
        last_seen: time(random),
    }
}

fn activity_key(random: &mut Random) -> ActivityKey {
    ActivityKey {
        span: *random.pick(&[Span::All, Span::Hour, Span::Minute]),
        start_minute: short(random),
        collection: text(random).into(),
    }
}

fn activity(random: &mut Random) -> ActivityRow {
    ActivityRow {
        creates: long(random),
        updates: long(random),
        deletes: long(random),
        bytes: long(random),
        accounts: long(random),
        live: long(random),
    }
}

fn account(random: &mut Random) -> AccountRow {
    let mut maybe = |bytes_max: usize| {
        let text = random.chance(70).then(|| text(random));
        text.map(|text| truncated(&text, bytes_max).into())
    };
    AccountRow {
        handle: maybe(usize::MAX),
        status: maybe(STATUS_BYTES_MAX),
        display_name: maybe(NAME_BYTES_MAX),
        description: maybe(DESCRIPTION_BYTES_MAX),
        avatar: maybe(usize::MAX),
        active: random.chance(80),
        rev: random.chance(80).then(|| Tid(random.bits() >> 1)),
        out_of_sync: random.chance(10),
    }
}
