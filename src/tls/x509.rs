//! What does a certificate say of itself? The few fields that rustls does not tell: how long it is valid, and of whom it
//! speaks. Reads DER (X.690); trusts nothing, and judges nothing that rustls judges.

use crate::date::Date;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when, in seconds since 1970.
    pub not_after: i64,
    /// Of whom it speaks, in the form of RFC 4514: `CN=example.com,O=Example` (nginx: `$ssl_client_s_dn`).
    pub subject: String,
    /// Who says so (nginx: `$ssl_client_i_dn`).
    pub issuer: String,
    /// Its number, in hexadecimal digits (nginx: `$ssl_client_serial`).
    pub serial: String,
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
/// Names with more parts than this are somebody's joke.
const MOST_PARTS: usize = 64;

/// Reads the first fields of a certificate (RFC 5280 §4.1); `None`: it is none.
pub fn summary(der: &[u8]) -> Option<Summary> {
    let mut certificate = Reader(Reader(der).expect(SEQUENCE)?);
    let mut fields = Reader(certificate.expect(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.expect(VERSION)?;
    }
    let serial = fields.expect(INTEGER)?;
    let _algorithm = fields.expect(SEQUENCE)?;
    let issuer = name(fields.expect(SEQUENCE)?)?;
    let mut validity = Reader(fields.expect(SEQUENCE)?);
    let not_before = time(validity.next()?)?;
    let not_after = time(validity.next()?)?;
    let subject = name(fields.expect(SEQUENCE)?)?;
    let serial = serial.iter().map(|byte| format!("{byte:02X}")).collect();
    Some(Summary { not_before, not_after, subject, issuer, serial })
}

/// Tag, length, content; one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match usize::from(first) {
            short @ ..0x80 => (short, rest),
            long => {
                let (digits, rest) = rest.split_at_checked(long - 0x80).filter(|_| (0x81..=0x84).contains(&long))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5), as seconds since 1970.
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let [month, day, hour, minute, second] = *rest.chunks(2).map(number).collect::<Option<Vec<i64>>>()? else {
        return None;
    };
    if rest.len() != 10 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let date = Date { year, month: month as u8, day: day as u8 };
    Some(date.days() * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// A distinguished name; its parts in reverse order, as RFC 4514 has it.
fn name(content: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Reader(content);
    while !sets.0.is_empty() {
        let mut set = Reader(sets.expect(SET)?);
        let mut joined = Vec::new();
        while !set.0.is_empty() {
            let mut pair = Reader(set.expect(SEQUENCE)?);
            let kind = pair.expect(OBJECT_IDENTIFIER)?;
            let (_, value) = pair.next()?;
            joined.push(format!("{}={}", kind_of(kind), escaped(value)));
        }
        parts.push(joined.join("+"));
        if parts.len() > MOST_PARTS {
            return None;
        }
    }
    parts.reverse();
    Some(parts.join(","))
}

/// The short name of an attribute (RFC 4514 §3, and what OpenSSL knows beside), else its number.
fn kind_of(oid: &[u8]) -> String {
    let known = match oid {
        [0x55, 0x04, 3] => "CN",
        [0x55, 0x04, 4] => "SN",
        [0x55, 0x04, 5] => "serialNumber",
        [0x55, 0x04, 6] => "C",
        [0x55, 0x04, 7] => "L",
        [0x55, 0x04, 8] => "ST",
        [0x55, 0x04, 9] => "street",
        [0x55, 0x04, 10] => "O",
        [0x55, 0x04, 11] => "OU",
        [0x55, 0x04, 12] => "title",
        [0x55, 0x04, 42] => "GN",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => "emailAddress",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        _ => return dotted(oid),
    };
    known.to_owned()
}

/// `2.5.4.97`.
fn dotted(oid: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0u64;
    for byte in oid {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first);
                number -= first * 40;
            }
            numbers.push(number);
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// RFC 4514 §2.4. What is no UTF-8 or controls a terminal is written in hexadecimal digits, so that nobody forges a
/// field or a line of a log.
fn escaped(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let edge = (at == 0 && matches!(c, ' ' | '#')) || (c == ' ' && at + 1 == text.len());
        match c {
            c if c.is_control() || c == char::REPLACEMENT_CHARACTER || !c.is_ascii() => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    out.push_str(&format!("\\{byte:02X}"));
                }
            }
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', c]),
            c if edge => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// `2027-03-01` of seconds since 1970, in UTC.
pub fn date(seconds: i64) -> String {
    Date::of(seconds.div_euclid(86_400)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(subject: &[(rcgen::DnType, &str)]) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 12, 31);
        params.serial_number = Some(vec![0x1f, 0x02].into());
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_tells_its_time_and_its_names() {
        use rcgen::DnType::{CommonName, CountryName, OrganizationName};
        let der = made(&[(CountryName, "DE"), (OrganizationName, "Weir, Ltd."), (CommonName, "a.test")]);
        let summary = summary(&der).unwrap();
        assert_eq!(summary.subject, "CN=a.test,O=Weir\\, Ltd.,C=DE");
        assert_eq!(summary.issuer, summary.subject);
        assert_eq!((date(summary.not_before), date(summary.not_after)), ("2024-02-29".into(), "2051-12-31".into()));
        assert_eq!(summary.serial, "1F02");
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        assert_eq!(escaped(b"a\r\nX: y"), "a\\0D\\0AX: y");
        assert_eq!(escaped(" #a ".as_bytes()), "\\ #a\\ ");
        assert_eq!(escaped("ü".as_bytes()), "\\C3\\BC");
        assert_eq!(dotted(&[0x55, 0x04, 0x61]), "2.5.4.97");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = summary(&der);
        }

        #[test]
        fn nor_is_a_certificate_with_one_byte_changed(at in 0usize..300, to in any::<u8>()) {
            static DER: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut der = DER.get_or_init(|| made(&[(rcgen::DnType::CommonName, "a.test")])).clone();
            let at = at % der.len();
            der[at] = to;
            let _ = summary(&der);
        }
    }
}
