//! The CAR reader: it never panics and always ends, and its blocks lie within the input, in order,
//! without overlap.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skytide_ingest::car::Car;

fuzz_target!(|bytes: &[u8]| {
    let Ok(car) = Car::open(bytes) else {
        return;
    };
    let mut from = bytes.as_ptr() as usize;
    let end = from + bytes.len();
    for block in car.flatten() {
        let cid = block.cid.as_ptr() as usize;
        let data = block.data.as_ptr() as usize;
        assert!(from < cid, "each block follows its length");
        assert_eq!(cid + block.cid.len(), data, "the data follows the CID");
        from = data + block.data.len();
        assert!(from <= end, "a block ends within the input");
    }
});
