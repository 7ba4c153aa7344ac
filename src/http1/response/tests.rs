//! Which answers are accepted, how are they understood, and which are refused?

use super::*;

/// The head, parsed at once and again with every way to cut it in two.
fn parse(text: &str) -> Result<ResponseHead, Reason> {
    let limits = Limits::default();
    let mut head = ResponseHead::new();
    let complete = match head.parse(text.as_bytes(), &limits) {
        Ok(complete) => complete,
        Err(Reject { status, reason }) => {
            assert_eq!(status, 502);
            assert_eq!((head.status(), head.fields().len()), (0, 0), "nothing is left of what was refused");
            return Err(reason);
        }
    };
    assert_eq!(complete, Progress::Complete { consumed: text.len() }, "{text:?}");
    let mut other = ResponseHead::new();
    for cut in 0..text.len() {
        assert_eq!(other.parse(&text.as_bytes()[..cut], &limits), Ok(Progress::Partial), "{text:?} cut at {cut}");
        assert_eq!(other.parse(text.as_bytes(), &limits), Ok(complete), "{text:?} cut at {cut}");
        assert_eq!((other.status(), other.reason()), (head.status(), head.reason()));
        assert!(other.fields().eq(head.fields()));
    }
    Ok(head)
}

fn answer(lines: &str) -> Result<ResponseHead, Reason> {
    parse(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"))
}

#[test]
fn status_lines() {
    let cases: &[(&str, Version, u16, &str)] = &[
        ("HTTP/1.1 200 OK", Version::Http11, 200, "OK"),
        ("HTTP/1.0 404 Not  Found ", Version::Http10, 404, "Not  Found "),
        ("HTTP/1.1 200 ", Version::Http11, 200, ""),
        ("HTTP/1.1 200", Version::Http11, 200, ""),
        ("HTTP/1.9 999 \u{e9}\t!", Version::Http11, 999, "\u{e9}\t!"),
    ];
    for (line, version, status, reason) in cases {
        let head = parse(&format!("{line}\r\n\r\n")).unwrap();
        assert_eq!((head.version(), head.status(), head.reason()), (*version, *status, reason.as_bytes()), "{line}");
    }
}

#[test]
fn what_is_not_a_status_line_is_no_answer() {
    for line in [
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 20",
        "HTTP/1.1 2000",
        "HTTP/1.1 099 a",
        "HTTP/1.1 +20 a",
        "HTTP/1.1 2x0 a",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.x 200 OK",
        "HTTP/1.10 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/0.9 200 OK",
        "http/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "ICY 200 OK",
        "<html>",
        "\x15\x03\x01",
        "\r\nHTTP/1.1 200 OK",
    ] {
        assert_eq!(parse(&format!("{line}\r\n\r\n")).map(|_| ()), Err(Reason::StatusLine), "{line:?}");
    }
}

#[test]
fn another_protocol_is_recognised_by_its_first_wrong_byte() {
    let reject = Err(Reject { status: 502, reason: Reason::StatusLine });
    assert_eq!(ResponseHead::new().parse(b"H2", &Limits::default()), reject);
    assert_eq!(ResponseHead::new().parse(b"\0", &Limits::default()), reject);
    assert_eq!(ResponseHead::new().parse(b"HTTP/1", &Limits::default()), Ok(Progress::Partial));
}

#[test]
fn the_body_depends_on_the_request_and_the_status() {
    use Framing::*;
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    let cases = [
        (200, "", Method::Get, UntilClose),
        (200, length, Method::Get, Length(5)),
        (200, "Content-Length: 0\r\n", Method::Get, Length(0)),
        (200, chunked, Method::Get, Chunked),
        (500, chunked, Method::Post, Chunked),
        (205, length, Method::Get, Length(5)),
        (200, length, Method::Head, None),
        (200, chunked, Method::Head, None),
        (200, "", Method::Head, None),
        (100, "", Method::Post, None),
        (101, "", Method::Get, None),
        (103, length, Method::Get, None),
        (204, length, Method::Get, None),
        (204, chunked, Method::Get, None),
        (304, length, Method::Get, None),
    ];
    for (status, lines, method, framing) in cases {
        let head = parse(&format!("HTTP/1.1 {status} x\r\n{lines}\r\n")).unwrap();
        assert_eq!(head.framing(method), framing, "{status} {lines:?} {method:?}");
    }
    assert_eq!(answer(length).unwrap().content_length(), Some(5));
}

#[test]
fn what_is_ambiguous_about_the_length_is_refused_even_without_a_body() {
    for status in [200, 204, 304] {
        let read = |lines: &str| parse(&format!("HTTP/1.1 {status} x\r\n{lines}\r\n")).map(|_| ());
        assert_eq!(read("Content-Length: 5\r\nContent-Length: 5\r\n"), Err(Reason::ManyContentLengths));
        assert_eq!(read("Content-Length: 5, 5\r\n"), Err(Reason::ContentLength));
        assert_eq!(read("Transfer-Encoding: gzip, chunked\r\n"), Err(Reason::TransferEncoding));
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(read(both), Err(Reason::LengthAndEncoding));
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(old).map(|_| ()), Err(Reason::TransferEncodingIn10));
}

#[test]
fn the_connection_is_kept_as_the_version_and_its_options_say() {
    let kept = |text: &str| parse(text).unwrap().keep_alive();
    assert!(kept("HTTP/1.1 200 OK\r\n\r\n"));
    assert!(!kept("HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n"));
    assert!(!kept("HTTP/1.0 200 OK\r\n\r\n"));
    assert!(kept("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n"));
}

#[test]
fn the_idle_time_a_backend_announces() {
    let timeout = |value: &str| answer(&format!("Keep-Alive: {value}\r\n")).unwrap().keep_alive_timeout();
    assert_eq!(timeout("timeout=5"), Some(Duration::from_secs(5)));
    assert_eq!(timeout("max=100, Timeout=7"), Some(Duration::from_secs(7)));
    assert_eq!(timeout("timeout=18446744073709551615"), Some(Duration::from_secs(31_536_000)));
    for none in ["", "timeout", "timeout=", "timeout=x", "timeout=-1", "max=5", "xtimeout=5"] {
        assert_eq!(timeout(none), None, "{none}");
    }
}

#[test]
fn interim_answers_and_upgrades() {
    let head = |text: &str| parse(text).unwrap();
    assert!(head("HTTP/1.1 100 Continue\r\n\r\n").is_interim());
    assert!(head("HTTP/1.1 103 x\r\nLink: a\r\n\r\n").is_interim());
    let switching = head("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    assert!(!switching.is_interim());
    assert_eq!(switching.upgrade(), Some(&b"websocket"[..]));
    assert_eq!(head("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n").upgrade(), None);
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let limits = Limits { head: 64, target: 0, fields: 2 };
    let reason = |text: &str| ResponseHead::new().parse(text.as_bytes(), &limits).map_err(|reject| reject.reason);
    assert_eq!(reason("HTTP/1.1 200 OK\r\na: b\r\nc: d\r\n\r\n"), Ok(Progress::Complete { consumed: 31 }));
    assert_eq!(reason("HTTP/1.1 200 OK\r\na: b\r\nc: d\r\ne: f\r\n\r\n"), Err(Reason::TooManyFields));
    assert_eq!(reason(&format!("HTTP/1.1 200 {}", "x".repeat(60))), Err(Reason::HeadTooLong));
}

#[test]
fn a_composed_head_is_read_as_if_it_had_come() {
    let mut head = ResponseHead::new();
    let fields: [(&[u8], &[u8]); 2] = [(b"content-length", b"3"), (b"x", b"")];
    head.compose(201, b"Created", fields, &Limits::default()).unwrap();
    assert_eq!((head.status(), head.reason(), head.framing(Method::Get)), (201, &b"Created"[..], Framing::Length(3)));
    for (status, reason, field) in [
        (99, "", ("a", "b")),
        (200, "a\r\nb: c", ("a", "b")),
        (200, "", ("a", "b\r\nc: d")),
        (200, "", ("a: b\r\nc", "d")),
    ] {
        let fields = [(field.0.as_bytes(), field.1.as_bytes())];
        assert!(head.compose(status, reason.as_bytes(), fields, &Limits::default()).is_err());
        assert_eq!(head.status(), 0);
    }
}
