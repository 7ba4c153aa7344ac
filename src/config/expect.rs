//! What must an answer be like? The words of `[upstream.NAME.health_check.match]`, which `weir healthcheck --expect`
//! speaks, too. (nginx Plus: `match` block, spec §6.2.)

use std::fmt;

use regex::bytes::Regex;

use super::diagnostic::Unfit;
use super::json_test::{self, JsonTest};
use super::model::{BodyTest, HeaderTest, StatusSet, ValueTest};

/// What is wrong with a test. The sentences may contain its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// What such a test looks like.
    pub message: String,
    /// Why this is none.
    pub why: Unfit,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.why)
    }
}

impl std::error::Error for Unread {}

/// One test on an answer.
#[derive(Clone, Debug)]
pub enum Test {
    /// `status 200-399`.
    Status(StatusSet),
    /// `header content-type ~ json`.
    Header(HeaderTest),
    /// `body ~ ok`.
    Body(BodyTest),
    /// `json status == ok`, or without the first word.
    Json(JsonTest),
}

/// Reads a test that says what it is about: `status 200`, `header content-type = text/html`, `body !~ error`,
/// `json status == ok`. What begins with none of these words is a test on JSON.
///
/// # Errors
/// Says what such a test looks like.
pub fn parse(text: &str) -> Result<Test, Unread> {
    let text = text.trim();
    let (first, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(first, rest)| (first, rest.trim()));
    // `status == ok` is about a member of that name.
    let compares = ["==", "!=", "<", ">"].iter().any(|operator| rest.starts_with(operator));
    match first {
        "status" if !compares && !rest.is_empty() => status(rest).map(Test::Status),
        "body" if rest.starts_with(['~', '!']) && !rest.starts_with("!=") => body(rest).map(Test::Body),
        "header" if !compares && !rest.is_empty() => header(rest).map(Test::Header),
        "json" if !compares && !rest.is_empty() => json_test::parse(rest).map(Test::Json),
        _ => json_test::parse(text).map(Test::Json),
    }
}

/// `200`, `200-399 418`, `! 500-599`.
///
/// # Errors
/// Says what a list of statuses looks like.
pub fn status(text: &str) -> Result<StatusSet, Unread> {
    parse_status(text).map_err(|why| Unread { message: STATUS.to_owned(), why })
}

/// What `status` takes.
pub(super) const STATUS: &str = "`status` takes statuses from 100 to 599: `200`, `\"200-399\"`, `\"! 500-599\"`";

fn parse_status(text: &str) -> Result<StatusSet, Unfit> {
    let (negated, list) = match text.trim().strip_prefix('!') {
        Some(list) => (true, list),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    for word in list.split_whitespace() {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if is_status(first) && is_status(last) && first <= last => ranges.push((first, last)),
            (Ok(first), Ok(last)) if first > last => {
                return Err(Unfit::because(format!("`{word}` is empty")).help(format!("write `{last}-{first}`")));
            }
            _ => return Err(Unfit::because(format!("`{word}` is no status and no range of statuses"))),
        }
    }
    match ranges.is_empty() {
        true => Err(Unfit::because("no status is named")),
        false => Ok(StatusSet { negated, ranges }),
    }
}

/// Whether there may be such a status.
pub(super) fn is_status(status: u16) -> bool {
    (100..=599).contains(&status)
}

/// nginx's words: `text/html`, `= text/html`, `!= x`, `~ re`, `!~ re`.
///
/// # Errors
/// A regular expression that is none.
pub fn value(test: &str) -> Result<ValueTest, Unread> {
    let operand = |operator: &str| test.strip_prefix(operator).map(str::trim);
    if let Some(pattern) = operand("!~") {
        return regex(pattern).map(ValueTest::MatchesNot);
    }
    if let Some(pattern) = operand("~") {
        return regex(pattern).map(ValueTest::Matches);
    }
    if let Some(value) = operand("!=") {
        return Ok(ValueTest::IsNot(value.to_owned()));
    }
    Ok(ValueTest::Is(operand("=").unwrap_or(test).to_owned()))
}

/// `~ REGEX` or `!~ REGEX`.
///
/// # Errors
/// Neither, or a regular expression that is none.
pub fn body(test: &str) -> Result<BodyTest, Unread> {
    match (test.strip_prefix("!~"), test.strip_prefix('~')) {
        (Some(pattern), _) => Ok(BodyTest { negated: true, pattern: regex(pattern.trim())? }),
        (_, Some(pattern)) => Ok(BodyTest { negated: false, pattern: regex(pattern.trim())? }),
        (None, None) => {
            let why = Unfit::because("it begins with neither `~` nor `!~`").help(format!("write `\"~ {test}\"`"));
            Err(Unread { message: "`body` takes `\"~ REGEX\"` or `\"!~ REGEX\"`".to_owned(), why })
        }
    }
}

/// A regular expression that is not empty.
pub(super) fn regex(pattern: &str) -> Result<Regex, Unread> {
    if pattern.is_empty() {
        let message = "a regular expression is missing".to_owned();
        return Err(Unread { message, why: Unfit::because("it fits everything") });
    }
    Regex::new(pattern).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let why = Unfit::because(reason);
        let why = match pattern.strip_prefix('*') {
            Some(rest) => why.help(format!("without regard to case, write `(?i){}`", rest.trim())),
            None => why,
        };
        Unread { message: "this regular expression cannot be read".to_owned(), why }
    })
}

/// nginx's `header` of a `match`: `content-type = text/html`, `! error`, `x-ready`.
fn header(text: &str) -> Result<HeaderTest, Unread> {
    let (absent, written) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let length = written.find(|c: char| c.is_whitespace() || "=~!:".contains(c)).unwrap_or(written.len());
    let (name, test) = (written[..length].to_ascii_lowercase(), written[length..].trim());
    let unread = |why: Unfit| {
        let message = "`header` takes a name and a test: `content-type ~ json`, `x-ready`, `! x-error`".to_owned();
        Err(Unread { message, why })
    };
    if !super::decode::is_field_name(&name) {
        return unread(Unfit::because(format!("{name:?} cannot be the name of a field")));
    }
    let test = match (test, absent) {
        ("", false) => ValueTest::Present,
        ("", true) => ValueTest::Absent,
        (_, true) => return unread(Unfit::because("`!` in front of a name wants it absent: no value")),
        (test, false) if test.starts_with(['=', '~', '!']) => value(test)?,
        (test, false) => {
            let help = format!("write `{name} = {}`", test.trim_start_matches(':').trim());
            return unread(Unfit::because(format!("`{test}` is no test")).help(help));
        }
    };
    Ok(HeaderTest { name, test })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_lists_of_ranges() {
        let set = |negated, ranges: &[(u16, u16)]| Ok(StatusSet { negated, ranges: ranges.to_vec() });
        let table = [
            ("200", set(false, &[(200, 200)])),
            ("200-399", set(false, &[(200, 399)])),
            ("200 301-302", set(false, &[(200, 200), (301, 302)])),
            ("! 500-599", set(true, &[(500, 599)])),
        ];
        for (text, set) in table {
            assert_eq!(parse_status(text), set, "{text}");
        }
        for text in ["", "!", "ok", "99", "600", "200-", "300-200", "200,204", "2xx"] {
            assert!(parse_status(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_test_says_what_it_is_about_and_json_need_not() {
        for (text, about) in [
            ("status 200-299", "status"),
            ("status ! 500-599", "status"),
            ("status == ok", "json"),
            ("status != down", "json"),
            ("status", "json"),
            ("body ~ ok", "body"),
            ("body !~ error", "body"),
            ("body != x", "json"),
            ("json body ~ ok", "json"),
            ("json == 1", "json"),
            ("checks.db.latency < 100", "json"),
            ("header content-type = text/html", "header"),
            ("header ! x-error", "header"),
            ("header x-ready", "header"),
        ] {
            let read = match parse(text).expect(text) {
                Test::Status(_) => "status",
                Test::Header(_) => "header",
                Test::Body(_) => "body",
                Test::Json(_) => "json",
            };
            assert_eq!(read, about, "{text}");
        }
    }

    #[test]
    fn what_is_no_test_is_told_with_what_to_type() {
        for (text, told) in [
            ("status 2xx", "`2xx` is no status and no range of statuses"),
            ("header content-type: json", "`: json` is no test; write `content-type = json`"),
            ("header ! x = y", "`!` in front of a name wants it absent: no value"),
            ("body ~ (", "unclosed group"),
        ] {
            assert_eq!(parse(text).expect_err(text).why.to_string(), told, "{text}");
        }
    }
}
