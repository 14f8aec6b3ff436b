//! Servers that refuse, and questions that make no sense.

use super::*;

#[test]
fn a_refusal_is_said_and_leaves_nothing_behind() {
    for (status, why) in [("404 Not Found", "404 Not Found"), ("410 Gone", "410 Gone"), ("304 Not Modified", "304")] {
        let folder = Folder::new();
        let server = Server::start(move |_, _| Answer::new(status, "Content-Length: 0\r\n", b""));
        run(&mut get(&server.url("/a"), &folder.file())).failed(3, why);
        assert_eq!(folder.names(), [""; 0]);
        assert_eq!(server.asked().len(), 1, "asking again would not help");
    }
}

#[test]
fn a_server_that_is_busy_is_asked_again_when_it_says() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(MIB, 8));
    let file = remote.clone();
    let busy = |status: &str| Answer::new(status, "Retry-After: 0\r\nContent-Length: 0\r\n", b"");
    let server = Server::start(move |asked, before| match before {
        0 => busy("503 Service Unavailable"),
        1 => busy("429 Too Many Requests"),
        _ => file.answer(asked),
    });
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &remote.bytes);
}

#[test]
fn a_server_that_is_busy_until_tomorrow_is_not_waited_for() {
    let folder = Folder::new();
    let later = "Retry-After: 86400\r\nContent-Length: 0\r\n";
    let server = Server::start(move |_, _| Answer::new("503 Service Unavailable", later, b""));
    run(&mut get(&server.url("/a"), &folder.file())).failed(3, "86400 s");
}

#[test]
fn redirects_in_a_circle_or_to_another_scheme_are_no_way_to_a_file() {
    for (to, why) in [
        ("Location: /a\r\n", "circle"),
        ("Location: ftp://127.0.0.1/a\r\n", "ftp"),
        // Not even looked for here.
        ("Location: file:///etc/passwd\r\n", ""),
        ("Location: http://\r\n", ""),
        ("", "location"),
    ] {
        let folder = Folder::new();
        let headers = format!("{to}Content-Length: 0\r\n");
        let server = Server::start(move |_, _| Answer::new("301 Moved Permanently", &headers, b""));
        run(&mut get(&server.url("/a"), &folder.file())).failed(3, why);
        assert_eq!(folder.names(), [""; 0]);
    }
}

#[test]
fn nobody_there_is_an_error_at_once() {
    let folder = Folder::new();
    run(&mut get("http://127.0.0.1:1/a", &folder.file())).failed(3, "cannot reach http://127.0.0.1:1/a");
    run(&mut get("http://no.such.host.invalid/a", &folder.file())).failed(3, "cannot reach");
}

#[test]
fn a_command_line_that_makes_no_sense_is_said_so() {
    let folder = Folder::new();
    for url in ["ftp://127.0.0.1/a", "127.0.0.1/a", "http://", "/etc/passwd", "http://a b/"] {
        let ended = run(&mut get(url, &folder.file()));
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
    for connections in ["0", "17", "many"] {
        let ended = run(get("http://127.0.0.1:1/", &folder.file()).args(["--connections", connections]));
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
}

#[test]
fn one_connection_too_many_does_not_end_the_others() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(6 * MIB, 9));
    let file = remote.clone();
    let server = Server::start(move |asked, before| match before {
        1 | 2 => Answer::new("403 Forbidden", "Content-Length: 0\r\n", b""),
        _ => file.answer(asked),
    });
    let ended = run(&mut get(&server.url("/a"), &folder.file()));
    ended.done();
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!(ended.stderr.matches("one connection fewer").count(), 2, "{ended:?}");
}

#[test]
fn garbage_in_place_of_http_is_an_error() {
    let folder = Folder::new();
    let garbage = || Answer { head: "SSH-2.0-OpenSSH\r\n\r\n".into(), ..Answer::new("", "", b"") };
    let server = Server::start(move |_, _| garbage().then(After::Close));
    run(get(&server.url("/a"), &folder.file()).args(["--tries", "2"])).failed(3, "");
    assert_eq!(folder.names(), [""; 0]);
}
