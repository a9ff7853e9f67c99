//! The CBOR reader: no panic, and whatever the strict rules take is read alike by the loose ones
//! and by `ciborium`, which writes the same bytes back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skytide_core::cbor::{Error, Loose, Reader, Rules, Strict};

fuzz_target!(|bytes: &[u8]| {
    let loose = whole::<Loose>(bytes);
    if whole::<Strict>(bytes).is_err() {
        return;
    }
    assert_eq!(loose, Ok(()), "strict, but not loose");
    // Links are tags around byte strings, so `ciborium` reads all that the strict rules take.
    let value: ciborium::Value = ciborium::from_reader(bytes).expect("strict, but not CBOR");
    let mut again = Vec::new();
    ciborium::into_writer(&value, &mut again).expect("a vector takes everything");
    assert_eq!(again, bytes, "strict, but not the only form");
});

fn whole<R: Rules>(bytes: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::<R>::new(bytes);
    reader.skip()?;
    reader.end()
}
