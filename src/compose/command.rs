//! Which ports does a command line name?

/// Flags behind which a port, or an address with one, stands.
const FLAGS: [&str; 8] = ["--port", "-p", "--bind", "-b", "--listen", "--http-port", "--server.port", "--addr"];

/// Variables whose value many applications listen on.
const VARIABLES: [&str; 6] =
    ["PORT", "FLASK_RUN_PORT", "SERVER_PORT", "UVICORN_PORT", "ASPNETCORE_HTTP_PORTS", "ASPNETCORE_URLS"];

/// The words of a command line, as a shell would part them; quotes are taken off.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut escaped = false;
    for c in line.chars() {
        match (quote, c) {
            _ if escaped => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
            (None | Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The ports that a command says it listens on: `--port 8000`, `-b 0.0.0.0:8000`, `python -m http.server 8000`.
pub(super) fn ports(command: &[String]) -> Vec<u16> {
    // sh -c "…" is a command of its own.
    if let [shell, flag, line, ..] = command
        && ["sh", "bash", "ash", "dash"].contains(&base_name(shell))
        && flag.ends_with('c')
        && !line.contains("sh -c")
    {
        return ports(&words(line));
    }
    let mut found = Vec::new();
    let mut words = command.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let value = match word.split_once('=') {
            Some((flag, value)) if FLAGS.contains(&flag) => Some(value),
            None if FLAGS.contains(&word) || word == "http.server" => words.peek().copied(),
            _ => None,
        };
        found.extend(value.and_then(port));
    }
    found
}

/// The ports that variables of the environment name.
pub(super) fn ports_of_environment<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Vec<u16> {
    let values = VARIABLES.iter().filter_map(|name| get(name));
    values.flat_map(|value| value.split([';', ',']).filter_map(port).collect::<Vec<_>>()).collect()
}

/// The port of `8000`, `:8000`, `0.0.0.0:8000`, `http://+:8080/`.
fn port(address: &str) -> Option<u16> {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest).trim_end_matches('/');
    let port = address.rsplit(':').next().unwrap_or_default();
    port.parse().ok().filter(|port| *port > 0)
}

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parted_as_a_shell_does() {
        for (line, parts) in [
            ("python app.py", &["python", "app.py"][..]),
            ("  sh -c \"a b\" 'c d' e\\ f ", &["sh", "-c", "a b", "c d", "e f"]),
            ("a \"\" b", &["a", "", "b"]),
            ("open \"quote", &["open", "quote"]),
            ("", &[]),
        ] {
            assert_eq!(words(line), parts, "{line}");
        }
    }

    #[test]
    fn ports_are_found_behind_the_usual_flags() {
        for (line, found) in [
            ("flask run --host=0.0.0.0 --port=8000", &[8000][..]),
            ("gunicorn -w 4 -b 0.0.0.0:8000 app:app", &[8000]),
            ("gunicorn --bind :8000 app:app", &[8000]),
            ("uvicorn app:app --port 8000", &[8000]),
            ("python -m http.server 8000", &[8000]),
            ("sh -c 'sleep 1 && exec redis-server --port 7000'", &[7000]),
            ("redis-server --save 60 1", &[]),
            ("gunicorn --bind unix:/run/app.sock app:app", &[]),
            ("python app.py", &[]),
        ] {
            assert_eq!(ports(&words(line)), found, "{line}");
        }
        let environment = |name: &str| (name == "ASPNETCORE_URLS").then_some("http://+:8080;http://*:8081/");
        assert_eq!(ports_of_environment(environment), [8080, 8081]);
    }
}
