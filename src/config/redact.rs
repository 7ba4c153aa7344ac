//! What of a file must not be shown, although a mistake stands beside it? The values of `secret` and `token`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// A key that holds a secret, and its string, in any of TOML's four spellings and whether or not it ends.
static SECRETS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let strings = r#""""(?s:(.*?))(?:"""|\z)|'''(?s:(.*?))(?:'''|\z)|"((?:[^"\\\n]|\\.)*)|'([^'\n]*)"#;
    Regex::new(&format!(r#"\b(?:secret|token)["']?[ \t]*=[ \t]*(?:{strings})"#)).ok()
});

/// The text with `*` for every byte of a secret, so that all places stay. What only names a variable of the environment
/// stays readable.
pub(super) fn secrets(text: &str) -> String {
    let Some(pattern) = &*SECRETS else { return String::new() };
    let mut shown = text.to_owned();
    for found in pattern.captures_iter(text) {
        if let Some(place) = value(&found)
            && !is_reference(&text[place.clone()])
        {
            shown.replace_range(place.clone(), &"*".repeat(place.len()));
        }
    }
    shown
}

fn value(found: &Captures<'_>) -> Option<Range<usize>> {
    found.iter().skip(1).flatten().next().map(|value| value.range())
}

/// `${NAME}` and nothing else.
fn is_reference(value: &str) -> bool {
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_it_may_stand_and_everything_else_stays() {
        for (text, shown) in [
            (r#"secret = "hunter2""#, r#"secret = "*******""#),
            (
                r#"sticky = { cookie = "a", secret="hunter2", path = "/" }"#,
                r#"sticky = { cookie = "a", secret="*******", path = "/" }"#,
            ),
            (r#"sticky.secret = 'hunter2'"#, r#"sticky.secret = '*******'"#),
            (r#""secret" = "hun\"er2" # x"#, r#""secret" = "********" # x"#),
            ("secret = \"hunter2\nx = 1", "secret = \"*******\nx = 1"),
            ("secret = \"\"\"\nhunter2\n\"\"\"\nx = 1", "secret = \"\"\"*********\"\"\"\nx = 1"),
            ("token = \"häh\"", "token = \"****\""),
            (r#"secret = "${SECRET}""#, r#"secret = "${SECRET}""#),
            (r#"secret = "${SECRET:-hunter2}""#, r#"secret = "******************""#),
            (r#"cookie = "secret""#, r#"cookie = "secret""#),
            ("", ""),
        ] {
            assert_eq!(secrets(text), shown);
        }
    }
}
