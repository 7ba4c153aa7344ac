//! Answers: no panic, no difference between whole and cut input, and nothing accepted that is not accepted again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::http1::{Limits, Method, Progress, ResponseHead, encode};

const LIMITS: Limits = Limits { head: 4096, target: 0, fields: 40 };

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = (usize::from(input.0).min(input.1.len()), input.1);
    let (mut whole, mut grown) = (ResponseHead::new(), ResponseHead::new());
    let at_once = whole.parse(bytes, &LIMITS);
    if grown.parse(&bytes[..cut], &LIMITS) == Ok(Progress::Partial) {
        assert_eq!(grown.parse(bytes, &LIMITS).ok(), at_once.ok());
        assert!(grown.fields().eq(whole.fields()));
    }
    if !matches!(at_once, Ok(Progress::Complete { .. })) {
        return;
    }
    let mut wire = Vec::new();
    encode::status_line(&mut wire, whole.version(), whole.status(), whole.reason());
    whole.fields().for_each(|field| encode::field(&mut wire, field.name, field.value));
    encode::end_of_head(&mut wire);
    if grown.parse(&wire, &LIMITS).is_ok() {
        assert_eq!((grown.status(), grown.reason()), (whole.status(), whole.reason()));
        assert_eq!(grown.framing(Method::Get), whole.framing(Method::Get));
        assert_eq!(grown.keep_alive(), whole.keep_alive());
    }
    let _ = whole.keep_alive_timeout();
});
