//! The version of what a message holds, in the header that names its writer.
//!
//! ```text
//! Skytide-Writer: 0123456789abcdef/1        which run of ingest, then the format of the payload; none: format 1
//! ```
//!
//! It shares a header because each further one costs some 20 bytes a message, and most messages hold one event. Only a
//! change that an older version would misread raises the number: fields that it may ignore do not.

use async_nats::HeaderMap;
use skytide_core::port::log::LogError;

use super::claim::WRITER;
use super::damaged;

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// What a run of ingest marks its messages with.
pub fn writer_tag(run: u64) -> String {
    format!("{run:016x}/{FORMAT}")
}

/// Whether this version can read a message with these headers.
///
/// # Errors
/// `Newer`, or `Damaged` if the format is no number.
pub fn check(position: u64, headers: &HeaderMap) -> Result<(), LogError> {
    let writer = headers.get(WRITER).map(async_nats::HeaderValue::as_str);
    let Some((_, format)) = writer.and_then(|writer| writer.split_once('/')) else {
        return Ok(());
    };
    match format.parse::<u32>() {
        Ok(format) if format <= FORMAT => Ok(()),
        Ok(format) => Err(LogError::Newer(format!(
            "the message at position {position} is of format {format}, this version reads formats up to {FORMAT}. \
             Upgrade all services that read the log before `ingest`"
        ))),
        Err(_) => Err(damaged(position, "its format is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_a_later_format_is_refused_as_such_and_earlier_ones_are_read() {
        let checked = |writer: Option<&str>| {
            let mut headers = HeaderMap::new();
            writer.into_iter().for_each(|it| headers.insert(WRITER, it));
            check(7, &headers).map_err(|error| error.to_string())
        };
        for read in [None, Some("0123456789abcdef"), Some("0123456789abcdef/1")] {
            assert_eq!(checked(read), Ok(()), "{read:?}");
        }
        let newer = checked(Some("0123456789abcdef/2")).expect_err("a later format");
        assert!(newer.contains("written by a newer version"), "{newer}");
        assert!(newer.contains("position 7 is of format 2"), "{newer}");
        let damaged = checked(Some("0123456789abcdef/x")).expect_err("no number");
        assert!(damaged.contains("damaged"), "{damaged}");
    }
}
