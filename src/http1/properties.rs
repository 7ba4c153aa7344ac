//! What holds for every message, whatever is in it?

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { head: 4096, target: 512, fields: 40 };

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}"
}

/// A field whose name means nothing to the codec.
fn field() -> impl Strategy<Value = (String, Vec<u8>)> {
    (
        token().prop_map(|name| format!("X-{name}")),
        "[!-~\u{e9}]([ -~\t\u{e9}]{0,20}[!-~])?".prop_map(String::into_bytes),
    )
}

/// Bytes that are mostly what heads and bodies are made of, so that chance gets somewhere.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => prop::sample::select(&[
            "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n", "Host: a\r\n", "Connection: close, x\r\n", "\r\n", "\r\n\r\n",
            "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "5;a=b\r\nhello\r\n", "0\r\n\r\n",
            "0\r\nX: y\r\n\r\n", "\r", "\n", " ", "\t", ":", ";", "f", "\0", "*", "http://a?b", "OPTIONS", "HTTP/1.0", "/..",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// Everything a body decoder says of `input` when it comes in these pieces: the data, and how it ended.
fn decode(framing: Framing, input: &[u8], pieces: &[usize]) -> (Vec<u8>, Result<usize, BodyError>) {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut at, mut known) = (Vec::new(), 0, 0);
    let mut pieces = pieces.iter().copied().chain(std::iter::once(input.len()));
    loop {
        match decoder.decode(&input[at..known]) {
            Err(error) => return (data, Err(error)),
            Ok(Decoded { consumed, event }) => {
                let from = at;
                at += consumed;
                match event {
                    Event::Data(range) => data.extend_from_slice(&input[from..known][range]),
                    Event::End => return (data, Ok(at)),
                    Event::NeedMore => match pieces.next() {
                        Some(piece) => known = (known + piece).min(input.len()),
                        None => return (data, decoder.eof().map(|()| at)),
                    },
                }
            }
        }
    }
}

/// What the first call says that is not "go on", when the input grows by these pieces.
fn first_verdict(
    input: &[u8],
    pieces: &[usize],
    mut parse: impl FnMut(&[u8]) -> Result<Progress, Reject>,
) -> Result<Progress, Reject> {
    let mut known = 0;
    for piece in pieces {
        known = (known + piece).min(input.len());
        match parse(&input[..known]) {
            Ok(Progress::Partial) => {}
            verdict => return verdict,
        }
    }
    parse(input)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_composed_request_survives_the_wire(
        method in token(),
        path in "/[!-\"$->@-~]{0,30}",
        query in prop::option::of("[!-\"$-~]{0,20}"),
        fields in prop::collection::vec(field(), 0..38),
    ) {
        let target = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let host = [(&b"host"[..], &b"a:80"[..])];
        let others = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
        prop_assume!(method != "CONNECT");
        let mut composed = RequestHead::new();
        composed.compose(method.as_bytes(), target.as_bytes(), host.into_iter().chain(others), &LIMITS).unwrap();

        let mut wire = Vec::new();
        encode::request_line(&mut wire, composed.method(), composed.origin_form());
        composed.fields().for_each(|field| encode::field(&mut wire, field.name, field.value));
        encode::end_of_head(&mut wire);
        let mut parsed = RequestHead::new();
        prop_assert_eq!(parsed.parse(&wire, &LIMITS), Ok(Progress::Complete { consumed: wire.len() }));
        prop_assert_eq!(parsed.method(), method.as_bytes());
        prop_assert_eq!(parsed.path(), path.as_bytes());
        prop_assert_eq!(parsed.query(), query.as_ref().map(String::as_bytes));
        prop_assert_eq!(parsed.host(), Some(&b"a:80"[..]));
        prop_assert!(parsed.fields().eq(composed.fields()));
        let values = parsed.fields().skip(1).map(|field| field.value);
        prop_assert!(values.eq(fields.iter().map(|(_, value)| value.as_slice())));
    }

    #[test]
    fn a_composed_answer_survives_the_wire(
        status in 100u16..1000,
        reason in "[ -~\t\u{e9}]{0,20}",
        fields in prop::collection::vec(field(), 0..40),
    ) {
        let pieces = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let mut composed = ResponseHead::new();
        composed.compose(status, reason.as_bytes(), pieces, &LIMITS).unwrap();

        let mut wire = Vec::new();
        encode::status_line(&mut wire, composed.version(), composed.status(), composed.reason());
        composed.fields().for_each(|field| encode::field(&mut wire, field.name, field.value));
        encode::end_of_head(&mut wire);
        let mut parsed = ResponseHead::new();
        prop_assert_eq!(parsed.parse(&wire, &LIMITS), Ok(Progress::Complete { consumed: wire.len() }));
        prop_assert_eq!((parsed.status(), parsed.reason()), (status, reason.as_bytes()));
        prop_assert!(parsed.fields().eq(composed.fields()));
    }

    #[test]
    fn a_body_survives_chunking_and_cutting(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        pieces in prop::collection::vec(0usize..100, 0..40),
    ) {
        let mut wire = Vec::new();
        chunks.iter().for_each(|data| encode::chunk(&mut wire, data));
        encode::last_chunk(&mut wire, &FieldSection::default());
        let whole = wire.len();
        wire.extend_from_slice(b"next");
        prop_assert_eq!(decode(Framing::Chunked, &wire, &pieces), (chunks.concat(), Ok(whole)));
    }

    #[test]
    fn pieces_never_change_what_a_body_is(
        framing in prop_oneof![
            3 => Just(Framing::Chunked),
            1 => (0u64..40).prop_map(Framing::Length),
            1 => Just(Framing::UntilClose),
        ],
        input in wire(),
        pieces in prop::collection::vec(0usize..10, 0..40),
    ) {
        prop_assert_eq!(decode(framing, &input, &pieces), decode(framing, &input, &[]));
    }

    // What is wrong with a head may be found earlier when it comes slowly, and then have another name.
    #[test]
    fn pieces_never_change_what_a_head_is(input in wire(), pieces in prop::collection::vec(1usize..10, 0..40)) {
        let (mut whole, mut grown) = (RequestHead::new(), RequestHead::new());
        let at_once = whole.parse(&input, &LIMITS);
        let in_pieces = first_verdict(&input, &pieces, |bytes| grown.parse(bytes, &LIMITS));
        prop_assert_eq!(in_pieces.ok(), at_once.ok());
        prop_assert_eq!(grown.request_line(), whole.request_line());
        prop_assert!(grown.fields().eq(whole.fields()));

        let (mut whole, mut grown) = (ResponseHead::new(), ResponseHead::new());
        let at_once = whole.parse(&input, &LIMITS);
        let in_pieces = first_verdict(&input, &pieces, |bytes| grown.parse(bytes, &LIMITS));
        prop_assert_eq!(in_pieces.ok(), at_once.ok());
        prop_assert_eq!((grown.status(), grown.reason()), (whole.status(), whole.reason()));
        prop_assert!(grown.fields().eq(whole.fields()));
    }

    #[test]
    fn a_normal_path_has_nothing_left_to_normalise(path in "/([a.]|%2[eEfF]|/|%41|%25){0,20}") {
        let Ok(normal) = target::normalize(path.as_bytes()) else { return Ok(()) };
        prop_assert!(normal.starts_with(b"/"));
        let text = std::str::from_utf8(&normal).unwrap();
        prop_assert!(!text.contains("//") && !text.contains("/./") && !text.contains("/../"), "{}", text);
        prop_assert!(!text.ends_with("/.") && !text.ends_with("/.."), "{}", text);
    }

    #[test]
    fn a_replaced_prefix_never_leads_out_of_the_replacement(
        path in "(/loc|/)([a.]|%2[eEfF]|/|%41|\\.\\./|/loc){0,12}",
        prefix in prop::sample::select(&["/loc", "/loc/", "/"][..]),
        replacement in prop::sample::select(&["/new", "/new/", "/", "/n/e/w/"][..]),
    ) {
        let mut out = Vec::new();
        if target::replace_prefix(path.as_bytes(), prefix.as_bytes(), replacement.as_bytes(), &mut out).is_ok() {
            let sent = target::normalize(&out).unwrap();
            prop_assert!(sent.starts_with(replacement.as_bytes()), "{} -> {}", path, String::from_utf8_lossy(&out));
        }
    }
}
