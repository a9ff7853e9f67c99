//! Serves the API on an invented world in memory: `cargo run -p skytide-api --example fake
//! [empty]`. Some names in it contain markup, to check that the start page shows them as text.

mod world;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skytide_api::{ApiState, Options};
use skytide_core::id::Epoch;
use skytide_core::memory::MemoryStore;
use skytide_core::port::clock::Clock;
use skytide_core::port::store::{Committed, Recipe, ViewStore};
use skytide_core::time::Timestamp;
use skytide_core::view::ViewId;
use tokio_util::sync::CancellationToken;

/// The clock of the system.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis() as u64,
        )
    }
}

/// Commits the world again every second, with growing counts.
async fn commit_forever(store: MemoryStore) {
    let term = store.lead().await.unwrap().term;
    let since = Timestamp(SystemClock.now().0 - 5 * 3_600_000);
    for number in 1.. {
        let (time, epoch) = (SystemClock.now(), Epoch(u64::from(number)));
        store.begin(term, epoch.into()).await.unwrap();
        for (view, changes) in world::rows_of_commit(time, number) {
            store.write(term, view, changes).await.unwrap();
        }
        let committed = Committed {
            epoch,
            time,
            since,
            recipe: Some(Recipe {
                views: ViewId::ALL.iter().map(|it| (*it, it.version())).collect(),
                ..Recipe::default()
            }),
            ..Default::default()
        };
        store.commit(term, committed).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::main]
async fn main() {
    let store = MemoryStore::new();
    let state = ApiState::new(
        Arc::new(store.clone()),
        Arc::new(SystemClock),
        Arc::default(),
    );
    let filled = std::env::args().nth(1).is_none();
    let print = |address| println!("http://{address}/");
    let serving = skytide_api::run(Options::default(), state, print, CancellationToken::new());
    tokio::select! {
        served = serving => served.unwrap(),
        () = commit_forever(store), if filled => (),
    }
}
