//! What deployments in containers rely on: several weirs beside each other, and files that are replaced by moving a link.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Backend, Site, Weir, eventually};

#[test]
fn two_weirs_with_one_file_send_each_key_to_the_same_peer() {
    let backends = ["a", "b", "c", "d", "e"].map(Backend::start);
    let [a, b, c, d, e] = &backends;
    for balance in ["hash $request_uri", "hash $request_uri consistent", "ip_hash"] {
        let site = Site::of([a, b, c, d, e]).upstream(&format!("balance = \"{balance}\""));
        let (one, other) = (site.start(), site.start());
        let picks = |weir: &Weir| (0..40).map(|key| weir.get(&format!("/{key}")).text()).collect::<String>();
        let seen = picks(&one);
        assert_eq!(seen, picks(&other), "{balance}");
        let asked = seen.chars().collect::<HashSet<_>>().len();
        assert_eq!(asked, if balance == "ip_hash" { 1 } else { 5 }, "{balance}: {seen}");
    }
}

#[test]
fn two_weirs_agree_on_the_keys_of_a_peer_that_left() {
    let backends = ["a", "b", "c", "d"].map(Backend::start);
    let [a, b, c, d] = &backends;
    let site = Site::of([a, b, c, d]).upstream("balance = \"hash $request_uri consistent\"");
    let (one, other) = (site.start(), site.start());
    let picks = |weir: &Weir| (0..40).map(|key| weir.get(&format!("/{key}")).text()).collect::<String>();
    let before = picks(&one);
    c.stop();
    let after = picks(&one);
    assert_eq!(after, picks(&other));
    let moved = before.chars().zip(after.chars()).filter(|(owner, heir)| owner != heir);
    assert!(moved.clone().count() > 0 && moved.clone().all(|(owner, _)| owner == 'c'), "{before} became {after}");
}

/// A folder as the kubelet mounts a ConfigMap: `upstream.toml` leads to `..data/upstream.toml`, and `..data` to a folder
/// named after the time. The file itself is never touched; a change is another `..data`, moved over the old one.
fn mount(folder: &Path, version: &str, toml: &str) {
    let named = folder.join(version);
    fs::create_dir(&named).unwrap();
    fs::write(named.join("upstream.toml"), toml).unwrap();
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[test]
fn a_config_map_that_changes_takes_effect_by_itself() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a]).start();
    mount(weir.folder(), "..2026_11_22_20_00_00.1", &Site::of([&a]).toml());
    symlink("..data/upstream.toml", weir.folder().join("link")).unwrap();
    fs::rename(weir.folder().join("link"), weir.config_file()).unwrap();
    assert_eq!(weir.rotation(3), "aaa");
    let mark = weir.mark();
    mount(weir.folder(), "..2026_11_22_20_05_00.2", &Site::of([&b]).toml());
    fs::remove_dir_all(weir.folder().join("..2026_11_22_20_00_00.1")).unwrap();
    eventually("b answers", || weir.get("/").text() == "b");
    assert!(!weir.log()[mark..].iter().any(|line| line.contains("was replaced outside")), "{:?}", weir.log());
}
