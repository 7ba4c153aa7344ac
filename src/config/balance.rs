//! Which algorithm? The value of `balance` is what one would write in nginx.

use super::diagnostic::Unfit;
use super::suggest::closest;
use crate::balancer::{Measure, Method, Two};

/// The algorithm and, for `hash`, the text of its key, which is a slice of `text`.
pub(super) fn parse(text: &str) -> Result<(Method, Option<&str>), Unfit> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let method = match words[..] {
        [] => return Err(Unfit::because("it is empty").help("write `balance = \"round_robin\"`")),
        ["round_robin"] => Method::RoundRobin,
        ["least_conn"] => Method::LeastConn,
        ["ip_hash"] => Method::IpHash,
        ["hash", ref arguments @ ..] => return hash(arguments),
        ["least_time", ref arguments @ ..] => least_time(arguments)?,
        ["random", ref arguments @ ..] => random(arguments)?,
        [known @ ("round_robin" | "least_conn" | "ip_hash"), extra, ..] => {
            return Err(Unfit::because(format!("`{known}` takes no argument `{extra}`")));
        }
        [unknown, ..] => return Err(unknown_method(unknown)),
    };
    Ok((method, None))
}

fn hash<'a>(arguments: &[&'a str]) -> Result<(Method, Option<&'a str>), Unfit> {
    match *arguments {
        [key] => Ok((Method::Hash { consistent: false }, Some(key))),
        [key, "consistent"] => Ok((Method::Hash { consistent: true }, Some(key))),
        [] => Err(Unfit::because("`hash` needs a key").help("write `\"hash $request_uri consistent\"`")),
        [_, other, ..] => Err(Unfit::because(format!("behind the key comes `consistent` or nothing, not `{other}`"))),
    }
}

fn least_time(arguments: &[&str]) -> Result<Method, Unfit> {
    let usage = "write `\"least_time header\"` or `\"least_time last_byte\"`, and `inflight` behind it if wanted";
    let (measure, inflight) = match *arguments {
        [name] => (measure(name), false),
        [name, "inflight"] => (measure(name), true),
        [] => return Err(Unfit::because("`least_time` needs to know which time").help(usage)),
        [_, other, ..] => {
            return Err(Unfit::because(format!("`{other}` is not an argument of `least_time`")).help(usage));
        }
    };
    match measure {
        Some(measure) => Ok(Method::LeastTime { measure, inflight }),
        None => Err(Unfit::because(format!("`{}` is not a time that is measured", arguments[0])).help(usage)),
    }
}

fn random(arguments: &[&str]) -> Result<Method, Unfit> {
    let usage = "write `random`, `random two`, `random two least_conn` or `random two least_time=header`";
    let two = match *arguments {
        [] => None,
        // nginx: without a method, `two` compares connections.
        ["two"] | ["two", "least_conn"] => Some(Two::LeastConn),
        ["two", method] => match method.strip_prefix("least_time=").and_then(measure) {
            Some(measure) => Some(Two::LeastTime(measure)),
            None => return Err(Unfit::because(format!("`{method}` is no way to choose between two")).help(usage)),
        },
        ["two", _, extra, ..] | [extra, ..] => {
            return Err(Unfit::because(format!("`{extra}` is not an argument of `random`")).help(usage));
        }
    };
    Ok(Method::Random { two })
}

fn measure(name: &str) -> Option<Measure> {
    match name {
        "header" => Some(Measure::Header),
        "last_byte" => Some(Measure::LastByte),
        _ => None,
    }
}

fn unknown_method(name: &str) -> Unfit {
    const METHODS: [&str; 6] = ["round_robin", "least_conn", "ip_hash", "hash", "least_time", "random"];
    // What other load balancers call them.
    let meant = match name.to_ascii_lowercase().as_str() {
        "roundrobin" | "rr" | "wrr" | "weighted" => Some("round_robin"),
        "leastconn" | "least_connections" | "least_request" | "lc" => Some("least_conn"),
        "source" | "iphash" => Some("ip_hash"),
        "ketama" | "uri" | "url" | "consistent" => Some("hash $request_uri consistent"),
        "p2c" => Some("random two least_conn"),
        _ => closest(name, METHODS),
    };
    let unfit = Unfit::because(format!("there is no algorithm `{name}`"));
    match meant {
        Some(meant) => unfit.help(format!("did you mean `\"{meant}\"`?")),
        None => unfit.help(format!("there are {}", METHODS.map(|method| format!("`{method}`")).join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_written_as_in_nginx() {
        use Measure::*;
        let table = [
            ("round_robin", Method::RoundRobin, None),
            ("least_conn", Method::LeastConn, None),
            ("ip_hash", Method::IpHash, None),
            ("hash $request_uri", Method::Hash { consistent: false }, Some("$request_uri")),
            ("hash  $arg_a-$host  consistent", Method::Hash { consistent: true }, Some("$arg_a-$host")),
            ("least_time header", Method::LeastTime { measure: Header, inflight: false }, None),
            ("least_time last_byte inflight", Method::LeastTime { measure: LastByte, inflight: true }, None),
            ("random", Method::Random { two: None }, None),
            ("random two", Method::Random { two: Some(Two::LeastConn) }, None),
            ("random two least_conn", Method::Random { two: Some(Two::LeastConn) }, None),
            ("random two least_time=header", Method::Random { two: Some(Two::LeastTime(Header)) }, None),
            ("random two least_time=last_byte", Method::Random { two: Some(Two::LeastTime(LastByte)) }, None),
        ];
        for (text, method, key) in table {
            assert_eq!(parse(text), Ok((method, key)), "{text}");
        }
    }

    #[test]
    fn what_is_no_algorithm_is_refused_with_its_reason() {
        let table = [
            ("", "it is empty"),
            ("round_robbin", "there is no algorithm `round_robbin`"),
            ("least_conn two", "`least_conn` takes no argument `two`"),
            ("hash", "`hash` needs a key"),
            ("hash $uri ketama", "behind the key comes `consistent` or nothing, not `ketama`"),
            ("least_time", "`least_time` needs to know which time"),
            ("least_time first_byte", "`first_byte` is not a time that is measured"),
            ("least_time header x", "`x` is not an argument of `least_time`"),
            ("random three", "`three` is not an argument of `random`"),
            ("random two least_time", "`least_time` is no way to choose between two"),
            ("random two least_conn x", "`x` is not an argument of `random`"),
        ];
        for (text, reason) in table {
            assert_eq!(parse(text).unwrap_err().why, reason, "{text}");
        }
        for (text, meant) in
            [("roundrobin", "round_robin"), ("least_con", "least_conn"), ("ketama", "hash $request_uri consistent")]
        {
            assert_eq!(parse(text).unwrap_err().help, Some(format!("did you mean `\"{meant}\"`?")), "{text}");
        }
    }
}
