//! `play` as its user has it, without any server but the tests' own: what `ci/live.sh` tries with real ones.

mod program;
mod server;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use program::{roundelay, run, stderr, stdout};
use roundelay_player::station::flac::{BLOCK_FRAMES, FlacEncoder};
use roundelay_player::station::music::{CHANNELS, Music};
use serde_json::Value;
use server::{After, Answer, Remote, Server, chunked};

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("roundelay-play-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn wav(&self) -> (String, PathBuf) {
        let path = self.0.join("heard.wav");
        (format!("wav:{}", path.display()), path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Music as a file of FLAC, and its samples.
fn flac(seed: u64, seconds: usize) -> (Vec<u8>, Vec<i16>) {
    let mut encoder = FlacEncoder::new().unwrap();
    let mut music = Music::new(seed);
    let mut bytes = encoder.header().unwrap();
    let mut samples = Vec::new();
    let mut block = vec![0; BLOCK_FRAMES * CHANNELS];
    for _ in 0..(seconds * 48_000).div_ceil(BLOCK_FRAMES) {
        music.render(&mut block);
        bytes.extend_from_slice(encoder.encode(&block).unwrap());
        samples.extend_from_slice(&block);
    }
    (bytes, samples)
}

fn heard(path: &Path) -> Vec<i16> {
    hound::WavReader::open(path).unwrap().samples().map(Result::unwrap).collect()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_str(stdout(output).trim()).unwrap()
}

#[test]
fn a_file_is_heard_to_its_last_sample_wherever_it_is() {
    let folder = Folder::new("whole");
    let (bytes, samples) = flac(3, 3);
    let local = folder.file("song.flac", &bytes);
    let parts = Server::of(&Remote::new(bytes.clone()));
    let whole = {
        let bytes = bytes.clone();
        Server::start(move |_, _| {
            Answer::new("200 OK", &format!("Content-Length: {}\r\n", bytes.len()), &bytes).then(After::Close)
        })
    };
    let live = Server::start(move |_, _| {
        // Its length stands nowhere; the end is an end all the same.
        Answer::new("200 OK", "Transfer-Encoding: chunked\r\nicy-name: Live\r\n", &chunked(&bytes)).then(After::Close)
    });
    for address in [local, parts.url("/song.flac"), whole.url("/song.flac")] {
        let (output, wav) = folder.wav();
        let summary = json(&run(&["play", &address, "--output", &output, "--json"]));
        assert!(heard(&wav) == samples, "{address}: {summary}");
        assert_eq!((&summary["broken"], &summary["codec"]), (&0.into(), &"FLAC, 48 kHz, stereo".into()));
    }
    // A stream without an end is called again and again; what came is heard.
    let (output, wav) = folder.wav();
    let seconds = ["--seconds", "2.5"];
    json(&run(&[&["play", &live.url("/live"), "--output", &output, "--json"], &seconds[..]].concat()));
    assert!(samples.starts_with(&heard(&wav)));
}

#[test]
fn a_playlist_of_files_is_played_from_its_first_to_its_last() {
    let folder = Folder::new("list");
    for name in ["one.flac", "two.flac"] {
        folder.file(name, &flac(4, 1).0);
    }
    let list = folder.file("list.m3u", b"#EXTM3U\nnowhere.flac\none.flac\n#EXTINF:1,Two\ntwo.flac\n");
    let summary = json(&run(&["play", &list, "--output", "null", "--json", "--start-ms", "100"]));
    let seconds = summary["seconds_played"].as_f64().unwrap();
    let expected =
        2.0 * 48_000_f64.div_euclid(BLOCK_FRAMES as f64).mul_add(BLOCK_FRAMES as f64, BLOCK_FRAMES as f64) / 48e3;
    assert!((seconds - expected).abs() < 0.02, "{seconds} s, not {expected}");
}

#[test]
fn titles_are_logged_as_they_are_heard() {
    let folder = Folder::new("titles");
    let (bytes, _) = flac(5, 8);
    let server = Server::start(move |asked, _| {
        assert_eq!(asked.header("icy-metadata"), Some("1"));
        let interval = 16_000;
        let mut body = Vec::new();
        for (number, piece) in bytes.chunks(interval).enumerate() {
            body.extend_from_slice(piece);
            if piece.len() == interval {
                let mut block = format!("StreamTitle='Song {}';", number / 12).into_bytes();
                block.resize(block.len().next_multiple_of(16), 0);
                body.push((block.len() / 16) as u8);
                body.extend(block);
            }
        }
        let headers = format!("icy-metaint: {interval}\r\nicy-name: Titles\r\nTransfer-Encoding: chunked\r\n");
        Answer::new("200 OK", &headers, &chunked(&body)).paced(20_000, Duration::from_millis(50)).then(After::Silence)
    });
    let log = folder.0.join("titles.txt");
    let log_path = log.display().to_string();
    let arguments = ["play", &server.url("/live"), "--output", "null", "--seconds", "6", "--title-log", &log_path];
    assert!(run(&arguments).status.success());
    let titles = std::fs::read_to_string(log).unwrap();
    let titles: Vec<_> = titles.lines().map(|line| line.split_once('\t').unwrap().1).collect();
    assert_eq!(titles[..3], ["Titles", "Song 0", "Song 1"], "{titles:?}");
}

#[test]
fn a_station_that_is_a_hundred_times_too_fast_is_heard_in_pieces() {
    let (bytes, _) = flac(6, 8);
    let server = Server::start(move |_, _| {
        let body = chunked(&bytes.repeat(40));
        let headers = "Content-Type: audio/flac\r\nTransfer-Encoding: chunked\r\n";
        // Some 9 MB a second, of a stream of 90 kB.
        Answer::new("200 OK", headers, &body).paced(90_000, Duration::from_millis(10)).then(After::Silence)
    });
    let arguments = ["--window", "512kB", "--output", "null", "--seconds", "3", "--json"];
    let summary = json(&run(&[&["play", &server.url("/live")], &arguments[..]].concat()));
    assert!(summary["laps"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(summary["seconds_played"], 3.0, "{summary}");
}

#[test]
fn what_cannot_be_played_is_answered_with_a_sentence() {
    let folder = Folder::new("bad");
    let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let page = Server::start(|_, _| {
        Answer::new("200 OK", "Content-Type: text/html\r\nContent-Length: 6\r\n", b"<html>").then(After::Close)
    });
    let missing = Server::start(|_, _| Answer::new("404 Not Found", "Content-Length: 0\r\n", b"").then(After::Close));
    let opus = folder.file("opus.ogg", &opus_head());
    let itself = folder.file("itself.m3u", b"itself.m3u\n");
    let hls = folder.file("hls.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\na.ts\n");
    for (address, answer) in [
        ("ftp://example.org/a.mp3", "is no address that can be played"),
        ("/nowhere/at/all.mp3", "cannot open /nowhere/at/all.mp3: No such file or directory"),
        (folder.0.to_str().unwrap(), "is no file"),
        (&folder.file("noise.mp3", &noise), "this is no audio that can be decoded"),
        (&folder.file("empty.mp3", b""), "this is no audio that can be decoded"),
        (&opus, "Opus cannot be decoded"),
        (&page.url("/"), "is no stream but a page (text/html)"),
        (&missing.url("/live"), "the server answers 404 Not Found"),
        ("http://127.0.0.1:1/live", "Connection refused"),
        (&itself, "nothing is ever played"),
        (&hls, "HLS"),
    ] {
        let began = Instant::now();
        let output = run(&["play", address, "--output", "null"]);
        let said = stderr(&output);
        assert!(!output.status.success() && output.stdout.is_empty(), "{address}");
        assert!(said.starts_with("roundelay: ") && said.lines().count() == 1, "{address}: {said}");
        assert!(said.contains(answer) && !said.contains("os error"), "{address}: {said}");
        assert!(began.elapsed() < Duration::from_secs(20), "{address}: {:?}", began.elapsed());
    }
}

#[test]
fn a_file_is_asked_for_once_and_then_in_parts() {
    let bytes = flac(7, 20).0;
    let whole = bytes.len() as u64;
    let server = Server::of(&Remote::new(bytes));
    let summary = json(&run(&["play", &server.url("/song.flac"), "--output", "null", "--seconds", "1", "--json"]));
    assert_eq!(summary["seconds_played"], 1.0, "{summary}");
    let asked = server.asked();
    assert!(asked.iter().skip(1).all(|asked| asked.range(whole).is_some_and(|part| part.start > 0)), "{asked:?}");
}

#[cfg(unix)]
#[test]
fn a_server_that_answers_once_and_never_again_does_not_keep_the_program_from_ending() {
    let bytes = flac(8, 20).0;
    let server = Server::start(move |_, before| match before {
        0 => {
            let headers = format!("Accept-Ranges: bytes\r\nETag: \"1\"\r\nContent-Length: {}\r\n", bytes.len());
            Answer::new("200 OK", &headers, &bytes).cut_to(1_000, After::Close)
        }
        _ => Answer::new("503 Busy", "Retry-After: 600\r\nContent-Length: 0\r\n", b""),
    });
    let child = roundelay(&["play", &server.url("/song.flac"), "--output", "null"]).spawn().unwrap();
    while server.asked().len() < 2 {
        std::thread::sleep(Duration::from_millis(10));
    }
    interrupt(&child);
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && began.elapsed() < Duration::from_secs(5), "{output:?}");
}

#[cfg(unix)]
fn interrupt(child: &std::process::Child) {
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
}

/// The first page of a stream of Opus, and its second.
fn opus_head() -> Vec<u8> {
    let mut pages = Vec::new();
    let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
    let tags = b"OpusTags\x04\0\0\0test\0\0\0\0";
    for (number, (flags, body)) in [(2, &head[..]), (0, &tags[..]), (0, &[0xfc; 40][..])].into_iter().enumerate() {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend(if number == 2 { 960u64 } else { 0 }.to_le_bytes());
        page.extend([1, 0, 0, 0]);
        page.extend((number as u32).to_le_bytes());
        page.extend([0; 4]);
        page.extend([1, body.len() as u8]);
        page.extend(body);
        let sum = page.iter().fold(0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 })
        });
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        pages.extend(page);
    }
    pages
}

#[cfg(unix)]
#[test]
fn an_interrupt_while_a_server_does_not_answer_ends_the_program() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let child = roundelay(&["play", &url, "--output", "null"]).spawn().unwrap();
    let _held = silent.accept().unwrap();
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && began.elapsed() < Duration::from_secs(5), "{output:?}");
}
