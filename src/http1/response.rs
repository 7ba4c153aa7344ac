//! What does the backend answer?

use std::time::Duration;

use super::{Field, FieldSection, Framing, Known, Limits, Method, Progress, Reject, Version};

/// The head of an answer, in memory of its own that is used again for the next one. See [`RequestHead`](super::RequestHead).
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    fields: FieldSection,
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
        todo!("{bytes:?} {limits:?}")
    }

    /// Makes a head from pieces, under the same rules as if it had been parsed: for messages that came another way.
    pub fn compose<'a>(
        &mut self,
        status: u16,
        reason: &[u8],
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        limits: &Limits,
    ) -> Result<(), Reject> {
        let _ = (status, reason, fields.into_iter(), limits);
        todo!()
    }

    /// Forgets the answer and a parse that has begun; keeps the memory.
    pub fn clear(&mut self) {
        todo!()
    }

    /// The status, 100 to 999.
    pub fn status(&self) -> u16 {
        todo!()
    }

    /// Whether another answer follows this one: 1xx except 101.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status()) && self.status() != 101
    }

    /// The text after the status, as it was written; often empty.
    pub fn reason(&self) -> &[u8] {
        todo!()
    }

    /// The version of the status line.
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

    /// How the body ends, given the method that is answered (RFC 9112 §6.3): none for HEAD, 1xx, 204 and 304.
    pub fn framing(&self, answered: Method) -> Framing {
        todo!("{answered:?}")
    }

    /// What `Content-Length` says, also where no body follows (HEAD, 304).
    pub fn content_length(&self) -> Option<u64> {
        todo!()
    }

    /// Whether the backend wants to go on using the connection. Of no use if the framing is [`Framing::UntilClose`].
    pub fn keep_alive(&self) -> bool {
        todo!()
    }

    /// `timeout` of `Keep-Alive`: how long the backend keeps the connection when it is idle.
    pub fn keep_alive_timeout(&self) -> Option<Duration> {
        todo!()
    }

    /// The value of `Upgrade`, if `Connection` names it.
    pub fn upgrade(&self) -> Option<&[u8]> {
        todo!()
    }

    /// Bytes of the head on the wire.
    pub fn wire_len(&self) -> usize {
        todo!()
    }
}
