//! What fields does a head or trailer section have?

use super::Known;

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as it was written.
    pub name: &'a [u8],
    /// The value without the white space around it. No CR, LF, NUL or other control character but the tab.
    pub value: &'a [u8],
    /// Which field it is.
    pub known: Known,
    pub(super) flags: u8,
}

/// The fields of one message in the order they came: one buffer and an index into it, both used again and again.
#[derive(Clone, Debug, Default)]
pub struct FieldSection {
    pub(super) bytes: Vec<u8>,
    pub(super) index: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) name: u32,
    pub(super) value: u32,
    pub(super) value_len: u32,
    pub(super) name_len: u16,
    pub(super) known: Known,
    pub(super) flags: u8,
}

/// `Connection` names the field.
pub(super) const NAMED: u8 = 1;
/// The name has a byte that is neither letter, digit nor hyphen.
pub(super) const UNUSUAL: u8 = 2;

impl Field<'_> {
    /// Whether the field stays on this connection: by its kind, or since `Connection` names it (RFC 9110 §7.6.1).
    pub fn is_hop_by_hop(&self) -> bool {
        self.flags & NAMED != 0 || self.known.is_hop_by_hop()
    }

    /// Whether nginx ignores the field by default (`ignore_invalid_headers`, `underscores_in_headers off`): its name
    /// has a byte that is neither letter, digit nor hyphen. An application may read `X_Y` as `X-Y`.
    pub fn is_unusual(&self) -> bool {
        self.flags & UNUSUAL != 0
    }
}

impl FieldSection {
    /// All fields, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Field<'_>> + Clone {
        self.index.iter().map(|entry| self.field(entry))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The value of the first field of this kind.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.index.iter().find(|entry| entry.known == known).map(|entry| self.field(entry).value)
    }

    /// The values of all fields of this name, whatever its case.
    pub fn named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        let (name, value) = (entry.name as usize, entry.value as usize);
        Field {
            name: &self.bytes[name..name + usize::from(entry.name_len)],
            value: &self.bytes[value..value + entry.value_len as usize],
            known: entry.known,
            flags: entry.flags,
        }
    }
}
