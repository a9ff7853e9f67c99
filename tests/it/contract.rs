//! One suite for each port, on every implementation.

use std::sync::Arc;

use skytide::embedded::{
    EmbeddedCheckpoints, EmbeddedLog, EmbeddedStore, LogOptions, StoreOptions,
};
use skytide_core::memory::{MemoryCheckpoints, MemoryLog, MemoryStore};
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::port::store::ViewStore;
use skytide_tests::contract_log::BYTES_MAX;
use tempfile::TempDir;

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
