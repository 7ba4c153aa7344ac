//! Why is a message refused, and with which status?

use std::fmt;

/// A head that is refused. After it the connection is of no use: where the next message begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// What the client is answered: 400, 414, 431, 501 or 505; 502 when it was the head of an answer.
    pub status: u16,
    /// What was wrong, for the log.
    pub reason: Reason,
}

/// What was wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A line ended in LF without CR, or a CR stood alone.
    LineEnding,
    /// More empty lines before the request than are forgiven.
    EmptyLines,
    /// The first line is not `method SP target SP version`.
    RequestLine,
    /// The method is not a token, or absurdly long.
    Method,
    /// The target is of a form its method does not allow, or not a valid one.
    Target,
    /// The target has a byte that is not visible ASCII, or a fragment.
    TargetByte,
    /// The target is longer than its limit.
    TargetTooLong,
    /// The version is not written as `HTTP/d.d`.
    Version,
    /// A major version other than 1.
    VersionUnsupported,
    /// The first line of an answer is not a status line of HTTP/1 (there is no HTTP/0.9 here).
    StatusLine,
    /// A field line without a colon, with a bad name, or with white space before the colon.
    FieldName,
    /// A field line that continues the one before it (RFC 9112 §5.2).
    ObsFold,
    /// A control character in a field value.
    FieldValue,
    /// More field lines than the limit.
    TooManyFields,
    /// A head longer than the limit.
    HeadTooLong,
    /// An HTTP/1.1 request without `Host`.
    NoHost,
    /// More than one `Host`.
    ManyHosts,
    /// A `Host`, or an authority in the target, that is none.
    Host,
    /// `Content-Length` is not a plain number that fits.
    ContentLength,
    /// More than one `Content-Length`, equal or not.
    ManyContentLengths,
    /// `Content-Length` and `Transfer-Encoding` together.
    LengthAndEncoding,
    /// More than one `Transfer-Encoding`.
    ManyTransferEncodings,
    /// A `Transfer-Encoding` other than exactly `chunked`.
    TransferEncoding,
    /// `Transfer-Encoding` in a message of HTTP/1.0 (RFC 9112 §6.1).
    TransferEncodingIn10,
    /// More connection options than any honest sender has.
    TooManyConnectionOptions,
}

impl Reason {
    /// The status for a client whose request is refused for this reason.
    pub fn status(self) -> u16 {
        match self {
            Reason::TargetTooLong => 414,
            Reason::TooManyFields | Reason::HeadTooLong => 431,
            Reason::TransferEncoding => 501,
            Reason::VersionUnsupported => 505,
            _ => 400,
        }
    }

    /// The sentence for the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::LineEnding => "a line does not end in CRLF",
            Reason::EmptyLines => "too many empty lines before the request",
            Reason::RequestLine => "malformed request line",
            Reason::Method => "malformed method",
            Reason::Target => "malformed request target",
            Reason::TargetByte => "forbidden byte in the request target",
            Reason::TargetTooLong => "request target too long",
            Reason::Version => "malformed HTTP version",
            Reason::VersionUnsupported => "unsupported HTTP version",
            Reason::StatusLine => "not an HTTP/1 status line",
            Reason::FieldName => "malformed field name",
            Reason::ObsFold => "folded field line",
            Reason::FieldValue => "control character in a field value",
            Reason::TooManyFields => "too many field lines",
            Reason::HeadTooLong => "head too long",
            Reason::NoHost => "no Host",
            Reason::ManyHosts => "more than one Host",
            Reason::Host => "malformed host",
            Reason::ContentLength => "malformed Content-Length",
            Reason::ManyContentLengths => "more than one Content-Length",
            Reason::LengthAndEncoding => "both Content-Length and Transfer-Encoding",
            Reason::ManyTransferEncodings => "more than one Transfer-Encoding",
            Reason::TransferEncoding => "unsupported Transfer-Encoding",
            Reason::TransferEncodingIn10 => "Transfer-Encoding in an HTTP/1.0 message",
            Reason::TooManyConnectionOptions => "too many connection options",
        }
    }

    pub(super) fn of_request(self) -> Reject {
        Reject { status: self.status(), reason: self }
    }

    pub(super) fn of_response(self) -> Reject {
        Reject { status: 502, reason: self }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Reject {}
