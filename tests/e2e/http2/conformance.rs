//! Are the rules of RFC 9113 and RFC 7541 kept, also against those who break them? The cases are those of h2spec, and more.

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, Seen, WINDOW_UPDATE, Wire, fields, frame, get, request,
};
use super::rig::h2c;
use crate::support::{Backend, Script, Site, Weir, eventually};

/// RFC 9113 §7.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;

const WHOLE: u8 = END_STREAM | END_HEADERS;
/// Of HEADERS: it has the fields of PRIORITY.
const PRIORITIZED: u8 = 0x20;

/// What a client does.
enum Step {
    Send(Vec<u8>),
    /// Waits until the answer of a stream has come whole.
    Answered(u32),
    /// Waits until its settings are acknowledged.
    Acknowledged,
}

use Step::{Acknowledged, Answered, Send};

/// What must come of it.
#[derive(Clone, Copy, Debug)]
enum Comes {
    /// The connection ends with GOAWAY and this code.
    GoAway(u32),
    /// RST_STREAM with this code; the connection goes on.
    Reset(u32, u32),
    /// 200 on this stream.
    Answer(u32),
    /// The connection goes on.
    Nothing,
}

use Comes::{Answer, GoAway, Nothing, Reset};

type Case = (&'static str, Vec<Step>, Comes);

fn headers(flags: u8, stream: u32, block: &[u8]) -> Step {
    Send(frame(HEADERS, flags, stream, block))
}

fn continuation(flags: u8, stream: u32, block: &[u8]) -> Step {
    Send(frame(CONTINUATION, flags, stream, block))
}

fn data(flags: u8, stream: u32, bytes: &[u8]) -> Step {
    Send(frame(DATA, flags, stream, bytes))
}

fn other(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Step {
    Send(frame(kind, flags, stream, payload))
}

fn settings(all: &[(u16, u32)]) -> Step {
    let payload = all.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    Send(frame(SETTINGS, 0, 0, &payload.collect::<Vec<u8>>()))
}

fn window(stream: u32, more: u32) -> Step {
    Send(frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes()))
}

fn priority(stream: u32, on: u32, weight: u8) -> Step {
    Send(frame(PRIORITY, 0, stream, &[&on.to_be_bytes()[..], &[weight]].concat()))
}

fn post(more: &[(&str, &str)]) -> Vec<u8> {
    request("POST", "/", more)
}

/// A request that nobody answers.
fn held() -> Vec<u8> {
    request("POST", "/held", &[])
}

const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// More than any window may become.
const TOO_MUCH: u32 = 1 << 31;

fn site() -> (Backend, Weir) {
    let a = Backend::start("a");
    a.usually(Script::text("hello, world"));
    a.on("/held", Script::hanging());
    let weir = h2c(&Site::of([&a]));
    (a, weir)
}

/// Waits for a frame; what else comes is of no interest, but for the end.
fn until(wire: &mut Wire, case: &str, mut wanted: impl FnMut(&Seen) -> bool) -> Seen {
    loop {
        match wire.next() {
            Some(seen) if wanted(&seen) => return seen,
            Some(seen) if seen.kind == GOAWAY => panic!("{case}: GOAWAY with {}", seen.number(4)),
            Some(_) => {}
            None => panic!("{case}: closed without a word"),
        }
    }
}

fn goes_on(wire: &mut Wire, case: &str) {
    wire.send(&frame(PING, 0, 0, b"goes on?"));
    until(wire, case, |seen| seen.kind == PING && seen.flags & ACK != 0 && seen.payload == b"goes on?");
    wire.send(&frame(HEADERS, WHOLE, 1001, &get(&[])));
    // 200 is entry 8 of the static table.
    until(wire, case, |seen| seen.kind == HEADERS && seen.stream == 1001 && seen.payload[0] == 0x88);
}

fn check(weir: &Weir, cases: Vec<Case>) {
    for (case, steps, comes) in cases {
        let mut wire = Wire::connect(weir.address());
        // Weir's own first words, which end with the acknowledgment of the client's settings.
        until(&mut wire, case, |seen| seen.kind == SETTINGS && seen.flags & ACK != 0);
        for step in steps {
            match step {
                Send(bytes) => wire.send(&bytes),
                Acknowledged => {
                    until(&mut wire, case, |seen| seen.kind == SETTINGS && seen.flags & ACK != 0);
                }
                Answered(stream) => {
                    let ends = |seen: &Seen| seen.stream == stream && seen.flags & END_STREAM != 0;
                    until(&mut wire, case, |seen| matches!(seen.kind, DATA | HEADERS) && ends(seen));
                }
            }
        }
        match comes {
            GoAway(code) => {
                let seen = until(&mut wire, case, |seen| seen.kind == GOAWAY);
                assert_eq!(seen.number(4), code, "{case}");
                assert!(wire.ends_in_good_order(), "{case}: reset");
            }
            Reset(stream, code) => {
                let seen = until(&mut wire, case, |seen| seen.kind == RST_STREAM && seen.stream == stream);
                assert_eq!(seen.number(0), code, "{case}");
                goes_on(&mut wire, case);
            }
            Answer(stream) => {
                let seen =
                    until(&mut wire, case, |seen| [HEADERS, RST_STREAM].contains(&seen.kind) && seen.stream == stream);
                assert_eq!((seen.kind, seen.payload[0]), (HEADERS, 0x88), "{case}: {seen:?}");
                goes_on(&mut wire, case);
            }
            Nothing => goes_on(&mut wire, case),
        }
    }
}

#[test]
fn what_is_allowed_is_served() {
    let (a, weir) = site();
    let (first, second) = (get(&[]), fields(&[("x-a", "1")]));
    let usual = || headers(WHOLE, 1, &get(&[]));
    let depending = |on: u32, weight| [&u32::to_be_bytes(on)[..], &[weight], &get(&[])].concat();
    check(
        &weir,
        vec![
            ("§4.1 an unknown frame", vec![other(0xaa, 0xff, 0, b"whatever"), usual()], Answer(1)),
            ("§4.1 an unknown frame on a stream", vec![other(0xaa, 0xff, 1, b"whatever"), usual()], Answer(1)),
            ("§4.1 flags that PING does not have", vec![other(PING, 0xfe, 0, &[0; 8]), usual()], Answer(1)),
            ("§4.1 the reserved bit", vec![other(PING, 0, 1 << 31, &[0; 8]), usual()], Answer(1)),
            (
                "§4.2 as large a frame as allowed",
                vec![headers(END_HEADERS, 1, &post(&[])), data(END_STREAM, 1, &[b'x'; 16_384])],
                Answer(1),
            ),
            ("§5.1 PRIORITY on an idle stream", vec![priority(1, 0, 255), usual()], Answer(1)),
            ("§5.1 PRIORITY on a half-closed stream", vec![usual(), priority(1, 0, 255)], Answer(1)),
            ("§5.1 PRIORITY on a closed stream", vec![usual(), Answered(1), priority(1, 0, 255)], Nothing),
            ("§5.1 WINDOW_UPDATE on a half-closed stream", vec![headers(WHOLE, 1, &held()), window(1, 100)], Nothing),
            ("§5.1 WINDOW_UPDATE on a closed stream", vec![usual(), Answered(1), window(1, 100)], Nothing),
            (
                "§5.1 RST_STREAM on a half-closed stream",
                vec![headers(WHOLE, 1, &held()), other(RST_STREAM, 0, 1, &[0, 0, 0, 8])],
                Nothing,
            ),
            (
                "§5.1 RST_STREAM on a closed stream",
                vec![usual(), Answered(1), other(RST_STREAM, 0, 1, &[0, 0, 0, 8])],
                Nothing,
            ),
            ("§5.1.1 streams left out", vec![headers(WHOLE, 77, &get(&[]))], Answer(77)),
            (
                "§6.1 DATA in pieces",
                vec![
                    headers(END_HEADERS, 1, &post(&[])),
                    data(0, 1, b"a"),
                    data(0, 1, b""),
                    data(0, 1, b"b"),
                    data(END_STREAM, 1, b""),
                ],
                Answer(1),
            ),
            (
                "§6.1 DATA with padding",
                vec![headers(END_HEADERS, 1, &post(&[])), data(END_STREAM | PADDED, 1, b"\x03body\0\0\0")],
                Answer(1),
            ),
            (
                "§6.1 DATA of padding alone",
                vec![headers(END_HEADERS, 1, &post(&[])), data(END_STREAM | PADDED, 1, b"\x03\0\0\0")],
                Answer(1),
            ),
            (
                "§6.2 HEADERS with padding",
                vec![headers(WHOLE | PADDED, 1, &[&[2][..], &first, b"\0\0"].concat())],
                Answer(1),
            ),
            ("§6.2 HEADERS with priority", vec![headers(WHOLE | PRIORITIZED, 1, &depending(0, 9))], Answer(1)),
            (
                "§6.2 HEADERS that depends on a later stream",
                vec![headers(WHOLE | PRIORITIZED, 1, &depending(7 | 1 << 31, 255))],
                Answer(1),
            ),
            (
                "§6.2 HEADERS with padding and priority",
                vec![headers(WHOLE | PRIORITIZED | PADDED, 1, &[&[1][..], &depending(0, 9), b"\0"].concat())],
                Answer(1),
            ),
            ("§6.3 PRIORITY with the least weight", vec![priority(1, 0, 0), usual()], Answer(1)),
            ("§6.3 PRIORITY that depends", vec![priority(1, 3, 255), usual()], Answer(1)),
            ("§6.3 PRIORITY that excludes", vec![priority(1, 1 << 31, 255), usual()], Answer(1)),
            ("§6.3 PRIORITY on a later stream", vec![priority(7, 1, 9), usual()], Answer(1)),
            ("§6.5 settings", vec![settings(&[(1, 4_096), (3, 100), (6, 10_000)]), Acknowledged, usual()], Answer(1)),
            ("§6.5.2 an unknown setting", vec![settings(&[(0xff, 1)]), Acknowledged, usual()], Answer(1)),
            ("§6.7 an answer to no PING", vec![other(PING, ACK, 0, b"invalid\0")], Nothing),
            ("§6.9 WINDOW_UPDATE", vec![window(0, 1), usual(), window(1, 1)], Answer(1)),
            (
                "§6.10 CONTINUATION",
                vec![headers(END_STREAM, 1, &first), continuation(END_HEADERS, 1, &second)],
                Answer(1),
            ),
            (
                "§6.10 CONTINUATION within a field",
                vec![
                    headers(END_STREAM, 1, &first[..10]),
                    continuation(0, 1, &first[10..20]),
                    continuation(0, 1, b""),
                    continuation(END_HEADERS, 1, &first[20..]),
                ],
                Answer(1),
            ),
            (
                "§7 an unknown code",
                vec![headers(END_HEADERS, 1, &held()), other(RST_STREAM, 0, 1, &[0, 0, 0, 0xff])],
                Nothing,
            ),
            ("§8.1 HEAD", vec![headers(WHOLE, 1, &request("HEAD", "/", &[]))], Answer(1)),
            ("§8.1 POST", vec![headers(END_HEADERS, 1, &post(&[])), data(END_STREAM, 1, b"test")], Answer(1)),
            (
                "§8.1 trailers",
                vec![
                    headers(END_HEADERS, 1, &post(&[("trailer", "x-test")])),
                    data(0, 1, b"test"),
                    headers(WHOLE, 1, &fields(&[("x-test", "ok")])),
                ],
                Answer(1),
            ),
            ("§8.2.2 TE: trailers", vec![headers(WHOLE, 1, &get(&[("te", "trailers")]))], Answer(1)),
            (
                "§8.1.1 the Content-Length that it has",
                vec![headers(END_HEADERS, 1, &post(&[("content-length", "4")])), data(END_STREAM, 1, b"test")],
                Answer(1),
            ),
        ],
    );
    // Nor is a client's strangeness worth a line.
    assert!(!weir.log().iter().any(|line| line.contains(" warn ")), "{:?}", weir.log());
    assert!(a.requests().iter().any(|request| request.trailers == [("x-test".into(), "ok".into())]));
}

/// `x-test: h2spec` or `user-agent: h2spec` in each of its forms (RFC 7541 §6).
#[test]
fn every_form_of_a_field_is_read() {
    let (a, weir) = site();
    let cases: [(&str, &[u8], &str); 9] = [
        ("§6.2.1 an indexed name", b"\x7a\x06h2spec", "user-agent"),
        ("§6.2.1 an indexed name, in Huffman code", b"\x7a\x84\x9c\x48\xac\xa4", "user-agent"),
        ("§6.2.1 a new name", b"\x40\x06x-test\x06h2spec", "x-test"),
        ("§6.2.1 a new name, in Huffman code", b"\x40\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4", "x-test"),
        ("§6.2.2 an indexed name", b"\x0f\x2b\x06h2spec", "user-agent"),
        ("§6.2.2 a new name, in Huffman code", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4", "x-test"),
        ("§6.2.3 an indexed name", b"\x1f\x2b\x84\x9c\x48\xac\xa4", "user-agent"),
        ("§6.2.3 a new name", b"\x10\x06x-test\x06h2spec", "x-test"),
        ("§6.1 what was remembered", b"\x40\x06x-test\x06h2spec\xbe", "x-test"),
    ];
    for (case, bytes, name) in cases {
        check(&weir, vec![(case, vec![headers(WHOLE, 1, &[&get(&[]), bytes].concat())], Answer(1))]);
        let all = a.requests();
        let request = &all[all.len() - 2];
        assert_eq!(request.field(name), Some("h2spec"), "{case}");
    }
    let sized = |update: &[u8]| vec![headers(WHOLE, 1, &[update, &get(&[])].concat())];
    check(
        &weir,
        vec![
            ("§6.3 a smaller table", sized(b"\x3f\x61"), Answer(1)),
            ("§6.3 a smaller table, and the old one", sized(b"\x3f\x61\x3f\xe1\x1f"), Answer(1)),
        ],
    );
}

#[test]
fn what_breaks_the_connection_is_answered_with_goaway() {
    let (a, weir) = site();
    let usual = || headers(WHOLE, 1, &get(&[]));
    let (ok, more) = (get(&[]), fields(&[("x-a", "1")]));
    check(
        &weir,
        vec![
            (
                "§4.2 DATA larger than allowed",
                vec![headers(END_HEADERS, 1, &held()), data(0, 1, &[0; 16_385])],
                GoAway(FRAME_SIZE_ERROR),
            ),
            ("§4.2 HEADERS larger than allowed", vec![headers(WHOLE, 1, &[0; 16_385])], GoAway(FRAME_SIZE_ERROR)),
            (
                "§4.3 PRIORITY within a block",
                vec![headers(END_STREAM, 1, &ok), priority(1, 0, 9)],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§4.3 HEADERS of another stream within a block",
                vec![headers(END_STREAM, 1, &ok), headers(WHOLE, 3, &ok)],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§4.3 an unknown frame within a block",
                vec![headers(END_STREAM, 1, &ok), other(0xaa, 0, 0, b"")],
                GoAway(PROTOCOL_ERROR),
            ),
            ("§5.1 DATA on an idle stream", vec![data(END_STREAM, 1, b"x")], GoAway(PROTOCOL_ERROR)),
            ("§5.1 RST_STREAM on an idle stream", vec![other(RST_STREAM, 0, 1, &[0; 4])], GoAway(PROTOCOL_ERROR)),
            ("§5.1 WINDOW_UPDATE on an idle stream", vec![window(1, 100)], GoAway(PROTOCOL_ERROR)),
            ("§5.1 CONTINUATION on an idle stream", vec![continuation(END_HEADERS, 1, &ok)], GoAway(PROTOCOL_ERROR)),
            (
                "§5.1 CONTINUATION on a half-closed stream",
                vec![headers(WHOLE, 1, &held()), continuation(END_HEADERS, 1, &more)],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§5.1 CONTINUATION on a stream that was reset",
                vec![
                    headers(END_HEADERS, 1, &held()),
                    other(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
                    continuation(END_HEADERS, 1, &more),
                ],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§5.1 CONTINUATION on a closed stream",
                vec![usual(), Answered(1), continuation(END_HEADERS, 1, &more)],
                GoAway(PROTOCOL_ERROR),
            ),
            ("§5.1.1 an even stream", vec![headers(WHOLE, 2, &ok)], GoAway(PROTOCOL_ERROR)),
            (
                "§5.1.1 a stream before the last",
                vec![headers(WHOLE, 5, &held()), headers(WHOLE, 3, &ok)],
                GoAway(PROTOCOL_ERROR),
            ),
            ("§5.4.1 what follows is not heard", vec![other(PING, 0, 3, &[0; 8]), usual()], GoAway(PROTOCOL_ERROR)),
            ("§6.1 DATA on stream 0", vec![data(END_STREAM, 0, b"x")], GoAway(PROTOCOL_ERROR)),
            (
                "§6.1 padding longer than DATA",
                vec![headers(END_HEADERS, 1, &held()), data(END_STREAM | PADDED, 1, b"\x06Test")],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§6.1 DATA without the length of its padding",
                vec![headers(END_HEADERS, 1, &held()), data(PADDED, 1, b"")],
                GoAway(FRAME_SIZE_ERROR),
            ),
            ("§6.2 HEADERS on stream 0", vec![headers(WHOLE, 0, &ok)], GoAway(PROTOCOL_ERROR)),
            ("§6.2 padding longer than HEADERS", vec![headers(WHOLE | PADDED, 1, b"\xff\x00")], GoAway(PROTOCOL_ERROR)),
            (
                "§6.2 HEADERS without all of its priority",
                vec![headers(WHOLE | PRIORITIZED, 1, &[0; 4])],
                GoAway(FRAME_SIZE_ERROR),
            ),
            ("§6.3 PRIORITY on stream 0", vec![priority(0, 1, 1)], GoAway(PROTOCOL_ERROR)),
            ("§6.4 RST_STREAM on stream 0", vec![other(RST_STREAM, 0, 0, &[0; 4])], GoAway(PROTOCOL_ERROR)),
            (
                "§6.4 RST_STREAM of another length",
                vec![headers(END_HEADERS, 1, &held()), other(RST_STREAM, 0, 1, &[0; 3])],
                GoAway(FRAME_SIZE_ERROR),
            ),
            ("§6.5 SETTINGS on a stream", vec![other(SETTINGS, 0, 1, &[])], GoAway(PROTOCOL_ERROR)),
            ("§6.5 SETTINGS of another length", vec![other(SETTINGS, 0, 0, &[0; 3])], GoAway(FRAME_SIZE_ERROR)),
            (
                "§6.5 SETTINGS that acknowledge and say",
                vec![other(SETTINGS, ACK, 0, &[0; 6])],
                GoAway(FRAME_SIZE_ERROR),
            ),
            ("§6.5.2 ENABLE_PUSH of 2", vec![settings(&[(ENABLE_PUSH, 2)])], GoAway(PROTOCOL_ERROR)),
            (
                "§6.5.2 INITIAL_WINDOW_SIZE beyond 2^31-1",
                vec![settings(&[(INITIAL_WINDOW_SIZE, TOO_MUCH)])],
                GoAway(FLOW_CONTROL_ERROR),
            ),
            ("§6.5.2 MAX_FRAME_SIZE below 16384", vec![settings(&[(MAX_FRAME_SIZE, 16_383)])], GoAway(PROTOCOL_ERROR)),
            (
                "§6.5.2 MAX_FRAME_SIZE beyond 2^24-1",
                vec![settings(&[(MAX_FRAME_SIZE, 1 << 24)])],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "RFC 8441 §3 ENABLE_CONNECT_PROTOCOL of 2",
                vec![settings(&[(ENABLE_CONNECT_PROTOCOL, 2)])],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§8.4 PUSH_PROMISE of a client",
                vec![
                    headers(END_HEADERS, 1, &held()),
                    other(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &ok].concat()),
                ],
                GoAway(PROTOCOL_ERROR),
            ),
            ("§6.7 PING on a stream", vec![other(PING, 0, 3, &[0; 8])], GoAway(PROTOCOL_ERROR)),
            ("§6.7 PING of another length", vec![other(PING, 0, 0, &[0; 6])], GoAway(FRAME_SIZE_ERROR)),
            ("§6.8 GOAWAY on a stream", vec![other(GOAWAY, 0, 1, &[0; 8])], GoAway(PROTOCOL_ERROR)),
            ("§6.8 GOAWAY too short", vec![other(GOAWAY, 0, 0, &[0; 7])], GoAway(FRAME_SIZE_ERROR)),
            ("§6.9 WINDOW_UPDATE by nothing", vec![window(0, 0)], GoAway(PROTOCOL_ERROR)),
            (
                "§6.9 WINDOW_UPDATE of another length",
                vec![other(WINDOW_UPDATE, 0, 0, &[0; 3])],
                GoAway(FRAME_SIZE_ERROR),
            ),
            (
                "§6.9.1 a connection's window beyond 2^31-1",
                vec![window(0, TOO_MUCH - 1), window(0, TOO_MUCH - 1)],
                GoAway(FLOW_CONTROL_ERROR),
            ),
            (
                "§6.9.2 settings that bring a stream's window beyond 2^31-1",
                vec![
                    headers(END_HEADERS, 1, &held()),
                    window(1, TOO_MUCH - 1 - 65_535),
                    settings(&[(INITIAL_WINDOW_SIZE, 65_536)]),
                ],
                GoAway(FLOW_CONTROL_ERROR),
            ),
            (
                "§6.10 DATA within a block",
                vec![headers(0, 1, &post(&[])), continuation(0, 1, &more), data(END_STREAM, 1, b"test")],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§6.10 CONTINUATION on stream 0",
                vec![headers(END_STREAM, 1, &ok), continuation(END_HEADERS, 0, &more)],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§6.10 CONTINUATION on another stream",
                vec![headers(END_STREAM, 1, &ok), continuation(END_HEADERS, 3, &more)],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§6.10 CONTINUATION behind the end of a block",
                vec![
                    headers(END_STREAM, 1, &ok),
                    continuation(END_HEADERS, 1, &more),
                    continuation(END_HEADERS, 1, &more),
                ],
                GoAway(PROTOCOL_ERROR),
            ),
        ],
    );
    assert_eq!(weir.get("/").text(), "hello, world");
    // What was in flight ended with its connection.
    let began = a.requests().iter().filter(|request| request.target == "/held").count();
    eventually("each of them has a line", || {
        weir.access_lines().iter().filter(|line| line.contains("/held")).count() >= began
    });
}

#[test]
fn what_breaks_a_stream_leaves_the_connection() {
    let (a, weir) = site();
    let usual = || headers(WHOLE, 1, &get(&[]));
    let field = |name, value| vec![headers(WHOLE, 1, &get(&[(name, value)]))];
    let only = |all: &[(&str, &str)]| vec![headers(WHOLE, 1, &fields(all))];
    let reset = || other(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    check(
        &weir,
        vec![
            (
                "§5.1 DATA on a stream that was reset",
                vec![headers(END_HEADERS, 1, &held()), reset(), data(END_STREAM, 1, b"x")],
                Reset(1, STREAM_CLOSED),
            ),
            (
                "§5.1 DATA on a closed stream",
                vec![usual(), Answered(1), data(END_STREAM, 1, b"x")],
                Reset(1, STREAM_CLOSED),
            ),
            (
                "RFC 7540 §5.3.1 PRIORITY that depends on itself",
                vec![headers(END_HEADERS, 1, &held()), priority(1, 1, 9)],
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§6.9.1 a stream's window beyond 2^31-1",
                vec![headers(END_HEADERS, 1, &held()), window(1, TOO_MUCH - 1), window(1, TOO_MUCH - 1)],
                Reset(1, FLOW_CONTROL_ERROR),
            ),
            (
                "§8.1 HEADERS in the middle",
                vec![headers(END_HEADERS, 1, &held()), headers(END_HEADERS, 1, &fields(&[("x", "y")]))],
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§8.1 a pseudo-field in trailers that do not end",
                vec![
                    headers(END_HEADERS, 1, &held()),
                    data(0, 1, b"test"),
                    headers(END_HEADERS, 1, &fields(&[(":method", "POST")])),
                ],
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§8.1.1 less than Content-Length",
                vec![
                    headers(END_HEADERS, 1, &request("POST", "/held", &[("content-length", "5")])),
                    data(END_STREAM, 1, b"test"),
                ],
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§8.1.1 more than Content-Length",
                vec![
                    headers(END_HEADERS, 1, &request("POST", "/held", &[("content-length", "1")])),
                    data(END_STREAM, 1, b"test"),
                ],
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§8.1.1 more than Content-Length, in pieces",
                vec![
                    headers(END_HEADERS, 1, &request("POST", "/held", &[("content-length", "1")])),
                    data(0, 1, b"t"),
                    data(END_STREAM, 1, b"est"),
                ],
                Reset(1, PROTOCOL_ERROR),
            ),
            ("§8.1.1 Content-Length of no body", field("content-length", "1"), Reset(1, PROTOCOL_ERROR)),
            ("§8.2.2 Connection", field("connection", "keep-alive"), Reset(1, PROTOCOL_ERROR)),
            ("§8.2.2 Proxy-Connection", field("proxy-connection", "keep-alive"), Reset(1, PROTOCOL_ERROR)),
            ("§8.2.2 Keep-Alive", field("keep-alive", "timeout=5"), Reset(1, PROTOCOL_ERROR)),
            ("§8.2.2 Upgrade", field("upgrade", "h2c"), Reset(1, PROTOCOL_ERROR)),
            ("§8.2.2 Transfer-Encoding", field("transfer-encoding", "chunked"), Reset(1, PROTOCOL_ERROR)),
            ("§8.2.2 TE that is not trailers", field("te", "trailers, deflate"), Reset(1, PROTOCOL_ERROR)),
            ("§8.3 an answer's pseudo-field", field(":status", "200"), Reset(1, PROTOCOL_ERROR)),
            (
                "§8.3 a pseudo-field behind a field",
                only(&[("x-a", "1"), (":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]),
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§8.3.1 an empty :path",
                only(&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")]),
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§8.3.1 a :path that does not begin with a slash",
                only(&[(":method", "GET"), (":scheme", "http"), (":path", "x"), (":authority", "a")]),
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§8.3.1 no :method",
                only(&[(":scheme", "http"), (":path", "/"), (":authority", "a")]),
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§8.3.1 no :scheme",
                only(&[(":method", "GET"), (":path", "/"), (":authority", "a")]),
                Reset(1, PROTOCOL_ERROR),
            ),
            (
                "§8.3.1 no :path",
                only(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
                Reset(1, PROTOCOL_ERROR),
            ),
            ("§8.3.1 :method twice", field(":method", "GET"), Reset(1, PROTOCOL_ERROR)),
            ("§8.3.1 :scheme twice", field(":scheme", "http"), Reset(1, PROTOCOL_ERROR)),
            ("§8.3.1 :path twice", field(":path", "/"), Reset(1, PROTOCOL_ERROR)),
            ("§8.3.1 :authority twice", field(":authority", "a"), Reset(1, PROTOCOL_ERROR)),
        ],
    );
    // None of them came to the application whole.
    assert!(a.requests().iter().all(|request| request.target == "/" || !request.complete));
}

/// (§5.4.1 lets a stream's error be one of the connection. Of DATA and HEADERS that come too late the RFC says
/// STREAM_CLOSED; the library says PROTOCOL_ERROR.)
#[test]
fn some_errors_of_a_stream_end_the_connection() {
    let (a, weir) = site();
    let usual = || headers(WHOLE, 1, &get(&[]));
    let field = |name, value| vec![headers(WHOLE, 1, &get(&[(name, value)]))];
    let reset = || other(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    check(
        &weir,
        vec![
            (
                "§5.1 DATA on a half-closed stream",
                vec![headers(WHOLE, 1, &held()), data(END_STREAM, 1, b"x")],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§5.1 HEADERS on a half-closed stream",
                vec![headers(WHOLE, 1, &held()), headers(WHOLE, 1, &held())],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§5.1 HEADERS on a stream that was reset",
                vec![headers(END_HEADERS, 1, &held()), reset(), headers(WHOLE, 1, &held())],
                GoAway(PROTOCOL_ERROR),
            ),
            ("§5.1 HEADERS on a closed stream", vec![usual(), Answered(1), usual()], GoAway(PROTOCOL_ERROR)),
            (
                "RFC 7540 §5.3.1 HEADERS that depends on itself",
                vec![headers(WHOLE | PRIORITIZED, 1, &[&[0, 0, 0, 1, 9][..], &get(&[])].concat())],
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "§6.3 PRIORITY of another length",
                vec![headers(END_HEADERS, 1, &held()), other(PRIORITY, 0, 1, &[0; 4])],
                GoAway(FRAME_SIZE_ERROR),
            ),
            (
                "§6.9 WINDOW_UPDATE by nothing",
                vec![headers(END_HEADERS, 1, &held()), window(1, 0)],
                GoAway(PROTOCOL_ERROR),
            ),
            ("§8.2.1 an upper-case name", field("X-Upper", "1"), GoAway(PROTOCOL_ERROR)),
            ("§8.2.1 a space in a name", field("x a", "1"), GoAway(PROTOCOL_ERROR)),
            ("§8.2.1 a line end in a value", field("x-a", "1\r\nx-b: 2"), GoAway(PROTOCOL_ERROR)),
            ("§8.2.1 zero in a value", field("x-a", "1\0"), GoAway(PROTOCOL_ERROR)),
            ("§8.3 an unknown pseudo-field", field(":test", "ok"), GoAway(PROTOCOL_ERROR)),
        ],
    );
    assert!(a.requests().iter().all(|request| request.target == "/" || !request.complete));
}

/// (§4.3 has COMPRESSION_ERROR for that; the library says PROTOCOL_ERROR.)
#[test]
fn a_block_that_is_no_hpack_ends_the_connection() {
    let (a, weir) = site();
    let block = |bytes: &[u8]| vec![headers(WHOLE, 1, &[&get(&[]), bytes].concat())];
    let ok = get(&[]);
    check(
        &weir,
        vec![
            ("§4.3 a block that ends within a field", vec![headers(WHOLE, 1, b"\x40")], GoAway(PROTOCOL_ERROR)),
            ("RFC 7541 §2.3.3 an index beyond the table", block(b"\xc6"), GoAway(PROTOCOL_ERROR)),
            ("RFC 7541 §2.3.3 a name beyond the table", block(b"\x7f\x07\x00"), GoAway(PROTOCOL_ERROR)),
            ("RFC 7541 §4.2 a size behind a field", block(b"\x21"), GoAway(PROTOCOL_ERROR)),
            (
                "RFC 7541 §5.2 padding of more than 7 bits",
                block(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "RFC 7541 §5.2 padding of zeros",
                block(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
                GoAway(PROTOCOL_ERROR),
            ),
            (
                "RFC 7541 §5.2 EOS within a string",
                block(b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"),
                GoAway(PROTOCOL_ERROR),
            ),
            ("RFC 7541 §6.1 the index 0", block(b"\x80"), GoAway(PROTOCOL_ERROR)),
            (
                "RFC 7541 §6.3 a table larger than agreed",
                vec![headers(WHOLE, 1, &[&b"\x3f\xe2\x1f"[..], &ok].concat())],
                GoAway(PROTOCOL_ERROR),
            ),
        ],
    );
    assert_eq!(a.requests().len(), 0);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let a = Backend::start("a");
    a.on("/held", Script::hanging());
    let weir = h2c(&Site::of([&a]).top("http2_max_concurrent_streams = 2"));
    let held = |stream| headers(WHOLE, stream, &held());
    let reset = other(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    check(&weir, vec![("§5.1.2", vec![held(1), held(3), held(5), reset], Reset(5, REFUSED_STREAM))]);
}

#[test]
fn no_more_is_sent_than_the_window_has_room_for() {
    let (_a, weir) = site();
    let asked_with = |all: &[(u16, u32)]| match settings(all) {
        Send(settings) => Send([settings, frame(HEADERS, WHOLE, 1, &get(&[]))].concat()),
        other => other,
    };
    // What is sent, and the data that it lets through.
    let cases: [(&str, Vec<(Step, &str)>); 4] = [
        (
            "§6.9.1 a window of one byte",
            vec![(asked_with(&[(INITIAL_WINDOW_SIZE, 1)]), "h"), (window(1, 4), "ello"), (window(1, 100), ", world")],
        ),
        (
            "§6.5.3 settings are taken in order",
            vec![(asked_with(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)]), "h"), (window(1, 1), "e")],
        ),
        (
            "§6.9.2 a window that grows later",
            vec![
                (asked_with(&[(INITIAL_WINDOW_SIZE, 0)]), ""),
                (settings(&[(INITIAL_WINDOW_SIZE, 1)]), "h"),
                (window(1, 2), "el"),
            ],
        ),
        (
            "§6.9.2 a window below zero",
            vec![
                (asked_with(&[(INITIAL_WINDOW_SIZE, 3)]), "hel"),
                (settings(&[(INITIAL_WINDOW_SIZE, 1)]), ""),
                (window(1, 1), ""),
                (window(1, 2), "l"),
            ],
        ),
    ];
    for (case, steps) in cases {
        let mut wire = Wire::connect(weir.address());
        for (step, expected) in steps {
            if let Send(bytes) = step {
                wire.send(&bytes);
            }
            let mut came = String::new();
            while came.len() < expected.len() {
                let seen = until(&mut wire, case, |seen| seen.kind == DATA && seen.stream == 1);
                came.push_str(&String::from_utf8(seen.payload).unwrap());
            }
            assert_eq!(came, expected, "{case}");
            // And no more, but for an end without data.
            wire.send(&frame(PING, 0, 0, &[7; 8]));
            let seen = until(&mut wire, case, |seen| match seen.kind {
                DATA => !seen.payload.is_empty(),
                kind => kind == PING && seen.flags & ACK != 0,
            });
            assert_eq!(seen.kind, PING, "{case}: {seen:?}");
        }
    }
}

#[test]
fn each_side_begins_with_its_preface() {
    let (_a, weir) = site();
    let said = |bytes: &[u8]| {
        let mut wire = Wire::dial(weir.address());
        wire.send(bytes);
        let first = wire.next().expect("weir says something");
        assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0), "{}", bytes.escape_ascii());
        wire
    };
    goes_on(&mut said(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()), "§3.4");
    let beginnings = [
        b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".to_vec(),
        b"GET /\r\n\r\n".to_vec(),
        [PREFACE, &frame(HEADERS, WHOLE, 1, &get(&[]))].concat(),
        [PREFACE, &frame(SETTINGS, ACK, 0, b"")].concat(),
    ];
    for bytes in beginnings {
        let case = bytes.escape_ascii().to_string();
        let mut wire = said(&bytes);
        assert_eq!(until(&mut wire, &case, |seen| seen.kind == GOAWAY).number(4), PROTOCOL_ERROR, "{case}");
        assert!(wire.ends_in_good_order(), "{case}");
    }
    // Who speaks HTTP/1.1, however badly, is answered in it.
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (&format!("GET /{}", "x".repeat(100_000)), 414),
    ];
    for (bytes, status) in cases {
        let mut client = weir.client();
        client.send_as_far_as_possible(bytes);
        assert_eq!(client.response().status, status, "{:.40}", bytes);
    }
}

#[test]
fn what_came_before_a_broken_rule_is_answered() {
    let (_a, weir) = site();
    let mut wire = Wire::connect(weir.address());
    wire.send(&[frame(PING, 0, 0, b"in order"), frame(WINDOW_UPDATE, 0, 0, &[0; 3])].concat());
    until(&mut wire, "PING", |seen| seen.kind == PING && seen.payload == b"in order");
    assert_eq!(until(&mut wire, "GOAWAY", |seen| seen.kind == GOAWAY).number(4), FRAME_SIZE_ERROR);
    assert!(wire.ends_in_good_order());
}

#[test]
fn a_client_that_goes_away_is_let_go() {
    let (_a, weir) = site();
    let goaway = other(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]);
    check(&weir, vec![("§6.8", vec![headers(WHOLE, 1, &get(&[])), Answered(1), goaway], GoAway(NO_ERROR))]);
}

/// (§8.1 calls such a request malformed; the library leaves the field out instead.)
#[test]
fn a_pseudo_field_in_trailers_reaches_nobody() {
    let (a, weir) = site();
    let trailers = fields(&[(":path", "/other"), ("x-sum", "1")]);
    check(&weir, vec![("§8.1", vec![headers(END_HEADERS, 1, &post(&[])), headers(WHOLE, 1, &trailers)], Answer(1))]);
    let request = &a.requests()[0];
    assert_eq!((request.target.as_str(), request.trailers.as_slice()), ("/", &[("x-sum".into(), "1".into())][..]));
}

#[test]
fn more_than_the_window_is_not_taken() {
    let (_a, weir) = site();
    let mut wire = Wire::connect(weir.address());
    wire.send(&frame(HEADERS, END_HEADERS, 1, &held()));
    // Weir gathers what it may, and its window is no larger than this.
    let full = frame(DATA, 0, 1, &vec![b'x'; 16_384]);
    for _ in 0..2_000 {
        if !wire.try_send(&full) {
            break;
        }
    }
    // A body beyond client_max_body_size is 413 as well.
    while !matches!(wire.next().expect("it says something").kind, GOAWAY | RST_STREAM | HEADERS) {}
    assert!(weir.peak_memory() < 64 << 20, "{} bytes", weir.peak_memory());
}
