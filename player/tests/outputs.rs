//! The outputs, as far as this machine has them: JACK is there if `jackd` is, whose dummy driver needs no hardware; ALSA,
//! if its library is, whose `null` and `file` devices need none either. What is not there is said to be unchecked.

#![cfg(target_os = "linux")]

mod program;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use program::{roundelay, run, stderr};
use roundelay_player::station::flac::BLOCK_FRAMES;
use roundelay_player::station::music::{CHANNELS, Music};
use serde_json::Value;

/// The summary of a run that went well.
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Says what a test could not check; not by `eprintln`, which nobody sees of a test that passes.
fn unchecked(what: &str) {
    let _ = writeln!(std::io::stderr(), "NOT CHECKED: {what}");
}

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("roundelay-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn without_any_sound_system_auto_plays_to_null_and_says_why() {
    // In front of the libraries that may be installed, some that are none.
    let folder = Folder::new("no-libraries");
    for library in ["libjack.so.0", "libasound.so.2"] {
        std::fs::write(folder.0.join(library), "").unwrap();
    }
    let mut command = roundelay(&["demo", "--seconds", "0.5", "--output", "auto", "--json"]);
    let output = command.env("LD_LIBRARY_PATH", &folder.0).output().unwrap();
    let summary = json(&output);
    assert_eq!((&summary["output"], &summary["seconds_played"]), (&"null".into(), &0.5.into()));
    assert_eq!(summary.get("device"), None);
    let said = stderr(&output);
    let why = said.lines().find(|line| line.starts_with("playing to null")).unwrap_or_else(|| panic!("{said}"));
    assert!(why.contains(": no JACK server answers (libjack.so.0 cannot be used: /"), "{why}");
    assert!(why.contains("; no ALSA (libasound.so.2 cannot be used: /"), "{why}");
}

#[test]
fn a_device_that_is_not_there_is_an_error_that_names_it() {
    for (arguments, answers) in [
        (
            ["--output", "alsa"],
            &["ALSA cannot open its device `of nowhere`: ", "no ALSA (libasound.so.2 is not installed"][..],
        ),
        (
            ["--output", "jack"],
            &["JACK has no playback port whose name begins with `of nowhere`; ", "no JACK server answers ("],
        ),
        (["--output", "auto"], &["no output has a device `of nowhere`: "]),
        (["--output", "null"], &["null has no devices to choose from; leave out `of nowhere`"]),
        (["--output", "wav:a.wav"], &["a file has no devices to choose from; leave out `of nowhere`"]),
    ] {
        let output = run(&[&["demo", "--device", "of nowhere"], &arguments[..]].concat());
        let said = stderr(&output);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        assert!(said.starts_with("roundelay: ") && said.lines().count() == 1, "{arguments:?}: {said}");
        assert!(answers.iter().any(|answer| said.contains(answer)), "{arguments:?}: {said}");
    }
}

#[test]
fn periods_beyond_reason_are_refused() {
    for period in ["0", "15", "8193", "many"] {
        assert!(!run(&["demo", "--period", period]).status.success(), "{period}");
    }
}

#[test]
fn what_alsa_gets_are_the_very_samples_of_the_station_at_the_stations_pace() {
    let folder = Folder::new("alsa");
    let file = folder.0.join("heard.raw");
    let device = format!("file:'{}',raw", file.display());
    let began = Instant::now();
    let output = run(&["demo", "--seconds", "3", "--seed", "5", "--json", "--output", "alsa", "--device", &device]);
    if stderr(&output).contains("no ALSA (libasound.so.2 is not installed)") {
        return unchecked("playing to ALSA, since libasound.so.2 is not installed");
    }
    let summary = json(&output);
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "a device without a clock was given none: {:?}",
        began.elapsed()
    );
    assert_eq!((&summary["output"], &summary["seconds_played"]), (&"alsa".into(), &3.0.into()));
    assert_eq!((&summary["device"]["rate_hz"], &summary["device"]["stops"]), (&48_000.into(), &0.into()));
    if summary["frames_missing"] != 0 {
        return unchecked("ALSA's samples, since this machine was too slow to decode them in time");
    }

    let bytes = std::fs::read(&file).unwrap();
    let heard: Vec<f32> = bytes.as_chunks().0.iter().map(|&sample| f32::from_ne_bytes(sample)).collect();
    // Before the start mark there is silence.
    let (silence, heard) = heard.split_at(heard.len() - 3 * 48_000 * CHANNELS);
    assert!(silence.iter().all(|&sample| sample == 0.0));
    // A listener joins at the start of some FLAC frame of the first seconds.
    let mut programme = vec![0; 10 * 48_000 * CHANNELS];
    Music::new(5).render(&mut programme);
    let programme: Vec<f32> = programme.into_iter().map(|sample| f32::from(sample) / 32_768.0).collect();
    let joined = (0..100).map(|block| block * BLOCK_FRAMES * CHANNELS);
    let joined = joined.into_iter().find(|&at| programme[at..at + 4_096] == heard[..4_096]);
    let joined = joined.expect("the station never played what the file begins with");
    assert!(programme[joined..joined + heard.len()] == *heard, "some sample differs, after {joined}");
}

/// Lets a demo play to a device of ALSA's for a while, and ends it; `None` if there is no ALSA.
fn ended_after(patience: Duration, device: &str) -> Option<Output> {
    let arguments = ["demo", "--json", "--output", "alsa", "--device", device];
    let mut child = roundelay(&arguments).spawn().unwrap();
    std::thread::sleep(patience);
    let ended = Instant::now();
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    while child.try_wait().unwrap().is_none() {
        assert!(ended.elapsed() < Duration::from_secs(30) || child.kill().is_err(), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    if stderr(&output).contains("no ALSA (libasound.so.2 is not installed)") {
        unchecked("a device of ALSA's that fails, since libasound.so.2 is not installed");
        return None;
    }
    Some(output)
}

#[test]
fn a_device_that_opens_and_takes_nothing_is_asked_about_once_a_second() {
    let began = Instant::now();
    let Some(output) = ended_after(Duration::from_secs(4), "file:/dev/full,raw") else { return };
    let stops = json(&output)["device"]["stops"].as_u64().unwrap();
    assert!((1..=began.elapsed().as_secs() + 2).contains(&stops), "{stops} stops");
}

#[test]
fn a_device_that_hangs_keeps_nobody_from_leaving() {
    use std::os::unix::fs::OpenOptionsExt;
    let folder = Folder::new("hangs");
    let pipe = folder.0.join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let _nobody_reads = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&pipe).unwrap();
    let device = format!("file:'{}',raw", pipe.display());
    if let Some(output) = ended_after(Duration::from_secs(3), &device) {
        json(&output);
    }
}

/// A JACK server of our own, beside any other.
struct Jackd {
    name: String,
    child: Child,
    /// Servers are entered in one register of the machine's: one of ours at a time.
    _turn: MutexGuard<'static, ()>,
}

impl Jackd {
    /// Starts one; `None` if that cannot be done here.
    fn start(name: &str, rate_hz: &str) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("roundelay-{name}-{}", std::process::id());
        let mut command = Command::new("jackd");
        command.args(["--no-realtime", "-n", &name, "-d", "dummy", "-r", rate_hz, "-p", "256"]);
        command.env("JACK_NO_AUDIO_RESERVATION", "1");
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            unchecked("playing to JACK, since jackd is not installed");
            return None;
        };
        let mut jackd = Self { name, child, _turn: turn };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && jackd.child.try_wait().unwrap().is_none() {
            // Answers at once, in one way or the other.
            let answer = jackd.play(&["--device", "of nowhere"]).output().unwrap();
            if stderr(&answer).contains("; there are: system:playback_1, system:playback_2") {
                return Some(jackd);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        unchecked("playing to JACK, since jackd is installed, and does not run here");
        None
    }

    /// A demo that plays to this server.
    fn play(&self, arguments: &[&str]) -> Command {
        let mut command = roundelay(&[&["demo", "--json", "--output", "jack"], arguments].concat());
        command.env("JACK_DEFAULT_SERVER", &self.name);
        command
    }
}

impl Drop for Jackd {
    fn drop(&mut self) {
        // As by its user, so that it takes down what it has in shared memory.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn a_jack_server_is_played_to_at_its_own_period() {
    let Some(jackd) = Jackd::start("plays", "48000") else { return };
    let output = jackd.play(&["--seconds", "1.5", "--period", "1024"]).output().unwrap();
    let summary = json(&output);
    assert_eq!((&summary["output"], &summary["seconds_played"]), (&"jack".into(), &1.5.into()));
    let device = &summary["device"];
    assert_eq!(
        (&device["rate_hz"], &device["period_frames"], &device["stops"]),
        (&48_000.into(), &256.into(), &0.into())
    );
    assert!(summary["callbacks"].as_u64().unwrap() >= 72_000 / 256);
    let note = "playing to JACK at 48000 Hz, in periods of 256 frames, to system:playback_1, system:playback_2";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
}

#[test]
fn a_jack_server_at_another_rate_gets_its_own() {
    let Some(jackd) = Jackd::start("rate", "44100") else { return };
    let summary = json(&jackd.play(&["--seconds", "1"]).output().unwrap());
    assert_eq!((&summary["device"]["rate_hz"], &summary["seconds_played"]), (&44_100.into(), &1.0.into()));
}

#[test]
fn playing_goes_on_when_the_jack_server_is_back() {
    let Some(jackd) = Jackd::start("back", "48000") else { return };
    let mut child = jackd.play(&["--seconds", "4"]).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("playing to JACK ") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
    }
    // Into the music. Stopped before that, it is waited for as well.
    std::thread::sleep(Duration::from_secs(2));
    drop(jackd);
    std::thread::sleep(Duration::from_secs(1));
    let jackd = Jackd::start("back", "48000").expect("it ran before");
    // Or else it would block, writing its status.
    let reading = std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    let summary = json(&child.wait_with_output().unwrap());
    assert_eq!((&summary["device"]["stops"], &summary["seconds_played"]), (&1.into(), &4.0.into()));
    reading.join().unwrap().unwrap();
    drop(jackd);
}
