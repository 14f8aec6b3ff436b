//! A password in an address is for the server, and for nobody else.

use super::*;

#[test]
fn a_password_is_sent_decoded_and_never_shown_or_kept() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(2 * MIB, 110));
    let (file, well) = (remote.clone(), Arc::new(AtomicBool::new(false)));
    let recovered = well.clone();
    let server = Server::start(move |asked, before| {
        if asked.header("authorization") != Some("Basic dXNAZXI6cEBzc3dvcmQ=") {
            return Answer::new("401 Unauthorized", "Content-Length: 0\r\n", b"");
        }
        let most = if before == 0 { MIB } else { 0 };
        let answer = file.answer(asked);
        if recovered.load(SeqCst) { answer } else { answer.cut_to(most, After::Close) }
    });
    let url = server.url("/a").replace("http://", "http://us%40er:p%40ssword@");
    let ended = run(get(&url, &folder.file()).args(["--connections", "1", "--tries", "2"]));
    ended.failed(3, "gave up");
    let index = fs::read(folder.0.join("file.part.index")).unwrap();
    for told in [ended.stderr.as_bytes(), &index] {
        let told = String::from_utf8_lossy(told);
        assert!(!told.contains("ssword") && !told.contains("us%40er") && !told.contains("us@er"), "{told}");
    }
    well.store(true, SeqCst);
    assert_eq!(run(&mut get(&url, &folder.file())).done()["resumed"], MIB);
    assert_same(&folder.file(), &remote.bytes);
}

#[test]
fn no_error_shows_a_password() {
    let folder = Folder::new();
    let elsewhere = Server::start(|_, _| Answer::new("404 Not Found", "Content-Length: 0\r\n", b""));
    let to = format!("Location: {}\r\nContent-Length: 0\r\n", elsewhere.url("/b").replace("//", "//other:hidden@"));
    let server = Server::start(move |asked, _| match asked.path.as_str() {
        "/moved" => Answer::new("302 Found", &to, b""),
        "/circle" => Answer::new("302 Found", "Location: /circle\r\nContent-Length: 0\r\n", b""),
        "/ftp" => Answer::new("302 Found", "Location: ftp://other:hidden@h/\r\nContent-Length: 0\r\n", b""),
        "/garbage" => Answer { head: "garbage\r\n\r\n".into(), ..Answer::new("", "", b"") }.then(After::Close),
        _ => Answer::new("403 Forbidden", "Content-Length: 0\r\n", b""),
    });
    let with = |path: &str| server.url(path).replace("http://", "http://me:hidden@");
    let nobody = "http://me:hidden@127.0.0.1:1/a".to_owned();
    let port = "http://me:hidden@127.0.0.1:99999/a".to_owned();
    let urls = [with("/moved"), with("/circle"), with("/ftp"), with("/garbage"), with("/a"), nobody, port];
    for url in urls {
        let ended = run(get(&url, &folder.file()).args(["--tries", "2"]));
        assert!(matches!(ended.code, Some(2 | 3)), "{url}: {ended:?}");
        assert!(!ended.stderr.contains("hidden") && !ended.stdout.contains("hidden"), "{url}: {ended:?}");
    }
    assert!(elsewhere.asked().iter().all(|asked| asked.header("authorization") != Some("Basic bWU6aGlkZGVu")));
}
