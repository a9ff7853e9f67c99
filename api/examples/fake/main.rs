//! The API on a made-up world in memory: `cargo run -p skytide-api --example fake [empty]`.
//! Names try to break out of the page, which they must not.

mod world;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skytide_api::{ApiState, Options};
use skytide_core::id::Epoch;
use skytide_core::memory::MemoryStore;
use skytide_core::port::clock::Clock;
use skytide_core::port::store::{Committed, ViewStore};
use skytide_core::time::Timestamp;
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

async fn fill(store: MemoryStore) {
    let term = store.lead().await.unwrap().term;
    let since = Timestamp(Wall.now().0 - 5 * 3_600_000);
    for turn in 1.. {
        let (time, epoch) = (Wall.now(), Epoch(u64::from(turn)));
        store.begin(term, epoch.into()).await.unwrap();
        for (view, changes) in world::world(time, turn) {
            store.write(term, view, changes).await.unwrap();
        }
        let committed = Committed {
            epoch,
            time,
            since,
            ..Default::default()
        };
        store.commit(term, committed).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::main]
async fn main() {
    let store = MemoryStore::new();
    let state = ApiState::new(Arc::new(store.clone()), Arc::new(Wall), Arc::default());
    let filled = std::env::args().nth(1).is_none();
    let told = |address| println!("http://{address}/");
    let serving = skytide_api::run(Options::default(), state, told, CancellationToken::new());
    tokio::select! {
        served = serving => served.unwrap(),
        () = fill(store), if filled => (),
    }
}
