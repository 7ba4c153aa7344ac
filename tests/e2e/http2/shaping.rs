//! Do limits and mirrors hold for streams of HTTP/2 as for requests of HTTP/1.1?

use super::rig::{Client, h2c, run};
use crate::support::{Backend, Gate, Script, Site, eventually};

#[test]
fn streams_are_limited_one_by_one_and_the_connection_goes_on() {
    let a = Backend::start("a");
    let site = Site::of([&a])
        .location("limit_req = { zone = \"per_path\" }\nlimit_conn = { zone = \"all\", connections = 1 }")
        .rest("[limit_req_zone.per_path]\nkey = \"$uri\"\nrate = \"1r/m\"\n[limit_conn_zone.all]\nkey = \"$arg_all\"");
    let weir = h2c(&site);
    let gate = Gate::default();
    a.on("/slow", Script::new().gate(&gate).answer(200, "", "slow"));
    run(async {
        let client = Client::connect(weir.address()).await;
        assert_eq!(client.get("/one").await.status, 200);
        let refused = client.post("/one", b"body").await;
        assert_eq!((refused.status, refused.field("retry-after").is_some()), (503, true));
        assert_eq!(client.get("/two").await.status, 200);
        let slow = client.begin(client.request("GET", "/slow?all=1"), true).await.unwrap();
        super::rig::soon("it is in flight", || a.requests().len() == 3).await;
        assert_eq!(client.get("/three?all=1").await.status, 503);
        gate.open();
        assert_eq!(super::rig::read(slow.0).await.unwrap().text(), "slow");
    });
}

#[test]
fn a_stream_is_copied_to_a_mirror() {
    let [a, shadow] = ["a", "shadow"].map(Backend::start);
    let site = Site::of([&a])
        .location("mirror = { upstream = \"shadow\" }")
        .rest(&format!("[upstream.shadow]\nservers = [\"{}\"]", shadow.address()));
    let weir = h2c(&site);
    run(async {
        let client = Client::connect(weir.address()).await;
        assert_eq!(client.post("/x", b"the body").await.text(), "a");
    });
    eventually("the copy", || shadow.requests().first().is_some_and(|copy| copy.complete));
    let copy = shadow.only_request();
    assert_eq!((copy.method.as_str(), copy.target.as_str(), &copy.body[..]), ("POST", "/x", &b"the body"[..]));
}

#[test]
fn a_call_whose_deadline_passes_while_it_waits_for_its_turn_is_asked_of_nobody() {
    let a = Backend::start("a");
    let site = Site::of([&a])
        .location("limit_req = { zone = \"per_path\", burst = 1 }")
        .rest("[limit_req_zone.per_path]\nkey = \"$uri\"\nrate = \"1r/m\"");
    let weir = h2c(&site);
    run(async {
        let client = Client::connect(weir.address()).await;
        assert_eq!(client.get("/call").await.status, 200);
        let call = client.request("POST", "/call").header("content-type", "application/grpc").header("te", "trailers");
        let answer = client.ask(call.header("grpc-timeout", "200m"), b"").await.unwrap();
        assert_eq!(answer.field("grpc-status").or(answer.trailer("grpc-status")), Some("4"));
    });
    assert_eq!(a.only_request().target, "/call");
    weir.wait_for_access("the call", |line| line.contains("POST /call"));
}
