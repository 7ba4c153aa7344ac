//! Is this the answer that was asked for? A pure reading of a check's `match` (spec: nginx Plus `match` block).

use std::fmt;

use http::HeaderMap;

use super::json;
use crate::config::model::{Expect, HeaderTest, ValueTest};

/// How much of a body is judged, in bytes; what follows is not read.
pub const BODY_PREFIX: usize = 256 * 1024;

/// The first test that did not hold. Displayed it follows "GET /health answered".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The status is not one of those asked for.
    Status(u16),
    /// A field is not as asked for.
    Header {
        /// The answer's status.
        status: u16,
        /// The field's name.
        name: String,
        /// What was asked of it, in words.
        wanted: String,
    },
    /// The body is not as asked for.
    Body {
        /// The answer's status.
        status: u16,
        /// The body was not to match, and did.
        matched: bool,
    },
    /// The body does not say what it should.
    Json {
        /// The answer's status.
        status: u16,
        /// What it says instead.
        instead: String,
    },
}

/// Judges what the head tells: the status, then the fields in the order of the file. `None`: all as asked for.
pub fn unmet_by_head(expect: &Expect, status: u16, headers: &HeaderMap) -> Option<Unmet> {
    if let Some(set) = &expect.status {
        let listed = set.ranges.iter().any(|&(low, high)| (low..=high).contains(&status));
        if listed == set.negated {
            return Some(Unmet::Status(status));
        }
    }
    let test = expect.headers.iter().find(|test| !holds(test, headers))?;
    Some(Unmet::Header { status, name: test.name.clone(), wanted: in_words(&test.test) })
}

/// Judges the first [`BODY_PREFIX`] bytes of a body: by the pattern, then by the tests on JSON in their order.
pub fn unmet_by_body(expect: &Expect, status: u16, body: &[u8]) -> Option<Unmet> {
    let body = &body[..body.len().min(BODY_PREFIX)];
    if let Some(test) = &expect.body {
        let matched = test.pattern.is_match(body);
        if matched == test.negated {
            return Some(Unmet::Body { status, matched });
        }
    }
    json::unmet(&expect.json, body).map(|instead| Unmet::Json { status, instead })
}

/// With several fields of one name, one that fits is enough; `Absent` wants none at all.
fn holds(test: &HeaderTest, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(test.name.as_str()).iter().map(|value| value.as_bytes());
    match &test.test {
        ValueTest::Present => values.next().is_some(),
        ValueTest::Absent => values.next().is_none(),
        ValueTest::Is(wanted) => values.any(|value| value == wanted.as_bytes()),
        ValueTest::IsNot(unwanted) => values.any(|value| value != unwanted.as_bytes()),
        ValueTest::Matches(pattern) => values.any(|value| pattern.is_match(value)),
        ValueTest::MatchesNot(pattern) => values.any(|value| !pattern.is_match(value)),
    }
}

fn in_words(test: &ValueTest) -> String {
    match test {
        ValueTest::Present => "missing".into(),
        ValueTest::Absent => "present".into(),
        ValueTest::Is(wanted) => format!("not {wanted:?}"),
        ValueTest::IsNot(unwanted) => format!("missing or {unwanted:?}"),
        ValueTest::Matches(pattern) => format!("not matching {:?}", pattern.as_str()),
        ValueTest::MatchesNot(pattern) => format!("missing or matching {:?}", pattern.as_str()),
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmet::Status(404) => write!(f, "404: the application has no such route"),
            Unmet::Status(status) => write!(f, "{status}"),
            Unmet::Header { status, name, wanted } => write!(f, "{status}, but the field {name} is {wanted}"),
            Unmet::Body { status, matched: false } => write!(f, "{status}, but the body does not match"),
            Unmet::Body { status, matched: true } => write!(f, "{status}, but the body matches what it must not"),
            Unmet::Json { status, instead } => write!(f, "{status}, but {instead}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::json_test;
    use crate::config::model::{BodyTest, StatusSet};
    use http::header::{HeaderName, HeaderValue};
    use regex::bytes::Regex;

    fn anything() -> Expect {
        Expect { status: None, headers: Vec::new(), body: None, json: Vec::new() }
    }

    fn status(negated: bool, ranges: &[(u16, u16)]) -> Expect {
        Expect { status: Some(StatusSet { negated, ranges: ranges.to_vec() }), ..anything() }
    }

    fn field(name: &str, test: ValueTest) -> Expect {
        Expect { headers: vec![HeaderTest { name: name.into(), test }], ..anything() }
    }

    fn body(test: &BodyTest) -> Expect {
        Expect { body: Some(test.clone()), ..anything() }
    }

    fn re(pattern: &str) -> Regex {
        Regex::new(pattern).expect("the test's own pattern")
    }

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_status_is_judged_by_inclusive_ranges() {
        let default = status(false, &[(200, 399)]);
        for (code, passes) in [(199, false), (200, true), (302, true), (399, true), (400, false), (503, false)] {
            assert_eq!(unmet_by_head(&default, code, &HeaderMap::new()).is_none(), passes, "{code}");
        }
    }

    #[test]
    fn a_negated_set_lists_what_must_not_come() {
        let not_broken = status(true, &[(404, 404), (500, 599)]);
        for (code, passes) in [(200, true), (403, true), (404, false), (500, false), (599, false)] {
            assert_eq!(unmet_by_head(&not_broken, code, &HeaderMap::new()).is_none(), passes, "{code}");
        }
    }

    #[test]
    fn without_a_status_test_any_status_will_do() {
        assert_eq!(unmet_by_head(&anything(), 500, &HeaderMap::new()), None);
    }

    #[test]
    fn fields_are_judged_as_in_nginx() {
        use ValueTest::*;
        let none: &[(&str, &str)] = &[];
        let ready = &[("x-state", "ready")][..];
        let both = &[("x-state", "ready"), ("x-state", "busy")][..];
        let table = [
            (Present, none, false),
            (Present, ready, true),
            (Absent, none, true),
            (Absent, ready, false),
            (Is("ready".into()), none, false),
            (Is("ready".into()), ready, true),
            (Is("busy".into()), ready, false),
            (Is("busy".into()), both, true),
            (IsNot("busy".into()), none, false),
            (IsNot("busy".into()), ready, true),
            (IsNot("ready".into()), ready, false),
            (IsNot("ready".into()), both, true),
            (Matches(re("^rea")), ready, true),
            (Matches(re("^bus")), ready, false),
            (Matches(re("^bus")), both, true),
            (MatchesNot(re("^bus")), none, false),
            (MatchesNot(re("^bus")), ready, true),
            (MatchesNot(re("^rea")), ready, false),
        ];
        for (test, sent, passes) in table {
            let claim = format!("{test:?} of {sent:?}");
            assert_eq!(unmet_by_head(&field("x-state", test), 200, &fields(sent)).is_none(), passes, "{claim}");
        }
    }

    #[test]
    fn a_body_is_judged_by_its_first_256_kib() {
        let ok = BodyTest { negated: false, pattern: re("ok") };
        let no_error = BodyTest { negated: true, pattern: re("(?i)error") };
        let mut long = vec![b'.'; BODY_PREFIX];
        long.extend_from_slice(b"ok ERROR");
        for (test, body, passes) in [
            (&ok, &b"all ok"[..], true),
            (&ok, b"", false),
            (&ok, &long, false),
            (&no_error, b"all ok", true),
            (&no_error, b"Error 7", false),
            (&no_error, &long, true),
            (&ok, b"\xff\xfe ok", true),
        ] {
            assert_eq!(
                unmet_by_body(&self::body(test), 200, body).is_none(),
                passes,
                "{:?} of {} bytes",
                test,
                body.len()
            );
        }
    }

    #[test]
    fn what_is_unmet_reads_as_the_end_of_a_sentence() {
        let told = |expect: &Expect, code| {
            unmet_by_head(expect, code, &fields(&[("x-state", "busy")])).map(|unmet| unmet.to_string())
        };
        let default = status(false, &[(200, 399)]);
        assert_eq!(told(&default, 500).as_deref(), Some("500"));
        assert_eq!(told(&default, 404).as_deref(), Some("404: the application has no such route"));
        let ready = field("x-state", ValueTest::Is("ready".into()));
        assert_eq!(told(&ready, 200).as_deref(), Some("200, but the field x-state is not \"ready\""));
        let no_ok = body(&BodyTest { negated: false, pattern: re("ok") });
        let unmet = unmet_by_body(&no_ok, 200, b"starting").map(|unmet| unmet.to_string());
        assert_eq!(unmet.as_deref(), Some("200, but the body does not match"));
    }

    #[test]
    fn a_body_is_judged_by_its_pattern_and_then_by_what_its_json_says() {
        let pattern = BodyTest { negated: true, pattern: re("panic") };
        let json = vec![json_test::parse("status == ok").expect("a test")];
        let both = Expect { json, ..body(&pattern) };
        let told = |body: &[u8]| unmet_by_body(&both, 200, body).map(|unmet| unmet.to_string());
        assert_eq!(told(br#"{"status": "ok"}"#), None);
        assert_eq!(told(br#"{"status": "panic"}"#).as_deref(), Some("200, but the body matches what it must not"));
        let down = told(br#"{"status": "down"}"#);
        assert_eq!(down.as_deref(), Some(r#"200, but `status == ok` is wrong: it is "down""#));
    }

    #[test]
    fn the_status_is_told_before_a_field() {
        let both = Expect { headers: field("x-state", ValueTest::Present).headers, ..status(false, &[(200, 299)]) };
        assert_eq!(unmet_by_head(&both, 500, &HeaderMap::new()), Some(Unmet::Status(500)));
    }
}
