//! To whom is a request bound, and what binds its client to the peer that answers? (nginx: `sticky`, spec §4.8.)

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::attempt::Transaction;
use super::request::Exchange;
use super::variables::Scope;
use crate::affinity::{SessionId, Tag, Ticket};
use crate::clock::{self, Timestamp};
use crate::config::model::{Sticky, StickyCookie};
use crate::config::template::Template;
use crate::health::Outcome;
use crate::telemetry;
use crate::topology::Group;

/// How many cookies of the name are tried: a client may have one for each path and domain, and a nuisance has hundreds.
const MOST_COOKIES: usize = 4;

/// What a request says of the peer that it belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint {
    /// The peer; `None`: it belongs to nobody.
    pub tag: Option<Tag>,
    /// The cookie is past half its life.
    stale: bool,
    /// The session that it is of, known or not.
    session: Option<SessionId>,
}

/// What is to be said, and to be remembered, because a peer has answered.
#[derive(Debug, Default)]
pub struct Bond {
    /// For the head of the answer.
    pub cookie: Option<SetCookie>,
    /// For the end of the answer.
    lesson: Option<Lesson>,
}

/// A cookie for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct SetCookie {
    /// The value of `Set-Cookie`.
    pub value: Vec<u8>,
    /// The answer is this client's alone: `Cache-Control: private`.
    pub private: bool,
}

/// Who has answered, and of which session the request was.
#[derive(Clone, Copy, Debug)]
struct Lesson {
    tag: Tag,
    session: Option<SessionId>,
}

/// What a request says to a group.
pub fn hint(group: &Group, scope: &Scope<'_>, now: Timestamp) -> Hint {
    let (Some(sticky), Some(binding)) = (&group.config.sticky, &group.binding) else { return Hint::default() };
    match sticky {
        Sticky::Cookie(cookie) => {
            let now = seconds(clock::wall());
            let mut tickets = scope.cookies(&cookie.name).take(MOST_COOKIES);
            let ticket = tickets.find_map(|text| {
                Ticket::open(&binding.key, text).filter(|ticket| !is_over(ticket, cookie.expires, now))
            });
            match ticket {
                Some(ticket) => {
                    Hint { tag: Some(ticket.tag), stale: is_stale(&ticket, cookie.expires, now), session: None }
                }
                None => Hint::default(),
            }
        }
        Sticky::Route(routes) => {
            Hint { tag: first_value(routes, scope).map(|route| binding.key.tag(&[&route])), ..Hint::default() }
        }
        Sticky::Learn(learn) => {
            let Some(sessions) = &binding.sessions else { return Hint::default() };
            let session = first_value(&learn.lookup, scope).map(|name| binding.key.session(&name));
            // Be its peer gone: then the session moves, and the next request finds it elsewhere.
            let tag = session.and_then(|session| sessions.find(session, learn.timeout, now));
            Hint { tag, session, ..Hint::default() }
        }
    }
}

impl Exchange<'_> {
    /// Binds the client to the peer whose answer is about to be passed on, unless that is a failure.
    #[inline]
    pub fn bind(&mut self, transaction: &Transaction) -> Bond {
        if transaction.tag.is_none() { Bond::default() } else { self.bind_to_tag(transaction) }
    }

    fn bind_to_tag(&mut self, transaction: &Transaction) -> Bond {
        let failed = matches!(transaction.outcome, Outcome::Hard(_) | Outcome::Soft(_));
        let Some(tag) = transaction.tag.filter(|_| !failed) else { return Bond::default() };
        // A reload may have taken the peer away, or the key that its tag was made with.
        let Some(group) = self.conn.worker.group(self.route.group).filter(|group| group.knows(tag)) else {
            return Bond::default();
        };
        let (Some(sticky), Some(binding)) = (&group.config.sticky, &group.binding) else { return Bond::default() };
        let hint = self.hint;
        self.story.sticky = Some(match hint.tag {
            Some(bound) if bound == tag => telemetry::Sticky::Bound,
            Some(_) => telemetry::Sticky::Moved,
            None => telemetry::Sticky::New,
        });
        match sticky {
            Sticky::Cookie(cookie) if hint.tag != Some(tag) || hint.stale => {
                let now = clock::wall();
                let ticket = Ticket { tag, issued: seconds(now) }.seal(&binding.key);
                let scope = self.story.scope(self.conn, self.s, Some(self.route));
                let text = |template: &Option<Template>| template.as_ref().map(|template| value(template, &scope));
                let value = set_cookie(cookie, &ticket, text(&cookie.domain), text(&cookie.samesite), now);
                Bond { cookie: Some(SetCookie { value, private: cookie.nocache }), lesson: None }
            }
            Sticky::Cookie(_) | Sticky::Route(_) => Bond::default(),
            Sticky::Learn(learn) => {
                let bond = Bond { cookie: None, lesson: Some(Lesson { tag, session: hint.session }) };
                if learn.header || self.s.response.status() == 101 {
                    self.learn(bond);
                    return Bond::default();
                }
                bond
            }
        }
    }

    /// Remembers of which session an answer was that has been passed on. Its head is still in the scratch.
    #[inline]
    pub fn learn(&self, bond: Bond) {
        if let Some(lesson) = bond.lesson {
            self.learn_lesson(lesson);
        }
    }

    fn learn_lesson(&self, lesson: Lesson) {
        let Some(group) = self.conn.worker.group(self.route.group) else { return };
        let (Some(Sticky::Learn(learn)), Some(binding)) = (&group.config.sticky, &group.binding) else { return };
        let Some(sessions) = &binding.sessions else { return };
        let scope = self.story.scope(self.conn, self.s, Some(self.route));
        let scope = Scope { answer: Some(&self.s.response), ..scope };
        let now = self.conn.worker.now();
        match (first_value(&learn.create, &scope), lesson.session) {
            (Some(name), _) => {
                sessions.learn(binding.key.session(&name), lesson.tag, learn.size, learn.timeout, now);
            }
            (None, Some(session)) => sessions.relearn(session, lesson.tag, learn.size, learn.timeout, now),
            (None, None) => {}
        }
    }
}

/// The first that is not empty.
fn first_value(templates: &[Template], scope: &Scope<'_>) -> Option<Vec<u8>> {
    templates.iter().map(|template| value(template, scope)).find(|value| !value.is_empty())
}

fn value(template: &Template, scope: &Scope<'_>) -> Vec<u8> {
    let mut value = Vec::new();
    scope.append(template, &mut value);
    value
}

/// Seconds since 1970, which fit until 2106.
fn seconds(at: SystemTime) -> u32 {
    u32::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(u32::MAX)
}

/// A browser would not have sent it any more.
fn is_over(ticket: &Ticket, life: Option<Duration>, now: u32) -> bool {
    life.is_some_and(|life| ticket.age(now) > life)
}

/// Past half its life, so that who keeps coming never loses it.
fn is_stale(ticket: &Ticket, life: Option<Duration>, now: u32) -> bool {
    life.is_some_and(|life| ticket.age(now) * 2 > life)
}

/// The value of `Set-Cookie`, with its attributes in nginx's order. What a variable says is left out if it could be read
/// as more than one attribute; a `samesite` that is no such word is `strict`.
fn set_cookie(
    cookie: &StickyCookie,
    ticket: &str,
    domain: Option<Vec<u8>>,
    samesite: Option<Vec<u8>>,
    now: SystemTime,
) -> Vec<u8> {
    let mut out = format!("{}={ticket}", cookie.name).into_bytes();
    let mut add = |text: &str, value: &[u8]| {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(value);
    };
    if let Some(life) = cookie.expires {
        let date = if life == StickyCookie::MAX {
            // nginx's end of time.
            "Thu, 31 Dec 2037 23:55:55 GMT".to_owned()
        } else {
            httpdate::fmt_http_date(now + life)
        };
        add("expires=", date.as_bytes());
        add("max-age=", life.as_secs().to_string().as_bytes());
    }
    let is_name = |name: &[u8]| !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(b));
    if let Some(domain) = domain.filter(|domain| is_name(domain)) {
        add("domain=", &domain);
    }
    if cookie.httponly {
        add("httponly", b"");
    }
    if cookie.secure {
        add("secure", b"");
    }
    match samesite.map(|word| word.to_ascii_lowercase()).as_deref() {
        None | Some(b"") => {}
        Some(word @ (b"lax" | b"none")) => add("samesite=", word),
        Some(_) => add("samesite=", b"strict"),
    }
    if !cookie.path.is_empty() {
        add("path=", cookie.path.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinity::Key;

    const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

    fn plain() -> StickyCookie {
        StickyCookie {
            name: "srv_id".to_owned(),
            expires: None,
            domain: None,
            path: "/".to_owned(),
            httponly: false,
            secure: false,
            samesite: None,
            nocache: false,
            secret: None,
        }
    }

    fn written(cookie: &StickyCookie, domain: Option<&str>, samesite: Option<&str>) -> String {
        let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        String::from_utf8(set_cookie(cookie, "T", bytes(domain), bytes(samesite), now)).unwrap()
    }

    #[test]
    fn attributes_are_written_in_nginxs_order() {
        let all = StickyCookie { expires: HOUR, httponly: true, secure: true, ..plain() };
        assert_eq!(
            written(&all, Some(".example.com"), Some("lax")),
            "srv_id=T; expires=Sun, 06 Nov 1994 09:49:37 GMT; max-age=3600; domain=.example.com; httponly; secure; \
             samesite=lax; path=/"
        );
        let max = StickyCookie { expires: Some(StickyCookie::MAX), ..plain() };
        assert_eq!(
            written(&max, None, None),
            "srv_id=T; expires=Thu, 31 Dec 2037 23:55:55 GMT; max-age=315360000; path=/"
        );
        assert_eq!(written(&StickyCookie { path: String::new(), ..plain() }, None, None), "srv_id=T");
    }

    #[test]
    fn what_a_variable_says_cannot_add_an_attribute() {
        for (domain, samesite, expected) in [
            ("a.test", "Lax", "srv_id=T; domain=a.test; samesite=lax; path=/"),
            ("", "", "srv_id=T; path=/"),
            ("a.test; secure", "none; secure", "srv_id=T; samesite=strict; path=/"),
            ("a\r\nX: y", "nonsense", "srv_id=T; samesite=strict; path=/"),
        ] {
            assert_eq!(written(&plain(), Some(domain), Some(samesite)), expected);
        }
    }

    #[test]
    fn a_cookie_is_renewed_past_half_its_life_and_worthless_after_it() {
        let ticket = Ticket { tag: Key::new(b"k").tag(&[]), issued: 10_000 };
        for (life, age, stale, over) in [
            (HOUR, 0, false, false),
            (HOUR, 1800, false, false),
            (HOUR, 1801, true, false),
            (HOUR, 3600, true, false),
            (HOUR, 3601, true, true),
            (None, 1_000_000_000, false, false),
        ] {
            let now = 10_000 + age;
            assert_eq!((is_stale(&ticket, life, now), is_over(&ticket, life, now)), (stale, over), "{life:?} {age}");
        }
        assert!(!is_stale(&ticket, HOUR, 9_000), "another machine's clock may be ahead");
    }
}
