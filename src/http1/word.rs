//! Where is the first byte of a kind? Eight bytes at a time, as a number.
//!
//! A byte is marked by its high bit. Marks are exact up to the first: carries go from marked bytes to those above them, and
//! nobody looks further than the first.

use super::encode::is_value;

/// Letters in either case differ in this bit.
const CASE: u64 = each(0x20);

const HIGH: u64 = each(0x80);

#[inline(always)]
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Marks what is not visible ASCII.
#[inline(always)]
pub(super) fn invisible(word: u64) -> u64 {
    word.wrapping_sub(each(b'!')) | not_ascii_or_del(word)
}

#[inline(always)]
fn not_visible_or_space(word: u64) -> u64 {
    word.wrapping_sub(each(b' ')) | not_ascii_or_del(word)
}

/// Marks one byte.
#[inline(always)]
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    (word ^ each(byte)).wrapping_sub(each(1)) & !word
}

/// Letters in lower case and hyphens as they are, and marks for what is neither.
#[inline(always)]
pub(super) fn fold(word: u64) -> (u64, u64) {
    let folded = word | CASE;
    (folded, not_letter(folded) & (word ^ each(b'-')).wrapping_add(each(0x7f)) | word)
}

/// Marks what is neither letter nor digit, hyphen or dot.
#[inline(always)]
pub(super) fn not_in_most_hosts(word: u64) -> u64 {
    let others = each(b'-' + 0x7f).wrapping_sub(word) | word.wrapping_add(each(0x7f - b'9')) | equal(word, b'/');
    not_letter(word | CASE) & others | word
}

/// Marks all ASCII but letters, which are in lower case.
#[inline(always)]
fn not_letter(folded: u64) -> u64 {
    each(b'a' + 0x7f).wrapping_sub(folded) | folded.wrapping_add(each(0x7f - b'z'))
}

#[inline(always)]
fn not_ascii_or_del(word: u64) -> u64 {
    word.wrapping_add(each(1)) | word
}

/// Where the first byte is that `marks` marks, or the end.
#[inline(always)]
pub(super) fn find(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk() {
        if let Some(at) = first(marks(u64::from_le_bytes(*word))) {
            return bytes.len() - rest.len() + at;
        }
        rest = behind;
    }
    let at = first(marks(short_word(rest))).unwrap_or(8);
    (bytes.len() - rest.len() + at).min(bytes.len())
}

/// Where the first mark is.
#[inline(always)]
pub(super) fn first(marks: u64) -> Option<usize> {
    let marked = marks & HIGH;
    (marked != 0).then(|| marked.trailing_zeros() as usize / 8)
}

/// The bytes of a word below its first mark, and zeros.
#[inline(always)]
pub(super) fn before(word: u64, marks: u64) -> u64 {
    let marked = marks & HIGH;
    word & (marked ^ marked.wrapping_sub(1)) >> 8
}

/// The first eight bytes and those behind them; fewer have zeros behind them.
#[inline(always)]
pub(super) fn split_word(bytes: &[u8]) -> (u64, &[u8]) {
    match bytes.split_first_chunk() {
        Some((word, behind)) => (u64::from_le_bytes(*word), behind),
        None => (short_word(bytes), &[]),
    }
}

#[inline(never)]
fn short_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Bytes of a value that are looked at word by word, before larger pieces are worth their beginning.
const LONG: usize = 128;

/// Where the CRLF is that ends the value at the beginning of `bytes`. `None`: there is none, or a control character before
/// it.
#[inline(never)]
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while bytes.len() - rest.len() < LONG {
        let Some((word, behind)) = rest.split_first_chunk() else { return last_line_end(bytes, rest) };
        if let Some(at) = first(not_visible_or_space(u64::from_le_bytes(*word))) {
            let at = bytes.len() - rest.len() + at;
            if let Some([b'\r', b'\n', ..]) = bytes.get(at..) {
                return Some(at);
            }
            break;
        }
        rest = behind;
    }
    long_line_end(bytes, rest)
}

/// The same for values that are long, or not ASCII, or wrong, of which `rest` is left.
#[inline(never)]
fn long_line_end(bytes: &[u8], mut rest: &[u8]) -> Option<usize> {
    loop {
        rest = &rest[64 * rest.as_chunks().0.iter().take_while(|block| is_visible_or_space(block)).count()..];
        rest = &rest[find(rest, not_visible_or_space)..];
        match rest {
            [byte, ..] if is_value(&[*byte]) => {
                rest = &rest[32 * rest.as_chunks::<32>().0.iter().take_while(|block| is_value(&block[..])).count()..];
                rest = &rest[rest.iter().take_while(|&&byte| is_value(&[byte])).count()..];
            }
            _ => return last_line_end(bytes, rest),
        }
    }
}

/// The same near the end of the bytes.
#[inline(never)]
fn last_line_end(bytes: &[u8], rest: &[u8]) -> Option<usize> {
    let at = bytes.len() - rest.len() + rest.iter().position(|&byte| !is_value(&[byte]))?;
    bytes[at..].starts_with(b"\r\n").then_some(at)
}

#[inline(always)]
fn is_visible_or_space(block: &[u8; 64]) -> bool {
    let words = block.as_chunks().0.iter().map(|word| not_visible_or_space(u64::from_le_bytes(*word)));
    words.fold(0, |all, marks| all | marks) & HIGH == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each byte stops a search where it should, at every place in bytes of every length up to three words. The
    /// bytes before it are all that do not stop one, those behind it anything.
    fn stops_at(marks: impl Fn(u64) -> u64, expected: impl Fn(u8) -> bool) {
        let passing: Vec<u8> = (0..=255).filter(|&byte| !expected(byte)).collect();
        for byte in 0..=255 {
            for place in 0..20 {
                for behind in [0u8, 1, 7, 8, 9] {
                    let mut bytes: Vec<u8> =
                        passing.iter().copied().cycle().skip(usize::from(byte)).take(place).collect();
                    bytes.push(byte);
                    bytes.extend((0..behind).map(|i| byte.wrapping_mul(31).wrapping_add(i.wrapping_mul(85))));
                    let found = find(&bytes, &marks);
                    let exact = bytes.iter().position(|&byte| expected(byte)).unwrap_or(bytes.len());
                    assert_eq!(found, exact, "{byte:#x} at {place} before {behind} others");
                }
            }
        }
    }

    #[test]
    fn every_byte_stops_exactly_the_searches_that_are_for_it() {
        stops_at(invisible, |byte| !byte.is_ascii_graphic());
        stops_at(not_visible_or_space, |byte| !byte.is_ascii_graphic() && byte != b' ');
        for wanted in [b',', b' ', b'?', b'#', 0, 0x7f] {
            stops_at(|word| equal(word, wanted), |byte| byte == wanted);
        }
        stops_at(|word| fold(word).1, |byte| !byte.is_ascii_alphabetic() && byte != b'-');
        stops_at(not_in_most_hosts, |byte| !byte.is_ascii_alphanumeric() && byte != b'-' && byte != b'.');
    }

    #[test]
    fn what_is_before_the_first_mark_is_kept() {
        let word = u64::from_le_bytes(*b"ab:cd:ef");
        assert_eq!(before(word, equal(word, b':')), u64::from_le_bytes(*b"ab\0\0\0\0\0\0"));
        assert_eq!(before(word, equal(word, b'a')), 0);
        assert_eq!(before(word, equal(word, b'f')), u64::from_le_bytes(*b"ab:cd:e\0"));
    }

    #[test]
    fn a_value_ends_at_its_crlf_whatever_its_length_and_what_is_behind() {
        for len in 0..200 {
            for behind in ["", "\r\n", "x: y\r\n\r\n", "\0"] {
                for filling in ["x", " ", "\t", "\u{e9}", "x\t", "xxxxxxxxxxxxxxxxxxxxxxxxx\u{e9}"] {
                    let value: Vec<u8> = filling.bytes().cycle().take(len).collect();
                    let line = [&value, &b"\r\n"[..], behind.as_bytes()].concat();
                    assert_eq!(line_end(&line), Some(len), "{filling:?} {len} {behind:?}");
                }
            }
        }
    }

    #[test]
    fn a_control_character_anywhere_in_a_value_is_seen() {
        for len in [1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100, 130] {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut line = vec![b'x'; len];
                    line.extend_from_slice(b"\r\n\r\n");
                    line[at] = byte;
                    assert_eq!(line_end(&line), is_value(&[byte]).then_some(len), "{byte:#x} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_line_without_an_end_has_none() {
        for len in 0..100 {
            for end in ["", "\r", "\n", "\rx", "\r\r\n"] {
                let line = [&vec![b'x'; len], end.as_bytes()].concat();
                assert_eq!(line_end(&line), None, "{len} {end:?}");
            }
        }
    }
}
