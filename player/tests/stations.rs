//! `play` before servers that are odd in every way that somebody reported: each of these is heard by other players.

mod program;
mod server;

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use program::{run, stderr, stdout};
use roundelay_player::station::flac::{BLOCK_FRAMES, FlacEncoder};
use roundelay_player::station::music::{CHANNELS, Music};
use serde_json::Value;
use server::{After, Answer, Asked, Remote, Server};

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("roundelay-stations-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn flac(seconds: usize) -> Vec<u8> {
    let mut encoder = FlacEncoder::new().unwrap();
    let mut music = Music::new(11);
    let mut bytes = encoder.header().unwrap();
    let mut block = vec![0; BLOCK_FRAMES * CHANNELS];
    for _ in 0..(seconds * 48_000).div_ceil(BLOCK_FRAMES) {
        music.render(&mut block);
        bytes.extend_from_slice(encoder.encode(&block).unwrap());
    }
    bytes
}

/// An answer with this head, which need not be one, and a stream behind it that does not end.
fn stream(head: &str, sound: &[u8]) -> Answer {
    let mut answer = Answer::new("", "", sound).paced(20_000, Duration::from_millis(50)).then(After::Silence);
    answer.head = format!("{head}\r\n");
    answer
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: audio/flac\r\n";

fn missing() -> Answer {
    Answer::new("404 Not Found", "Content-Length: 0\r\n", b"")
}

fn play(address: &str, more: &[&str]) -> Output {
    run(&[&["play", address, "--output", "null", "--json", "--start-ms", "100"], more].concat())
}

fn summary(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    figures(output)
}

/// As [`summary`], also where something was passed over.
fn figures(output: &Output) -> Value {
    serde_json::from_str(stdout(output).trim()).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn heard(address: &str, seconds: &str) -> (Value, String) {
    let output = play(address, &["--seconds", seconds]);
    let summary = summary(&output);
    assert_eq!(summary["seconds_played"].to_string(), seconds, "{address}: {output:?}");
    (summary, stderr(&output))
}

/// A server on which each head has a stream behind it.
fn heads(heads: Vec<String>) -> Server {
    let sound = flac(3);
    Server::start(move |asked, _| {
        let number: usize = asked.path[1..].parse().unwrap();
        stream(&heads[number], &sound)
    })
}

#[test]
fn a_station_with_an_odd_head_is_heard() {
    let odd: Vec<_> = [
        "this line is nothing\r\n".to_owned(),
        "Bad Name: x\r\n".to_owned(),
        "icy-name: One\r\n and the rest\r\n".to_owned(),
        ": x\r\nX-\u{f6}: \u{1}\r\n".to_owned(),
        "X-Filler: x\r\n".repeat(150),
        format!("X-Long: {}\r\n", "x".repeat(30_000)),
        "Set-Cookie: a\u{7f}=\u{1}\r\nSet-Cookie: =;;\r\n".to_owned(),
        "Content-Type: audio/flac; charset=\"utf\r\n".to_owned(),
    ]
    .map(|odd| format!("{OK}{odd}icy-br: 700\r\n"))
    .into_iter()
    .chain(["ICY 200 OK\nicy-br:700\n".to_owned(), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200\r\n".to_owned()])
    .collect();
    let server = heads(odd.clone());
    for number in 0..odd.len() {
        heard(&server.url(&format!("/{number}")), "1.0");
    }
}

#[test]
fn a_station_whose_length_cannot_be_is_heard() {
    let lengths = ["-1", "9223372036854775807", "18446744073709551615", "200000000000", "0", "1000", "x", "5, 6"];
    let stations = lengths.map(|length| format!("{OK}icy-name: A\r\nContent-Length: {length}\r\n"));
    let others = ["-1", "9223372036854775807", "200000000000"];
    let others = others.map(|length| format!("{OK}Content-Length: {length}\r\n"));
    let all: Vec<_> = stations.into_iter().chain(others).collect();
    let server = heads(all.clone());
    for (number, head) in all.iter().enumerate() {
        let (summary, said) = heard(&server.url(&format!("/{number}")), "1.0");
        assert_eq!(summary["reconnects"], 0, "{head}: {said}");
    }
}

#[test]
fn a_part_that_nobody_asked_for_is_heard() {
    let sound = flac(2);
    let len = sound.len();
    for (range, part) in [
        (format!("Content-Range: bytes 0-{}/{len}\r\n", len - 1), len),
        (String::new(), len),
        (format!("Content-Range: bytes 0-{}/{len}\r\n", 99_999), 100_000),
    ] {
        let file = Remote::new(sound.clone());
        let server = Server::start(move |asked, _| match asked.header("range") {
            Some(_) => file.answer(asked),
            None => {
                let headers = format!("{range}Content-Length: {part}\r\nETag: \"one\"\r\n");
                Answer::new("206 Partial Content", &headers, &file.bytes[..part])
            }
        });
        heard(&server.url("/song.flac"), "1.5");
    }
}

#[test]
fn an_answer_without_a_body_is_a_refusal() {
    for status in ["204 No Content", "304 Not Modified"] {
        let server = Server::start(move |_, _| Answer::new(status, "", b""));
        let output = play(&server.url("/"), &[]);
        assert!(!output.status.success() && stderr(&output).contains(&status[..3]), "{output:?}");
    }
}

#[test]
fn what_sounds_is_no_page_whatever_it_is_called() {
    let types = ["text/html\r\nicy-name: A", "text/html; charset=utf-8", "application/json", "text/plain"];
    let all: Vec<_> = types.map(|name| format!("HTTP/1.1 200 OK\r\nContent-Type: {name}\r\n")).into();
    let server = heads(all.clone());
    for number in 0..all.len() {
        heard(&server.url(&format!("/{number}")), "0.5");
    }
    let pages = Server::start(|asked, _| {
        let content_type = if asked.path == "/1" { "audio/mpeg\r\nicy-name: A" } else { "text/html" };
        Answer::new("200 OK", &format!("Content-Type: {content_type}\r\n"), b"<!DOCTYPE html><p>No").then(After::Close)
    });
    for path in ["/1", "/2"] {
        let output = play(&pages.url(path), &[]);
        assert!(!output.status.success() && stderr(&output).contains("is no stream but a page"), "{output:?}");
    }
}

#[test]
fn a_redirect_may_set_a_cookie_and_want_it_back() {
    let sound = flac(2);
    let server = Server::start(move |asked, before| {
        if asked.header("cookie") == Some("session=a b") {
            return stream(OK, &sound);
        }
        assert!(before < 3, "asked in a circle");
        Answer::new("302 Found", "Set-Cookie: session=a b; Path=/\r\nLocation: /live\r\nContent-Length: 0\r\n", b"")
    });
    heard(&server.url("/live"), "1.0");
}

#[test]
fn an_address_may_be_written_as_people_write_it() {
    let sound = flac(2);
    let server = Server::start(move |asked, _| {
        let location = match &*asked.path {
            "/a%20b/bj%C3%B6rk?q=%C3%A4%7C" => return stream(OK, &sound),
            "/space" => "/a b/björk?q=ä|",
            "/up/and/up" => "../../a b/./c/../björk?q=ä|#part",
            "/absolute" => "HTTP:\\\\localhost:PORT\\a b\\björk?q=ä|",
            "/twice" => "space",
            _ => return missing(),
        };
        let location = location.replace("PORT", asked.header("host").unwrap().rsplit(':').next().unwrap());
        Answer::new("302 Found", &format!("Location: {location}\r\nContent-Length: 0\r\n"), b"")
    });
    for path in ["/a b/björk?q=ä|", "/space", "/up/and/up", "/absolute", "/twice", "/x/../a b/björk?q=ä|#part"] {
        heard(&server.url(path), "0.5");
    }
}

/// A server that lets in who knows the password.
fn closed(sound: Vec<u8>) -> Server {
    // user@:p@ss
    const PAIR: &str = "Basic dXNlckA6cEBzcw==";
    let file = Remote::new(sound);
    Server::start(move |asked, _| {
        if asked.header("authorization") != Some(PAIR) {
            return Answer::new("401 Unauthorized", "WWW-Authenticate: Basic\r\nContent-Length: 0\r\n", b"");
        }
        match &*asked.path {
            "/song.flac" => file.answer(asked),
            "/live" => stream(&format!("{OK}icy-name: A\r\n"), &file.bytes),
            "/list" => Answer::new("200 OK", "Content-Length: 22\r\n", b"#EXTM3U\r\nsong.flac\r\n\r\n"),
            "/moved" => Answer::new("302 Found", "Location: /live\r\nContent-Length: 0\r\n", b""),
            _ => missing(),
        }
    })
}

#[test]
fn a_password_is_decoded_and_never_printed() {
    let folder = Folder::new("password");
    let server = closed(flac(20));
    let with = |pair: &str, path: &str| server.url(path).replace("http://", &format!("http://{pair}@"));
    let log = folder.0.join("titles.txt").display().to_string();
    for (pair, path, is_heard) in [
        ("user%40:p%40ss", "/live", true),
        ("user@:p@ss", "/live", true),
        ("user%40:p%40ss", "/moved", true),
        ("user%40:p%40ss", "/song.flac", true),
        ("user%40:p%40ss", "/list", true),
        ("user%40:p%40ss", "/missing", false),
        ("user%40:p%40sss", "/live", false),
        ("user%40:p%2f/40ss", "/live", false),
    ] {
        let output = play(&with(pair, path), &["--seconds", "1", "--title-log", &log]);
        assert_eq!(output.status.success(), is_heard, "{pair} {path}: {output:?}");
        let titles = std::fs::read_to_string(&log).unwrap();
        for told in [stderr(&output), stdout(&output), titles] {
            assert!(!told.contains("40ss") && !told.contains("@ss") && !told.contains("p%"), "{pair} {path}: {told}");
        }
    }
    // A list here that names such addresses.
    let list = format!("{}\n{}\n", with("user%40:p%40ss", "/gone"), with("user%40:p%40sss", "/live"));
    let list = folder.file("list.m3u", list.as_bytes());
    let output = play(&list, &[]);
    assert!(!output.status.success() && !stderr(&output).contains("40ss"), "{output:?}");
}

#[test]
fn a_list_is_known_by_what_is_in_it() {
    let sound = flac(2);
    let kinds = [
        "Content-Type: binary/octet-stream\r\n",
        "Content-Type: audio/x-m3u\r\n",
        "Content-Type: audio/mpeg\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: text/html; charset=utf-8\r\n",
        "",
    ];
    let server = Server::start(move |asked, _| {
        let host = asked.header("host").unwrap();
        let (kind, number) = asked.path[1..].split_once('/').unwrap_or(("", "0"));
        let list = match kind {
            "m3u" => format!("http://{host}/live\n"),
            "pls" => format!("[playlist]\nFile1=http://{host}/live\n"),
            "xspf" => format!(
                "<?xml version='1.0'?><playlist><trackList><track><location>http://{host}/live</location></track>\
                </trackList></playlist>"
            ),
            _ => return stream(OK, &sound),
        };
        let content_type =
            if kind == "xspf" { "Content-Type: application/xml\r\n" } else { kinds[number.parse::<usize>().unwrap()] };
        Answer::new("200 OK", content_type, list.as_bytes()).then(After::Close)
    });
    for kind in ["m3u", "pls", "xspf"] {
        for number in 0..kinds.len() {
            heard(&server.url(&format!("/{kind}/{number}")), "0.5");
        }
    }
}

/// A stream of `bytes` bytes, after which the server hangs up.
fn first_bytes(sound: &[u8], bytes: usize) -> Answer {
    stream(&format!("{OK}icy-name: A\r\n"), sound).cut_to(bytes, After::Close)
}

fn paths(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| &*asked.path).collect()
}

#[test]
fn an_address_that_refuses_for_good_gives_way_to_the_next_in_its_list() {
    let sound = flac(8);
    for refusal in ["404 Not Found", "403 Forbidden", "410 Gone", "401 Unauthorized"] {
        let sound = sound.clone();
        let server = Server::start(move |asked, before| match (&*asked.path, before) {
            ("/list", _) => Answer::new("200 OK", "Content-Length: 23\r\n", b"#EXTM3U\none\ntwo\nthree\n\n"),
            ("/one", 1) => first_bytes(&sound, 200_000),
            ("/one", _) => Answer::new(refusal, "Content-Length: 0\r\n", b""),
            ("/two", _) => stream(OK, &sound),
            _ => missing(),
        });
        let (summary, _) = heard(&server.url("/list"), "4.0");
        assert_eq!(summary["reconnects"], 1);
        assert_eq!(paths(&server.asked()), ["/list", "/one", "/one", "/two"], "{refusal}");
    }
}

#[test]
fn a_station_that_is_away_is_waited_for() {
    let sound = flac(8);
    for away in ["503 Busy", "500 Broken", "429 Too Many Requests"] {
        let sound = sound.clone();
        let server = Server::start(move |asked, before| match (&*asked.path, before) {
            ("/list", _) => Answer::new("200 OK", "Content-Length: 17\r\n", b"#EXTM3U\none\ntwo\n\n"),
            ("/one", 1) => first_bytes(&sound, 200_000),
            ("/one", 2) => Answer::new(away, "Content-Length: 0\r\n", b""),
            ("/one", 3) => stream(OK, &sound),
            _ => missing(),
        });
        heard(&server.url("/list"), "4.0");
        assert_eq!(paths(&server.asked()), ["/list", "/one", "/one", "/one"], "{away}");
    }
}

#[test]
fn a_list_whose_address_has_gone_is_asked_again() {
    let sound = flac(8);
    let server = Server::start(move |asked, before| match (&*asked.path, before) {
        // Each address can be used once.
        ("/list", _) => {
            let list = format!("http://{}/once/{before}\n", asked.header("host").unwrap());
            Answer::new("200 OK", &format!("Content-Length: {}\r\n", list.len()), list.as_bytes())
        }
        ("/once/0", 1) | ("/once/3", 4) => first_bytes(&sound, 150_000),
        ("/once/6", _) => stream(OK, &sound),
        _ => Answer::new("403 Forbidden", "Content-Length: 0\r\n", b""),
    });
    let (summary, _) = heard(&server.url("/list"), "5.0");
    assert_eq!(summary["reconnects"], 2);
    let expected = ["/list", "/once/0", "/once/0", "/list", "/once/3", "/once/3", "/list", "/once/6"];
    assert_eq!(paths(&server.asked()), expected);
}

#[test]
fn a_station_in_no_list_that_refuses_is_waited_for() {
    let sound = flac(8);
    let server = Server::start(move |_, before| match before {
        0 => first_bytes(&sound, 200_000),
        1 => missing(),
        _ => stream(OK, &sound),
    });
    heard(&server.url("/live"), "4.0");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_station_that_refuses_for_good_gives_way_to_a_file() {
    let folder = Folder::new("mixed");
    let song = flac(1);
    folder.file("song.flac", &song);
    let server = Server::start(move |_, before| if before == 0 { first_bytes(&flac(2), 150_000) } else { missing() });
    let list = folder.file("list.m3u", format!("{}\nsong.flac\n", server.url("/live")).as_bytes());
    let output = play(&list, &[]);
    let seconds = figures(&output)["seconds_played"].as_f64().unwrap();
    assert!(seconds > 1.5, "{output:?}");
    assert!(stderr(&output).contains("the server answers 404 Not Found"), "{output:?}");
}

#[test]
fn a_local_list_may_name_files_with_colons() {
    let folder = Folder::new("colon");
    folder.file("Artist: Song.flac", &flac(1));
    let list = folder.file("list.m3u", b"Artist: Song.flac\nrtsp://b.example/2\nmms://c.example/\n");
    let output = play(&list, &[]);
    let seconds = figures(&output)["seconds_played"].as_f64().unwrap();
    assert!((0.9..1.1).contains(&seconds), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains("list.m3u: 2, the first \"rtsp://b.example/2\""), "{said}");
    assert_eq!((figures(&output)["skipped"].as_u64(), output.status.code()), (Some(2), Some(3)), "{output:?}");
}

#[test]
fn a_window_of_a_time_lasts_as_long_where_no_bit_rate_is_stated() {
    // 8,000 samples a second, of 16 bits: 128 kbit/s.
    let mut sound =
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\xff\xff\xff\xff"
            .to_vec();
    sound.resize(400_000, 1);
    for rate in ["", "icy-metaint: 1000\r\n"] {
        let sound = if rate.is_empty() {
            sound.clone()
        } else {
            sound.chunks(1_000).flat_map(|piece| [piece, b"\0"].concat()).collect()
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n{rate}");
        let server = Server::start(move |_, _| stream(&head, &sound));
        let output = play(&server.url("/"), &["--seconds", "1", "--window", "10m"]);
        let capacity = summary(&output)["window_capacity"].as_u64().unwrap();
        assert!((9_600_000..=17_000_000).contains(&capacity), "{rate}: {capacity}");
    }
}
