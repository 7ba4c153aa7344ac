//! Which requests are accepted, how are they understood, and which are refused?

use super::*;

/// The head, parsed at once and again with every way to cut it in two.
fn parse(text: &str) -> Result<RequestHead, (u16, Reason)> {
    let limits = Limits::default();
    let mut head = RequestHead::new();
    let complete = match head.parse(text.as_bytes(), &limits) {
        Ok(complete) => complete,
        Err(Reject { status, reason }) => {
            assert_eq!((head.method(), head.fields().len()), (&b""[..], 0), "nothing is left of what was refused");
            return Err((status, reason));
        }
    };
    let Progress::Complete { consumed } = complete else { panic!("{text:?} does not end") };
    let mut other = RequestHead::new();
    for cut in 0..consumed {
        assert_eq!(other.parse(&text.as_bytes()[..cut], &limits), Ok(Progress::Partial), "{text:?} cut at {cut}");
        assert_eq!(other.parse(text.as_bytes(), &limits), Ok(complete), "{text:?} cut at {cut}");
        assert_eq!(other.request_line(), head.request_line());
        assert_eq!((other.host(), other.origin_form()), (head.host(), head.origin_form()));
        assert_eq!((other.framing(), other.keep_alive()), (head.framing(), head.keep_alive()));
        assert!(other.fields().eq(head.fields()));
    }
    Ok(head)
}

fn refused(text: &str) -> (u16, Reason) {
    match parse(text) {
        Ok(_) => panic!("{text:?} was accepted"),
        Err(refused) => refused,
    }
}

/// A request with a `Host` and these lines.
fn with(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn an_ordinary_request() {
    let text = "GET /a%2Fb/../c?d=e?f HTTP/1.1\r\nHost: example.com:8080\r\nAccept: */*\r\nCookie: a=b\r\n\r\n";
    let head = parse(text).unwrap();
    assert_eq!((head.method(), head.method_kind()), (&b"GET"[..], Method::Get));
    assert_eq!(head.request_line(), b"GET /a%2Fb/../c?d=e?f HTTP/1.1");
    assert_eq!((head.target(), head.form()), (&b"/a%2Fb/../c?d=e?f"[..], Form::Origin));
    assert_eq!(head.origin_form(), head.target());
    assert_eq!((head.path(), head.query()), (&b"/a%2Fb/../c"[..], Some(&b"d=e?f"[..])));
    assert_eq!((head.host(), head.authority()), (Some(&b"example.com:8080"[..]), None));
    assert_eq!(head.version(), Version::Http11);
    assert_eq!(head.framing(), Framing::None);
    assert!(head.keep_alive() && !head.expects_continue() && head.upgrade().is_none());
    assert_eq!(head.field(Known::Cookie), Some(&b"a=b"[..]));
    assert!(head.fields_named(b"ACCEPT").eq([b"*/*"]));
    assert_eq!(head.wire_len(), text.len());
}

#[test]
fn what_follows_a_head_is_not_touched() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\n\r\n\n\0";
    let consumed = RequestHead::new().parse(text, &Limits::default());
    assert_eq!(consumed, Ok(Progress::Complete { consumed: 27 }));
}

#[test]
fn a_few_empty_lines_before_a_request_are_skipped() {
    let head = parse("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((head.request_line(), head.wire_len()), (&b"GET / HTTP/1.1"[..], 27));
    assert_eq!(refused("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), (400, Reason::EmptyLines));
    assert_eq!(refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), (400, Reason::LineEnding));
}

#[test]
fn a_head_is_used_again_and_forgets_what_was() {
    let mut head = RequestHead::new();
    let first = with("Content-Length: 3\r\nConnection: close, x\r\nX: 1\r\nExpect: 100-continue\r\n");
    head.parse(first.as_bytes(), &Limits::default()).unwrap();
    assert_eq!((head.framing(), head.keep_alive(), head.expects_continue()), (Framing::Length(3), false, true));
    let second = "GET http://b HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n";
    head.parse(second.as_bytes(), &Limits::default()).unwrap();
    assert_eq!((head.framing(), head.keep_alive(), head.expects_continue()), (Framing::None, true, false));
    assert!(head.fields().all(|field| !field.is_hop_by_hop()));
    head.clear();
    assert_eq!((head.method(), head.path(), head.query(), head.host()), (&b""[..], &b""[..], None, None));
}

#[test]
fn the_target_s_authority_beats_host() {
    let cases: &[(&str, &str, &str, &str, Option<&str>)] = &[
        ("GET http://b:81/c?d", "b:81", "/c?d", "/c", Some("d")),
        ("GET HTTP://b", "b", "/", "/", None),
        ("GET http://b?c=/d", "b", "/?c=/d", "/", Some("c=/d")),
        ("GET https://b/?", "b", "/?", "/", Some("")),
        ("OPTIONS http://b", "b", "*", "*", None),
        ("OPTIONS http://b/", "b", "/", "/", None),
        ("CONNECT b:443", "b:443", "", "", None),
        ("OPTIONS *", "a", "*", "*", None),
    ];
    for (line, host, origin_form, path, query) in cases {
        let head = parse(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!(head.host(), Some(host.as_bytes()), "{line}");
        assert_eq!(head.origin_form(), origin_form.as_bytes(), "{line}");
        assert_eq!((head.path(), head.query()), (path.as_bytes(), query.map(str::as_bytes)), "{line}");
    }
}

#[test]
fn request_lines_that_are_none() {
    use Reason::*;
    let cases = [
        ("GET /", 400, RequestLine),
        ("GET", 400, RequestLine),
        ("GET  / HTTP/1.1", 400, Version),
        ("GET /  HTTP/1.1", 400, Version),
        ("GET / HTTP/1.1 ", 400, Version),
        ("GET\t/ HTTP/1.1", 400, RequestLine),
        ("GET / a HTTP/1.1", 400, Version),
        (" GET / HTTP/1.1", 400, Method),
        ("G\u{e9}T / HTTP/1.1", 400, Method),
        ("G(T / HTTP/1.1", 400, Method),
        ("GET: / HTTP/1.1", 400, Method),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH / HTTP/1.1", 400, Method),
        ("GET  HTTP/1.1", 400, RequestLine),
        ("GET / HTTP/1", 400, Version),
        ("GET / http/1.1", 400, Version),
        ("GET / HTTP/1.", 400, Version),
        ("GET / HTTP/1.1x", 400, Version),
        ("GET / HTTP/1.10", 400, Version),
        ("GET / HTTP/11", 400, Version),
        ("GET / HTTP/+1.1", 400, Version),
        ("GET / HTTPS/1.1", 400, Version),
        ("GET / ICAP/1.0", 400, Version),
        ("GET / HTTP/2.0", 505, VersionUnsupported),
        ("GET / HTTP/3.0", 505, VersionUnsupported),
        ("GET / HTTP/0.9", 505, VersionUnsupported),
        ("PRI * HTTP/2.0", 505, VersionUnsupported),
        ("GET * HTTP/1.1", 400, Target),
        ("GET a HTTP/1.1", 400, Target),
        ("GET a:80 HTTP/1.1", 400, Target),
        ("CONNECT / HTTP/1.1", 400, Target),
        ("GET http://u@b/ HTTP/1.1", 400, Target),
        ("GET /a#b HTTP/1.1", 400, TargetByte),
        ("GET /\u{e9} HTTP/1.1", 400, TargetByte),
        ("GET /\0 HTTP/1.1", 400, TargetByte),
        ("GET /\x7f HTTP/1.1", 400, TargetByte),
        ("GET /a\rb HTTP/1.1", 400, TargetByte),
    ];
    for (line, status, reason) in cases {
        assert_eq!(refused(&format!("{line}\r\nHost: a\r\n\r\n")), (status, reason), "{line:?}");
    }
}

#[test]
fn what_cannot_become_a_request_is_refused_at_once() {
    let reason = |bytes: &[u8]| RequestHead::new().parse(bytes, &Limits::default()).map_err(|reject| reject.reason);
    assert_eq!(reason(b"\x16\x03\x01"), Err(Reason::Method));
    assert_eq!(reason(b"\r\n\0"), Err(Reason::Method));
    assert_eq!(reason(b" "), Err(Reason::Method));
    assert_eq!(reason(b"\r"), Ok(Progress::Partial));
    assert_eq!(reason(b"\r\n\r"), Ok(Progress::Partial));
}

#[test]
fn minor_versions_above_1_are_1_1() {
    for minor in 1..=9 {
        let head = parse(&format!("GET / HTTP/1.{minor}\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!(head.version(), Version::Http11);
    }
}

#[test]
fn one_valid_host_which_only_1_0_may_lack() {
    use Reason::*;
    let cases = [
        ("1.1", "", Err(NoHost)),
        ("1.2", "", Err(NoHost)),
        ("1.0", "", Ok(None)),
        ("1.0", "Host: a\r\n", Ok(Some("a"))),
        ("1.1", "hOST: a\r\n", Ok(Some("a"))),
        ("1.1", "Host: a\r\nHost: a\r\n", Err(ManyHosts)),
        ("1.1", "Host: a\r\nX: y\r\nhost: b\r\n", Err(ManyHosts)),
        ("1.0", "Host: a\r\nHost: b\r\n", Err(ManyHosts)),
        ("1.1", "Host:\r\n", Err(Host)),
        ("1.0", "Host: \r\n", Err(Host)),
        ("1.1", "Host: a b\r\n", Err(Host)),
        ("1.1", "Host: a, b\r\n", Err(Host)),
        ("1.1", "Host: a/b\r\n", Err(Host)),
        ("1.1", "Host: u@a\r\n", Err(Host)),
        ("1.1", "Host: http://a\r\n", Err(Host)),
        ("1.1", "Host: a:b\r\n", Err(Host)),
        ("1.1", "Host: [::1\r\n", Err(Host)),
        ("1.1", "Host: [::1]:80\r\n", Ok(Some("[::1]:80"))),
        ("1.1", "Host : a\r\n", Err(FieldName)),
        ("1.1", " Host: a\r\n", Err(ObsFold)),
    ];
    for (version, lines, expected) in cases {
        let parsed = parse(&format!("GET / HTTP/{version}\r\n{lines}\r\n"));
        let host = parsed.as_ref().map(|head| head.host().map(|host| std::str::from_utf8(host).unwrap()));
        assert_eq!(
            host.map_err(|(status, reason)| (*status, *reason)),
            expected.map_err(|reason| (400, reason)),
            "{lines:?}"
        );
    }
    assert_eq!(refused("GET http://b/ HTTP/1.1\r\n\r\n"), (400, NoHost));
    assert_eq!(refused("GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n"), (400, Host));
}

#[test]
fn smuggling_by_length_or_encoding() {
    use Reason::*;
    let cases: &[(&str, u16, Reason)] = &[
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400, LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400, LengthAndEncoding),
        ("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n", 400, LengthAndEncoding),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400, ManyContentLengths),
        ("Content-Length: 5\r\ncontent-length: 6\r\n", 400, ManyContentLengths),
        ("Content-Length: 5, 5\r\n", 400, ContentLength),
        ("Content-Length: +5\r\n", 400, ContentLength),
        ("Content-Length: -5\r\n", 400, ContentLength),
        ("Content-Length: 0x5\r\n", 400, ContentLength),
        ("Content-Length: 5 5\r\n", 400, ContentLength),
        ("Content-Length: \r\n", 400, ContentLength),
        ("Content-Length: 18446744073709551621\r\n", 400, ContentLength),
        ("Transfer-Encoding: xchunked\r\n", 501, TransferEncoding),
        ("Transfer-Encoding: chunked, identity\r\n", 501, TransferEncoding),
        ("Transfer-Encoding: identity\r\n", 501, TransferEncoding),
        ("Transfer-Encoding: gzip\r\n", 501, TransferEncoding),
        ("Transfer-Encoding: \r\n", 501, TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", 400, ManyTransferEncodings),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400, ManyTransferEncodings),
        ("Transfer-Encoding : chunked\r\n", 400, FieldName),
        ("Transfer-Encoding\t: chunked\r\n", 400, FieldName),
        ("Transfer-Encoding\0: chunked\r\n", 400, FieldName),
        ("Transfer-Encoding: \x0bchunked\r\n", 400, FieldValue),
        ("Transfer-Encoding: chun\0ked\r\n", 400, FieldValue),
        ("Transfer-Encoding:\r\n chunked\r\n", 400, ObsFold),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", 400, ObsFold),
        ("X: y\rTransfer-Encoding: chunked\r\n", 400, FieldValue),
        ("X: y\nTransfer-Encoding: chunked\r\n", 400, LineEnding),
        ("X: y\n\r\nGET /evil HTTP/1.1\r\n", 400, LineEnding),
        ("X: y\r\n\nGET /evil HTTP/1.1\r\n", 400, LineEnding),
        ("\u{feff}Content-Length: 5\r\n", 400, FieldName),
        ("Content-Length\r\n", 400, FieldName),
        (": 5\r\n", 400, FieldName),
    ];
    for (lines, status, reason) in cases {
        assert_eq!(refused(&with(lines)), (*status, *reason), "{lines:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old), (400, TransferEncodingIn10));
}

#[test]
fn a_disguised_length_is_only_an_unusual_field() {
    let head = parse(&with("Content_Length: 5\r\nX-Transfer-Encoding: chunked\r\nTransfer.Encoding: chunked\r\n"));
    let head = head.unwrap();
    assert_eq!(head.framing(), Framing::None);
    assert!(head.fields().map(|field| field.is_unusual()).eq([false, true, false, true]));
}

#[test]
fn framing_of_requests() {
    assert_eq!(parse(&with("Content-Length: 0\r\n")).unwrap().framing(), Framing::Length(0));
    assert_eq!(parse(&with("Content-Length: 42\r\n")).unwrap().framing(), Framing::Length(42));
    assert_eq!(parse(&with("Transfer-Encoding: Chunked\r\n")).unwrap().framing(), Framing::Chunked);
    assert_eq!(parse(&with("")).unwrap().framing(), Framing::None);
}

#[test]
fn expectations_and_upgrades_need_1_1() {
    let expects = |text: &str| parse(text).unwrap().expects_continue();
    assert!(expects(&with("Expect: 100-Continue\r\n")));
    assert!(!expects(&with("Expect: 200-ok\r\n")));
    assert!(!expects("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"));
    let lines = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n";
    assert_eq!(parse(&with(lines)).unwrap().upgrade(), Some(&b"websocket"[..]));
    assert_eq!(parse(&with("Upgrade: websocket\r\n")).unwrap().upgrade(), None);
    assert_eq!(parse(&format!("GET / HTTP/1.0\r\n{lines}\r\n")).unwrap().upgrade(), None);
}

#[test]
fn limits() {
    let limits = Limits { head: 100, target: 10, fields: 2 };
    let parse = |text: &str| RequestHead::new().parse(text.as_bytes(), &limits).map_err(|reject| reject.status);
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n", "x".repeat(len - 1));
    assert_eq!(parse(&format!("{}\r\n", line(10))), Ok(Progress::Complete { consumed: 36 }));
    assert_eq!(parse(&format!("{}\r\n", line(11))), Err(414));
    assert_eq!(parse(&format!("{}\r\n", line(90))), Err(414));
    assert_eq!(parse(&"x".repeat(60)), Err(414));
    assert_eq!(parse(&format!("{}a: b\r\n\r\n", line(10))), Ok(Progress::Complete { consumed: 42 }));
    assert_eq!(parse(&format!("{}a: b\r\nc: d\r\n\r\n", line(10))), Err(431));
    assert_eq!(parse(&format!("{}a: {}\r\n\r\n", line(10), "x".repeat(80))), Err(431));
    assert_eq!(parse(&format!("{}a: {}", line(10), "x".repeat(80))), Err(431));
}

#[test]
fn a_name_longer_than_the_index_can_hold_is_refused() {
    let limits = Limits { head: 1 << 20, ..Limits::default() };
    let text = with(&format!("{}: a\r\n", "x".repeat(1 << 16)));
    let reject = RequestHead::new().parse(text.as_bytes(), &limits);
    assert_eq!(reject, Err(Reject { status: 400, reason: Reason::FieldName }));
}

#[test]
fn a_composed_head_is_read_as_if_it_had_come() {
    let mut head = RequestHead::new();
    let fields: [(&[u8], &[u8]); 2] = [(b"host", b"a"), (b"content-length", b"3")];
    head.compose(b"PUT", b"/b?c", fields, &Limits::default()).unwrap();
    assert_eq!((head.method_kind(), head.path(), head.query()), (Method::Put, &b"/b"[..], Some(&b"c"[..])));
    assert_eq!((head.host(), head.framing()), (Some(&b"a"[..]), Framing::Length(3)));
}

#[test]
fn a_composed_head_has_the_same_limits() {
    let limits = Limits { head: 100, target: 10, fields: 2 };
    let status = |target: &str, fields: &[(&[u8], &[u8])]| {
        let composed = RequestHead::new().compose(b"GET", target.as_bytes(), fields.iter().copied(), &limits);
        composed.map_err(|reject| reject.status)
    };
    assert_eq!(status("/123456789", &[(b"host", b"a"), (b"x", &[b'y'; 59])]), Ok(()));
    assert_eq!(status("/123456789", &[(b"host", b"a"), (b"x", &[b'y'; 60])]), Err(431));
    assert_eq!(status("/1234567890", &[(b"host", b"a")]), Err(414));
    assert_eq!(status("/", &[(b"host", b"a"), (b"x", b"y"), (b"x", b"y")]), Err(431));
}

#[test]
fn pieces_cannot_smuggle_lines_into_a_composed_head() {
    use Reason::*;
    let cases = [
        ("GET / HTTP/1.1\r\nX: y\r\n", "/", ("a", "b"), Method),
        ("GET /", "/", ("a", "b"), Method),
        ("", "/", ("a", "b"), Method),
        ("GET", "/ HTTP/1.1\r\nX: y", ("a", "b"), TargetByte),
        ("GET", "", ("a", "b"), RequestLine),
        ("GET", "/", ("a: b\r\nc", "d"), FieldName),
        ("GET", "/", ("", "d"), FieldName),
        ("GET", "/", ("a", "b\r\nc: d"), FieldValue),
        ("GET", "/", ("a", "b\nc: d"), FieldValue),
        ("GET", "/", ("transfer-encoding", "gzip"), TransferEncoding),
        ("GET", "/", ("host", "b"), ManyHosts),
    ];
    for (method, target, (name, value), reason) in cases {
        let mut head = RequestHead::new();
        let fields = [(&b"host"[..], &b"a"[..]), (name.as_bytes(), value.as_bytes())];
        let composed = head.compose(method.as_bytes(), target.as_bytes(), fields, &Limits::default());
        assert_eq!(composed.map_err(|reject| reject.reason), Err(reason), "{method:?} {target:?} {name:?} {value:?}");
        assert!(head.method().is_empty());
    }
}
