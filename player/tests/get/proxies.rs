//! Proxies, as the environment names them.

use super::*;

#[test]
fn a_proxy_is_asked_for_the_whole_address() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(4 * MIB, 100));
    let file = remote.clone();
    let proxy = Server::start(move |asked, _| match asked.path.strip_prefix("http://files.example:81") {
        Some("/a?b") => Answer::new("302 Found", "Location: /c\r\nContent-Length: 0\r\n", b""),
        Some("/c") => file.answer(asked),
        _ => Answer::new("400 Bad Request", "Content-Length: 0\r\n", b""),
    });
    let url = "http://me:word@files.example:81/a?b";
    let done = run(get(url, &folder.file()).env("http_proxy", proxy.url("").replace("//", "//you:p%40ss@"))).done();
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!(done["connections"], 4);
    for asked in proxy.asked() {
        assert_eq!(asked.header("host"), Some("files.example:81"));
        assert_eq!(asked.header("proxy-authorization"), Some("Basic eW91OnBAc3M="), "you:p@ss");
        assert_eq!(asked.header("authorization"), Some("Basic bWU6d29yZA=="), "me:word");
    }
}

#[test]
fn exceptions_and_other_schemes_pass_the_proxy_by() {
    let remote = Remote::new(bytes(2 * MIB, 101));
    let server = Server::of(&remote);
    // Nobody is there.
    let nowhere = "http://127.0.0.1:1";
    for variables in [
        &[("http_proxy", nowhere), ("no_proxy", "other.example, 127.0.0.0/8")][..],
        &[("all_proxy", nowhere), ("NO_PROXY", "*")],
        &[("https_proxy", nowhere)],
        &[("http_proxy", "")],
    ] {
        let folder = Folder::new();
        run(get(&server.url("/a"), &folder.file()).envs(variables.iter().copied())).done();
        assert_same(&folder.file(), &remote.bytes);
    }
    let folder = Folder::new();
    run(get(&server.url("/a"), &folder.file()).env("http_proxy", nowhere)).failed(3, "cannot reach");
}

#[test]
fn a_secure_address_is_asked_for_through_a_tunnel() {
    let folder = Folder::new();
    let proxy = Server::start(|_, _| Answer::new("403 Forbidden", "Content-Length: 0\r\n", b""));
    let ended = run(get("https://files.example/a", &folder.file()).env("https_proxy", proxy.url("")));
    ended.failed(3, "files.example");
    let asked = proxy.asked();
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("CONNECT", "files.example:443"));
}

#[test]
fn a_proxy_that_cannot_be_used_is_not_passed_by() {
    let folder = Folder::new();
    let server = Server::of(&Remote::new(bytes(MIB, 102)));
    let ended = run(get(&server.url("/a"), &folder.file()).env("all_proxy", "socks5://me:secret@127.0.0.1:1080"));
    ended.failed(2, "all_proxy");
    assert!(!ended.stderr.contains("secret"), "{ended:?}");
    assert_eq!(server.asked().len(), 0);
}
