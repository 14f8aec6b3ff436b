//! Odd heads of answers: lengths that say nothing, lines that nobody expects.

use super::*;

/// The head with these lines before it.
fn after_lines(lines: &str, mut answer: Answer) -> Answer {
    answer.head.insert_str(0, lines);
    answer
}

/// The answer with these fields in its head.
fn with_fields(fields: &str, mut answer: Answer) -> Answer {
    answer.head = answer.head.replacen("\r\n", &format!("\r\n{fields}"), 1);
    answer
}

#[test]
fn odd_heads_are_read() {
    let many: String = (0..200).map(|i| format!("X-Field-{i}: {i}\r\n")).collect();
    type Odd<'a> = Box<dyn Fn(Answer) -> Answer + Send + Sync + 'a>;
    let before = |lines: &'static str| -> Odd<'static> { Box::new(move |answer| after_lines(lines, answer)) };
    let odd: Vec<Odd<'static>> = vec![
        before("HTTP/1.1 100 Continue\r\n\r\n"),
        before("HTTP/1.1 100 Continue\r\nServer: x\r\nDate: Sat, 28 Nov 2026 08:00:00 GMT\r\n\r\n"),
        before("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        before("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"),
        Box::new(move |answer| with_fields(&many, answer)),
        Box::new(|answer| with_fields("a line without a colon\r\nname with spaces: x\r\n: nameless\r\n", answer)),
        Box::new(|answer| with_fields("X-Folded: one\r\n two\r\n", answer)),
        Box::new(|answer| with_fields("X-Latin: caf\u{e9}\r\n", answer)),
    ];
    for (number, odd) in odd.into_iter().enumerate() {
        let folder = Folder::new();
        let remote = Remote::new(bytes(3 * MIB, 90));
        let file = remote.clone();
        let server = Server::start(move |asked, _| odd(file.answer(asked)));
        let ended = run(&mut get(&server.url("/a"), &folder.file()));
        assert_eq!(ended.code, Some(0), "{number}: {ended:?}");
        assert_eq!(ended.done()["retries"], 0, "{number}");
        assert_same(&folder.file(), &remote.bytes);
    }
}

#[test]
fn a_length_of_nothing_is_an_empty_file() {
    for after in [After::Keep, After::Close] {
        let folder = Folder::new();
        let server = Server::start(move |_, _| Answer::new("200 OK", "Content-Length: 0\r\n", b"").then(after));
        let ended = run(&mut get(&server.url("/a"), &folder.file()));
        assert_eq!(ended.done()["bytes"], 0);
        assert!(!ended.stderr.contains("did not say"), "{ended:?}");
        assert_eq!(run(&mut get(&server.url("/a"), &folder.file())).done()["status"], "already_there");
        assert_eq!(folder.names(), ["file"]);
    }
}

#[test]
fn a_head_that_breaks_off_is_no_empty_file() {
    for head in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\n\r\n"] {
        let folder = Folder::new();
        let answer = Answer { head: head.into(), ..Answer::new("", "", b"") };
        let server = Server::start(move |_, _| answer.clone().then(After::Close));
        let ended = run(get(&server.url("/a"), &folder.file()).args(["--tries", "2"]));
        assert_eq!(ended.code, Some(3), "{head:?}: {ended:?}");
        assert!(!folder.file().exists());
    }
}

#[test]
fn a_stations_stream_is_said_to_be_one() {
    for head in [
        "HTTP/1.0 200 OK\r\nicy-name: A Station\r\nContent-Type: audio/mpeg\r\n\r\n",
        "ICY 200 OK\r\nicy-br:128\r\n\r\n",
        "HTTP/1.1 200 OK\r\nIcy-MetaInt: 16000\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nicy-pub: 1\r\nContent-Length: 9223372036854775807\r\n\r\n",
        "HTTP/1.1 200 OK\r\nicy-pub: 1\r\nContent-Length: 200000000000\r\n\r\n",
    ] {
        let folder = Folder::new();
        let answer = Answer { head: head.into(), ..Answer::new("", "", &[7; 5_000]) };
        let server = Server::start(move |_, _| answer.clone().then(After::Silence));
        let ended = run(&mut get(&server.url("/a"), &folder.file()));
        ended.failed(3, "is a station's stream, which has no end");
        assert!(ended.stderr.contains("roundelay play"), "{ended:?}");
        assert_eq!(folder.names(), [""; 0]);
    }
}

/// A length beside chunks says nothing.
#[test]
fn chunks_are_what_they_are_beside_a_length() {
    let folder = Folder::new();
    let truth = bytes(MIB, 91);
    let body = chunked(&truth);
    let head = "Transfer-Encoding: chunked\r\nContent-Length: 7\r\nETag: \"one\"\r\n";
    let server = Server::start(move |_, _| Answer::new("200 OK", head, &body));
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &truth);
}
