//! Bodies: no panic, no loop without progress, and the same data whatever pieces it comes in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::http1::{BodyDecoder, BodyError, Event, Framing};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, piece, bytes) = input;
    let framing = match kind % 3 {
        0 => Framing::Length(u64::from(kind)),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    assert_eq!(decode(framing, bytes, usize::from(piece).max(1)), decode(framing, bytes, bytes.len()));
});

fn decode(framing: Framing, input: &[u8], piece: usize) -> (Vec<u8>, Result<usize, BodyError>) {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut at, mut known) = (Vec::new(), 0, piece.min(input.len()));
    loop {
        let decoded = match decoder.decode(&input[at..known]) {
            Ok(decoded) => decoded,
            Err(error) => return (data, Err(error)),
        };
        let from = at;
        at += decoded.consumed;
        match decoded.event {
            Event::Data(range) => {
                assert!(!range.is_empty());
                data.extend_from_slice(&input[from..known][range]);
            }
            Event::End => return (data, Ok(at)),
            Event::NeedMore if known == input.len() => return (data, decoder.eof().map(|()| at)),
            Event::NeedMore => known = (known + piece).min(input.len()),
        }
    }
}
