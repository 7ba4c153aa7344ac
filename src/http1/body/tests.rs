//! Which bodies are accepted, in whatever pieces they come, and which are refused?

use super::*;

/// Data, trailers and what is left behind the message, when the input comes in pieces of `size` bytes.
fn read(framing: Framing, input: &[u8], size: usize) -> Result<(String, Vec<String>, String), BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut at, mut known) = (Vec::new(), 0, 0);
    loop {
        let decoded = decoder.decode(&input[at..known])?;
        if let Event::Data(range) = &decoded.event {
            assert!(!range.is_empty() && range.end == decoded.consumed, "data is what was consumed last");
            data.extend_from_slice(&input[at..known][range.clone()]);
        }
        at += decoded.consumed;
        match decoded.event {
            Event::End => break,
            Event::NeedMore => {
                assert_eq!(at, known, "all of the input was consumed");
                if known == input.len() {
                    decoder.eof()?;
                    break;
                }
                known = (known + size).min(input.len());
            }
            Event::Data(_) => {}
        }
    }
    assert!(decoder.is_done());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let trailers = decoder.trailers().iter().map(|field| format!("{}={}", text(field.name), text(field.value)));
    Ok((text(&data), trailers.collect(), text(&input[at..])))
}

/// The same, whatever the size of the pieces.
fn body(framing: Framing, input: &str) -> Result<(String, Vec<String>, String), BodyError> {
    let whole = read(framing, input.as_bytes(), usize::MAX / 2);
    for size in 1..=input.len().min(40) {
        assert_eq!(read(framing, input.as_bytes(), size), whole, "{input:?} in pieces of {size}");
    }
    whole
}

fn chunked(input: &str) -> Result<String, BodyError> {
    body(Framing::Chunked, input).map(|(data, trailers, rest)| {
        assert_eq!((trailers.len(), rest.as_str()), (0, "next"), "{input:?}");
        data
    })
}

#[test]
fn a_length_is_exact() {
    let read = |length, input| body(Framing::Length(length), input).map(|(data, _, rest)| (data, rest));
    assert_eq!(read(0, "next"), Ok(("".into(), "next".into())));
    assert_eq!(read(5, "hellonext"), Ok(("hello".into(), "next".into())));
    assert_eq!(read(5, "hello"), Ok(("hello".into(), "".into())));
    assert_eq!(read(5, "hell"), Err(BodyError::Truncated));
    assert_eq!(read(u64::MAX, "hell"), Err(BodyError::Truncated));
    assert_eq!(body(Framing::None, "next").unwrap().2, "next");
}

#[test]
fn until_close_ends_with_the_connection() {
    assert_eq!(body(Framing::UntilClose, "all of it").unwrap().0, "all of it");
    assert_eq!(body(Framing::UntilClose, "").unwrap().0, "");
}

#[test]
fn chunks_are_joined() {
    let cases = [
        ("0\r\n\r\nnext", ""),
        ("5\r\nhello\r\n0\r\n\r\nnext", "hello"),
        ("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nnext", "hello!"),
        ("A\r\n0123456789\r\n000\r\n\r\nnext", "0123456789"),
        ("a\r\n0123456789\r\n0\r\n\r\nnext", "0123456789"),
        ("0000000000000001\r\nx\r\n0\r\n\r\nnext", "x"),
        ("2\r\n\r\n\r\n0\r\n\r\nnext", "\r\n"),
        ("5;\r\nhello\r\n0\r\n\r\nnext", "hello"),
        ("5;a\r\nhello\r\n0;last\r\n\r\nnext", "hello"),
        ("5 \t;a=\"b;c\" ; d\r\nhello\r\n0 ;e\r\n\r\nnext", "hello"),
        ("5;\u{e9}\r\nhello\r\n0\r\n\r\nnext", "hello"),
    ];
    for (input, data) in cases {
        assert_eq!(chunked(input).as_deref(), Ok(data), "{input:?}");
    }
}

#[test]
fn a_chunk_that_two_readers_could_read_differently_is_refused() {
    use BodyError::*;
    let cases = [
        ("\r\n", ChunkSize),
        (";a\r\n", ChunkSize),
        (" 5\r\nhello\r\n", ChunkSize),
        ("+5\r\nhello\r\n", ChunkSize),
        ("-5\r\nhello\r\n", ChunkSize),
        ("0x5\r\nhello\r\n", ChunkSize),
        ("5h\r\nhello\r\n", ChunkSize),
        ("5_0\r\nhello\r\n", ChunkSize),
        ("5 0\r\nhello\r\n", ChunkSize),
        ("5 \r\nhello\r\n", ChunkSize),
        ("5\t\r\nhello\r\n", ChunkSize),
        ("5,5\r\nhello\r\n", ChunkSize),
        ("5\0\r\nhello\r\n", ChunkSize),
        ("00000000000000005\r\nhello\r\n", ChunkTooLarge),
        ("8000000000000000\r\n", ChunkTooLarge),
        ("ffffffffffffffff\r\n", ChunkTooLarge),
        ("10000000000000005\r\nhello\r\n", ChunkTooLarge),
        ("5\nhello\r\n", LineEnding),
        ("5;a\nhello\r\n", LineEnding),
        ("5\rhello\r\n", LineEnding),
        ("5;a\r5\r\n", LineEnding),
        ("5\r\nhello\n0\r\n\r\n", LineEnding),
        ("5\r\nhelloX0\r\n\r\n", LineEnding),
        ("5\r\nhello0\r\n\r\n", LineEnding),
        ("5\r\nhello\rX", LineEnding),
        ("4\r\nhello\r\n0\r\n\r\n", LineEnding),
        ("6\r\nhello\r\n0\r\n\r\n", LineEnding),
        ("5;a\0\r\nhello\r\n", Extension),
        ("5;a\x7f\r\nhello\r\n", Extension),
        ("0\r\n\n", LineEnding),
        ("0\r\nX: a\n\r\n", LineEnding),
        ("0\r\nX : a\r\n\r\n", Trailer),
        ("0\r\nX\r\n\r\n", Trailer),
        ("0\r\nX: a\r\n b\r\n\r\n", Trailer),
        ("0\r\nX: \0\r\n\r\n", Trailer),
    ];
    for (input, error) in cases {
        assert_eq!(body(Framing::Chunked, input), Err(error), "{input:?}");
    }
}

#[test]
fn a_cut_body_is_never_taken_for_a_whole_one() {
    let whole = "5;a\r\nhello\r\n0\r\nX: y\r\n\r\n";
    for end in 0..whole.len() {
        assert_eq!(body(Framing::Chunked, &whole[..end]), Err(BodyError::Truncated), "{:?}", &whole[..end]);
    }
}

#[test]
fn trailers_are_kept_unless_they_frame_route_or_authenticate() {
    let input = "0\r\nX-Sum:  1 \r\nContent-Length: 5\r\nHost: evil\r\nTransfer-Encoding: chunked\r\nCookie: a\r\n\
                 X_Real_IP: 1\r\nX-Real-IP: 1\r\nAuthorization: a\r\nConnection: close\r\ngrpc-status: 0\r\n\r\nnext";
    let (data, trailers, rest) = body(Framing::Chunked, input).unwrap();
    assert_eq!((data.as_str(), rest.as_str()), ("", "next"));
    assert_eq!(trailers, ["X-Sum=1", "grpc-status=0"]);
}

#[test]
fn trailers_have_a_limit() {
    let read = |lines: &str| read(Framing::Chunked, format!("0\r\n{lines}\r\n").as_bytes(), 4096).map(|_| ());
    assert_eq!(read(&"a: b\r\n".repeat(64)), Ok(()));
    assert_eq!(read(&"a: b\r\n".repeat(65)), Err(BodyError::TrailersTooLong));
    assert_eq!(read(&format!("a: {}\r\n", "b".repeat(8192 - 7))), Ok(()));
    assert_eq!(read(&format!("a: {}\r\n", "b".repeat(8192))), Err(BodyError::TrailersTooLong));
}

#[test]
fn small_chunks_may_go_on_for_ever_but_extensions_may_not_outweigh_the_data() {
    let read = |chunk: &str, times| {
        let input = format!("{}0\r\n\r\n", chunk.repeat(times));
        read(Framing::Chunked, input.as_bytes(), 4096).map(|(data, _, _)| data.len())
    };
    assert_eq!(read("1\r\nx\r\n", 50_000), Ok(50_000));
    assert_eq!(read("1;abcdefgh\r\nx\r\n", 50_000), Ok(50_000));
    assert_eq!(read("1;abcdefgh-abcdefgh\r\nx\r\n", 50_000), Err(BodyError::Overhead));
    assert_eq!(read(&format!("1;{}\r\nx\r\n", "a".repeat(10_000)), 1), Ok(1));
    assert_eq!(read(&format!("1;{}\r\nx\r\n", "a".repeat(17_000)), 1), Err(BodyError::Overhead));
    let large = format!("3e8;{}\r\n{}\r\n", "a".repeat(500), "x".repeat(1000));
    assert_eq!(read(&large, 1000), Ok(1_000_000));
}

#[test]
fn data_can_be_passed_on_without_a_look_at_it() {
    let mut decoder = BodyDecoder::new(Framing::Length(1 << 40));
    assert_eq!(decoder.remaining_data(), 1 << 40);
    decoder.pass((1 << 40) - 1);
    assert_eq!(decoder.decode(b"xnext"), Ok(Decoded { consumed: 1, event: Event::Data(0..1) }));
    assert_eq!(decoder.decode(b"next"), Ok(Decoded { consumed: 0, event: Event::End }));

    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert_eq!(decoder.remaining_data(), 0);
    assert_eq!(decoder.decode(b"10\r\nab"), Ok(Decoded { consumed: 6, event: Event::Data(4..6) }));
    assert_eq!(decoder.remaining_data(), 14);
    decoder.pass(14);
    assert_eq!(decoder.remaining_data(), 0);
    assert_eq!(decoder.decode(b"\r\n0\r\n\r\nnext"), Ok(Decoded { consumed: 7, event: Event::End }));

    let mut decoder = BodyDecoder::new(Framing::UntilClose);
    decoder.pass(u64::MAX);
    assert_eq!((decoder.remaining_data(), decoder.is_done()), (u64::MAX, false));
}

#[test]
fn a_decoder_is_used_again() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert_eq!(decoder.decode(b"0\r\na: b\r\n\r\n").unwrap().event, Event::End);
    assert_eq!(decoder.trailers().len(), 1);
    decoder.begin(Framing::Chunked);
    assert_eq!(decoder.trailers().len(), 0);
    assert_eq!(decoder.decode(b"0\r\nc: d\r\n\r\n").unwrap().event, Event::End);
    assert!(decoder.trailers().iter().map(|field| field.name).eq([b"c"]));
    decoder.begin(Framing::None);
    assert!(decoder.is_done() && decoder.trailers().is_empty());
}
