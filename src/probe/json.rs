//! Does a JSON body say what it should? Pure.

use serde_json::Value;

use super::expect::BODY_PREFIX;
use crate::config::json_test::{JsonTest, JsonValueTest, Operand, Order, Step};

/// How many letters of a value are told.
const SHOWN: usize = 40;

/// What the first test that does not hold found, as the end of "…, but"; `None`: all hold.
pub(super) fn unmet(tests: &[JsonTest], body: &[u8]) -> Option<String> {
    if tests.is_empty() {
        return None;
    }
    let Ok(document) = serde_json::from_slice::<Value>(body) else {
        return Some(match body.len() {
            0 => "the body is empty, not JSON".into(),
            BODY_PREFIX.. => "the body is longer than 256 KiB".into(),
            _ => "the body is not JSON".into(),
        });
    };
    tests.iter().find_map(|test| found_instead(test, &document))
}

/// What was found in place of what should be; `None`: the test holds.
fn found_instead(test: &JsonTest, document: &Value) -> Option<String> {
    let values = at(&test.path, document);
    let wrong = values.into_iter().find(|value| !holds(&test.test, *value))?;
    Some(match wrong {
        None => format!("there is nothing for `{}`", test.text),
        Some(value) => format!("`{}` is wrong: it is {}", test.text, shown(value)),
    })
}

/// The values that a path leads to; `None` where it leads nowhere.
fn at<'a>(path: &[Step], document: &'a Value) -> Vec<Option<&'a Value>> {
    let mut values = vec![Some(document)];
    for step in path {
        values = match step {
            Step::Member(name) => values.into_iter().map(|value| value?.get(name)).collect(),
            Step::Item(index) => values.into_iter().map(|value| value?.get(index)).collect(),
            Step::Each => {
                let items = |value: Option<&'a Value>| match value {
                    Some(Value::Array(items)) => items.iter().map(Some).collect(),
                    Some(Value::Object(members)) => members.values().map(Some).collect(),
                    _ => vec![None],
                };
                values.into_iter().flat_map(items).collect()
            }
        };
    }
    values
}

fn holds(test: &JsonValueTest, value: Option<&Value>) -> bool {
    let Some(value) = value else { return matches!(test, JsonValueTest::Absent) };
    let matches = |pattern: &regex::bytes::Regex| match value {
        Value::String(text) => Some(pattern.is_match(text.as_bytes())),
        Value::Number(number) => Some(pattern.is_match(number.to_string().as_bytes())),
        _ => None,
    };
    match test {
        JsonValueTest::Present => true,
        JsonValueTest::Absent => false,
        JsonValueTest::Is(operand) => equals(operand, value),
        JsonValueTest::IsNot(operand) => !equals(operand, value),
        JsonValueTest::Compares(order, limit) => value.as_f64().is_some_and(|number| match order {
            Order::Less => number < *limit,
            Order::AtMost => number <= *limit,
            Order::More => number > *limit,
            Order::AtLeast => number >= *limit,
        }),
        JsonValueTest::Matches(pattern) => matches(pattern) == Some(true),
        JsonValueTest::MatchesNot(pattern) => matches(pattern) == Some(false),
    }
}

fn equals(operand: &Operand, value: &Value) -> bool {
    match (operand, value) {
        (Operand::Text(text) | Operand::Bare { word: text, .. }, Value::String(value)) => text == value,
        (Operand::Bare { value: Some(Value::Number(wanted)), .. }, Value::Number(value)) => {
            // 1 and 1.0 are one number; whole numbers are compared exactly.
            wanted == value || (!(wanted.is_i64() && value.is_i64()) && wanted.as_f64() == value.as_f64())
        }
        (Operand::Bare { value: Some(wanted), .. }, value) => wanted == value,
        _ => false,
    }
}

/// Not all of it: it goes into a log.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) if text.chars().count() > SHOWN => {
            format!("{:?}…", text.chars().take(SHOWN).collect::<String>())
        }
        Value::String(text) => format!("{text:?}"),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::json_test::parse;

    const BODY: &str = r#"{"status": "ok", "latency": 12.5, "version": "1.0", "count": 3, "ready": true, "error": null,
        "checks": [{"name": "db", "ok": true}, {"name": "cache", "ok": false}], "a b": {"c": 1}, "none": []}"#;

    fn told(test: &str, body: &str) -> Option<String> {
        unmet(&[parse(test).expect(test)], body.as_bytes())
    }

    #[test]
    fn what_holds_and_what_does_not() {
        for (test, holds) in [
            ("status == ok", true),
            ("status == \"ok\"", true),
            ("status == 'ok'", true),
            ("$.status != ok", false),
            ("status != down", true),
            ("nothing != down", false),
            ("status ~ ^o", true),
            ("status !~ ^o", false),
            ("count ~ ^3$", true),
            ("ready ~ true", false),
            ("ready !~ true", false),
            ("latency < 12.5", false),
            ("latency <= 12.5", true),
            ("latency > 12", true),
            ("count >= 4", false),
            ("status < 4", false),
            ("count == 3", true),
            ("count == 3.0", true),
            ("count == \"3\"", false),
            ("version == 1.0", true),
            ("ready == true", true),
            ("ready == \"true\"", false),
            ("error == null", true),
            ("error", true),
            ("! error", false),
            ("! nothing", true),
            ("nothing", false),
            ("checks[0].ok == true", true),
            ("checks[1].ok == true", false),
            ("checks[2].ok == true", false),
            ("checks[*].name ~ .", true),
            ("checks[*].ok == true", false),
            ("none[*].ok == true", true),
            ("status[*] == ok", false),
            ("$[\"a b\"].c == 1", true),
            ("checks == x", false),
        ] {
            assert_eq!(told(test, BODY).is_none(), holds, "{test}");
        }
    }

    #[test]
    fn what_was_found_instead_is_told_and_no_more_of_it_than_a_line_bears() {
        for (test, body, words) in [
            ("status == ok", "", "the body is empty, not JSON"),
            ("status == ok", "ok", "the body is not JSON"),
            ("status == ok", r#"{"status": "down"}"#, r#"`status == ok` is wrong: it is "down""#),
            ("status == ok", "{}", "there is nothing for `status == ok`"),
            ("status == ok", r#"{"status": {}}"#, "`status == ok` is wrong: it is an object"),
            ("status == ok", "{\"status\": \"a\\nb\"}", "`status == ok` is wrong: it is \"a\\nb\""),
        ] {
            assert_eq!(told(test, body).as_deref(), Some(words), "{test}");
        }
        let long = format!("{{\"status\": \"{}\"}}", "x".repeat(1_000));
        let words = told("status == ok", &long).expect("it does not hold");
        assert!(words.ends_with(&format!("it is \"{}\"…", "x".repeat(40))), "{words}");
        let longer = format!("{{\"status\": \"{}\"}}", "x".repeat(BODY_PREFIX));
        let words = unmet(&[parse("status == ok").expect("a test")], &longer.as_bytes()[..BODY_PREFIX]);
        assert_eq!(words.as_deref(), Some("the body is longer than 256 KiB"));
    }

    #[test]
    fn large_whole_numbers_are_not_rounded() {
        assert!(told("n == 9007199254740993", r#"{"n": 9007199254740992}"#).is_some());
    }
}
