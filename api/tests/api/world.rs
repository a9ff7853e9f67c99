//! A small world in the memory store, and functions that send requests about it.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use skytide_api::{ApiState, router};
use skytide_core::id::{Did, Epoch, PostKey};
use skytide_core::memory::MemoryStore;
use skytide_core::port::clock::{Clock, ManualClock};
use skytide_core::port::store::{Committed, Recipe, ViewReader, ViewStore};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    AccountRow, ActivityKey, ActivityRow, Change, HandleKey, HandleRow, Key, ListEntry, ListKey,
    ListRow, Measure, Span, ViewId, ViewKey, Window, encode_row,
};
use tower::ServiceExt;

pub const ANA: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
pub const BEA: &str = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
pub const CAI: &str = "did:web:cai.example.com";
pub const AS_OF: &str = "2026-07-04T14:38:06.928Z";

/// A store, its writer and a clock.
pub struct World {
    pub store: MemoryStore,
    pub clock: Arc<ManualClock>,
    pub since: Timestamp,
    pub epoch: u64,
    /// Views that commits do not have.
    pub left_out: Vec<ViewId>,
}

pub fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

pub fn did(text: &str) -> Did {
    text.parse().unwrap()
}

pub fn post(author: &str, rkey: &str) -> PostKey {
    format!("at://{author}/app.bsky.feed.post/{rkey}")
        .parse()
        .unwrap()
}

pub fn row<K: ViewKey, R: Serialize>(key: &K, row: &R) -> Change {
    Change {
        key: Key::of(key),
        row: Some(encode_row(row)),
    }
}

pub fn list(
    window: Window,
    measure: Measure,
    lang: &str,
    entries: &[(&str, u32, u32, u32)],
) -> Change {
    let entry = |(key, value, other, longer): &(&str, u32, u32, u32)| ListEntry {
        key: (*key).into(),
        value: *value,
        other: *other,
        longer: *longer,
    };
    let entries = entries.iter().map(entry).collect();
    row(
        &ListKey {
            window,
            measure,
            lang: lang.into(),
        },
        &ListRow { entries },
    )
}

pub fn account(handle: &str, name: &str) -> AccountRow {
    AccountRow {
        handle: Some(handle.into()),
        active: true,
        display_name: Some(name.into()),
        ..AccountRow::default()
    }
}

pub fn claim(handle: &str, claimant: &str, claimed: &str) -> Change {
    let key = HandleKey {
        handle: handle.into(),
        did: did(claimant),
    };
    row(
        &key,
        &HandleRow {
            claimed: time(claimed),
        },
    )
}

pub fn activity(span: Span, start: &str, collection: &str, creates: u64, deletes: u64) -> Change {
    let start_minute = if start.is_empty() {
        0
    } else {
        time(start).minute().0
    };
    let key = ActivityKey {
        span,
        start_minute,
        collection: collection.into(),
    };
    let counts = ActivityRow {
        creates,
        deletes,
        bytes: 100,
        accounts: 3,
        live: 2,
        updates: 0,
    };
    row(&key, &counts)
}

impl World {
    /// Nothing is committed. The clock is 250 ms later than the time of the commits.
    pub fn empty() -> Self {
        Self::on(MemoryStore::new())
    }

    pub fn on(store: MemoryStore) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.set(Timestamp(time(AS_OF).0 + 250));
        Self {
            store,
            clock,
            since: time("2026-06-01T00:00:00Z"),
            epoch: 40,
            left_out: Vec::new(),
        }
    }

    /// Advances the clock.
    pub fn advance(&self, ms: u64) {
        self.clock.set(Timestamp(self.clock.now().0 + ms));
    }

    /// Writes rows and commits them as the next epoch.
    pub async fn commit(&mut self, views: &[(ViewId, Vec<Change>)]) {
        self.epoch += 1;
        let term = self.store.lead().await.unwrap().term;
        self.store
            .begin(term, Epoch(self.epoch).into())
            .await
            .unwrap();
        for (view, changes) in views {
            self.store
                .write(term, *view, changes.clone())
                .await
                .unwrap();
        }
        self.store.commit(term, self.committed()).await.unwrap();
    }

    pub fn committed(&self) -> Committed {
        Committed {
            epoch: Epoch(self.epoch),
            time: time(AS_OF),
            since: self.since,
            log_id: 7,
            recipe: Some(Recipe {
                views: {
                    let views = ViewId::ALL.iter().filter(|it| !self.left_out.contains(it));
                    views.map(|it| (*it, it.version())).collect()
                },
                ..Recipe::default()
            }),
            ..Committed::default()
        }
    }

    pub fn state(&self) -> ApiState {
        self.state_on(Arc::new(self.store.clone()))
    }

    pub fn state_on(&self, reader: Arc<dyn ViewReader>) -> ApiState {
        ApiState::new(reader, self.clock.clone(), Arc::default())
    }

    /// Sends a request that must be answered with 200; returns the JSON.
    pub async fn get(&self, uri: &str) -> Value {
        let (status, json) = get_json(self.state(), uri).await;
        assert_eq!(status, StatusCode::OK, "{uri}: {json:#}");
        json
    }

    /// Sends a request that must be refused; returns the status and the problem.
    pub async fn refused(&self, uri: &str) -> (u16, Value) {
        let (status, json) = get_json(self.state(), uri).await;
        assert_eq!(json["status"], status.as_u16(), "{uri}: {json:#}");
        assert_eq!(json["type"], "about:blank");
        (status.as_u16(), json)
    }
}

/// Sends a request; returns the response.
pub async fn send(state: ApiState, request: Request<Body>) -> Response<Body> {
    router(state).oneshot(request).await.unwrap()
}

pub fn request(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

pub async fn text(response: Response<Body>) -> String {
    let bytes = to_bytes(response.into_body(), 10_000_000).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Sends a GET request; returns the status and the JSON.
pub async fn get_json(state: ApiState, uri: &str) -> (StatusCode, Value) {
    let response = send(state, request(uri)).await;
    let status = response.status();
    let text = text(response).await;
    let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{uri}: no JSON: {text}"));
    (status, json)
}
