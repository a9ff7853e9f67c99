//! The format version of a message's payload. It is stored in the header that names the writer:
//!
//! ```text
//! Skytide-Writer: 0123456789abcdef/1     run of ingest, format of the payload
//! Skytide-Writer: 0123456789abcdef       without a slash: format 1
//! ```
//!
//! It shares a header because each additional header costs about 20 bytes per message, and most
//! messages hold one event. The number rises only with a change that an older version would
//! misread, not with new fields that an older version can ignore.

use async_nats::HeaderMap;
use skytide_core::port::log::LogError;

use super::claim::WRITER;
use super::damaged;

/// The format that this version writes, and the newest that it can read.
const FORMAT: u32 = 1;

/// The value of the [`WRITER`] header for a run of ingest.
pub fn writer_tag(run: u64) -> String {
    format!("{run:016x}/{FORMAT}")
}

/// Checks that this version can read a message with these headers.
///
/// # Errors
/// `Newer`, or `Damaged` if the format is not a number.
pub fn check(position: u64, headers: &HeaderMap) -> Result<(), LogError> {
    let writer = headers.get(WRITER).map(async_nats::HeaderValue::as_str);
    let Some((_, format)) = writer.and_then(|writer| writer.split_once('/')) else {
        return Ok(());
    };
    match format.parse::<u32>() {
        Ok(format) if format <= FORMAT => Ok(()),
        Ok(format) => Err(LogError::Newer(format!(
            "the message at position {position} has format {format}, this version reads formats \
             up to {FORMAT}. Upgrade all services that read the log before `ingest`"
        ))),
        Err(_) => Err(damaged(position, "its format is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_later_format_are_refused_and_earlier_formats_are_read() {
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
        assert!(newer.contains("position 7 has format 2"), "{newer}");
        let damaged = checked(Some("0123456789abcdef/x")).expect_err("not a number");
        assert!(damaged.contains("damaged"), "{damaged}");
    }
}
