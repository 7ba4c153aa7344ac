//! What does the client ask for?

use super::connection::Options;
use super::encode::is_name;
use super::field::Span;
use super::form::{Target, forbidden};
use super::framing::Announced;
use super::host;
use super::scan::{Bounds, Extent, Scan, longest_head};
use super::word::{equal, find};
use super::{Field, FieldSection, Form, Framing, Known, Limits, Method, Progress, Reason, Reject, Version};

/// The head of a request, in memory of its own that is used again for the next one.
///
/// Between a [`Progress::Complete`] and the next `parse` it is a request; else it is empty. The accessors
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
    framing: Framing,
    wire_len: u32,
    /// The request line without its CRLF.
    len: u32,
    target: Span,
    /// Empty if there is none.
    authority: Span,
    origin_form: Span,
    /// Where the path ends, with which the origin form begins.
    path_end: u32,
    /// Empty if there is none.
    host: Span,
    method_len: u8,
    kind: Method,
    form: Form,
    version: Version,
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
        self.fields.text(Span { start: 0, end: self.line.method_len.into() })
    }

    /// Which method it is.
    pub fn method_kind(&self) -> Method {
        self.line.kind
    }

    /// The request line without its CRLF, for the log.
    pub fn request_line(&self) -> &[u8] {
        self.fields.text(Span { start: 0, end: self.line.len })
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
        self.fields.text(Span { start: self.line.origin_form.start, end: self.line.path_end })
    }

    /// What follows the first `?` of the target, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        let query = Span { start: self.line.path_end, end: self.line.origin_form.end };
        self.fields.text(query).strip_prefix(b"?")
    }

    /// The authority of the absolute form or of CONNECT.
    pub fn authority(&self) -> Option<&[u8]> {
        Some(self.fields.text(self.line.authority)).filter(|authority| !authority.is_empty())
    }

    /// The host that is asked for, with its port if one was given: the target's authority, else `Host` (RFC 9112
    /// §3.2.2). `None` only in HTTP/1.0. Split it with [`split_port`](super::split_port).
    pub fn host(&self) -> Option<&[u8]> {
        Some(self.fields.text(self.line.host)).filter(|host| !host.is_empty())
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
        if self.scan.is_new() {
            if let Some(end) = self.take(bytes, limits) {
                // Else it is the origin form, whose bytes were looked at.
                if self.line.kind == Method::Connect || !self.target().starts_with(b"/") {
                    self.read_target()?;
                }
                return self.finish().map(|()| Some(end));
            }
            self.clear();
        }
        self.search(bytes, limits)
    }

    /// The usual case: the head is there, begins at once, and nothing is wrong with its lines. `None`: it is not like
    /// that, and what is left behind is of no use.
    fn take(&mut self, bytes: &[u8], limits: &Limits) -> Option<usize> {
        let method_len = find(bytes, |word| equal(word, b' '));
        let (method, [b' ', rest @ ..]) = bytes.split_at(method_len) else { return None };
        let kind = Method::of(method);
        if kind == Method::Other && !is_method(method) {
            return None;
        }
        let path_len = find(rest, |word| forbidden(word) | equal(word, b'?'));
        let mut target_len = path_len;
        if let Some(query @ [b'?', ..]) = rest.get(path_len..) {
            target_len += find(query, forbidden);
        }
        let [b' ', version @ .., b'\r', b'\n'] = rest.get(target_len..)?.first_chunk::<11>()? else { return None };
        let version = Version::read(version).ok()?;
        if !(1..=limits.target).contains(&target_len) {
            return None;
        }
        let target = Span::at(method_len + 1, target_len);
        let len = method_len + 1 + target_len + " HTTP/1.1".len();
        let end = self.fields.take(bytes, len + 2, limits.fields, longest_head(limits))?;
        self.line = Line {
            wire_len: end as u32,
            len: len as u32,
            method_len: method_len as u8,
            kind,
            target,
            origin_form: target,
            path_end: target.start + path_len as u32,
            version,
            ..Line::default()
        };
        Some(end)
    }

    /// Looks for the end of a head that comes in pieces, or of one that will be refused.
    #[cold]
    fn search(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Reason> {
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
        self.clear();
        self.fields.bytes.extend_from_slice(&bytes[start..end]);
        self.read(first_line, None, limits)?;
        Ok(Some(end))
    }

    /// Reads the whole head that is in the buffer. `known`: its version, if that is not to be read.
    fn read(&mut self, line_end: usize, known: Option<Version>, limits: &Limits) -> Result<(), Reason> {
        let (method, target, version) = split_line(&self.fields.bytes[..line_end], known, limits)?;
        self.line = Line {
            wire_len: self.fields.bytes.len() as u32,
            len: line_end as u32,
            method_len: method.len() as u8,
            kind: Method::of(method),
            target: Span::at(method.len() + 1, target.len()),
            version,
            ..Line::default()
        };
        self.fields.index(line_end + 2, limits.fields)?;
        self.read_target()?;
        self.finish()
    }

    /// Reads what the field lines say.
    fn finish(&mut self) -> Result<(), Reason> {
        self.read_host()?;
        self.read_fields()
    }

    /// Takes the target apart, and says where its parts are.
    #[cold]
    fn read_target(&mut self) -> Result<(), Reason> {
        let span = self.line.target;
        let Target { form, authority, rest } = Target::read(self.line.kind, self.fields.text(span))?;
        let rest = Span { start: span.end - rest.len() as u32, end: span.end };
        if let Some(authority) = authority {
            self.line.authority = Span { start: rest.start - authority.len() as u32, end: rest.start };
        }
        self.line.form = form;
        self.line.origin_form = rest;
        if form == Form::Absolute && !self.fields.text(rest).starts_with(b"/") {
            self.write_missing_path(rest);
        }
        let text = self.fields.text(self.line.origin_form);
        let path = memchr::memchr(b'?', text).unwrap_or(text.len());
        self.line.path_end = self.line.origin_form.start + path as u32;
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
        match self.fields.span(Known::Host) {
            _ if self.fields.has_many(Known::Host) => return Err(Reason::ManyHosts),
            None if self.line.version >= Version::Http11 => return Err(Reason::NoHost),
            Some(host) if !host::is_authority(self.fields.text(host)) => return Err(Reason::Host),
            _ if !self.line.authority.is_empty() => self.line.host = self.line.authority,
            host => self.line.host = host.unwrap_or_default(),
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

fn is_method(method: &[u8]) -> bool {
    method.len() <= Method::LONGEST && is_name(method)
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
    if !is_method(method) {
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
