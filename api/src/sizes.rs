//! The sizes of the caches and tables of the API.

use skytide_core::port::size::{SizeReporter, StateSize};

use crate::access::Access;
use crate::cache::AnswerCache;
use crate::demand::ProfileDemand;
use crate::handles::Handles;
use crate::limiter::AddressLimits;
use crate::routes::as_of::SnapshotCache;
use crate::routes::stream::StreamState;

/// What the API holds in memory. The sizes of caches are those that their library reports, so they
/// may be out of date by some entries. An entry whose size is not known counts with an estimate.
pub(crate) struct ApiSizes {
    pub(crate) answers: AnswerCache,
    pub(crate) snapshots: SnapshotCache,
    pub(crate) streams: StreamState,
    pub(crate) addresses: AddressLimits,
    pub(crate) access: Access,
    pub(crate) handles: Handles,
    pub(crate) demand: ProfileDemand,
}

impl SizeReporter for ApiSizes {
    fn sizes(&self) -> Vec<StateSize> {
        let size = |name, (entries, bytes), option| StateSize::new(name, entries, bytes, option);
        vec![
            size(
                "api.answers",
                self.answers.size(),
                Some("API_CACHE_BYTES_MAX"),
            ),
            size("api.snapshots", self.snapshots.size(), None),
            size("api.stream_answers", self.streams.answers_size(), None),
            size(
                "api.streams",
                self.streams.slots_size(),
                Some("API_STREAM_CLIENTS_MAX"),
            ),
            size(
                "api.address_limits",
                self.addresses.size(),
                Some("API_RATE"),
            ),
            size("api.keys", self.access.size(), None),
            size("api.handles", self.handles.size(), Some("API_RESOLVER_URL")),
            size("api.profile_requests", self.demand.size(), None),
        ]
    }

    /// Drops the cached answers: they can be read again.
    fn release(&self) {
        self.answers.clear();
    }
}
