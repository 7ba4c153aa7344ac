//! May this request be sent again, elsewhere? A policy that answers with its reason. (nginx: `ngx_http_upstream_next`.)

use std::time::Duration;

use crate::config::model::NextUpstream;
use crate::telemetry::Why;
use crate::topology::Tries;

/// How an attempt ended without an answer to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection: refused, reset, unreachable.
    ConnectFailed,
    /// No connection in `proxy_connect_timeout`.
    ConnectTimedOut,
    /// Reset or closed before the whole head of the answer.
    Broken,
    /// `proxy_send_timeout` or `proxy_read_timeout` before the head.
    TimedOut,
    /// An answer that is not one.
    Malformed,
    /// A status named in `proxy_next_upstream`, or any other that is a candidate for it.
    Status(u16),
    /// The same of gRPC.
    Grpc(u8),
    /// The peer was found unreachable by its probes while the attempt waited.
    Abandoned,
    /// The peer said that it did nothing of the request.
    Refused,
}

/// What there is to know about a failed attempt and its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// How it ended.
    pub cause: Cause,
    /// Whether a byte of the request may have reached the peer.
    pub sent: bool,
    /// Whether the client has seen a byte of an answer.
    pub answered: bool,
    /// Whether the method is idempotent (GET, HEAD, OPTIONS, PUT, DELETE).
    pub idempotent: bool,
    /// Whether the whole body, or what was taken of it, can be sent again.
    pub replayable: bool,
    /// Attempts made, this one among them.
    pub attempts: u32,
    /// Those of them that may have reached an application.
    pub asked: u32,
    /// Time since the first attempt began.
    pub elapsed: Duration,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Pick another peer. With `charged`, if the retry budget allows.
    TryAnother {
        /// Whether it costs budget: a retry that only a failed connect, a refusal or a probe's verdict asks for does not.
        charged: bool,
    },
    /// Tell the client.
    GiveUp(Why),
}

/// Decides after a failed attempt. `time`: `proxy_next_upstream_timeout`; zero is no limit.
pub fn after(seen: &Attempted, named: &NextUpstream, tries: Tries, time: Duration) -> Next {
    let repeatable = seen.idempotent || named.non_idempotent;
    if seen.answered {
        Next::GiveUp(Why::AnswerBegun)
    } else if !names(named, seen.cause) {
        Next::GiveUp(Why::NotNamed)
    } else if seen.sent && !repeatable && seen.cause != Cause::Refused {
        Next::GiveUp(Why::NotSafeToRepeat)
    } else if seen.sent && !seen.replayable {
        Next::GiveUp(Why::BodyNotKept)
    } else if seen.attempts >= tries.in_all || seen.asked >= tries.asked {
        Next::GiveUp(Why::OutOfTries)
    } else if !time.is_zero() && seen.elapsed >= time {
        Next::GiveUp(Why::OutOfTime)
    } else {
        let free =
            matches!(seen.cause, Cause::ConnectFailed | Cause::ConnectTimedOut | Cause::Abandoned | Cause::Refused);
        Next::TryAnother { charged: !free }
    }
}

/// Whether an attempt that ended so counts as one that asked somebody. A connect that was not answered does: it has cost
/// the client its time.
pub fn is_asked(cause: Cause, sent: bool) -> bool {
    sent || !matches!(cause, Cause::ConnectFailed | Cause::Abandoned)
}

/// Whether `proxy_next_upstream` names this cause.
pub fn names(named: &NextUpstream, cause: Cause) -> bool {
    match cause {
        Cause::ConnectFailed | Cause::Broken | Cause::Abandoned | Cause::Refused => named.error,
        Cause::ConnectTimedOut | Cause::TimedOut => named.timeout,
        Cause::Malformed => named.invalid_header,
        Cause::Status(status) => named.statuses.contains(&status),
        Cause::Grpc(code) => named.grpc.contains(&code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_rule() -> NextUpstream {
        NextUpstream { error: true, timeout: true, ..NextUpstream::default() }
    }

    fn get(cause: Cause) -> Attempted {
        Attempted {
            cause,
            sent: true,
            answered: false,
            idempotent: true,
            replayable: true,
            attempts: 1,
            asked: 1,
            elapsed: Duration::ZERO,
        }
    }

    fn post(cause: Cause) -> Attempted {
        Attempted { idempotent: false, ..get(cause) }
    }

    fn decide(seen: Attempted) -> Next {
        after(&seen, &default_rule(), TRIES, Duration::ZERO)
    }

    const TRIES: Tries = Tries { asked: 3, in_all: 5 };
    const CHARGED: Next = Next::TryAnother { charged: true };
    const FREE: Next = Next::TryAnother { charged: false };

    #[test]
    fn a_get_is_repeated_after_an_error_or_a_timeout() {
        assert_eq!(decide(get(Cause::Broken)), CHARGED);
        assert_eq!(decide(get(Cause::TimedOut)), CHARGED);
    }

    #[test]
    fn a_post_is_repeated_only_if_nothing_was_sent() {
        assert_eq!(decide(Attempted { sent: false, ..post(Cause::ConnectFailed) }), FREE);
        assert_eq!(decide(post(Cause::Broken)), Next::GiveUp(Why::NotSafeToRepeat));
        assert_eq!(decide(post(Cause::TimedOut)), Next::GiveUp(Why::NotSafeToRepeat));
        assert_eq!(decide(post(Cause::Abandoned)), Next::GiveUp(Why::NotSafeToRepeat));
    }

    #[test]
    fn a_post_that_the_peer_has_not_begun_is_repeated_if_its_body_is_there() {
        assert_eq!(decide(post(Cause::Refused)), FREE);
        let streamed = Attempted { replayable: false, ..post(Cause::Refused) };
        assert_eq!(decide(streamed), Next::GiveUp(Why::BodyNotKept));
    }

    #[test]
    fn a_post_is_repeated_if_non_idempotent_is_named_and_its_body_is_there() {
        let rule = NextUpstream { non_idempotent: true, ..default_rule() };
        assert_eq!(after(&post(Cause::Broken), &rule, TRIES, Duration::ZERO), CHARGED);
        let streamed = Attempted { replayable: false, ..post(Cause::Broken) };
        assert_eq!(after(&streamed, &rule, TRIES, Duration::ZERO), Next::GiveUp(Why::BodyNotKept));
    }

    #[test]
    fn a_put_whose_body_was_streamed_is_not_repeated() {
        assert_eq!(decide(Attempted { replayable: false, ..get(Cause::Broken) }), Next::GiveUp(Why::BodyNotKept));
    }

    #[test]
    fn nothing_is_repeated_once_the_client_has_a_byte() {
        assert_eq!(decide(Attempted { answered: true, ..get(Cause::Broken) }), Next::GiveUp(Why::AnswerBegun));
    }

    #[test]
    fn only_what_is_named_is_repeated() {
        assert_eq!(decide(get(Cause::Status(502))), Next::GiveUp(Why::NotNamed));
        assert_eq!(decide(get(Cause::Malformed)), Next::GiveUp(Why::NotNamed));
        let rule = NextUpstream { statuses: vec![502], invalid_header: true, ..NextUpstream::default() };
        assert_eq!(after(&get(Cause::Status(502)), &rule, TRIES, Duration::ZERO), CHARGED);
        assert_eq!(after(&get(Cause::Malformed), &rule, TRIES, Duration::ZERO), CHARGED);
        assert_eq!(after(&get(Cause::Broken), &rule, TRIES, Duration::ZERO), Next::GiveUp(Why::NotNamed));
        assert_eq!(
            after(&get(Cause::ConnectFailed), &NextUpstream::default(), TRIES, Duration::ZERO),
            Next::GiveUp(Why::NotNamed)
        );
    }

    #[test]
    fn no_more_attempts_are_made_than_allowed() {
        // attempts, asked of them; what follows
        let table = [
            (2, 2, CHARGED),
            (3, 3, Next::GiveUp(Why::OutOfTries)),
            (3, 1, CHARGED),
            (4, 2, CHARGED),
            (4, 3, Next::GiveUp(Why::OutOfTries)),
            (5, 0, Next::GiveUp(Why::OutOfTries)),
        ];
        for (attempts, asked, next) in table {
            assert_eq!(decide(Attempted { attempts, asked, ..get(Cause::Broken) }), next, "{attempts}, {asked}");
        }
    }

    #[test]
    fn an_attempt_that_reached_nobody_asked_nobody() {
        assert!(!is_asked(Cause::ConnectFailed, false));
        assert!(!is_asked(Cause::Abandoned, false));
        assert!(is_asked(Cause::Abandoned, true));
        assert!(is_asked(Cause::ConnectTimedOut, false), "the client has waited");
        assert!(is_asked(Cause::Broken, true));
    }

    #[test]
    fn no_retry_begins_after_the_time_is_over() {
        let late = Attempted { elapsed: Duration::from_secs(5), ..get(Cause::Broken) };
        assert_eq!(after(&late, &default_rule(), TRIES, Duration::from_secs(5)), Next::GiveUp(Why::OutOfTime));
        assert_eq!(after(&late, &default_rule(), TRIES, Duration::from_secs(6)), CHARGED);
    }

    #[test]
    fn a_failed_connect_and_an_abandoned_wait_cost_no_budget() {
        for cause in [Cause::ConnectFailed, Cause::ConnectTimedOut, Cause::Abandoned] {
            assert_eq!(decide(get(cause)), FREE, "{cause:?}");
        }
    }
}
