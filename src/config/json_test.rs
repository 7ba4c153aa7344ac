//! What must a JSON body say? `status == "ok"`, `checks[0].latency < 100`: a path, a comparison, a value.

use regex::bytes::Regex;

use super::diagnostic::Unfit;
use super::expect::{Unread, regex};

/// `json = "status == ok"` of a `match`.
#[derive(Clone, Debug)]
pub struct JsonTest {
    /// As it was written, for whoever reads that it does not hold.
    pub text: String,
    /// Where to look.
    pub path: Vec<Step>,
    /// What must hold there.
    pub test: JsonValueTest,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `.name` or `["name"]`.
    Member(String),
    /// `[0]`.
    Item(usize),
    /// `[*]`: the test must hold for each item.
    Each,
}

/// What must hold for a value.
#[derive(Clone, Debug)]
pub enum JsonValueTest {
    /// It is there, be it `null`.
    Present,
    /// It is not there.
    Absent,
    /// `== VALUE`.
    Is(Operand),
    /// `!= VALUE`: it is there with another value.
    IsNot(Operand),
    /// `< NUMBER` and the like.
    Compares(Order, f64),
    /// `~ REGEX`: a text or a number that matches.
    Matches(Regex),
    /// `!~ REGEX`: a text or a number that does not.
    MatchesNot(Regex),
}

/// An order of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// `"ok"`: this text.
    Text(String),
    /// `ok`, `7`, `true`, `null`: what JSON reads there, or a text of these letters.
    Bare {
        /// As written.
        word: String,
        /// `7` as a number, `true`, `null`; `None`: it is no JSON.
        value: Option<serde_json::Value>,
    },
}

/// Longest first.
const OPERATORS: [&str; 8] = ["==", "!=", "<=", ">=", "!~", "<", ">", "~"];

const GRAMMAR: &str = "a test on JSON is `PATH == VALUE`: `status == ok`, `checks[0].latency < 100`";

/// Reads one test.
///
/// # Errors
/// No path, an operator that is none, a value of the wrong kind. Says what to type.
pub fn parse(text: &str) -> Result<JsonTest, Unread> {
    let unread = |why: Unfit| Unread { message: GRAMMAR.to_owned(), why };
    let trimmed = text.trim();
    let (absent, written) = match trimmed.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, trimmed),
    };
    let (path, rest) = path(written).map_err(unread)?;
    let rest = rest.trim_start();
    let test = match OPERATORS.iter().find_map(|operator| Some((*operator, rest.strip_prefix(operator)?.trim()))) {
        None if rest.is_empty() && absent => JsonValueTest::Absent,
        None if rest.is_empty() => JsonValueTest::Present,
        Some(_) if absent => {
            return Err(unread(Unfit::because("`!` in front of a path wants it absent: no comparison")));
        }
        Some((operator, "")) => return Err(unread(Unfit::because(format!("a value is missing behind `{operator}`")))),
        Some((operator, value)) => comparison(operator, value)?,
        None if rest.starts_with('=') => {
            let help = format!("write `{} == {}`", &written[..written.len() - rest.len()].trim(), rest[1..].trim());
            return Err(unread(Unfit::because("equal is `==`").help(help)));
        }
        None => {
            let word = rest.split_whitespace().next().unwrap_or_default();
            let help = "these are: `==`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `!~`";
            return Err(unread(Unfit::because(format!("`{word}` is no comparison")).help(help)));
        }
    };
    Ok(JsonTest { text: trimmed.to_owned(), path, test })
}

fn comparison(operator: &str, value: &str) -> Result<JsonValueTest, Unread> {
    let order = match operator {
        "==" => return Ok(JsonValueTest::Is(operand(value)?)),
        "!=" => return Ok(JsonValueTest::IsNot(operand(value)?)),
        "~" => return Ok(JsonValueTest::Matches(regex(value)?)),
        "!~" => return Ok(JsonValueTest::MatchesNot(regex(value)?)),
        "<" => Order::Less,
        "<=" => Order::AtMost,
        ">" => Order::More,
        _ => Order::AtLeast,
    };
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(JsonValueTest::Compares(order, number)),
        _ => {
            let why = Unfit::because(format!("`{operator}` compares numbers, and `{value}` is none"));
            Err(Unread { message: GRAMMAR.to_owned(), why })
        }
    }
}

fn operand(value: &str) -> Result<Operand, Unread> {
    match serde_json::from_str(value) {
        Ok(serde_json::Value::String(text)) => Ok(Operand::Text(text)),
        // 'ok', for a shell or a TOML file has taken the double quotes.
        _ if value.len() >= 2 && value.starts_with('\'') && value.ends_with('\'') => {
            Ok(Operand::Text(value[1..value.len() - 1].to_owned()))
        }
        Ok(serde_json::Value::Array(_) | serde_json::Value::Object(_)) => {
            let why = Unfit::because("lists and objects are not compared").help("compare what is in them, one by one");
            Err(Unread { message: GRAMMAR.to_owned(), why })
        }
        read => Ok(Operand::Bare { word: value.to_owned(), value: read.ok() }),
    }
}

/// `$.a.b[0]["c d"][*]`; the `$` and the first dot may be left out. And what follows.
fn path(text: &str) -> Result<(Vec<Step>, &str), Unfit> {
    let mut steps = Vec::new();
    let mut rest = text.strip_prefix('$').unwrap_or(text);
    loop {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (step, behind) = bracketed(bracket)?;
            steps.push(step);
            rest = behind;
            continue;
        }
        let dotted = rest.strip_prefix('.');
        if dotted.is_none() && !(steps.is_empty() && rest.len() == text.len()) {
            break;
        }
        let name = dotted.unwrap_or(rest);
        let length = name.find(|c: char| c.is_whitespace() || ".[]=!<>~\"'".contains(c)).unwrap_or(name.len());
        if length == 0 {
            return Err(
                Unfit::because("the path is missing").help("write it as `status`, `checks.db.ok`, `items[0].name`")
            );
        }
        steps.push(Step::Member(name[..length].to_owned()));
        rest = &name[length..];
    }
    Ok((steps, rest))
}

fn bracketed(text: &str) -> Result<(Step, &str), Unfit> {
    let wrong = || Unfit::because("between brackets stands a number, `*`, or a quoted name: `[0]`, `[*]`, `[\"a b\"]`");
    if text.starts_with('"') {
        let mut read = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = read.next().and_then(Result::ok).ok_or_else(wrong)?;
        let behind = text[read.byte_offset()..].strip_prefix(']').ok_or_else(wrong)?;
        return Ok((Step::Member(name), behind));
    }
    let (inside, behind) = text.split_once(']').ok_or_else(wrong)?;
    match inside.trim() {
        "*" => Ok((Step::Each, behind)),
        number => Ok((Step::Item(number.parse().map_err(|_| wrong())?), behind)),
    }
}

/// Two tests are one if they are written alike.
impl PartialEq for JsonTest {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Step {
        Step::Member(name.to_owned())
    }

    #[test]
    fn a_path_is_names_numbers_and_quoted_names() {
        for (text, steps, behind) in [
            ("status", vec![member("status")], ""),
            (".status", vec![member("status")], ""),
            ("$.status == ok", vec![member("status")], " == ok"),
            ("a.b-c.d_1<3", vec![member("a"), member("b-c"), member("d_1")], "<3"),
            ("items[0].name", vec![member("items"), Step::Item(0), member("name")], ""),
            ("[*].ok", vec![Step::Each, member("ok")], ""),
            ("$[\"a ] b\"][ 2 ]", vec![member("a ] b"), Step::Item(2)], ""),
            ("$", vec![], ""),
        ] {
            assert_eq!(path(text), Ok((steps, behind)), "{text}");
        }
    }

    #[test]
    fn a_test_without_a_comparison_wants_the_path_to_be_there() {
        assert!(matches!(parse(" status ").expect("a test").test, JsonValueTest::Present));
        assert!(matches!(parse("! error").expect("a test").test, JsonValueTest::Absent));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_to_type() {
        for (text, told) in [
            ("", "the path is missing; write it as `status`, `checks.db.ok`, `items[0].name`"),
            ("== ok", "the path is missing; write it as `status`, `checks.db.ok`, `items[0].name`"),
            ("a..b == 1", "the path is missing; write it as `status`, `checks.db.ok`, `items[0].name`"),
            ("status = ok", "equal is `==`; write `status == ok`"),
            ("status is ok", "`is` is no comparison; these are: `==`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `!~`"),
            ("status ==", "a value is missing behind `==`"),
            ("! status == ok", "`!` in front of a path wants it absent: no comparison"),
            ("latency < soon", "`<` compares numbers, and `soon` is none"),
            ("a == [1]", "lists and objects are not compared; compare what is in them, one by one"),
            ("a[x] == 1", "between brackets stands a number, `*`, or a quoted name: `[0]`, `[*]`, `[\"a b\"]`"),
            ("a[1 == 1", "between brackets stands a number, `*`, or a quoted name: `[0]`, `[*]`, `[\"a b\"]`"),
            ("a ~ (", "unclosed group"),
        ] {
            assert_eq!(parse(text).expect_err(text).why.to_string(), told, "{text}");
        }
    }
}
