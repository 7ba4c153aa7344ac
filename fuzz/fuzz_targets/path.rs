//! Paths: no panic, a normal form without dot segments, and no way out of a replaced prefix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::http1::target::{normalize, replace_prefix};

fuzz_target!(|path: &[u8]| {
    if let Ok(normal) = normalize(path)
        && path.starts_with(b"/")
    {
        assert!(normal.starts_with(b"/"));
        assert!(!normal.split(|&byte| byte == b'/').any(|segment| segment == b"." || segment == b".."));
    }
    for (prefix, replacement) in [("/loc", "/new/"), ("/loc/", "/new/"), ("/", "/n/e/w/")] {
        let mut out = Vec::new();
        if replace_prefix(path, prefix.as_bytes(), replacement.as_bytes(), &mut out).is_ok() {
            let sent = normalize(&out).expect("what was accepted can be read again");
            assert!(sent.starts_with(replacement.as_bytes()));
        }
    }
});
