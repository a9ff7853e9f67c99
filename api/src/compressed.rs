//! Gzip (<https://www.rfc-editor.org/rfc/rfc1952>) of answers whose data are compressed once.
//!
//! ```text
//! header │ stored block: epoch, as_of, ... │ compressed blocks: the data │ CRC, length
//!        └─ of this answer ────────────────┴─ cached ────────────────────┴─ of both
//! ```
//!
//! The fields that all answers have differ from answer to answer, the data after them do not. A
//! stored block (<https://www.rfc-editor.org/rfc/rfc1951#section-3.2.4>) costs no compression and
//! ends at a byte boundary, so the compressed data can follow it, and the checksum of both parts is
//! computed from those of each. Two gzip members would be simpler, but curl 7.88 and Chromium 156
//! decode only the first.

use std::io::Write;

use axum::http::{HeaderMap, header};
use crc32fast::Hasher;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::exposition::thousandths;

/// Member header: deflate, no name, no time, fastest compression, unknown operating system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
/// Bytes beside the two parts, if the first has one stored block: header, block header, trailer.
const OVERHEAD_BYTES: usize = HEADER.len() + 5 + 8;

/// Data that are compressed, and can follow any other text in one gzip stream.
#[derive(Debug)]
pub(crate) struct CompressedData {
    /// The complete deflate stream of the data.
    deflated: Box<[u8]>,
    /// Checksum and length of the data.
    checksum: Hasher,
    text_bytes: usize,
}

impl CompressedData {
    /// Compresses the data.
    pub(crate) fn new(text: &str) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        let written = encoder.write_all(text.as_bytes());
        let deflated = written.and_then(|()| encoder.finish());
        let mut checksum = Hasher::new();
        checksum.update(text.as_bytes());
        Self {
            deflated: deflated.expect("a vector accepts all bytes").into(),
            checksum,
            text_bytes: text.len(),
        }
    }

    /// Memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.deflated.len()
    }

    /// The gzip of a text that consists of `head` and the data.
    pub(crate) fn gzip_after(&self, head: &str) -> Vec<u8> {
        let mut gzip = Vec::with_capacity(OVERHEAD_BYTES + head.len() + self.deflated.len());
        gzip.extend(HEADER);
        for block in head.as_bytes().chunks(usize::from(u16::MAX)) {
            let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
            gzip.push(0); // neither the last block nor compressed
            gzip.extend(length.to_le_bytes());
            gzip.extend((!length).to_le_bytes());
            gzip.extend(block);
        }
        gzip.extend(&self.deflated);
        let mut checksum = Hasher::new();
        checksum.update(head.as_bytes());
        checksum.combine(&self.checksum);
        gzip.extend(checksum.finalize().to_le_bytes());
        // The format has the length modulo 2^32.
        let text_bytes = (head.len() + self.text_bytes) as u32;
        gzip.extend(text_bytes.to_le_bytes());
        gzip
    }
}

/// Whether `Accept-Encoding` allows gzip and prefers it to an answer that is not encoded
/// (<https://www.rfc-editor.org/rfc/rfc9110#name-accept-encoding>).
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let is_weight = name.trim().eq_ignore_ascii_case("q");
            is_weight.then(|| thousandths(value.trim()))
        });
        let weight = weight.unwrap_or(1_000);
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            gzip = gzip.max(Some(weight));
        } else if name.eq_ignore_ascii_case("identity") {
            identity = Some(weight);
        } else if name == "*" {
            any = Some(weight);
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn decode(gzip: &[u8]) -> String {
        let mut text = String::new();
        // Decodes one member only, as curl and browsers do, and checks the checksum.
        let mut decoder = flate2::bufread::GzDecoder::new(gzip);
        decoder.read_to_string(&mut text).expect("one gzip member");
        assert!(decoder.into_inner().is_empty(), "bytes after the member");
        text
    }

    #[test]
    fn the_data_can_follow_any_head_in_one_gzip_member() {
        let data: String = (0..5_000).map(|n| format!("{{\"n\":{n}}},")).collect();
        for data in ["", "x", &data] {
            let compressed = CompressedData::new(data);
            for head in ["", "{", &"head ".repeat(30_000)] {
                let gzip = compressed.gzip_after(head);
                assert!(decode(&gzip) == format!("{head}{data}"));
            }
        }
    }

    #[test]
    fn the_client_decides_whether_an_answer_is_compressed() {
        let cases = [
            ("gzip", true),
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.8, *;q=0.1", true),
            ("x-gzip", true),
            ("*", true),
            ("gzip; q=0.5, identity;q=0.5", true),
            ("", false),
            ("identity", false),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip;q=0.0, *", false),
            ("*;q=0", false),
            ("gzip;q=0.5, identity;q=1", false),
            ("gzip;q=nonsense", false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().expect("a value"));
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
