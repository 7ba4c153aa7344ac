//! What is in the cookie? Whom the client is bound to and since when, sealed: nobody but the holders of the key can read
//! it, make one, or change one.

use std::time::Duration;

use hmac::Mac;

use super::key::{Key, Purpose, Tag, first};

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The peer.
    pub tag: Tag,
    /// When it was made: seconds since 1970 (until 2106).
    pub issued: u32,
}

/// Tag and time.
const CONTENT: usize = 12;
/// The first 96 bits of an HMAC-SHA-256.
const SEAL: usize = 12;

impl Ticket {
    /// Characters of a sealed ticket.
    pub const LENGTH: usize = (CONTENT + SEAL) / 3 * 4;

    /// The value of the cookie: 32 characters of base64url (RFC 4648 §5). Tag and time are masked by what depends on the
    /// seal, so two clients cannot even see whether they have the same peer.
    pub fn seal(&self, key: &Key) -> String {
        let content = self.content();
        let seal: [u8; SEAL] = first(&key.digest(Purpose::Seal, &[&content]));
        let masked = masked(key, &seal, content);
        let mut bytes = [0; CONTENT + SEAL];
        bytes[..SEAL].copy_from_slice(&seal);
        bytes[SEAL..].copy_from_slice(&masked);
        encode(&bytes)
    }

    /// The ticket that was sealed so; `None`: with this key, none was.
    pub fn open(key: &Key, text: &[u8]) -> Option<Ticket> {
        let bytes = decode(text)?;
        let (seal, masked_content) = bytes.split_first_chunk::<SEAL>()?;
        let content = masked(key, seal, masked_content.try_into().ok()?);
        key.mac(Purpose::Seal, &[&content]).verify_truncated_left(seal).ok()?;
        let (tag, issued) = content.split_first_chunk::<8>()?;
        Some(Ticket { tag: Tag::of_bytes(*tag), issued: u32::from_be_bytes(issued.try_into().ok()?) })
    }

    /// How old it is; one from the future (another machine's clock is ahead) is new.
    pub fn age(&self, now: u32) -> Duration {
        Duration::from_secs(now.saturating_sub(self.issued).into())
    }

    fn content(&self) -> [u8; CONTENT] {
        let mut content = [0; CONTENT];
        content[..8].copy_from_slice(&self.tag.to_bytes());
        content[8..].copy_from_slice(&self.issued.to_be_bytes());
        content
    }
}

fn masked(key: &Key, seal: &[u8; SEAL], mut content: [u8; CONTENT]) -> [u8; CONTENT] {
    let mask: [u8; CONTENT] = first(&key.digest(Purpose::Mask, &[seal]));
    content.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    content
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8; CONTENT + SEAL]) -> String {
    let letters = bytes.chunks_exact(3).flat_map(|three| {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(bits >> shift & 63) as usize]))
    });
    letters.collect()
}

/// Only what [`encode`] makes: without padding, each value in one spelling.
fn decode(text: &[u8]) -> Option<[u8; CONTENT + SEAL]> {
    let mut bytes = [0; CONTENT + SEAL];
    if text.len() != Ticket::LENGTH {
        return None;
    }
    for (four, three) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut bits = 0;
        for letter in four {
            bits = bits << 6 | six_bits(*letter)?;
        }
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

fn six_bits(letter: u8) -> Option<u32> {
    let (from, offset) = match letter {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'-' => (b'-', 62),
        b'_' => (b'_', 63),
        _ => return None,
    };
    Some(u32::from(letter - from) + offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::affinity::Secret;

    const ISSUED: u32 = 1_800_000_000;

    fn key(secret: &str) -> Key {
        Secret::new(secret).key("web")
    }

    fn ticket(issued: u32) -> Ticket {
        Ticket { tag: key("s").tag(&[b"10.0.0.1:80"]), issued }
    }

    #[test]
    fn what_is_sealed_is_always_the_same_text() {
        // Cookies live longer than a weir: this text must stay what it is.
        assert_eq!(ticket(ISSUED).seal(&key("s")), "WgI-2EB7FYkHxyXvtOcVDjJTjM8ejUkX");
    }

    #[test]
    fn who_shares_the_secret_opens_it_and_nobody_else_does() {
        let text = ticket(ISSUED).seal(&key("s"));
        assert_eq!(text.len(), Ticket::LENGTH);
        assert_eq!(Ticket::open(&key("s"), text.as_bytes()), Some(ticket(ISSUED)));
        assert_eq!(Ticket::open(&key("t"), text.as_bytes()), None);
        assert_eq!(Ticket::open(&Secret::new("s").key("api"), text.as_bytes()), None);
    }

    #[test]
    fn a_letter_changed_added_or_missing_makes_it_worthless() {
        let text = ticket(ISSUED).seal(&key("s")).into_bytes();
        for at in 0..text.len() {
            let mut forged = text.clone();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(Ticket::open(&key("s"), &forged), None, "letter {at}");
        }
        assert_eq!(Ticket::open(&key("s"), &text[1..]), None);
        assert_eq!(Ticket::open(&key("s"), &[&text[..], b"A"].concat()), None);
        assert_eq!(Ticket::open(&key("s"), b""), None);
        assert_eq!(Ticket::open(&key("s"), "ä".repeat(16).as_bytes()), None);
    }

    #[test]
    fn two_tickets_for_one_peer_have_nothing_in_common() {
        let (one, other) = (ticket(ISSUED).seal(&key("s")), ticket(ISSUED + 1).seal(&key("s")));
        let same = one.bytes().zip(other.bytes()).filter(|(a, b)| a == b).count();
        assert!(same < 8, "{one} {other}");
    }

    #[test]
    fn age_is_counted_from_the_issue_and_never_negative() {
        assert_eq!(ticket(ISSUED).age(ISSUED + 90), Duration::from_secs(90));
        assert_eq!(ticket(ISSUED).age(ISSUED - 90), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_none_opens_by_chance(text in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            "[A-Za-z0-9_-]{32}".prop_map(String::into_bytes),
        ]) {
            prop_assert_eq!(Ticket::open(&key("s"), &text), None);
        }

        #[test]
        fn every_ticket_opens_as_it_was(name in any::<[u8; 4]>(), issued in any::<u32>()) {
            let ticket = Ticket { tag: key("s").tag(&[&name]), issued };
            prop_assert_eq!(Ticket::open(&key("s"), ticket.seal(&key("s")).as_bytes()), Some(ticket));
        }
    }
}
