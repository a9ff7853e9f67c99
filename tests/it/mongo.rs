//! The stores on a real MongoDB: properties outside the contracts, for which a server must be
//! stopped, frozen or disconnected, and the content of the documents.

mod documents;
mod exports;
mod faults;
mod pages;
mod refusals;
mod rows;
mod writers;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection, Database};
use skytide_core::config::{Mongo as Options, Span};
use skytide_core::port::store::{StoreError, Term, ViewStore};
use skytide_core::view::{Change, ViewId};
use skytide_mongodb::MongoStore;
use skytide_tests::contract_store::committed;
use skytide_tests::servers::Mongo;

/// A database of the test's own, which is dropped together with this value.
pub struct Own {
    uri: String,
    name: String,
}

impl Own {
    /// The collection that holds the control record.
    async fn control_records(&self) -> Collection<Document> {
        self.database().await.collection("control")
    }

    /// The database, through a client that is not ours.
    pub async fn database(&self) -> Database {
        let client = Client::with_uri_str(&self.uri).await.expect("an address");
        client.database(&self.name)
    }

    /// The documents of a view.
    pub async fn documents(&self, view: ViewId) -> Collection<Document> {
        self.database().await.collection(view.name())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let (uri, name) = (self.uri.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let uri = uri + "&serverSelectionTimeoutMS=1000";
                if let Ok(client) = Client::with_uri_str(uri).await {
                    // A server that the test has stopped has nothing to drop.
                    let _ = client.database(&name).drop().await;
                }
            });
        });
        let _ = dropped.join();
    }
}

/// Options for a database of the test's own on the shared server.
pub fn own_database() -> Option<(Options, Own)> {
    Some(database_at(&Mongo::shared()?))
}

/// Options for a new database at this address.
pub fn database_at(uri: &str) -> (Options, Own) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut options = Options::at(uri).expect("an address");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The server may be shared with other runs.
    let since = std::time::UNIX_EPOCH
        .elapsed()
        .expect("a clock")
        .as_micros();
    let name = format!("test-{}-{since}-{count}", std::process::id());
    options.database = name.parse().expect("a name");
    let uri = match uri.contains('?') {
        true => uri.to_owned(),
        false => format!("{uri}/?appName=test"),
    };
    (options, Own { uri, name })
}

/// The same database through another port of the same server.
fn by_port(options: &Options, port: u16) -> Options {
    let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
    Options {
        database: options.database.clone(),
        ..Options::at(&uri).expect("an address")
    }
}

/// Short time limits, for tests in which they expire.
fn hasty(mut options: Options) -> Options {
    options.operation_max = Span(Duration::from_secs(1));
    options.lease_ttl = Span(Duration::from_secs(1));
    options
}

async fn connect(options: &Options) -> MongoStore {
    MongoStore::connect(options).await.expect("a server")
}

/// Makes one commit as the dataflow does: repeats all of it until it succeeds.
async fn commit_with_retries(
    store: &MongoStore,
    term: Term,
    epoch: u64,
    changes: &[(ViewId, Vec<Change>)],
) -> u32 {
    let mut failures = 0;
    loop {
        match try_commit(store, term, epoch, changes).await {
            Ok(()) => return failures,
            Err(StoreError::Failed { .. }) => failures += 1,
            Err(other) => panic!("epoch {epoch}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn try_commit(
    store: &MongoStore,
    term: Term,
    epoch: u64,
    changes: &[(ViewId, Vec<Change>)],
) -> Result<(), StoreError> {
    store.begin(term, committed(epoch).epoch.into()).await?;
    for (view, changes) in changes {
        store.write(term, *view, changes.clone()).await?;
    }
    store.commit(term, committed(epoch)).await
}

/// Waits until every document of a removed row has been deleted.
async fn purged(own: &Own, view: ViewId) {
    let documents = own.documents(view).await;
    let removed = doc! { "removed": { "$exists": true } };
    while documents
        .count_documents(removed.clone())
        .await
        .expect("a server")
        > 0
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
