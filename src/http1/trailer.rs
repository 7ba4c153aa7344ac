//! What may come after the last chunk?

use super::{BodyError, FieldSection, Known, Reason};

/// The trailer section, gathered until the empty line that ends it.
#[derive(Clone, Debug, Default)]
pub(super) struct Trailers {
    fields: FieldSection,
    /// Where the line begins that is not yet complete.
    line: usize,
}

/// Bytes of all trailers, names, values and line ends.
const LONGEST: usize = 8 * 1024;

/// Lines of trailers.
const MOST: usize = 64;

impl Trailers {
    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.line = 0;
    }

    pub(super) fn fields(&self) -> &FieldSection {
        &self.fields
    }

    /// Makes the section from pieces. Too many of them, or a malformed one, and there are none.
    pub(super) fn compose<'a>(&mut self, fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) {
        self.clear();
        let written = self.fields.write(fields);
        self.line = self.fields.bytes.len() - written.map_or(0, |()| 2);
        if written.is_err() || self.line > LONGEST || self.finish().is_err() {
            self.clear();
        }
    }

    /// Takes what belongs to the section: how much that was, and whether it is complete.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<(usize, bool), BodyError> {
        let mut consumed = 0;
        while consumed < input.len() {
            let rest = &input[consumed..];
            let lf = memchr::memchr(b'\n', rest);
            let line = &rest[..lf.map_or(rest.len(), |lf| lf + 1)];
            if self.fields.bytes.len() + line.len() > LONGEST {
                return Err(BodyError::TrailersTooLong);
            }
            self.fields.bytes.extend_from_slice(line);
            consumed += line.len();
            if lf.is_none() {
                break;
            }
            let whole = &self.fields.bytes[self.line..];
            if !whole.ends_with(b"\r\n") {
                return Err(BodyError::LineEnding);
            }
            if whole.len() == 2 {
                self.finish()?;
                return Ok((consumed, true));
            }
            self.line = self.fields.bytes.len();
        }
        Ok((consumed, false))
    }

    fn finish(&mut self) -> Result<(), BodyError> {
        if self.line == 0 {
            return Ok(());
        }
        self.fields.index(0, MOST).map_err(|reason| match reason {
            Reason::TooManyFields => BodyError::TrailersTooLong,
            _ => BodyError::Trailer,
        })?;
        self.fields.retain(|field| !field.is_unusual() && !is_forbidden(field.known));
        Ok(())
    }
}

/// Whether a field says how a message is framed, routed, read or authenticated, which is decided before its trailers
/// come (RFC 9110 §6.5.1): a backend that merges them into the head would be told so behind the proxy's back.
fn is_forbidden(known: Known) -> bool {
    use Known::*;
    known.is_hop_by_hop()
        || matches!(
            known,
            // Framing and routing.
            ContentLength | Host | Trailer | Via | Forwarded | XForwardedFor | XForwardedHost | XForwardedPort
                | XForwardedPrefix | XForwardedProto | XRealIp | Location
                // Authentication and state.
                | Authorization | ProxyAuthorization | ProxyAuthenticate | WwwAuthenticate | Cookie | SetCookie | Origin
                // Conditions and controls of a request.
                | Expect | MaxForwards | Pragma | Range | CacheControl
                | IfMatch | IfNoneMatch | IfModifiedSince | IfUnmodifiedSince | IfRange
                // How the content is read, or the answer is kept.
                | ContentEncoding | ContentType | ContentRange | Date | Expires | RetryAfter | Vary | Refresh
        )
}
