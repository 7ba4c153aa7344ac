//! The API of nginx Plus (ngx_http_api_module, version 9) for HTTP upstreams: `/api/9/http/upstreams/…`.

mod edit;
mod path;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::desk::Desk;
use super::failure::Failure;
use super::listener::Visitor;
use crate::clock::Moment;
use crate::control::operator::{self, Lever};
use crate::health::Operator;
use crate::topology::{Added, Adjustment, Group, Seat, Setting, Subject, Topology};
use path::{Nothing, Resource, VERSION};

/// Servers that are added are bounded, as everything is that somebody sends.
const MOST_ADDED: usize = 4_096;

#[derive(Deserialize)]
pub(super) struct Fields {
    fields: Option<String>,
}

/// Answers every request below `/api`.
pub(super) async fn answer(
    State(desk): State<Desk>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
    Query(Fields { fields }): Query<Fields>,
    method: Method,
    body: Bytes,
) -> Result<Response, Failure> {
    let path = uri.path().strip_prefix("/api").unwrap_or_default();
    let resource = Resource::at(path).map_err(|nothing| match nothing {
        Nothing::Version => {
            Failure::not_found("UnknownVersion", format!("this API has the version {VERSION}: /api/{VERSION}/"))
        }
        Nothing::Path => Failure::not_found("PathNotFound", "there is /api/9/http/upstreams/NAME/servers/ID"),
    })?;
    let topology = desk.topology();
    let fields = fields.as_deref();
    let show = |value: Value| Ok(Json(value).into_response());
    match (method, resource) {
        (Method::GET | Method::HEAD, resource) => show(read(&topology, resource, fields)?),
        (Method::DELETE, Resource::Upstream(name)) => {
            group(&topology, &name)?.seats().for_each(|seat| seat.peer.tally.reset());
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        (Method::POST, Resource::Servers(name)) => add(&desk, &topology, &visitor, &name, &body).await,
        (Method::PATCH, Resource::Server(name, id)) => {
            let group = group(&topology, &name)?;
            show(change(&desk, &topology, &visitor, group, &id, &body).await?)
        }
        (Method::DELETE, Resource::Server(name, id)) => {
            let group = group(&topology, &name)?;
            remove(&desk, &topology, group, &id).await?;
            show(servers(self::group(&desk.topology(), &name)?))
        }
        (_, Resource::Upstream(_)) => Err(Failure::method("GET and DELETE")),
        (_, Resource::Servers(_)) => Err(Failure::method("GET and POST")),
        (_, Resource::Server(..)) => Err(Failure::method("GET, PATCH and DELETE")),
        _ => Err(Failure::method("GET")),
    }
}

fn read(topology: &Topology, resource: Resource, fields: Option<&str>) -> Result<Value, Failure> {
    let moment = Moment::present();
    Ok(match resource {
        Resource::Versions => json!([VERSION.parse::<u32>().unwrap_or_default()]),
        Resource::Version => json!(["http"]),
        Resource::Http => json!(["upstreams"]),
        Resource::Upstreams if fields == Some("") => {
            topology.groups().iter().map(|group| group.name()).collect::<Vec<_>>().into()
        }
        Resource::Upstreams => {
            let shown = |group: &Arc<Group>| view::only(view::upstream(group, moment), fields);
            topology.groups().iter().map(|group| (group.name().to_owned(), shown(group))).collect()
        }
        Resource::Upstream(name) => view::only(view::upstream(group(topology, &name)?, moment), fields),
        Resource::Servers(name) => servers(group(topology, &name)?),
        Resource::Server(name, id) => view::server(seat(group(topology, &name)?, &id)?),
    })
}

/// POST: a server that the file does not know.
async fn add(
    desk: &Desk,
    topology: &Topology,
    visitor: &Visitor,
    name: &str,
    body: &Bytes,
) -> Result<Response, Failure> {
    let group = group(topology, name)?;
    let (written, server) = edit::post(&object(body)?)?;
    if group.config.servers.iter().any(|known| known.text == server.text) {
        let text = format!("{name} has {} already: PATCH it, or remove it first", server.text);
        return Err(Failure::conflict("EntryExists", text));
    }
    if topology.adjustments().added.len() >= MOST_ADDED {
        let text = format!("{MOST_ADDED} servers were added already: write them in the file");
        return Err(Failure::conflict("TooManyServers", text));
    }
    refuse_ramp(group, server.slow_start)?;
    let text = server.text.clone();
    let group = group.state.name.clone();
    let by = desk.hand(visitor, None, None, None).by;
    desk.adjust(vec![Adjustment::Add(Added { group, server, written, since: desk.now(), by })]).await?;
    let topology = desk.topology();
    let group = self::group(&topology, name)?;
    let added: Vec<Value> = group.seats().filter(|seat| seat.peer.text == text).map(view::server).collect();
    let shown = match <[Value; 1]>::try_from(added) {
        Ok([one]) => one,
        // A name whose addresses are known already is several.
        Err(many) if !many.is_empty() => Value::Array(many),
        Err(_) => match group.config.servers.iter().find(|server| server.text == text) {
            Some(server) => view::server_without_address(server),
            None => return Err(Failure::conflict("UpstreamServerNotFound", "it was removed again meanwhile")),
        },
    };
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

fn refuse_ramp(group: &Group, slow_start: Duration) -> Result<(), Failure> {
    if group.config.method.is_by_key() && !slow_start.is_zero() {
        let text = "`slow_start` cannot be used with `hash` and `ip_hash`: the key alone decides there";
        return Err(Failure::bad("UpstreamBadSlowStart", text));
    }
    Ok(())
}

/// PATCH: operators' values in place of the file's.
async fn change(
    desk: &Desk,
    topology: &Topology,
    visitor: &Visitor,
    group: &Group,
    id: &str,
    body: &Bytes,
) -> Result<Value, Failure> {
    let seat = seat(group, id)?;
    let edit::Patch { settings, ends } = edit::patch(&object(body)?)?;
    for setting in &settings {
        if let Setting::SlowStart(time) = setting {
            refuse_ramp(group, *time)?;
        }
    }
    let target = target(group, seat);
    let (hand, now) = (desk.hand(visitor, None, None, None), desk.now());
    let mut steps = Vec::new();
    for end in ends {
        let is_so = match end {
            Operator::Down => view::server(seat)["down"] == json!(true),
            _ => view::server(seat)["drain"] == json!(true),
        };
        if is_so {
            steps.extend(operator::pull(topology, &target, Lever::Up, &hand, now)?);
        }
    }
    for setting in settings {
        steps.push(operator::set(topology, &target, setting, &hand, now)?);
    }
    let id = seat.peer.id;
    desk.adjust(steps).await?;
    let topology = desk.topology();
    let mut seats = topology.groups().iter().flat_map(|group| group.seats());
    let seat = seats.find(|seat| seat.peer.id == id);
    seat.map(view::server).ok_or_else(|| Failure::not_found("UpstreamServerNotFound", "it is gone meanwhile"))
}

/// DELETE: a server that was added. It finishes what it has.
async fn remove(desk: &Desk, topology: &Topology, group: &Group, id: &str) -> Result<(), Failure> {
    let text = match seat(group, id) {
        Ok(seat) => seat.peer.text.clone(),
        // A name without an address has no id.
        Err(none) => match group.config.servers.iter().find(|server| *server.text == *id) {
            Some(server) => server.text.clone(),
            None => return Err(none),
        },
    };
    let added = |added: &&Added| *added.group == *group.name() && added.server.text == text;
    if topology.adjustments().added.iter().find(added).is_none() {
        let text = format!("{text} stands in the file: remove it there, or set it down");
        return Err(Failure::bad("UpstreamStatic", text));
    }
    desk.adjust(vec![Adjustment::Remove { group: group.state.name.clone(), server: text }]).await
}

fn servers(group: &Group) -> Value {
    let unresolved = group.config.servers.iter().filter(|server| !group.seats().any(|s| s.peer.text == server.text));
    group.seats().map(view::server).chain(unresolved.map(view::server_without_address)).collect()
}

fn group<'a>(topology: &'a Topology, name: &str) -> Result<&'a Arc<Group>, Failure> {
    Ok(operator::group_named(topology, name)?)
}

fn seat<'a>(group: &'a Group, id: &str) -> Result<&'a Seat, Failure> {
    let number = id.parse::<u64>();
    let mut seats = group.seats();
    let found = match number {
        Ok(number) => seats.find(|seat| seat.peer.id.number() == number),
        Err(_) => seats.find(|seat| *seat.peer.name == *id),
    };
    found.ok_or_else(|| {
        let text = format!("{} has no server {id}: GET the list of its servers", group.name());
        Failure::not_found("UpstreamServerNotFound", text)
    })
}

/// An address of a name is meant alone; a literal address is its server.
fn target(group: &Group, seat: &Seat) -> Subject {
    let addr = operator::address_of(&seat.peer);
    Subject { group: group.state.name.clone(), server: seat.peer.text.clone(), addr }
}

fn object(body: &Bytes) -> Result<Map<String, Value>, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        code: "JsonError",
        text: format!("the body must be a JSON object: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for text in ["", "[]", "5", "{", "null"] {
            assert_eq!(object(&Bytes::from(text)).map_err(|failure| failure.code), Err("JsonError"), "{text}");
        }
    }
}
