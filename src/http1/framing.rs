//! How long is the body?

use super::field::FieldSection;
use super::{Known, Reason, Version};

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// As many bytes; 0 when an empty body was announced.
    Length(u64),
    /// In chunks, the last of which is empty.
    Chunked,
    /// All that comes until the connection ends. Answers only.
    UntilClose,
}

/// What the fields of a head say of its body, whether it has one or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
}

/// Longer than any body is: 2^63 - 1, as in nginx, so that lengths can be added up without care.
const LONGEST: u64 = i64::MAX as u64;

impl Announced {
    /// Only what every reader must understand alike passes: a proxy in front or a backend behind that reads it
    /// otherwise would find the next message elsewhere (request smuggling).
    pub(super) fn read(fields: &FieldSection, version: Version) -> Result<Announced, Reason> {
        if !fields.has(Known::TransferEncoding) {
            return match fields.get(Known::ContentLength) {
                Some(_) if fields.has_many(Known::ContentLength) => Err(Reason::ManyContentLengths),
                Some(length) => Ok(Announced { length: Some(number(length)?), chunked: false }),
                None => Ok(Announced::default()),
            };
        }
        if fields.has(Known::ContentLength) {
            return Err(Reason::LengthAndEncoding);
        }
        if fields.has_many(Known::TransferEncoding) {
            return Err(Reason::ManyTransferEncodings);
        }
        if version == Version::Http10 {
            return Err(Reason::TransferEncodingIn10);
        }
        let encoding = fields.get(Known::TransferEncoding).unwrap_or_default();
        if !encoding.eq_ignore_ascii_case(b"chunked") {
            return Err(Reason::TransferEncoding);
        }
        Ok(Announced { length: None, chunked: true })
    }
}

fn number(digits: &[u8]) -> Result<u64, Reason> {
    parse_decimal(digits).filter(|&n| n <= LONGEST).ok_or(Reason::ContentLength)
}

/// A number of decimal digits and nothing else; `None` if it is not that, or does not fit.
pub(super) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    // Ten million million millions fit whatever their digits are.
    let (head, tail) = digits.split_at(digits.len().min(19));
    if head.is_empty() {
        return None;
    }
    let mut n = 0u64;
    for &digit in head {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n = n * 10 + u64::from(digit);
    }
    tail.iter().try_fold(n, |n, &digit| {
        digit.is_ascii_digit().then_some(())?;
        n.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<Announced, Reason> {
        read_as(lines, Version::Http11)
    }

    fn read_as(lines: &str, version: Version) -> Result<Announced, Reason> {
        let mut fields = FieldSection::default();
        fields.bytes.extend_from_slice(format!("{lines}\r\n").as_bytes());
        fields.index(0, 100).unwrap();
        Announced::read(&fields, version)
    }

    fn length(n: u64) -> Result<Announced, Reason> {
        Ok(Announced { length: Some(n), chunked: false })
    }

    #[test]
    fn a_length_is_one_field_of_digits() {
        assert_eq!(read(""), Ok(Announced::default()));
        assert_eq!(read("Content-Length: 0\r\n"), length(0));
        assert_eq!(read("Content-Length: 0042\r\n"), length(42));
        assert_eq!(read("content-length:\t9223372036854775807 \r\n"), length(u64::MAX / 2));
        for bad in [
            "",
            "+1",
            "-1",
            "0x10",
            "1e3",
            "1.0",
            "1 1",
            "1,1",
            "1, 1",
            "1;",
            "\"1\"",
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999999999",
            "chunked",
            "\u{661}",
        ] {
            assert_eq!(read(&format!("Content-Length: {bad}\r\n")), Err(Reason::ContentLength), "{bad:?}");
        }
    }

    #[test]
    fn more_than_one_length_is_refused_even_if_they_agree() {
        for other in ["5", "6", "", "x"] {
            let lines = format!("Content-Length: 5\r\nContent-length: {other}\r\n");
            assert_eq!(read(&lines), Err(Reason::ManyContentLengths), "{other:?}");
        }
    }

    #[test]
    fn the_only_encoding_is_chunked_once_and_alone() {
        for good in ["chunked", "Chunked", "CHUNKED", " \tchunked\t"] {
            let announced = Announced { length: None, chunked: true };
            assert_eq!(read(&format!("Transfer-Encoding: {good}\r\n")), Ok(announced), "{good:?}");
        }
        for bad in [
            "",
            "xchunked",
            "chunkedx",
            "identity",
            "chunked, identity",
            "identity, chunked",
            "gzip, chunked",
            "chunked, chunked",
            "chunked,",
            ",chunked",
            "chunked;a=b",
            "\"chunked\"",
            "'chunked'",
            "chunk ed",
            "cow",
        ] {
            assert_eq!(read(&format!("Transfer-Encoding: {bad}\r\n")), Err(Reason::TransferEncoding), "{bad:?}");
        }
        for second in ["chunked", "identity", ""] {
            let lines = format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: {second}\r\n");
            assert_eq!(read(&lines), Err(Reason::ManyTransferEncodings), "{second:?}");
        }
    }

    #[test]
    fn length_and_encoding_together_are_refused_in_either_order() {
        let (length, encoding) = ("Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n");
        assert_eq!(read(&format!("{length}{encoding}")), Err(Reason::LengthAndEncoding));
        assert_eq!(read(&format!("{encoding}{length}")), Err(Reason::LengthAndEncoding));
        assert_eq!(read("Content-Length: 3\r\nTransfer-Encoding: identity\r\n"), Err(Reason::LengthAndEncoding));
    }

    #[test]
    fn an_encoding_in_1_0_is_refused() {
        let lines = "Transfer-Encoding: chunked\r\n";
        assert_eq!(read_as(lines, Version::Http10), Err(Reason::TransferEncodingIn10));
    }
}
