//! Files of all kinds, from servers that know their trade.

use super::*;

#[test]
fn a_file_is_the_same_byte_for_byte_over_one_connection() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(3 * MIB + 1, 1));
    let server = Server::of(&remote);
    let done = run(get(&server.url("/a"), &folder.file()).args(["--connections", "1"])).done();
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!(folder.names(), ["file"]);
    assert_eq!(done["bytes"], remote.bytes.len());
    assert_eq!(done["fetched"], remote.bytes.len());
    assert_eq!((&done["resumed"], &done["retries"], &done["connections"]), (&0.into(), &0.into(), &1.into()));
    assert_eq!(done["status"], "done");
    assert!(done["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn four_connections_fetch_at_the_same_time_and_nothing_twice() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(8 * MIB - 5, 2));
    let (file, together) = (remote.clone(), Barrier::new(3));
    let server = Server::start(move |asked, before| {
        // The first question has begun; the next three have to be asked before any of them is answered.
        if (1..=3).contains(&before) {
            together.wait();
        }
        file.answer(asked)
    });
    let done = run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!(done["connections"], 4);
    assert_eq!(done["fetched"], remote.bytes.len());
    let asked = server.asked();
    assert_eq!(asked[0].header("range"), Some("bytes=0-"));
    assert!(asked[1..].iter().all(|asked| asked.header("if-range") == Some("\"one\"")), "{asked:?}");
    let mut parts = parts(&asked[1..], remote.bytes.len());
    parts.sort_by_key(|part| part.start);
    assert!(parts.windows(2).all(|two| two[0].end == two[1].start), "{parts:?}");
    assert!(parts[0].start >= MIB as u64 && parts.last().unwrap().end == remote.bytes.len() as u64, "{parts:?}");
}

#[test]
fn compression_is_never_asked_for() {
    let folder = Folder::new();
    let server = Server::of(&Remote::new(bytes(2 * MIB, 3)));
    run(&mut get(&server.url("/a"), &folder.file())).done();
    run(&mut get(&server.url("/a"), &folder.file())).done();
    let asked = server.asked();
    assert!(asked.iter().any(is_look));
    assert!(asked.iter().all(|asked| asked.header("accept-encoding") == Some("identity")), "{asked:?}");
}

#[test]
fn a_server_that_sends_no_parts_is_asked_once() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(3 * MIB, 4));
    let file = remote.clone();
    let server = Server::start(move |_, _| file.whole());
    assert_eq!(run(&mut get(&server.url("/a"), &folder.file())).done()["connections"], 1);
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn an_empty_file_has_no_part_and_is_fetched_all_the_same() {
    let folder = Folder::new();
    let server = Server::of(&Remote::new(Vec::new()));
    assert_eq!(run(&mut get(&server.url("/a"), &folder.file())).done()["bytes"], 0);
    assert_same(&folder.file(), b"");
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn a_file_without_a_length_ends_where_its_last_chunk_does() {
    let folder = Folder::new();
    let truth = bytes(MIB + 77, 5);
    let body = chunked(&truth);
    let server = Server::start(move |_, _| Answer::new("200 OK", "Transfer-Encoding: chunked\r\n", &body));
    assert_eq!(run(&mut get(&server.url("/a"), &folder.file())).done()["bytes"], truth.len());
    assert_same(&folder.file(), &truth);
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn a_file_that_ends_where_the_server_hangs_up_is_taken_with_a_word_of_warning() {
    let folder = Folder::new();
    let truth = bytes(MIB, 6);
    let body = truth.clone();
    let server = Server::start(move |_, _| Answer::new("200 OK", "", &body).then(After::Close));
    let ended = run(&mut get(&server.url("/a"), &folder.file()));
    ended.done();
    assert_same(&folder.file(), &truth);
    assert!(ended.stderr.contains("did not say how long"), "{ended:?}");
}

/// It cannot be asked for in parts, but what is here need not be written twice.
#[test]
fn a_leftover_without_a_length_is_compared_and_completed() {
    for changes in [false, true] {
        let folder = Folder::new();
        let (old, tagged) = (bytes(2 * MIB, 8), "Transfer-Encoding: chunked\r\nETag: \"one\"\r\n");
        let mut new = old.clone();
        new[77] ^= u8::from(changes);
        let (truth, runs) = (new.clone(), Arc::new(AtomicUsize::new(0)));
        let run_number = runs.clone();
        let server = Server::start(move |_, _| match run_number.load(SeqCst) {
            0 => Answer::new("200 OK", tagged, &chunked(&old)).cut_to(MIB, After::Close),
            _ => Answer::new("200 OK", tagged, &chunked(&new)),
        });
        let url = server.url("/a");
        run(get(&url, &folder.file()).args(["--tries", "2"])).failed(3, "gave up");
        runs.store(1, SeqCst);
        let ended = run(&mut get(&url, &folder.file()));
        if changes {
            // The same tag, and other bytes.
            ended.failed(4, "changed");
            assert_eq!(folder.names(), [""; 0]);
            run(&mut get(&url, &folder.file())).done();
        } else {
            let done = ended.done();
            assert!(done["resumed"].as_u64().unwrap() > 0, "{done}");
        }
        assert_same(&folder.file(), &truth);
        assert_eq!(folder.names(), ["file"]);
    }
}

#[test]
fn a_leftover_without_a_version_and_a_length_makes_room() {
    let folder = Folder::new();
    let truth = bytes(2 * MIB, 9);
    let body = chunked(&truth);
    let cut = Arc::new(AtomicBool::new(true));
    let is_cut = cut.clone();
    let server = Server::start(move |_, _| {
        let answer = Answer::new("200 OK", "Transfer-Encoding: chunked\r\n", &body);
        if is_cut.load(SeqCst) { answer.cut_to(MIB, After::Close) } else { answer }
    });
    let url = server.url("/a");
    for _ in 0..2 {
        run(get(&url, &folder.file()).args(["--tries", "2"])).failed(3, "gave up");
        assert_eq!(folder.names(), ["file.part", "file.part.index"], "nothing is set aside");
    }
    cut.store(false, SeqCst);
    run(&mut get(&url, &folder.file())).done();
    assert_same(&folder.file(), &truth);
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn redirects_are_followed_and_parts_are_asked_for_at_their_end() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(4 * MIB, 7));
    let file = remote.clone();
    let server = Server::start(move |asked, _| match asked.path.as_str() {
        "/a" => Answer::new("302 Found", "Location: b/c\r\nContent-Length: 0\r\n", b""),
        "/b/c" => Answer::new("307 Temporary Redirect", "Location: /d\r\nContent-Length: 0\r\n", b""),
        _ => file.answer(asked),
    });
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &remote.bytes);
    let paths: Vec<_> = server.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths[..3], ["/a", "/b/c", "/d"]);
    assert!(paths.len() > 3 && paths[3..].iter().all(|path| path == "/d"), "{paths:?}");
}
