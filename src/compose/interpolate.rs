//! What does `${NAME:-default}` stand for? As compose fills it in.

/// Defaults within defaults.
const MAX_DEPTH: usize = 8;

/// Fills in `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+instead}`, `${NAME+instead}` and
/// `${NAME:?message}`; `$$` is a dollar. A variable that is not set is empty, as it is for compose.
///
/// # Errors
/// What compose refuses, in words.
pub(super) fn interpolate(text: &str, get: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    filled(text, get, 0)
}

fn filled(text: &str, get: &impl Fn(&str) -> Option<String>, depth: usize) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err("defaults are nested too deeply".into());
    }
    let mut filled = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        filled.push_str(&rest[..dollar]);
        let behind = &rest[dollar + 1..];
        rest = if let Some(rest) = behind.strip_prefix('$') {
            filled.push('$');
            rest
        } else if let Some(inside) = behind.strip_prefix('{') {
            let end = closing(inside).ok_or("`${` is never closed; a dollar is written `$$`")?;
            filled.push_str(&placeholder(&inside[..end], get, depth)?);
            &inside[end + 1..]
        } else {
            match name(behind) {
                "" => return Err("a dollar is written `$$`".into()),
                name => {
                    filled.push_str(&get(name).unwrap_or_default());
                    &behind[name.len()..]
                }
            }
        };
    }
    filled.push_str(rest);
    Ok(filled)
}

fn placeholder(inside: &str, get: &impl Fn(&str) -> Option<String>, depth: usize) -> Result<String, String> {
    let name = name(inside);
    let operator = &inside[name.len()..];
    let wrong = || Err(format!("`${{{inside}}}` cannot be read; write `${{NAME}}` or `${{NAME:-default}}`"));
    if name.is_empty() {
        return wrong();
    }
    let value = get(name);
    // With a colon an empty value is as good as none.
    let (value, operator) = match operator.strip_prefix(':') {
        Some(operator) => (value.filter(|value| !value.is_empty()), operator),
        None => (value, operator),
    };
    match operator.chars().next() {
        None if inside.len() == name.len() => Ok(value.unwrap_or_default()),
        Some('-') => value.map_or_else(|| filled(&operator[1..], get, depth + 1), Ok),
        Some('+') => value.map_or_else(|| Ok(String::new()), |_| filled(&operator[1..], get, depth + 1)),
        Some('?') => value.ok_or_else(|| match operator[1..].trim() {
            "" => format!("`{name}` must be set"),
            message => format!("`{name}` must be set: {message}"),
        }),
        _ => wrong(),
    }
}

/// Where the brace that closes this placeholder is.
fn closing(inside: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (at, c) in inside.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn name(text: &str) -> &str {
    let length = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => "",
        false => &text[..length],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(name: &str) -> Option<String> {
        match name {
            "SET" => Some("set".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn placeholders_are_filled_in_as_compose_does() {
        for (text, filled) in [
            ("plain", "plain"),
            ("$SET-${SET}", "set-set"),
            ("${NONE}|$NONE|", "||"),
            ("${NONE:-8080}:80", "8080:80"),
            ("${EMPTY:-x}${EMPTY-y}${NONE-z}", "xz"),
            ("${SET:+a}${EMPTY:+b}${EMPTY+c}${NONE+d}", "ac"),
            ("${NONE:-${EMPTY:-${SET}}}", "set"),
            ("${SET:?needed}", "set"),
            ("$$SET $${SET}", "$SET ${SET}"),
        ] {
            assert_eq!(interpolate(text, &get).as_deref(), Ok(filled), "{text}");
        }
    }

    #[test]
    fn what_compose_refuses_is_refused() {
        for text in ["${", "${SET", "${}", "${NONE?}", "${NONE:?say}", "${SET!}", "${1}", "$ ", "$", "$1", "${a b}"] {
            assert!(interpolate(text, &get).is_err(), "{text}");
        }
        let deep = format!("{}{}", "${A:-".repeat(100), "}".repeat(100));
        assert!(interpolate(&deep, &get).is_err());
    }
}
