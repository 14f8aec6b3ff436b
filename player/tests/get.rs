//! `roundelay get` against servers of all kinds, as its user has it.
#![cfg(unix)]

mod server;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use roundelay::MmapOptions;
use roundelay_player::get::{open_patiently, version_tag};
use serde_json::Value;
use server::{After, Answer, Asked, Remote, Server, chunked};

const MIB: usize = 1 << 20;

/// Bytes like no others.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(len);
    bytes
}

/// A folder of its own for each test, gone when that is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("roundelay-get-{}-{}", std::process::id(), COUNT.fetch_add(1, SeqCst));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("file")
    }

    fn part(&self) -> PathBuf {
        self.0.join("file.part")
    }

    /// What is in it, sorted.
    fn names(&self) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn get(url: &str, file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roundelay"));
    command.args(["get", url]).arg(file).arg("--json");
    // A proxy cannot reach this machine's loopback.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a run ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ended {
    /// The one line on standard output.
    #[track_caller]
    fn done(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        assert!(!self.stderr.contains(['\r', '\u{1b}']), "there is no terminal to draw on: {self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// One clear sentence, and the code for scripts.
    #[track_caller]
    fn failed(&self, code: i32, why: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("roundelay: ") && last.contains(why), "{self:?}");
    }
}

fn run(command: &mut Command) -> Ended {
    command.output().unwrap().into()
}

/// Waits for `what`.
#[track_caller]
fn until(what: &str, mut happens: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happens() {
        assert!(began.elapsed() < Duration::from_secs(30), "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn assert_same(file: &Path, bytes: &[u8]) {
    let here = fs::read(file).unwrap();
    assert_eq!(here.len(), bytes.len());
    let differs = here.iter().zip(bytes).position(|(here, there)| here != there);
    assert_eq!(differs, None, "the first byte that differs");
}

/// The parts that were asked for, of a file of `len` bytes; the whole counts as one.
fn parts(asked: &[Asked], len: usize) -> Vec<Range<u64>> {
    let len = len as u64;
    let gets = asked.iter().filter(|asked| asked.method == "GET");
    gets.map(|asked| asked.range(len).unwrap_or(0..len)).collect()
}

mod whole_files {
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
        assert!(asked.iter().any(|asked| asked.method == "HEAD"));
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
}

mod refusals {
    use super::*;

    #[test]
    fn a_refusal_is_said_and_leaves_nothing_behind() {
        for (status, why) in [("404 Not Found", "404 Not Found"), ("410 Gone", "410 Gone"), ("304 Not Modified", "304")]
        {
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
}

mod lies {
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
}

mod cuts {
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
}

mod changes {
    use super::*;

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
        let server = Server::start(move |asked, before| if before < 3 { old.answer(asked) } else { new.answer(asked) });
        run(&mut get(&server.url("/a"), &folder.file())).failed(4, "changed");
        assert!(!folder.file().exists());
        let ended = run(&mut get(&server.url("/a"), &folder.file()));
        assert_eq!(ended.done()["resumed"], 0);
        assert!(ended.stderr.contains("set aside"), "{ended:?}");
        assert_same(&folder.file(), &truth);
    }

    #[test]
    fn a_server_that_ignores_if_range_is_found_out_by_its_tag() {
        let folder = Folder::new();
        let old = Remote::new(bytes(6 * MIB, 31));
        let new = new_version(&old);
        let server = Server::start(move |asked, before| {
            let mut asked = asked.clone();
            asked.headers.retain(|(name, _)| name != "if-range");
            if before < 2 { old.answer(&asked) } else { new.answer(&asked) }
        });
        run(&mut get(&server.url("/a"), &folder.file())).failed(4, "changed");
        assert!(!folder.file().exists());
    }

    #[test]
    fn a_file_that_became_shorter_is_another_one() {
        let folder = Folder::new();
        let old = Remote::new(bytes(6 * MIB, 32));
        let new = Remote::new(old.bytes[..MIB].to_vec());
        let server =
            Server::start(move |asked, before| if before == 0 { old.answer(asked) } else { new.answer(asked) });
        run(&mut get(&server.url("/a"), &folder.file())).failed(4, "changed");
        assert!(!folder.file().exists());
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
}

mod interrupts {
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

    #[test]
    fn a_server_that_refuses_to_be_asked_for_the_head_only_is_asked_for_one_byte() {
        let folder = Folder::new();
        let remote = Remote::new(bytes(4 * MIB, 42));
        let file = remote.clone();
        let server = Server::start(move |asked, _| match asked.method.as_str() {
            "HEAD" => Answer::new("405 Method Not Allowed", "Content-Length: 0\r\n", b""),
            _ => file.answer(asked).paced(20_000, Duration::from_millis(2)),
        });
        let mut child = start(&server.url("/a"), &folder, 64 << 10);
        child.kill().unwrap();
        child.wait().unwrap();
        let before = server.asked().len();
        let done = run(&mut get(&server.url("/a"), &folder.file())).done();
        assert!(done["resumed"].as_u64().unwrap() > 0);
        assert_same(&folder.file(), &remote.bytes);
        assert_eq!(server.asked()[before + 1].header("range"), Some("bytes=0-0"));
    }

    #[test]
    fn an_interrupt_before_anything_has_come_ends_the_program_at_once() {
        let folder = Folder::new();
        let server =
            Server::start(|_, _| Answer { head: String::new(), ..Answer::new("", "", b"") }.then(After::Silence));
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
}

mod in_the_way {
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
        assert!(server.asked().iter().all(|asked| asked.method == "HEAD"), "nothing was fetched");
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

    /// The system's answer is a signal that ends the program.
    #[test]
    fn a_limit_to_the_size_of_files_is_an_error() {
        let folder = Folder::new();
        let remote = Remote::new(bytes(4 * MIB, 56));
        let file = remote.clone();
        // Of known length, and of one that only its end tells.
        let server = Server::start(move |asked, _| match asked.path.as_str() {
            "/known" => file.answer(asked),
            _ => Answer::new("200 OK", "Transfer-Encoding: chunked\r\n", &chunked(&file.bytes)),
        });
        for path in ["/known", "/unknown"] {
            let url = server.url(path);
            let unlimited = get(&url, &folder.file());
            // In blocks of 512 or 1,024 bytes.
            let mut limited = Command::new("sh");
            limited
                .args(["-c", "ulimit -f 1024; exec \"$@\"", "sh"])
                .arg(unlimited.get_program())
                .args(unlimited.get_args());
            limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            run(limited.args(["--tries", "2"])).failed(5, "ulimit -f");
            assert!(!folder.file().exists());
            run(&mut get(&url, &folder.file())).done();
            assert_same(&folder.file(), &remote.bytes);
            fs::remove_file(folder.file()).unwrap();
        }
    }

    /// "2.9 of 2.9 MiB are kept", said of a file that nobody can find any more.
    #[test]
    fn what_was_removed_is_not_said_to_be_kept() {
        let folder = Folder::new();
        let remote = Remote::new(bytes(4 * MIB, 57));
        let (file, part) = (remote.clone(), folder.part());
        let server = Server::start(move |asked, before| {
            if before > 2 {
                let _ = fs::remove_file(&part);
            }
            let answer = file.answer(asked);
            if asked.method == "GET" { answer.cut_to(MIB / 4, After::Close) } else { answer }
        });
        let ended = run(get(&server.url("/a"), &folder.file()).args(["--tries", "3", "--flush-every", "64K"]));
        assert_ne!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.stderr.contains("are kept"), "{ended:?}");
        assert!(!folder.part().exists() && !folder.file().exists());
    }

    #[test]
    fn a_file_that_another_process_fetches_is_left_to_it() {
        let folder = Folder::new();
        let remote = Remote::new(bytes(4 * MIB, 55));
        let (file, go_on) = (remote.clone(), Arc::new(AtomicBool::new(false)));
        let may_go_on = go_on.clone();
        let server = Server::start(move |asked, before| {
            // The second process asks for no more than the head.
            while before > 0 && asked.method == "GET" && !may_go_on.load(SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            file.answer(asked)
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
}

mod secure {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;

    /// A server with a certificate, and the certificate of who issued that, in a file.
    fn secure_server(
        folder: &Folder,
        answers: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
    ) -> (Server, PathBuf) {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let trusted = folder.0.join("authority.pem");
        fs::write(&trusted, authority.pem()).unwrap();

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        (Server::with_tls(Some(Arc::new(config)), answers), trusted)
    }

    #[test]
    fn a_file_comes_over_https_from_whom_the_machine_trusts() {
        let folder = Folder::new();
        let remote = Remote::new(bytes(4 * MIB, 60));
        let file = remote.clone();
        let (server, trusted) = secure_server(&folder, move |asked, _| file.answer(asked));
        let done = run(get(&server.url("/a"), &folder.file()).env("SSL_CERT_FILE", trusted)).done();
        assert_same(&folder.file(), &remote.bytes);
        assert_eq!(done["connections"], 4);
    }

    #[test]
    fn a_certificate_that_nobody_vouches_for_is_refused() {
        let folder = Folder::new();
        let remote = Remote::new(bytes(MIB, 61));
        let file = remote.clone();
        let (server, trusted) = secure_server(&folder, move |asked, _| file.answer(asked));
        fs::remove_file(trusted).unwrap();
        let another = Folder::new();
        let (_, stranger) = secure_server(&another, move |asked, _| remote.answer(asked));
        run(get(&server.url("/a"), &folder.file()).env("SSL_CERT_FILE", stranger)).failed(3, "no secure connection");
        assert_eq!(server.asked().len(), 0);
        assert_eq!(folder.names(), [""; 0]);
    }

    #[test]
    fn a_redirect_does_not_lead_from_a_safe_place_to_an_unsafe_one() {
        let folder = Folder::new();
        let plain = Server::of(&Remote::new(bytes(MIB, 62)));
        let to = format!("Location: {}\r\nContent-Length: 0\r\n", plain.url("/a"));
        let (secure, trusted) = secure_server(&folder, move |_, _| Answer::new("302 Found", &to, b""));
        run(get(&secure.url("/a"), &folder.file()).env("SSL_CERT_FILE", trusted)).failed(3, "not secure");
        assert_eq!(plain.asked().len(), 0);
    }
}
