//! Numbers and times as the database stores them.

use mongodb::bson::DateTime;
use skytide_core::port::store::StoreError;
use skytide_core::time::Timestamp;

use super::error::failed;

/// A number as the database holds it: epochs and terms count up from 0 and never get there.
///
/// # Errors
/// It is 2^63 or more.
pub fn number(number: u64) -> Result<i64, StoreError> {
    number.try_into().map_err(failed("hold a number of 2^63"))
}

/// A moment as a date, with its milliseconds; `None` beyond what a date can be.
pub fn date(time: Timestamp) -> Option<DateTime> {
    time.0.try_into().ok().map(DateTime::from_millis)
}

/// The moment of a date; `None` before 1970.
pub fn timestamp(date: DateTime) -> Option<Timestamp> {
    date.timestamp_millis().try_into().ok().map(Timestamp)
}
