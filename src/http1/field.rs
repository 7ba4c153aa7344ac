//! What fields does a head or trailer section have?

use super::encode::{self, is_name, is_value};
use super::{Known, Limits, Reason};

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as it was written.
    pub name: &'a [u8],
    /// The value without the white space around it. No CR, LF, NUL or other control character but the tab.
    pub value: &'a [u8],
    /// Which field it is.
    pub known: Known,
    flags: u8,
}

/// The fields of one message in the order they came: one buffer and an index into it, both used again and again.
#[derive(Clone, Debug, Default)]
pub struct FieldSection {
    /// For a head: all of it, the first line included.
    pub(super) bytes: Vec<u8>,
    index: Vec<Entry>,
}

/// A part of [`FieldSection::bytes`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn at(start: usize, len: usize) -> Span {
        Span { start: start as u32, end: (start + len) as u32 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: u32,
    value: u32,
    value_len: u32,
    name_len: u16,
    known: Known,
    flags: u8,
}

/// `Connection` names the field.
const NAMED: u8 = 1;
/// The name has a byte that is neither letter, digit nor hyphen.
const UNUSUAL: u8 = 2;

/// Field lines that are parsed without preparing room for the most there can be.
const FEW: usize = 32;

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

    /// Appends the lines of the fields that `keep` wants, byte for byte as they came. Lines that stand together are
    /// copied together.
    pub fn copy_lines(&self, out: &mut Vec<u8>, mut keep: impl FnMut(&Field<'_>) -> bool) {
        let mut run = 0..0;
        for entry in &self.index {
            if !keep(&self.field(entry)) {
                continue;
            }
            let line = self.line(entry);
            if line.start != run.end {
                out.extend_from_slice(&self.bytes[run]);
                run = line.start..line.start;
            }
            run.end = line.end;
        }
        out.extend_from_slice(&self.bytes[run]);
    }

    /// Where a field's line begins and ends, its CRLF included.
    fn line(&self, entry: &Entry) -> std::ops::Range<usize> {
        let value_end = entry.value as usize + entry.value_len as usize;
        // Only white space can stand between a value and its CRLF.
        let blank = self.bytes[value_end..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let end = (value_end + blank + encode::CRLF.len()).min(self.bytes.len());
        entry.name as usize..end
    }

    /// The value of the field of this kind, and whether there are more of them.
    pub(super) fn single(&self, known: Known) -> (Option<&[u8]>, bool) {
        let mut all = self.index.iter().filter(|entry| entry.known == known);
        (all.next().map(|entry| self.field(entry).value), all.next().is_some())
    }

    /// Appends field lines and the empty line that ends them. Fails on what would end a name or value early.
    pub(super) fn write<'a>(&mut self, fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), Reason> {
        for (name, value) in fields {
            if !is_name(name) {
                return Err(Reason::FieldName);
            }
            if !is_value(value) {
                return Err(Reason::FieldValue);
            }
            encode::field(&mut self.bytes, name, value);
        }
        encode::end_of_head(&mut self.bytes);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.index.clear();
    }

    pub(super) fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// Indexes the field lines that begin at `from` and end, with the bytes, at an empty line.
    pub(super) fn index(&mut self, from: usize, limit: usize) -> Result<(), Reason> {
        self.index.clear();
        let mut few = [httparse::EMPTY_HEADER; FEW];
        let limit = limit.min(Limits::MAX_FIELDS);
        match self.index_into(from, &mut few[..limit.min(FEW)]) {
            Err(Reason::TooManyFields) if limit > FEW => {
                let mut many = [httparse::EMPTY_HEADER; Limits::MAX_FIELDS];
                self.index_into(from, &mut many[..limit])
            }
            indexed => indexed,
        }
    }

    /// Leaves out the fields for which `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(Field<'_>) -> bool) {
        let mut index = std::mem::take(&mut self.index);
        index.retain(|entry| keep(self.field(entry)));
        self.index = index;
    }

    /// Marks the fields of the name that stands at `name` as named by `Connection`, so far as it may name them: what
    /// frames and routes the message is not at the disposal of a connection option.
    pub(super) fn mark_named(&mut self, name: Span) {
        let FieldSection { bytes, index } = self;
        let name = bytes[name.start as usize..name.end as usize].trim_ascii();
        let known = Known::of(name);
        if matches!(known, Known::Host | Known::ContentLength | Known::TransferEncoding) {
            return;
        }
        for entry in index.iter_mut().filter(|entry| entry.known == known) {
            let own = &bytes[entry.name as usize..entry.name as usize + usize::from(entry.name_len)];
            if known != Known::Other || own.eq_ignore_ascii_case(name) {
                entry.flags |= NAMED;
            }
        }
    }

    /// The value of the `i`th field, if it is of this kind, as a span: for reading a value while fields are marked.
    pub(super) fn span_if(&self, i: usize, known: Known) -> Option<Span> {
        let entry = self.index.get(i).filter(|entry| entry.known == known)?;
        Some(Span { start: entry.value, end: entry.value + entry.value_len })
    }

    fn index_into<'b>(&'b mut self, from: usize, slots: &mut [httparse::Header<'b>]) -> Result<(), Reason> {
        let FieldSection { bytes, index } = self;
        let bytes: &'b [u8] = bytes;
        let lines = &bytes[from..];
        let fields = match httparse::parse_headers(lines, slots) {
            Ok(httparse::Status::Complete((end, fields))) if end == lines.len() => fields,
            Ok(_) => return Err(Reason::LineEnding),
            Err(error) => return Err(reason(error, lines)),
        };
        let base = bytes.as_ptr() as usize;
        for field in fields {
            let name = field.name.as_bytes();
            let known = Known::of(name);
            index.push(Entry {
                name: offset(base, name),
                value: offset(base, field.value),
                value_len: field.value.len() as u32,
                name_len: u16::try_from(name.len()).map_err(|_| Reason::FieldName)?,
                known,
                flags: if known != Known::Other || usual(name) { 0 } else { UNUSUAL },
            });
        }
        Ok(())
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

/// Where a part of the buffer at `base` begins. Heads are shorter than 4 GiB, so it fits.
fn offset(base: usize, part: &[u8]) -> u32 {
    (part.as_ptr() as usize - base) as u32
}

fn reason(error: httparse::Error, lines: &[u8]) -> Reason {
    match error {
        httparse::Error::TooManyHeaders => Reason::TooManyFields,
        httparse::Error::HeaderValue => Reason::FieldValue,
        httparse::Error::NewLine => Reason::LineEnding,
        _ if folded(lines) => Reason::ObsFold,
        _ => Reason::FieldName,
    }
}

fn usual(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn folded(lines: &[u8]) -> bool {
    lines.split(|&byte| byte == b'\n').any(|line| matches!(line.first(), Some(b' ' | b'\t')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(lines: &str) -> Result<FieldSection, Reason> {
        let mut section = FieldSection { bytes: format!("first line\r\n{lines}\r\n").into_bytes(), index: vec![] };
        section.index(12, 100).map(|()| section)
    }

    #[test]
    fn lines_are_copied_as_they_came_without_those_that_are_not_wanted() {
        let lines = ["Host: a\r\n", "X-a:\t one \t two\t \r\n", "EMPTY:\r\n", "Blank: \t \r\n", "x-A: 3\r\n"];
        let section = section(&lines.concat()).unwrap();
        let every_choice = 0..1 << lines.len();
        for chosen in every_choice {
            let mut at = 0;
            let mut out = Vec::new();
            section.copy_lines(&mut out, |_| {
                at += 1;
                chosen & 1 << (at - 1) != 0
            });
            let wanted = lines.iter().enumerate().filter(|(i, _)| chosen & 1 << i != 0);
            let expected: String = wanted.map(|(_, line)| *line).collect();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{chosen:b}");
        }
    }

    #[test]
    fn fields_keep_their_order_their_case_and_the_inside_of_their_values() {
        let section = section("Host: a\r\nX-a:\t one \t two\t \r\nEMPTY:\r\nx-A: 3\r\n").unwrap();
        let fields: Vec<_> = section.iter().map(|field| (field.name, field.value)).collect();
        let expected: &[(&[u8], &[u8])] = &[(b"Host", b"a"), (b"X-a", b"one \t two"), (b"EMPTY", b""), (b"x-A", b"3")];
        assert_eq!(fields, expected);
        assert_eq!(section.get(Known::Host), Some(&b"a"[..]));
        assert_eq!(section.get(Known::Cookie), None);
        assert!(section.named(b"X-A").eq([&b"one \t two"[..], b"3"]));
    }

    #[test]
    fn names_with_anything_but_letters_digits_and_hyphens_are_unusual() {
        let section = section("X-1: a\r\nX_1: a\r\nContent_Length: 1\r\nx.y: a\r\nCookie: a\r\n").unwrap();
        assert!(section.iter().map(|field| field.is_unusual()).eq([false, true, true, true, false]));
    }

    #[test]
    fn malformed_lines_are_refused() {
        let cases = [
            (": a\r\n", Reason::FieldName),
            ("X : a\r\n", Reason::FieldName),
            ("X\t: a\r\n", Reason::FieldName),
            ("X\r\n", Reason::FieldName),
            ("X Y: a\r\n", Reason::FieldName),
            ("X\0: a\r\n", Reason::FieldName),
            ("\u{e9}: a\r\n", Reason::FieldName),
            ("(X): a\r\n", Reason::FieldName),
            ("X: a\r\n b\r\n", Reason::ObsFold),
            ("X: a\r\n\tb\r\n", Reason::ObsFold),
            (" X: a\r\n", Reason::ObsFold),
            ("X: a\0b\r\n", Reason::FieldValue),
            ("X: a\rb\r\n", Reason::FieldValue),
            ("X: a\x1bb\r\n", Reason::FieldValue),
            ("X: a\x7fb\r\n", Reason::FieldValue),
        ];
        for (lines, expected) in cases {
            assert_eq!(section(lines).map(|_| ()), Err(expected), "{lines:?}");
        }
    }

    #[test]
    fn the_limit_of_fields_is_exact_on_both_sides_of_the_small_table() {
        for limit in [0, 1, 31, 32, 33, 100, Limits::MAX_FIELDS] {
            let with = |count: usize| {
                let bytes = format!("{}\r\n", "a: b\r\n".repeat(count)).into_bytes();
                let mut section = FieldSection { bytes, index: vec![] };
                section.index(0, limit).map(|()| section.len())
            };
            assert_eq!(with(limit), Ok(limit));
            assert_eq!(with(limit + 1), Err(Reason::TooManyFields), "{limit}");
        }
    }
}
