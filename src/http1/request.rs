//! What does the client ask for?

use super::connection::Options;
use super::encode::is_name;
use super::field::Span;
use super::framing::Announced;
use super::scan::{Bounds, Extent, Scan, longest_head};
use super::{Field, FieldSection, Form, Framing, Known, Limits, Method, Progress, Reason, Reject, Version};
use super::{form::Target, host};

/// The head of a request, in memory of its own that is used again for the next one.
///
/// Between a [`Progress::Complete`] and the next `parse` it is a request; before the first it is empty. The accessors
/// never panic, whatever was parsed.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    scan: Scan,
    fields: FieldSection,
    line: Line,
}

/// Where things are, and what was made of them.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    wire_len: u32,
    request_line: Span,
    method: Span,
    kind: Method,
    target: Span,
    form: Form,
    authority: Option<Span>,
    origin_form: Span,
    path: Span,
    host: Option<Span>,
    version: Version,
    framing: Framing,
    keep_alive: bool,
    upgrade: bool,
    expects_continue: bool,
}

/// Empty lines that are skipped before a request: some clients send one behind a body.
const EMPTY_LINES: usize = 4;

/// What is in a request line beside the target: the method, two spaces and the version.
const BESIDE_TARGET: usize = Method::LONGEST + 2 + "HTTP/1.1".len();

impl RequestHead {
    /// An empty head, to be parsed into.
    pub fn new() -> RequestHead {
        RequestHead::default()
    }

    /// Reads a head from the beginning of `bytes`. After [`Progress::Partial`] call again with the same bytes and more
    /// behind them (the search for the end goes on where it stopped); after anything else, and after [`clear`], it
    /// starts anew. Up to four empty lines before the request are skipped (RFC 9112 §2.2).
    ///
    /// A CONNECT is accepted here if it is well-formed; that a reverse proxy does not tunnel is the caller's 405.
    ///
    /// [`clear`]: RequestHead::clear
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Reject> {
        match self.advance(bytes, limits) {
            Ok(None) => Ok(Progress::Partial),
            Ok(Some(consumed)) => Ok(Progress::Complete { consumed }),
            Err(reason) => {
                self.clear();
                Err(reason.of_request())
            }
        }
    }

    /// Makes a head from pieces, under the same rules as if it had been parsed: for messages that came another way.
    pub fn compose<'a>(
        &mut self,
        method: &[u8],
        target: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        limits: &Limits,
    ) -> Result<(), Reject> {
        self.compose_as(Version::Http11, method, target, fields, limits)
    }

    /// Makes the head of a request that came by HTTP/2, whose framing is not among its fields. `open`: a body follows,
    /// or trailers; without a `Content-Length` it goes on in chunks.
    pub fn compose_http2<'a>(
        &mut self,
        method: &[u8],
        target: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        open: bool,
        limits: &Limits,
    ) -> Result<(), Reject> {
        self.compose_as(Version::Http2, method, target, fields, limits)?;
        match (open, self.line.framing) {
            (true, Framing::None) => self.line.framing = Framing::Chunked,
            (false, _) => self.line.framing = Framing::None,
            (true, _) => {}
        }
        Ok(())
    }

    fn compose_as<'a>(
        &mut self,
        version: Version,
        method: &[u8],
        target: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        limits: &Limits,
    ) -> Result<(), Reject> {
        self.clear();
        let composed = self
            .write(version, method, target, fields, limits)
            .and_then(|line_end| self.read(line_end, Some(version), limits));
        composed.map_err(|reason| {
            self.clear();
            reason.of_request()
        })
    }

    /// Forgets the request and a parse that has begun; keeps the memory.
    pub fn clear(&mut self) {
        self.scan = Scan::default();
        self.fields.clear();
        self.line = Line::default();
    }

    /// The method as it was written.
    pub fn method(&self) -> &[u8] {
        self.fields.text(self.line.method)
    }

    /// Which method it is.
    pub fn method_kind(&self) -> Method {
        self.line.kind
    }

    /// The request line without its CRLF, for the log.
    pub fn request_line(&self) -> &[u8] {
        self.fields.text(self.line.request_line)
    }

    /// The target as it was written, in whatever form.
    pub fn target(&self) -> &[u8] {
        self.fields.text(self.line.target)
    }

    /// The form of the target.
    pub fn form(&self) -> Form {
        self.line.form
    }

    /// The target as it is sent to a backend: path and query byte for byte, without scheme and authority. `/` stands
    /// for the empty path of the absolute form; `*` (also for `OPTIONS http://host`) stays; empty for CONNECT.
    pub fn origin_form(&self) -> &[u8] {
        self.fields.text(self.line.origin_form)
    }

    /// The path of [`origin_form`](Self::origin_form), as it was written: see [`target::normalize`](super::target::normalize).
    pub fn path(&self) -> &[u8] {
        self.fields.text(self.line.path)
    }

    /// What follows the first `?` of the target, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        let query = Span { start: self.line.path.end, end: self.line.origin_form.end };
        self.fields.text(query).strip_prefix(b"?")
    }

    /// The authority of the absolute form or of CONNECT.
    pub fn authority(&self) -> Option<&[u8]> {
        self.line.authority.map(|span| self.fields.text(span))
    }

    /// The host that is asked for, with its port if one was given: the target's authority, else `Host` (RFC 9112
    /// §3.2.2). `None` only in HTTP/1.0. Split it with [`split_port`](super::split_port).
    pub fn host(&self) -> Option<&[u8]> {
        self.line.host.map(|span| self.fields.text(span))
    }

    /// The version of the request line.
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

    /// The value of the first field of this kind.
    pub fn field(&self, known: Known) -> Option<&[u8]> {
        self.fields.get(known)
    }

    /// The values of all fields of this name, whatever its case.
    pub fn fields_named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.fields.named(name)
    }

    /// How the body ends; never [`Framing::UntilClose`].
    pub fn framing(&self) -> Framing {
        self.line.framing
    }

    /// Whether the client wants to go on using the connection (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        self.line.keep_alive
    }

    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.line.expects_continue
    }

    /// The value of `Upgrade`, if `Connection` names it and the version allows it (RFC 9110 §7.8).
    pub fn upgrade(&self) -> Option<&[u8]> {
        if self.line.upgrade { self.fields.get(Known::Upgrade) } else { None }
    }

    /// Bytes of the head on the wire, for `$request_length`.
    pub fn wire_len(&self) -> usize {
        self.line.wire_len as usize
    }

    fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Reason> {
        let bounds = Bounds {
            empty_lines: EMPTY_LINES,
            first_line: limits.target.saturating_add(BESIDE_TARGET),
            head: longest_head(limits),
        };
        let Some(Extent { start, first_line, end }) = self.scan.advance(bytes, &bounds)? else {
            // Not even the beginning of a method (a TLS hello, say): there is no use in waiting for a line.
            return match self.scan.begun(bytes).first() {
                Some(first) if !is_name(&[*first]) => Err(Reason::Method),
                _ => Ok(None),
            };
        };
        self.scan = Scan::default();
        self.fields.clear();
        self.fields.bytes.extend_from_slice(&bytes[start..end]);
        self.read(first_line, None, limits)?;
        Ok(Some(end))
    }

    /// Reads the whole head that is in the buffer. `known`: its version, if that is not to be read.
    fn read(&mut self, line_end: usize, known: Option<Version>, limits: &Limits) -> Result<(), Reason> {
        let wire_len = self.fields.bytes.len();
        let (method, target, version) = split_line(&self.fields.bytes[..line_end], known, limits)?;
        let kind = Method::of(method);
        let (method, target) = (Span::at(0, method.len()), Span::at(method.len() + 1, target.len()));
        self.line = Line { wire_len: wire_len as u32, request_line: Span::at(0, line_end), ..Line::default() };
        self.line = Line { method, kind, target, version, ..self.line };
        self.fields.index(line_end + 2, limits.fields)?;
        self.read_target()?;
        self.read_host()?;
        self.read_fields()
    }

    fn read_target(&mut self) -> Result<(), Reason> {
        let span = self.line.target;
        let Target { form, authority, rest } = Target::read(self.line.kind, self.fields.text(span))?;
        let rest = Span { start: span.end - rest.len() as u32, end: span.end };
        self.line.form = form;
        self.line.authority =
            authority.map(|authority| Span::at(rest.start as usize - authority.len(), authority.len()));
        self.line.origin_form = rest;
        let text = self.fields.text(rest);
        if form == Form::Absolute && !text.starts_with(b"/") {
            self.write_missing_path(rest);
        }
        let origin_form = self.line.origin_form;
        let text = self.fields.text(origin_form);
        let path = memchr::memchr(b'?', text).unwrap_or(text.len());
        self.line.path = Span::at(origin_form.start as usize, path);
        Ok(())
    }

    /// Writes the origin form of `http://host?query` behind the head: there is no place where it stands as a whole.
    fn write_missing_path(&mut self, query: Span) {
        let start = self.fields.bytes.len();
        let asterisk = self.line.kind == Method::Options && query.start == query.end;
        self.fields.bytes.push(if asterisk { b'*' } else { b'/' });
        self.fields.bytes.extend_from_within(query.start as usize..query.end as usize);
        self.line.origin_form = Span::at(start, self.fields.bytes.len() - start);
    }

    /// One valid `Host`, which only HTTP/1.0 may lack (RFC 9112 §3.2).
    fn read_host(&mut self) -> Result<(), Reason> {
        let mut hosts = (0..self.fields.len()).filter_map(|i| self.fields.span_if(i, Known::Host));
        let (host, more) = (hosts.next(), hosts.next().is_some());
        match host {
            _ if more => return Err(Reason::ManyHosts),
            None if self.line.version >= Version::Http11 => return Err(Reason::NoHost),
            Some(host) if !host::is_authority(self.fields.text(host)) => return Err(Reason::Host),
            _ => self.line.host = self.line.authority.or(host),
        }
        Ok(())
    }

    fn read_fields(&mut self) -> Result<(), Reason> {
        let version = self.line.version;
        let Announced { length, chunked } = Announced::read(&self.fields, version)?;
        self.line.framing = match length {
            _ if chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::None,
        };
        let options = Options::read(&mut self.fields)?;
        self.line.keep_alive = options.persistent(version);
        self.line.upgrade = options.upgrade && version >= Version::Http11;
        let expects = self.fields.get(Known::Expect).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
        self.line.expects_continue = expects && version >= Version::Http11;
        Ok(())
    }

    /// Writes the pieces into the buffer as they would have come. What could end a piece early is refused here,
    /// everything else when it is read.
    fn write<'a>(
        &mut self,
        version: Version,
        method: &[u8],
        target: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        limits: &Limits,
    ) -> Result<usize, Reason> {
        if !is_name(method) {
            return Err(Reason::Method);
        }
        if !target.iter().all(u8::is_ascii_graphic) {
            return Err(Reason::TargetByte);
        }
        super::encode::request_line(&mut self.fields.bytes, method, target);
        if version == Version::Http2 {
            self.fields.bytes.truncate(self.fields.bytes.len() - "HTTP/1.1\r\n".len());
            self.fields.bytes.extend_from_slice(b"HTTP/2.0\r\n");
        }
        let line_end = self.fields.bytes.len() - 2;
        self.fields.write(fields)?;
        if self.fields.bytes.len() > longest_head(limits) {
            return Err(Reason::HeadTooLong);
        }
        Ok(line_end)
    }
}

/// `method SP target SP version`, each space exactly one.
fn split_line<'a>(
    line: &'a [u8],
    known: Option<Version>,
    limits: &Limits,
) -> Result<(&'a [u8], &'a [u8], Version), Reason> {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let (Some(method), Some(target), Some(version)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Reason::RequestLine);
    };
    if !is_name(method) || method.len() > Method::LONGEST {
        return Err(Reason::Method);
    }
    let version = match known {
        Some(version) => version,
        None => Version::read(version)?,
    };
    match target.len() {
        0 => Err(Reason::RequestLine),
        len if len > limits.target => Err(Reason::TargetTooLong),
        _ => Ok((method, target, version)),
    }
}

#[cfg(test)]
mod tests;
