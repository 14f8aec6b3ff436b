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

/// Frames of MP3 without a sound, of which the first counts fewer than there are.
fn joined_mp3(count: usize) -> Vec<u8> {
    let mut frame = vec![0xff, 0xfb, 0x90, 0x64];
    frame.resize(417, 0);
    let mut info = frame.clone();
    info[36..48].copy_from_slice(b"Info\0\0\0\x01\0\0\0\x04");
    [info, frame.repeat(count)].concat()
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

/// Of a run that left something out.
fn json_of_a_part(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(3), "{output:?}");
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
fn a_count_ends_neither_a_file_nor_a_station() {
    let folder = Folder::new("count");
    let songs = joined_mp3(100);
    let seconds = 100.0 * 1_152.0 / 44_100.0;
    let file = folder.file("songs.mp3", &songs);
    let summary = json(&run(&["play", &file, "--output", "null", "--json", "--start-ms", "50"]));
    assert!((summary["seconds_played"].as_f64().unwrap() - seconds).abs() < 0.01, "{summary}");
    // It does not hang up: what is behind the count is waited for in vain by those who stop at it.
    let station = Server::start(move |_, _| {
        let headers = "Content-Type: audio/mpeg\r\nicy-name: Live\r\nTransfer-Encoding: chunked\r\n";
        Answer::new("200 OK", headers, &chunked(&songs)).then(After::Silence)
    });
    let asked = ["--output", "null", "--json", "--start-ms", "50", "--seconds", "2.5"];
    let summary = json(&run(&[&["play", &station.url("/live")], &asked[..]].concat()));
    assert_eq!((&summary["seconds_played"], &summary["broken"]), (&2.5.into(), &0.into()));
}

#[test]
fn what_of_a_file_is_not_heard_shows_in_its_exit_code() {
    let folder = Folder::new("part");
    let (bytes, samples) = flac(5, 2);
    let mut cut = joined_mp3(2);
    // It counts forty.
    cut[47] = 40;
    let cut = folder.file("cut.mp3", &cut);
    let run_it = |path: &str| run(&["play", path, "--output", "null", "--json", "--start-ms", "50"]);
    let output = run_it(&cut);
    assert_eq!(json_of_a_part(&output)["skipped"], 1);
    let tail = folder.file("tail.flac", &[&bytes[..], b"TAG", &[b' '; 125]].concat());
    let summary = json(&run_it(&tail));
    let frames = (summary["seconds_played"].as_f64().unwrap() * 48e3).round();
    assert!((frames - (samples.len() / CHANNELS) as f64).abs() < 48.0, "{summary}");
}

#[test]
fn a_playlist_of_files_is_played_from_its_first_to_its_last() {
    let folder = Folder::new("list");
    for name in ["one.flac", "two.flac"] {
        folder.file(name, &flac(4, 1).0);
    }
    let list = folder.file("list.m3u", b"#EXTM3U\nnowhere.flac\none.flac\n#EXTINF:1,Two\ntwo.flac\n");
    let output = run(&["play", &list, "--output", "null", "--json", "--start-ms", "100"]);
    // One of its entries was passed over.
    let summary = json_of_a_part(&output);
    assert_eq!(summary["skipped"], 1);
    assert!(stderr(&output).contains("passed over: cannot open "), "{output:?}");
    let seconds = summary["seconds_played"].as_f64().unwrap();
    let expected =
        2.0 * 48_000_f64.div_euclid(BLOCK_FRAMES as f64).mul_add(BLOCK_FRAMES as f64, BLOCK_FRAMES as f64) / 48e3;
    assert!((seconds - expected).abs() < 0.02, "{seconds} s, not {expected}");
}

#[test]
fn a_window_of_a_time_is_no_larger_and_no_smaller_than_can_be_whatever_the_station_says() {
    let (bytes, _) = flac(10, 16);
    let server = Server::start(move |asked, _| {
        let rate = asked.path.trim_start_matches('/');
        let headers = format!("Content-Type: audio/flac\r\nicy-br: {rate}\r\nTransfer-Encoding: chunked\r\n");
        Answer::new("200 OK", &headers, &chunked(&bytes)).paced(12_000, Duration::from_millis(100)).then(After::Silence)
    });
    // Bits in place of kilobits, more than there are numbers for, and next to nothing.
    for rate in ["1400000", "18446744073709551615", "1"] {
        let seconds = ["--output", "null", "--window", "10m", "--seconds", "0.5", "--json"];
        let summary = json(&run(&[&["play", &server.url(&format!("/{rate}"))], &seconds[..]].concat()));
        let capacity = summary["window_capacity"].as_u64().unwrap();
        assert!((1 << 26..=1 << 28).contains(&capacity), "{rate}: {capacity}");
    }
}

/// The same sample over and over, as a WAV file.
fn wav(rate_hz: u32, channels: u16, seconds: f64, sample: i16) -> Vec<u8> {
    let spec =
        hound::WavSpec { channels, sample_rate: rate_hz, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for _ in 0..(f64::from(rate_hz) * seconds).round() as usize * usize::from(channels) {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

#[test]
fn what_cannot_be_played_in_a_list_is_passed_over_wherever_it_is() {
    let folder = Folder::new("dead");
    for name in ["a.wav", "b.wav", "c.wav"] {
        folder.file(name, &wav(48_000, 2, 0.5, 1));
    }
    folder.file("cover.wav", b"this is a picture");
    folder.file("inner.m3u", b"b.wav\ngone.wav\ncover.wav\n");
    let list = folder.file("list.m3u", b"gone.wav\na.wav\ngone.wav\ninner.m3u\nc.wav\ngone.wav\n");
    let output = run(&["play", &list, "--output", "null", "--json", "--start-ms", "100"]);
    let summary = json_of_a_part(&output);
    assert_eq!((&summary["seconds_played"], &summary["skipped"]), (&1.5.into(), &5.into()), "{output:?}");
    let said = stderr(&output);
    assert_eq!(said.matches("passed over: cannot open").count(), 4, "{said}");
    assert_eq!(said.matches("passed over: this is no audio").count(), 1, "{said}");

    let list = folder.file("none.m3u", b"gone.wav\ncover.wav\n");
    let output = run(&["play", &list, "--output", "null"]);
    let said = stderr(&output);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(said.contains("none.m3u can be played; the last one: this is no audio"), "{said}");
}

#[test]
fn a_list_that_names_itself_behind_a_song_comes_to_an_end() {
    let folder = Folder::new("self");
    folder.file("a.wav", &wav(48_000, 2, 0.1, 1));
    let list = folder.file("self.m3u", b"a.wav\nself.m3u\n");
    let output = run(&["play", &list, "--output", "null", "--json", "--start-ms", "50"]);
    assert_eq!(json_of_a_part(&output)["seconds_played"], 0.5, "{output:?}");
    assert!(stderr(&output).contains("passed over: the playlist "), "{output:?}");
}

#[test]
fn all_of_a_list_goes_into_one_file_in_the_layout_of_the_first() {
    let folder = Folder::new("one-file");
    folder.file("a.wav", &wav(48_000, 2, 1.0, 1_000));
    folder.file("b.wav", &wav(24_000, 1, 1.0, 2_000));
    folder.file("c.wav", &wav(44_100, 2, 1.0, 3_000));
    let list = folder.file("list.m3u", b"a.wav\nb.wav\nc.wav\n");
    let (output, path) = folder.wav();
    let summary = json(&run(&["play", &list, "--output", &output, "--seconds", "2.5", "--json"]));
    assert_eq!(summary["seconds_played"], 2.5, "{summary}");
    let spec = hound::WavReader::open(&path).unwrap().spec();
    assert_eq!((spec.sample_rate, spec.channels, spec.bits_per_sample), (48_000, 2, 16));
    let heard = heard(&path);
    assert_eq!(heard.len(), 2 * 120_000);
    for (second, sample) in [(0.5, 1_000), (1.5, 2_000), (2.25, 3_000)] {
        let at = 2 * (second * 48_000.0) as usize;
        assert!((heard[at] - sample).abs() <= 1 && (heard[at + 1] - sample).abs() <= 1, "{second} s: {}", heard[at]);
    }
    // A list that is shorter than what was asked for is played whole.
    let summary = json(&run(&["play", &list, "--output", "null", "--seconds", "10", "--json", "--start-ms", "100"]));
    assert!((summary["seconds_played"].as_f64().unwrap() - 3.0).abs() < 0.002, "{summary}");
}

#[test]
fn a_file_is_not_written_over_before_there_is_something_to_write() {
    let folder = Folder::new("keep");
    let song = wav(48_000, 2, 0.2, 5);
    let kept = folder.file("kept.wav", &song);
    let link = folder.0.join("link.wav");
    std::fs::hard_link(&kept, &link).unwrap();
    let list = folder.file("list.m3u", b"other.wav\nkept.wav\n");
    folder.file("other.wav", &song);
    let gone = folder.0.join("gone.wav").display().to_string();
    for (address, answer) in [
        (&*kept, "is what is to be played"),
        (link.to_str().unwrap(), "is what is to be played"),
        (&*list, "kept.wav is what is to be played"),
        (&*gone, "cannot open"),
        ("http://127.0.0.1:1/", "refused"),
    ] {
        let output = run(&["play", address, "--output", &format!("wav:{kept}")]);
        assert!(!output.status.success() && stderr(&output).contains(answer), "{address}: {output:?}");
        assert!(std::fs::read(&kept).unwrap() == song, "{address}");
    }
    // What is written in the end has nothing left of what was longer.
    let longer = folder.file("longer.wav", &wav(48_000, 2, 2.0, 6));
    json(&run(&["play", &kept, "--output", &format!("wav:{longer}"), "--json"]));
    assert!(std::fs::read(&longer).unwrap() == song);
}

#[test]
fn a_file_of_unknown_length_that_comes_in_chunks_is_played_once() {
    let (bytes, samples) = flac(9, 2);
    let server = Server::start(move |_, _| {
        Answer::new("200 OK", "Content-Type: audio/flac\r\nTransfer-Encoding: chunked\r\n", &chunked(&bytes))
    });
    let folder = Folder::new("chunked");
    let (output, path) = folder.wav();
    let summary = json(&run(&["play", &server.url("/made"), "--output", &output, "--json", "--seconds", "10"]));
    assert!(heard(&path) == samples, "{summary}");
    assert_eq!((&summary["reconnects"], server.asked().len()), (&0.into(), 1));
}

/// Lists of Windows have backslashes, and VLC's are escaped as addresses are. A file that is called so comes first.
#[cfg(unix)]
#[test]
fn a_path_is_read_as_it_leads_to_a_file() {
    let folder = Folder::new("paths");
    for within in ["A b", "\u{e9}", "100%25"] {
        std::fs::create_dir(folder.0.join(within)).unwrap();
    }
    for name in ["A b/one.wav", "\u{e9}/two.wav", "100%25/c.wav", "100%25/A%20b.wav", "back\\slash.wav"] {
        folder.file(name, &wav(48_000, 2, 0.2, 1));
    }
    let names =
        ["A b\\one.wav", ".\\\u{e9}\\two.wav", "A%20b/one.wav", "%C3%A9/two.wav", "A%20b\\one.wav", "back\\slash.wav"];
    let within = folder.file("100%25/list.m3u", b"c.wav\nA%20b.wav\n..\\A%20b\\one.wav\n");
    let m3u = folder.file("list.m3u", names.join("\r\n").as_bytes());
    let files = names.iter().enumerate().map(|(at, name)| format!("File{}={name}\r\n", at + 1));
    let pls = folder.file("list.pls", format!("[playlist]\r\n{}", files.collect::<String>()).as_bytes());
    for (list, seconds) in [(within, 0.6), (m3u, 1.2), (pls, 1.2)] {
        let played = json(&run(&["play", &list, "--output", "null", "--json", "--start-ms", "100"]));
        let heard = played["seconds_played"].as_f64().unwrap();
        assert!((heard - seconds).abs() < 0.001, "{list}: {played}");
    }
}

#[test]
fn another_place_is_tried_for_what_is_not_at_the_first() {
    let folder = Folder::new("xspf");
    folder.file("a b.wav", &wav(48_000, 2, 0.5, 1));
    let list = b"<playlist><trackList><track><location>gone.wav</location><location>http://127.0.0.1:1/</location>\
        <location>a%20b.wav</location></track><track><location>a%20b.wav</location></track></trackList></playlist>";
    let list = folder.file("list.xspf", list);
    let output = run(&["play", &list, "--output", "null", "--json", "--start-ms", "100"]);
    let summary = json(&output);
    assert_eq!((&summary["seconds_played"], &summary["skipped"]), (&1.0.into(), &0.into()), "{output:?}");
}

#[cfg(unix)]
#[test]
fn what_has_an_odd_name_or_is_no_file_is_told_so() {
    let folder = Folder::new("odd");
    folder.file("a b.wav", &wav(48_000, 2, 0.2, 1));
    for host in ["", "localhost"] {
        let url = format!("file://{host}{}/a%20b.wav", folder.0.display());
        assert_eq!(json(&run(&["play", &url, "--output", "null", "--json"]))["seconds_played"], 0.2, "{url}");
    }
    let odd = folder.file("list.m3u", b"\x1b]0;gone\x07.wav\n");
    let output = run(&["play", &odd, "--output", "null"]);
    assert!(stderr(&output).contains("/]0;gone.wav: No such file") && !output.stderr.contains(&0x1b), "{output:?}");
    let pipe = folder.0.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let output = run(&["play", pipe.to_str().unwrap(), "--output", "null"]);
    assert!(stderr(&output).contains("is no file"), "{output:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_title_log_that_is_full_does_not_end_the_music() {
    let folder = Folder::new("full");
    let song = folder.file("song.wav", &wav(48_000, 2, 2.5, 1));
    let output = run(&["play", &song, "--output", "null", "--title-log", "/dev/full", "--json"]);
    assert_eq!(json(&output)["seconds_played"], 2.5, "{output:?}");
    assert_eq!(stderr(&output).matches("cannot write titles to /dev/full: No space left").count(), 1, "{output:?}");
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
    // What is noted is what is heard: nothing before the first sound, and the last one, too.
    // The name of the station is no title.
    assert!(!titles.contains(&"Titles"), "{titles:?}");
    assert_eq!(titles[..2], ["Song 0", "Song 1"], "{titles:?}");
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
        (&folder.file("empty.mp3", b""), "no audio in it could be decoded"),
        (&opus, "Opus is not supported"),
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
