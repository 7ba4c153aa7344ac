//! Requests: no panic, no difference between whole and cut input, and nothing accepted that is not accepted again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::http1::{Limits, Progress, RequestHead, encode};

const LIMITS: Limits = Limits { head: 4096, target: 512, fields: 40 };

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = (usize::from(input.0).min(input.1.len()), input.1);
    let (mut whole, mut grown) = (RequestHead::new(), RequestHead::new());
    let at_once = whole.parse(bytes, &LIMITS);
    if grown.parse(&bytes[..cut], &LIMITS) == Ok(Progress::Partial) {
        assert_eq!(grown.parse(bytes, &LIMITS).ok(), at_once.ok());
        assert!(grown.fields().eq(whole.fields()));
    }
    if !matches!(at_once, Ok(Progress::Complete { .. })) {
        return;
    }
    let mut wire = Vec::new();
    encode::request_line(&mut wire, whole.method(), whole.target());
    whole.fields().for_each(|field| encode::field(&mut wire, field.name, field.value));
    encode::end_of_head(&mut wire);
    // Written as HTTP/1.1: what was 1.0 without a host, or longer without white space, may be refused now.
    if let Ok(parsed) = grown.parse(&wire, &LIMITS) {
        assert_eq!(parsed, Progress::Complete { consumed: wire.len() });
        assert_eq!((grown.host(), grown.path(), grown.query()), (whole.host(), whole.path(), whole.query()));
        assert_eq!(grown.framing(), whole.framing());
    }
});
