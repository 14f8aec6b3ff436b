//! Runs that are stopped, and the same command again.

use super::*;

/// Sends the file slowly for as long as `hurry` is not set.
fn slow_server(remote: &Remote, hurry: &Arc<AtomicBool>) -> Server {
    let (file, hurry) = (remote.clone(), hurry.clone());
    Server::start(move |asked, _| {
        let answer = file.answer(asked);
        if hurry.load(SeqCst) { answer } else { answer.paced(20_000, Duration::from_millis(10)) }
    })
}

/// Starts a download, and returns when its leftover lists some bytes.
fn start(url: &str, folder: &Folder, flush_every: usize) -> Child {
    let child = get(url, &folder.file()).args(["--flush-every", &flush_every.to_string()]).spawn().unwrap();
    let index = folder.0.join("file.part.index");
    let mut first = None;
    // Records follow the header: the index is longer than when it was made.
    until("the index grows", || {
        let now = fs::metadata(&index).map(|index| index.len()).ok().filter(|&len| len > 0);
        let grown = first.zip(now).is_some_and(|(first, now)| now > first);
        first = first.or(now);
        grown
    });
    child
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// The leftover's bytes, each of which has to be the truth.
fn kept(url: &str, folder: &Folder, remote: &Remote) -> Vec<Range<u64>> {
    let tag = version_tag(url, remote.etag.unwrap()).unwrap();
    let options = MmapOptions { len: Some(remote.bytes.len() as u64), tag, ..MmapOptions::new(folder.file()) };
    let resource = open_patiently(&options).unwrap();
    let reader = resource.reader();
    let kept: Vec<_> = reader.available().iter().cloned().collect();
    for range in &kept {
        let mut here = vec![0; (range.end - range.start) as usize];
        let mut read = 0;
        while read < here.len() {
            read += reader.read_at(range.start + read as u64, &mut here[read..]).unwrap();
        }
        assert!(here == remote.bytes[range.start as usize..range.end as usize], "{range:?}");
    }
    kept
}

/// Runs the same command again: it fetches what is missing, and asks for nothing else.
fn resume(url: &str, folder: &Folder, remote: &Remote, server: &Server) {
    let kept = kept(url, folder, remote);
    let here: u64 = kept.iter().map(|range| range.end - range.start).sum();
    assert!(here > 0);
    let before = server.asked().len();
    let ended = run(&mut get(url, &folder.file()));
    let done = ended.done();
    assert!(ended.stderr.starts_with("resuming: "), "{ended:?}");
    assert_eq!(done["resumed"], here);
    assert_eq!(done["fetched"], remote.bytes.len() as u64 - here);
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!(folder.names(), ["file"]);
    for part in parts(&server.asked()[before..], remote.bytes.len()) {
        let again = kept.iter().find(|kept| kept.start < part.end && part.start < kept.end);
        assert_eq!(again, None, "asked for once more in {part:?}");
    }
}

#[test]
fn an_interrupt_keeps_what_is_there_and_the_same_command_goes_on() {
    for name in ["-INT", "-TERM"] {
        let folder = Folder::new();
        let remote = Remote::new(bytes(8 * MIB, 40));
        let hurry = Arc::<AtomicBool>::default();
        let server = slow_server(&remote, &hurry);
        let child = start(&server.url("/a"), &folder, MIB);
        // For some more to come than was made safe.
        thread::sleep(Duration::from_millis(150));
        signal(&child, name);
        let ended: Ended = child.wait_with_output().unwrap().into();
        ended.failed(130, "the same command goes on from there");
        assert!(!folder.file().exists());
        // All that had come is kept, and not only what was safe before.
        let kept = kept(&server.url("/a"), &folder, &remote);
        let kept: u64 = kept.iter().map(|range| range.end - range.start).sum();
        let said = format!("interrupted; {:.1} of 8.0 MiB are kept", kept as f64 / MIB as f64);
        assert!(ended.stderr.contains(&said), "{said} {ended:?}");
        hurry.store(true, SeqCst);
        resume(&server.url("/a"), &folder, &remote, &server);
    }
}

#[test]
fn a_kill_keeps_what_was_made_safe_and_the_same_command_goes_on() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(8 * MIB, 41));
    let hurry = Arc::<AtomicBool>::default();
    let server = slow_server(&remote, &hurry);
    let mut child = start(&server.url("/a"), &folder, 64 << 10);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.file().exists());
    hurry.store(true, SeqCst);
    resume(&server.url("/a"), &folder, &remote, &server);
}

/// Scripts answer `HEAD` with whatever they answer to anything: no length, or that of nothing.
#[test]
fn a_resumed_file_is_never_asked_for_its_head() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(4 * MIB, 42));
    let file = remote.clone();
    let server = Server::start(move |asked, _| match asked.method.as_str() {
        "HEAD" => Answer::new("200 OK", "Content-Length: 0\r\nAccept-Ranges: bytes\r\nETag: \"one\"\r\n", b""),
        _ => file.answer(asked).paced(20_000, Duration::from_millis(2)),
    });
    let mut child = start(&server.url("/a"), &folder, 64 << 10);
    child.kill().unwrap();
    child.wait().unwrap();
    let done = run(&mut get(&server.url("/a"), &folder.file())).done();
    assert!(done["resumed"].as_u64().unwrap() > 0);
    assert_same(&folder.file(), &remote.bytes);
    assert!(server.asked().iter().any(is_look) && server.asked().iter().all(|asked| asked.method == "GET"));
}

#[test]
fn an_interrupt_before_anything_has_come_ends_the_program_at_once() {
    let folder = Folder::new();
    let server = Server::start(|_, _| Answer { head: String::new(), ..Answer::new("", "", b"") }.then(After::Silence));
    let child = get(&server.url("/a"), &folder.file()).spawn().unwrap();
    until("a question", || !server.asked().is_empty());
    signal(&child, "-INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn hanging_up_on_a_file_without_a_length_is_not_its_end() {
    let folder = Folder::new();
    let body = bytes(8 * MIB, 43);
    let slow = move |_: &Asked, _| Answer::new("200 OK", "", &body).paced(20_000, Duration::from_millis(10));
    let server = Server::start(slow);
    let child = get(&server.url("/a"), &folder.file()).spawn().unwrap();
    until("some of the file", || fs::metadata(folder.part()).is_ok_and(|part| part.len() > 0));
    signal(&child, "-INT");
    let ended: Ended = child.wait_with_output().unwrap().into();
    ended.failed(130, "starts over");
    assert!(!folder.file().exists());
}
