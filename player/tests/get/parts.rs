//! Servers that send parts in ways of their own, or hardly at all.

use super::*;

/// An answer whose part says of itself what `of` makes of it: `Content-Range`, and the body.
fn retold(asked: &Asked, remote: &Remote, of: impl Fn(Range<u64>) -> Range<u64>) -> Answer {
    let len = remote.bytes.len() as u64;
    match asked.range(len) {
        Some(part) if !part.is_empty() => {
            let part = of(part);
            let asked = Asked {
                headers: vec![("range".into(), format!("bytes={}-{}", part.start, part.end.min(len) - 1))],
                ..asked.clone()
            };
            remote.answer(&asked)
        }
        _ => remote.answer(asked),
    }
}

#[test]
fn parts_that_end_early_are_asked_on() {
    for connections in ["1", "4"] {
        let folder = Folder::new();
        let remote = Remote::new(bytes(4 * MIB, 70));
        let file = remote.clone();
        let server =
            Server::start(move |asked, _| retold(asked, &file, |part| part.start..part.end.min(part.start + 300_000)));
        let done = run(get(&server.url("/a"), &folder.file()).args(["--connections", connections])).done();
        assert_same(&folder.file(), &remote.bytes);
        assert_eq!((&done["fetched"], &done["retries"]), (&remote.bytes.len().into(), &0.into()));
    }
}

#[test]
fn parts_that_end_late_are_cut_off() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(4 * MIB, 71));
    let file = remote.clone();
    let server = Server::start(move |asked, _| retold(asked, &file, |part| part.start..part.end + 300_000));
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &remote.bytes);
}

/// What some servers send in place of a part, from the first answer on or later.
#[test]
fn a_server_without_usable_parts_sends_the_whole() {
    type Odd = fn(&Remote, &Asked) -> Answer;
    fn part(remote: &Remote, asked: &Asked) -> Vec<u8> {
        let part = asked.range(remote.bytes.len() as u64).unwrap();
        remote.bytes[part.start as usize..part.end as usize].to_vec()
    }
    let odd: [(&str, Odd); 9] = [
        ("multipart", |remote, asked| {
            let body = [
                &b"--x\r\nContent-Type: a/b\r\nContent-Range: bytes 0-1/2\r\n\r\n"[..],
                &part(remote, asked),
                b"\r\n--x--\r\n",
            ]
            .concat();
            let head = "Content-Type: multipart/byteranges; boundary=x\r\nETag: \"one\"\r\n";
            Answer::new("206 Partial Content", &format!("{head}Content-Length: {}\r\n", body.len()), &body)
        }),
        ("no range", |remote, asked| {
            let body = part(remote, asked);
            let head = format!("ETag: \"one\"\r\nContent-Length: {}\r\n", body.len());
            Answer::new("206 Partial Content", &head, &body)
        }),
        ("a short length", |remote, asked| {
            let mut answer = remote.answer(asked);
            let (all, half) = (answer.body.len(), answer.body.len() / 2);
            answer.head = answer.head.replace(&format!("Content-Length: {all}"), &format!("Content-Length: {half}"));
            answer.cut_to(half, After::Close)
        }),
        ("a long length", |remote, asked| {
            let mut answer = remote.answer(asked);
            let all = answer.body.len();
            answer.head =
                answer.head.replace(&format!("Content-Length: {all}"), &format!("Content-Length: {}", all + 1));
            answer.body.push(0);
            answer
        }),
        ("another part", |remote, asked| {
            let mut answer = remote.answer(asked);
            let part = asked.range(remote.bytes.len() as u64).unwrap();
            let (honest, lie) = (format!("bytes {}-", part.start), format!("bytes {}-", part.start + 1));
            answer.head = answer.head.replace(&honest, &lie);
            answer
        }),
        ("refused", |_, _| Answer::new("416 Range Not Satisfiable", "Content-Length: 0\r\n", b"")),
        ("bad", |_, _| Answer::new("400 Bad Request", "Content-Length: 0\r\n", b"")),
        ("unknown", |_, _| Answer::new("501 Not Implemented", "Content-Length: 0\r\n", b"")),
        ("nothing of it", |remote, asked| remote.answer(asked).cut_to(0, After::Close)),
    ];
    for (name, odd) in odd {
        for first in [0, 1] {
            // From the first answer on it is a server that cannot be reached.
            if name == "nothing of it" && first == 0 {
                continue;
            }
            let folder = Folder::new();
            let remote = Remote::new(bytes(3 * MIB, 72));
            let file = remote.clone();
            let server = Server::start(move |asked, before| match asked.header("range") {
                Some(_) if before >= first => odd(&file, asked),
                _ if before == 0 => file.answer(asked).cut_to(700_000, After::Close),
                _ => file.answer(asked),
            });
            let ended = run(get(&server.url("/a"), &folder.file()).args(["--tries", "2"]));
            assert_eq!(ended.code, Some(0), "{name}, {first}: {ended:?}");
            assert_same(&folder.file(), &remote.bytes);
        }
    }
}

/// Each body ends before its end: half of what is missing comes each time, and in the end nothing.
#[test]
fn bodies_that_are_always_short_end_in_one_piece() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(MIB + 1, 73));
    let file = remote.clone();
    let server = Server::start(move |asked, _| {
        let answer = file.answer(asked);
        let half = answer.body.len() / 2;
        if asked.header("range").is_some() { answer.cut_to(half, After::Close) } else { answer }
    });
    run(get(&server.url("/a"), &folder.file()).args(["--tries", "2"])).done();
    assert_same(&folder.file(), &remote.bytes);
}

#[test]
fn a_part_that_nobody_asked_for_is_the_file_if_it_is_the_whole() {
    let folder = Folder::new();
    let remote = Remote { etag: None, ..Remote::new(bytes(MIB, 74)) };
    let file = remote.clone();
    let server = Server::start(move |_, _| {
        let headers = format!("Content-Range: bytes 0-{}/{MIB}\r\nContent-Length: {MIB}\r\n", MIB - 1);
        Answer::new("206 Partial Content", &headers, &file.bytes)
    });
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &remote.bytes);
}

/// A redirect to a place with a key in it, which is good for a few questions.
#[test]
fn a_redirect_that_expires_is_asked_for_again() {
    for status in ["403 Forbidden", "404 Not Found", "410 Gone", "401 Unauthorized"] {
        let folder = Folder::new();
        let remote = Remote::new(bytes(8 * MIB, 75));
        let (file, keys) = (remote.clone(), AtomicUsize::new(0));
        let server = Server::start(move |asked, before| {
            let good = before / 4;
            match asked.path.strip_prefix("/b?key=") {
                None => {
                    keys.store(good, SeqCst);
                    let to = format!("Location: /b?key={good}\r\nContent-Length: 0\r\n");
                    Answer::new("302 Found", &to, b"")
                }
                Some(key) if key.parse() == Ok(keys.load(SeqCst)) && good <= keys.load(SeqCst) => file.answer(asked),
                Some(_) => Answer::new(status, "Content-Length: 0\r\n", b""),
            }
        });
        run(&mut get(&server.url("/a"), &folder.file())).done();
        assert_same(&folder.file(), &remote.bytes);
        assert!(server.asked().iter().filter(|asked| asked.path == "/a").count() > 1);
    }
}
