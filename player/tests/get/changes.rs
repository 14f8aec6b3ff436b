//! Files that change on the server, and servers whose nodes disagree.

use super::*;

/// An answer that does not bring all of the file by itself.
fn begun(answer: Answer) -> Answer {
    answer.cut_to(MIB / 2, After::Silence)
}

fn new_version(old: &Remote) -> Remote {
    let bytes = old.bytes.iter().map(|byte| !byte).collect();
    Remote { etag: Some("\"two\""), ..Remote::new(bytes) }
}

#[test]
fn a_file_that_changes_meanwhile_is_not_mixed_with_itself() {
    let folder = Folder::new();
    let old = Remote::new(bytes(6 * MIB, 30));
    let new = new_version(&old);
    let truth = new.bytes.clone();
    let server =
        Server::start(move |asked, before| if before < 3 { begun(old.answer(asked)) } else { new.answer(asked) });
    let ended = run(&mut get(&server.url("/a"), &folder.file()));
    assert_eq!(ended.done()["connections"], 1);
    assert!(ended.stderr.contains("another version was sent: one connection fetches all of it"), "{ended:?}");
    assert_same(&folder.file(), &truth);
}

#[test]
fn a_server_that_ignores_if_range_is_found_out_by_its_tag() {
    let folder = Folder::new();
    let old = Remote::new(bytes(6 * MIB, 31));
    let new = new_version(&old);
    let truth = new.bytes.clone();
    let server = Server::start(move |asked, before| {
        let asked = without_if_range(asked);
        if before < 2 { begun(old.answer(&asked)) } else { new.answer(&asked) }
    });
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &truth);
}

#[test]
fn a_file_that_became_shorter_is_another_one() {
    let folder = Folder::new();
    let old = Remote::new(bytes(6 * MIB, 32));
    let new = Remote::new(old.bytes[..MIB].to_vec());
    let truth = new.bytes.clone();
    let server =
        Server::start(move |asked, before| if before == 0 { begun(old.answer(asked)) } else { new.answer(asked) });
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &truth);
}

#[test]
fn a_leftover_of_another_version_is_set_aside() {
    let folder = Folder::new();
    let old = Remote::new(bytes(2 * MIB, 33));
    let new = new_version(&old);
    let (truth, updated) = (new.bytes.clone(), Arc::new(AtomicBool::new(false)));
    let is_new = updated.clone();
    let server = Server::start(move |asked, before| {
        if is_new.load(SeqCst) {
            return new.answer(asked);
        }
        old.answer(asked).cut_to(if before == 0 { MIB } else { 0 }, After::Close)
    });
    let url = server.url("/a");
    run(get(&url, &folder.file()).args(["--connections", "1", "--tries", "2"])).failed(3, "gave up");
    assert!(folder.part().exists());
    updated.store(true, SeqCst);
    let ended = run(&mut get(&url, &folder.file()));
    assert_eq!(ended.done()["resumed"], 0);
    assert!(ended.stderr.contains("set aside"), "{ended:?}");
    assert_same(&folder.file(), &truth);
}

/// What a server does that ignores the field.
fn without_if_range(asked: &Asked) -> Asked {
    let mut asked = asked.clone();
    asked.headers.retain(|(name, _)| name != "if-range");
    asked
}

/// An answer with other fields for its version.
fn named(mut answer: Answer, fields: &str) -> Answer {
    answer.head = answer.head.replace("ETag: \"one\"\r\n", "").replace("ETag: \"two\"\r\n", "");
    answer.head = answer.head.replacen("\r\n", &format!("\r\n{fields}"), 1);
    answer
}

const MONDAY: &str = "Last-Modified: Mon, 02 Nov 2026 08:00:00 GMT\r\nDate: Sat, 28 Nov 2026 08:00:00 GMT\r\n";

/// The first answer named a version, the parts after it none, and `If-Range` was ignored: two versions once came to one
/// file, with exit code 0.
#[test]
fn parts_have_to_name_the_version_that_was_offered() {
    for (offered, later) in [
        ("ETag: \"one\"\r\n", ""),
        ("ETag: \"one\"\r\n", "ETag: W/\"one\"\r\n"),
        ("ETag: \"one\"\r\n", "ETag: one\r\n"),
        ("ETag: \"one\"\r\n", MONDAY),
        (MONDAY, ""),
        (MONDAY, "Last-Modified: Mon, 02 Nov 2026 08:00:00 GMT\r\n"),
        (MONDAY, "ETag: \"two\"\r\n"),
        (
            "ETag: W/\"one\"\r\nLast-Modified: Mon, 02 Nov 2026 08:00:00 GMT\r\nDate: Sat, 28 Nov 2026 08:00:00 GMT\r\n",
            "",
        ),
    ] {
        for is_new in [true, false] {
            let folder = Folder::new();
            let old = Remote::new(bytes(5 * MIB, 34));
            let new = if is_new { new_version(&old) } else { old.clone() };
            let truth = new.bytes.clone();
            let server = Server::start(move |asked, before| {
                let asked = without_if_range(asked);
                if before == 0 { named(begun(old.answer(&asked)), offered) } else { named(new.answer(&asked), later) }
            });
            run(&mut get(&server.url("/a"), &folder.file())).done();
            assert_same(&folder.file(), &truth);
            let wholes = server.asked().iter().filter(|asked| asked.header("range").is_none()).count();
            assert_eq!(wholes, 1, "{offered}{later}");
        }
    }
}

#[test]
fn a_weak_tag_that_differs_is_another_version() {
    let folder = Folder::new();
    let old = Remote::new(bytes(4 * MIB, 35));
    let new = new_version(&old);
    let truth = new.bytes.clone();
    let server = Server::start(move |asked, before| {
        let asked = without_if_range(asked);
        let (remote, tag) = if before == 0 { (&old, "one") } else { (&new, "two") };
        let answer = if before == 0 { begun(remote.answer(&asked)) } else { remote.answer(&asked) };
        named(answer, &format!("ETag: W/\"{tag}\"\r\n{MONDAY}"))
    });
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &truth);
}

/// Several machines behind one name, each with tags of its own for the same bytes.
#[test]
fn nodes_with_tags_of_their_own_send_it_in_one_piece() {
    const TAGS: [&str; 3] = ["\"node-0\"", "\"node-1\"", "\"node-2\""];
    for keeps_if_range in [true, false] {
        let folder = Folder::new();
        let remote = Remote::new(bytes(6 * MIB, 36));
        let file = remote.clone();
        let server = Server::start(move |asked, before| {
            let node = Remote { etag: Some(TAGS[before % 3]), ..file.clone() };
            if keeps_if_range { node.answer(asked) } else { node.answer(&without_if_range(asked)) }
        });
        let ended = run(&mut get(&server.url("/a"), &folder.file()));
        assert_eq!(ended.done()["bytes"], remote.bytes.len());
        assert_same(&folder.file(), &remote.bytes);
    }
}

#[test]
fn nodes_that_cut_the_one_piece_are_compared_byte_for_byte() {
    const TAGS: [&str; 3] = ["\"node-0\"", "\"node-1\"", "\"node-2\""];
    for differs in [false, true] {
        let folder = Folder::new();
        let remote = Remote::new(bytes(3 * MIB, 37));
        let other = new_version(&remote);
        let file = remote.clone();
        let server = Server::start(move |asked, before| {
            let node = if differs && before % 3 == 2 { &other } else { &file };
            let node = Remote { etag: Some(TAGS[before % 3]), ..node.clone() };
            let answer = node.answer(asked);
            let is_whole = asked.header("range").is_none();
            if is_whole && before < 8 { answer.cut_to((2 * MIB) + before, After::Close) } else { answer }
        });
        let ended = run(&mut get(&server.url("/a"), &folder.file()));
        if differs {
            ended.failed(4, "changed");
            assert!(!folder.file().exists());
        } else {
            ended.done();
            assert_same(&folder.file(), &remote.bytes);
        }
    }
}

/// A leftover with the right tag, and a server that names another length in answer to a small question.
#[test]
fn a_length_is_not_believed_that_contradicts_the_leftover() {
    for lie in ["bytes 0-0/1", "bytes 0-0/0", "bytes 0-0/99999999", "bytes 0-0/*", "bytes */0", "nothing"] {
        let folder = Folder::new();
        let remote = Remote::new(bytes(2 * MIB, 38));
        let (file, cut) = (remote.clone(), Arc::new(AtomicBool::new(true)));
        let is_cut = cut.clone();
        let server = Server::start(move |asked, before| {
            let mut answer = file.answer(asked);
            if is_look(asked) {
                let honest = format!("bytes 0-0/{}", file.bytes.len());
                answer.head = answer.head.replace(&honest, lie);
            }
            let most = if before == 0 { MIB } else { 0 };
            if is_cut.load(SeqCst) { answer.cut_to(most, After::Close) } else { answer }
        });
        let url = server.url("/a");
        run(get(&url, &folder.file()).args(["--connections", "1", "--tries", "2"])).failed(3, "gave up");
        cut.store(false, SeqCst);
        run(&mut get(&url, &folder.file())).done();
        assert_same(&folder.file(), &remote.bytes);
    }
}

/// A question for a part is answered with 200: by that part alone, or by a page that says that there are too many
/// connections. The good part of the file was once set aside for it, and one byte published, with exit code 0.
#[test]
fn what_answers_a_small_question_with_200_is_no_new_version() {
    let slice = |asked: &Asked, file: &Remote| {
        let part = file.answer(asked);
        let head = part.head.replace("206 Partial Content", "200 OK");
        Answer { head, ..part }
    };
    let unnamed = move |asked: &Asked, file: &Remote| {
        let answer = slice(asked, file);
        let head =
            answer.head.lines().filter(|line| !line.starts_with("Content-Range")).map(|line| line.to_owned() + "\r\n");
        Answer { head: head.collect(), ..answer }
    };
    let page = |_: &Asked, _: &Remote| {
        Answer::new("200 OK", "Content-Type: text/html\r\nContent-Length: 13\r\n", b"<p>Too many!\n")
    };
    type Odd = Box<dyn Fn(&Asked, &Remote) -> Answer + Send + Sync>;
    for etag in [Some("\"one\""), None] {
        for odd in [Box::new(slice) as Odd, Box::new(unnamed), Box::new(page)] {
            let folder = Folder::new();
            let remote = Remote { etag, ..Remote::new(bytes(3 * MIB, 39)) };
            let (file, cut) = (remote.clone(), Arc::new(AtomicBool::new(true)));
            let is_cut = cut.clone();
            let server = Server::start(move |asked, before| {
                let is_part = asked.header("range").is_some();
                if is_cut.load(SeqCst) {
                    file.answer(asked).cut_to(if before == 0 { MIB } else { 0 }, After::Close)
                } else if is_part {
                    odd(asked, &file)
                } else {
                    file.answer(asked)
                }
            });
            let url = server.url("/a");
            run(get(&url, &folder.file()).args(["--connections", "1", "--tries", "2"])).failed(3, "gave up");
            cut.store(false, SeqCst);
            run(&mut get(&url, &folder.file())).done();
            assert_same(&folder.file(), &remote.bytes);
        }
    }
}

#[test]
fn a_slice_that_is_called_the_whole_is_not_taken_for_it() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(2 * MIB, 40));
    let file = remote.clone();
    let server = Server::start(move |asked, _| {
        let mut answer = file.answer(asked);
        if asked.header("range").is_some() {
            let len = file.bytes.len();
            let fields = format!("Content-Range: bytes 0-{}/{len}\r\nContent-Length: {MIB}\r\n", MIB - 1);
            answer = Answer::new("200 OK", &fields, &file.bytes[..MIB]);
        }
        answer
    });
    run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &remote.bytes);
}
