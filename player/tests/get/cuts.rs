//! Connections that end before they should.

use super::*;

#[test]
fn connections_that_are_cut_again_and_again_still_bring_the_file() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(4 * MIB, 20));
    let file = remote.clone();
    let server = Server::start(move |asked, before| {
        let after = if before.is_multiple_of(2) { After::Close } else { After::Reset };
        file.answer(asked).cut_to(150_000 + 10_007 * (before % 20), after)
    });
    let done = run(&mut get(&server.url("/a"), &folder.file())).done();
    assert_same(&folder.file(), &remote.bytes);
    assert!(done["retries"].as_u64().unwrap() > 4, "{done}");
}

#[test]
fn a_cut_connection_goes_on_with_the_byte_that_did_not_come() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(2 * MIB, 21));
    let file = remote.clone();
    let server = Server::start(move |asked, before| {
        let answer = file.answer(asked);
        if before == 0 { answer.cut_to(123_456, After::Close) } else { answer }
    });
    run(get(&server.url("/a"), &folder.file()).args(["--connections", "1"])).done();
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!(parts(&server.asked(), 2 * MIB)[1].start, 123_456);
}

#[test]
fn a_stalled_connection_counts_as_cut() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(2 * MIB, 22));
    let file = remote.clone();
    let server = Server::start(move |asked, before| {
        let answer = file.answer(asked);
        if before == 0 { answer.cut_to(200_000, After::Silence) } else { answer }
    });
    let arguments = ["--connections", "1", "--timeout", "0.3"];
    let done = run(get(&server.url("/a"), &folder.file()).args(arguments)).done();
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!(done["retries"], 1);
}

#[test]
fn giving_up_leaves_what_the_same_command_goes_on_with() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(2 * MIB, 23));
    let (file, well) = (remote.clone(), Arc::new(AtomicBool::new(false)));
    let recovered = well.clone();
    let server = Server::start(move |asked, before| {
        let cut = if before == 0 { MIB / 2 } else { 0 };
        let answer = file.answer(asked);
        if recovered.load(SeqCst) || asked.method == "HEAD" { answer } else { answer.cut_to(cut, After::Close) }
    });
    let url = server.url("/a");
    run(get(&url, &folder.file()).args(["--connections", "1", "--tries", "2"])).failed(3, "gave up after 2 tries");
    well.store(true, SeqCst);
    let ended = run(&mut get(&url, &folder.file()));
    assert_eq!(ended.done()["resumed"], MIB / 2);
    assert!(ended.stderr.contains("resuming: 0.5 of 2.0 MiB are there"), "{ended:?}");
    assert_same(&folder.file(), &remote.bytes);
}
