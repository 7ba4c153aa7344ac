//! `weir healthcheck` as a HEALTHCHECK and a start-up script run it; and what `match` says of JSON, asked by weir itself.

use crate::support::weir::{command, command_with};
use crate::support::{Authority, Backend, Script, Weir, eventually};

#[test]
fn over_tls_the_certificate_is_verified_unless_it_need_not_be() {
    let (backend, authority) = (Backend::start("app"), Authority::new("authority"));
    let toml = format!(
        "[upstream.web]\nservers = [\"{}\"]\n[[server]]\nlisten = {{ address = \"127.0.0.1:0\", \
         tls = {{ certificate = \"a.pem\", key = \"a.key\" }} }}\n[[server.location]]\npath = \"/\"\n\
         proxy_pass = \"http://web\"\n",
        backend.address()
    );
    let weir = Weir::start_with(&toml, |folder| {
        authority.issue(&["localhost"]).write(folder, "a");
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    });
    let url = format!("https://localhost:{}/", weir.address().port());
    let asked = |words: &[&str]| command(weir.folder(), &[&["healthcheck"], words].concat());
    for believing in [&["--ca-file", "ca.pem"][..], &["--insecure"]] {
        let (code, out, _) = asked(&[believing, &[url.as_str()]].concat());
        assert!(code == Some(0) && out.starts_with(&format!("status OK, url {url}, took ")), "{out}");
    }
    let (code, out, _) = asked(&[&url]);
    assert!(code == Some(1) && out.starts_with(&format!("status FAILED, url {url}, TLS: ")), "{out}");
    let other = format!("https://127.0.0.1:{}/", weir.address().port());
    let (code, out, _) = asked(&["--ca-file", "ca.pem", &other]);
    assert!(code == Some(1) && out.contains(", TLS: "), "a certificate for another name: {out}");
    assert_eq!(asked(&["--ca-file", "absent.pem", &url]).0, Some(2));
}

#[test]
fn a_setting_of_the_application_names_the_url() {
    let backend = Backend::start("a");
    let folder = tempfile::tempdir().unwrap();
    let url = |path: &str| format!("http://{}{path}", backend.address());
    let settings = format!("{{ // where the numbers are\n \"RngApi\": {{ \"Url\": \"{}\", }} }}", url("/file"));
    std::fs::write(folder.path().join("appsettings.json"), settings).unwrap();
    let asked = |variables: &[(&str, &str)]| {
        command_with(folder.path(), &["healthcheck", "-c", "RngApi:Url", "-t", "10000"], variables)
    };
    let (code, out, _) = asked(&[]);
    assert!(code == Some(0) && out.starts_with(&format!("status OK, url {}, took ", url("/file"))), "{out}");
    let (code, out, _) = asked(&[("RngApi__Url", &url("/environment"))]);
    assert!(code == Some(0) && out.contains("/environment"), "{out}");
    std::fs::remove_file(folder.path().join("appsettings.json")).unwrap();
    let (code, out, _) = asked(&[]);
    assert!(code == Some(1) && out.starts_with("status FAILED, key RngApi:Url, not set: "), "{out}");
}

#[test]
fn each_of_several_must_be_healthy() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let folder = tempfile::tempdir().unwrap();
    let (url, tcp) = (format!("http://{}/health", a.address()), b.address().to_string());
    let words = ["healthcheck", &url, "--tcp", &tcp];
    let (code, out, _) = command(folder.path(), &words);
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}");
    b.stop();
    let (code, out, _) = command(folder.path(), &words);
    assert_eq!(code, Some(1), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("status OK, url ") && lines[1].starts_with("status FAILED, tcp "), "{out}");
}

#[test]
fn a_health_check_of_an_upstream_reads_json() {
    let backend = Backend::start("a");
    backend.health(Script::text("{\"status\": \"starting\"}"));
    let toml = format!(
        "[upstream.web]\nservers = [\"{}\"]\n[upstream.web.health_check]\nuri = \"/health\"\ninterval = \"50ms\"\n\
         match = {{ status = 200, json = \"status == ok\" }}\n[[server]]\nlisten = \"127.0.0.1:0\"\n\
         [[server.location]]\npath = \"/\"\nproxy_pass = \"http://web\"\n",
        backend.address()
    );
    let weir = Weir::start(&toml);
    assert_eq!(weir.get("/").status, 503, "it is not what it should be");
    backend.health(Script::text("{\"status\": \"ok\"}"));
    eventually("requests reach it", || weir.get("/").status == 200);
    backend.health(Script::text("{\"status\": \"down\"}"));
    weir.wait_for("the log says why", |line| line.contains("`status == ok` is wrong: it is \"down\""));
}
