//! What can only this weir, and those that share its secret, say of a peer?

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::SessionId;

/// What stands for a peer wherever clients can see it, or choose it: made of its identity with a key, so that nobody
/// learns or guesses an address by it. Equal for all who share the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

/// The secret of a configuration. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A key that is ready for use (HMAC-SHA-256, RFC 2104).
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// What a digest is for: one for another purpose says nothing about it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Group = 1,
    Peer = 2,
    Session = 3,
    Seal = 4,
    Mask = 5,
}

impl Tag {
    pub(super) fn of_bytes(bytes: [u8; 8]) -> Tag {
        Tag(u64::from_be_bytes(bytes))
    }

    pub(super) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl Secret {
    /// Of this text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Its key for one group: what is said for a group means nothing in another.
    pub fn key(&self, group: &str) -> Key {
        Key::new(self.0.as_bytes()).of_group(group)
    }
}

impl Key {
    /// Of these bytes, of any length.
    pub fn new(bytes: &[u8]) -> Key {
        // HMAC takes keys of any length: it pads short ones and hashes long ones.
        Key(Hmac::new_from_slice(bytes).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    /// The key for one group.
    pub fn of_group(&self, name: &str) -> Key {
        Key::new(&self.digest(Purpose::Group, &[name.as_bytes()]))
    }

    /// The tag of a peer with this identity.
    pub fn tag(&self, identity: &[&[u8]]) -> Tag {
        Tag::of_bytes(first(&self.digest(Purpose::Peer, identity)))
    }

    /// What stands for a session's name in [`Sessions`](super::Sessions), which so never holds the name itself.
    pub fn session(&self, name: &[u8]) -> SessionId {
        SessionId::of_bytes(first(&self.digest(Purpose::Session, &[name])))
    }

    pub(super) fn digest(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 32] {
        self.mac(purpose, parts).finalize().into_bytes().into()
    }

    pub(super) fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&[purpose as u8]);
        for part in parts {
            // With its length, so that no two lists of parts read the same.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// The first bytes of a digest.
pub(super) fn first<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|i| digest[i])
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_hmac_sha_256() {
        // RFC 4231 §4.3.
        let mut mac = Key::new(b"Jefe").0;
        mac.update(b"what do ya want for nothing?");
        assert_eq!(mac.finalize().into_bytes()[..6], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60]);
    }

    #[test]
    fn a_tag_depends_on_secret_group_and_every_part_of_the_identity() {
        let tag = |secret, group, identity: &[&[u8]]| Secret::new(secret).key(group).tag(identity);
        let one = tag("s", "web", &[b"a", b"b"]);
        assert_eq!(one, tag("s", "web", &[b"a", b"b"]));
        for other in [
            tag("t", "web", &[b"a", b"b"]),
            tag("s", "api", &[b"a", b"b"]),
            tag("s", "web", &[b"ab"]),
            tag("s", "web", &[b"ab", b""]),
            tag("s", "web", &[b"b", b"a"]),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
        assert_eq!(format!("{:?}", Key::new(b"hunter2")), "Key(…)");
    }
}
