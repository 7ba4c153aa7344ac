//! Where do chunks begin and end?

use super::BodyError;

/// A chunked body, byte by byte, up to the line of its last chunk (RFC 9112 §7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    /// The size as far as it was read; then the data that is still to come.
    left: u64,
    /// Bytes of the size line so far.
    line: u64,
    /// How much more framing than data there was: see [`Chunks::weigh`].
    excess: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Within the digits, or before them.
    #[default]
    Size,
    /// White space behind the digits, which only an extension may follow.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All of the input was framing, and there is more to come.
    NeedMore,
    /// So many bytes of framing, and then data.
    Data { skip: usize },
    /// So many bytes of framing, then the trailers.
    Last { skip: usize },
}

/// Digits of a size: more would not fit, and zeros before it are no use to anyone.
const DIGITS: u64 = 16;

/// Framing beyond what data excuses.
const EXCESS: u64 = 16 * 1024;

impl Chunks {
    /// Reads framing until data, the trailers or the end of the input.
    pub(super) fn step(&mut self, input: &[u8]) -> Result<Step, BodyError> {
        if self.at == At::Data {
            return Ok(if input.is_empty() { Step::NeedMore } else { Step::Data { skip: 0 } });
        }
        for (i, &byte) in input.iter().enumerate() {
            match self.read(byte)? {
                At::Data if self.left == 0 => {
                    *self = Chunks::default();
                    return Ok(Step::Last { skip: i + 1 });
                }
                At::Data if i + 1 < input.len() => return Ok(Step::Data { skip: i + 1 }),
                _ => {}
            }
        }
        Ok(Step::NeedMore)
    }

    /// Data of this chunk that is still to come.
    pub(super) fn data(&self) -> u64 {
        if self.at == At::Data { self.left } else { 0 }
    }

    /// Accounts for data that came; no more than [`data`](Self::data).
    pub(super) fn pass(&mut self, n: u64) {
        if self.at == At::Data {
            self.left = self.left.saturating_sub(n);
            if self.left == 0 {
                self.at = At::DataCr;
            }
        }
    }

    fn read(&mut self, byte: u8) -> Result<At, BodyError> {
        self.line += 1;
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                if self.line > DIGITS || self.left > (i64::MAX as u64) >> 4 {
                    return Err(BodyError::ChunkTooLarge);
                }
                self.left = self.left << 4 | digit;
                At::Size
            }
            (At::Size, _) if self.line == 1 => return Err(BodyError::ChunkSize),
            (At::Size | At::Space, b' ' | b'\t') => At::Space,
            (At::Size | At::Space, b';') => At::Extension,
            (At::Size | At::Extension, b'\r') => At::SizeLf,
            (At::Size | At::Space, b'\n') | (At::Extension, b'\n') => return Err(BodyError::LineEnding),
            (At::Size | At::Space, _) => return Err(BodyError::ChunkSize),
            (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => At::Extension,
            (At::Extension, _) => return Err(BodyError::Extension),
            (At::SizeLf, b'\n') => {
                self.weigh();
                At::Data
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => {
                self.line = 0;
                At::Size
            }
            (At::SizeLf | At::DataCr | At::DataLf, _) => return Err(BodyError::LineEnding),
            // Data is never read as framing: `step` leaves before.
            (At::Data, _) => At::Data,
        };
        if self.line > EXCESS {
            return Err(BodyError::Overhead);
        }
        if self.at == At::Data && self.excess > EXCESS {
            return Err(BodyError::Overhead);
        }
        Ok(self.at)
    }

    /// Every chunk excuses a line of 16 bytes and twice its data; what lines have beyond adds up. So small chunks may
    /// go on for ever, and extensions that outweigh the data may not (the rule of Go's net/http/internal).
    fn weigh(&mut self) {
        let excused = self.left.saturating_mul(2).saturating_add(16);
        self.excess = (self.excess + self.line).saturating_sub(excused);
        self.line = 0;
    }
}
