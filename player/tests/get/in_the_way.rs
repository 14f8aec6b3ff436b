//! What is where the file is to be.

use super::*;

#[test]
fn a_file_of_the_same_length_is_there_already() {
    let folder = Folder::new();
    let server = Server::of(&Remote::new(bytes(MIB, 50)));
    let mine = bytes(MIB, 51);
    fs::write(folder.file(), &mine).unwrap();
    let ended = run(&mut get(&server.url("/a"), &folder.file()));
    let done = ended.done();
    assert_eq!((&done["status"], &done["fetched"]), (&"already_there".into(), &0.into()));
    assert!(ended.stderr.contains("is there already"), "{ended:?}");
    assert_same(&folder.file(), &mine);
    assert!(server.asked().iter().all(is_look), "nothing was fetched");
}

#[test]
fn a_file_of_another_length_is_replaced_only_by_force() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(2 * MIB, 52));
    let server = Server::of(&remote);
    fs::write(folder.file(), b"mine").unwrap();
    run(&mut get(&server.url("/a"), &folder.file())).failed(5, "--force");
    assert_same(&folder.file(), b"mine");
    assert_eq!(folder.names(), ["file"]);
    run(get(&server.url("/a"), &folder.file()).arg("--force")).done();
    assert_same(&folder.file(), &remote.bytes);
}

#[test]
fn force_leaves_the_old_file_until_the_new_one_is_complete() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(MIB, 53));
    let file = remote.clone();
    let server = Server::start(move |_, _| file.whole().cut_to(MIB / 2, After::Close));
    fs::write(folder.file(), b"mine").unwrap();
    run(get(&server.url("/a"), &folder.file()).args(["--force", "--tries", "2"])).failed(3, "gave up");
    assert_same(&folder.file(), b"mine");
}

#[test]
fn a_folder_in_the_way_is_said_so() {
    let folder = Folder::new();
    let server = Server::of(&Remote::new(bytes(MIB, 54)));
    fs::create_dir(folder.file()).unwrap();
    run(&mut get(&server.url("/a"), &folder.file())).failed(5, "a folder");
    run(get(&server.url("/a"), &folder.file()).arg("--force")).failed(5, "a folder");
    fs::remove_dir(folder.file()).unwrap();
    fs::create_dir(folder.part()).unwrap();
    run(&mut get(&server.url("/a"), &folder.file())).failed(5, "file.part");
    run(&mut get(&server.url("/a"), &folder.0.join("no/such/folder/file"))).failed(5, "no/such/folder/file");
    run(&mut get(&server.url("/a"), Path::new("/"))).failed(5, "a folder");
}

#[test]
fn a_file_that_another_process_fetches_is_left_to_it() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(4 * MIB, 55));
    let (file, go_on) = (remote.clone(), Arc::new(AtomicBool::new(false)));
    let may_go_on = go_on.clone();
    let server = Server::start(move |asked, before| {
        // The second process asks for no more than what there is.
        while before > 0 && !is_look(asked) && !may_go_on.load(SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        let answer = file.answer(asked);
        // The first connection alone would bring all of it.
        if before == 0 { answer.cut_to(MIB, After::Silence) } else { answer }
    });
    let url = server.url("/a");
    let first = get(&url, &folder.file()).spawn().unwrap();
    // Asked for a part, it has opened its file.
    until("a question for a part", || server.asked().len() >= 2);
    let second = run(&mut get(&url, &folder.file()));
    go_on.store(true, SeqCst);
    second.failed(5, "file.part");
    Ended::from(first.wait_with_output().unwrap()).done();
    assert_same(&folder.file(), &remote.bytes);
}

/// What once was said of it: "2.9 of 2.9 MiB are kept".
#[test]
fn what_was_removed_meanwhile_is_not_said_to_be_kept() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(3 * MIB, 56));
    let (file, part) = (remote.clone(), folder.part());
    let server = Server::start(move |asked, before| {
        if before == 0 {
            return file.answer(asked).cut_to(MIB, After::Close);
        }
        let _ = fs::remove_file(&part);
        Answer::new("403 Forbidden", "Content-Length: 0\r\n", b"")
    });
    let ended = run(get(&server.url("/a"), &folder.file()).args(["--connections", "1"]));
    assert!(ended.code == Some(3) || ended.code == Some(5), "{ended:?}");
    assert!(!ended.stderr.contains("kept"), "{ended:?}");
    assert!(!folder.file().exists());
    let done = run(&mut get(&Server::of(&remote).url("/a"), &folder.file())).done();
    assert_eq!(done["resumed"], 0);
    assert_same(&folder.file(), &remote.bytes);
}

/// The system's answer is a signal that ends the program.
#[test]
fn a_limit_to_the_size_of_files_is_an_error() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(4 * MIB, 57));
    let file = remote.clone();
    // Of known length, and of one that only its end tells.
    let server = Server::start(move |asked, _| match asked.path.as_str() {
        "/known" => file.answer(asked),
        "/chunked" => Answer::new("200 OK", "Transfer-Encoding: chunked\r\n", &chunked(&file.bytes)),
        _ => Answer::new("200 OK", "", &file.bytes).then(After::Close),
    });
    for path in ["/known", "/chunked", "/unknown"] {
        let url = server.url(path);
        let unlimited = get(&url, &folder.file());
        // In blocks of 512 or 1,024 bytes.
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -f 1024; exec \"$@\"", "sh"]).arg(unlimited.get_program());
        limited.args(unlimited.get_args());
        limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        run(limited.args(["--tries", "2"])).failed(5, "ulimit -f");
        assert!(!folder.file().exists());
        run(&mut get(&url, &folder.file())).done();
        assert_same(&folder.file(), &remote.bytes);
        fs::remove_file(folder.file()).unwrap();
    }
}

#[test]
fn a_port_that_cannot_be_is_an_error_of_the_command_line() {
    let folder = Folder::new();
    for port in ["99999", "65536", "-1", "x", "+80"] {
        let ended = run(&mut get(&format!("http://127.0.0.1:{port}/a"), &folder.file()));
        ended.failed(2, "invalid port number");
    }
}
