//! Which frames end a connection before the library sees them?
//!
//! The library refuses most of what RFC 9113 forbids, but calls it PROTOCOL_ERROR where the RFC has a word of its own. Of
//! three rules it knows nothing: a connection begins with SETTINGS; no HEADERS depend on their own stream (RFC 7540
//! §5.3.1), for which it resets the stream without reading the block, so that the compression of the following ones
//! would be off; and HEADERS may be too short for what their flags say.

use h2::Reason;

use super::frames::{
    ACK, DATA, GOAWAY, HEADERS, Head, PADDED, PING, PRIORITIZED, PRIORITY, Part, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

/// SETTINGS_INITIAL_WINDOW_SIZE and its greatest value (§6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;
const GREATEST_WINDOW: u32 = (1 << 31) - 1;

/// What the rules remember of a connection.
#[derive(Debug, Default)]
pub struct Rules {
    begun: bool,
}

impl Rules {
    /// Looks at what came next.
    ///
    /// # Errors
    /// The code with which the connection ends.
    pub fn check(&mut self, part: &Part) -> Result<(), Reason> {
        match part {
            Part::Head(head)
                if !std::mem::replace(&mut self.begun, true) && (head.kind != SETTINGS || head.has(ACK)) =>
            {
                // §3.4.
                Err(Reason::PROTOCOL_ERROR)
            }
            Part::Head(head) if !fits(head) => Err(Reason::FRAME_SIZE_ERROR),
            Part::Setting { id: INITIAL_WINDOW_SIZE, value } if *value > GREATEST_WINDOW => {
                Err(Reason::FLOW_CONTROL_ERROR)
            }
            Part::Dependency { stream, on } if stream == on => Err(Reason::PROTOCOL_ERROR),
            Part::Head(_) | Part::Setting { .. } | Part::Dependency { .. } => Ok(()),
        }
    }
}

/// Whether a frame has a length that its kind may have (§4.2, §6). That none is too long the library sees to.
fn fits(head: &Head) -> bool {
    let padding = usize::from(head.has(PADDED));
    match head.kind {
        DATA => head.length >= padding,
        HEADERS => head.length >= padding + if head.has(PRIORITIZED) { 5 } else { 0 },
        PRIORITY => head.length == 5,
        RST_STREAM | WINDOW_UPDATE => head.length == 4,
        SETTINGS if head.has(ACK) => head.length == 0,
        SETTINGS => head.length.is_multiple_of(6),
        PING => head.length == 8,
        GOAWAY => head.length >= 8,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTINUATION: u8 = 9;

    fn head(kind: u8, flags: u8, length: usize) -> Part {
        Part::Head(Head { length, kind, flags, stream: 1 })
    }

    #[test]
    fn a_connection_begins_with_settings() {
        for (first, expected) in [
            (head(SETTINGS, 0, 0), Ok(())),
            (head(SETTINGS, 0, 6), Ok(())),
            (head(SETTINGS, 0, 7), Err(Reason::FRAME_SIZE_ERROR)),
            (head(SETTINGS, ACK, 0), Err(Reason::PROTOCOL_ERROR)),
            (head(HEADERS, 0, 20), Err(Reason::PROTOCOL_ERROR)),
            (head(0xaa, 0, 0), Err(Reason::PROTOCOL_ERROR)),
        ] {
            assert_eq!(Rules::default().check(&first), expected, "{first:?}");
        }
    }

    #[test]
    fn what_follows_has_a_length_of_its_kind() {
        let all = PADDED | PRIORITIZED;
        let cases: [(u8, u8, &[usize], &[usize]); 14] = [
            (DATA, 0, &[0, 1, 16_384], &[]),
            (DATA, PADDED, &[1, 2], &[0]),
            (HEADERS, 0, &[0, 1], &[]),
            (HEADERS, PADDED, &[1, 2], &[0]),
            (HEADERS, PRIORITIZED, &[5, 6], &[0, 1, 4]),
            (HEADERS, all, &[6, 7], &[0, 1, 5]),
            (PRIORITY, 0, &[5], &[0, 4, 6]),
            (RST_STREAM, 0, &[4], &[0, 3, 5]),
            (SETTINGS, 0, &[0, 6, 12], &[1, 5, 7]),
            (SETTINGS, ACK, &[0], &[1, 6]),
            (PING, 0, &[8], &[0, 7, 9]),
            (GOAWAY, 0, &[8, 9, 100], &[0, 7]),
            (WINDOW_UPDATE, 0, &[4], &[0, 3, 5]),
            (CONTINUATION, all, &[0, 1], &[]),
        ];
        for (kind, flags, right, wrong) in cases {
            let mut rules = Rules { begun: true };
            for &length in right {
                assert_eq!(rules.check(&head(kind, flags, length)), Ok(()), "{kind} {flags} {length}");
            }
            for &length in wrong {
                let end = rules.check(&head(kind, flags, length));
                assert_eq!(end, Err(Reason::FRAME_SIZE_ERROR), "{kind} {flags} {length}");
            }
        }
    }

    #[test]
    fn a_window_has_31_bits() {
        let setting = |id, value| Rules { begun: true }.check(&Part::Setting { id, value });
        assert_eq!(setting(INITIAL_WINDOW_SIZE, (1 << 31) - 1), Ok(()));
        assert_eq!(setting(INITIAL_WINDOW_SIZE, 1 << 31), Err(Reason::FLOW_CONTROL_ERROR));
        assert_eq!(setting(3, u32::MAX), Ok(()));
    }

    #[test]
    fn nothing_depends_on_itself() {
        let depends = |stream, on| Rules { begun: true }.check(&Part::Dependency { stream, on });
        assert_eq!(depends(5, 3), Ok(()));
        assert_eq!(depends(5, 5), Err(Reason::PROTOCOL_ERROR));
    }
}
