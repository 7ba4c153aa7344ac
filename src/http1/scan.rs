//! Where does a head end?

use memchr::memchr;

use super::{Limits, Reason};

/// The search for the empty line, which remembers how far it went: a head that comes byte by byte is read once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Where the head begins, after the empty lines before it.
    start: usize,
    /// Where the line begins that is not yet complete.
    line: usize,
    /// Where to look on.
    next: usize,
    /// Empty lines before the head.
    empty_lines: usize,
    /// Where the CRLF of the first line is.
    first_line: Option<usize>,
}

/// What bounds the search.
pub(super) struct Bounds {
    /// Empty lines before the head that are forgiven.
    pub(super) empty_lines: usize,
    /// Bytes of the first line without its CRLF.
    pub(super) first_line: usize,
    /// Bytes of the whole head.
    pub(super) head: usize,
}

/// A whole head within the bytes that were searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: usize,
    /// Length of the first line without its CRLF.
    pub(super) first_line: usize,
    pub(super) end: usize,
}

/// The limit of a head, and of what its index of 32-bit numbers can hold with some bytes behind the head.
pub(super) fn longest_head(limits: &Limits) -> usize {
    limits.head.min(i32::MAX as usize)
}

impl Scan {
    /// Whether nothing was searched yet.
    pub(super) fn is_new(&self) -> bool {
        self.next == 0
    }

    /// Looks for the end of the head; `None`: it is not within `bytes`. Every line up to there ends in CRLF.
    pub(super) fn advance(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<Option<Extent>, Reason> {
        if self.next > bytes.len() {
            // Not the bytes of the last call with more behind them: a mistake of the caller's, but no reason to panic.
            *self = Scan::default();
        }
        while let Some(distance) = memchr(b'\n', &bytes[self.next..]) {
            let lf = self.next + distance;
            if lf == self.line || bytes[lf - 1] != b'\r' {
                return Err(Reason::LineEnding);
            }
            let empty = lf - 1 == self.line;
            match self.first_line {
                None if empty && self.empty_lines == bounds.empty_lines => return Err(Reason::EmptyLines),
                None if empty => {
                    self.empty_lines += 1;
                    self.start = lf + 1;
                }
                None => self.first_line = Some(lf - 1),
                Some(_) => {}
            }
            self.within(bounds, lf + 1)?;
            if let (true, Some(first_line)) = (empty, self.first_line) {
                return Ok(Some(Extent { start: self.start, first_line: first_line - self.start, end: lf + 1 }));
            }
            self.line = lf + 1;
            self.next = lf + 1;
        }
        self.next = bytes.len();
        self.within(bounds, bytes.len())?;
        Ok(None)
    }

    /// The bytes behind the empty lines before the head: what has come of its first line, for a look at how it begins.
    pub(super) fn begun<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let begun = bytes.get(self.start..).unwrap_or_default();
        if begun == b"\r" { &[] } else { begun }
    }

    fn within(&self, bounds: &Bounds, end: usize) -> Result<(), Reason> {
        let first_line = self.first_line.unwrap_or(end) - self.start;
        // What is not yet known to be a whole line may still be followed by its CRLF, or be its CR already.
        let slack = usize::from(self.first_line.is_none());
        if first_line > bounds.first_line + slack {
            return Err(Reason::TargetTooLong);
        }
        if end - self.start > bounds.head {
            return Err(Reason::HeadTooLong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { empty_lines: 2, first_line: 10, head: 40 };

    fn found(text: &str) -> Result<Option<Extent>, Reason> {
        Scan::default().advance(text.as_bytes(), &BOUNDS)
    }

    fn at(start: usize, first_line: usize, end: usize) -> Result<Option<Extent>, Reason> {
        Ok(Some(Extent { start, first_line, end }))
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        assert_eq!(found("one\r\n\r\n"), at(0, 3, 7));
        assert_eq!(found("one\r\ntwo\r\n\r\nrest\r\n\r\n"), at(0, 3, 12));
        assert_eq!(found("\r\n\r\none\r\n\r\n"), at(4, 3, 11));
        for partial in ["", "\r", "\r\n", "one", "one\r", "one\r\n", "one\r\n\r", "one\r\ntwo"] {
            assert_eq!(found(partial), Ok(None), "{partial:?}");
        }
    }

    #[test]
    fn every_line_ends_in_crlf() {
        for bare in ["\n", "one\n", "one\r\n\n", "one\r\ntwo\n\r\n", "\r\n\n"] {
            assert_eq!(found(bare), Err(Reason::LineEnding), "{bare:?}");
        }
    }

    #[test]
    fn what_goes_beyond_its_bounds_is_refused_as_soon_as_that_is_known() {
        assert_eq!(found("\r\n\r\n\r\n"), Err(Reason::EmptyLines));
        assert_eq!(found("1234567890\r\n\r\n"), at(0, 10, 14));
        assert_eq!(found("1234567890\r"), Ok(None));
        assert_eq!(found("12345678901\r\n\r\n"), Err(Reason::TargetTooLong));
        assert_eq!(found("123456789012"), Err(Reason::TargetTooLong));
        assert_eq!(found(&format!("one\r\n{}\r\n\r\n", "x".repeat(31))), at(0, 3, 40));
        assert_eq!(found(&format!("one\r\n{}\r\n\r\n", "x".repeat(32))), Err(Reason::HeadTooLong));
        assert_eq!(found(&format!("one\r\n{}", "x".repeat(36))), Err(Reason::HeadTooLong));
    }

    #[test]
    fn the_search_goes_on_where_it_stopped() {
        let text = b"\r\none\r\ntwo\r\n\r\n";
        let mut scan = Scan::default();
        for end in 0..text.len() {
            assert_eq!(scan.advance(&text[..end], &BOUNDS), Ok(None));
            assert_eq!(scan.next, end);
        }
        assert_eq!(scan.advance(text, &BOUNDS), at(2, 3, 14));
    }

    #[test]
    fn shorter_bytes_than_before_start_a_new_search() {
        let mut scan = Scan::default();
        assert_eq!(scan.advance(b"one\r\ntwo", &BOUNDS), Ok(None));
        assert_eq!(scan.advance(b"\r\n", &BOUNDS), Ok(None));
        assert_eq!(scan.advance(b"\r\none\r\n\r\n", &BOUNDS), at(2, 3, 9));
    }
}
