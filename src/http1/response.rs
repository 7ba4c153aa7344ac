//! What does the backend answer?

use std::time::Duration;

use super::connection::Options;
use super::encode::{self, is_value};
use super::field::Span;
use super::framing::{Announced, parse_decimal};
use super::scan::{Bounds, Extent, Scan, longest_head};
use super::word::line_end;
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
        let composed = self.write(status, reason, fields, limits).and_then(|line_end| self.read(line_end, limits));
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

    /// Appends the lines of the fields that `keep` wants, byte for byte as they came.
    pub fn copy_lines(&self, out: &mut Vec<u8>, keep: impl FnMut(&Field<'_>) -> bool) {
        self.fields.copy_lines(out, keep);
    }

    /// Appends the status line, in HTTP/1.1, and then the lines of the fields that `keep` wants.
    pub fn copy_head(&self, out: &mut Vec<u8>, keep: impl FnMut(&Field<'_>) -> bool) {
        let reason = self.line.reason;
        // Some leave out the space behind the status with the reason.
        if self.line.version == Version::Http11 && reason.start as usize == "HTTP/1.1 200 ".len() {
            let first = 0..reason.end as usize + encode::CRLF.len();
            return self.fields.copy_lines_behind(first, out, keep);
        }
        encode::status_line(out, Version::Http11, self.status(), self.reason());
        self.fields.copy_lines(out, keep);
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

    /// Whether that is said in the digits in which it would be written here: without a zero in front.
    pub fn has_plain_length(&self) -> bool {
        let plain = |digits: &[u8]| digits == b"0" || !digits.starts_with(b"0");
        self.fields.get(Known::ContentLength).is_some_and(plain)
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
        if self.scan.is_new() {
            if let Some(end) = self.take(bytes, limits) {
                return self.finish().map(|()| Some(end));
            }
            self.clear();
        }
        self.search(bytes, limits)
    }

    /// The usual case: the head is there, and nothing is wrong with its lines. `None`: it is not like that, and what is
    /// left behind is of no use.
    fn take(&mut self, bytes: &[u8], limits: &Limits) -> Option<usize> {
        let status_len = "HTTP/1.1 200".len();
        let len = status_len + line_end(bytes.get(status_len..)?)?;
        let (version, status, reason) = split_line(&bytes[..len]).ok()?;
        let reason = Span::at(len - reason.len(), reason.len());
        let end = self.fields.take(bytes, len + 2, limits.fields, longest_head(limits))?;
        self.line = Line { wire_len: end as u32, version, status, reason, ..Line::default() };
        Some(end)
    }

    /// Looks for the end of a head that comes in pieces, or of one that will be refused.
    #[cold]
    fn search(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Reason> {
        let begin = &bytes[..bytes.len().min(BEGIN.len())];
        if begin != &BEGIN[..begin.len()] {
            return Err(Reason::StatusLine);
        }
        let head = longest_head(limits);
        let bounds = Bounds { empty_lines: 0, first_line: usize::MAX / 2, head };
        let Some(Extent { first_line, end, .. }) = self.scan.advance(bytes, &bounds)? else { return Ok(None) };
        self.clear();
        self.fields.bytes.extend_from_slice(&bytes[..end]);
        self.read(first_line, limits)?;
        Ok(Some(end))
    }

    /// Reads the whole head that is in the buffer.
    fn read(&mut self, line_end: usize, limits: &Limits) -> Result<(), Reason> {
        let (version, status, reason) = split_line(&self.fields.bytes[..line_end])?;
        if !is_value(reason) {
            return Err(Reason::StatusLine);
        }
        let wire_len = self.fields.bytes.len() as u32;
        let reason = Span::at(line_end - reason.len(), reason.len());
        self.fields.index(line_end + 2, limits.fields)?;
        self.line = Line { wire_len, version, status, reason, ..Line::default() };
        self.finish()
    }

    /// Reads what the lines say.
    fn finish(&mut self) -> Result<(), Reason> {
        let version = self.line.version;
        self.line.announced = Announced::read(&self.fields, version)?;
        let options = Options::read(&mut self.fields)?;
        self.line.keep_alive = options.persistent(version);
        self.line.upgrade = options.upgrade && version >= Version::Http11;
        Ok(())
    }

    /// Writes the pieces into the buffer as they would have come. What could end a piece early is refused here,
    /// everything else when it is read.
    fn write<'a>(
        &mut self,
        status: u16,
        reason: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        limits: &Limits,
    ) -> Result<usize, Reason> {
        if !(100..1000).contains(&status) || !is_value(reason) {
            return Err(Reason::StatusLine);
        }
        encode::status_line(&mut self.fields.bytes, Version::Http11, status, reason);
        let line_end = self.fields.bytes.len() - 2;
        self.fields.write(fields)?;
        if self.fields.bytes.len() > longest_head(limits) {
            return Err(Reason::HeadTooLong);
        }
        Ok(line_end)
    }
}

/// How every answer begins that is accepted.
const BEGIN: &[u8] = b"HTTP/1.";

/// `version SP status [SP reason]`, whatever is in the reason; the space is not missed where there is no reason (RFC 9112 §4 wants it).
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
        [b' ', reason @ ..] => Ok((version, status, reason)),
        _ => Err(Reason::StatusLine),
    }
}

#[cfg(test)]
mod tests;
