//! What profiles and requests for them share.

use skytide_core::id::Did;
use skytide_core::port::BoxError;
use skytide_core::port::profile::ProfileError;
use skytide_core::port::store::StoreError;

/// The number of accounts that one command writes, reads or removes.
pub(super) const BATCH_PROFILES: usize = 500;

pub(super) fn texts(dids: &[Did]) -> Vec<String> {
    dids.iter().map(ToString::to_string).collect()
}

pub(super) fn profile_error(operation: &'static str, why: StoreError) -> ProfileError {
    match why {
        StoreError::Failed { source, .. } => ProfileError::Failed { operation, source },
        other => failed(operation)(other),
    }
}

pub(super) fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> ProfileError {
    move |source| ProfileError::Failed {
        operation,
        source: source.into(),
    }
}
