//! The jobs, one per file.

mod profiles;
mod retention;
mod snapshot;
#[cfg(test)]
mod testing;

pub use profiles::{FetchProfiles, OnDemandProfiles, ProfileFetcher, ProfileLimits};
pub use retention::Retention;
pub use snapshot::TakeSnapshot;
