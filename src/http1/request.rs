//! What does the client ask for?

use super::connection::Options;
use super::encode::is_name;
use super::field::Span;
use super::framing::Announced;
use super::scan::{Bounds, Extent, Scan};
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
        self.clear();
        let composed = self.write(method, target, fields).and_then(|line_end| self.read(line_end, limits));
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
            head: limits.head.min(u32::MAX as usize / 2),
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
        self.read(first_line, limits)?;
        Ok(Some(end))
    }

    /// Reads the whole head that is in the buffer.
    fn read(&mut self, line_end: usize, limits: &Limits) -> Result<(), Reason> {
        let wire_len = self.fields.bytes.len();
        let (method, target, version) = split_line(&self.fields.bytes[..line_end], limits)?;
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
        method: &[u8],
        target: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<usize, Reason> {
        if !is_name(method) {
            return Err(Reason::Method);
        }
        if !target.iter().all(u8::is_ascii_graphic) {
            return Err(Reason::TargetByte);
        }
        super::encode::request_line(&mut self.fields.bytes, method, target);
        let line_end = self.fields.bytes.len() - 2;
        self.fields.write(fields)?;
        Ok(line_end)
    }
}

/// `method SP target SP version`, each space exactly one.
fn split_line<'a>(line: &'a [u8], limits: &Limits) -> Result<(&'a [u8], &'a [u8], Version), Reason> {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let (Some(method), Some(target), Some(version)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Reason::RequestLine);
    };
    if !is_name(method) || method.len() > Method::LONGEST {
        return Err(Reason::Method);
    }
    let version = Version::read(version)?;
    match target.len() {
        0 => Err(Reason::RequestLine),
        len if len > limits.target => Err(Reason::TargetTooLong),
        _ => Ok((method, target, version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head, parsed at once and again with every way to cut it in two.
    fn parse(text: &str) -> Result<RequestHead, (u16, Reason)> {
        let limits = Limits::default();
        let mut head = RequestHead::new();
        let complete = match head.parse(text.as_bytes(), &limits) {
            Ok(complete) => complete,
            Err(Reject { status, reason }) => {
                assert_eq!((head.method(), head.fields().len()), (&b""[..], 0), "nothing is left of what was refused");
                return Err((status, reason));
            }
        };
        let Progress::Complete { consumed } = complete else { panic!("{text:?} does not end") };
        let mut other = RequestHead::new();
        for cut in 0..consumed {
            assert_eq!(other.parse(&text.as_bytes()[..cut], &limits), Ok(Progress::Partial), "{text:?} cut at {cut}");
            assert_eq!(other.parse(text.as_bytes(), &limits), Ok(complete), "{text:?} cut at {cut}");
            assert_eq!(other.request_line(), head.request_line());
            assert_eq!((other.host(), other.origin_form()), (head.host(), head.origin_form()));
            assert_eq!((other.framing(), other.keep_alive()), (head.framing(), head.keep_alive()));
            assert!(other.fields().eq(head.fields()));
        }
        Ok(head)
    }

    fn refused(text: &str) -> (u16, Reason) {
        match parse(text) {
            Ok(_) => panic!("{text:?} was accepted"),
            Err(refused) => refused,
        }
    }

    /// A request with a `Host` and these lines.
    fn with(lines: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
    }

    #[test]
    fn an_ordinary_request() {
        let text = "GET /a%2Fb/../c?d=e?f HTTP/1.1\r\nHost: example.com:8080\r\nAccept: */*\r\nCookie: a=b\r\n\r\n";
        let head = parse(text).unwrap();
        assert_eq!((head.method(), head.method_kind()), (&b"GET"[..], Method::Get));
        assert_eq!(head.request_line(), b"GET /a%2Fb/../c?d=e?f HTTP/1.1");
        assert_eq!((head.target(), head.form()), (&b"/a%2Fb/../c?d=e?f"[..], Form::Origin));
        assert_eq!(head.origin_form(), head.target());
        assert_eq!((head.path(), head.query()), (&b"/a%2Fb/../c"[..], Some(&b"d=e?f"[..])));
        assert_eq!((head.host(), head.authority()), (Some(&b"example.com:8080"[..]), None));
        assert_eq!(head.version(), Version::Http11);
        assert_eq!(head.framing(), Framing::None);
        assert!(head.keep_alive() && !head.expects_continue() && head.upgrade().is_none());
        assert_eq!(head.field(Known::Cookie), Some(&b"a=b"[..]));
        assert!(head.fields_named(b"ACCEPT").eq([b"*/*"]));
        assert_eq!(head.wire_len(), text.len());
    }

    #[test]
    fn what_follows_a_head_is_not_touched() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\n\r\n\n\0";
        let consumed = RequestHead::new().parse(text, &Limits::default());
        assert_eq!(consumed, Ok(Progress::Complete { consumed: 27 }));
    }

    #[test]
    fn a_few_empty_lines_before_a_request_are_skipped() {
        let head = parse("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!((head.request_line(), head.wire_len()), (&b"GET / HTTP/1.1"[..], 27));
        assert_eq!(refused("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), (400, Reason::EmptyLines));
        assert_eq!(refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), (400, Reason::LineEnding));
    }

    #[test]
    fn a_head_is_used_again_and_forgets_what_was() {
        let mut head = RequestHead::new();
        let first = with("Content-Length: 3\r\nConnection: close, x\r\nX: 1\r\nExpect: 100-continue\r\n");
        head.parse(first.as_bytes(), &Limits::default()).unwrap();
        assert_eq!((head.framing(), head.keep_alive(), head.expects_continue()), (Framing::Length(3), false, true));
        let second = "GET http://b HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n";
        head.parse(second.as_bytes(), &Limits::default()).unwrap();
        assert_eq!((head.framing(), head.keep_alive(), head.expects_continue()), (Framing::None, true, false));
        assert!(head.fields().all(|field| !field.is_hop_by_hop()));
        head.clear();
        assert_eq!((head.method(), head.path(), head.query(), head.host()), (&b""[..], &b""[..], None, None));
    }

    #[test]
    fn the_target_s_authority_beats_host() {
        let cases: &[(&str, &str, &str, &str, Option<&str>)] = &[
            ("GET http://b:81/c?d", "b:81", "/c?d", "/c", Some("d")),
            ("GET HTTP://b", "b", "/", "/", None),
            ("GET http://b?c=/d", "b", "/?c=/d", "/", Some("c=/d")),
            ("GET https://b/?", "b", "/?", "/", Some("")),
            ("OPTIONS http://b", "b", "*", "*", None),
            ("OPTIONS http://b/", "b", "/", "/", None),
            ("CONNECT b:443", "b:443", "", "", None),
            ("OPTIONS *", "a", "*", "*", None),
        ];
        for (line, host, origin_form, path, query) in cases {
            let head = parse(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            assert_eq!(head.host(), Some(host.as_bytes()), "{line}");
            assert_eq!(head.origin_form(), origin_form.as_bytes(), "{line}");
            assert_eq!((head.path(), head.query()), (path.as_bytes(), query.map(str::as_bytes)), "{line}");
        }
    }

    #[test]
    fn request_lines_that_are_none() {
        use Reason::*;
        let cases = [
            ("GET /", 400, RequestLine),
            ("GET", 400, RequestLine),
            ("GET  / HTTP/1.1", 400, Version),
            ("GET /  HTTP/1.1", 400, Version),
            ("GET / HTTP/1.1 ", 400, Version),
            ("GET\t/ HTTP/1.1", 400, RequestLine),
            ("GET / a HTTP/1.1", 400, Version),
            (" GET / HTTP/1.1", 400, Method),
            ("G\u{e9}T / HTTP/1.1", 400, Method),
            ("G(T / HTTP/1.1", 400, Method),
            ("GET: / HTTP/1.1", 400, Method),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH / HTTP/1.1", 400, Method),
            ("GET  HTTP/1.1", 400, RequestLine),
            ("GET / HTTP/1", 400, Version),
            ("GET / http/1.1", 400, Version),
            ("GET / HTTP/1.", 400, Version),
            ("GET / HTTP/1.1x", 400, Version),
            ("GET / HTTP/1.10", 400, Version),
            ("GET / HTTP/11", 400, Version),
            ("GET / HTTP/+1.1", 400, Version),
            ("GET / HTTPS/1.1", 400, Version),
            ("GET / ICAP/1.0", 400, Version),
            ("GET / HTTP/2.0", 505, VersionUnsupported),
            ("GET / HTTP/3.0", 505, VersionUnsupported),
            ("GET / HTTP/0.9", 505, VersionUnsupported),
            ("PRI * HTTP/2.0", 505, VersionUnsupported),
            ("GET * HTTP/1.1", 400, Target),
            ("GET a HTTP/1.1", 400, Target),
            ("GET a:80 HTTP/1.1", 400, Target),
            ("CONNECT / HTTP/1.1", 400, Target),
            ("GET http://u@b/ HTTP/1.1", 400, Target),
            ("GET /a#b HTTP/1.1", 400, TargetByte),
            ("GET /\u{e9} HTTP/1.1", 400, TargetByte),
            ("GET /\0 HTTP/1.1", 400, TargetByte),
            ("GET /\x7f HTTP/1.1", 400, TargetByte),
            ("GET /a\rb HTTP/1.1", 400, TargetByte),
        ];
        for (line, status, reason) in cases {
            assert_eq!(refused(&format!("{line}\r\nHost: a\r\n\r\n")), (status, reason), "{line:?}");
        }
    }

    #[test]
    fn what_cannot_become_a_request_is_refused_at_once() {
        let reason = |bytes: &[u8]| RequestHead::new().parse(bytes, &Limits::default()).map_err(|reject| reject.reason);
        assert_eq!(reason(b"\x16\x03\x01"), Err(Reason::Method));
        assert_eq!(reason(b"\r\n\0"), Err(Reason::Method));
        assert_eq!(reason(b" "), Err(Reason::Method));
        assert_eq!(reason(b"\r"), Ok(Progress::Partial));
        assert_eq!(reason(b"\r\n\r"), Ok(Progress::Partial));
    }

    #[test]
    fn minor_versions_above_1_are_1_1() {
        for minor in 1..=9 {
            let head = parse(&format!("GET / HTTP/1.{minor}\r\nHost: a\r\n\r\n")).unwrap();
            assert_eq!(head.version(), Version::Http11);
        }
    }

    #[test]
    fn one_valid_host_which_only_1_0_may_lack() {
        use Reason::*;
        let cases = [
            ("1.1", "", Err(NoHost)),
            ("1.2", "", Err(NoHost)),
            ("1.0", "", Ok(None)),
            ("1.0", "Host: a\r\n", Ok(Some("a"))),
            ("1.1", "hOST: a\r\n", Ok(Some("a"))),
            ("1.1", "Host: a\r\nHost: a\r\n", Err(ManyHosts)),
            ("1.1", "Host: a\r\nX: y\r\nhost: b\r\n", Err(ManyHosts)),
            ("1.0", "Host: a\r\nHost: b\r\n", Err(ManyHosts)),
            ("1.1", "Host:\r\n", Err(Host)),
            ("1.0", "Host: \r\n", Err(Host)),
            ("1.1", "Host: a b\r\n", Err(Host)),
            ("1.1", "Host: a, b\r\n", Err(Host)),
            ("1.1", "Host: a/b\r\n", Err(Host)),
            ("1.1", "Host: u@a\r\n", Err(Host)),
            ("1.1", "Host: http://a\r\n", Err(Host)),
            ("1.1", "Host: a:b\r\n", Err(Host)),
            ("1.1", "Host: [::1\r\n", Err(Host)),
            ("1.1", "Host: [::1]:80\r\n", Ok(Some("[::1]:80"))),
            ("1.1", "Host : a\r\n", Err(FieldName)),
            ("1.1", " Host: a\r\n", Err(ObsFold)),
        ];
        for (version, lines, expected) in cases {
            let parsed = parse(&format!("GET / HTTP/{version}\r\n{lines}\r\n"));
            let host = parsed.as_ref().map(|head| head.host().map(|host| std::str::from_utf8(host).unwrap()));
            assert_eq!(
                host.map_err(|(status, reason)| (*status, *reason)),
                expected.map_err(|reason| (400, reason)),
                "{lines:?}"
            );
        }
        assert_eq!(refused("GET http://b/ HTTP/1.1\r\n\r\n"), (400, NoHost));
        assert_eq!(refused("GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n"), (400, Host));
    }

    #[test]
    fn smuggling_by_length_or_encoding() {
        use Reason::*;
        let cases: &[(&str, u16, Reason)] = &[
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400, LengthAndEncoding),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400, LengthAndEncoding),
            ("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n", 400, LengthAndEncoding),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", 400, ManyContentLengths),
            ("Content-Length: 5\r\ncontent-length: 6\r\n", 400, ManyContentLengths),
            ("Content-Length: 5, 5\r\n", 400, ContentLength),
            ("Content-Length: +5\r\n", 400, ContentLength),
            ("Content-Length: -5\r\n", 400, ContentLength),
            ("Content-Length: 0x5\r\n", 400, ContentLength),
            ("Content-Length: 5 5\r\n", 400, ContentLength),
            ("Content-Length: \r\n", 400, ContentLength),
            ("Content-Length: 18446744073709551621\r\n", 400, ContentLength),
            ("Transfer-Encoding: xchunked\r\n", 501, TransferEncoding),
            ("Transfer-Encoding: chunked, identity\r\n", 501, TransferEncoding),
            ("Transfer-Encoding: identity\r\n", 501, TransferEncoding),
            ("Transfer-Encoding: gzip\r\n", 501, TransferEncoding),
            ("Transfer-Encoding: \r\n", 501, TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", 400, ManyTransferEncodings),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400, ManyTransferEncodings),
            ("Transfer-Encoding : chunked\r\n", 400, FieldName),
            ("Transfer-Encoding\t: chunked\r\n", 400, FieldName),
            ("Transfer-Encoding\0: chunked\r\n", 400, FieldName),
            ("Transfer-Encoding: \x0bchunked\r\n", 400, FieldValue),
            ("Transfer-Encoding: chun\0ked\r\n", 400, FieldValue),
            ("Transfer-Encoding:\r\n chunked\r\n", 400, ObsFold),
            ("X: y\r\n Transfer-Encoding: chunked\r\n", 400, ObsFold),
            ("X: y\rTransfer-Encoding: chunked\r\n", 400, FieldValue),
            ("X: y\nTransfer-Encoding: chunked\r\n", 400, LineEnding),
            ("X: y\n\r\nGET /evil HTTP/1.1\r\n", 400, LineEnding),
            ("X: y\r\n\nGET /evil HTTP/1.1\r\n", 400, LineEnding),
            ("\u{feff}Content-Length: 5\r\n", 400, FieldName),
            ("Content-Length\r\n", 400, FieldName),
            (": 5\r\n", 400, FieldName),
        ];
        for (lines, status, reason) in cases {
            assert_eq!(refused(&with(lines)), (*status, *reason), "{lines:?}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused(old), (400, TransferEncodingIn10));
    }

    #[test]
    fn a_disguised_length_is_only_an_unusual_field() {
        let head = parse(&with("Content_Length: 5\r\nX-Transfer-Encoding: chunked\r\nTransfer.Encoding: chunked\r\n"));
        let head = head.unwrap();
        assert_eq!(head.framing(), Framing::None);
        assert!(head.fields().map(|field| field.is_unusual()).eq([false, true, false, true]));
    }

    #[test]
    fn framing_of_requests() {
        assert_eq!(parse(&with("Content-Length: 0\r\n")).unwrap().framing(), Framing::Length(0));
        assert_eq!(parse(&with("Content-Length: 42\r\n")).unwrap().framing(), Framing::Length(42));
        assert_eq!(parse(&with("Transfer-Encoding: Chunked\r\n")).unwrap().framing(), Framing::Chunked);
        assert_eq!(parse(&with("")).unwrap().framing(), Framing::None);
    }

    #[test]
    fn expectations_and_upgrades_need_1_1() {
        let expects = |text: &str| parse(text).unwrap().expects_continue();
        assert!(expects(&with("Expect: 100-Continue\r\n")));
        assert!(!expects(&with("Expect: 200-ok\r\n")));
        assert!(!expects("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"));
        let lines = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n";
        assert_eq!(parse(&with(lines)).unwrap().upgrade(), Some(&b"websocket"[..]));
        assert_eq!(parse(&with("Upgrade: websocket\r\n")).unwrap().upgrade(), None);
        assert_eq!(parse(&format!("GET / HTTP/1.0\r\n{lines}\r\n")).unwrap().upgrade(), None);
    }

    #[test]
    fn limits() {
        let limits = Limits { head: 100, target: 10, fields: 2 };
        let parse = |text: &str| RequestHead::new().parse(text.as_bytes(), &limits).map_err(|reject| reject.status);
        let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n", "x".repeat(len - 1));
        assert_eq!(parse(&format!("{}\r\n", line(10))), Ok(Progress::Complete { consumed: 36 }));
        assert_eq!(parse(&format!("{}\r\n", line(11))), Err(414));
        assert_eq!(parse(&format!("{}\r\n", line(90))), Err(414));
        assert_eq!(parse(&"x".repeat(60)), Err(414));
        assert_eq!(parse(&format!("{}a: b\r\n\r\n", line(10))), Ok(Progress::Complete { consumed: 42 }));
        assert_eq!(parse(&format!("{}a: b\r\nc: d\r\n\r\n", line(10))), Err(431));
        assert_eq!(parse(&format!("{}a: {}\r\n\r\n", line(10), "x".repeat(80))), Err(431));
        assert_eq!(parse(&format!("{}a: {}", line(10), "x".repeat(80))), Err(431));
    }

    #[test]
    fn a_name_longer_than_the_index_can_hold_is_refused() {
        let limits = Limits { head: 1 << 20, ..Limits::default() };
        let text = with(&format!("{}: a\r\n", "x".repeat(1 << 16)));
        let reject = RequestHead::new().parse(text.as_bytes(), &limits);
        assert_eq!(reject, Err(Reject { status: 400, reason: Reason::FieldName }));
    }

    #[test]
    fn a_composed_head_is_read_as_if_it_had_come() {
        let mut head = RequestHead::new();
        let fields: [(&[u8], &[u8]); 2] = [(b"host", b"a"), (b"content-length", b"3")];
        head.compose(b"PUT", b"/b?c", fields, &Limits::default()).unwrap();
        assert_eq!((head.method_kind(), head.path(), head.query()), (Method::Put, &b"/b"[..], Some(&b"c"[..])));
        assert_eq!((head.host(), head.framing()), (Some(&b"a"[..]), Framing::Length(3)));
    }

    #[test]
    fn pieces_cannot_smuggle_lines_into_a_composed_head() {
        use Reason::*;
        let cases = [
            ("GET / HTTP/1.1\r\nX: y\r\n", "/", ("a", "b"), Method),
            ("GET /", "/", ("a", "b"), Method),
            ("", "/", ("a", "b"), Method),
            ("GET", "/ HTTP/1.1\r\nX: y", ("a", "b"), TargetByte),
            ("GET", "", ("a", "b"), RequestLine),
            ("GET", "/", ("a: b\r\nc", "d"), FieldName),
            ("GET", "/", ("", "d"), FieldName),
            ("GET", "/", ("a", "b\r\nc: d"), FieldValue),
            ("GET", "/", ("a", "b\nc: d"), FieldValue),
            ("GET", "/", ("transfer-encoding", "gzip"), TransferEncoding),
            ("GET", "/", ("host", "b"), ManyHosts),
        ];
        for (method, target, (name, value), reason) in cases {
            let mut head = RequestHead::new();
            let fields = [(&b"host"[..], &b"a"[..]), (name.as_bytes(), value.as_bytes())];
            let composed = head.compose(method.as_bytes(), target.as_bytes(), fields, &Limits::default());
            assert_eq!(
                composed.map_err(|reject| reject.reason),
                Err(reason),
                "{method:?} {target:?} {name:?} {value:?}"
            );
            assert!(head.method().is_empty());
        }
    }
}
