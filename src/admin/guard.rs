//! May this request look, or change something? A unix socket is guarded by its mode. On TCP the levers need the token, and a web
//! page must not get at them: a foreign Host (DNS rebinding) or Origin is refused.

use axum::http::{HeaderMap, Method, StatusCode, header};
use subtle::ConstantTimeEq;

use super::failure::Failure;
use super::listener::Visitor;

/// Whether the request may go on. `token` is the configured one.
///
/// # Errors
/// Why not, and what to do.
pub(super) fn admit(
    visitor: &Visitor,
    method: &Method,
    path: &str,
    fields: &HeaderMap,
    token: Option<&str>,
) -> Result<(), Failure> {
    if let Some(origin) = foreign_origin(fields) {
        return Err(Failure::forbidden(
            "ForeignOrigin",
            format!("a page of {origin} asks: only pages of this address may"),
        ));
    }
    if *visitor != Visitor::Stranger {
        return Ok(());
    }
    let known = knows(fields, token);
    if known == Some(false) {
        let text = "the token is wrong: `[admin] token` of the configuration has the right one".to_owned();
        return Err(Failure { status: StatusCode::UNAUTHORIZED, code: "WrongToken", text });
    }
    // A liveness probe may call this machine whatever it likes: there is nothing to learn.
    let harmless = matches!(*method, Method::GET | Method::HEAD) && path == "/healthz";
    if known != Some(true) && !harmless && !asked_by_address(fields) {
        let text = "the Host is a name: ask by address, as in http://127.0.0.1:9000, or send the token";
        return Err(Failure::forbidden("ForeignHost", text));
    }
    if matches!(*method, Method::GET | Method::HEAD) || known == Some(true) {
        return Ok(());
    }
    if token.is_none() {
        let text = "on TCP this can only be read: set `token` in [admin], or use the unix socket";
        return Err(Failure::forbidden("NoToken", text));
    }
    let text = "this needs the token: send `Authorization: Bearer TOKEN`".to_owned();
    Err(Failure { status: StatusCode::UNAUTHORIZED, code: "TokenMissing", text })
}

/// Whether the client knows the token; `None`: it does not say, or there is none to know.
fn knows(fields: &HeaderMap, token: Option<&str>) -> Option<bool> {
    let said = fields.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, said) = said.split_at_checked("Bearer ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return None;
    }
    // Takes as long for a token that is nearly right as for one that is not.
    Some(token?.as_bytes().ct_eq(said.trim_ascii()).into())
}

/// A browser sends its page's origin with whatever may change something; `None`: no page asks, or one of this listener.
fn foreign_origin(fields: &HeaderMap) -> Option<String> {
    let host = fields.get(header::HOST).map_or(&b""[..], |host| host.as_bytes());
    if fields.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Some("another site".to_owned());
    }
    let origin = fields.get(header::ORIGIN)?.as_bytes();
    let own = [&b"http://"[..], b"https://"].iter().any(|scheme| origin.strip_prefix(*scheme) == Some(host));
    (!own || host.is_empty()).then(|| String::from_utf8_lossy(origin).chars().take(100).collect())
}

/// Whether the Host is a literal address or `localhost`: no name that somebody else could make point here.
fn asked_by_address(fields: &HeaderMap) -> bool {
    let mut hosts = fields.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else { return false };
    if host.parse::<std::net::SocketAddr>().is_ok() || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return true;
    }
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    /// The code of the refusal, or `ok`. Fields as `name: value`.
    fn verdict(visitor: &Visitor, request: &str, fields: &[&str], token: Option<&str>) -> &'static str {
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let mut map = HeaderMap::new();
        for field in fields {
            let (name, value) = field.split_once(": ").expect("a field");
            map.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        let method = method.parse().expect("a method");
        admit(visitor, &method, path, &map, token).map_or_else(|refused| refused.code, |()| "ok")
    }

    #[test]
    fn on_tcp_levers_need_the_token_and_eyes_do_not() {
        let host = "host: 127.0.0.1:9000";
        for (request, authorization, token, expected) in [
            ("GET /status", None, Some("secret"), "ok"),
            ("GET /status", Some("Bearer secret"), Some("secret"), "ok"),
            ("GET /status", Some("Bearer wrong"), Some("secret"), "WrongToken"),
            ("POST /reload", None, Some("secret"), "TokenMissing"),
            ("POST /reload", Some("Bearer secret"), Some("secret"), "ok"),
            ("POST /reload", Some("bearer secret"), Some("secret"), "ok"),
            ("POST /reload", Some("Bearer secre"), Some("secret"), "WrongToken"),
            ("POST /reload", Some("Bearer secrets"), Some("secret"), "WrongToken"),
            ("POST /reload", Some("Bearer "), Some("secret"), "WrongToken"),
            ("POST /reload", Some("Basic secret"), Some("secret"), "TokenMissing"),
            ("POST /reload", None, None, "NoToken"),
            ("POST /reload", Some("Bearer "), None, "NoToken"),
            ("DELETE /api/9/http/upstreams/web", None, Some("secret"), "TokenMissing"),
            ("OPTIONS /status", None, Some("secret"), "TokenMissing"),
        ] {
            let authorization = authorization.map(|value| format!("authorization: {value}"));
            let fields: Vec<&str> = [host].into_iter().chain(authorization.as_deref()).collect();
            let got = verdict(&Visitor::Stranger, request, &fields, token);
            assert_eq!(got, expected, "{request} {authorization:?} {token:?}");
        }
    }

    #[test]
    fn a_name_that_somebody_else_could_make_point_here_is_refused_as_host() {
        for (host, expected) in [
            ("127.0.0.1:9000", "ok"),
            ("10.0.0.1", "ok"),
            ("[::1]:9000", "ok"),
            ("[::1]", "ok"),
            ("localhost:9000", "ok"),
            ("LOCALHOST", "ok"),
            ("evil.example:9000", "ForeignHost"),
            ("127.0.0.1.evil.example", "ForeignHost"),
            ("localhost.evil.example", "ForeignHost"),
            ("", "ForeignHost"),
        ] {
            let field = format!("host: {host}");
            assert_eq!(verdict(&Visitor::Stranger, "GET /status", &[&field], None), expected, "{host}");
        }
        let twice = ["host: 127.0.0.1", "host: evil.example"];
        assert_eq!(verdict(&Visitor::Stranger, "GET /status", &twice, None), "ForeignHost");
        assert_eq!(verdict(&Visitor::Stranger, "GET /status", &[], None), "ForeignHost");
        let with_token = ["host: weir.internal:9000", "authorization: Bearer secret"];
        assert_eq!(verdict(&Visitor::Stranger, "POST /reload", &with_token, Some("secret")), "ok");
        assert_eq!(verdict(&Visitor::Stranger, "GET /healthz", &["host: weir.internal"], None), "ok");
    }

    #[test]
    fn a_page_of_another_site_is_refused_even_with_the_token_and_on_the_socket() {
        let owner = Visitor::Owner("uid 0".into());
        for (fields, expected) in [
            (vec!["host: 127.0.0.1:9000", "origin: http://127.0.0.1:9000"], "ok"),
            (vec!["host: 127.0.0.1:9000", "origin: http://evil.example"], "ForeignOrigin"),
            (vec!["host: 127.0.0.1:9000", "origin: http://127.0.0.1:9001"], "ForeignOrigin"),
            (vec!["host: 127.0.0.1:9000", "origin: null"], "ForeignOrigin"),
            (vec!["host: 127.0.0.1:9000", "sec-fetch-site: cross-site"], "ForeignOrigin"),
            (vec!["host: 127.0.0.1:9000", "sec-fetch-site: same-origin"], "ok"),
        ] {
            let with_token: Vec<&str> = fields.iter().copied().chain(["authorization: Bearer secret"]).collect();
            for request in ["POST /reload", "GET /status"] {
                assert_eq!(verdict(&Visitor::Stranger, request, &with_token, Some("secret")), expected, "{fields:?}");
                assert_eq!(verdict(&owner, request, &fields, None), expected, "{fields:?}");
            }
        }
    }

    #[test]
    fn whoever_may_open_the_socket_may_pull_the_levers() {
        let owner = Visitor::Owner("uid 0".into());
        assert_eq!(verdict(&owner, "POST /reload", &["host: localhost"], Some("secret")), "ok");
        assert_eq!(verdict(&owner, "POST /reload", &[], None), "ok");
    }
}
