//! Text with `$variables` of the request: `"$host-$arg_user"`.

/// A parsed template. `$name` and `$name`-with-suffix (`$http_x_user`, `$arg_id`, `$cookie_sid`) are the request's,
/// `$$` is a dollar. `${NAME}` was replaced from the environment before the template was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its parts, in order.
    pub parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// A variable.
    Variable(Variable),
}

/// A variable of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `$remote_addr`: the client's address (after trusted proxies).
    RemoteAddr,
    /// `$remote_port`.
    RemotePort,
    /// `$remote_user`: of the Basic credentials.
    RemoteUser,
    /// `$server_addr`, `$server_port`.
    ServerAddr,
    /// `$server_port`.
    ServerPort,
    /// `$server_protocol`: `HTTP/1.1`.
    ServerProtocol,
    /// `$server_name` of the server that answers.
    ServerName,
    /// `$scheme`.
    Scheme,
    /// `$host`: from the target or the Host field, without port, lower case.
    Host,
    /// `$http_host`-like access to any field: `$http_NAME`, `-` written `_`, lower case.
    Http(String),
    /// `$request`: the whole request line.
    Request,
    /// `$request_method`.
    RequestMethod,
    /// `$request_uri`: the target with its arguments, as it came.
    RequestUri,
    /// `$uri`: the decoded path without dot segments.
    Uri,
    /// `$args` and `$query_string`.
    Args,
    /// `$is_args`: `?` or nothing.
    IsArgs,
    /// `$arg_NAME`.
    Arg(String),
    /// `$cookie_NAME`.
    Cookie(String),
    /// `$request_id`: 32 random hexadecimal digits.
    RequestId,
    /// `$proxy_host`.
    ProxyHost,
    /// `$proxy_add_x_forwarded_for`.
    ProxyAddXForwardedFor,
    /// `$connection`: serial number of the client's connection.
    Connection,
    /// `$msec`, `$time_local`, `$time_iso8601` and what is known at the end of a request only: for `log_format`.
    Log(LogVariable),
}

/// A variable that only the access log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is nginx's variable of that name, listed in docs/configuration.md")]
pub enum LogVariable {
    TimeLocal,
    TimeIso8601,
    Msec,
    Status,
    BodyBytesSent,
    BytesSent,
    RequestLength,
    RequestTime,
    UpstreamAddr,
    UpstreamStatus,
    UpstreamConnectTime,
    UpstreamHeaderTime,
    UpstreamResponseTime,
    UpstreamQueueTime,
    UpstreamName,
    RetryReason,
}
