//! The CAR reader: no panic, an end, and blocks that lie within the input, in order, without
//! overlap.

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
        assert!(from < cid, "a length stands before each block");
        assert_eq!(cid + block.cid.len(), data, "the data follow the CID");
        from = data + block.data.len();
        assert!(from <= end, "a block ends within the input");
    }
});
