//! What does the client ask for?

use super::{Field, FieldSection, Form, Framing, Known, Limits, Progress, Reject, Version};

/// The methods a proxy treats differently. Names are case-sensitive: `get` is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the method of that name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Connect,
    Trace,
    Patch,
    Other,
}

impl Method {
    /// Which method `name` is.
    pub fn of(name: &[u8]) -> Method {
        todo!("{name:?}")
    }

    /// Whether a request may be sent twice: GET, HEAD, OPTIONS, PUT, DELETE, TRACE (RFC 9110 §9.2.2). Unknown methods
    /// are taken to be non-idempotent, unlike in nginx.
    pub fn is_idempotent(self) -> bool {
        use Method::*;
        matches!(self, Get | Head | Options | Put | Delete | Trace)
    }
}

/// The head of a request, in memory of its own that is used again for the next one.
///
/// Between a [`Progress::Complete`] and the next `parse` it is a request; before the first it is empty. The accessors
/// never panic, whatever was parsed.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    fields: FieldSection,
}

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
        todo!("{bytes:?} {limits:?}")
    }

    /// Makes a head from pieces, under the same rules as if it had been parsed: for messages that came another way.
    pub fn compose<'a>(
        &mut self,
        method: &[u8],
        target: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        limits: &Limits,
    ) -> Result<(), Reject> {
        let _ = (method, target, fields.into_iter(), limits);
        todo!()
    }

    /// Forgets the request and a parse that has begun; keeps the memory.
    pub fn clear(&mut self) {
        todo!()
    }

    /// The method as it was written.
    pub fn method(&self) -> &[u8] {
        todo!()
    }

    /// Which method it is.
    pub fn method_kind(&self) -> Method {
        todo!()
    }

    /// The request line without its CRLF, for the log.
    pub fn request_line(&self) -> &[u8] {
        todo!()
    }

    /// The target as it was written, in whatever form.
    pub fn target(&self) -> &[u8] {
        todo!()
    }

    /// The form of the target.
    pub fn form(&self) -> Form {
        todo!()
    }

    /// The target as it is sent to a backend: path and query byte for byte, without scheme and authority. `/` stands
    /// for the empty path of the absolute form; `*` (also for `OPTIONS http://host`) stays; empty for CONNECT.
    pub fn origin_form(&self) -> &[u8] {
        todo!()
    }

    /// The path of [`origin_form`](Self::origin_form), as it was written: see [`target::normalize`](super::target::normalize).
    pub fn path(&self) -> &[u8] {
        todo!()
    }

    /// What follows the first `?` of the target, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        todo!()
    }

    /// The authority of the absolute form or of CONNECT.
    pub fn authority(&self) -> Option<&[u8]> {
        todo!()
    }

    /// The host that is asked for, with its port if one was given: the target's authority, else `Host` (RFC 9112
    /// §3.2.2). `None` only in HTTP/1.0. Split it with [`split_port`](super::split_port).
    pub fn host(&self) -> Option<&[u8]> {
        todo!()
    }

    /// The version of the request line.
    pub fn version(&self) -> Version {
        todo!()
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
        todo!()
    }

    /// Whether the client wants to go on using the connection (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        todo!()
    }

    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub fn expects_continue(&self) -> bool {
        todo!()
    }

    /// The value of `Upgrade`, if `Connection` names it and the version allows it (RFC 9110 §7.8).
    pub fn upgrade(&self) -> Option<&[u8]> {
        todo!()
    }

    /// Bytes of the head on the wire, for `$request_length`.
    pub fn wire_len(&self) -> usize {
        todo!()
    }
}
