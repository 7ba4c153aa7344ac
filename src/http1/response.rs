//! What does the backend answer?

use std::time::Duration;

use super::connection::Options;
use super::encode::is_value;
use super::field::Span;
use super::framing::{Announced, parse_decimal};
use super::scan::{Bounds, Extent, Scan};
use super::{Field, FieldSection, Framing, Known, Limits, Method, Progress, Reason, Reject, Version};

/// The head of an answer, in memory of its own that is used again for the next one. See [`RequestHead`](super::RequestHead).
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    scan: Scan,
    fields: FieldSection,
    line: Line,
}

/// Where things are, and what was made of them.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    wire_len: u32,
    version: Version,
    status: u16,
    reason: Span,
    announced: Announced,
    keep_alive: bool,
    upgrade: bool,
}

impl ResponseHead {
    /// An empty head, to be parsed into.
    pub fn new() -> ResponseHead {
        ResponseHead::default()
    }

    /// Reads a head from the beginning of `bytes`, with the same contract as
    /// [`RequestHead::parse`](super::RequestHead::parse). What does not begin as `HTTP/1.` is refused at its first
    /// wrong byte. `limits.target` does not matter. A refusal's status is 502.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Reject> {
        match self.advance(bytes, limits) {
            Ok(None) => Ok(Progress::Partial),
            Ok(Some(consumed)) => Ok(Progress::Complete { consumed }),
            Err(reason) => {
                self.clear();
                Err(reason.of_response())
            }
        }
    }

    /// Makes a head from pieces, under the same rules as if it had been parsed: for messages that came another way.
    pub fn compose<'a>(
        &mut self,
        status: u16,
        reason: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        limits: &Limits,
    ) -> Result<(), Reject> {
        self.clear();
        let composed = self.write(status, reason, fields).and_then(|line_end| self.read(line_end, limits));
        composed.map_err(|reason| {
            self.clear();
            reason.of_response()
        })
    }

    /// Forgets the answer and a parse that has begun; keeps the memory.
    pub fn clear(&mut self) {
        self.scan = Scan::default();
        self.fields.clear();
        self.line = Line::default();
    }

    /// The status, 100 to 999.
    pub fn status(&self) -> u16 {
        self.line.status
    }

    /// Whether another answer follows this one: 1xx except 101.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status()) && self.status() != 101
    }

    /// The text after the status, as it was written; often empty.
    pub fn reason(&self) -> &[u8] {
        self.fields.text(self.line.reason)
    }

    /// The version of the status line.
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// All fields, in order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field<'_>> + Clone {
        self.fields.iter()
    }

    /// The value of the first field of this kind.
    pub fn field(&self, known: Known) -> Option<&[u8]> {
        self.fields.get(known)
    }

    /// The values of all fields of this name, whatever its case.
    pub fn fields_named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.fields.named(name)
    }

    /// How the body ends, given the method that is answered (RFC 9112 §6.3): none for HEAD, 1xx, 204 and 304.
    pub fn framing(&self, answered: Method) -> Framing {
        let bodiless = answered == Method::Head || matches!(self.line.status, 100..200 | 204 | 304);
        match self.line.announced {
            _ if bodiless => Framing::None,
            Announced { chunked: true, .. } => Framing::Chunked,
            Announced { length: Some(length), .. } => Framing::Length(length),
            _ => Framing::UntilClose,
        }
    }

    /// What `Content-Length` says, also where no body follows (HEAD, 304).
    pub fn content_length(&self) -> Option<u64> {
        self.line.announced.length
    }

    /// Whether the backend wants to go on using the connection. Of no use if the framing is [`Framing::UntilClose`].
    pub fn keep_alive(&self) -> bool {
        self.line.keep_alive
    }

    /// `timeout` of `Keep-Alive`: how long the backend keeps the connection when it is idle.
    pub fn keep_alive_timeout(&self) -> Option<Duration> {
        let parameters = self.fields.get(Known::KeepAlive)?.split(|&byte| byte == b',');
        let timeout = parameters.map(<[u8]>::trim_ascii).find_map(|parameter| {
            let (name, seconds) = parameter.split_at_checked("timeout=".len())?;
            name.eq_ignore_ascii_case(b"timeout=").then_some(seconds)
        })?;
        // A year is as good as for ever, and can be added to any moment.
        parse_decimal(timeout).map(|seconds| Duration::from_secs(seconds.min(31_536_000)))
    }

    /// The value of `Upgrade`, if `Connection` names it.
    pub fn upgrade(&self) -> Option<&[u8]> {
        if self.line.upgrade { self.fields.get(Known::Upgrade) } else { None }
    }

    /// Bytes of the head on the wire.
    pub fn wire_len(&self) -> usize {
        self.line.wire_len as usize
    }

    fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Reason> {
        let begin = &bytes[..bytes.len().min(BEGIN.len())];
        if begin != &BEGIN[..begin.len()] {
            return Err(Reason::StatusLine);
        }
        let head = limits.head.min(u32::MAX as usize / 2);
        let bounds = Bounds { empty_lines: 0, first_line: usize::MAX / 2, head };
        let Some(Extent { first_line, end, .. }) = self.scan.advance(bytes, &bounds)? else { return Ok(None) };
        self.scan = Scan::default();
        self.fields.clear();
        self.fields.bytes.extend_from_slice(&bytes[..end]);
        self.read(first_line, limits)?;
        Ok(Some(end))
    }

    /// Reads the whole head that is in the buffer.
    fn read(&mut self, line_end: usize, limits: &Limits) -> Result<(), Reason> {
        let (version, status, reason) = split_line(&self.fields.bytes[..line_end])?;
        let wire_len = self.fields.bytes.len() as u32;
        let reason = Span::at(line_end - reason.len(), reason.len());
        self.fields.index(line_end + 2, limits.fields)?;
        let announced = Announced::read(&self.fields, version)?;
        let options = Options::read(&mut self.fields)?;
        let (keep_alive, upgrade) = (options.persistent(version), options.upgrade && version >= Version::Http11);
        self.line = Line { wire_len, version, status, reason, announced, keep_alive, upgrade };
        Ok(())
    }

    /// Writes the pieces into the buffer as they would have come. What could end a piece early is refused here,
    /// everything else when it is read.
    fn write<'a>(
        &mut self,
        status: u16,
        reason: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<usize, Reason> {
        if !(100..1000).contains(&status) || !is_value(reason) {
            return Err(Reason::StatusLine);
        }
        super::encode::status_line(&mut self.fields.bytes, Version::Http11, status, reason);
        let line_end = self.fields.bytes.len() - 2;
        self.fields.write(fields)?;
        Ok(line_end)
    }
}

/// How every answer begins that is accepted.
const BEGIN: &[u8] = b"HTTP/1.";

/// `version SP status [SP reason]`; the space is not missed where there is no reason (RFC 9112 §4 wants it).
fn split_line(line: &[u8]) -> Result<(Version, u16, &[u8]), Reason> {
    let (version, rest) = line.split_at_checked("HTTP/1.1".len()).ok_or(Reason::StatusLine)?;
    let version = Version::read(version).map_err(|_| Reason::StatusLine)?;
    let (status, reason) = match rest {
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] => {
            (u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'), reason)
        }
        _ => return Err(Reason::StatusLine),
    };
    match reason {
        [] => Ok((version, status, reason)),
        [b' ', reason @ ..] if is_value(reason) => Ok((version, status, reason)),
        _ => Err(Reason::StatusLine),
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(
                (head.version(), head.status(), head.reason()),
                (*version, *status, reason.as_bytes()),
                "{line}"
            );
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
        assert_eq!(
            (head.status(), head.reason(), head.framing(Method::Get)),
            (201, &b"Created"[..], Framing::Length(3))
        );
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
}
