//! PROXY headers: no panic, nothing beyond the end, and what is written of what was read says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::proxy_protocol::{MAX_HEADER, Progress, Version, encode, parse};

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Ok(Progress::Complete { consumed, addresses }) => {
            assert!(0 < consumed && consumed <= bytes.len() && consumed <= MAX_HEADER);
            // Two addresses of one family are read again as they were.
            for version in [Version::V1, Version::V2] {
                let again = encode(version, addresses);
                assert_eq!(parse(&again), Ok(Progress::Complete { consumed: again.len(), addresses }));
            }
            assert_eq!(parse(&bytes[..consumed]), parse(bytes));
        }
        Ok(Progress::Partial) => assert!(bytes.len() < MAX_HEADER),
        Err(_) => {}
    }
});
