//! Which group answers for which name and path? nginx's rules: exact names before wildcards, the longest prefix wins.

use crate::support::{Backend, Weir};

/// Groups named after letters, each of one backend that answers with that letter.
fn groups(backends: &[Backend], names: &str) -> String {
    let pairs = names.chars().zip(backends);
    pairs.map(|(name, backend)| format!("[upstream.{name}]\nservers = [\"{}\"]\n\n", backend.address())).collect()
}

fn backends(names: &str) -> Vec<Backend> {
    names.chars().map(|name| Backend::start(&name.to_string())).collect()
}

fn ask(weir: &Weir, host: &str, target: &str) -> (u16, String) {
    let mut client = weir.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let response = client.response();
    (response.status, response.text())
}

#[test]
fn the_longest_prefix_wins_and_an_exact_path_comes_first() {
    let all = backends("abcd");
    let weir = Weir::start(&format!(
        r#"{}
[[server]]
listen = "127.0.0.1:0"
[[server.location]]
path = "/"
proxy_pass = "http://a"
[[server.location]]
path = "/api/v2/"
proxy_pass = "http://c"
[[server.location]]
path = "/api/"
proxy_pass = "http://b"
[[server.location]]
path = {{ exact = "/api/" }}
proxy_pass = "http://d"
"#,
        groups(&all, "abcd")
    ));
    for (target, expected) in [
        ("/", "a"),
        ("/ap", "a"),
        ("/api/", "d"),
        ("/api/?x", "d"),
        ("/api/x", "b"),
        ("/api/v2/x", "c"),
        ("//api//x", "b"),
        ("/%61pi/x", "b"),
        ("/api/v2/../x", "b"),
        ("/x/../api/v2/./y", "c"),
    ] {
        assert_eq!(ask(&weir, "h", target), (200, expected.into()), "{target}");
    }
    assert_eq!(
        all[1].requests().last().map(|request| request.target.clone()).as_deref(),
        Some("/api/v2/../x"),
        "routed on one reading, forwarded byte for byte"
    );
}

#[test]
fn where_no_location_matches_the_answer_is_404() {
    let all = backends("a");
    let weir = Weir::start(&format!(
        "{}[[server]]\nlisten = \"127.0.0.1:0\"\n[[server.location]]\npath = \"/only/\"\nproxy_pass = \"http://a\"\n",
        groups(&all, "a")
    ));
    assert_eq!(ask(&weir, "h", "/only/x").0, 200);
    assert_eq!(ask(&weir, "h", "/").0, 404);
}

#[test]
fn server_names_are_matched_exactly_then_by_the_longest_wildcard_then_by_default() {
    let all = backends("abcde");
    // The same address written several times is one listener, port 0 too.
    let server = |names: &str, group: &str| {
        format!(
            "[[server]]\nlisten = \"127.0.0.1:0\"\n{names}\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://{group}\"\n"
        )
    };
    let weir = Weir::start(&format!(
        "{}{}{}{}{}{}",
        groups(&all, "abcde"),
        server("server_name = [\"nobody.invalid\"]", "a"),
        server("server_name = [\"example.com\", \"www.example.com\"]", "b"),
        server("server_name = [\"*.example.com\"]", "c"),
        server("server_name = [\"*.deep.example.com\"]", "d"),
        server("server_name = [\"www.*\"]", "e"),
    ));
    for (host, expected) in [
        ("example.com", "b"),
        ("EXAMPLE.com:8080", "b"),
        ("www.example.com", "b"),
        ("x.example.com", "c"),
        ("x.y.example.com", "c"),
        ("x.deep.example.com", "d"),
        ("www.example.org", "e"),
        ("example.org", "a"),
        ("127.0.0.1", "a"),
    ] {
        assert_eq!(ask(&weir, host, "/"), (200, expected.into()), "{host}");
    }
}

#[test]
fn a_server_marked_as_default_answers_for_names_that_none_has() {
    let all = backends("ab");
    let weir = Weir::start(&format!(
        r#"{}
[[server]]
listen = "127.0.0.1:0"
server_name = ["one.test"]
[[server.location]]
path = "/"
proxy_pass = "http://a"
[[server]]
listen = {{ address = "127.0.0.1:0", default_server = true }}
server_name = ["two.test"]
[[server.location]]
path = "/"
proxy_pass = "http://b"
"#,
        groups(&all, "ab")
    ));
    assert_eq!(ask(&weir, "one.test", "/").1, "a");
    assert_eq!(ask(&weir, "other.test", "/").1, "b");
}

#[test]
fn a_path_in_proxy_pass_replaces_the_matched_prefix() {
    let all = backends("a");
    let weir = Weir::start(&format!(
        "{}[[server]]\nlisten = \"127.0.0.1:0\"\n[[server.location]]\npath = \"/loc/\"\nproxy_pass = \"http://a/x/\"\n",
        groups(&all, "a")
    ));
    for (target, forwarded) in
        [("/loc/d?q=1", "/x/d?q=1"), ("/loc/", "/x/"), ("/loc/a%20b", "/x/a%20b"), ("/l%6Fc/d", "/x/d")]
    {
        assert_eq!(ask(&weir, "h", target).0, 200, "{target}");
        assert_eq!(all[0].requests().last().expect("forwarded").target, forwarded, "{target}");
    }
    let count = all[0].requests().len();
    for target in ["/./loc/d", "/x/../loc/d", "//loc/d", "/loc%2Fd"] {
        assert_eq!(ask(&weir, "h", target).0, 400, "the two readings of {target} disagree about the prefix");
    }
    assert_eq!(all[0].requests().len(), count);
}

#[test]
fn proxy_pass_to_a_plain_address_needs_no_upstream() {
    let a = Backend::start("a");
    let weir = Weir::start(&format!(
        "[[server]]\nlisten = \"127.0.0.1:0\"\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://{}\"\n",
        a.address()
    ));
    assert_eq!(weir.get("/").text(), "a");
}

#[test]
fn each_listener_has_its_own_servers() {
    let all = backends("ab");
    let server = |ip: &str, group: &str| {
        format!("[[server]]\nlisten = \"{ip}:0\"\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://{group}\"\n")
    };
    let mut weir =
        Weir::start(&format!("{}{}{}", groups(&all, "ab"), server("127.0.0.1", "a"), server("127.0.0.2", "b")));
    let addresses = weir.addresses(2);
    let mut answers: Vec<String> = addresses.iter().map(|at| crate::support::get(*at, "/").text()).collect();
    answers.sort();
    assert_eq!(answers, ["a", "b"]);
}
