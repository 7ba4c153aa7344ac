//! Which resource of the API is meant? Paths below `/api/`, with or without a slash at their end.

/// A resource of ngx_http_api_module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// `/api/`: the versions.
    Versions,
    /// `/api/9/`: its endpoints.
    Version,
    /// `/api/9/http/`: its endpoints.
    Http,
    /// All upstreams.
    Upstreams,
    /// One, by name.
    Upstream(String),
    /// The servers of one.
    Servers(String),
    /// One server: of an upstream, by its id or its name.
    Server(String, String),
}

/// There is nothing at this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    /// The version is not 9.
    Version,
    /// Something behind it.
    Path,
}

/// The version of nginx's API that this one is shaped after.
pub(super) const VERSION: &str = "9";

impl Resource {
    /// Of a path behind `/api`.
    pub(super) fn at(path: &str) -> Result<Resource, Nothing> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Ok(Resource::Versions);
        }
        let mut parts = path.split('/');
        if parts.next() != Some(VERSION) {
            return Err(Nothing::Version);
        }
        let parts: Option<Vec<String>> = parts.map(decoded).collect();
        let parts = parts.ok_or(Nothing::Path)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts[..] {
            [] => Ok(Resource::Version),
            ["http"] => Ok(Resource::Http),
            ["http", "upstreams"] => Ok(Resource::Upstreams),
            ["http", "upstreams", name] => Ok(Resource::Upstream(name.to_owned())),
            ["http", "upstreams", name, "servers"] => Ok(Resource::Servers(name.to_owned())),
            ["http", "upstreams", name, "servers", id] => Ok(Resource::Server(name.to_owned(), id.to_owned())),
            _ => Err(Nothing::Path),
        }
    }
}

/// Without `%XX`; `None`: that is no text, or empty.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_resources_with_or_without_a_slash_at_the_end() {
        let upstream = |name: &str| Resource::Upstream(name.into());
        for (path, expected) in [
            ("", Ok(Resource::Versions)),
            ("/", Ok(Resource::Versions)),
            ("/9", Ok(Resource::Version)),
            ("/9/http/", Ok(Resource::Http)),
            ("/9/http/upstreams", Ok(Resource::Upstreams)),
            ("/9/http/upstreams/web-alb/", Ok(upstream("web-alb"))),
            ("/9/http/upstreams/10.0.0.1%3a80", Ok(upstream("10.0.0.1:80"))),
            ("/9/http/upstreams/web/servers/", Ok(Resource::Servers("web".into()))),
            ("/9/http/upstreams/web/servers/3", Ok(Resource::Server("web".into(), "3".into()))),
            ("/8/http/upstreams", Err(Nothing::Version)),
            ("/99", Err(Nothing::Version)),
            ("/9/stream/", Err(Nothing::Path)),
            ("/9//http", Err(Nothing::Path)),
            ("/9/http/upstreams//servers", Err(Nothing::Path)),
            ("/9/http/upstreams/web/servers/3/4", Err(Nothing::Path)),
            ("/9/http/upstreams/%", Err(Nothing::Path)),
            ("/9/http/upstreams/%zz", Err(Nothing::Path)),
            ("/9/http/upstreams/%+1", Err(Nothing::Path)),
            ("/9/http/upstreams/%ff", Err(Nothing::Path)),
        ] {
            assert_eq!(Resource::at(path), expected, "{path}");
        }
    }
}
