//! The CBOR reader: it never panics. Whatever the strict rules accept, the loose rules and
//! `ciborium` read alike, and `ciborium` writes the same bytes again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skytide_core::cbor::{Error, Loose, Reader, Rules, Strict};

fuzz_target!(|bytes: &[u8]| {
    let loose = whole::<Loose>(bytes);
    if whole::<Strict>(bytes).is_err() {
        return;
    }
    assert_eq!(loose, Ok(()), "accepted by the strict rules, not by the loose ones");
    // Links are tags around byte strings, so `ciborium` reads everything that the strict rules
    // accept.
    let value: ciborium::Value = ciborium::from_reader(bytes).expect("accepted by the strict rules, but not CBOR");
    let mut again = Vec::new();
    ciborium::into_writer(&value, &mut again).expect("a vector accepts every byte");
    assert_eq!(again, bytes, "accepted by the strict rules, but not the only encoding");
});

fn whole<R: Rules>(bytes: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::<R>::new(bytes);
    reader.skip()?;
    reader.end()
}
