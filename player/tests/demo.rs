//! The program as its user has it: started, watched, stopped, and asked what it did.

mod program;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use program::{roundelay, run, stderr, stdout};
use roundelay_player::station::flac::BLOCK_FRAMES;
use roundelay_player::station::music::{CHANNELS, Music};
use serde_json::Value;

/// The one line on standard output.
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    let text = stdout(output);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A file that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("roundelay-{}-{name}", std::process::id())))
    }

    fn output(&self) -> String {
        format!("wav:{}", self.0.display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_wav_of_a_demo_holds_the_very_samples_that_the_station_generated() {
    let file = Scratch::new("lossless.wav");
    let output = run(&["demo", "--seconds", "3", "--seed", "7", "--json", "--output", &file.output()]);
    let summary = json(&output);
    assert_eq!(summary["seconds_played"], 3.0);
    assert_eq!(summary["frames_missing"], 0);
    assert_eq!(summary["output"], file.output());

    let mut wav = hound::WavReader::open(&file.0).unwrap();
    let spec = wav.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 48_000, 16));
    let heard: Vec<i16> = wav.samples().map(Result::unwrap).collect();
    assert_eq!(heard.len(), 3 * 48_000 * CHANNELS);
    assert!(heard.iter().any(|&sample| sample.unsigned_abs() > 3_000), "nearly silent");

    // A listener joins at the start of some FLAC frame of the first seconds.
    let mut programme = vec![0; 10 * 48_000 * CHANNELS];
    Music::new(7).render(&mut programme);
    let joined = (0..100).map(|block| block * BLOCK_FRAMES * CHANNELS);
    let joined = joined.into_iter().find(|&at| programme[at..at + 4_096] == heard[..4_096]);
    let joined = joined.expect("the station never played what the file begins with");
    assert!(programme[joined..joined + heard.len()] == heard, "some sample differs, after {joined}");
}

#[test]
fn the_summary_names_every_figure_and_the_figures_agree() {
    let summary = json(&run(&["demo", "--seconds", "2", "--json"]));
    let names: Vec<_> = summary.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec![
        "seconds_played",
        "underruns",
        "frames_missing",
        "rebuffers",
        "rebuffer_frames",
        "first_sound_seconds",
        "seeks",
        "skipped",
        "broken",
        "drift_ppm",
        "codec",
        "reconnects",
        "laps",
        "bytes_in",
        "window_capacity",
        "window_bytes",
        "output",
        "scheduling",
        "callbacks",
        "callback_ns",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    let number = |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}"));
    // An underrun may come from a machine that stood still; frames that were missing were not played.
    assert_eq!(summary["seconds_played"], 2.0);
    assert_eq!((number("reconnects"), number("laps")), (0, 0));
    assert_eq!(number("bytes_in"), number("window_bytes"), "four seconds of FLAC fit in the window");
    assert!(number("bytes_in") > 100_000 && number("window_capacity") >= number("window_bytes"));
    assert!(number("callbacks") >= 2 * 48_000 / 256);
    assert_eq!(summary["output"], "null");
    let scheduling = summary["scheduling"].as_str().unwrap();
    assert!(scheduling.starts_with("SCHED_FIFO ") || scheduling.starts_with("SCHED_OTHER (real-time refused: "));
    let times = ["p50", "p99", "p999", "max"].map(|name| summary["callback_ns"][name].as_u64().unwrap());
    assert!(times.is_sorted() && times[0] > 0, "{times:?}");
}

#[test]
fn without_a_terminal_there_is_a_plain_line_now_and_then_and_a_summary() {
    let output = run(&["demo", "--seconds", "6"]);
    assert!(output.status.success());
    assert!(stdout(&output).starts_with("played 6.0 s to null: "), "{}", stdout(&output));
    let log = stderr(&output);
    assert!(!log.contains('\u{1b}') && !log.contains('\r'), "no cursor to move: {log:?}");
    assert!(log.lines().any(|line| line.contains(" - ") && line.contains("kbit/s")), "{log}");
}

#[cfg(unix)]
mod interrupted {
    use std::io::{BufRead, BufReader};
    use std::process::Child;

    use super::*;

    /// Starts a demo, and returns when it has said that it is on air: from then on an interrupt is in its hands.
    fn start(arguments: &[&str]) -> Child {
        let mut child = roundelay(arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains(" on air at http://127.0.0.1:"), "{line}");
        child
    }

    fn interrupt(child: Child) -> Output {
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let interrupted_at = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(interrupted_at.elapsed() < Duration::from_secs(3), "{:?}", interrupted_at.elapsed());
        output
    }

    #[test]
    fn ctrl_c_ends_the_demo_with_a_summary_and_success() {
        let file = Scratch::new("interrupted.wav");
        let child = start(&["demo", "--seconds", "60", "--json", "--output", &file.output()]);
        std::thread::sleep(Duration::from_millis(2500));
        let played = json(&interrupt(child))["seconds_played"].as_f64().unwrap();
        assert!(played > 0.0 && played < 10.0, "{played} s");
        // The file is complete, as far as it goes.
        let frames = hound::WavReader::open(&file.0).unwrap().duration();
        assert!((f64::from(frames) / 48_000.0 - played).abs() < 0.001, "{frames} frames, {played} s");
    }

    #[test]
    fn ctrl_c_before_anything_is_played_is_no_failure_either() {
        let output = interrupt(start(&["demo", "--seconds", "60"]));
        assert!(output.status.success(), "{output:?}");
        assert!(stdout(&output).starts_with("played "), "{}", stdout(&output));
    }
}

#[test]
fn wrong_arguments_are_answered_with_what_would_be_right() {
    for (arguments, answer) in [
        (&["demo", "--output", "speakers"][..], "give `null`, or `wav:PATH` for a file"),
        (&["demo", "--output", "wav:"], "give `null`, or `wav:PATH` for a file"),
        (&["demo", "--output", "wav:/nowhere/at/all.wav"], "is there such a folder"),
        (&["demo", "--seconds", "0"], "give more than 0"),
        (&["demo", "--seconds", "soon"], "give a number of seconds"),
        (&["dance"], "unrecognized subcommand 'dance'"),
    ] {
        let output = run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(stderr(&output).contains(answer), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
