//! Runs the contract suite of each port on each implementation.

use std::sync::Arc;
use std::time::Duration;

use skytide_core::config::{ByteSize, Span};
use skytide_core::memory::{
    MemoryCheckpoints, MemoryJobs, MemoryKeys, MemoryLog, MemoryProfiles, MemorySnapshots,
    MemoryStore,
};
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::job::JobStore;
use skytide_core::port::key::KeyStore;
use skytide_core::port::log::Log;
use skytide_core::port::profile::ProfileStore;
use skytide_core::port::snapshot::SnapshotStore;
use skytide_core::port::store::ViewStore;
use skytide_embedded::EmbeddedProfiles;
use skytide_embedded::JobFile;
use skytide_embedded::KeyFile;
use skytide_embedded::SnapshotDir;
use skytide_embedded::{EmbeddedCheckpoints, EmbeddedLog, EmbeddedStore, LogOptions, StoreOptions};
use skytide_mongodb::{
    Connection, MongoJobs, MongoKeys, MongoProfiles, MongoSnapshots, MongoStore,
};
use skytide_nats::NatsLog;
use skytide_tests::contract_log::{self, BYTES_MAX};
use tempfile::TempDir;

use crate::mongo::{Own, own_database};

mod memory_log {
    use super::*;

    async fn make() -> (Arc<dyn Log>, ()) {
        (Arc::new(MemoryLog::with_bytes_max(7, BYTES_MAX)), ())
    }

    skytide_tests::log_contract!(make);
}

mod embedded_log {
    use super::*;

    async fn make() -> (Arc<dyn Log>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions {
            segment_bytes: 8 << 10,
            bytes_max: BYTES_MAX,
            sync: true,
        };
        let log = EmbeddedLog::open(folder.path(), options).unwrap();
        (Arc::new(log), folder)
    }

    skytide_tests::log_contract!(make);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_log_can_be_trimmed_even_if_segments_could_be_as_large_as_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions {
            segment_bytes: 2 * BYTES_MAX,
            bytes_max: BYTES_MAX,
            sync: false,
        };
        let log = EmbeddedLog::open(folder.path(), options).unwrap();
        let sentence =
            contract_log::appending_waits_at_the_size_limit_until_the_log_is_trimmed(&log);
        let done = tokio::time::timeout(Duration::from_secs(60), sentence).await;
        done.expect("there is room after trimming");
    }
}

mod nats_log {
    use super::*;

    async fn make() -> Option<(Arc<dyn Log>, ())> {
        let mut config = crate::nats::own_stream()?;
        config.bytes_max = Some(ByteSize(BYTES_MAX));
        let log = NatsLog::connect(&config).await.unwrap();
        Some((Arc::new(log), ()))
    }

    skytide_tests::log_contract!(make, where available);
}

mod memory_checkpoints {
    use super::*;

    fn make() -> (Arc<dyn CheckpointStore>, ()) {
        (Arc::new(MemoryCheckpoints::new()), ())
    }

    skytide_tests::checkpoint_contract!(make);
}

mod embedded_checkpoints {
    use super::*;

    fn make() -> (Arc<dyn CheckpointStore>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = EmbeddedCheckpoints::open(folder.path()).unwrap();
        (Arc::new(checkpoints), folder)
    }

    skytide_tests::checkpoint_contract!(make);
}

mod memory_store {
    use super::*;

    async fn make() -> (Arc<dyn ViewStore>, ()) {
        (Arc::new(MemoryStore::new()), ())
    }

    skytide_tests::store_contract!(make);
    skytide_tests::atomic_store_contract!(make);
}

mod torn_memory_store {
    use super::*;

    async fn make() -> (Arc<dyn ViewStore>, ()) {
        (Arc::new(MemoryStore::torn()), ())
    }

    skytide_tests::store_contract!(make);
}

mod embedded_store {
    use super::*;

    async fn make() -> (Arc<dyn ViewStore>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), StoreOptions::default()).unwrap();
        (Arc::new(store), folder)
    }

    skytide_tests::store_contract!(make);
    skytide_tests::atomic_store_contract!(make);
}

mod memory_jobs {
    use super::*;

    async fn make() -> (Arc<dyn JobStore>, ()) {
        (Arc::new(MemoryJobs::default()), ())
    }

    skytide_tests::job_contract!(make);
}

mod job_file {
    use super::*;

    async fn make() -> (Arc<dyn JobStore>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let jobs = JobFile::open(&folder.path().join("jobs.json")).unwrap();
        (Arc::new(jobs), folder)
    }

    skytide_tests::job_contract!(make);
}

mod memory_profiles {
    use super::*;

    async fn make() -> (Arc<dyn ProfileStore>, ()) {
        (Arc::new(MemoryProfiles::default()), ())
    }

    skytide_tests::profile_contract!(make);
}

mod embedded_profiles {
    use super::*;

    async fn make() -> (Arc<dyn ProfileStore>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), StoreOptions::default()).unwrap();
        (Arc::new(EmbeddedProfiles::open(&store).unwrap()), folder)
    }

    skytide_tests::profile_contract!(make);
}

mod memory_snapshots {
    use super::*;

    async fn make() -> (Arc<dyn SnapshotStore>, ()) {
        (Arc::new(MemorySnapshots::default()), ())
    }

    skytide_tests::snapshot_contract!(make);
}

mod snapshot_dir {
    use super::*;

    async fn make() -> (Arc<dyn SnapshotStore>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = SnapshotDir::open(folder.path()).unwrap();
        (Arc::new(snapshots), folder)
    }

    skytide_tests::snapshot_contract!(make);
}

mod mongo_store {
    use super::*;

    async fn make() -> Option<(Arc<dyn ViewStore>, Own)> {
        let (mut options, own) = own_database()?;
        // A writer that replaces views waits for as long as batches of the previous writer may
        // take.
        options.operation_max = Span(Duration::from_secs(3));
        let store = MongoStore::connect(&options).await.unwrap();
        Some((Arc::new(store), own))
    }

    skytide_tests::store_contract!(make);
}

mod mongo_jobs {
    use super::*;

    async fn make() -> Option<(Arc<dyn JobStore>, Own)> {
        let (options, own) = own_database()?;
        let connection = Connection::open(&options).await.unwrap();
        Some((Arc::new(MongoJobs::new(&connection)), own))
    }

    skytide_tests::job_contract!(make);
}

mod mongo_profiles {
    use super::*;

    async fn make() -> Option<(Arc<dyn ProfileStore>, Own)> {
        let (options, own) = own_database()?;
        let connection = Connection::open(&options).await.unwrap();
        Some((Arc::new(MongoProfiles::new(&connection)), own))
    }

    skytide_tests::profile_contract!(make);
}

mod mongo_snapshots {
    use super::*;

    async fn make() -> Option<(Arc<dyn SnapshotStore>, Own)> {
        let (options, own) = own_database()?;
        let connection = Connection::open(&options).await.unwrap();
        Some((Arc::new(MongoSnapshots::new(&connection)), own))
    }

    skytide_tests::snapshot_contract!(make);
}

mod memory_keys {
    use super::*;

    async fn make() -> (Arc<dyn KeyStore>, ()) {
        (Arc::new(MemoryKeys::default()), ())
    }

    skytide_tests::key_contract!(make);
}

mod key_file {
    use super::*;

    async fn make() -> (Arc<dyn KeyStore>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Arc::new(KeyFile::new(folder.path())), folder)
    }

    skytide_tests::key_contract!(make);
}

mod mongo_keys {
    use super::*;

    async fn make() -> Option<(Arc<dyn KeyStore>, Own)> {
        let (options, own) = own_database()?;
        let connection = Connection::open(&options).await.unwrap();
        Some((Arc::new(MongoKeys::new(&connection)), own))
    }

    skytide_tests::key_contract!(make);
}
