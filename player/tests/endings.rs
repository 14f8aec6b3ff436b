//! What the program says, heeds and leaves behind, however it ends.
#![cfg(unix)]

mod program;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use program::{roundelay, run, stderr, stdout};
use roundelay_player::station::flac::{BLOCK_FRAMES, FlacEncoder};
use roundelay_player::station::music::{CHANNELS, Music};
use server::{After, Answer, Remote, Server};

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("roundelay-endings-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn flac(seconds: usize) -> Vec<u8> {
    let mut encoder = FlacEncoder::new().unwrap();
    let mut music = Music::new(12);
    let mut bytes = encoder.header().unwrap();
    let mut block = vec![0; BLOCK_FRAMES * CHANNELS];
    for _ in 0..(seconds * 48_000).div_ceil(BLOCK_FRAMES) {
        music.render(&mut block);
        bytes.extend_from_slice(encoder.encode(&block).unwrap());
    }
    bytes
}

fn send(signal: &str, child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// Waits until something is so; long before this gives up it is.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A station that never ends.
fn station() -> Server {
    let sound = flac(4);
    Server::start(move |_, _| {
        let sound = sound.repeat(20);
        Answer::new("200 OK", "Content-Type: audio/flac\r\nicy-name: A\r\n", &sound)
            .paced(20_000, Duration::from_millis(50))
            .then(After::Silence)
    })
}

#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let server = station();
    let program = env!("CARGO_BIN_EXE_roundelay");
    let play = |ignored: &str| {
        let script = format!("trap '' {ignored}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, program, "play", &server.url("/"), "--output", "null", "--seconds", "3"]);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    for (ignored, signal) in [("HUP", "-HUP"), ("INT", "-INT"), ("TERM", "-TERM")] {
        let asked = server.asked().len();
        let child = play(ignored);
        wait_until(|| server.asked().len() > asked);
        for _ in 0..3 {
            send(signal, &child);
            std::thread::sleep(Duration::from_millis(100));
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && stdout(&output).contains("played 3.0 s"), "{ignored}: {output:?}");
    }
    // One that is not ignored ends the music with a summary.
    let asked = server.asked().len();
    let child = play("USR1");
    wait_until(|| server.asked().len() > asked);
    send("-HUP", &child);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && !stdout(&output).contains("played 3.0 s"), "{output:?}");
}

fn downloads(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn what_a_killed_player_leaves_is_removed_by_the_next() {
    let folder = Folder::new("killed");
    let server = Server::of(&Remote::new(flac(20)));
    let play = |seconds: &str| {
        let mut command = roundelay(&["play", &server.url("/song.flac"), "--output", "null", "--seconds", seconds]);
        command.env("TMPDIR", &folder.0);
        command
    };
    let mut killed = play("15").spawn().unwrap();
    wait_until(|| downloads(&folder.0) == 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(downloads(&folder.0), 1);
    let mut alive = play("600").spawn().unwrap();
    wait_until(|| downloads(&folder.0) == 1 && !folder.0.join(format!("roundelay-{}-0", killed.id())).exists());
    assert!(play("0.5").output().unwrap().status.success());
    assert_eq!(downloads(&folder.0), 1, "that of a player that is alive");
    send("-TERM", &alive);
    assert!(alive.wait().unwrap().success());
    assert_eq!(downloads(&folder.0), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn no_message_has_a_number_of_the_system() {
    let folder = Folder::new("numbers");
    let path = |name: &str| folder.0.join(name).display().to_string();
    let song = path("song.flac");
    std::fs::write(&song, flac(1)).unwrap();
    std::fs::write(path("list.m3u"), "gone.flac\nsong.flac\n").unwrap();
    let server = Server::of(&Remote::new(flac(1)));
    let file = server.url("/song.flac");
    let full = format!("wav:{}", path("no/folder/a.wav"));
    let commands: [&[&str]; 10] = [
        &["play", "http://127.0.0.1:1/", "--output", "null"],
        &["play", &path("gone.flac"), "--output", "null"],
        &["play", &folder.0.display().to_string(), "--output", "null"],
        &["play", &song, "--output", &full],
        &["play", &song, "--output", "wav:/dev/full"],
        &["play", &song, "--output", "null", "--title-log", "/no/folder/titles"],
        &["play", &song, "--output", "null", "--title-log", "/dev/full"],
        &["play", &path("list.m3u"), "--output", "null"],
        &["get", "http://127.0.0.1:1/", &path("a")],
        &["get", &file, "/dev/full/a"],
    ];
    for arguments in commands {
        let output = run(arguments);
        let said = stderr(&output) + &stdout(&output);
        assert!(!said.is_empty() && !said.contains("os error"), "{arguments:?}: {said}");
    }
    let output = roundelay(&["play", &file, "--output", "null"]).env("TMPDIR", "/no/folder").output().unwrap();
    assert!(!stderr(&output).contains("os error"), "{output:?}");
}
