//! Where do the frames of a client begin, and what do they say about themselves? Nothing is kept of what goes by.

/// The types of frames (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

/// Flags of DATA and HEADERS, and of SETTINGS.
pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const PADDED: u8 = 0x8;
pub const PRIORITIZED: u8 = 0x20;

/// The head of a frame (§4.1), in bytes.
const HEAD: usize = 9;
/// A setting (§6.5.1), in bytes.
const SETTING: usize = 6;

/// How a frame begins (§4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes behind it.
    pub length: usize,
    /// What kind of frame.
    pub kind: u8,
    /// What they mean is the kind's own.
    pub flags: u8,
    /// 0: the connection.
    pub stream: u32,
}

impl Head {
    /// Whether it has this flag.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What was seen of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It begins.
    Head(Head),
    /// One setting of SETTINGS.
    Setting {
        /// Which (§6.5.2).
        id: u16,
        /// Its value.
        value: u32,
    },
    /// HEADERS say on which stream theirs depends.
    Dependency {
        /// Theirs.
        stream: u32,
        /// The other one.
        on: u32,
    },
}

/// Follows the bytes of a client, from the preface on.
#[derive(Debug)]
pub struct Frames {
    /// The frame that has begun.
    head: Head,
    /// Bytes of it, or of the preface, that have not come.
    left: usize,
    next: Next,
    /// The beginning of what is next, if it came in pieces.
    bytes: [u8; HEAD],
    have: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Head,
    Setting,
    /// Behind the length of the padding, if there is one.
    Dependency,
    /// What nobody wants to see.
    Rest,
}

impl Frames {
    /// A connection that has just begun.
    pub fn new() -> Frames {
        let left = super::PREFACE.len();
        Frames { head: Head::default(), left, next: Next::Rest, bytes: [0; HEAD], have: 0 }
    }

    /// Shows what there is to see in the bytes that came.
    ///
    /// # Errors
    /// The first one of `see`, and how many of the bytes came before the frame it is about. Nothing may follow then.
    pub fn follow<E>(&mut self, all: &[u8], mut see: impl FnMut(Part) -> Result<(), E>) -> Result<(), (usize, E)> {
        let (mut rest, mut began) = (all, 0);
        while !rest.is_empty() {
            let size = match self.next {
                Next::Head => HEAD,
                Next::Setting => SETTING,
                Next::Dependency => usize::from(self.head.has(PADDED)) + size_of::<u32>(),
                Next::Rest => {
                    let skipped = self.left.min(rest.len());
                    self.left -= skipped;
                    rest = &rest[skipped..];
                    self.next = if self.left == 0 { Next::Head } else { Next::Rest };
                    continue;
                }
            };
            if self.next == Next::Head && self.have == 0 {
                began = all.len() - rest.len();
            }
            let taken = (size - self.have).min(rest.len());
            self.bytes[self.have..self.have + taken].copy_from_slice(&rest[..taken]);
            self.have += taken;
            rest = &rest[taken..];
            if self.have == size {
                self.have = 0;
                let part = self.part(size);
                see(part).map_err(|error| (began, error))?;
            }
        }
        Ok(())
    }

    /// What is next has come.
    fn part(&mut self, size: usize) -> Part {
        let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| self.bytes[at + i]));
        let part = match self.next {
            Next::Setting => Part::Setting { id: u16::from_be_bytes([self.bytes[0], self.bytes[1]]), value: number(2) },
            // The highest bit is about something else.
            Next::Dependency => Part::Dependency { stream: self.head.stream, on: number(size - 4) & !(1 << 31) },
            Next::Head | Next::Rest => Part::Head(Head {
                length: (number(0) >> 8) as usize,
                kind: self.bytes[3],
                flags: self.bytes[4],
                stream: number(5) & !(1 << 31),
            }),
        };
        let begins = match part {
            Part::Head(head) => {
                (self.head, self.left) = (head, head.length);
                true
            }
            Part::Setting { .. } | Part::Dependency { .. } => {
                self.left -= size;
                false
            }
        };
        self.next = match self.head.kind {
            _ if self.left == 0 => Next::Head,
            SETTINGS if self.left >= SETTING => Next::Setting,
            HEADERS if begins && self.head.has(PRIORITIZED) && self.left > size_of::<u32>() => Next::Dependency,
            _ => Next::Rest,
        };
        part
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A frame.
    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn head(length: usize, kind: u8, flags: u8, stream: u32) -> Part {
        Part::Head(Head { length, kind, flags, stream })
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let bytes = [
            super::super::PREFACE,
            &frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 1, 0, 3, 0, 0, 0, 9]),
            &frame(HEADERS, PRIORITIZED | PADDED, 5, &[1, 0x80, 0, 0, 7, 200, 0x82, 0]),
            &frame(HEADERS, PRIORITIZED, 7, &[0, 0, 0, 7, 1]),
            &frame(DATA, PADDED, 1 << 31 | 5, &[0xee; 300]),
            &frame(SETTINGS, ACK, 0, b""),
            &frame(SETTINGS, 0, 0, &[0xee; 5]),
            &frame(HEADERS, PRIORITIZED | PADDED, 9, &[0xee; 4]),
            &frame(PING, 0, 0, &[0xee; 8]),
        ]
        .concat();
        let expected = [
            head(12, SETTINGS, 0, 0),
            Part::Setting { id: 4, value: 0x8000_0001 },
            Part::Setting { id: 3, value: 9 },
            head(8, HEADERS, PRIORITIZED | PADDED, 5),
            Part::Dependency { stream: 5, on: 7 },
            head(5, HEADERS, PRIORITIZED, 7),
            Part::Dependency { stream: 7, on: 7 },
            head(300, DATA, PADDED, 5),
            head(0, SETTINGS, ACK, 0),
            head(5, SETTINGS, 0, 0),
            head(4, HEADERS, PRIORITIZED | PADDED, 9),
            head(8, PING, 0, 0),
        ];
        for size in 1..bytes.len() {
            let (mut frames, mut seen) = (Frames::new(), Vec::new());
            for piece in bytes.chunks(size) {
                let end = frames.follow(piece, |part| -> Result<(), Infallible> {
                    seen.push(part);
                    Ok(())
                });
                assert_eq!(end, Ok(()));
            }
            assert_eq!(seen, expected, "{size}");
        }
    }

    #[test]
    fn an_error_says_where_its_frame_began() {
        let mut frames = Frames::new();
        assert_eq!(frames.follow(super::super::PREFACE, |_| Err(())), Ok(()));
        let bytes = [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[0; 12])].concat();
        let refused = |part| if matches!(part, Part::Setting { .. }) { Err("a setting") } else { Ok(()) };
        assert_eq!(frames.follow(&bytes[..17], refused), Ok(()));
        assert_eq!(frames.follow(&bytes[17..30], refused), Ok(()));
        // It began before these bytes.
        assert_eq!(frames.follow(&bytes[30..], refused), Err((0, "a setting")));
        let mut frames = Frames::new();
        let bytes = [super::super::PREFACE, &bytes].concat();
        assert_eq!(frames.follow(&bytes, refused), Err((24 + 17, "a setting")));
    }
}
