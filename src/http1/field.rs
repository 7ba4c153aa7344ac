//! What fields does a head or trailer section have?

use super::encode::{self, is_name, is_value};
use super::known::read_name;
use super::word::line_end;
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
    index: Index,
}

/// Where the fields are, and of which kinds there are any.
#[derive(Clone, Debug, Default)]
struct Index {
    entries: Vec<Entry>,
    /// A bit for each kind.
    present: u64,
    /// Those of which there is more than one.
    repeated: u64,
}

/// A part of [`FieldSection::bytes`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

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
/// White space stands between the value and its CRLF.
const BLANK: u8 = 4;

const _: () = assert!((Known::Other as u8) < u64::BITS as u8, "a bit for each kind");

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
        self.index.entries.iter().map(|entry| self.field(entry))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.entries.is_empty()
    }

    /// The value of the first field of this kind.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.span(known).map(|span| self.text(span))
    }

    /// The values of all fields of this name, whatever its case.
    pub fn named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// Appends the lines of the fields that `keep` wants, byte for byte as they came. Lines that stand together are
    /// copied together.
    pub fn copy_lines(&self, out: &mut Vec<u8>, keep: impl FnMut(&Field<'_>) -> bool) {
        self.copy_lines_behind(0..0, out, keep);
    }

    /// The same behind this part of the buffer.
    pub(super) fn copy_lines_behind(
        &self,
        first: std::ops::Range<usize>,
        out: &mut Vec<u8>,
        mut keep: impl FnMut(&Field<'_>) -> bool,
    ) {
        let mut run = first;
        for entry in &self.index.entries {
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
        let mut end = entry.value as usize + entry.value_len as usize;
        if entry.flags & BLANK != 0 {
            end += self.bytes[end..].iter().take_while(|byte| is_blank(byte)).count();
        }
        entry.name as usize..end + encode::CRLF.len()
    }

    /// Whether there is a field of this kind.
    pub(super) fn has(&self, known: Known) -> bool {
        self.index.present & bit(known) != 0
    }

    /// Whether there is more than one.
    pub(super) fn has_many(&self, known: Known) -> bool {
        self.index.repeated & bit(known) != 0
    }

    /// The value of the first field of this kind.
    pub(super) fn span(&self, known: Known) -> Option<Span> {
        if !self.has(known) {
            return None;
        }
        let entry = self.index.entries.iter().find(|entry| entry.known == known)?;
        Some(Span { start: entry.value, end: entry.value + entry.value_len })
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

    #[inline]
    pub(super) fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// Indexes the field lines that begin at `from` and end, with the bytes, at an empty line.
    pub(super) fn index(&mut self, from: usize, limit: usize) -> Result<(), Reason> {
        match self.index.read(&self.bytes, from, limit) {
            Some(end) if end == self.bytes.len() => Ok(()),
            _ => {
                self.index.clear();
                Err(fault(&self.bytes[from..], limit))
            }
        }
    }

    /// Takes the head whose field lines begin at `from` out of bytes that may go on behind it; `None` if there is no whole
    /// and good one of at most `longest` bytes. Then something of the index may be left.
    pub(super) fn take(&mut self, bytes: &[u8], from: usize, limit: usize, longest: usize) -> Option<usize> {
        let end = self.index.read(bytes, from, limit).filter(|&end| end <= longest)?;
        self.bytes.clear();
        self.bytes.extend_from_slice(&bytes[..end]);
        Some(end)
    }

    /// Leaves out the fields for which `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(Field<'_>) -> bool) {
        let mut index = std::mem::take(&mut self.index);
        index.entries.retain(|entry| keep(self.field(entry)));
        index.count();
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
        for entry in index.entries.iter_mut().filter(|entry| entry.known == known) {
            let own = &bytes[entry.name as usize..entry.name as usize + usize::from(entry.name_len)];
            if known != Known::Other || own.eq_ignore_ascii_case(name) {
                entry.flags |= NAMED;
            }
        }
    }

    /// The value of the `i`th field, if it is of this kind, as a span: for reading a value while fields are marked.
    pub(super) fn span_if(&self, i: usize, known: Known) -> Option<Span> {
        let entry = self.index.entries.get(i).filter(|entry| entry.known == known)?;
        Some(Span { start: entry.value, end: entry.value + entry.value_len })
    }

    #[inline]
    fn field(&self, entry: &Entry) -> Field<'_> {
        let (name, value) = (entry.name as usize, entry.value as usize);
        Field {
            name: &self.bytes[name..name + usize::from(entry.name_len)],
            value: &self.bytes[value..value + entry.value_len as usize],
            known: entry.known,
            flags: entry.flags & !BLANK,
        }
    }
}

impl Index {
    fn clear(&mut self) {
        self.entries.clear();
        (self.present, self.repeated) = (0, 0);
    }

    /// Reads field lines up to the empty line that ends them: where that ends. `None`: it is not there, or a line is not
    /// one that is accepted, or there are too many. [`fault`] says which.
    #[inline(never)]
    fn read(&mut self, bytes: &[u8], from: usize, limit: usize) -> Option<usize> {
        self.entries.clear();
        let limit = limit.min(Limits::MAX_FIELDS);
        let (mut present, mut repeated) = (0, 0);
        let mut rest = bytes.get(from..)?;
        loop {
            let line = rest;
            if let [b'\r', b'\n', behind @ ..] = line {
                rest = behind;
                break;
            }
            let (name_len, known) = read_name(line);
            let begin = match line.get(name_len..)? {
                [b':', b' ', value @ ..] if name_len > 0 && *value.first()? > b' ' => {
                    Begin { name_len: u16::try_from(name_len).ok()?, known, flags: 0, value }
                }
                _ => Begin::rare(line)?,
            };
            let Begin { name_len, known, mut flags, value } = begin;
            let len = line_end(value)?;
            rest = value.get(len + encode::CRLF.len()..)?;
            let mut trimmed = &value[..len];
            if trimmed.last().is_some_and(|byte| *byte <= b' ') {
                trimmed = trim_end(trimmed);
                flags |= BLANK;
            }
            if self.entries.len() == limit {
                return None;
            }
            self.entries.push(Entry {
                name: (bytes.len() - line.len()) as u32,
                value: (bytes.len() - value.len()) as u32,
                value_len: trimmed.len() as u32,
                name_len,
                known,
                flags,
            });
            repeated |= present & bit(known);
            present |= bit(known);
        }
        (self.present, self.repeated) = (present, repeated);
        Some(bytes.len() - rest.len())
    }

    /// Counts the kinds anew.
    fn count(&mut self) {
        let (mut present, mut repeated) = (0, 0);
        for entry in &self.entries {
            repeated |= present & bit(entry.known);
            present |= bit(entry.known);
        }
        (self.present, self.repeated) = (present, repeated);
    }
}

fn bit(known: Known) -> u64 {
    1 << known as u8
}

/// A line up to its value.
struct Begin<'a> {
    name_len: u16,
    known: Known,
    flags: u8,
    value: &'a [u8],
}

impl<'a> Begin<'a> {
    /// Reads what is not letters and hyphens, a colon, a space and a value. `None`: it is no name, or no colon follows.
    #[inline(never)]
    fn rare(line: &'a [u8]) -> Option<Begin<'a>> {
        let len = line.iter().position(|&byte| !is_name(&[byte]))?;
        let (name, [b':', value @ ..]) = line.split_at(len) else { return None };
        let usual = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        let name_len = u16::try_from(len).ok().filter(|&len| len > 0)?;
        Some(Begin {
            name_len,
            known: Known::of(name),
            flags: if usual { 0 } else { UNUSUAL },
            value: &value[value.iter().take_while(|byte| is_blank(byte)).count()..],
        })
    }
}

#[cold]
fn trim_end(mut value: &[u8]) -> &[u8] {
    while let [before @ .., b' ' | b'\t'] = value {
        value = before;
    }
    value
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Why field lines are refused: the first thing that is wrong with them.
#[cold]
fn fault(lines: &[u8], limit: usize) -> Reason {
    let (mut rest, mut count, mut long_name) = (lines, 0, false);
    loop {
        match rest {
            [b'\r', b'\n', ..] => break,
            [] | [b'\r', ..] => return Reason::LineEnding,
            _ => {}
        }
        let name = rest.iter().take_while(|&&byte| is_name(&[byte])).count();
        match &rest[name..] {
            [] => return Reason::LineEnding,
            [b':', behind @ ..] if name > 0 => rest = behind,
            _ if folded(lines) => return Reason::ObsFold,
            _ => return Reason::FieldName,
        }
        let value = rest.iter().take_while(|&&byte| is_value(&[byte])).count();
        match &rest[value..] {
            [b'\r', b'\n', behind @ ..] => rest = behind,
            [] | [b'\r'] => return Reason::LineEnding,
            _ => return Reason::FieldValue,
        }
        count += 1;
        if count > limit.min(Limits::MAX_FIELDS) {
            return Reason::TooManyFields;
        }
        long_name |= name > usize::from(u16::MAX);
    }
    if long_name { Reason::FieldName } else { Reason::LineEnding }
}

fn folded(lines: &[u8]) -> bool {
    lines.split(|&byte| byte == b'\n').any(|line| matches!(line.first(), Some(b' ' | b'\t')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::Strategy;

    use super::*;

    fn section(lines: &str) -> Result<FieldSection, Reason> {
        let mut section =
            FieldSection { bytes: format!("first line\r\n{lines}\r\n").into_bytes(), ..FieldSection::default() };
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
                let mut section = FieldSection { bytes, ..FieldSection::default() };
                section.index(0, limit).map(|()| section.len())
            };
            assert_eq!(with(limit), Ok(limit));
            assert_eq!(with(limit + 1), Err(Reason::TooManyFields), "{limit}");
        }
    }

    type Pair<'a> = (&'a [u8], &'a [u8]);

    /// What httparse makes of the lines, with the names that this module has for what is wrong.
    fn second_opinion(lines: &[u8], limit: usize) -> Result<Vec<Pair<'_>>, Reason> {
        let folded = || lines.split(|&byte| byte == b'\n').any(|line| matches!(line.first(), Some(b' ' | b'\t')));
        let mut slots = [httparse::EMPTY_HEADER; Limits::MAX_FIELDS];
        let fields = match httparse::parse_headers(lines, &mut slots[..limit]) {
            Ok(httparse::Status::Complete((end, fields))) if end == lines.len() => fields,
            Ok(_) | Err(httparse::Error::NewLine) => return Err(Reason::LineEnding),
            Err(httparse::Error::TooManyHeaders) => return Err(Reason::TooManyFields),
            Err(httparse::Error::HeaderValue) => return Err(Reason::FieldValue),
            Err(_) if folded() => return Err(Reason::ObsFold),
            Err(_) => return Err(Reason::FieldName),
        };
        Ok(fields.iter().map(|field| (field.name.as_bytes(), field.value)).collect())
    }

    /// Reads lines both ways; they end with an empty one, and have no LF but behind a CR: whoever calls has seen to that.
    fn compare(lines: &[u8], limit: usize) {
        let mut section = FieldSection { bytes: lines.to_vec(), ..FieldSection::default() };
        let indexed = section.index(0, limit);
        let fields = indexed.map(|()| section.iter().map(|field| (field.name, field.value)).collect());
        assert_eq!(fields, second_opinion(lines, limit), "{:?}", String::from_utf8_lossy(lines));
        let mut copied = Vec::new();
        section.copy_lines(&mut copied, |_| true);
        assert!(indexed.is_err() || copied == lines[..lines.len() - 2]);
        let mut taken = FieldSection::default();
        let behind = [lines, b"GET /"].concat();
        assert_eq!(taken.take(&behind, 0, limit, lines.len()), indexed.ok().map(|()| lines.len()));
        assert!(indexed.is_err() || taken.iter().eq(section.iter()));
        assert_eq!(taken.take(&behind, 0, limit, lines.len() - 1), None);
        for cut in 0..lines.len() {
            assert_eq!(taken.take(&lines[..cut], 0, limit, lines.len()), None);
        }
    }

    #[test]
    fn every_byte_in_a_name_and_in_a_value_is_judged_as_httparse_does() {
        for len in [1, 2, 3, 7, 8, 9, 15, 16, 17, 23, 24, 25, 33] {
            for at in 0..len {
                for byte in (0..=255).filter(|&byte| byte != b'\n') {
                    let mut part = vec![b'a'; len];
                    part[at] = byte;
                    compare(&[b"A: b\r\n", &part[..], b": value\r\n\r\n"].concat(), 100);
                    compare(&[b"Name: ", &part[..], b"\r\n\r\n"].concat(), 100);
                }
            }
        }
    }

    #[test]
    fn names_and_values_of_every_length_are_read_as_httparse_does() {
        for name in 0..40 {
            for value in 0..80 {
                for (before, behind) in [(" ", ""), ("", ""), ("\t ", " "), ("  ", "\t \t")] {
                    let (name, value) = ("n".repeat(name), "v".repeat(value));
                    compare(format!("{name}:{before}{value}{behind}\r\n\r\n").as_bytes(), 100);
                }
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn lines_are_read_as_httparse_does(
            parts in proptest::collection::vec(proptest::prop_oneof![
                6 => "(Host|cookie|X-[a-zA-Z0-9_.]{0,30}|[!-9;-~]{0,12}):[ \t]{0,2}[ -~\t\u{e9}]{0,70}\r\n",
                1 => proptest::sample::select(&[":", " ", "\t", "\r", "a", "\0", "\x7f", "\r\r\n", "\u{e9}", "a\r\n"][..])
                    .prop_map(str::to_owned),
            ], 0..12),
            limit in proptest::sample::select(&[0usize, 1, 3, 100][..]),
        ) {
            let lines = format!("{}\r\n", parts.concat());
            // A head ends at its first empty line.
            let end = if lines.starts_with("\r\n") { 2 } else { lines.find("\r\n\r\n").map_or(lines.len(), |end| end + 4) };
            compare(&lines.as_bytes()[..end], limit);
        }
    }
}
