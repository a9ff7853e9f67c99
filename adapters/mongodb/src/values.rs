//! Numbers and times as the database stores them.

use mongodb::bson::DateTime;
use skytide_core::port::store::StoreError;
use skytide_core::time::Timestamp;

use super::error::failed;

/// Converts a number for the database. Epochs and terms count up from 0 and never reach the limit.
///
/// # Errors
/// The number is 2^63 or more.
pub fn number(number: u64) -> Result<i64, StoreError> {
    number
        .try_into()
        .map_err(failed("store a number of 2^63 or more"))
}

/// Converts a time to a date with milliseconds. `None` if it is too large for a date.
pub fn date(time: Timestamp) -> Option<DateTime> {
    time.0.try_into().ok().map(DateTime::from_millis)
}

/// Converts a date to a time. `None` if it is before 1970.
pub fn timestamp(date: DateTime) -> Option<Timestamp> {
    date.timestamp_millis().try_into().ok().map(Timestamp)
}
