//! Answers that contradict the question or themselves.

use super::*;

#[test]
fn a_body_shorter_than_announced_is_never_taken_for_the_file() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(MIB, 10));
    let file = remote.clone();
    let server = Server::start(move |_, _| file.whole().cut_to(MIB / 2, After::Close));
    run(get(&server.url("/a"), &folder.file()).args(["--tries", "2"])).failed(3, "gave up after 2 tries");
    assert!(!folder.file().exists());
}

#[test]
fn what_comes_beyond_the_length_announced_is_no_part_of_the_file() {
    for in_parts in [false, true] {
        let folder = Folder::new();
        let remote = Remote::new(bytes(3 * MIB, 11));
        let file = remote.clone();
        let server = Server::start(move |asked, _| {
            let mut answer = if in_parts { file.answer(asked) } else { file.whole() };
            answer.body.extend_from_slice(&[0xee; 5_000]);
            answer
        });
        run(&mut get(&server.url("/a"), &folder.file())).done();
        assert_same(&folder.file(), &remote.bytes);
    }
}

#[test]
fn a_chunked_part_longer_than_asked_for_is_cut_off() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(4 * MIB, 12));
    let file = remote.clone();
    let server = Server::start(move |asked, before| {
        let honest = file.answer(asked);
        if before == 0 {
            return honest;
        }
        let mut answer = honest.clone();
        let length = format!("Content-Length: {}\r\n", honest.body.len());
        answer.head = honest.head.replace(&length, "Transfer-Encoding: chunked\r\n");
        answer.body.extend_from_slice(&[0xee; 5_000]);
        answer.body = chunked(&answer.body);
        answer
    });
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &remote.bytes);
}

#[test]
fn a_chunked_body_that_breaks_off_is_not_at_its_end() {
    for after in [After::Close, After::Reset] {
        let folder = Folder::new();
        let body = chunked(&bytes(MIB, 13));
        let whole = Answer::new("200 OK", "Transfer-Encoding: chunked\r\n", &body);
        let server = Server::start(move |_, _| whole.clone().cut_to(MIB / 2, after));
        run(get(&server.url("/a"), &folder.file()).args(["--tries", "2"])).failed(3, "gave up after 2 tries");
        assert!(!folder.file().exists());
    }
}

#[test]
fn a_reset_is_not_the_end_of_a_file_without_a_length() {
    let folder = Folder::new();
    let body = bytes(MIB, 14);
    let server = Server::start(move |_, _| Answer::new("200 OK", "", &body).then(After::Reset));
    run(get(&server.url("/a"), &folder.file()).args(["--tries", "2"])).failed(3, "gave up after 2 tries");
    assert!(!folder.file().exists());
}

#[test]
fn a_hostile_first_content_range_is_refused() {
    for range in [
        "bytes 5-9/10",
        "bytes 0-9/5",
        "bytes 9-0/10",
        "bytes 0-9",
        "bytes 0-18446744073709551615/18446744073709551615",
        "bytes 0-9/18446744073709551614",
        "octets 0-9/10",
        "bytes */10",
        "",
    ] {
        let folder = Folder::new();
        let headers = format!("Content-Range: {range}\r\nContent-Length: 10\r\nETag: \"one\"\r\n");
        let server = Server::start(move |_, _| Answer::new("206 Partial Content", &headers, b"0123456789"));
        run(&mut get(&server.url("/a"), &folder.file())).failed(3, "nonsense");
        assert_eq!(folder.names(), [""; 0], "{range}");
    }
}

#[test]
fn a_part_that_is_not_the_one_asked_for_is_never_written() {
    type Lie = fn(Range<u64>, u64) -> String;
    let lies: [(Lie, i32); 6] = [
        (|part, len| format!("bytes {}-{}/{len}", part.start - 1, part.end - 2), 3),
        (|part, len| format!("bytes {}-{}/{len}", part.start, part.end - 2), 3),
        (|part, len| format!("bytes 0-{}/{len}", part.end - part.start - 1), 3),
        (|_, _| "bytes 7-3/12".into(), 3),
        (|_, _| "nothing of the kind".into(), 3),
        (|part, len| format!("bytes {}-{}/{}", part.start, part.end - 1, len + 1), 4),
    ];
    for (lie, code) in lies {
        let folder = Folder::new();
        let remote = Remote::new(bytes(4 * MIB, 15));
        let len = remote.bytes.len() as u64;
        let (file, sane) = (remote.clone(), Arc::new(AtomicBool::new(false)));
        let is_sane = sane.clone();
        let server = Server::start(move |asked, before| {
            let mut answer = file.answer(asked);
            if is_sane.load(SeqCst) {
                return answer;
            }
            if before == 0 {
                answer = answer.cut_to(MIB / 2, After::Close);
            } else {
                let part = asked.range(len).unwrap();
                let honest = format!("bytes {}-{}/{len}", part.start, part.end - 1);
                answer.head = answer.head.replace(&honest, &lie(part, len));
                answer.body.fill(0xee);
            }
            answer
        });
        let ended = run(get(&server.url("/a"), &folder.file()).args(["--tries", "2"]));
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(!folder.file().exists());
        // What was kept is good: a server that comes to its senses completes it.
        sane.store(true, SeqCst);
        run(&mut get(&server.url("/a"), &folder.file())).done();
        assert_same(&folder.file(), &remote.bytes);
    }
}

#[test]
fn a_server_that_forgets_about_parts_sends_the_whole_to_one_connection() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(6 * MIB, 16));
    let file = remote.clone();
    let server = Server::start(move |asked, before| if before == 0 { file.answer(asked) } else { file.whole() });
    let ended = run(&mut get(&server.url("/a"), &folder.file()));
    assert_eq!(ended.done()["connections"], 1);
    assert_same(&folder.file(), &remote.bytes);
    assert!(ended.stderr.contains("the whole file"), "{ended:?}");
}

#[test]
fn without_a_version_parts_are_not_put_together() {
    let folder = Folder::new();
    let remote = Remote { etag: None, ..Remote::new(bytes(3 * MIB, 17)) };
    let file = remote.clone();
    let server = Server::start(move |asked, before| {
        let answer = file.answer(asked);
        if before == 0 { answer.cut_to(MIB, After::Close) } else { answer }
    });
    let done = run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!((&done["connections"], &done["retries"]), (&1.into(), &1.into()));
    assert_eq!(server.asked()[1].header("range"), None, "from the start again");
}

#[test]
fn without_a_version_a_second_answer_has_to_begin_like_the_first() {
    let folder = Folder::new();
    let first = bytes(3 * MIB, 18);
    let mut second = first.clone();
    second[MIB - 1] ^= 1;
    let truth = second.clone();
    let answer = |body: &[u8]| Answer::new("200 OK", &format!("Content-Length: {}\r\n", body.len()), body);
    let answers = [answer(&first).cut_to(MIB, After::Close), answer(&second)];
    let server = Server::start(move |_, before| answers[before.min(1)].clone());
    run(&mut get(&server.url("/a"), &folder.file())).failed(4, "changed");
    assert!(!folder.file().exists());
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &truth);
}
